// `mien data verify`: reads every byte of a dataset folder, a single shard, or a feature folder, and says what is wrong.
//
//     json_t *report; MN_TRY(data_verify("mien-data/affwild2", 0, &report));   // json_is_true(report["ok"])
//
// Checked: the manifest's own digest and what it says of each shard; each shard's seal, index and payload digests and the
// CRC32C of every record; labels in range and agreeing with their mask; frames and times in order. It goes on after a
// damage, so that the report names them all.
// Threading: starts its own threads, one a shard at a time.
#ifndef DATA_VERIFY_H
#define DATA_VERIFY_H

#include "nn/base/err.h"

#include <jansson.h>

// threads 0: one for each core of this process. MN_OK also when something is wrong: the report says so. {"path", "ok",
// "features" (it is a feature folder, and its records are videos), "shards", "records", "bytes", "n_problems",
// "problems": [{"file", "problem"}, ...] (at most 1000)}; the caller releases it. MN_ENOINPUT: there is nothing at `path`, or a folder without
// a manifest and shards.
MN_MUST_CHECK mn_err data_verify(const char *path, int threads, json_t **report);

#endif
