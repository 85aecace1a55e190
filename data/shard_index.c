// The index of a shard: everything but the payload, read and checked once, when the shard is opened.
#include "data/shard_index.h"

#include "data/shard_h5.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MOST = 60000 }; // an HDF5 attribute holds at most 64 KiB

// Reading the parts of an open file, after the seal has vouched for them.

static mn_err read_attributes(data_shard *s, hid_t file)
{
    data_shard_info *i = &s->info;
    char format[32];
    int64_t version, shard, shards;
    MN_TRY(data__h5_get_text(file, s->path, "format", format, sizeof(format)));
    MN_TRY(data__h5_get_int(file, s->path, "format_version", &version));
    if (strcmp(format, DATA__FORMAT) != 0 || version != DATA__FORMAT_VERSION)
        return mn_fail(MN_EDATA, "%s: format '%s' version %lld, this program reads '%s' version %d: import again",
                       s->path, format, (long long)version, DATA__FORMAT, DATA__FORMAT_VERSION);
    MN_TRY(data__h5_get_text(file, s->path, "dataset", i->dataset, sizeof(i->dataset)));
    MN_TRY(data__h5_get_text(file, s->path, "split", i->split, sizeof(i->split)));
    MN_TRY(data__h5_get_text(file, s->path, "stream", i->stream, sizeof(i->stream)));
    MN_TRY(data__h5_get_text(file, s->path, "importer", i->importer, sizeof(i->importer)));
    MN_TRY(data__h5_get_text(file, s->path, "created_utc", i->created_utc, sizeof(i->created_utc)));
    MN_TRY(data__h5_get_text(file, s->path, "source_manifest_xxh3", i->source, sizeof(i->source)));
    MN_TRY(data__h5_get_text(file, s->path, "payload_xxh3", i->payload, sizeof(i->payload)));
    MN_TRY(data__h5_get_text(file, s->path, "index_xxh3", i->index, sizeof(i->index)));
    s->options = mn_calloc(1, OPTIONS_MOST);
    MN_TRY(data__h5_get_text(file, s->path, "importer_options", s->options, OPTIONS_MOST));
    s->options = mn_realloc(s->options, strlen(s->options) + 1, 1);
    MN_TRY(data__h5_get_int(file, s->path, "shard_index", &shard));
    MN_TRY(data__h5_get_int(file, s->path, "shard_count", &shards));
    if (shard < 0 || shard >= shards || shards > INT32_MAX)
        return mn_fail(MN_EDATA, "%s: is shard %lld of %lld", s->path, (long long)shard, (long long)shards);
    i->options = s->options;
    i->shard = (int)shard;
    i->shards = (int)shards;
    return data__h5_get_int(file, s->path, "n_records", &i->records);
}

static mn_err read_columns(data_shard *s, hid_t file)
{
    for (int c = 0; c < DATA__COLUMN_COUNT; c++) {
        const data__column_row *k = &data__column[c];
        if (!k->required && !data__h5_has(file, k->name)) continue;
        MN_TRY(data__h5_read(file, s->path, k->name, k->type, k->width == 1 ? 0 : k->width, s->seal.file_bytes,
                             &s->columns.rows[c], &s->columns.values[c]));
        int64_t want = k->rows == DATA__RECORDS  ? s->info.records
                       : k->rows == DATA__BOUNDS ? s->info.records + 1
                       : k->rows == DATA__VIDEOS ? s->columns.rows[DATA__V_NAME]
                                                 : s->columns.rows[c];
        if (s->columns.rows[c] != want || want < 0)
            return mn_fail(MN_EDATA, "%s: dataset '%s' has %lld rows, not %lld", s->path, k->name,
                           (long long)s->columns.rows[c], (long long)want);
    }
    s->info.videos = s->columns.rows[DATA__V_NAME];
    return MN_OK;
}

static mn_err check_payload(const data_shard *s, hid_t file)
{
    uint64_t at, bytes;
    MN_TRY(data__h5_where(file, s->path, "payload", &at, &bytes));
    if (at != s->seal.payload_offset || bytes != s->seal.payload_bytes)
        return mn_fail(MN_EDATA, "%s: its payload is not where its seal says", s->path);
    const uint64_t *offset = s->columns.values[DATA__OFFSET];
    if (offset[0] != 0 || offset[s->info.records] != bytes)
        return mn_fail(MN_EDATA, "%s: its records do not cover its payload", s->path);
    for (int64_t i = 0; i < s->info.records; i++)
        if (offset[i] > offset[i + 1] || offset[i + 1] - offset[i] > DATA__RECORD_MOST)
            return mn_fail(MN_EDATA, "%s: record %lld has no possible size", s->path, (long long)i);
    return MN_OK;
}

