// NCCL as the communicator uses it (dist/comm_nccl.c): a table of its functions, opened at run time by the CUDA module.
// The declarations are those of nccl.h from 2.19 on, whose binary interface is stable; streams and communicators are
// opaque here.
// Threading: as NCCL's own: one thread per communicator, abort from any.
#ifndef NN_CUDA_NCCL_H
#define NN_CUDA_NCCL_H

#include "nn/base/err.h"

#include <stddef.h>

enum { NN_NCCL_OK = 0, NN_NCCL_IN_PROGRESS = 7 };            // ncclResult_t
enum { NN_NCCL_F32 = 7, NN_NCCL_F64 = 8, NN_NCCL_BF16 = 9 }; // ncclDataType_t
enum { NN_NCCL_SUM = 0 };                                    // ncclRedOp_t
enum { NN_NCCL_LEAST = 21900 };                              // version

typedef struct nn_nccl_id {
    char bytes[128];
} nn_nccl_id;

typedef struct nn_nccl_config { // ncclConfig_t of 2.18; newer libraries read as much of theirs as `size` says
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster_size, min_ctas, max_ctas;
    const char *net_name;
    int split_share;
} nn_nccl_config;

typedef struct nn_nccl {
    int (*version)(int *out);
    int (*unique_id)(nn_nccl_id *out);
    int (*init)(void **comm, int world, nn_nccl_id id, int rank, nn_nccl_config *cfg); // ncclCommInitRankConfig
    int (*all_reduce)(const void *from, void *to, size_t count, int type, int op, void *comm, void *stream);
    int (*async_error)(void *comm, int *state);
    int (*finalize)(void *comm);
    int (*destroy)(void *comm);
    int (*abort)(void *comm);
    const char *(*error_string)(int result);
} nn_nccl;

// MN_EDEVICE: what is missing, where it was looked for.
MN_MUST_CHECK mn_err nn_cuda_nccl(const nn_nccl **out);

#endif
