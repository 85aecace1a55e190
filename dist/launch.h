// What the launcher's environment says, before any library is asked.
// Threading: before other threads are started, because the environment is read.
#ifndef DIST_LAUNCH_H
#define DIST_LAUNCH_H

#include "nn/base/err.h"

typedef struct dist_launch {
    const char *name; // "mpirun", "srun", "" when started by hand
    int tasks, task;  // 1, 0 when started by hand
    int use_mpi;
} dist_launch;

// MN_EDEVICE when several tasks were started without a way to find each other. Only task 0 gets a message.
MN_MUST_CHECK mn_err dist_launch_detect(dist_launch *out);
// For when MPI then sees fewer tasks than that.
mn_err dist_launch_mismatch(const dist_launch *l, int world, const char *library);

#endif
