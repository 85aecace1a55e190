#include "nn/device.h"

#include "nn/adamw.h"
#include "nn/base/mem.h"

#include <string.h>

static mn_err alloc(const nn_device *d, void **out, size_t bytes, const char *what)
{
    (void)d;
    return mn_large_alloc(out, bytes, what);
}

static void release(const nn_device *d, void *p, size_t bytes)
{
    (void)d;
    mn_large_free(p, bytes);
}

static mn_err copy(const nn_device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
    return MN_OK;
}

static mn_err fill(const nn_device *d, void *p, int byte, size_t bytes)
{
    (void)d;
    memset(p, byte, bytes);
    return MN_OK;
}

static mn_err wait(const nn_device *d)
{
    (void)d;
    return MN_OK;
}

static const nn_kernels *kernels(const nn_device *d, const nn_op *op)
{
    (void)d;
    return &op->cpu;
}

static mn_err narrow(const nn_device *d, mn_bf16 *to, const float *from, int64_t n)
{
    (void)d;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        to[i] = mn_f32_to_bf16(from[i]);
    return MN_OK;
}

static const nn_device cpu = {.name = "cpu",
                              .id = "",
                              .text = "",
                              .on_host = 1,
                              .alloc = alloc,
                              .release = release,
                              .host_alloc = alloc,
                              .host_release = release,
                              .copy = copy,
                              .fill = fill,
                              .wait = wait,
                              .kernels = kernels,
                              .adamw = nn__adamw_cpu,
                              .narrow = narrow};

const nn_device *nn_device_cpu(void)
{
    return &cpu;
}
