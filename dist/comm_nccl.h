// Sums over ranks in the memory of GPUs, by NCCL. MPI brings the ranks together and carries the id; from then on the two
// are never in flight together: MPI is used only when nothing is on the GPUs' way.
//
//     dist_nccl *n; MN_TRY(dist_nccl_open(&n, comm, device));             // collective
//     MN_TRY(dist_nccl_sum(n, gradients, count, NN_NCCL_F32, stream));    // puts it there; in place
//     ... device->wait, nn_mail_take: while they wait, peers and errors are looked at ...
//     dist_nccl_close(n, err);
//
// A peer that is gone is MN_ERETRY (75), as between CPUs: whoever waits for the GPU gets it, the communicator is aborted,
// and nothing more may be put there. An error of NCCL itself ends this process with 75 at once (dist_abort), because its
// peers wait on their GPUs, where no agreement reaches them. Sums are made in an order that depends on ranks and
// sizes alone, so a run repeats bit for bit on the same GPUs.
// Threading: the thread of the communicator, which runs the graphs.
#ifndef DIST_COMM_NCCL_H
#define DIST_COMM_NCCL_H

#include "dist/comm.h"
#include "nn/cuda_nccl.h"
#include "nn/device.h"

typedef struct dist_nccl dist_nccl;

// One rank: *out is NULL, which all functions here take.
MN_MUST_CHECK mn_err dist_nccl_open(dist_nccl **out, dist_comm *c, const nn_device *d);
// The sums inside the graph are over all ranks; its recorded run is forgotten before the communicator ends, because the
// library waits for the end of every recording that has a sum of it.
void dist_nccl_attach(dist_nccl *n, nn_graph *g);
// Before the graphs are freed. After an error (err) the library is aborted, not asked to finish.
void dist_nccl_close(dist_nccl *n, mn_err err);
MN_MUST_CHECK mn_err dist_nccl_check(dist_nccl *n); // of errors since: a sum may end without having been made
MN_MUST_CHECK mn_err dist_nccl_sum(dist_nccl *n, void *v, int64_t count, int type, void *stream);

#endif
