// Several ranks in one process: one graph per rank, all collectives exact. A graph stops in the middle to sum over
// ranks, so every rank is run once per collective: each pass learns the sum of one more.
#ifndef RANKS_SUPPORT_H
#define RANKS_SUPPORT_H

#include "nn/graph.h"

// Runs the graphs as ranks of one job; ranks must make the same collectives. Buffers that forward changes (running
// statistics) are restored between passes. Returns the number of collectives.
int ranks_run(nn_graph *const *g, const nn_tick *tick, int world);

#endif
