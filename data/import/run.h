// The driver's own parts, between run.c, output.c, plan.c and rejects.c.
#ifndef DATA_IMPORT_RUN_H
#define DATA_IMPORT_RUN_H

#include "data/counts.h"
#include "data/import/importer.h"

#define DATA__SHARD_NAME 256

typedef struct data__job { // one import
    data__import im;
    char source[DATA__DIGEST_TEXT];
    char *options;
    int lock; // -1: not held
    char *lock_path;
    data__tally scan, done; // of the lists; of the shards of this rank
    char *scan_listing;
    int n_shards;
    int64_t n_mine, reused;
    double began;
    struct data__team *team; // that makes the shards of this rank
    int64_t every;           // see data__import
    data__sample sample;     // of a dry run, on this rank
    data_counts *counts;
    char *examples; // lines of what was rejected first
    int n_examples;
    char (*files)[DATA__SHARD_NAME]; // names of all shards, in the manifest's order
} data__job;

// The output folder, by one process: takes its lock and looks at what is there. *finished 1: this very import is, and
// nothing is to be done. MN_ECREATE: another import is there, or is running.
MN_MUST_CHECK mn_err data__output_open(data__job *j, int64_t *finished);
// Writes rejects.csv and, unless too much was rejected, the manifest. t: totals over all ranks.
MN_MUST_CHECK mn_err data__output_finish(const data__job *j, const data__tally *t);
void data__output_release(data__job *j);
json_t *data__import_json(const data__job *j,
                          const data__tally *t); // what the manifest and the report say; new reference

// Makes the shards of this rank that are not there yet: shards.c.
MN_MUST_CHECK mn_err data__shards_make(data__job *j);
int data__job_threads(const data__job *j, int tasks); // how many work on so many shards

// survey.c: dry runs.
int64_t data__survey_every(const data__job *j);
void data__sample_add(data__sample *to, const data__sample *more);
// makers: threads of all ranks.
json_t *data__survey_json(const data__job *j, const data__tally *t, const data__sample *s, const data_counts *counts,
                          int makers);

// plan_file.c: MN_ECREATE when the folder holds shards of an unfinished import that differs from this one, with what
// differs. Written before the first shard, gone with the other files of work in progress at the end.
MN_MUST_CHECK mn_err data__plan_file_check(const data__job *j);
enum { DATA__DIFFER = 512 };
// "size was 224, is 0; ...": options of an import before this one that differ from this one's, "" when none does.
void data__options_differ(const data__job *j, const json_t *before, char text[DATA__DIFFER]);
MN_MUST_CHECK mn_err data__plan_file_write(const data__job *j);

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

// Share of what was rejected, the larger of pictures and rows; what the dataset itself leaves out does not count.
double data__tally_share(const data__tally *t);
void data__tally_add(data__tally *to, const data__tally *more);
int64_t data__tally_rejected(const data__tally *t);

// {"empty file": 3, ...}: reasons and notes that occur. New references.
json_t *data__rejects_json(const data__tally *t);
json_t *data__notes_json(const data__tally *t);

#endif
