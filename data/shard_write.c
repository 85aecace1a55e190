// Writing a shard. HDF5 must know the size of a contiguous dataset when it makes it, and the size of the payload is
// known at the end: so records go to an unnamed spool file first, and are copied (in the kernel, by reference where the
// file system can) to where HDF5 has put the payload. The index is kept in memory until then.
#include "data/counts.h"
#include "data/file.h"
#include "data/label.h"
#include "data/shard.h"
#include "data/shard_columns.h"
#include "data/shard_h5.h"
#include "data/shard_seal.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };
#define PAYLOAD_MOST ((uint64_t)1 << 40)

struct data_writer {
    data_writer_cfg cfg;
    char *texts[7]; // own copies of the texts in cfg
    char *path, *temporary;
    int spool;
    unsigned char *buffer;
    size_t buffered;
    uint64_t payload_bytes;
    XXH3_state_t *payload;
    data__columns columns;
    int64_t capacity[DATA__COLUMN_COUNT];
    char *video_strings; // names and sources, 0-terminated each, until they follow the records' names
    size_t video_string_bytes;
    int64_t open_video; // its records are being added; -1 none
    data_video counted; // with cfg.counts: that one
};

void data_writer_name(const data_writer_cfg *cfg, char *name, size_t size)
{
    const char *stream = strcmp(cfg->stream, "image") == 0 ? "" : cfg->stream;
    (void)snprintf(name, size, "%s-%s%s%s-%05d-of-%05d.h5", cfg->dataset, cfg->split, *stream ? "-" : "", stream,
                   cfg->index, cfg->count);
}

// Columns

static void *push(data_writer *w, data__column_id id, int64_t rows)
{
    size_t row = (size_t)data__column[id].width * data__type_size(data__column[id].type);
    int64_t at = w->columns.rows[id];
    if (at + rows > w->capacity[id] || !w->columns.values[id]) {
        w->capacity[id] = (at + rows) * 2 + 64;
        w->columns.values[id] = mn_realloc(w->columns.values[id], (size_t)w->capacity[id], row);
    }
    w->columns.rows[id] = at + rows;
    return (char *)w->columns.values[id] + (size_t)at * row;
}

#define PUSH(w, id, type, value) (*(type *)push(w, id, 1) = (value))

// A string and its end; the offset of the next one follows.
static mn_err push_string(data_writer *w, const char *text)
{
    size_t n = strlen(text) + 1;
    if ((uint64_t)w->columns.rows[DATA__STRING_BYTES] + n > UINT32_MAX)
        return mn_fail(MN_EDATA, "%s: more than 4 GiB of names: use smaller shards", w->path);
    memcpy(push(w, DATA__STRING_BYTES, (int64_t)n), text, n);
    PUSH(w, DATA__STRING_OFFSET, uint32_t, (uint32_t)w->columns.rows[DATA__STRING_BYTES]);
    return MN_OK;
}

static void start_columns(data_writer *w)
{
    const data_writer_cfg *c = &w->cfg;
    PUSH(w, DATA__OFFSET, uint64_t, 0);
    PUSH(w, DATA__STRING_OFFSET, uint32_t, 0);
    for (int i = 0; i < DATA__COLUMN_COUNT; i++) {
        int video = data__column[i].rows == DATA__VIDEOS || (i >= DATA__VIDEO && i <= DATA__SUBJECT);
        int has = data__column[i].required || (video && c->has_video) || (i == DATA__EXPR && c->has_expr) ||
                  (i == DATA__AU && c->has_au) || (i == DATA__VA && c->has_va) ||
                  (i == DATA__IDENTITY && c->has_identity) || (i == DATA__ATTR && c->has_attr) ||
                  (i == DATA__VOTES && c->has_votes) || (i == DATA__AGE && c->has_age) ||
                  (i == DATA__GENDER && c->has_gender) || (i == DATA__BOX && c->has_box) ||
                  (i == DATA__ORIGINAL && c->has_original);
        if (has && !w->columns.values[i]) (void)push(w, (data__column_id)i, 0); // there, with no rows yet
    }
}

