// Small matrices in cache, what attention is made of: strips of rows are read from activations into a tile, tiles are
// multiplied with f32 sums, and f32 tiles are written back as rows.
//
// A tile is a row-major matrix of 32-bit words. Where the processor multiplies pairs of bf16 faster than f32, tiles of
// bf16 activations are kept as such: a word is then two neighbours along the dimension that a product sums over.
// Functions take that as `pairs`, the answer of nn__tile_pairs; without it a word is one f32.
// Threading: pure functions of the calling thread, inside parallel regions.
#ifndef NN_OPS_TILE_H
#define NN_OPS_TILE_H

#include "nn/base/shape.h"

static inline int64_t nn__pad16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

int nn__tile_pairs(mn_dtype activations);

// Words of a natural row of n values; words along a summed dimension of n values.
static inline int64_t nn__tile_row(int64_t n, int pairs)
{
    return pairs ? nn__pad16(n) / 2 : nn__pad16(n);
}
static inline int64_t nn__tile_steps(int64_t n, int pairs)
{
    return pairs ? (n + 1) / 2 : n;
}

// Row r of a strip is the n elements from at + (index ? index[r] : r) * stride.
typedef struct nn__strip {
    mn_dtype type; // MN_F32 or MN_BF16
    int64_t at, stride, n;
    const int32_t *index;
} nn__strip;

// y (rows, tile_row(n)): as it lies, pairs along the row. Columns beyond n are 0.
void nn__tile_load(const nn__strip *s, const void *x, int64_t rows, int pairs, float *y);
// y = scale x, or y += scale x; x f32 (rows, pad16(n)).
void nn__tile_store(const nn__strip *s, void *y, int64_t rows, float scale, const float *x, int add);
// y (n, pad16(rows)) = x^T, x (rows, x_row) of which n words count; columns of y beyond rows are 0.
void nn__tile_transpose(const float *x, int64_t rows, int64_t x_row, int64_t n, float *y);

// Only with pairs. Natural rows -> pairs down the rows: x (rows, pad16(n) / 2), y ((rows + 1) / 2, pad16(n)).
void nn__tile_interleave(const float *x, int64_t rows, int64_t n, float *y);
// f32 (rows, row) -> pairs along the rows, (rows, row / 2); and down the rows, ((rows + 1) / 2, row).
void nn__tile_pack_rows(const float *x, int64_t rows, int64_t row, float *y);
void nn__tile_pack_columns(const float *x, int64_t rows, int64_t row, float *y);

// c f32 (m, n) = or += a (m, k) b (k, n), k in words. Word (i, p) of a is a[i * a_row + p * a_column], so that a may be
// a transpose. n is a multiple of 16; rows of b and c are b_row and c_row apart.
typedef struct nn__product {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    int add, pairs;
} nn__product;
void nn__tile_product(const nn__product *p);

// Scores lie with the keys down and the queries across, so that a softmax runs down the columns, a vector of queries at
// a time.
typedef struct nn__scores {
    int64_t keys, row; // row: queries, a multiple of 16
    float scale;
    const float *bias;    // (keys, row) or NULL, added
    const int32_t *label; // (max(keys, row)) or NULL: -100 where key and query differ in it
    const float *valid;   // (keys) or NULL: 0 masks a key (-FLT_MAX)
} nn__scores;
// s = softmax over keys of scale s + bias + masks.
void nn__tile_softmax(const nn__scores *k, float *s);
// Its backward without the scale: dp = p (dp - sum over keys of p dp).
void nn__tile_d_softmax(const float *p, float *dp, int64_t keys, int64_t row);

#endif
