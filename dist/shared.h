// Memory that the ranks of a group map together. Anonymous (memfd), so the size of /dev/shm does not matter and nothing
// is left behind by a killed job; ranks reach it through /proc/<pid>/fd of the group's first rank.
//
//     dist_shared m; MN_TRY(dist_shared_open(c, bytes, &m));
//     if (!m.base) ... plain memory: it could not be had, the same on every rank ...
//
// Threading: the thread of the communicator.
#ifndef DIST_SHARED_H
#define DIST_SHARED_H

#include "nn/base/err.h"

#include <stddef.h>

struct dist_comm;

typedef struct dist_shared {
    void *base; // zeroed, page aligned; NULL when some group could not share memory
    size_t bytes;
    char why[160]; // then: the reason of this rank, "" when it was another's
} dist_shared;

// Collective over all ranks; bytes may differ between groups but not inside one. Every rank touches its own part first
// (part i of group_size), so that it lies near its cores; memory that is not there is an error here, not a crash later.
MN_MUST_CHECK mn_err dist_shared_open(struct dist_comm *c, size_t bytes, dist_shared *out);
void dist_shared_close(dist_shared *m);

#endif