// Opening

static mn_err open_spool(data_writer *w)
{
    char *name = mn_sprintf("%s/.spool-XXXXXX", w->cfg.dir);
    w->spool = mkostemp(name, O_CLOEXEC);
    mn_err err = MN_OK;
    if (w->spool < 0)
        err = mn_fail(MN_ECREATE, "%s: cannot create a temporary file here: %s", w->cfg.dir, strerror(errno));
    else if (unlink(name) != 0) // nothing is left of it when the process dies
        err = mn_fail(MN_EIO, "%s: %s", name, strerror(errno));
    free(name);
    return err;
}

static void copy_texts(data_writer *w, const data_writer_cfg *cfg)
{
    const char **field[] = {&w->cfg.dir,      &w->cfg.dataset,      &w->cfg.split, &w->cfg.stream,
                            &w->cfg.importer, &w->cfg.options_json, &w->cfg.source};
    w->cfg = *cfg;
    for (int i = 0; i < 7; i++)
        *field[i] = w->texts[i] = mn_strdup(*field[i] ? *field[i] : "");
}

mn_err data_writer_open(data_writer **out, const data_writer_cfg *cfg)
{
    mn_assert(cfg->index >= 0 && cfg->index < cfg->count);
    data_writer *w = mn_calloc(1, sizeof(*w));
    mn_err err = MN_OK;
    char name[256];
    copy_texts(w, cfg);
    data_writer_name(&w->cfg, name, sizeof(name));
    w->path = mn_sprintf("%s/%s", cfg->dir, name);
    w->temporary = mn_sprintf("%s/.%s.tmp", cfg->dir, name);
    w->buffer = mn_calloc(1, BUFFER);
    w->spool = -1;
    w->open_video = -1;
    w->payload = XXH3_createState();
    if (!w->payload || XXH3_128bits_reset(w->payload) != XXH_OK) {
        err = mn_fail(MN_EMEM, "%s: no memory for a digest", w->path);
        goto out;
    }
    start_columns(w);
    if (cfg->counts)
        data_counts_columns(cfg->counts, cfg);
    else
        MN_TRY_OUT(err, open_spool(w));
    *out = w;
    w = NULL;
out:
    data_writer_abort(w);
    return err;
}

void data_writer_abort(data_writer *w)
{
    if (!w) return;
    if (w->spool >= 0) (void)close(w->spool);
    data__columns_free(&w->columns);
    if (w->payload) (void)XXH3_freeState(w->payload);
    for (int i = 0; i < 7; i++)
        free(w->texts[i]);
    free(w->video_strings);
    free(w->buffer);
    free(w->temporary);
    free(w->path);
    free(w);
}

// Adding

static void keep_video_string(data_writer *w, const char *text)
{
    size_t n = strlen(text) + 1;
    w->video_strings = mn_realloc(w->video_strings, w->video_string_bytes + n, 1);
    memcpy(w->video_strings + w->video_string_bytes, text, n);
    w->video_string_bytes += n;
}

mn_err data_writer_video(data_writer *w, const data_video *v, int32_t *row)
{
    mn_assert(w->cfg.has_video);
    int64_t i = w->columns.rows[DATA__V_FIRST];
    if (i >= INT32_MAX) return mn_fail(MN_EDATA, "%s: too many videos for one shard", w->path);
    if (w->cfg.counts) {
        w->counted = *v;
        data_counts_video(w->cfg.counts, &w->cfg, v);
        *row = 0;
        w->open_video = 0;
        return MN_OK;
    }
    keep_video_string(w, v->name);
    keep_video_string(w, v->source);
    memcpy(push(w, DATA__V_SPLIT, 1), v->split, sizeof(v->split));
    memcpy(push(w, DATA__V_LABELS, 1), v->labels, sizeof(v->labels));
    PUSH(w, DATA__V_SUBJECT, uint8_t, v->subject);
    PUSH(w, DATA__V_HAS_AUDIO, uint8_t, v->has_audio);
    PUSH(w, DATA__V_AUDIO_OFFSET, int64_t, v->audio_offset_us);
    PUSH(w, DATA__V_FPS_NUM, int32_t, v->fps_num);
    PUSH(w, DATA__V_FPS_DEN, int32_t, v->fps_den);
    PUSH(w, DATA__V_FRAMES, int64_t, v->decoded);
    PUSH(w, DATA__V_FIRST, int64_t, w->columns.rows[DATA__CRC]);
    PUSH(w, DATA__V_COUNT, int64_t, 0);
    w->open_video = i;
    *row = (int32_t)i;
    return MN_OK;
}

