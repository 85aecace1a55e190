// `mien data verify`, one shard: its bytes, the headers of its pictures, its labels, and what the manifest says of it.
#include "data/file.h"
#include "data/shard.h"
#include "data/verify_parts.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ATTRS = 40, AGE_MOST = 150 };

static const char *const kind_text[] = {
#define TEXT(id, text) text,
    DATA__PROBLEM_MAP(TEXT)
#undef TEXT
};

json_t *data__json_text(const char *text)
{
    json_t *s = json_string(text);
    if (s) return s;
    size_t n = strlen(text), at = 0;
    char *escaped = mn_calloc(n + 1, 4);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        at += (size_t)snprintf(escaped + at, 5, c < 0x80 ? "%c" : "\\x%02x", c);
    }
    s = json_string(escaped);
    free(escaped);
    mn_assert(s != NULL);
    return s;
}

static void put(json_t *o, const char *key, json_t *v)
{
    mn_assert(v && json_object_set_new(o, key, v) == 0);
}

void data__report_problem(data__findings *f, const char *file, data__problem kind, int64_t record, const char *name,
                          int64_t byte, const char *text)
{
    f->n_read += kind == DATA__PROBLEM_READ;
    if (f->n_problems++ >= DATA__LISTED_MOST) return;
    json_t *o = json_object();
    put(o, "file", data__json_text(file));
    if (record >= 0) put(o, "record", json_integer(record));
    if (name) put(o, "name", data__json_text(name));
    if (byte >= 0) put(o, "byte", json_integer(byte));
    put(o, "kind", json_string(kind_text[kind]));
    put(o, "problem", data__json_text(text));
    if (!f->problems) f->problems = json_array();
    mn_assert(json_array_append_new(f->problems, o) == 0);
}

typedef struct check {
    const data__shard_check *c;
    const data_shard *s;
    data__findings *out;
    const char *path;
} check;

static void of_file(const check *k, data__problem kind, int64_t byte, const char *text)
{
    size_t n = strlen(k->path); // the report names the file anyway
    if (strncmp(text, k->path, n) == 0 && text[n] == ':' && text[n + 1] == ' ') text += n + 2;
    data__report_problem(k->out, k->c->file, kind, -1, NULL, byte, text);
}

static void of_record(const check *k, data__problem kind, int64_t i, int64_t byte, const char *text)
{
    data__report_problem(k->out, k->c->file, kind, i, data_shard_name(k->s, i), byte, text);
}

// Labels: no label is where the mask has none, and the other way round.

static int valid(uint32_t mask, uint32_t bit)
{
    return (mask & bit) != 0;
}

static const char *bad_affect(const data_index *x, int64_t i)
{
    static const uint32_t bit[] = {DATA_HAS_VALENCE, DATA_HAS_AROUSAL};
    for (int k = 0; k < 2; k++) {
        float v = x->va[2 * i + k];
        if (valid(x->mask[i], bit[k]) != !isnan(v)) return "its valence or arousal disagrees with its mask";
        if (!isnan(v) && !(v >= -1 && v <= 1)) return "its valence or arousal is out of range";
    }
    return NULL;
}

static const char *bad_box(const float *box)
{
    int unknown = 0;
    for (int k = 0; k < 4; k++)
        unknown += isnan(box[k]) != 0;
    if (unknown == 4) return NULL;
    return unknown > 0 || !isfinite(box[0]) || !isfinite(box[1]) || !(box[2] > 0 && isfinite(box[2])) ||
                   !(box[3] > 0 && isfinite(box[3]))
               ? "its face box is impossible"
               : NULL;
}

