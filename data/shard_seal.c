#include "data/shard_seal.h"

#include "data/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char magic[16] = "mien sealed hdf5";
enum { COVERED = DATA__SEAL_BYTES - 16, BLOCK = 1 << 20 };

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

mn_err data__seal_check(int fd, const char *path, uint64_t file_bytes, data__seal *seal)
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
    XXH128_hash_t digest;
    MN_TRY(digest_covered(fd, path, seal, &digest));
    if (!XXH128_isEqual(digest, seal->digest))
        return mn_fail(MN_EDATA, "%s: its index (labels, offsets, structure) is damaged", path);
    return MN_OK;
}

mn_err data__seal_write(int fd, const char *path, data__seal *seal)
{
    unsigned char block[DATA__SEAL_BYTES];
    MN_TRY(digest_covered(fd, path, seal, &seal->digest));
    data__seal_format(seal, block);
    return data_file_pwrite(fd, path, block, sizeof(block), 0);
}
