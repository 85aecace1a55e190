// nn/cuda_conv.h for the CPU port: plain loops with fp32 sums, put into the stream like a kernel. It says that it has no
// algorithm for kernels of odd length, nor for those of 4 whose ends are padded differently, so that tests see every way
// of a convolution.
#include "nn/cuda_conv.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "nn/base/mem.h"
}

enum { WORKSPACE = 512 }; // of the "library": overwritten by every run

struct nn_cuda_conv {
    nn_cuda_conv_cfg cfg;
};

mn_err nn_cuda_conv_new(nn_cuda_conv **out, const nn_cuda_conv_cfg &cfg)
{
    *out = NULL;
    if (cfg.kernel % 2 || (cfg.kernel == 4 && cfg.left != cfg.right)) return MN_OK;
    *out = (nn_cuda_conv *)mn_calloc(1, sizeof **out);
    (*out)->cfg = cfg;
    return MN_OK;
}

void nn_cuda_conv_free(nn_cuda_conv *v)
{
    free(v);
}

size_t nn_cuda_conv_work(const nn_cuda_conv *v)
{
    return v ? (size_t)WORKSPACE : 0;
}

static float value(const void *p, mn_dtype t, int64_t i)
{
    return t == MN_BF16 ? (float)((const nn_bf16 *)p)[i] : ((const float *)p)[i];
}

static void put(void *p, mn_dtype t, int64_t i, float v)
{
    if (t == MN_BF16)
        ((nn_bf16 *)p)[i] = (nn_bf16)v;
    else
        ((float *)p)[i] = v;
}

// Element i of what the pass makes.
static float forward(const nn_cuda_conv_cfg &c, const void *x, const void *weight, int64_t i)
{
    const int64_t in = c.in / c.groups, o = i % c.out, p = i / c.out % nn_cuda_conv_steps(c),
                  row = i / c.out / nn_cuda_conv_steps(c), group = o / (c.out / c.groups);
    float sum = 0;

    for (int64_t k = 0; k < c.kernel; k++) {
        const int64_t step = p * c.stride - c.left + k;
        for (int64_t q = 0; q < in && step >= 0 && step < c.t; q++)
            sum += value(x, c.io, (row * c.t + step) * c.in + group * in + q) *
                   value(weight, c.io, (o * c.kernel + k) * in + q);
    }
    return sum;
}

static float d_x(const nn_cuda_conv_cfg &c, const void *dy, const void *weight, int64_t i)
{
    const int64_t in = c.in / c.groups, out = c.out / c.groups, n = nn_cuda_conv_steps(c), q = i % c.in % in,
                  group = i % c.in / in, step = i / c.in % c.t, row = i / c.in / c.t;
    float sum = 0;

    for (int64_t k = 0; k < c.kernel; k++) {
        const int64_t scaled = step + c.left - k, p = scaled / c.stride;
        if (scaled < 0 || scaled % c.stride || p >= n) continue;
        for (int64_t o = group * out; o < (group + 1) * out; o++)
            sum += value(dy, c.io, (row * n + p) * c.out + o) * value(weight, c.io, (o * c.kernel + k) * in + q);
    }
    return sum;
}

static float d_weight(const nn_cuda_conv_cfg &c, const void *x, const void *dy, int64_t i)
{
    const int64_t in = c.in / c.groups, n = nn_cuda_conv_steps(c), q = i % in, k = i / in % c.kernel,
                  o = i / in / c.kernel, group = o / (c.out / c.groups);
    float sum = 0;

    for (int64_t row = 0; row < c.rows; row++)
        for (int64_t p = 0; p < n; p++) {
            const int64_t step = p * c.stride - c.left + k;
            if (step >= 0 && step < c.t)
                sum += value(x, c.io, (row * c.t + step) * c.in + group * in + q) *
                       value(dy, c.io, (row * n + p) * c.out + o);
        }
    return sum;
}

static void run(const nn_cuda_conv_cfg &c, const void *first, const void *second, void *made)
{
    const int64_t count = c.pass == NN_CONV_FORWARD ? c.rows * nn_cuda_conv_steps(c) * c.out
                          : c.pass == NN_CONV_D_X   ? c.rows * c.t * c.in
                                                    : c.out * c.kernel * (c.in / c.groups);

    for (int64_t i = 0; i < count; i++) {
        if (c.pass == NN_CONV_FORWARD)
            put(made, c.io, i, forward(c, first, second, i));
        else if (c.pass == NN_CONV_D_X)
            put(made, c.io, i, d_x(c, first, second, i));
        else
            put(made, MN_F32, i, d_weight(c, first, second, i));
    }
}

mn_err nn_cuda_conv_run(nn_cuda_conv *v, const void *first, const void *second, void *made, void *work, void *stream)
{
    const nn_cuda_conv_cfg c = v->cfg;

    cuda_port_enqueue((cudaStream_t)stream, "convolution", [=] {
        memset(work, 0xff, WORKSPACE);
        run(c, first, second, made);
    });
    return MN_OK;
}

void nn_cuda_conv_shutdown() {}

const char *nn_cuda_conv_version(char *text, size_t size)
{
    snprintf(text, size, "CPU port");
    return text;
}
