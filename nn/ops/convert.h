// f32 <-> bf16 for whole arrays, over the OpenMP threads. Rounding to nearest even; NaN stays NaN.
// Threading: outside parallel regions.
#ifndef NN_OPS_CONVERT_H
#define NN_OPS_CONVERT_H

#include "nn/base/shape.h"

void nn__widen(int64_t n, const mn_bf16 *from, float *to);
void nn__narrow(int64_t n, const float *from, mn_bf16 *to);
// to = or += from, any of f32 and bf16.
void nn__convert(int64_t n, mn_dtype from_type, const void *from, mn_dtype to_type, void *to, int add);

#endif
