// What the training loop's parts share: how a run starts (train_start.c) and goes on from a checkpoint (train_resume.c),
// what a step is (train_step.c), when it is saved (train_save.c), and the loop itself (train.c).
#ifndef DIST_TRAIN_INTERNAL_H
#define DIST_TRAIN_INTERNAL_H

#include "data/copies.h"
#include "dist/ckpt.h"
#include "dist/gradients.h"
#include "dist/pace.h"
#include "dist/progress.h"
#include "dist/run.h"
#include "dist/train.h"
#include "dist/watchdog.h"
#include "nn/device.h"

enum { DIST__FLYING = 2 };

// A step that was put on the device: what is known of it before its results are.
typedef struct dist__flight {
    int64_t step, epoch, samples;
    uint64_t ids;
    double lr, data_s, begin;
} dist__flight;

// Everything of one run in this process.
typedef struct dist__loop {
    dist_comm *comm;
    const dist_task *task;
    const dist_train_cfg *cfg;
    dist_run *run;
    dist_attempt attempt;
    char *ckpt_dir;
    nn_params *params;
    nn_graph *graph, *eval_graph;
    dist_evaluation evaluation; // of eval_graph
    nn_optim *optim;
    const nn_device *device;
    dist_gradients *gradients;
    data_loader *loader;
    data_copies *copies;
    dist_ckpt *ckpt; // rank 0 only
    dist_progress *progress;
    dist_watchdog *watchdog;
    dist_pace pace;
    dist_state state;
    int64_t steps, per_epoch, saved_step, from_step;
    int skips, stop, no_time;
    dist__flight flying[DIST__FLYING]; // by step
    int64_t landed;                    // steps whose results are known
    double landed_at, begin;           // when the last one was; when this one began
    double step_s, data_s;             // of the last one that landed; of the one that is put on the device
} dist__loop;

static inline int dist__lead(const dist__loop *l)
{
    return dist_rank(l->comm) == 0;
}

// Collective, as are all below unless they say otherwise. Opens all that a run needs.
MN_MUST_CHECK mn_err dist__train_start(dist__loop *l);
// The values to start from: those of a checkpoint, of an earlier stage, or fresh ones.
MN_MUST_CHECK mn_err dist__train_restore(dist__loop *l);

// Puts the next step on the device, and reports the oldest whose results are due: this one on a CPU, the one before it
// on a GPU.
MN_MUST_CHECK mn_err dist__train_step(dist__loop *l);
// Before anything looks at the state: nothing may be on its way.
MN_MUST_CHECK mn_err dist__train_land(dist__loop *l);

// Saves this step in the background, unless it is saved.
MN_MUST_CHECK mn_err dist__train_save(dist__loop *l);
// Each rank by itself: an event for a save that has ended since. Told when it is durable, or when it is known why not.
MN_MUST_CHECK mn_err dist__train_tell_saved(dist__loop *l);
// Each rank by itself: what became of the last save. Of all ranks, before the run may end: dist__train_finish_saving.
MN_MUST_CHECK mn_err dist__train_wait_for_save(dist__loop *l);
MN_MUST_CHECK mn_err dist__train_finish_saving(dist__loop *l);
// What a checkpoint takes on the disk, and rank 0's copy of it in memory.
double dist__train_save_bytes(const dist__loop *l);
// What a launcher that has sent TERM must wait for; 0 on ranks that save nothing.
double dist__train_save_seconds(const dist__loop *l);

#endif
