#include "nn/ops/tile_pairs.h"

#include "nn/base/err.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) BF16

int nn__pairs_fast(void)
{
    return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

// `rows` x `vectors` sums stay in registers while k runs; both are constants where this is inlined.
INLINE void block(const nn__product *p, int64_t i0, int64_t j0, const int rows, const int vectors)
{
    const float *a = p->a + i0 * p->a_row, *b = p->b + j0;
    __m512 sum[6][4];

    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sum[i][j] = p->add ? _mm512_loadu_ps(p->c + (i0 + i) * p->c_row + j0 + 16 * j) : _mm512_setzero_ps();
    for (int64_t q = 0; q < p->k; q++, a += p->a_column, b += p->b_row) {
        __m512bh row[4];
        for (int j = 0; j < vectors; j++)
            row[j] = (__m512bh)_mm512_loadu_ps(b + 16 * j);
        for (int i = 0; i < rows; i++) {
            const __m512bh pair = (__m512bh)_mm512_set1_ps(a[i * p->a_row]);
            for (int j = 0; j < vectors; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], pair, row[j]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            _mm512_storeu_ps(p->c + (i0 + i) * p->c_row + j0 + 16 * j, sum[i][j]);
}

#include "nn/ops/tile_blocks.h"

BF16 void nn__pairs_product(const nn__product *p){NN__TILE_BLOCKS(p)}

BF16 void nn__tile_interleave(const float *x, int64_t rows, int64_t n, float *y)
{
    const int64_t width = nn__pad16(n);
    const uint16_t *h = (const void *)x;
    uint32_t *w = (void *)y;

    for (int64_t r = 0; r < rows; r += 2, h += 2 * width, w += width) {
        for (int64_t i = 0; i < width; i += 16) {
            const __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(h + i)));
            const __m512i second = r + 1 < rows
                                       ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(h + width + i)))
                                       : _mm512_setzero_si512();
            _mm512_storeu_si512(w + i, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
        }
    }
}

BF16 void nn__tile_pack_rows(const float *x, int64_t rows, int64_t row, float *y)
{
    uint16_t *h = (void *)y;

    for (int64_t i = 0; i < rows * row; i += 16)
        _mm256_storeu_si256((void *)(h + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
}

BF16 void nn__tile_pack_columns(const float *x, int64_t rows, int64_t row, float *y)
{
    uint32_t *w = (void *)y;

    for (int64_t r = 0; r < rows; r += 2, x += 2 * row, w += row) {
        for (int64_t i = 0; i < row; i += 16) {
            const __m512 below = r + 1 < rows ? _mm512_loadu_ps(x + row + i) : _mm512_setzero_ps();
            const __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
            const __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(below));
            _mm512_storeu_si512(w + i, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
        }
    }
}

#else

int nn__pairs_fast(void)
{
    return 0;
}

// Never called: tiles are f32 here.
void nn__pairs_product(const nn__product *p)
{
    (void)p;
    mn_assert(!"pairs");
}

void nn__tile_interleave(const float *x, int64_t rows, int64_t n, float *y)
{
    (void)x, (void)rows, (void)n, (void)y;
    mn_assert(!"pairs");
}

void nn__tile_pack_rows(const float *x, int64_t rows, int64_t row, float *y)
{
    (void)x, (void)rows, (void)row, (void)y;
    mn_assert(!"pairs");
}

void nn__tile_pack_columns(const float *x, int64_t rows, int64_t row, float *y)
{
    (void)x, (void)rows, (void)row, (void)y;
    mn_assert(!"pairs");
}

#endif
