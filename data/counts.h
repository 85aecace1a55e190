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
// The same for records that are not in a shard (yet); of: its split, stream and has_* columns, told once by _columns. v:
// the record's video or NULL.
void data_counts_columns(data_counts *c, const data_writer_cfg *of);
void data_counts_video(data_counts *c, const data_writer_cfg *of, const data_video *v);
void data_counts_record(data_counts *c, const data_writer_cfg *of, const data_video *v, const data_record *r);
// Counts of several threads or ranks add up, in any order, to those of one: all of it as n numbers.
void data_counts_merge(data_counts *c, const data_counts *more);
int64_t *data_counts_values(data_counts *c, int64_t *n);
// {"train": {"records": n, "pictures": n, "expr": [8 counts], ...}, ...}: splits and labels that occur. A new reference.
json_t *data_counts_json(const data_counts *c);

#endif
