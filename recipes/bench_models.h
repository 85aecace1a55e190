// The networks of `mien bench step` at published size, with random input. Threading: one thread.
#ifndef RECIPES_BENCH_MODELS_H
#define RECIPES_BENCH_MODELS_H

#include "nn/graph.h"

typedef struct mien_bench_model {
    const char *name;
    nn_tensor *(*build)(nn_graph *g, int64_t batch); // -> the loss; NULL: a forward pass, output "hidden"
    int infer;
    int64_t batch;   // where none is given
    int64_t side;    // SimMIM: tokens along a side of the picture, 6 mask cells
    double gigaflop; // of one sample in one step, a multiplication and an addition being two; 0: not known
} mien_bench_model;

const mien_bench_model *mien_bench_model_find(const char *name); // NULL: there is none

enum { MIEN_BENCH_INPUTS = 6 };
typedef struct mien_bench_input {
    const char *name;
    void *host; // memory of the graph, which the device copies from
    size_t bytes;
} mien_bench_input;
// Fills every input of a planned graph; returns how many there are.
int mien_bench_fill(nn_graph *g, const mien_bench_model *m, mien_bench_input in[MIEN_BENCH_INPUTS]);

#endif
