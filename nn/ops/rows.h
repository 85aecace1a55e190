// What the ops share: rows of f32 or bf16 memory as floats, splitting of work that does not depend on the number of
// threads, shape checks.
//
//     for each row:
//         const float *x = nn__row_in(c->in[0], t, at, n, tmp_x);       // f32: the memory itself, nothing is copied
//         float *y = nn__row_out(c->din[0], t, at, acc, tmp_y);         // where to compute
//         leaf(x, y, n);
//         nn__row_put(c->din[0], t, at, y, n, acc);                     // converts or adds where that is needed
//
// Sums over rows are made in blocks: rows are cut into nn__blocks(rows) ranges, each block is summed in order into a
// row of its own, and the rows are added in index order, so that a sum is the same on any number of threads.
// Threading: pure functions over the memory given.
#ifndef NN_OPS_ROWS_H
#define NN_OPS_ROWS_H

#include "nn/base/simd.h"
#include "nn/op.h"

enum {
    NN__MAX_BLOCKS = 64,  // enough to keep the cores of one rank busy, few enough for a workspace row each
    NN__BLOCK_ROWS = 16,  // fewest rows worth the sums of a block of their own
    NN__CHUNK = 1024,     // elements that an elementwise kernel takes at a time; its buffers live on the stack
    NN__SERIAL = 1 << 15, // elements below which waking the threads costs more than it saves
};

const float *nn__row_in(const void *x, mn_dtype t, int64_t at, int64_t n, float *tmp);
float *nn__row_out(void *y, mn_dtype t, int64_t at, int acc, float *tmp);
void nn__row_put(void *y, mn_dtype t, int64_t at, const float *row, int64_t n, int acc);

// An elementwise kernel over tensors like input 0: y (+)= leaf(a, b), in chunks over the threads. b may be NULL.
typedef void nn__leaf(const float *restrict a, const float *restrict b, float *restrict y, int64_t n, const void *attr);
void nn__map(const nn_call *c, nn__leaf *leaf, const void *a, const void *b, void *y, int acc, const void *attr);

// Does the backward of input i add to what is there?
static inline int nn__acc(const nn_call *c, int i)
{
    return (int)(c->acc >> i & 1u);
}

static inline int64_t nn__min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t nn__chunks(int64_t n)
{
    return (n + NN__CHUNK - 1) / NN__CHUNK;
}
static inline int64_t nn__blocks(int64_t rows)
{
    return nn__min((rows + NN__BLOCK_ROWS - 1) / NN__BLOCK_ROWS, NN__MAX_BLOCKS);
}
// First row of block b; block b ends where b + 1 starts.
static inline int64_t nn__block_start(int64_t rows, int64_t b)
{
    return rows * b / nn__blocks(rows);
}

// y (+)= the sum of `blocks` rows of n values that lie `stride` apart.
void nn__add_blocks(float *y, const float *part, int64_t blocks, int64_t stride, int64_t n, int acc);
void nn__add_blocks_f64(double *y, const double *part, int64_t blocks, int64_t stride, int64_t n);

// Before anything else in a backward kernel of an op with one output: true when that output has no gradient; then every
// wanted gradient that is not added to has been set to 0.
int nn__no_gradient(const nn_call *c);

// Shape checks. An activation is f32 or bf16.
MN_MUST_CHECK mn_err nn__want_activation(const nn_node *n, int i);
MN_MUST_CHECK mn_err nn__want(const nn_node *n, int i, mn_dtype t, int64_t count); // type and number of elements
MN_MUST_CHECK mn_err nn__want_dims(const nn_node *n, int i, int dims);
// First output like input 0.
void nn__out_like_in(nn_node *n);
// Parameters name.weight (1) and name.bias (0) of a norm over n channels, into in[0] and in[1].
void nn__norm_params(nn_graph *g, int64_t n, const char *name, nn_tensor **in);

// The count of one block times `floats`, as workspace for rows blocks.
static inline size_t nn__block_bytes(int64_t rows, int64_t floats)
{
    return (size_t)(nn__blocks(rows) * floats) * sizeof(float);
}

#endif
