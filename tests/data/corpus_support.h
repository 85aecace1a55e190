// Generated corpora, imported: what the tests of single importers share.
#ifndef TESTS_DATA_CORPUS_SUPPORT_H
#define TESTS_DATA_CORPUS_SUPPORT_H

#include "data/import.h"
#include "data/shard.h"
#include "data/synth/synth.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

typedef struct corpus { // of one test; support_remove(top)
    char *top, corpora[500], src[600], out[600];
} corpus;

corpus corpus_new(const char *kind); // folders only: src is where the kind will be generated
data_synth_cfg corpus_config(const corpus *p, const char *kind);
// Generates and imports; the dataset must verify. The caller releases the report.
corpus corpus_import(const char *kind, json_t **report);
int64_t corpus_number(const json_t *o, const char *key);
// Record of this name; -1: none.
int64_t corpus_record(const data_folder *f, const char *name, const data_shard **shard);
void corpus_check_bytes(const char *path, const data_shard *s, int64_t i); // record i is this file
int corpus_has(const char *path);
// A line of a list, without its end; 0: there is no more.
int corpus_line(FILE *f, char *line, int size);

#endif
