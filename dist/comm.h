// The ranks of one job: who we are, and the few collectives between hosts. One process per device.
//
//     dist_comm *c; MN_TRY(dist_open(&c));
//     if (dist_rank(c) == 0) ...
//     MN_TRY(dist_host_sum(c, sums, 3));          // in rank order: the same bits on every rank, every time
//     ... main, on an error of one rank: dist_abort(c, err); on success or an error of all: dist_close(c);
//
// Started without a launcher it is one rank and MPI is never touched (its start would cost a third of a second).
// Every function here but the accessors is collective: all ranks call the same ones in the same order. A rank that
// left the common order is reported by name instead of hanging: each call carries its kind and size.
// Small things go through a board in shared memory where one node holds all ranks, else through the backend. MPI is
// one backend (comm_mpi.c); gradients have a path of their own (bucket.h), and NCCL will be another backend of that.
// Threading: one thread, the one that opened it (MPI runs FUNNELED).
#ifndef DIST_COMM_H
#define DIST_COMM_H

#include "dist/trace.h"
#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dist_comm dist_comm;

typedef struct dist_place {
    int rank, world;
    int local_rank, local_size; // on this host, from a shared-memory split, not from host names
    int group_rank, group_size; // ranks that share memory: those of the host, unless that cannot be had
    int group, groups;          // groups are numbered by their lowest rank
    char host[64];
} dist_place;

// Starts or joins the job. MN_EDEVICE (69): the launcher says there are more tasks than MPI can see; the message is
// then empty on all tasks but the first, so that one line is printed and not one per task.
MN_MUST_CHECK mn_err dist_open(dist_comm **out);
// NULL is fine. Ends the process with 75 when other ranks do not come to it within a minute.
void dist_close(dist_comm *c);
// For an error that the other ranks do not know of: logs mn_errmsg() once per host, frees ranks that wait for this one,
// ends the job with the exit status of e (of the first rank that aborted, on all of them).
_Noreturn void dist_abort(dist_comm *c, mn_err e);

const dist_place *dist_where(const dist_comm *c);
int dist_rank(const dist_comm *c);
int dist_world(const dist_comm *c);
// Name and version of the message passing library this was built with and runs on: "Open MPI 4.1.4".
const char *dist_library(void);

MN_MUST_CHECK mn_err dist_barrier(dist_comm *c);
MN_MUST_CHECK mn_err dist_broadcast(dist_comm *c, void *p, size_t bytes, int root);
// Every rank's record of `bytes` bytes to every rank: all is (world, bytes).
MN_MUST_CHECK mn_err dist_gather(dist_comm *c, const void *mine, size_t bytes, void *all);
// v[i] becomes ((rank 0 + rank 1) + rank 2) + ... on every rank, in place. comm is a dist_comm; the type is nn_sum_fn.
MN_MUST_CHECK mn_err dist_host_sum(void *comm, double *v, int64_t n);
MN_MUST_CHECK mn_err dist_sum_int(dist_comm *c, int64_t *v, int64_t n);
// What went wrong anywhere is an error everywhere: returns MN_OK when it is so on all ranks, else the error of the
// lowest rank that has one, with its message. A rank with an error may come here while the others are in any other
// collective: that one then returns the error on them.
MN_MUST_CHECK mn_err dist_agree(dist_comm *c, mn_err mine);

// "Still moving": restarts the deadline of the current phase where a watchdog runs. For long loops, on any rank alone.
void dist_alive(dist_comm *c);

#endif
