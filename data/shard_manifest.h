// manifest.json of a dataset folder: the list of its shards with sizes and digests, what was rejected, label counts.
// The first line is {"manifest_xxh3": "<digest of all bytes after this line>", so a changed bit anywhere is found.
#ifndef DATA_SHARD_MANIFEST_H
#define DATA_SHARD_MANIFEST_H

#include "data/shard_seal.h"
#include "nn/base/err.h"

#include <jansson.h>
#include <stdint.h>

#define DATA__MANIFEST "manifest.json"
#define DATA__MANIFEST_MOST ((size_t)64 << 20)

typedef struct data__manifest_shard {
    const char *file; // a plain name in the folder
    char split[16], stream[16];
    int64_t records, videos, file_bytes, payload_bytes;
    char payload[DATA__DIGEST_TEXT], index[DATA__DIGEST_TEXT];
} data__manifest_shard;

typedef struct data__manifest {
    json_t *root; // owns the texts
    const char *dataset, *importer;
    int n_shards;
    data__manifest_shard *shards;
} data__manifest;

// JSON text that carries its own digest, as the first line; the caller frees. `body` is a JSON object.
char *data__signed_json(const json_t *body, size_t *size);
// Checks and parses such a text. Pure function over (text, size).
MN_MUST_CHECK mn_err data__signed_json_parse(const char *text, size_t size, const char *path, json_t **root);

// Pure function over (text, size); `path` is for messages.
MN_MUST_CHECK mn_err data__manifest_parse(const char *text, size_t size, const char *path, data__manifest *out);
MN_MUST_CHECK mn_err data__manifest_read(const char *dir, data__manifest *out);
void data__manifest_free(data__manifest *m);

#endif
