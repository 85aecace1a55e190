// manifest.json and the seal of a shard, as they come (the digests refuse nearly everything) and with the digests made right.
// fuzz-sources: data/shard_manifest.c data/shard_seal.c data/file.c
#include "data/shard_manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What shard_manifest.c writes with, and a reader never calls.
#include "data/counts.h"
void data_counts_add(data_counts *c, const data_shard *s)
{
    (void)c;
    (void)s;
    abort();
}
data_counts *data_counts_new(void)
{
    abort();
}
void data_counts_free(data_counts *c)
{
    (void)c;
    abort();
}
json_t *data_counts_json(const data_counts *c)
{
    (void)c;
    abort();
}
mn_err data_shard_open(data_shard **out, const char *path)
{
    (void)out;
    (void)path;
    abort();
}
void data_shard_close(data_shard *s)
{
    (void)s;
    abort();
}
const data_shard_info *data_shard_about(const data_shard *s)
{
    (void)s;
    abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void parse(const char *text, size_t size)
{
    data__manifest m;
    if (data__manifest_parse(text, size, "fuzz", &m) != MN_OK) return;
    for (int i = 0; i < m.n_shards; i++)
        if (strchr(m.shards[i].file, '/') || m.shards[i].file[0] == '.' || m.shards[i].records < 0) abort();
    data__manifest_free(&m);
}

static void parse_signed(const unsigned char *data, size_t size)
{
    char digest[DATA__DIGEST_TEXT], first[64];
    data__digest_text(XXH3_128bits(data, size), digest);
    int n = snprintf(first, sizeof(first), "{\"manifest_xxh3\": \"%s\",\n", digest);
    char *text = malloc((size_t)n + size);
    if (!text) return;
    memcpy(text, first, (size_t)n);
    memcpy(text + n, data, size);
    parse(text, (size_t)n + size);
    free(text);
}

static void parse_seal(const unsigned char *data, size_t size)
{
    static unsigned char block[DATA__SEAL_BYTES];
    data__seal seal = {0};
    memcpy(&seal, data, size < sizeof(seal) ? size : sizeof(seal));
    data__seal_format(&seal, block);
    if (data__seal_parse(block, sizeof(block), "fuzz", &seal) == MN_OK &&
        (seal.payload_offset > seal.file_bytes || seal.payload_bytes > seal.file_bytes - seal.payload_offset))
        abort();
    (void)data__seal_parse(data, size, "fuzz", &seal);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    parse((const char *)data, size);
    parse_signed(data, size);
    parse_seal(data, size);
    return 0;
}
