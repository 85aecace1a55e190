// CASIA-WebFace twice: a folder of pictures for each person, and the same pictures as InsightFace has them in MXNet
// RecordIO. What is odd about the latter is here: labels in arrays, pictures that contain the format's magic number and
// so come in parts, an index out of order, and, in corpora of 18 pictures and more, a last record that is cut off.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EACH = 6, CUT = 50, CUT_FROM = 18, ARRAY_EVERY = 10, PARTS_EVERY = 7, COMMENT = 10 };
static const unsigned char magic[4] = {0x0a, 0x23, 0xd7, 0xce};

typedef struct casia_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    int64_t people;
} casia_ctx;

static int64_t person_of(const casia_ctx *c, int64_t i)
{
    return i * c->people / c->cfg->images;
}

// The first picture of a person.
static int64_t first_of(const casia_ctx *c, int64_t person)
{
    return (person * c->cfg->images + c->people - 1) / c->people;
}

static char *picture_path(const casia_ctx *c, int64_t i)
{
    int64_t person = person_of(c, i);
    return mn_sprintf("%s/CASIA-WebFace/%07lld/%03lld.jpg", c->root, (long long)person * 3 + 45,
                      (long long)(i - first_of(c, person) + 1));
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    const casia_ctx *c = ctx;
    mn_stream_rng r = mn_rng_open(c->key + 1, (uint64_t)i, 0);
    data__person p;
    data__affect a;
    data__shot shot;
    data__person_make(c->key, (uint64_t)person_of(c, i), &p);
    data__affect_still(c->key + 2, (uint64_t)i, (int)mn_rng_below(&r, DATA_EXPRESSIONS), &a);
    data__shot_make(c->key + 3, (uint64_t)i, 0, c->cfg->size, c->cfg->size, &shot);
    data__worker_face(w, &p, &a, &shot);
    char *path = picture_path(c, i), *slash = strrchr(path, '/');
    *slash = 0;
    mn_err err = mn_dir_make(path);
    *slash = '/';
    if (err == MN_OK) err = data__worker_save(w, path, c->cfg->size, c->cfg->size, 90, 0);
    free(path);
    return err;
}

// RecordIO

typedef struct record_files {
    FILE *records, *index;
    char *payload;
    size_t size, capacity;
} record_files;

static void put(record_files *f, const void *bytes, size_t n)
{
    if (f->size + n > f->capacity) {
        f->capacity = (f->size + n) * 2;
        f->payload = mn_realloc(f->payload, f->capacity, 1);
    }
    memcpy(f->payload + f->size, bytes, n);
    f->size += n;
}

static void put_u32(record_files *f, uint32_t v)
{
    put(f, &v, sizeof v);
}

// The head of a payload, with one label, or with two in an array.
static void begin_payload(record_files *f, int64_t key, int n_labels, float label, float second)
{
    const float labels[2] = {label, second}, one = n_labels ? 0 : label;
    const uint64_t ids[2] = {(uint64_t)key, 0};
    f->size = 0;
    put_u32(f, (uint32_t)n_labels);
    put(f, &one, sizeof one);
    put(f, ids, sizeof ids);
    put(f, labels, (size_t)n_labels * sizeof(float));
}

static void write_part(record_files *f, uint32_t part, size_t from, size_t to)
{
    static const char zeros[4];
    const uint32_t head = part << 29 | (uint32_t)(to - from);
    (void)fwrite(magic, sizeof magic, 1, f->records); // errors stay: asked for at the end
    (void)fwrite(&head, sizeof head, 1, f->records);
    (void)fwrite(f->payload + from, 1, to - from, f->records);
    (void)fwrite(zeros, 1, (4 - (to - from) % 4) % 4, f->records);
}

