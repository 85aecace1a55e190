// The table of `mien bench ops`. Threading: one thread.
#ifndef RECIPES_BENCH_OPS_H
#define RECIPES_BENCH_OPS_H

#include "nn/graph.h"
#include "recipes/bench.h"

// After steps of g with timing on: calls and mean time of each operator, the longest first.
void mien_bench_print_ops(const mien_bench_cfg *cfg, const nn_graph *g, const char *device);

#endif
