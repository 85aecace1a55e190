// Sums of vectors in a fixed order, at the speed of memory; and bf16, the form that may go between hosts.
// Threading: any thread; the targets are the caller's.
#ifndef DIST_REDUCE_H
#define DIST_REDUCE_H

#include "nn/base/shape.h"

// to[j][i] = ((from[0][i] + from[1][i]) + from[2][i]) + ... for all i < n, j < n_to. A target may be one of the
// sources. The order of additions does not depend on n, alignment, threads or the processor. OpenMP for long vectors.
void dist_sum_floats(const float *const *from, int n_from, float *const *to, int n_to, int64_t n);

// to[i] = ((from[0][i] + from[1][i]) + ...) added as fp32 and rounded once, to the nearest even; NaN and infinities stay
// what they are. The target may be one of the sources.
void dist_sum_bf16(const mn_bf16 *const *from, int n_from, mn_bf16 *to, int64_t n);
void dist_narrow(mn_bf16 *to, const float *from, int64_t n);
void dist_widen(float *to, const mn_bf16 *from, int64_t n);

#endif