// Strings 0 .. records-1 are the records' names; the video table refers to the rest by number.
static mn_err check_strings(const data_shard *s)
{
    const uint32_t *offset = s->columns.values[DATA__STRING_OFFSET];
    const char *bytes = s->columns.values[DATA__STRING_BYTES];
    int64_t n = s->columns.rows[DATA__STRING_OFFSET] - 1, size = s->columns.rows[DATA__STRING_BYTES];
    if (n < s->info.records || offset[0] != 0 || offset[n] != (uint64_t)size)
        return mn_fail(MN_EDATA, "%s: its table of names is too short", s->path);
    for (int64_t i = 0; i < n; i++)
        if (offset[i] >= offset[i + 1] || bytes[offset[i + 1] - 1] != 0)
            return mn_fail(MN_EDATA, "%s: name %lld of its table does not end", s->path, (long long)i);
    return MN_OK;
}

const char *data__shard_string(const data_shard *s, uint32_t id)
{
    const uint32_t *offset = s->columns.values[DATA__STRING_OFFSET];
    if (id >= s->columns.rows[DATA__STRING_OFFSET] - 1) return NULL;
    return (const char *)s->columns.values[DATA__STRING_BYTES] + offset[id];
}

#define COLUMN(s, id, type, i) (((const type *)(s)->columns.values[id])[i])

static mn_err fill_video(data_shard *s, int64_t i)
{
    data_video *v = &s->videos[i];
    v->name = data__shard_string(s, COLUMN(s, DATA__V_NAME, uint32_t, i));
    v->source = data__shard_string(s, COLUMN(s, DATA__V_SOURCE, uint32_t, i));
    for (int t = 0; t < DATA_TASKS; t++) {
        v->split[t] = COLUMN(s, DATA__V_SPLIT, uint8_t, i * DATA_TASKS + t);
        v->labels[t] = COLUMN(s, DATA__V_LABELS, int64_t, i * DATA_TASKS + t);
    }
    v->subject = COLUMN(s, DATA__V_SUBJECT, uint8_t, i);
    v->has_audio = COLUMN(s, DATA__V_HAS_AUDIO, uint8_t, i);
    v->audio_offset_us = COLUMN(s, DATA__V_AUDIO_OFFSET, int64_t, i);
    v->fps_num = COLUMN(s, DATA__V_FPS_NUM, int32_t, i);
    v->fps_den = COLUMN(s, DATA__V_FPS_DEN, int32_t, i);
    v->decoded = v->frames = COLUMN(s, DATA__V_FRAMES, int64_t, i);
    v->first_record = COLUMN(s, DATA__V_FIRST, int64_t, i);
    v->n_records = COLUMN(s, DATA__V_COUNT, int64_t, i);
    if (v->frames < v->n_records) v->frames = v->n_records;
    for (int t = 0; t < DATA_TASKS; t++)
        if (v->frames < v->labels[t]) v->frames = v->labels[t];
    int64_t n = s->info.records;
    if (!v->name || !v->source || v->first_record < 0 || v->n_records < 0 || v->first_record > n ||
        v->n_records > n - v->first_record || v->split[0] > DATA_SPLIT_TEST || v->split[1] > DATA_SPLIT_TEST ||
        v->split[2] > DATA_SPLIT_TEST)
        return mn_fail(MN_EDATA, "%s: row %lld of its video table is impossible", s->path, (long long)i);
    for (int64_t r = v->first_record; r < v->first_record + v->n_records; r++)
        if (COLUMN(s, DATA__VIDEO, int32_t, r) != i)
            return mn_fail(MN_EDATA, "%s: record %lld is not of the video that claims it", s->path, (long long)r);
    return MN_OK;
}

static mn_err fill_videos(data_shard *s)
{
    const void *const *c = (const void *const *)s->columns.values;
    int any = 0, all = c[DATA__VIDEO] && c[DATA__FRAME] && c[DATA__T_US] && c[DATA__SUBJECT];
    for (int i = DATA__V_NAME; i <= DATA__V_COUNT; i++) {
        any |= c[i] != NULL;
        all = all && c[i];
    }
    if (any != all || s->info.videos > INT32_MAX)
        return mn_fail(MN_EDATA, "%s: its video table lacks columns", s->path);
    if (!all) return MN_OK;
    s->videos = mn_calloc((size_t)s->info.videos + 1, sizeof(*s->videos));
    for (int64_t i = 0; i < s->info.videos; i++)
        MN_TRY(fill_video(s, i));
    for (int64_t r = 0; r < s->info.records; r++) {
        int32_t v = COLUMN(s, DATA__VIDEO, int32_t, r);
        if (v < -1 || v >= s->info.videos)
            return mn_fail(MN_EDATA, "%s: record %lld names video %d of %lld", s->path, (long long)r, v,
                           (long long)s->info.videos);
    }
    return MN_OK;
}