static mn_err flush(data_writer *w)
{
    MN_TRY(mn_file_write(w->spool, w->buffer, w->buffered, w->path));
    w->buffered = 0;
    return MN_OK;
}

static mn_err spool_payload(data_writer *w, const void *payload, size_t size)
{
    if (size > DATA__RECORD_MOST || w->payload_bytes + size > PAYLOAD_MOST)
        return mn_fail(MN_EDATA, "%s: a record of %zu bytes does not fit (records: 1 GiB, shards: 1 TiB)", w->path,
                       size);
    if (size == 0) return MN_OK;
    if (mn_fault("shard.write")) return mn_fail(MN_EIO, "%s: injected failure of a write", w->path);
    (void)XXH3_128bits_update(w->payload, payload, size);
    w->payload_bytes += size;
    if (w->buffered + size > BUFFER) MN_TRY(flush(w));
    if (size > BUFFER) return mn_file_write(w->spool, payload, size, w->path);
    memcpy(w->buffer + w->buffered, payload, size);
    w->buffered += size;
    return MN_OK;
}

static void push_labels(data_writer *w, const data_record *r)
{
    const data_writer_cfg *c = &w->cfg;
    if (c->has_expr) PUSH(w, DATA__EXPR, int8_t, r->expr);
    if (c->has_au) memcpy(push(w, DATA__AU, 1), r->au, sizeof(r->au));
    if (c->has_va) memcpy(push(w, DATA__VA, 1), r->va, sizeof(r->va));
    if (c->has_identity) PUSH(w, DATA__IDENTITY, int32_t, r->identity);
    if (c->has_attr) {
        void *attr = push(w, DATA__ATTR, 1);
        if (r->attr)
            memcpy(attr, r->attr, 40);
        else
            memset(attr, 0, 40);
    }
    if (c->has_votes) {
        void *votes = push(w, DATA__VOTES, 1);
        if (r->votes)
            memcpy(votes, r->votes, DATA_VOTES);
        else
            memset(votes, 0, DATA_VOTES);
    }
    if (c->has_age) PUSH(w, DATA__AGE, float, r->age);
    if (c->has_gender) PUSH(w, DATA__GENDER, int8_t, r->gender);
    if (c->has_box) {
        float *box = push(w, DATA__BOX, 1);
        for (int k = 0; k < 4; k++)
            box[k] = r->box ? r->box[k] : NAN;
    }
    if (c->has_original) PUSH(w, DATA__ORIGINAL, uint64_t, r->original);
    if (!c->has_video) return;
    PUSH(w, DATA__VIDEO, int32_t, r->video);
    PUSH(w, DATA__FRAME, int32_t, r->frame);
    PUSH(w, DATA__T_US, int64_t, r->t_us);
    const uint8_t *subject = w->columns.values[DATA__V_SUBJECT];
    uint8_t of_video = r->video < 0 ? 0 : subject[r->video];
    PUSH(w, DATA__SUBJECT, uint8_t, of_video);
}

