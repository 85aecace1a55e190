// A shard's HDF5 structures, columns and video table, as if its seal had vouched for them. Input: where the payload is
// (u64) and its bytes (u64), then the file from byte 4096 on without its payload. Seeds are made by
//     python3 -c 'import sys; b = open(sys.argv[1], "rb").read(); at, n = (int.from_bytes(b[i:i+8], "little") for i in
//         (24, 32)); sys.stdout.buffer.write(b[24:40] + b[4096:at] + b[at+n:])' SHARD.h5 >seeds/shard_fuzz/NAME
// fuzz-length: 32768
// fuzz-sources: data/hdf5_read.c data/shard_index.c data/shard_columns.c data/shard_seal.c data/shard.c data/file.c
#include "data/shard_index.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static uint64_t touched; // keeps what is read from being left out

static void read_all(const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    for (int64_t i = 0; i < x->n; i++) {
        touched += data_shard_size(s, i) + data_shard_byte(s, i) + strlen(data_shard_name(s, i)) + x->crc[i];
        if (data_shard_byte(s, i) + data_shard_size(s, i) > s->seal.file_bytes) abort();
        if (x->expr) touched += (uint64_t)x->expr[i];
        if (x->va) touched += (uint64_t)(x->va[2 * i] > x->va[2 * i + 1]);
        if (x->au) touched += (uint64_t)x->au[12 * i + 11];
    }
    for (int v = 0; v < x->n_videos; v++)
        touched += strlen(x->videos[v].name) + strlen(x->videos[v].source) + (uint64_t)x->videos[v].n_records;
}

static void *copy(const unsigned char *bytes, size_t n) // of exactly this size: ASan sees what is read behind it
{
    void *p = malloc(n ? n : 1);
    if (!p) abort();
    if (n) memcpy(p, bytes, n);
    return p;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 16) return 0;
    data__seal seal = {0};
    memcpy(&seal.payload_offset, data, 8);
    memcpy(&seal.payload_bytes, data + 8, 8);
    seal.file_bytes = DATA__SEAL_BYTES + size - 16 + seal.payload_bytes;
    unsigned char block[DATA__SEAL_BYTES];
    data__seal_format(&seal, block);
    if (data__seal_parse(block, sizeof block, "x", &seal) != MN_OK) return 0;
    uint64_t here = DATA__SEAL_BYTES + size - 16, head = seal.payload_bytes ? seal.payload_offset : here;
    unsigned char *file = mn_calloc(1, here);
    memcpy(file + DATA__SEAL_BYTES, data + 16, size - 16);
    data__part_file part = {.head = copy(file, head),
                            .tail = copy(file + head, here - head),
                            .head_bytes = head,
                            .tail_at = head + seal.payload_bytes,
                            .file_bytes = seal.file_bytes};
    data_shard *s = mn_calloc(1, sizeof *s);
    s->fd = -1;
    s->path = mn_strdup("x");
    s->seal = seal;
    if (data__shard_index_parse(s, &part) == MN_OK) {
        data__shard_index_fill(s);
        read_all(s);
    }
    data_shard_close(s);
    free((void *)(uintptr_t)part.head);
    free((void *)(uintptr_t)part.tail);
    free(file);
    return 0;
}