void data__shard_index_fill(data_shard *s)
{
    void *const *c = s->columns.values;
    s->index = (data_index){
        .n = s->info.records,
        .offset = c[DATA__OFFSET],
        .crc = c[DATA__CRC],
        .width = c[DATA__WIDTH],
        .height = c[DATA__HEIGHT],
        .channels = c[DATA__CHANNELS],
        .codec = c[DATA__CODEC],
        .orientation = c[DATA__ORIENTATION],
        .expr = c[DATA__EXPR],
        .au = c[DATA__AU],
        .va = c[DATA__VA],
        .mask = c[DATA__MASK],
        .identity = c[DATA__IDENTITY],
        .attr = c[DATA__ATTR],
        .votes = c[DATA__VOTES],
        .age = c[DATA__AGE],
        .gender = c[DATA__GENDER],
        .box = c[DATA__BOX],
        .original = c[DATA__ORIGINAL],
        .video = c[DATA__VIDEO],
        .frame = c[DATA__FRAME],
        .t_us = c[DATA__T_US],
        .source_row = c[DATA__SOURCE_ROW],
        .n_videos = (int)s->info.videos,
        .videos = s->videos,
    };
}

static mn_err read_file(data_shard *s)
{
    hid_t file;
    mn_err err = MN_OK;
    MN_TRY(data__h5_open(&file, s->path));
    MN_TRY_OUT(err, read_attributes(s, file));
    MN_TRY_OUT(err, read_columns(s, file));
    MN_TRY_OUT(err, check_payload(s, file));
    MN_TRY_OUT(err, check_strings(s));
    MN_TRY_OUT(err, fill_videos(s));
    XXH128_hash_t digest;
    char text[DATA__DIGEST_TEXT];
    MN_TRY_OUT(err, data__columns_digest(&s->columns, &digest));
    data__digest_text(digest, text);
    if (strcmp(text, s->info.index) != 0)
        err = mn_fail(MN_EDATA, "%s: its index has digest %s, was written with %s", s->path, text, s->info.index);
out:
    if (H5Fclose(file) < 0 && err == MN_OK) err = data__h5_fail(MN_EDATA, s->path, "closing failed");
    return err;
}

// The seal has vouched for every byte that is parsed, so what fails now is the way here, and is tried again, or a file that
// was never written by this program. HDF5 tells a failing read by errno alone.
mn_err data__shard_index_read(data_shard *s)
{
    enum { ATTEMPTS = 3 };
    mn_err err = MN_EIO;
    for (int attempt = 0; attempt < ATTEMPTS && (err == MN_EDATA || err == MN_EIO); attempt++) {
        data__columns_free(&s->columns);
        free(s->videos);
        free(s->options);
        s->videos = NULL;
        s->options = NULL;
        errno = 0;
        err = read_file(s);
        if (err == MN_EDATA && errno == EIO)
            err = mn_fail(MN_EIO, "%s: cannot read its index: %s", s->path, strerror(EIO));
    }
    return err;
}

// The video table refers to names; the columns that hold them are about to go.
static void own_video_names(data_shard *s)
{
    size_t bytes = 0, at = 0;
    for (int64_t i = 0; i < s->info.videos; i++)
        bytes += strlen(s->videos[i].name) + strlen(s->videos[i].source) + 2;
    s->video_names = mn_calloc(1, bytes + 1);
    for (int64_t i = 0; i < s->info.videos; i++)
        for (int k = 0; k < 2; k++) {
            const char **name = k ? &s->videos[i].source : &s->videos[i].name;
            size_t n = strlen(*name) + 1;
            memcpy(s->video_names + at, *name, n);
            *name = s->video_names + at;
            at += n;
        }
}

void data__shard_index_drop(data_shard *s, int keep)
{
    static const data__column_id always[] = {DATA__OFFSET, DATA__CRC, DATA__MASK, DATA__VIDEO, DATA__FRAME, DATA__T_US};
    static const data__column_id label[] = {DATA__EXPR, DATA__AU, DATA__VA, DATA__IDENTITY}; // order of DATA_KEEP_*
    int kept[DATA__COLUMN_COUNT] = {0};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        kept[always[i]] = 1;
    for (size_t i = 0; i < sizeof label / sizeof *label; i++)
        kept[label[i]] = keep >> i & 1;
    if (s->videos) own_video_names(s);
    for (int i = 0; i < DATA__COLUMN_COUNT; i++) {
        if (kept[i]) continue;
        free(s->columns.values[i]);
        s->columns.values[i] = NULL;
    }
    s->names = mn_calloc(1, sizeof *s->names);
    int failed = pthread_mutex_init(&s->names->lock, NULL);
    mn_assert(!failed); // glibc never refuses it
}
