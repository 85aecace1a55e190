// Small f32 matrices in cache, what attention is made of: strips of rows are read from activations into a tile, tiles
// are multiplied, and tiles are written back as rows. A tile is row-major with a row length that is a multiple of 16;
// columns beyond the matrix hold zeros after a load, and anything after a product.
// Threading: pure functions of the calling thread, inside parallel regions.
#ifndef NN_OPS_TILE_H
#define NN_OPS_TILE_H

#include "nn/base/shape.h"

static inline int64_t nn__pad16(int64_t n)
{
    return (n + 15) / 16 * 16;
}

// Row r of a strip is the n elements from at + (index ? index[r] : r) * stride.
typedef struct nn__strip {
    mn_dtype type; // MN_F32 or MN_BF16
    int64_t at, stride, n;
    const int32_t *index;
} nn__strip;

// y (rows, pad16(n)) = scale x
void nn__tile_load(const nn__strip *s, const void *x, int64_t rows, float scale, float *y);
// y (n, pad16(rows)) = x^T
void nn__tile_load_transposed(const nn__strip *s, const void *x, int64_t rows, float *y);
// y = scale x, or y += scale x; x (rows, pad16(n))
void nn__tile_store(const nn__strip *s, void *y, int64_t rows, float scale, const float *x, int add);

// c (m, n) = or += a (m, k) b (k, n). Element (i, p) of a is a[i * a_row + p * a_column], so that a may be a transpose.
// n is a multiple of 16; rows of b and c are b_row and c_row apart.
typedef struct nn__product {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    int add;
} nn__product;
void nn__tile_product(const nn__product *p);

// Softmax of the first n elements of each row, in place; the rest of a row becomes 0. Rows are `row` apart.
void nn__tile_softmax(float *s, int64_t rows, int64_t n, int64_t row);
// Its backward: dp = p (dp - sum(p dp)), over whole rows.
void nn__tile_d_softmax(const float *p, float *dp, int64_t rows, int64_t row);

#endif
