// Imports on several ranks, which are threads here.
#ifndef TESTS_DATA_IMPORT_SUPPORT_H
#define TESTS_DATA_IMPORT_SUPPORT_H

#include "data/import.h"

// Runs the import on `world` (at most 8) ranks; each must succeed and report `records`.
void support_import_ranks(const data_import_cfg *cfg, int world, int64_t records);

#endif
