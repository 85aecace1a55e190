// Batches. The order is a pure function of (seed, epoch, position): the same for every number of ranks and threads; the
// state is three numbers and resuming is O(1).
//
//     data_loader *l; MN_TRY(data_loader_open(&l, &cfg, (data_state){seed, 0, 0}));
//     const data_batch *b; MN_TRY(data_loader_next(l, &b));     // waits; borrowed until release
//     ... b->field[i] is the local part of field cfg.set->field[i], plan rows ...
//     data_loader_release(l, b);
//
// Rows: a global batch has cfg.batch rows; a rank has the plan's ceil(batch / world) rows (rounded up to even when
// pairs is set), rows [first_row, first_row + rows) of the global batch; rows that do not exist are all zero, so their
// weight is 0. Mixup and cutmix pair neighbouring rows 2j, 2j + 1 of the shuffled batch, so both are on one rank; the last
// row of an odd batch has no partner and stays as it is. Row weights are not mixed.
// Memory: ahead + 1 batches, allocated at open, in cfg.memory; nothing is allocated per batch.
// Threading: one consumer; worker threads inside; data_loader_progress may be called from any thread.
#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "data/mixup.h"
#include "data/set.h"

typedef struct data_state {
    uint64_t seed;
    int64_t epoch, position; // position: samples of this epoch already handed out, over all ranks
} data_state;

// Where batches lie: memory that a GPU reads faster than the program's own. All members 0: the program's own.
typedef struct data_memory {
    mn_err (*alloc)(void *ctx, size_t bytes, void **out);
    void (*release)(void *ctx, void *p, size_t bytes);
    void *ctx;
} data_memory;

typedef struct data_loader_cfg {
    data_set *set;                   // borrowed
    int64_t batch;                   // global
    int rank, world, threads, ahead; // ahead: batches prepared in advance
    int train;                       // 1: shuffled, drops the last partial batch; 0: in order, the tail is padded
    int pairs;                       // 1: rows per rank even (mixup, cutmix)
    data_mixup mixup;                // drawn once per batch, applied to the fields in mixup_fields
    unsigned mixup_fields;           // bit i: f32 field i is mixed; cutmix needs a picture among them
    const double *weights; // NULL: every sample once per epoch; else (count) sampling weights, with replacement
    int64_t epoch_samples; // with weights: samples per epoch; 0 means count
    // Training: the shards this rank reads are added to it and it is started (data/copies.h); NULL: none. Closed by the
    // caller after the loader.
    struct data_copies *copies;
    data_memory memory; // used by the threads that open and close the loader
} data_loader_cfg;

typedef struct data_batch {
    int n_fields;
    void *field[DATA_MAX_FIELDS]; // (plan rows, ...) each
    size_t bytes[DATA_MAX_FIELDS];
    int64_t first_row, rows, plan_rows; // rows: that exist on this rank
    int64_t global_rows;
    const int64_t *index; // (rows) sample indices of the local rows
    uint64_t ids;         // xxh64 of the global batch's sample ids in position order
    data_state at, after; // state before and after this batch
    double wait_s;        // how long data_loader_next waited
} data_batch;

typedef struct data_loader data_loader;
// MN_ECONFIG when training cannot fill one batch in an epoch; MN_EMEM.
MN_MUST_CHECK mn_err data_loader_open(data_loader **out, const data_loader_cfg *cfg, data_state start);
int64_t data_loader_plan_rows(int64_t batch, int world, int pairs);
int64_t data_loader_batches(const data_loader *l); // per epoch
// Rows prepared so far by all workers, and batches that are ready: for a watchdog, which tells a loader that works slowly
// from one that stands still. Never waits.
int64_t data_loader_progress(const data_loader *l, int *ready);
// Next batch. Training never ends (the epoch number rises); evaluation returns *out = NULL after the last batch. A
// failed read fails the batch it belongs to, here, with the message of the set; the loader then stays failed.
MN_MUST_CHECK mn_err data_loader_next(data_loader *l, const data_batch **out);
void data_loader_release(data_loader *l, const data_batch *b);
// Evaluation, after its last batch: the same batches once more.
void data_loader_rewind(data_loader *l);
void data_loader_close(data_loader *l);

#endif
