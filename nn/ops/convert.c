#include "nn/ops/convert.h"

#include "nn/ops/math.h"

enum { CHUNK = 1024 };

MN_SIMD static void convert_chunk(int64_t n, mn_dtype from_type, const void *from, mn_dtype to_type, void *to,
                                  int64_t at, int add)
{
    float row[CHUNK];

    nn__load_row(row, from, from_type, at, n);
    if (add)
        nn__add_row(to, to_type, at, row, n);
    else
        nn__store_row(to, to_type, at, row, n);
}

void nn__convert(int64_t n, mn_dtype from_type, const void *from, mn_dtype to_type, void *to, int add)
{
#pragma omp parallel for schedule(static) if (n > 16 * CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        convert_chunk(n - i < CHUNK ? n - i : CHUNK, from_type, from, to_type, to, i, add);
}

void nn__widen(int64_t n, const mn_bf16 *from, float *to)
{
    nn__convert(n, MN_BF16, from, MN_F32, to, 0);
}

void nn__narrow(int64_t n, const float *from, mn_bf16 *to)
{
    nn__convert(n, MN_F32, from, MN_BF16, to, 0);
}
