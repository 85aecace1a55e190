// `mien data verify`: reads every byte of a dataset folder, a single shard, or a feature folder, and says what is wrong.
//
//     data_verify_cfg cfg = {.path = "mien-data/affwild2"};
//     json_t *report; MN_TRY(data_verify(&cfg, &report));   // json_is_true(report["ok"])
//
// Checked: the manifest's own digest and what it says of each shard; each shard's seal, index and payload digests and the
// CRC32C of every record; the header of every picture against the index; labels in range and agreeing with their mask;
// frames and times in order. It goes on after a damage, so that the report names them all.
// Threading: starts its own threads, one a shard at a time.
#ifndef DATA_VERIFY_H
#define DATA_VERIFY_H

#include "nn/base/err.h"

#include <jansson.h>
#include <stdint.h>

typedef struct data_verify_cfg {
    const char *path;
    int jobs;   // shards at a time; 0: one for each core of this process
    int decode; // decode every picture, not its header alone
    // A file outside of the folder that keeps what was found of each finished shard, so that an interrupted check, asked
    // for again, goes on; removed at the end. Of folders of shards only. NULL: none. One of another check, or in use by
    // one, is MN_ECREATE.
    const char *state;
    // Bytes read so far, of all: called now and then, by one thread at a time. NULL: not wanted.
    void (*progress)(void *ctx, int64_t bytes, int64_t of);
    void *ctx;
} data_verify_cfg;

// MN_OK also when something is wrong: the report says so, as described in data/README.md; the caller releases it.
// MN_ENOINPUT: there is nothing at the path, or a folder without a manifest and shards.
MN_MUST_CHECK mn_err data_verify(const data_verify_cfg *cfg, json_t **report);

// 1: a folder of features. Their files are plain HDF5; a shard begins with its seal.
int data_is_features(const char *dir);

#endif
