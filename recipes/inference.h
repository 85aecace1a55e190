// A trained network ready to be run forward over a data set: what eval, extract and predict share.
//
//     mien_inference *m; MN_TRY(mien_inference_open(&m, job, set, batch, "runs/a", MIEN_BEST));
//     MN_TRY(mien_inference_run(m, set, each, ctx));      // each(ctx, graph, batch) after every batch
//     mien_inference_close(m);
//
// Threading: one thread.
#ifndef RECIPES_INFERENCE_H
#define RECIPES_INFERENCE_H

#include "dist/comm_nccl.h"
#include "recipes/recipe.h"

typedef struct mien_weights_file {
    char path[1024]; // of the weights
    char run[256];   // whose they are: the run's name, else that of the file
    char digest[40]; // XXH3-128 of that file
    int64_t step;    // of the checkpoint; -1: not known
} mien_weights_file;
// weights: run, checkpoint folder or .safetensors. MN_ENOINPUT: there is no such thing.
MN_MUST_CHECK mn_err mien_weights_find(const mien_job *j, const char *weights, int select, mien_weights_file *out);

typedef struct mien_inference {
    mien_job *job;
    nn_params *params;
    nn_graph *graph;
    dist_nccl *nccl; // of GPUs whose batches belong together; NULL: none
    mien_weights_file from;
} mien_inference;

// rows: of the plan. weights: as above; every parameter of the network must be in them.
MN_MUST_CHECK mn_err mien_inference_open(mien_inference **out, mien_job *j, const data_set *set, int64_t rows,
                                         const char *weights, int select);
void mien_inference_close(mien_inference *m);

// All samples of the set in order on this rank alone (sets that are already this rank's share). Collective all the same:
// waits for the others' shares; an error of one rank, or a signal to stop, is everybody's.
typedef mn_err mien_each_batch(void *ctx, nn_graph *g, const data_batch *b);
MN_MUST_CHECK mn_err mien_inference_run(mien_inference *m, data_set *set, int64_t rows, mien_each_batch *each,
                                        void *ctx);

#endif
