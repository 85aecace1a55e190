// What data/info*.c share. Internal to data. Threading: one thread.
#ifndef DATA_INFO_PARTS_H
#define DATA_INFO_PARTS_H

#include "nn/base/err.h"

#include <jansson.h>
#include <stdio.h>

// Of a feature folder: {"path", "features": true, "videos", "frames", "dim", "dtype", "bytes", "files", "t_us": [first,
// last], "rate" (median frames a second), "source": {...}}.
MN_MUST_CHECK mn_err data__info_features(const char *dir, json_t **report);
void data__info_print_features(const json_t *report, FILE *to);

#endif
