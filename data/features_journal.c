#include "data/features_journal.h"

#include "data/features_file.h"
#include "data/file.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[16] = "mien features j1";
enum { MARK = 0x4a544e4d, HEAD = 32, BLOCK = 1 << 16 };

typedef struct record {
    uint32_t mark, name_bytes;
    int64_t frames, dim;
    XXH128_canonical_t digest;
} record;
_Static_assert(sizeof(record) == 40, "the record's head is written as it is");

static void make_head(const data_feature_source *source, unsigned char head[HEAD])
{
    static const char *const stores[] = {"", "\nf16", "\nbf16"}; // the values are rounded to it
    char *text = mn_sprintf("%s\n%s%s", source->weights_digest, source->model, stores[source->store]);
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits(text, strlen(text)));
    memcpy(head, magic, sizeof(magic));
    memcpy(head + sizeof(magic), &c, sizeof(c));
    free(text);
}

static size_t body_bytes(const record *r)
{
    return (size_t)r->frames * (8 + 4 * (size_t)r->dim);
}

// Sizes that fit what is left of the file; every product is bounded by it.
static int plausible(const record *r, int64_t left)
{
    return r->mark == MARK && r->name_bytes > 0 && r->name_bytes < 200 && r->frames > 0 && r->dim > 0 &&
           r->frames <= left / 8 && r->dim <= left / 4 && r->dim <= (left / r->frames - 8) / 4 &&
           (int64_t)(body_bytes(r) + r->name_bytes) <= left - (int64_t)sizeof(*r);
}

static void add_entry(data__journal *j, const record *r, const char *name)
{
    j->entries = mn_realloc(j->entries, (size_t)j->n + 1, sizeof(*j->entries));
    j->entries[j->n++] = (data__journal_entry){.video = mn_sprintf("%.*s", (int)r->name_bytes, name),
                                               .frames = r->frames,
                                               .dim = r->dim,
                                               .offset = j->end + (int64_t)sizeof(*r) + r->name_bytes};
    j->end += (int64_t)(sizeof(*r) + r->name_bytes + body_bytes(r));
}

// One record at j->end; *sound 0 when there is no whole one.
static mn_err read_record(data__journal *j, int64_t size, XXH3_state_t *h, int *sound)
{
    record r;
    char name[200];
    unsigned char block[BLOCK];
    *sound = 0;
    if (size - j->end < (int64_t)sizeof(r)) return MN_OK;
    MN_TRY(data_file_pread(j->fd, j->path, &r, sizeof(r), (uint64_t)j->end));
    if (!plausible(&r, size - j->end)) return MN_OK;
    uint64_t at = (uint64_t)j->end + sizeof(r), end = at + r.name_bytes + body_bytes(&r);
    MN_TRY(data_file_pread(j->fd, j->path, name, r.name_bytes, at));
    (void)XXH3_128bits_reset(h);
    (void)XXH3_128bits_update(h, &r, offsetof(record, digest));
    while (at < end) {
        size_t n = end - at < BLOCK ? (size_t)(end - at) : BLOCK;
        MN_TRY(data_file_pread(j->fd, j->path, block, n, at));
        (void)XXH3_128bits_update(h, block, n);
        at += n;
    }
    if (!XXH128_isEqual(XXH3_128bits_digest(h), XXH128_hashFromCanonical(&r.digest))) return MN_OK;
    add_entry(j, &r, name);
    *sound = 1;
    return MN_OK;
}

static mn_err read_records(data__journal *j, const data_feature_source *source)
{
    struct stat st;
    unsigned char head[HEAD], want[HEAD];
    make_head(source, want);
    if (fstat(j->fd, &st) != 0) return mn_fail(MN_EIO, "%s: %s", j->path, strerror(errno));
    if (st.st_size < HEAD) return MN_OK;
    MN_TRY(data_file_pread(j->fd, j->path, head, HEAD, 0));
    if (memcmp(head, want, HEAD) != 0)
        return mn_fail(MN_ECREATE,
                       "%s: holds features of other weights or precision, or of another program: choose another "
                       "folder, or remove it",
                       j->path);
    XXH3_state_t *h = XXH3_createState();
    if (!h) return mn_fail(MN_EMEM, "%s: no memory for a digest", j->path);
    mn_err err = MN_OK;
    j->end = HEAD;
    for (int sound = 1; sound && err == MN_OK;) {
        err = read_record(j, st.st_size, h, &sound);
        if (err != MN_EDATA) continue;
        err = MN_OK; // the rank whose journal it is has just cut off the torn end
        break;
    }
    (void)XXH3_freeState(h);
    return err;
}

