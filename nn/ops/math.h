// Rows of activations as floats, for CPU kernels; with it come the functions of one float (nn/ops/float_math.h).
// Threading: pure functions.
#ifndef NN_OPS_MATH_H
#define NN_OPS_MATH_H

#include "nn/base/shape.h"
#include "nn/base/simd.h"
#include "nn/ops/float_math.h"

// One value of f32 or bf16 memory. Inside a leaf that is compiled once for each type, where t is a constant, the
// conversion becomes part of the loop.
static inline float nn__get(const void *x, mn_dtype t, int64_t i)
{
    return t == MN_BF16 ? mn_bf16_to_f32(((const mn_bf16 *)x)[i]) : ((const float *)x)[i];
}
static inline void nn__put(void *y, mn_dtype t, int64_t i, float v)
{
    if (t == MN_BF16)
        ((mn_bf16 *)y)[i] = mn_f32_to_bf16(v);
    else
        ((float *)y)[i] = v;
}

// n values of f32 or bf16 memory, from element `at`, as floats.
static inline void nn__load_row(float *restrict y, const void *x, mn_dtype t, int64_t at, int64_t n)
{
    if (t == MN_BF16) {
        const mn_bf16 *restrict h = (const mn_bf16 *)x + at;
        for (int64_t i = 0; i < n; i++)
            y[i] = mn_bf16_to_f32(h[i]);
    } else {
        memcpy(y, (const float *)x + at, (size_t)n * sizeof(float));
    }
}

// And back, rounded to nearest even.
static inline void nn__store_row(void *y, mn_dtype t, int64_t at, const float *restrict x, int64_t n)
{
    if (t == MN_BF16) {
        mn_bf16 *restrict h = (mn_bf16 *)y + at;
        for (int64_t i = 0; i < n; i++)
            h[i] = mn_f32_to_bf16(x[i]);
    } else {
        memcpy((float *)y + at, x, (size_t)n * sizeof(float));
    }
}

// y += x, in the precision of y.
static inline void nn__add_row(void *y, mn_dtype t, int64_t at, const float *restrict x, int64_t n)
{
    if (t == MN_BF16) {
        mn_bf16 *restrict h = (mn_bf16 *)y + at;
        for (int64_t i = 0; i < n; i++)
            h[i] = mn_f32_to_bf16(mn_bf16_to_f32(h[i]) + x[i]);
    } else {
        float *restrict f = (float *)y + at;
        for (int64_t i = 0; i < n; i++)
            f[i] += x[i];
    }
}

#endif
