#include "nn/ops/tile.h"

#include "nn/ops/math.h"
#include "nn/ops/tile_pairs.h"

#include <float.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

// Sixteen floats: one register with AVX-512, two or four without. Only ever local variables, never passed.
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));

int nn__tile_pairs(mn_dtype activations)
{
    return activations == MN_BF16 && nn__pairs_fast();
}

// --- strips -----------------------------------------------------------------------------------------------------------
INLINE int64_t row_at(const nn__strip *s, int64_t r)
{
    return s->at + (s->index ? s->index[r] : r) * s->stride;
}

MN_SIMD static void load_pairs(const nn__strip *s, const mn_bf16 *x, int64_t rows, float *y)
{
    const int64_t width = nn__pad16(s->n), whole = s->n / 32 * 32;
    mn_bf16 *h = (void *)y;

    for (int64_t r = 0; r < rows; r++, h += width) {
        const mn_bf16 *from = x + row_at(s, r);
        for (int64_t i = 0; i < whole; i += 32) // a call of memcpy for one cache line costs more than the line
            *(v16 *)(void *)(h + i) = *(const v16 *)(const void *)(from + i);
        if (whole == s->n) continue;
        memcpy(h + whole, from + whole, (size_t)(s->n - whole) * sizeof *h);
        memset(h + s->n, 0, (size_t)(width - s->n) * sizeof *h);
    }
}

MN_SIMD static void load_floats(const nn__strip *s, const void *x, int64_t rows, float *restrict y)
{
    const int64_t width = nn__pad16(s->n);

    for (int64_t r = 0; r < rows; r++, y += width) {
        nn__load_row(y, x, s->type, row_at(s, r), s->n);
        for (int64_t i = s->n; i < width; i++)
            y[i] = 0;
    }
}

void nn__tile_load(const nn__strip *s, const void *x, int64_t rows, int pairs, float *y)
{
    if (pairs)
        load_pairs(s, x, rows, y);
    else
        load_floats(s, x, rows, y);
}

