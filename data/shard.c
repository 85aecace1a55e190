#include "data/shard.h"

#include "data/file.h"
#include "data/shard_columns.h"
#include "data/shard_h5.h"
#include "data/shard_seal.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Names of the records that an error asked for, read when they are not kept.
typedef struct data__names {
    pthread_mutex_t lock;
    void *offset, *bytes; // NULL: not read
    int failed;
} data__names;

struct data_shard {
    int fd;
    atomic_int *copy; // descriptor of a copy of the file, -1: none
    char *path, *options;
    data__seal seal;
    data__columns columns;
    data_index index;
    data_video *videos;
    data_shard_info info;
    char *video_names; // own copies of them, when the other names are not kept
    data__names *names;
};

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

static const char *string_at(const data_shard *s, uint32_t id)
{
    const uint32_t *offset = s->columns.values[DATA__STRING_OFFSET];
    if (id >= s->columns.rows[DATA__STRING_OFFSET] - 1) return NULL;
    return (const char *)s->columns.values[DATA__STRING_BYTES] + offset[id];
}

#define COLUMN(s, id, type, i) (((const type *)(s)->columns.values[id])[i])

static mn_err fill_video(data_shard *s, int64_t i)
{
    data_video *v = &s->videos[i];
    v->name = string_at(s, COLUMN(s, DATA__V_NAME, uint32_t, i));
    v->source = string_at(s, COLUMN(s, DATA__V_SOURCE, uint32_t, i));
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

static void fill_index(data_shard *s)
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
static mn_err read_index(data_shard *s)
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

static void drop_columns(data_shard *s, int keep)
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

mn_err data_shard_open(data_shard **out, const char *path)
{
    return data_shard_open_with(out, path, DATA_KEEP_ALL);
}

mn_err data_shard_open_with(data_shard **out, const char *path, int keep)
{
    data_shard *s = mn_calloc(1, sizeof(*s));
    mn_err err = MN_OK;
    s->fd = -1;
    s->copy = mn_calloc(1, sizeof *s->copy);
    atomic_init(s->copy, -1);
    s->path = mn_strdup(path);
    s->info.path = s->path;
    int64_t bytes;
    MN_TRY_OUT(err, mn_file_open(&s->fd, path, &bytes));
    s->info.file_bytes = (uint64_t)bytes;
    MN_TRY_OUT(err, data__seal_check(s->fd, path, s->info.file_bytes, &s->seal));
    s->info.payload_bytes = s->seal.payload_bytes;
    s->info.payload_offset = s->seal.payload_offset;
    MN_TRY_OUT(err, read_index(s));
    if (keep != DATA_KEEP_ALL) drop_columns(s, keep);
    fill_index(s);
    *out = s;
    s = NULL;
out:
    data_shard_close(s);
    return err;
}

void data_shard_close(data_shard *s)
{
    if (!s) return;
    if (s->fd >= 0) (void)close(s->fd);
    data__columns_free(&s->columns);
    if (s->names) {
        pthread_mutex_destroy(&s->names->lock);
        free(s->names->offset);
        free(s->names->bytes);
        free(s->names);
    }
    free(s->copy);
    free(s->video_names);
    free(s->videos);
    free(s->options);
    free(s->path);
    free(s);
}

const data_index *data_shard_index(const data_shard *s)
{
    return &s->index;
}

void data_shard_key(const data_shard *s, char key[DATA__DIGEST_TEXT])
{
    unsigned char block[DATA__SEAL_BYTES];
    XXH128_canonical_t c;
    data__seal_format(&s->seal, block);
    memcpy(&c, block + sizeof block - sizeof c, sizeof c);
    data__digest_text(XXH128_hashFromCanonical(&c), key);
}

void data_shard_use_copy(const data_shard *s, int fd)
{
    atomic_store(s->copy, fd);
}

const data_shard_info *data_shard_about(const data_shard *s)
{
    return &s->info;
}

static mn_err read_names(const data_shard *s)
{
    static const data__column_id column[] = {DATA__STRING_OFFSET, DATA__STRING_BYTES};
    void **to[] = {&s->names->offset, &s->names->bytes};
    hid_t file;
    mn_err err = MN_OK;
    MN_TRY(data__h5_open(&file, s->path));
    for (int k = 0; k < 2 && err == MN_OK; k++) {
        const data__column_row *c = &data__column[column[k]];
        int64_t rows;
        err = data__h5_read(file, s->path, c->name, c->type, 0, s->seal.file_bytes, &rows, to[k]);
        if (err == MN_OK && rows != s->columns.rows[column[k]])
            err = mn_fail(MN_EDATA, "%s: dataset '%s' is not what it was", s->path, c->name);
    }
    mn_err closed = data__h5_close(file, s->path);
    return err == MN_OK ? closed : err;
}

const char *data_shard_name(const data_shard *s, int64_t i)
{
    mn_assert(i >= 0 && i < s->info.records);
    if (!s->names) return string_at(s, (uint32_t)i);
    pthread_mutex_lock(&s->names->lock);
    if (!s->names->bytes && !s->names->failed) s->names->failed = read_names(s) != MN_OK;
    int failed = s->names->failed;
    pthread_mutex_unlock(&s->names->lock);
    if (failed) return "?";
    uint32_t at = ((const uint32_t *)s->names->offset)[i];
    const char *bytes = s->names->bytes;
    // The table was checked when the shard was opened; the file may have changed since.
    return at < s->columns.rows[DATA__STRING_BYTES] &&
                   memchr(bytes + at, 0, (size_t)s->columns.rows[DATA__STRING_BYTES] - at)
               ? bytes + at
               : "?";
}

size_t data_shard_size(const data_shard *s, int64_t i)
{
    mn_assert(i >= 0 && i < s->info.records);
    return (size_t)(s->index.offset[i + 1] - s->index.offset[i]);
}

uint64_t data_shard_byte(const data_shard *s, int64_t i)
{
    mn_assert(i >= 0 && i < s->info.records);
    return s->seal.payload_offset + s->index.offset[i];
}

void data_shard_prefetch(const data_shard *s, int64_t i)
{
    int copy = atomic_load_explicit(s->copy, memory_order_acquire);
    size_t n = data_shard_size(s, i);
    if (n) (void)posix_fadvise(copy >= 0 ? copy : s->fd, (off_t)data_shard_byte(s, i), (off_t)n, POSIX_FADV_WILLNEED);
}

mn_err data_shard_read(const data_shard *s, int64_t i, void *buffer, size_t capacity, size_t *size)
{
    size_t n = data_shard_size(s, i);
    uint64_t at = s->seal.payload_offset + s->index.offset[i];
    if (n > capacity)
        return mn_fail(MN_EINTERNAL, "%s: record %lld has %zu bytes, the buffer %zu", s->path, (long long)i, n,
                       capacity);
    int copy = atomic_load_explicit(s->copy, memory_order_acquire);
    *size = n;
    if (copy >= 0 && data_file_pread(copy, s->path, buffer, n, at) == MN_OK &&
        data__crc32c(buffer, n) == s->index.crc[i])
        return MN_OK;
    for (int attempt = 0; attempt < 2; attempt++) { // a second look: the first may have been damaged on its way here
        MN_TRY(data_file_pread(s->fd, s->path, buffer, n, at));
        if (data__crc32c(buffer, n) == s->index.crc[i]) return MN_OK;
    }
    return mn_fail(MN_EDATA, "%s: record %lld (%s, %zu bytes at byte %llu) is damaged: its CRC32C differs", s->path,
                   (long long)i, data_shard_name(s, i), n, (unsigned long long)at);
}

mn_err data_shard_check(const data_shard *s, int64_t i)
{
    enum { PIECE = 64 << 10 };
    size_t n = data_shard_size(s, i);
    uint64_t start = s->seal.payload_offset + s->index.offset[i];
    uint8_t piece[PIECE];
    for (int attempt = 0; attempt < 2; attempt++) {
        uint32_t crc = 0;
        for (size_t at = 0; at < n; at += PIECE) {
            size_t left = n - at < PIECE ? n - at : PIECE;
            MN_TRY(data_file_pread(s->fd, s->path, piece, left, start + at));
            crc = data__crc32c_more(crc, piece, left);
        }
        if (crc == s->index.crc[i]) return MN_OK;
    }
    return mn_fail(MN_EDATA, "%s: record %lld (%s, %zu bytes at byte %llu) is damaged: its CRC32C differs", s->path,
                   (long long)i, data_shard_name(s, i), n, (unsigned long long)start);
}

mn_err data_shard_slice(const data_shard *s, int64_t i, size_t at, void *buffer, size_t n)
{
    mn_assert(at <= data_shard_size(s, i) && n <= data_shard_size(s, i) - at);
    return data_file_pread(s->fd, s->path, buffer, n, s->seal.payload_offset + s->index.offset[i] + at);
}

// A disk that fails here and there is read to its end, one that is gone is not.
enum { UNREADABLE_MOST = 16 };

static mn_err verify_records(const data_shard *s, const data_shard_watch *watch, XXH3_state_t *h, void *buffer,
                             size_t most)
{
    int64_t damaged = 0;
    int unreadable = 0;
    size_t size;
    for (int64_t i = 0; i < s->info.records; i++) {
        mn_err err = data_shard_read(s, i, buffer, most, &size);
        uint64_t byte = s->seal.payload_offset + s->index.offset[i];
        if (err != MN_OK) {
            unreadable = err == MN_EDATA ? 0 : unreadable + 1;
            if (!watch || (err != MN_EDATA && err != MN_EIO) || unreadable > UNREADABLE_MOST) return err;
            watch->damaged(watch->ctx, err, i, byte, mn_errmsg());
            damaged++;
            continue;
        }
        unreadable = 0;
        if (watch && watch->sound) watch->sound(watch->ctx, i, byte, buffer, size);
        (void)XXH3_128bits_update(h, buffer, size);
    }
    char text[DATA__DIGEST_TEXT];
    data__digest_text(XXH3_128bits_digest(h), text);
    if (damaged > 0 || strcmp(text, s->info.payload) == 0) return MN_OK;
    mn_err err =
        mn_fail(MN_EDATA, "%s: its payload has digest %s, was written with %s", s->path, text, s->info.payload);
    if (!watch) return err;
    watch->damaged(watch->ctx, err, -1, s->seal.payload_offset, mn_errmsg());
    return MN_OK;
}

mn_err data_shard_verify(const data_shard *s, const data_shard_watch *watch)
{
    XXH3_state_t *h = XXH3_createState();
    size_t most = 0;
    for (int64_t i = 0; i < s->info.records; i++)
        if (data_shard_size(s, i) > most) most = data_shard_size(s, i);
    void *buffer = malloc(most + 1);
    mn_err err = h && buffer && XXH3_128bits_reset(h) == XXH_OK
                     ? verify_records(s, watch, h, buffer, most)
                     : mn_fail(MN_EMEM, "%s: no memory for its largest record, %zu bytes", s->path, most);
    free(buffer);
    (void)XXH3_freeState(h);
    return err;
}
