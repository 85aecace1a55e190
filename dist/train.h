// The training loop that every system shares: a recipe says how to build its graph and how to score it, the loop does
// the rest: batches, reduction over ranks, clipping, the optimiser, metrics, evaluation, checkpoints, resume, signals.
//
//     dist_task t = {.name = "simmim", .ctx = conf, .train = set, .build = build};
//     MN_TRY(dist_train(comm, &t, &cfg));
//
// MN_EINTERRUPTED: a signal came, a checkpoint is on disk. Threading: one thread per rank calls; collective.
#ifndef DIST_TRAIN_H
#define DIST_TRAIN_H

#include "data/loader.h"
#include "dist/comm.h"
#include "nn/optim.h"
#include "nn/schedule.h"

typedef struct dist_score {
    char json[12288]; // members of the eval event, without braces
    double select;    // of checkpoints: higher is better
    const char *name; // of what that is: "expr_f1"; "loss": it is minus the loss
    double loss;      // NaN: the task has none
} dist_score;

typedef struct dist_task {
    const char *name;
    void *ctx;
    data_set *train, *eval; // borrowed; eval may be NULL
    // Makes inputs (dist_input), the network and its outputs for plans of `rows` rows; returns the loss. In evaluation
    // mode the loss is not run backward and may be NULL.
    nn_tensor *(*build)(void *ctx, nn_graph *g, const data_set *set, int64_t rows);
    // Start of a fresh run: values from an earlier stage. NULL: none.
    mn_err (*init)(void *ctx, nn_params *params);
    // Evaluation: begin, one add per batch (local rows only), end merges over ranks. NULL: no evaluation.
    mn_err (*score_begin)(void *ctx);
    mn_err (*score_add)(void *ctx, nn_graph *g, const data_batch *b);
    mn_err (*score_end)(void *ctx, dist_comm *c, dist_score *out);
} dist_task;

typedef struct dist_train_cfg {
    const char *runs, *run;  // folder of all runs, name of this one
    const char *resume;      // "auto", "never" or a checkpoint folder
    const char *recipe_text; // resolved: printed at the start, kept in the run folder
    // Compares with the resolved recipe of an earlier start: MN_ECONFIG names the options that differ. NULL: not known.
    mn_err (*compare_recipe)(void *ctx, const char *saved_path);
    void *compare_ctx;
    uint64_t recipe_digest, binary; // of the options a resumed run may not change; of the executable
    uint64_t options_digest;        // of all options that may not differ between hosts
    char data[256];                 // names of the training sets, for messages
    uint64_t seed;
    const struct nn_device *device; // NULL: the CPU
    mn_dtype dtype;
    mn_dtype wire;                             // of gradients between GPUs and hosts: MN_F32 or MN_BF16
    int64_t steps, epochs;                     // the other is 0; train until
    int64_t batch;                             // global
    int64_t log_every, eval_every, save_every; // steps; eval_every 0: at the end only; save_every 0: at the end only
    int64_t eval_batch;
    const char *eval_split; // what the set that is scored is called
    int keep;
    double clip;          // global norm; 0: none
    nn_schedule schedule; // steps and warm-up resolved by the caller from steps_per_epoch
    nn_optim_cfg optim;
    int loader_threads;
    data_mixup mixup;
    unsigned mixup_fields;
    const double *weights; // sampling, or NULL
    int64_t epoch_samples;
    const char *stage;                       // where copies of shards go (data/copies.h)
    int64_t stage_limit;                     // bytes on a node
    double step_deadline_s, init_deadline_s; // of the watchdog; 0: defaults
    int dry_run;
    int no_graph;  // a GPU gets every step call by call (nn_graph_record)
    int recompute; // of activations (nn_segment_begin): less memory, the same bits
} dist_train_cfg;

MN_MUST_CHECK mn_err dist_train(dist_comm *c, const dist_task *t, const dist_train_cfg *cfg);

// Optimiser steps in an epoch of `count` samples (the last partial batch is dropped).
int64_t dist_steps_per_epoch(const data_set *set, int64_t batch, int64_t epoch_samples);

// Graph input for the field of the set with that name: (rows, field shape...).
nn_tensor *dist_input(nn_graph *g, const data_set *set, int64_t rows, const char *field);
// Copies the fields of the batch that are inputs of the graph. On a GPU that goes on when this returns, fastest from
// the memory of dist_batch_memory, so a batch that was fed is given back to its loader by dist_release.
MN_MUST_CHECK mn_err dist_feed(nn_graph *g, const data_set *set, const data_batch *b);
data_memory dist_batch_memory(const nn_graph *g);
// Waits until the batch has been copied, also when what was done with it failed (err), and gives it back. Returns err;
// when that is MN_OK, what became of the copies.
MN_MUST_CHECK mn_err dist_release(data_loader *l, nn_graph *g, const data_batch *b, mn_err err);

// Passes over a set: forward only, scored by the task. The graph was built in evaluation mode for
// data_loader_plan_rows(batch, world, 0) rows. Threads and memory of the first pass are kept for those after it.
typedef struct dist_evaluation {
    dist_comm *comm; // all borrowed
    const dist_task *task;
    nn_graph *graph;
    data_set *set;
    int64_t batch;
    int threads;
    data_loader *loader; // NULL before the first pass
} dist_evaluation;
// One pass. Ends early with MN_EINTERRUPTED when a signal asks to stop; after an error only closing is left.
MN_MUST_CHECK mn_err dist_evaluate(dist_evaluation *e, dist_score *out);
void dist_evaluation_close(dist_evaluation *e);

#endif
