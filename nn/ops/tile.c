#include "nn/ops/tile.h"

#include "nn/ops/math.h"

#include <float.h>

#define INLINE static inline __attribute__((always_inline))

// Sixteen floats: one register with AVX-512, two or four without. Only ever a local variable, never passed.
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t v16i __attribute__((vector_size(64)));

// --- strips -----------------------------------------------------------------------------------------------------------
INLINE int64_t row_at(const nn__strip *s, int64_t r)
{
    return s->at + (s->index ? s->index[r] : r) * s->stride;
}

MN_SIMD void nn__tile_load(const nn__strip *s, const void *x, int64_t rows, float scale, float *restrict y)
{
    const int64_t width = nn__pad16(s->n);

    for (int64_t r = 0; r < rows; r++, y += width) {
        if (s->type == MN_BF16) {
            const mn_bf16 *restrict h = (const mn_bf16 *)x + row_at(s, r);
            for (int64_t i = 0; i < s->n; i++)
                y[i] = scale * mn_bf16_to_f32(h[i]);
        } else {
            const float *restrict f = (const float *)x + row_at(s, r);
            for (int64_t i = 0; i < s->n; i++)
                y[i] = scale * f[i];
        }
        for (int64_t i = s->n; i < width; i++)
            y[i] = 0;
    }
}

MN_SIMD void nn__tile_load_transposed(const nn__strip *s, const void *x, int64_t rows, float *restrict y)
{
    const int64_t width = nn__pad16(rows);

    for (int64_t r = 0; r < rows; r++) {
        if (s->type == MN_BF16) {
            const mn_bf16 *h = (const mn_bf16 *)x + row_at(s, r);
            for (int64_t i = 0; i < s->n; i++)
                y[i * width + r] = mn_bf16_to_f32(h[i]);
        } else {
            const float *f = (const float *)x + row_at(s, r);
            for (int64_t i = 0; i < s->n; i++)
                y[i * width + r] = f[i];
        }
    }
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t r = rows; r < width; r++)
            y[i * width + r] = 0;
}

MN_SIMD void nn__tile_store(const nn__strip *s, void *y, int64_t rows, float scale, const float *restrict x, int add)
{
    const int64_t width = nn__pad16(s->n);

    for (int64_t r = 0; r < rows; r++, x += width) {
        if (s->type == MN_BF16) {
            mn_bf16 *restrict h = (mn_bf16 *)y + row_at(s, r);
            if (add)
                for (int64_t i = 0; i < s->n; i++)
                    h[i] = mn_f32_to_bf16(mn_bf16_to_f32(h[i]) + scale * x[i]);
            else
                for (int64_t i = 0; i < s->n; i++)
                    h[i] = mn_f32_to_bf16(scale * x[i]);
        } else {
            float *restrict f = (float *)y + row_at(s, r);
            if (add)
                for (int64_t i = 0; i < s->n; i++)
                    f[i] += scale * x[i];
            else
                for (int64_t i = 0; i < s->n; i++)
                    f[i] = scale * x[i];
        }
    }
}

// --- product ----------------------------------------------------------------------------------------------------------
// `rows` x `vectors` sums stay in registers while k runs; both are constants where this is inlined.
INLINE void block(const nn__product *p, int64_t i0, int64_t j0, const int rows, const int vectors)
{
    const float *a = p->a + i0 * p->a_row, *b = p->b + j0;
    v16 sum[6][4];

    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sum[i][j] = p->add ? *(const v16 *)(p->c + (i0 + i) * p->c_row + j0 + 16 * j) : (v16){0};
    for (int64_t q = 0; q < p->k; q++, a += p->a_column, b += p->b_row) {
        v16 row[4];
        for (int j = 0; j < vectors; j++)
            row[j] = *(const v16 *)(b + 16 * j);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++)
                sum[i][j] += a[i * p->a_row] * row[j];
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            *(v16 *)(p->c + (i0 + i) * p->c_row + j0 + 16 * j) = sum[i][j];
}

INLINE void blocks(const nn__product *p, int64_t j0, const int vectors)
{
    int64_t i = 0;

    for (; i + 6 <= p->m; i += 6)
        block(p, i, j0, 6, vectors);
    switch (p->m - i) {
    case 5:
        block(p, i, j0, 5, vectors);
        break;
    case 4:
        block(p, i, j0, 4, vectors);
        break;
    case 3:
        block(p, i, j0, 3, vectors);
        break;
    case 2:
        block(p, i, j0, 2, vectors);
        break;
    case 1:
        block(p, i, j0, 1, vectors);
        break;
    default:
        break;
    }
}

MN_SIMD void nn__tile_product(const nn__product *p)
{
    const nn__product local = *p; // its fields stay in registers, whatever is stored through p->c

    for (int64_t j = 0; j < p->n;) {
        const int64_t left = (p->n - j) / 16;
        if (left >= 3 && left != 4) {
            blocks(&local, j, 3);
            j += 48;
        } else if (left == 4) {
            blocks(&local, j, 4);
            j += 64;
        } else if (left == 2) {
            blocks(&local, j, 2);
            j += 32;
        } else {
            blocks(&local, j, 1);
            j += 16;
        }
    }
}

// --- softmax ----------------------------------------------------------------------------------------------------------
// Lanes are added, and compared, in a fixed order: the compiler may not reorder sums of floats by itself.
INLINE float sum_row(const float *x, int64_t n)
{
    v16 sum = {0};
    float total = 0;

    for (int64_t i = 0; i < n; i += 16)
        sum += *(const v16 *)(x + i);
    for (int i = 0; i < 16; i++)
        total += sum[i];
    return total;
}

INLINE float dot_row(const float *x, const float *y, int64_t n)
{
    v16 sum = {0};
    float total = 0;

    for (int64_t i = 0; i < n; i += 16)
        sum += *(const v16 *)(x + i) * *(const v16 *)(y + i);
    for (int i = 0; i < 16; i++)
        total += sum[i];
    return total;
}

INLINE float max_row(const float *x, int64_t n)
{
    v16 most = *(const v16 *)x;
    float total = -FLT_MAX;

    for (int64_t i = 16; i < n; i += 16) {
        const v16 v = *(const v16 *)(x + i);
        const v16i larger = v > most;
        most = (v16)(((v16i)v & larger) | ((v16i)most & ~larger));
    }
    for (int i = 0; i < 16; i++)
        total = most[i] > total ? most[i] : total;
    return total;
}

MN_SIMD void nn__tile_softmax(float *s, int64_t rows, int64_t n, int64_t row)
{
    for (int64_t r = 0; r < rows; r++, s += row) {
        for (int64_t i = n; i < row; i++)
            s[i] = -INFINITY;
        const float most = max_row(s, row);
        for (int64_t i = 0; i < row; i++)
            s[i] = nn__exp(s[i] - most);
        const float inverse = 1 / sum_row(s, row);
        for (int64_t i = 0; i < row; i++)
            s[i] *= inverse;
    }
}

MN_SIMD void nn__tile_d_softmax(const float *restrict p, float *restrict dp, int64_t rows, int64_t row)
{
    for (int64_t r = 0; r < rows; r++, p += row, dp += row) {
        const float dot = dot_row(p, dp, row);
        for (int64_t i = 0; i < row; i++)
            dp[i] = p[i] * (dp[i] - dot);
    }
}
