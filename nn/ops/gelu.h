// GELU over arrays of f32 or bf16, for the op and for what fuses it. bf16 values take the short polynomials of
// nn/ops/math.h.
#ifndef NN_OPS_GELU_H
#define NN_OPS_GELU_H

#include "nn/base/shape.h"

// y = gelu(x), over the OpenMP threads; y may be x.
void nn__gelu_forward(mn_dtype t, const void *x, void *y, int64_t count);
// dx (+)= dy gelu'(x), over the OpenMP threads.
void nn__gelu_backward(mn_dtype t, const void *dy, const void *x, void *dx, int64_t count, int add);
// dx = dy gelu'(x) and sum += dx, of n values from element `at`, on the calling thread.
void nn__gelu_backward_sum(mn_dtype t, int64_t at, int64_t n, const void *dy, const void *x, void *dx, float *sum);

#endif
