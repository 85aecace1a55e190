// A contact sheet: random pictures of a dataset with their labels on one PNG, so that a person can look at what was
// imported.
//
//     data_sheet_cfg cfg = {.dir = "mien-data/affwild2", .out = "sheet.png", .pictures = 48, .seed = 1};
//     MN_TRY(data_sheet(&cfg));
//
// Threading: one thread.
#ifndef DATA_SHEET_H
#define DATA_SHEET_H

#include "nn/base/err.h"

#include <stdint.h>

enum { DATA_SHEET_MOST = 1000 };

typedef struct data_sheet_cfg {
    const char *dir, *out;
    int pictures; // 1 .. DATA_SHEET_MOST
    uint64_t seed;
    const char *split; // "train", "validation", "test" (in a dataset of videos: of any task); NULL: all
} data_sheet_cfg;

// Draws without repeats from the records with a picture and a label, or with a picture if none has a label, in the order
// of their labels. A record that is damaged or does not decode is drawn as such. An existing `out` is MN_ECREATE; a
// dataset without pictures MN_EDATA.
MN_MUST_CHECK mn_err data_sheet(const data_sheet_cfg *cfg);

#endif
