// The driver's own parts, between run.c, plan.c, rejects.c and report.c.
#ifndef DATA_IMPORT_RUN_H
#define DATA_IMPORT_RUN_H

#include "data/import/importer.h"

// First unit of each shard of the group, and the end; the caller frees. Returns the number of shards: none is empty.
int data__plan_cut(const data__group *g, int64_t **begin);

#define DATA__REJECTS "rejects.csv"
#define DATA__IMPORT_WORK ".import" // folder in the output: what finished shards rejected, while the import goes on

// What a finished shard counted and rejected, beside it until the manifest is written.
MN_MUST_CHECK mn_err data__sidecar_write(const char *dir, const char *shard, const char *source,
                                         const data__tally *tally, const char *listing);
// *found 0: there is none for this shard of this source. The caller frees *listing.
MN_MUST_CHECK mn_err data__sidecar_read(const char *dir, const char *shard, const char *source, data__tally *tally,
                                        char **listing, int *found);

int data__reason_is_row(data__reason r);
// Share of what was rejected, the larger of pictures and rows.
double data__tally_share(const data__tally *t);
int64_t data__tally_rejected(const data__tally *t);

// {"empty file": 3, ...}: reasons and notes that occur. New references.
json_t *data__rejects_json(const data__tally *t);
json_t *data__notes_json(const data__tally *t);

#endif