mn_err data_writer_add(data_writer *w, const data_record *r)
{
    mn_assert(!w->cfg.has_video || r->video == -1 || r->video == w->open_video); // records follow their video
    if (w->cfg.counts) {
        data_counts_record(w->cfg.counts, &w->cfg, r->video < 0 ? NULL : &w->counted, r);
        return MN_OK;
    }
    MN_TRY(push_string(w, r->name));
    MN_TRY(spool_payload(w, r->payload, r->size));
    PUSH(w, DATA__OFFSET, uint64_t, w->payload_bytes);
    PUSH(w, DATA__CRC, uint32_t, data__crc32c(r->payload, r->size));
    PUSH(w, DATA__WIDTH, uint16_t, r->width);
    PUSH(w, DATA__HEIGHT, uint16_t, r->height);
    PUSH(w, DATA__CHANNELS, uint8_t, r->channels);
    PUSH(w, DATA__CODEC, uint8_t, r->codec);
    PUSH(w, DATA__ORIENTATION, uint8_t, r->orientation);
    PUSH(w, DATA__MASK, uint32_t, r->mask);
    PUSH(w, DATA__SOURCE_ROW, uint32_t, r->source_row);
    push_labels(w, r);
    if (w->cfg.has_video && r->video >= 0) ((int64_t *)w->columns.values[DATA__V_COUNT])[r->video]++;
    return MN_OK;
}

// Closing

static mn_err push_video_strings(data_writer *w)
{
    uint32_t id = (uint32_t)w->columns.rows[DATA__CRC];
    size_t at = 0;
    for (int64_t v = 0; v < w->columns.rows[DATA__V_FIRST]; v++) {
        PUSH(w, DATA__V_NAME, uint32_t, id++);
        PUSH(w, DATA__V_SOURCE, uint32_t, id++);
        for (int k = 0; k < 2; k++) {
            MN_TRY(push_string(w, w->video_strings + at));
            at += strlen(w->video_strings + at) + 1;
        }
    }
    return MN_OK;
}

// What the values of a column mean: the names in their order, with a comma between two.
static mn_err put_names(const data_writer *w, hid_t file, const char *key, const char *const *names, int n)
{
    char text[256] = "";
    size_t at = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? "," : "", names[i]);
    return data__h5_put_text(file, w->temporary, key, text);
}

static mn_err put_attributes(data_writer *w, hid_t file)
{
    const data_writer_cfg *c = &w->cfg;
    char index[DATA__DIGEST_TEXT], payload[DATA__DIGEST_TEXT];
    XXH128_hash_t digest;
    MN_TRY(data__columns_digest(&w->columns, &digest));
    data__digest_text(digest, index);
    data__digest_text(XXH3_128bits_digest(w->payload), payload);
    const char *text[][2] = {{"format", DATA__FORMAT},
                             {"dataset", c->dataset},
                             {"split", c->split},
                             {"stream", c->stream},
                             {"importer", c->importer},
                             {"importer_version", MIEN_VERSION},
                             {"importer_options", *c->options_json ? c->options_json : "{}"},
                             {"created_utc", "see manifest.json"}, // so that the same source gives the same bytes
                             {"source_manifest_xxh3", c->source},
                             {"terms_note", "The records are under the terms of the dataset they come from."},
                             {"payload_xxh3", payload},
                             {"index_xxh3", index}};
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        MN_TRY(data__h5_put_text(file, w->temporary, text[i][0], text[i][1]));
    if (c->has_expr) MN_TRY(put_names(w, file, "expressions", data_expression, DATA_EXPRESSIONS));
    if (c->has_au) MN_TRY(put_names(w, file, "action_units", data_au, DATA_AUS));
    MN_TRY(data__h5_put_int(file, w->temporary, "format_version", DATA__FORMAT_VERSION));
    MN_TRY(data__h5_put_int(file, w->temporary, "shard_index", c->index));
    MN_TRY(data__h5_put_int(file, w->temporary, "shard_count", c->count));
    MN_TRY(data__h5_put_int(file, w->temporary, "n_records", w->columns.rows[DATA__CRC]));
    return data__h5_put_int(file, w->temporary, "payload_bytes", (int64_t)w->payload_bytes);
}