static const char *bad_label(const data_index *x, int64_t i)
{
    uint32_t mask = x->mask[i];
    if (x->expr) {
        if (x->expr[i] < -1 || x->expr[i] >= DATA_EXPRESSIONS) return "its expression is out of range";
        if (valid(mask, DATA_HAS_EXPR) != (x->expr[i] >= 0)) return "its expression disagrees with its mask";
    }
    for (int a = 0; x->au && a < DATA_AUS; a++) {
        int8_t v = x->au[i * DATA_AUS + a];
        if (v < -1 || v > 1) return "an action unit is out of range";
        if (valid(mask, (uint32_t)DATA_HAS_AU0 << a) != (v >= 0)) return "an action unit disagrees with its mask";
    }
    if (x->va && bad_affect(x, i)) return bad_affect(x, i);
    if (x->identity && valid(mask, DATA_HAS_IDENTITY) && x->identity[i] < 0) return "its identity is out of range";
    for (int a = 0; x->attr && a < ATTRS; a++)
        if (x->attr[i * ATTRS + a] < -1 || x->attr[i * ATTRS + a] > 1) return "an attribute is out of range";
    for (int k = 0; x->votes && k < DATA_VOTES; k++)
        if (x->votes[i * DATA_VOTES + k] > 10) return "a count of votes is out of range";
    if (x->age && !isnan(x->age[i]) && !(x->age[i] >= 0 && x->age[i] <= AGE_MOST)) return "its age is out of range";
    if (x->gender && (x->gender[i] < -1 || x->gender[i] > 1)) return "its gender is out of range";
    return x->box ? bad_box(x->box + 4 * i) : NULL;
}

static const char *bad_entry(const data_index *x, int64_t i)
{
    int empty = x->offset[i] == x->offset[i + 1];
    if (x->codec[i] > DATA_CODEC_PCM16K || (x->codec[i] == DATA_CODEC_NONE) != empty) return "its codec is impossible";
    if (!empty && x->codec[i] != DATA_CODEC_PCM16K && (x->width[i] == 0 || x->height[i] == 0)) return "it has no size";
    return x->orientation[i] > 8 ? "its orientation is impossible" : NULL;
}

static const char *bad_order(const data_index *x, int64_t i)
{
    if (!x->video || x->video[i] < 0) return NULL;
    if (x->frame[i] < 1) return "its frame number is impossible";
    if (i == 0 || x->video[i - 1] != x->video[i]) return NULL;
    if (x->frame[i] <= x->frame[i - 1]) return "its frame number is not larger than the one before";
    return x->t_us[i] < x->t_us[i - 1] ? "its time is before that of the frame before" : NULL;
}

static void check_labels(const check *k)
{
    static const struct {
        const char *(*of)(const data_index *, int64_t);
        data__problem kind;
    } row[] = {{bad_label, DATA__PROBLEM_LABEL}, {bad_entry, DATA__PROBLEM_PICTURE}, {bad_order, DATA__PROBLEM_ORDER}};
    const data_index *x = data_shard_index(k->s);
    for (int64_t i = 0; i < x->n; i++)
        for (size_t r = 0; r < sizeof(row) / sizeof(row[0]); r++) {
            const char *what = row[r].of(x, i);
            if (what) of_record(k, row[r].kind, i, -1, what);
        }
}

// Bytes

static void take_damage(void *ctx, mn_err err, int64_t record, uint64_t byte, const char *message)
{
    const check *k = ctx;
    if (record < 0)
        of_file(k, DATA__PROBLEM_PAYLOAD, (int64_t)byte, message);
    else if (err == MN_EIO)
        of_record(k, DATA__PROBLEM_READ, record, (int64_t)byte, message);
    else
        of_record(k, DATA__PROBLEM_RECORD, record, (int64_t)byte,
                  "its bytes are not those that were imported (CRC32C)");
    if (k->c->read && record >= 0) k->c->read(k->c->ctx, (int64_t)data_shard_size(k->s, record));
}

