// One pass of a convolution over time by cuDNN, made at plan time and run many times. Channels last throughout:
// x (rows, t, in), y (rows, n, out), weight (out, kernel, in / groups), with n = (t + left + right - kernel) / stride + 1.
//
//     MN_TRY(nn_cuda_conv_new(&v, {.pass = NN_CONV_FORWARD, .rows = 8, .t = 499, .in = 768, .out = 768, .kernel = 128,
//                                  .stride = 1, .left = 64, .right = 63, .groups = 16, .io = MN_BF16}));
//     ...
//     MN_TRY(nn_cuda_conv_run(v, x, weight, y, work, c->stream));
//
// Only algorithms that repeat bit for bit, that sum in fp32, and that need no compiler at run time; f32 without TF32.
// cuDNN does not have one for everything: then nn_cuda_conv_new leaves NULL and nn/cuda_windows.h does it.
// Threading: as nn/cuda_gemm.h.
#ifndef NN_CUDA_CONV_H
#define NN_CUDA_CONV_H

#include "nn/cuda_kernel.h"

// What a pass makes, from its two operands: y from x and weight; dx from dy and weight; the weight's gradient from x
// and dy.
typedef enum nn_conv_pass { NN_CONV_FORWARD, NN_CONV_D_X, NN_CONV_D_WEIGHT } nn_conv_pass;

typedef struct nn_cuda_conv_cfg {
    nn_conv_pass pass;
    int64_t rows, t, in, out, kernel, stride, left, right, groups;
    mn_dtype io; // of x, y, their gradients and the weight; the weight's gradient is f32
} nn_cuda_conv_cfg;

static inline int64_t nn_cuda_conv_steps(const nn_cuda_conv_cfg &c)
{
    return (c.t + c.left + c.right - c.kernel) / c.stride + 1;
}

typedef struct nn_cuda_conv nn_cuda_conv;
MN_MUST_CHECK mn_err nn_cuda_conv_new(nn_cuda_conv **out, const nn_cuda_conv_cfg &cfg);
void nn_cuda_conv_free(nn_cuda_conv *v);
size_t nn_cuda_conv_work(const nn_cuda_conv *v); // bytes of workspace that run wants; 0 for NULL
MN_MUST_CHECK mn_err nn_cuda_conv_run(nn_cuda_conv *v, const void *first, const void *second, void *made, void *work,
                                      void *stream);

void nn_cuda_conv_shutdown(); // frees the library's handle; all convolutions must have been freed
// "9.19.0": belongs to what a bit-equal resume depends on.
const char *nn_cuda_conv_version(char *text, size_t size);

#endif