// The HDF5 part: everything but the payload's bytes.
static mn_err write_structure(data_writer *w, uint64_t *payload_offset)
{
    hid_t file;
    mn_err err = MN_OK;
    (void)unlink(w->temporary); // left by a killed process
    MN_TRY(data__h5_create(&file, w->temporary, DATA__SEAL_BYTES));
    MN_TRY_OUT(err, data__h5_reserve(file, w->temporary, "payload", w->payload_bytes, payload_offset));
    for (int i = 0; i < DATA__COLUMN_COUNT; i++)
        if (w->columns.values[i])
            MN_TRY_OUT(err, data__h5_write(file, w->temporary, data__column[i].name, data__column[i].type,
                                           w->columns.rows[i], data__column[i].width == 1 ? 0 : data__column[i].width,
                                           w->columns.values[i]));
    MN_TRY_OUT(err, put_attributes(w, file));
out:
    if (err == MN_OK) return data__h5_close(file, w->temporary);
    (void)H5Fclose(file); // the first failure is the one to report
    return err;
}

static mn_err copy_payload(data_writer *w, int fd, uint64_t offset)
{
    off_t from = 0, to = (off_t)offset;
    while ((uint64_t)from < w->payload_bytes) {
        ssize_t n = copy_file_range(w->spool, &from, fd, &to, (size_t)(w->payload_bytes - (uint64_t)from), 0);
        if (n > 0 || (n < 0 && errno == EINTR)) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
            return mn_fail(MN_EIO, "%s: writing: %s", w->temporary, strerror(errno));
        // Not possible between these files: by hand, through the buffer.
        uint64_t left = w->payload_bytes - (uint64_t)from;
        size_t k = left < BUFFER ? (size_t)left : BUFFER;
        MN_TRY(data_file_pread(w->spool, w->temporary, w->buffer, k, (uint64_t)from));
        MN_TRY(data_file_pwrite(fd, w->temporary, w->buffer, k, (uint64_t)to));
        from += (off_t)k;
        to += (off_t)k;
    }
    return MN_OK;
}

// Reads everything back: a full disk or a failing one is noticed here, not when a training reads the shard.
static mn_err read_back(data_writer *w)
{
    data_shard *s = NULL;
    MN_TRY(data_shard_open(&s, w->temporary));
    mn_err err = data_shard_verify(s, NULL);
    if (err == MN_OK && data_shard_index(s)->n != w->columns.rows[DATA__CRC])
        err = mn_fail(MN_EIO, "%s: reads back with another number of records", w->temporary);
    data_shard_close(s);
    return err;
}

static mn_err write_file(data_writer *w)
{
    data__seal seal = {.payload_bytes = w->payload_bytes};
    mn_err err = MN_OK;
    int fd = -1;
    MN_TRY(flush(w));
    MN_TRY(push_video_strings(w));
    MN_TRY(write_structure(w, &seal.payload_offset));
    fd = open(w->temporary, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return mn_fail(MN_EIO, "%s: %s", w->temporary, strerror(errno));
    if (mn_fault("shard.structure")) err = mn_fail(MN_EIO, "%s: injected failure", w->temporary);
    if (err != MN_OK) goto out;
    MN_TRY_OUT(err, copy_payload(w, fd, seal.payload_offset));
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0) {
        err = mn_fail(MN_EIO, "%s: %s", w->temporary, strerror(errno));
        goto out;
    }
    seal.file_bytes = (uint64_t)size;
    MN_TRY_OUT(err, data__seal_write(fd, w->temporary, &seal));
    MN_TRY_OUT(err, read_back(w));
    if (mn_fault("shard.sync")) err = mn_fail(MN_EIO, "%s: injected failure of fsync", w->temporary);
out:;
    mn_err closed = mn_file_close(fd, err == MN_OK, w->temporary);
    return err == MN_OK ? closed : err;
}

mn_err data_writer_close(data_writer *w)
{
    if (!w) return MN_OK;
    mn_assert(!w->cfg.counts);
    mn_err err = write_file(w);
    if (err == MN_OK && mn_fault("shard.rename")) err = mn_fail(MN_EIO, "%s: injected failure of a rename", w->path);
    if (err == MN_OK) err = data_file_publish(w->temporary, w->path);
    if (err != MN_OK) (void)unlink(w->temporary);
    data_writer_abort(w);
    return err;
}
