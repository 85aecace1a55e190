// The CUDA module as the program sees it: one table behind one symbol of mien_cuda.so, which is opened at run time from
// beside the binary. The program links no CUDA library; a host without one has the CPU.
//
//     const nn_device *d; char why[256];
//     if (nn_device_cuda(&d, local_rank, why, sizeof why) != MN_OK) ... why says what is missing ...
//
// Threading: one thread.
#ifndef NN_DEVICE_CUDA_H
#define NN_DEVICE_CUDA_H

#include "nn/device.h"

enum { NN_CUDA_ABI = 4, NN_CUDA_MAX_DEVICES = 16 };

typedef struct nn_cuda_info { // for `mien doctor`
    int driver, runtime;      // 13000 is 13.0; 0: none
    int devices;
    struct {
        char name[128], bus[32];
        int major, minor, multiprocessors;
        size_t memory, free;
        unsigned peers; // bit i: can read device i
    } device[NN_CUDA_MAX_DEVICES];
    char cublaslt[32], cudnn[32]; // versions
    char nccl[256];               // version, or why there is none
    int has_nccl;
} nn_cuda_info;

// What the module exports as nn_cuda_module.
typedef struct nn_cuda_api {
    int abi;
    const char *version; // of the program that it was built with
    // MN_EDEVICE: there is no GPU, and why; what else is known has been filled in.
    mn_err (*info)(nn_cuda_info *out);
    mn_err (*count)(int *out); // GPUs, without touching them: info begins to use each
    // ops: those of the program, in the order of nn/ops.def. MN_EDEVICE: why not.
    mn_err (*open)(const nn_device **out, int index, const nn_op *const *ops);
    void (*close)(const nn_device *d);
} nn_cuda_api;

// The module's table; MN_EDEVICE with one line of what is missing.
MN_MUST_CHECK mn_err nn_cuda_module_open(const nn_cuda_api **out);
// The GPU of the rank of that number on its host: the one of the same number among those that CUDA_VISIBLE_DEVICES
// leaves, or the only one, where the launcher shows each rank its own.
MN_MUST_CHECK mn_err nn_device_cuda_open(const nn_device **out, int local_rank);
int nn_cuda_module_present(void);              // without opening it
void nn_device_cuda_close(const nn_device *d); // NULL is fine

#endif
