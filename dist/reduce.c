#include "dist/reduce.h"

#include "nn/base/simd.h"

#include <string.h>

enum { BLOCK = 2048, THREADED = 1 << 17 }; // floats: a block and its sum stay in the first-level cache

static int64_t block_size(int64_t b, int64_t n)
{
    return n - b * BLOCK < BLOCK ? n - b * BLOCK : BLOCK;
}

MN_SIMD static void add_two(const float *a, const float *b, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

// The case of two ranks, which touches every line once: both sources are overwritten with the sum.
MN_SIMD static void add_both(float *restrict a, float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = a[i] + b[i];
        a[i] = s;
        b[i] = s;
    }
}

static void sum_block(const float *const *from, int n_from, float *const *to, int n_to, int64_t at, int64_t n)
{
    float sum[BLOCK];
    if (n_from == 2 && n_to == 2 && from[0] == to[0] && from[1] == to[1]) {
        add_both(to[0] + at, to[1] + at, n);
        return;
    }
    const float *first = from[0] + at;
    for (int k = 1; k < n_from; k++) {
        add_two(first, from[k] + at, sum, n);
        first = sum;
    }
    for (int j = 0; j < n_to; j++)
        if (to[j] + at != first) memcpy(to[j] + at, first, (size_t)n * sizeof(float));
}

void dist_sum_floats(const float *const *from, int n_from, float *const *to, int n_to, int64_t n)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (n >= THREADED)
    for (int64_t b = 0; b < blocks; b++)
        sum_block(from, n_from, to, n_to, b * BLOCK, block_size(b, n));
}

// --- bf16 ---

MN_SIMD static void narrow(mn_bf16 *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = mn_f32_to_bf16(from[i]);
}

MN_SIMD static void widen(float *to, const mn_bf16 *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = mn_bf16_to_f32(from[i]);
}

MN_SIMD static void add_wide(float *sum, const mn_bf16 *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += mn_bf16_to_f32(from[i]);
}

static void sum_block_bf16(const mn_bf16 *const *from, int n_from, mn_bf16 *to, int64_t at, int64_t n)
{
    float sum[BLOCK];
    widen(sum, from[0] + at, n);
    for (int k = 1; k < n_from; k++)
        add_wide(sum, from[k] + at, n);
    narrow(to + at, sum, n);
}

void dist_sum_bf16(const mn_bf16 *const *from, int n_from, mn_bf16 *to, int64_t n)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (n >= THREADED)
    for (int64_t b = 0; b < blocks; b++)
        sum_block_bf16(from, n_from, to, b * BLOCK, block_size(b, n));
}

void dist_narrow(mn_bf16 *to, const float *from, int64_t n)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (n >= THREADED)
    for (int64_t b = 0; b < blocks; b++)
        narrow(to + b * BLOCK, from + b * BLOCK, block_size(b, n));
}

void dist_widen(float *to, const mn_bf16 *from, int64_t n)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (n >= THREADED)
    for (int64_t b = 0; b < blocks; b++)
        widen(to + b * BLOCK, from + b * BLOCK, block_size(b, n));
}
