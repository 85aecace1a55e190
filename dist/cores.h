// Which cores this job may use, how many threads a rank should have, and whether a launcher's binding spoils it.
//
//     dist_cores k; MN_TRY(dist_cores_plan(comm, 0, &k));        // threads: cores of the node / ranks of the node
//     omp_set_num_threads(k.threads);
//     ... rank 0: mn_info("%s", k.report); if (k.warning[0]) mn_warn("%s", k.warning); ...
//
// Cores are physical ones: two hardware threads of a core count once.
// Threading: the thread of the communicator.
#ifndef DIST_CORES_H
#define DIST_CORES_H

#include "dist/comm.h"

typedef struct dist_cores {
    int threads;   // of this rank
    int own, node; // cores this rank may use; cores the job may use on this host
    // The same on every rank: "2 ranks x 1 thread: rank 0 on cores 0-1 of a, rank 1 on cores 0-1 of a"; and "", or what
    // is wrong and its exact cure.
    char report[512], warning[512];
} dist_cores;

// Collective. wanted: threads per rank, 0: OMP_NUM_THREADS, else the default.
MN_MUST_CHECK mn_err dist_cores_plan(dist_comm *c, int wanted, dist_cores *out);

#endif
