#include "nn/device.h"

#include "nn/base/mem.h"

#include <string.h>

static mn_err copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return MN_OK;
}

static const nn_kernels *kernels(const nn_op *op)
{
    return &op->cpu;
}

static const nn_device cpu = {.name = "cpu",
                              .alloc = mn_large_alloc,
                              .release = mn_large_free,
                              .upload = copy,
                              .download = copy,
                              .kernels = kernels};

const nn_device *nn_device_cpu(void)
{
    return &cpu;
}