mn_err data__journal_read(data__journal *j, const char *path, const data_feature_source *source)
{
    int64_t size;
    *j = (data__journal){.fd = -1, .path = mn_strdup(path)};
    mn_err err = mn_file_open(&j->fd, path, &size);
    if (err == MN_ENOINPUT) {
        j->fd = -1;
        return MN_OK;
    }
    if (err == MN_OK) err = read_records(j, source);
    if (err != MN_OK) data__journal_close(j);
    return err;
}

mn_err data__journal_open(data__journal *j, const char *path, const data_feature_source *source)
{
    mn_err err = MN_OK;
    unsigned char head[HEAD];
    *j = (data__journal){.path = mn_strdup(path)};
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (j->fd < 0) {
        err = mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0) {
        err = mn_fail(MN_ECREATE, "%s: another process is writing features here", path);
        goto out;
    }
    MN_TRY_OUT(err, read_records(j, source));
    if (j->end == 0) { // new
        make_head(source, head);
        MN_TRY_OUT(err, data_file_pwrite(j->fd, path, head, HEAD, 0));
        j->end = HEAD;
    }
    if (ftruncate(j->fd, j->end) != 0 || lseek(j->fd, j->end, SEEK_SET) < 0)
        err = mn_fail(MN_EIO, "%s: %s", path, strerror(errno));
out:
    if (err != MN_OK) data__journal_close(j);
    return err;
}

mn_err data__journal_add(data__journal *j, const data_track *t)
{
    record r = {.mark = MARK, .name_bytes = (uint32_t)strlen(t->video), .frames = t->frames, .dim = t->dim};
    size_t times = (size_t)t->frames * sizeof(*t->t_us), values = (size_t)t->frames * (size_t)t->dim * sizeof(*t->x);
    XXH3_state_t *h = XXH3_createState();
    if (!h || XXH3_128bits_reset(h) != XXH_OK) return mn_fail(MN_EMEM, "%s: no memory for a digest", j->path);
    (void)XXH3_128bits_update(h, &r, offsetof(record, digest));
    (void)XXH3_128bits_update(h, t->video, r.name_bytes);
    (void)XXH3_128bits_update(h, t->t_us, times);
    (void)XXH3_128bits_update(h, t->x, values);
    XXH128_canonicalFromHash(&r.digest, XXH3_128bits_digest(h));
    (void)XXH3_freeState(h);
    MN_TRY(mn_file_write(j->fd, &r, sizeof(r), j->path));
    MN_TRY(mn_file_write(j->fd, t->video, r.name_bytes, j->path));
    MN_TRY(mn_file_write(j->fd, t->t_us, times, j->path));
    if (mn_fault("features.write")) return mn_fail(MN_EIO, "%s: injected failure of a write", j->path);
    MN_TRY(mn_file_write(j->fd, t->x, values, j->path));
    add_entry(j, &r, t->video);
    return MN_OK;
}

mn_err data__journal_track(const data__journal *j, int64_t i, data_track *t)
{
    const data__journal_entry *e = &j->entries[i];
    size_t bytes = (size_t)e->frames * (8 + 4 * (size_t)e->dim);
    char *p = malloc(bytes);
    if (!p) return mn_fail(MN_EMEM, "%s: no memory for the %zu bytes of video %s", j->path, bytes, e->video);
    mn_err err = data_file_pread(j->fd, j->path, p, bytes, (uint64_t)e->offset);
    if (err != MN_OK) {
        free(p);
        return err;
    }
    *t = (data_track){.video = e->video,
                      .frames = e->frames,
                      .dim = e->dim,
                      .t_us = (int64_t *)(void *)p,
                      .x = (float *)(void *)(p + 8 * e->frames)};
    return MN_OK;
}

void data__journal_close(data__journal *j)
{
    for (int64_t i = 0; i < j->n; i++)
        free(j->entries[i].video);
    free(j->entries);
    if (j->fd >= 0) (void)close(j->fd); // releases the lock
    free(j->path);
    *j = (data__journal){.fd = -1};
}
