// `mien data export`: one record of a dataset, its bytes as they are stored and its labels as JSON.
//
//     data_export_cfg cfg = {.path = "mien-data/celeba", .record = "000042.jpg", .stream = "image", .write = 1};
//     json_t *report; char *out; MN_TRY(data_export(&cfg, &report, &out));     // 000042.jpg and 000042.jpg.json
//
// Threading: one thread.
#ifndef DATA_EXPORT_H
#define DATA_EXPORT_H

#include "nn/base/err.h"

#include <jansson.h>

typedef struct data_export_cfg {
    const char *path; // a dataset folder, or one shard
    const char
        *record; // a number (in the shard; of a folder: in manifest order, over all splits), a name, a part of one
    const char *stream; // of a folder: "image" or "audio"
    const char *out;    // where the bytes go; NULL: the last part of the record's name, in this folder
    int write;          // 0: only the report
} data_export_cfg;

// The report, which is also what OUT.json holds: {"dataset", "split", "file", "record" (in it), "number" (in the folder),
// "name", "bytes", "byte" (offset in the file), "codec", "labels": {...}, ...}. *out: where the bytes went, NULL: nowhere
// (write 0, or a frame without a picture). The caller releases both. MN_ENOINPUT: there is no such record; MN_EDATA: it is
// damaged, or the name fits several (some are told); MN_ECREATE: a file is there already.
MN_MUST_CHECK mn_err data_export(const data_export_cfg *cfg, json_t **report, char **out);

#endif
