// Imports: a dataset's own files become shards and a manifest (data/shard.h).
//
//     data_import_cfg cfg = {.kind = "celeba", .src = "corpora/celeba", .out = "mien-data/celeba"};
//     data_import_report r; MN_TRY(data_import(&cfg, &r)); ... data_import_report_free(&r);
//
// Every record of the source ends in a shard or in rejects.csv with a reason; nothing is dropped in silence. The result
// is the same, bit for bit, for every number of ranks and jobs: the work is cut into shards by a pure function of the
// source, shard k is made by one thread of rank k % world. A killed import goes on: finished shards of the same source
// and options are kept, and a folder with shards of other ones is refused. One import at a time may work on a folder; a
// second one is refused (MN_ECREATE). Faces are expected cropped: pictures are stored
// as they are, unless `crop` asks for faces to be cut out by the dataset's own boxes.
// Threading: called by one thread; pictures are streamed, so memory is bounded by the lists. The functions in ranks are
// called by that thread alone.
#ifndef DATA_IMPORT_H
#define DATA_IMPORT_H

#include "data/kind.h"
#include "nn/base/err.h"

#include <jansson.h>
#include <stdint.h>

// What an import needs of the ranks, handed down because this layer knows no MPI. All NULL: one rank.
typedef struct data_ranks {
    int rank, world;
    void *ctx;
    mn_err (*sum)(void *ctx, int64_t *v, int64_t n); // in place, over all ranks
    mn_err (*agree)(void *ctx, mn_err mine);         // an error anywhere is an error everywhere; also a barrier
    // Of work that is shared unevenly: between two pieces, where an error ends this rank's share; and its end, where
    // ranks wait for the others. NULL: nothing, and agree.
    mn_err (*proceed)(void *ctx);
    mn_err (*end_share)(void *ctx, mn_err mine);
} data_ranks;

#define DATA_IMPORT_QUALITY 95
#define DATA_IMPORT_MARGIN 0.2

typedef struct data_import_cfg {
    const char *kind, *src, *out;
    int64_t limit;      // at most so many records, spread over the splits; 0: all
    int size;           // encode anew with at most this many pixels a side; 0: bytes stay as they are
    int quality;        // of the JPEG made then, 1..100; 0: DATA_IMPORT_QUALITY
    int filter;         // that reduces the picture then: DATA_KERNEL_* (data/image.h)
    int crop;           // 1: cut faces out by their boxes; MN_EUSAGE for a dataset that has none
    double margin;      // then: share of the box's longer side around it (data/import/cut.h)
    int headers_only;   // 1: look at the header of a picture only, not at all of it
    int jobs;           // shards made at a time by this rank, each by a thread; 0: 1
    double reject_most; // share of pictures or label rows that may be rejected before the import fails; 0: 0.1
    int dry_run; // write nothing: count as the import would, with looks at some pictures whole (data/import/survey.c)
    data_ranks ranks;
} data_import_cfg;

typedef struct data_import_report {
    json_t *json; // for --json: counts, rejects by reason, notes, shards; labels (data/counts.h) on rank 0
} data_import_report;

// MN_EDATA when too much was rejected (rejects.csv says what), MN_ENOINPUT when a needed file is missing.
MN_MUST_CHECK mn_err data_import(const data_import_cfg *cfg, data_import_report *report);
void data_import_report_free(data_import_report *report);

#endif