static mn_err look_at(const check *k, int64_t i, const void *bytes, size_t size)
{
    const data_index *x = data_shard_index(k->s);
    data_image_info info;
    data_image image = {0};
    MN_TRY(data_image_probe(k->c->coder, bytes, size, &info));
    if (info.codec != x->codec[i] || info.width != x->width[i] || info.height != x->height[i] ||
        (x->channels[i] && info.channels != x->channels[i]) ||
        (x->orientation[i] <= 8 && info.orientation != (x->orientation[i] ? x->orientation[i] : 1)))
        return mn_fail(MN_EDATA, "its index says codec %d, %d x %d, %d channels, its picture codec %d, %d x %d, %d",
                       x->codec[i], x->width[i], x->height[i], x->channels[i], info.codec, info.width, info.height,
                       info.channels);
    if (!k->c->decode) return MN_OK;
    mn_err err = data_image_decode(k->c->coder, bytes, size, 0, &image);
    data_image_release(&image);
    return err;
}

static void take_record(void *ctx, int64_t i, uint64_t byte, const void *bytes, size_t size)
{
    const check *k = ctx;
    int codec = data_shard_index(k->s)->codec[i];
    if (size > 0 && (codec == DATA_CODEC_JPEG || codec == DATA_CODEC_PNG) && look_at(k, i, bytes, size) != MN_OK)
        of_record(k, DATA__PROBLEM_PICTURE, i, (int64_t)byte, mn_errmsg());
    if (codec == DATA_CODEC_PCM16K && size % 2)
        of_record(k, DATA__PROBLEM_PICTURE, i, (int64_t)byte, "its sound ends in half a sample");
    if (k->c->read) k->c->read(k->c->ctx, (int64_t)size);
}

// The manifest

static const data__manifest_shard *entry_of(const data__shard_check *c)
{
    for (int i = 0; c->manifest && i < c->manifest->n_shards; i++)
        if (strcmp(c->manifest->shards[i].file, c->file) == 0) return &c->manifest->shards[i];
    return NULL;
}

static void compare(const check *k)
{
    const data_shard_info *have = data_shard_about(k->s);
    const data__manifest_shard *want = entry_of(k->c);
    if (!want) {
        if (k->c->manifest) of_file(k, DATA__PROBLEM_MANIFEST, -1, "the manifest does not name this shard");
        return;
    }
    if (strcmp(have->dataset, k->c->manifest->dataset) != 0 || strcmp(have->split, want->split) != 0 ||
        strcmp(have->stream, want->stream) != 0 || have->records != want->records || have->videos != want->videos ||
        (int64_t)have->file_bytes != want->file_bytes || (int64_t)have->payload_bytes != want->payload_bytes ||
        strcmp(have->payload, want->payload) != 0 || strcmp(have->index, want->index) != 0)
        of_file(k, DATA__PROBLEM_MANIFEST, -1, "it is another shard than the manifest says");
    int place = 0; // among the shards of its split and stream, whose order is that of the sample ids
    for (const data__manifest_shard *e = k->c->manifest->shards; e < want; e++)
        place += strcmp(e->split, want->split) == 0 && strcmp(e->stream, want->stream) == 0;
    if (place != have->shard) of_file(k, DATA__PROBLEM_MANIFEST, -1, "it is not in its place in the manifest");
}

// Whether the payload of a shard whose index cannot be trusted is what the manifest says.
static mn_err check_payload(int fd, const char *path, const data__seal *seal, const char *want)
{
    enum { BLOCK = 1 << 20 };
    XXH3_state_t *h = XXH3_createState();
    char *block = malloc(BLOCK), have[DATA__DIGEST_TEXT];
    mn_err err =
        h && block && XXH3_128bits_reset(h) == XXH_OK ? MN_OK : mn_fail(MN_EMEM, "%s: no memory for a digest", path);
    for (uint64_t at = 0; err == MN_OK && at < seal->payload_bytes;) {
        size_t n = seal->payload_bytes - at < BLOCK ? (size_t)(seal->payload_bytes - at) : BLOCK;
        err = data_file_pread(fd, path, block, n, seal->payload_offset + at);
        if (err == MN_OK) (void)XXH3_128bits_update(h, block, n);
        at += n;
    }
    if (err == MN_OK) {
        data__digest_text(XXH3_128bits_digest(h), have);
        if (strcmp(have, want) != 0)
            err = mn_fail(MN_EDATA, "%s: its payload has digest %s, the manifest says %s", path, have, want);
    }
    free(block);
    (void)XXH3_freeState(h);
    return err;
}