// As dmlc-core does it: cut where the magic number lies at a multiple of 4, without it.
static void write_record(record_files *f, int64_t key)
{
    size_t from = 0;
    uint32_t part = 0;
    (void)fprintf(f->index, "%lld\t%lld\n", (long long)key, (long long)ftello(f->records));
    for (size_t at = 0; at + 4 <= f->size; at += 4) {
        if (memcmp(f->payload + at, magic, sizeof magic) != 0) continue;
        write_part(f, part ? 2 : 1, from, at);
        from = at + 4;
        part = 3;
    }
    write_part(f, part, from, f->size);
}

// A picture as a record; some get a comment that is the magic number, where it cuts them.
static mn_err write_picture(const casia_ctx *c, record_files *f, int64_t i)
{
    static const unsigned char comment[COMMENT] = {0xff, 0xfe, 0, COMMENT - 2, 'm', 'n', 0x0a, 0x23, 0xd7, 0xce};
    char *path = picture_path(c, i), *bytes;
    size_t size;
    mn_err err = mn_file_read(path, (size_t)1 << 30, &bytes, &size);
    free(path);
    MN_TRY(err);
    begin_payload(f, i + 1, i % ARRAY_EVERY == 4 ? 2 : 0, (float)person_of(c, i), 0);
    put(f, bytes, 2);
    if (i % PARTS_EVERY == 2) put(f, comment, sizeof comment);
    put(f, bytes + 2, size - 2);
    write_record(f, i + 1);
    free(bytes);
    return MN_OK;
}

// Record 0 and those of the identities come before the pictures here, so that the index is out of order.
static mn_err write_records(const casia_ctx *c, record_files *f)
{
    int64_t n = c->cfg->images;
    mn_err err = MN_OK;
    begin_payload(f, 0, 2, (float)(n + 1), (float)(n + 1 + c->people));
    write_record(f, 0);
    for (int64_t p = 0; p < c->people; p++) {
        begin_payload(f, n + 1 + p, 2, (float)(first_of(c, p) + 1), (float)(first_of(c, p + 1) + 1));
        write_record(f, n + 1 + p);
    }
    for (int64_t i = 0; i < n && err == MN_OK; i++)
        err = write_picture(c, f, i);
    return err;
}

static mn_err close_file(FILE *file, const char *path, mn_err err)
{
    if (!file) return mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
    int failed = ferror(file);
    failed |= fclose(file) != 0;
    return failed && err == MN_OK ? mn_fail(MN_EIO, "%s: cannot be written", path) : err;
}

static mn_err make_records(const casia_ctx *c)
{
    record_files f = {0};
    char *records = mn_sprintf("%s/faces_webface/train.rec", c->root);
    char *index = mn_sprintf("%s/faces_webface/train.idx", c->root);
    mn_err err = MN_OK;
    f.records = fopen(records, "wb");
    f.index = fopen(index, "wb");
    if (f.records && f.index) err = write_records(c, &f);
    int64_t size = f.records ? ftello(f.records) : 0;
    err = close_file(f.records, records, err);
    err = close_file(f.index, index, err);
    if (err == MN_OK && c->cfg->images >= CUT_FROM && truncate(records, size - CUT) != 0)
        err = mn_fail(MN_EIO, "%s: %s", records, strerror(errno));
    free(f.payload);
    free(records);
    free(index);
    return err;
}

mn_err data__make_casia_webface(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    casia_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.casia-webface")};
    data__text property = {0};
    c.people = (cfg->images + EACH - 1) / EACH;
    MN_TRY(data__spread(cfg->images, cfg->threads, make_picture, &c, report));
    char *folder = mn_sprintf("%s/faces_webface", root), *path = mn_sprintf("%s/property", folder);
    mn_err err = mn_dir_make(folder);
    data__text_add(&property, "%lld,%d,%d", (long long)c.people, cfg->size, cfg->size);
    if (err == MN_OK)
        err = data__text_write(&property, path);
    else
        free(property.bytes);
    free(folder);
    free(path);
    return err == MN_OK ? make_records(&c) : err;
}
