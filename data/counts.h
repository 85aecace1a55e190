// Label counts of a dataset, per split: what the manifest keeps, and what `mien data info` prints.
//
//     data_counts *c = data_counts_new(); data_counts_add(c, shard); ... json_t *o = data_counts_json(c);
//
// In a dataset of videos a record counts for a task in the split that its video has for that task. Threading: one
// thread at a time.
#ifndef DATA_COUNTS_H
#define DATA_COUNTS_H

#include "data/label.h"
#include "data/shard.h"

#include <jansson.h>

typedef struct data_counts data_counts;
data_counts *data_counts_new(void);
void data_counts_free(data_counts *c);
void data_counts_add(data_counts *c, const data_shard *s);
// {"train": {"records": n, "pictures": n, "expr": [8 counts], ...}, ...}: splits and labels that occur. A new reference.
json_t *data_counts_json(const data_counts *c);

#endif
