// The index of a shard: everything but the payload, read and checked once, when the shard is opened.
#include "data/shard_index.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

static mn_err get_text(const data_shard *s, const data__hdf5 *h, const char *name, char *text, size_t size)
{
    const data__hdf5_attribute *a = data__hdf5_attribute_of(h, name);
    if (!a || !a->text || strlen(a->text) >= size)
        return mn_fail(MN_EDATA, "%s: no text attribute '%s' of at most %zu bytes", s->path, name, size - 1);
    memcpy(text, a->text, strlen(a->text) + 1);
    return MN_OK;
}

static mn_err get_int(const data_shard *s, const data__hdf5 *h, const char *name, int64_t *value)
{
    const data__hdf5_attribute *a = data__hdf5_attribute_of(h, name);
    if (!a || a->text) return mn_fail(MN_EDATA, "%s: no integer attribute '%s'", s->path, name);
    *value = a->number;
    return MN_OK;
}

static mn_err read_attributes(data_shard *s, const data__hdf5 *h)
{
    data_shard_info *i = &s->info;
    char format[32];
    int64_t version = 0, shard = 0, shards = 0;
    MN_TRY(get_text(s, h, "format", format, sizeof(format)));
    MN_TRY(get_int(s, h, "format_version", &version));
    if (strcmp(format, DATA__FORMAT) != 0 || version != DATA__FORMAT_VERSION)
        return mn_fail(MN_EDATA, "%s: format '%s' version %lld, this program reads '%s' version %d: import again",
                       s->path, format, (long long)version, DATA__FORMAT, DATA__FORMAT_VERSION);
    MN_TRY(get_text(s, h, "dataset", i->dataset, sizeof(i->dataset)));
    MN_TRY(get_text(s, h, "split", i->split, sizeof(i->split)));
    MN_TRY(get_text(s, h, "stream", i->stream, sizeof(i->stream)));
    MN_TRY(get_text(s, h, "importer", i->importer, sizeof(i->importer)));
    MN_TRY(get_text(s, h, "created_utc", i->created_utc, sizeof(i->created_utc)));
    MN_TRY(get_text(s, h, "source_manifest_xxh3", i->source, sizeof(i->source)));
    MN_TRY(get_text(s, h, "payload_xxh3", i->payload, sizeof(i->payload)));
    MN_TRY(get_text(s, h, "index_xxh3", i->index, sizeof(i->index)));
    const data__hdf5_attribute *options = data__hdf5_attribute_of(h, "importer_options");
    if (!options || !options->text) return mn_fail(MN_EDATA, "%s: no text attribute 'importer_options'", s->path);
    s->options = mn_strdup(options->text);
    MN_TRY(get_int(s, h, "shard_index", &shard));
    MN_TRY(get_int(s, h, "shard_count", &shards));
    if (shard < 0 || shard >= shards || shards > INT32_MAX)
        return mn_fail(MN_EDATA, "%s: is shard %lld of %lld", s->path, (long long)shard, (long long)shards);
    i->options = s->options;
    i->shard = (int)shard;
    i->shards = (int)shards;
    MN_TRY(get_int(s, h, "n_records", &i->records));
    if (i->records < 0 || (uint64_t)i->records > s->seal.file_bytes)
        return mn_fail(MN_EDATA, "%s: claims %lld records", s->path, (long long)i->records);
    return MN_OK;
}

// Copies a column to memory of its own, where its numbers are aligned.
static mn_err copy_column(data_shard *s, const data__part_file *file, const data__hdf5_dataset *d, int c)
{
    const data__column_row *k = &data__column[c];
    const uint8_t *bytes = d->bytes ? data__part_bytes(file, d->at, d->bytes) : (const uint8_t *)"";
    int flat = k->width == 1;
    if (d->type != k->type || d->dims != (flat ? 1 : 2) || (!flat && d->extent[1] != (uint64_t)k->width) || !bytes)
        return mn_fail(MN_EDATA, "%s: dataset '%s' has another type, shape or place than this format", s->path,
                       k->name);
    s->columns.values[c] = malloc(d->bytes + 1);
    if (!s->columns.values[c])
        return mn_fail(MN_EMEM, "%s: no memory for the %llu bytes of '%s'", s->path, (unsigned long long)d->bytes,
                       k->name);
    memcpy(s->columns.values[c], bytes, d->bytes);
    s->columns.rows[c] = (int64_t)d->extent[0];
    return MN_OK;
}

static mn_err read_columns(data_shard *s, const data__part_file *file, const data__hdf5 *h)
{
    for (int c = 0; c < DATA__COLUMN_COUNT; c++) {
        const data__column_row *k = &data__column[c];
        const data__hdf5_dataset *d = data__hdf5_find(h, k->name);
        if (!d && k->required) return mn_fail(MN_EDATA, "%s: has no dataset '%s'", s->path, k->name);
        if (!d) continue;
        MN_TRY(copy_column(s, file, d, c));
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

static mn_err check_payload(const data_shard *s, const data__hdf5 *h)
{
    const data__hdf5_dataset *d = data__hdf5_find(h, "payload");
    if (!d || d->type != DATA__U8 || d->dims != 1 || d->at != s->seal.payload_offset ||
        d->bytes != s->seal.payload_bytes)
        return mn_fail(MN_EDATA, "%s: its payload is not where its seal says", s->path);
    uint64_t bytes = d->bytes;
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
        if (offset[i] >= offset[i + 1] || offset[i + 1] > (uint64_t)size || bytes[offset[i + 1] - 1] != 0)
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

// Where the names are in the file, for a reader that does not keep them.
static void note_names(data_shard *s, const data__hdf5 *h)
{
    static const data__column_id column[] = {DATA__STRING_OFFSET, DATA__STRING_BYTES};
    for (int k = 0; k < 2; k++) {
        const data__hdf5_dataset *d = data__hdf5_find(h, data__column[column[k]].name);
        if (d) s->name_place[k] = (data__name_place){d->at, d->bytes};
    }
}

static mn_err parse(data_shard *s, const data__part_file *file, data__hdf5 *h)
{
    MN_TRY(data__hdf5_read(h, file, DATA__SEAL_BYTES, s->path));
    MN_TRY(read_attributes(s, h));
    MN_TRY(read_columns(s, file, h));
    MN_TRY(check_payload(s, h));
    MN_TRY(check_strings(s));
    MN_TRY(fill_videos(s));
    note_names(s, h);
    return MN_OK;
}

mn_err data__shard_index_parse(data_shard *s, const data__part_file *file)
{
    data__hdf5 *h = mn_calloc(1, sizeof *h);
    s->info.payload_bytes = s->seal.payload_bytes;
    s->info.payload_offset = s->seal.payload_offset;
    mn_err err = parse(s, file, h);
    free(h);
    return err;
}

mn_err data__shard_index_check(const data_shard *s)
{
    XXH128_hash_t digest;
    char text[DATA__DIGEST_TEXT];
    MN_TRY(data__columns_digest(&s->columns, &digest));
    data__digest_text(digest, text);
    if (strcmp(text, s->info.index) == 0) return MN_OK;
    return mn_fail(MN_EDATA, "%s: its index has digest %s, was written with %s", s->path, text, s->info.index);
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