// The index of an open file is damaged; so may be its payload, which the manifest knows too.
static void find_in_index(const check *k, const char *path, int fd, const data__seal *seal)
{
    const data__manifest_shard *want = entry_of(k->c);
    uint64_t end = seal->payload_offset + seal->payload_bytes;
    char *text =
        seal->payload_bytes
            ? mn_sprintf("its index (labels, offsets, structure) is damaged: in bytes %d to %llu, or %llu to %llu",
                         DATA__SEAL_BYTES, (unsigned long long)seal->payload_offset, (unsigned long long)end,
                         (unsigned long long)seal->file_bytes)
            : mn_strdup("its index (labels, offsets, structure) is damaged");
    of_file(k, DATA__PROBLEM_INDEX, DATA__SEAL_BYTES, text);
    free(text);
    if (!want) return;
    mn_err err = check_payload(fd, path, seal, want->payload);
    if (err != MN_OK)
        of_file(k, err == MN_EIO ? DATA__PROBLEM_READ : DATA__PROBLEM_PAYLOAD, (int64_t)seal->payload_offset,
                mn_errmsg());
}

// Where a file that data_shard_open refused with `message` is damaged.
static void diagnose(const check *k, const char *path, mn_err refused, const char *message)
{
    unsigned char block[DATA__SEAL_BYTES];
    data__seal seal;
    int64_t size;
    int fd;
    if (mn_file_open(&fd, path, &size) != MN_OK) {
        of_file(k, refused == MN_ENOINPUT ? DATA__PROBLEM_MISSING : DATA__PROBLEM_READ, -1, message);
        return;
    }
    k->out->bytes = size;
    if (refused == MN_EIO || refused == MN_EMEM) {
        of_file(k, DATA__PROBLEM_READ, -1, message);
    } else if (size < (int64_t)sizeof(block)) {
        of_file(k, DATA__PROBLEM_SIZE, size, message);
    } else if (data_file_pread(fd, path, block, sizeof(block), 0) != MN_OK ||
               data__seal_parse(block, sizeof(block), path, &seal) != MN_OK) {
        of_file(k, DATA__PROBLEM_INDEX, 0, message);
    } else if (seal.file_bytes != (uint64_t)size) {
        of_file(k, DATA__PROBLEM_SIZE, size < (int64_t)seal.file_bytes ? size : (int64_t)seal.file_bytes, message);
    } else if (data__seal_check(fd, path, (uint64_t)size, &seal) != MN_OK) {
        find_in_index(k, path, fd, &seal);
    } else { // every byte is as written, but not by this program
        of_file(k, DATA__PROBLEM_INDEX, DATA__SEAL_BYTES, message);
    }
    (void)close(fd); // was only read
}

void data__check_shard(const data__shard_check *c, data__findings *out)
{
    char *path = mn_sprintf("%s/%s", c->dir, c->file);
    data_shard *s = NULL;
    *out = (data__findings){0};
    check k = {c, NULL, out, path};
    mn_err err = data_shard_open(&s, path);
    if (err != MN_OK) {
        char *message = mn_strdup(mn_errmsg());
        diagnose(&k, path, err, message);
        free(message);
    } else {
        k.s = s;
        int sound = strcmp(data_shard_about(s)->stream, "audio") == 0;
        *(sound ? &out->sounds : &out->records) = data_shard_about(s)->records;
        out->bytes = (int64_t)data_shard_about(s)->file_bytes;
        compare(&k);
        const data_shard_watch watch = {&k, take_damage, take_record};
        err = data_shard_verify(s, &watch);
        if (err != MN_OK) of_file(&k, DATA__PROBLEM_READ, -1, mn_errmsg());
        check_labels(&k);
    }
    data_shard_close(s);
    free(path);
}
