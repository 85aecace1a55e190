// The seal: the first 4096 bytes of a shard (HDF5's user block, which HDF5 skips) with the XXH3-128 of every byte of the
// file that is neither seal nor payload, because HDF5 reads many flipped bits of its own structures, and of labels and
// offsets, without a word. It is checked before anything of them is parsed. The payload has a CRC32C a record.
//
//     0 "mien sealed hdf5"   16 u64 file bytes   24 u64 payload offset   32 u64 payload bytes   40 digest (16 bytes)
//     4080 XXH3-128 of the 4080 bytes before it; digests are canonical (big-endian), numbers little-endian
//
// Threading: pure functions.
#ifndef DATA_SHARD_SEAL_H
#define DATA_SHARD_SEAL_H

#include "data/hdf5_read.h"
#include "nn/base/err.h"

#include <stdint.h>
#include <xxhash.h>

#define DATA__SEAL_BYTES 4096
#define DATA__DIGEST_TEXT 33 // 32 hexadecimal digits and the end

typedef struct data__seal {
    uint64_t file_bytes, payload_offset, payload_bytes; // offset 0 when there is no payload
    XXH128_hash_t digest;
} data__seal;

// Pure function over the first DATA__SEAL_BYTES bytes of a file.
MN_MUST_CHECK mn_err data__seal_parse(const void *block, size_t size, const char *path, data__seal *out);
void data__seal_format(const data__seal *seal, void *block);
// Reads, parses and checks: MN_EDATA when the file was cut or any covered bit differs.
MN_MUST_CHECK mn_err data__seal_check(int fd, const char *path, uint64_t file_bytes, data__seal *seal);
// The same, and *part is all of the file but its payload, the bytes that were checked: free *memory.
MN_MUST_CHECK mn_err data__seal_read(int fd, const char *path, uint64_t file_bytes, data__seal *seal,
                                     data__part_file *part, void **memory);
MN_MUST_CHECK mn_err data__seal_write(int fd, const char *path, data__seal *seal); // fills in seal->digest

void data__digest_text(XXH128_hash_t h, char text[DATA__DIGEST_TEXT]);
int data__is_digest(const char *text); // 32 lower-case hexadecimal digits

#endif
