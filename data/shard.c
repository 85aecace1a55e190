#include "data/shard_index.h"

#include "data/file.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

mn_err data_shard_open(data_shard **out, const char *path)
{
    return data_shard_open_with(out, path, DATA_KEEP_ALL);
}

// The bytes that the seal has vouched for are the ones that are parsed. A second look: the first may have been damaged on
// its way here.
static mn_err read_index(data_shard *s)
{
    data__part_file file;
    void *memory;
    mn_err err = data__seal_read(s->fd, s->path, s->info.file_bytes, &s->seal, &file, &memory);
    if (err == MN_EDATA) err = data__seal_read(s->fd, s->path, s->info.file_bytes, &s->seal, &file, &memory);
    if (err == MN_OK) err = data__shard_index_parse(s, &file);
    if (err == MN_OK) err = data__shard_index_check(s);
    free(memory);
    return err;
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
    MN_TRY_OUT(err, read_index(s));
    if (keep != DATA_KEEP_ALL) data__shard_index_drop(s, keep);
    data__shard_index_fill(s);
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
        free(s->names->table[0]);
        free(s->names->table[1]);
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
    for (int k = 0; k < 2; k++) {
        const data__name_place *p = &s->name_place[k];
        s->names->table[k] = malloc(p->bytes + 1);
        if (!s->names->table[k]) return mn_fail(MN_EMEM, "%s: no memory for its names", s->path);
        MN_TRY(data_file_pread(s->fd, s->path, s->names->table[k], p->bytes, p->at));
    }
    return MN_OK;
}

const char *data_shard_name(const data_shard *s, int64_t i)
{
    mn_assert(i >= 0 && i < s->info.records);
    if (!s->names) return data__shard_string(s, (uint32_t)i);
    pthread_mutex_lock(&s->names->lock);
    if (!s->names->read && !s->names->failed) {
        s->names->failed = read_names(s) != MN_OK;
        s->names->read = !s->names->failed;
    }
    int failed = s->names->failed;
    pthread_mutex_unlock(&s->names->lock);
    if (failed) return "?";
    uint32_t at = ((const uint32_t *)s->names->table[0])[i];
    const char *bytes = s->names->table[1];
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
