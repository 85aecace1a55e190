// Where a plan's memory lives and its kernels run. The CPU is built in; the CUDA side is one loadable module that
// exports such a record, its kernels in the order of nn/ops.def.
// Threading: one thread per device.
#ifndef NN_DEVICE_H
#define NN_DEVICE_H

#include "nn/op.h"

typedef struct nn_device {
    const char *name; // "cpu", "cuda"
    mn_err (*alloc)(void **out, size_t bytes, const char *what);
    void (*release)(void *p, size_t bytes);
    mn_err (*upload)(void *to, const void *host, size_t bytes);
    mn_err (*download)(void *host, const void *from, size_t bytes);
    const nn_kernels *(*kernels)(const nn_op *op);
} nn_device;

const nn_device *nn_device_cpu(void);

#endif
