// How fast gradients are summed, beside the message passing library's own in-place all-reduce.
//
//     dist_bench_row rows[4];
//     MN_TRY(dist_bench_allreduce(comm, (int64_t[]){1 << 10, 1 << 20, 100 << 20}, 3, 11, rows));
//     if (dist_rank(comm) == 0) MN_TRY(dist_bench_write(stdout, comm, rows, 3, json));
// Threading: the thread of the communicator.
#ifndef DIST_BENCH_H
#define DIST_BENCH_H

#include "dist/comm.h"

#include <stdio.h>

typedef struct dist_quartiles {
    double low, median, high; // seconds, of the slowest rank of each round
} dist_quartiles;

typedef struct dist_bench_row {
    int64_t bytes;
    dist_quartiles ours, library; // library: zero on one rank
} dist_bench_row;

// Collective. `rounds` rounds per size, the two alternating, after one that is not counted. Sizes are multiples of 64.
MN_MUST_CHECK mn_err dist_bench_allreduce(dist_comm *c, const int64_t *bytes, int n, int rounds, dist_bench_row *rows);
// A table, or one JSON object.
MN_MUST_CHECK mn_err dist_bench_write(FILE *to, const dist_comm *c, const dist_bench_row *rows, int n, int json);

#endif
