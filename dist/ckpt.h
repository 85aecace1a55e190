// Checkpoints that survive anything: folders RUN/ckpt/step-%08d with
//   model.safetensors      fp32 parameters and buffers by name      optimizer.safetensors   <name>.m, <name>.v
//   state.json             where the run is                         manifest.json           size and XXH3-128 of each file,
//                                                                    and the digest of its own text
// A save copies the state between two steps (the stall), then a thread writes a temporary folder with raw system calls,
// makes it durable, renames it, and makes the parent durable. Readers trust only folders that verify.
// A run that went on from an older checkpoint, or from none, moves the later ones to RUN/ckpt/abandoned-%06d (its attempt)
// when it saves for the first time: they are neither resumed from nor counted nor removed.
//
//     dist_ckpt *k; MN_TRY(dist_ckpt_open(&k, &cfg));                    // rank 0 only
//     MN_TRY(dist_ckpt_save(k, &state));                                 // returns after the copy
//     MN_TRY(dist_ckpt_wait(k));                                         // durable, or why not
//
//     char path[...]; MN_TRY(dist_ckpt_latest(dir, path, sizeof path));  // "" when there is none
//     MN_TRY(dist_ckpt_load(path, params, optim, &state));               // every rank
//
// Nothing in a checkpoint is per rank: a run may go on with another number of ranks.
// Threading: one thread calls; the writer thread inside touches only its own copy.
#ifndef DIST_CKPT_H
#define DIST_CKPT_H

#include "data/loader.h"
#include "nn/optim.h"

#define DIST_CKPT_PATH 1024

// state.json: all that a run needs besides parameters and moments.
typedef struct dist_state {
    int64_t step;    // optimiser steps done (skipped ones included)
    data_state data; // where the loader stands
    double best;     // best selection score so far, -DBL_MAX before the first evaluation
    int64_t best_step;
    uint64_t recipe;   // digest of the options that a resumed run may not change
    uint64_t trained;  // digest of the training data; 0: not known, in checkpoints before 0.1
    int unscored;      // an evaluation was due at this step and has still to be made
    char machine[256]; // processor features, threads, library versions: bit-equal resume holds for these
    int world;
} dist_state;

typedef struct dist_ckpt_cfg {
    const char *dir;   // RUN/ckpt
    int keep;          // newest ones kept, besides the best
    uint64_t binary;   // digest of the executable, for the record
    int64_t attempt;   // of this start of the run
    int64_t from_step; // of the checkpoint in dir that this start goes on from; 0: of none in dir
    nn_params *params; // borrowed
    nn_optim *optim;
} dist_ckpt_cfg;

typedef struct dist_ckpt dist_ckpt;

// One start of a run: claims the next attempt number in the run folder and refuses a second live job on this host.
// MN_ECREATE (73): another job holds it. The lock ends with the process or dist_attempt_close.
typedef struct dist_attempt {
    int64_t number;
    int lock;
} dist_attempt;
MN_MUST_CHECK mn_err dist_attempt_open(dist_attempt *a, const char *run_folder);
void dist_attempt_close(dist_attempt *a);

MN_MUST_CHECK mn_err dist_ckpt_open(dist_ckpt **out, const dist_ckpt_cfg *cfg);
// Waits for a save that is still being written; MN_ECREATE when a later attempt of the run has taken over.
// A save that failed for lack of space or by an I/O error is reported as a warning: training goes on, the next
// interval tries again.
MN_MUST_CHECK mn_err dist_ckpt_save(dist_ckpt *k, const dist_state *s);
MN_MUST_CHECK mn_err dist_ckpt_wait(dist_ckpt *k);
// What became of a save, once for each: 0 when none has ended since the last call. Does not wait, and leaves the error
// to the next save or wait.
typedef struct dist_saved {
    mn_err err; // MN_OK: durable
    int64_t step;
    double stall_s; // how long training stood still for it
} dist_saved;
int dist_ckpt_ended(dist_ckpt *k, dist_saved *s);
size_t dist_ckpt_bytes(const dist_ckpt *k); // of one checkpoint
void dist_ckpt_close(dist_ckpt *k);

// The newest folder of `dir` that verifies; path is "" when there is none at all. Says why newer ones were refused.
// MN_EIO: there are checkpoints and none verifies.
MN_MUST_CHECK mn_err dist_ckpt_latest(const char *dir, char *path, size_t size);
// Every digest of one folder; MN_EDATA with the file and the reason.
MN_MUST_CHECK mn_err dist_ckpt_verify(const char *path);
// Parameters, moments (optim may be NULL) and state. Every parameter of the registry must be there with its shape and
// no other: else MN_ECONFIG names the first difference. The folder must have been verified.
MN_MUST_CHECK mn_err dist_ckpt_load(const char *path, nn_params *params, nn_optim *optim, dist_state *state);
MN_MUST_CHECK mn_err dist_ckpt_state(const char *path, dist_state *state);

// The model file that `from` means: a .safetensors file, a checkpoint folder, or a run (its folder, or its name under
// `runs`), of which `best` picks the best checkpoint, else the newest. Verified where there is a manifest: of the
// checkpoint, or beside a file that is part of one. MN_ENOINPUT: there is no such thing.
MN_MUST_CHECK mn_err dist_ckpt_find_model(const char *from, const char *runs, int best, char *path, size_t size);

#endif
