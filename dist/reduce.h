// Sums of vectors in a fixed order, at the speed of memory.
// Threading: any thread; the targets are the caller's.
#ifndef DIST_REDUCE_H
#define DIST_REDUCE_H

#include <stdint.h>

// to[j][i] = ((from[0][i] + from[1][i]) + from[2][i]) + ... for all i < n, j < n_to. A target may be one of the
// sources. The order of additions does not depend on n, alignment, threads or the processor. OpenMP for long vectors.
void dist_sum_floats(const float *const *from, int n_from, float *const *to, int n_to, int64_t n);

#endif
