// `mien data info`: what a dataset folder holds: records, pictures and labels per split, videos, sound, and whether people
// of one split are in another.
// Threading: one thread.
#ifndef DATA_INFO_H
#define DATA_INFO_H

#include "nn/base/err.h"

#include <jansson.h>
#include <stdio.h>

// {"dataset", "shards", "splits": {...} as in data/counts.h, "overlap": {...}, "rejects": {...}, ...}; the caller releases it.
// Overlap: for each pair of splits how many people (identities; for videos: the recording, per task) are in both, with
// some examples.
MN_MUST_CHECK mn_err data_info(const char *dir, json_t **report);
void data_info_print(const json_t *report, FILE *to);

#endif
