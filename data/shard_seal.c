#include "data/shard_seal.h"

#include "data/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char magic[16] = "mien sealed hdf5";
enum { COVERED = DATA__SEAL_BYTES - 16, BLOCK = 1 << 20 };
#define INDEX_MOST ((uint64_t)2 << 30) // 20 million records

void data__digest_text(XXH128_hash_t h, char text[DATA__DIGEST_TEXT])
{
    static const char digit[] = "0123456789abcdef";
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, h);
    for (int i = 0; i < 16; i++) {
        text[2 * i] = digit[c.digest[i] >> 4];
        text[2 * i + 1] = digit[c.digest[i] & 15];
    }
    text[32] = 0;
}

int data__is_digest(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

mn_err data__seal_parse(const void *block, size_t size, const char *path, data__seal *out)
{
    const unsigned char *p = block;
    if (size < DATA__SEAL_BYTES || memcmp(p, magic, sizeof(magic)) != 0)
        return mn_fail(MN_EDATA, "%s: not a mien shard, or its first bytes are damaged", path);
    XXH128_canonical_t c;
    memcpy(&c, p + COVERED, sizeof(c));
    if (!XXH128_isEqual(XXH128_hashFromCanonical(&c), XXH3_128bits(p, COVERED)))
        return mn_fail(MN_EDATA, "%s: damaged in its first %d bytes", path, DATA__SEAL_BYTES);
    data__seal s = {0};
    memcpy(&s.file_bytes, p + 16, 8);
    memcpy(&s.payload_offset, p + 24, 8);
    memcpy(&s.payload_bytes, p + 32, 8);
    memcpy(&c, p + 40, sizeof(c));
    s.digest = XXH128_hashFromCanonical(&c);
    int empty = s.payload_bytes == 0 && s.payload_offset == 0;
    if (s.file_bytes < DATA__SEAL_BYTES ||
        (!empty && (s.payload_offset < DATA__SEAL_BYTES || s.payload_bytes == 0 || s.payload_offset > s.file_bytes ||
                    s.payload_bytes > s.file_bytes - s.payload_offset)))
        return mn_fail(MN_EDATA, "%s: its payload lies outside the file", path);
    *out = s;
    return MN_OK;
}

void data__seal_format(const data__seal *s, void *block)
{
    unsigned char *p = block;
    XXH128_canonical_t c;
    memset(p, 0, DATA__SEAL_BYTES);
    memcpy(p, magic, sizeof(magic));
    memcpy(p + 16, &s->file_bytes, 8);
    memcpy(p + 24, &s->payload_offset, 8);
    memcpy(p + 32, &s->payload_bytes, 8);
    XXH128_canonicalFromHash(&c, s->digest);
    memcpy(p + 40, &c, sizeof(c));
    XXH128_canonicalFromHash(&c, XXH3_128bits(p, COVERED));
    memcpy(p + COVERED, &c, sizeof(c));
}

static mn_err add_range(XXH3_state_t *h, int fd, const char *path, uint64_t begin, uint64_t end, void *buffer)
{
    for (uint64_t at = begin; at < end;) {
        size_t n = end - at < BLOCK ? (size_t)(end - at) : BLOCK;
        MN_TRY(data_file_pread(fd, path, buffer, n, at));
        (void)XXH3_128bits_update(h, buffer, n);
        at += n;
    }
    return MN_OK;
}

// Of the bytes that the seal covers.
static mn_err digest_covered(int fd, const char *path, const data__seal *s, XXH128_hash_t *digest)
{
    XXH3_state_t *h = XXH3_createState();
    void *buffer = mn_calloc(1, BLOCK);
    mn_err err = MN_OK;
    if (!h || XXH3_128bits_reset(h) != XXH_OK) {
        err = mn_fail(MN_EMEM, "%s: no memory for a digest", path);
        goto out;
    }
    uint64_t begin = s->payload_bytes ? s->payload_offset : s->file_bytes;
    MN_TRY_OUT(err, add_range(h, fd, path, DATA__SEAL_BYTES, begin, buffer));
    MN_TRY_OUT(err, add_range(h, fd, path, begin + s->payload_bytes, s->file_bytes, buffer));
    *digest = XXH3_128bits_digest(h);
out:
    free(buffer);
    (void)XXH3_freeState(h);
    return err;
}

static mn_err read_seal(int fd, const char *path, uint64_t file_bytes, data__seal *seal)
{
    unsigned char block[DATA__SEAL_BYTES];
    if (file_bytes < sizeof(block))
        return mn_fail(MN_EDATA, "%s: %llu bytes is too short for a shard: the file was cut", path,
                       (unsigned long long)file_bytes);
    MN_TRY(data_file_pread(fd, path, block, sizeof(block), 0));
    MN_TRY(data__seal_parse(block, sizeof(block), path, seal));
    if (seal->file_bytes != file_bytes)
        return mn_fail(MN_EDATA, "%s: has %llu bytes, was written with %llu: the file was cut or added to", path,
                       (unsigned long long)file_bytes, (unsigned long long)seal->file_bytes);
    return MN_OK;
}

static mn_err check_digest(XXH128_hash_t digest, const char *path, const data__seal *seal)
{
    if (XXH128_isEqual(digest, seal->digest)) return MN_OK;
    return mn_fail(MN_EDATA, "%s: its index (labels, offsets, structure) is damaged", path);
}

mn_err data__seal_check(int fd, const char *path, uint64_t file_bytes, data__seal *seal)
{
    XXH128_hash_t digest;
    MN_TRY(read_seal(fd, path, file_bytes, seal));
    MN_TRY(digest_covered(fd, path, seal, &digest));
    return check_digest(digest, path, seal);
}

mn_err data__seal_read(int fd, const char *path, uint64_t file_bytes, data__seal *seal, data__part_file *part,
                       void **memory)
{
    *memory = NULL;
    MN_TRY(read_seal(fd, path, file_bytes, seal));
    uint64_t head = seal->payload_bytes ? seal->payload_offset : file_bytes, tail_at = head + seal->payload_bytes;
    uint64_t bytes = file_bytes - seal->payload_bytes;
    if (bytes > INDEX_MOST)
        return mn_fail(MN_EDATA, "%s: claims an index of %llu bytes", path, (unsigned long long)bytes);
    uint8_t *p = malloc(bytes);
    if (!p) return mn_fail(MN_EMEM, "%s: no memory for its index of %llu bytes", path, (unsigned long long)bytes);
    mn_err err = data_file_pread(fd, path, p, head, 0);
    if (err == MN_OK) err = data_file_pread(fd, path, p + head, bytes - head, tail_at);
    if (err == MN_OK) err = check_digest(XXH3_128bits(p + DATA__SEAL_BYTES, bytes - DATA__SEAL_BYTES), path, seal);
    if (err != MN_OK) {
        free(p);
        return err;
    }
    *part = (data__part_file){p, p + head, head, tail_at, file_bytes};
    *memory = p;
    return MN_OK;
}

mn_err data__seal_write(int fd, const char *path, data__seal *seal)
{
    unsigned char block[DATA__SEAL_BYTES];
    MN_TRY(digest_covered(fd, path, seal, &seal->digest));
    data__seal_format(seal, block);
    return data_file_pwrite(fd, path, block, sizeof(block), 0);
}