MN_SIMD void nn__tile_store(const nn__strip *s, void *y, int64_t rows, float scale, const float *restrict x, int add)
{
    const int64_t width = nn__pad16(s->n);

    for (int64_t r = 0; r < rows; r++, x += width) {
        if (s->type == MN_BF16) {
            mn_bf16 *restrict h = (mn_bf16 *)y + row_at(s, r);
            if (add)
                for (int64_t i = 0; i < s->n; i++)
                    nn__put(h, MN_BF16, i, nn__get(h, MN_BF16, i) + scale * x[i]);
            else
                for (int64_t i = 0; i < s->n; i++)
                    nn__put(h, MN_BF16, i, scale * x[i]);
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

// --- transposition, in blocks of 4 x 4 ----------------------------------------------------------------------------------
INLINE void transpose_block(const float *x, int64_t x_row, float *y, int64_t y_row)
{
    const v4 a = *(const v4 *)x, b = *(const v4 *)(x + x_row), c = *(const v4 *)(x + 2 * x_row),
             d = *(const v4 *)(x + 3 * x_row);
    const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const v4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);

    *(v4 *)y = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(v4 *)(y + y_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(v4 *)(y + 2 * y_row) = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
    *(v4 *)(y + 3 * y_row) = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
}

INLINE void transpose_rest(const float *x, int64_t r0, int64_t r1, int64_t c0, int64_t c1, int64_t x_row, float *y,
                           int64_t y_row)
{
    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++)
            y[c * y_row + r] = x[r * x_row + c];
}

MN_SIMD void nn__tile_transpose(const float *restrict x, int64_t rows, int64_t x_row, int64_t n, float *restrict y)
{
    const int64_t y_row = nn__pad16(rows), whole_rows = rows / 4 * 4, whole = n / 4 * 4;

    for (int64_t r = 0; r < whole_rows; r += 4)
        for (int64_t c = 0; c < whole; c += 4)
            transpose_block(x + r * x_row + c, x_row, y + c * y_row + r, y_row);
    transpose_rest(x, 0, whole_rows, whole, n, x_row, y, y_row);
    transpose_rest(x, whole_rows, rows, 0, n, x_row, y, y_row);
    for (int64_t c = 0; c < n && rows < y_row; c++)
        for (int64_t r = rows; r < y_row; r++)
            y[c * y_row + r] = 0;
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

#include "nn/ops/tile_blocks.h"

MN_SIMD static void product(const nn__product *p)
{
    NN__TILE_BLOCKS(p)
}

void nn__tile_product(const nn__product *p)
{
    const nn__product local = *p; // its fields stay in registers, whatever is stored through p->c

    if (p->pairs)
        nn__pairs_product(&local);
    else
        product(&local);
}

// --- softmax ----------------------------------------------------------------------------------------------------------
enum { LANES = 64 }; // queries taken at a time: what is kept of each is in the first-level cache

// s = scale s + bias + masks, and the largest of each column.
INLINE void prepare_scores(const nn__scores *k, float *s, int64_t at, int64_t lanes, float *most)
{
    for (int64_t i = 0; i < lanes; i++)
        most[i] = -FLT_MAX;
    for (int64_t j = 0; j < k->keys; j++) {
        float *row = s + j * k->row + at;
        const float *bias = k->bias ? k->bias + j * k->row + at : NULL;
        if (bias)
            for (int64_t i = 0; i < lanes; i++)
                row[i] = row[i] * k->scale + bias[i];
        else
            for (int64_t i = 0; i < lanes; i++)
                row[i] *= k->scale;
        if (k->label)
            for (int64_t i = 0; i < lanes; i++)
                row[i] += k->label[j] != k->label[at + i] ? -100.0f : 0.0f;
        if (k->valid && k->valid[j] == 0.0f)
            for (int64_t i = 0; i < lanes; i++)
                row[i] = -FLT_MAX;
        for (int64_t i = 0; i < lanes; i++)
            most[i] = row[i] > most[i] ? row[i] : most[i];
    }
}

MN_SIMD void nn__tile_softmax(const nn__scores *scores, float *s)
{
    const nn__scores k = *scores;
    float most[LANES], sum[LANES];

    for (int64_t at = 0; at < k.row; at += LANES) {
        const int64_t lanes = k.row - at < LANES ? k.row - at : LANES;
        prepare_scores(&k, s, at, lanes, most);
        for (int64_t i = 0; i < lanes; i++)
            sum[i] = 0;
        for (int64_t j = 0; j < k.keys; j++) {
            float *row = s + j * k.row + at;
            for (int64_t i = 0; i < lanes; i++) {
                row[i] = nn__exp(row[i] - most[i]);
                sum[i] += row[i];
            }
        }
        for (int64_t i = 0; i < lanes; i++)
            sum[i] = 1 / sum[i];
        for (int64_t j = 0; j < k.keys; j++)
            for (int64_t i = 0; i < lanes; i++)
                s[j * k.row + at + i] *= sum[i];
    }
}

MN_SIMD void nn__tile_d_softmax(const float *restrict p, float *restrict dp, int64_t keys, int64_t row)
{
    float dot[LANES];

    for (int64_t at = 0; at < row; at += LANES) {
        const int64_t lanes = row - at < LANES ? row - at : LANES;
        for (int64_t i = 0; i < lanes; i++)
            dot[i] = 0;
        for (int64_t j = 0; j < keys; j++)
            for (int64_t i = 0; i < lanes; i++)
                dot[i] += p[j * row + at + i] * dp[j * row + at + i];
        for (int64_t j = 0; j < keys; j++)
            for (int64_t i = 0; i < lanes; i++)
                dp[j * row + at + i] = p[j * row + at + i] * (dp[j * row + at + i] - dot[i]);
    }
}
