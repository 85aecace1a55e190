#include "nn/ops.h"

#include "nn/ops/rows.h"

#include <string.h>

static mn_err forward(const nn_call *c)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    int64_t rows = mn_rows(node->in[0]->shape), n = mn_last(node->in[0]->shape);
    size_t bytes = (size_t)n * mn_dtype_size(t);
    const uint8_t *mask = c->in[1];

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        if (mask[r])
            nn__row_put(c->out[0], t, r * n, c->in[2], n, 0);
        else
            memcpy((char *)c->out[0] + (size_t)r * bytes, (const char *)c->in[0] + (size_t)r * bytes, bytes);
    }
    return MN_OK;
}

MN_SIMD static void add_row(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

// Rows of one block: dx = dy where not masked; dtoken = sum of the masked dy, for the block.
static void backward_block(const nn_call *c, int64_t b, int64_t rows, int64_t n)
{
    mn_dtype t = c->node->in[0]->dtype;
    const uint8_t *mask = c->in[1];
    float *dtoken = (float *)c->work + b * 3 * n, *tmp = dtoken + n, *zero = dtoken + 2 * n;

    memset(dtoken, 0, (size_t)n * sizeof *dtoken);
    memset(zero, 0, (size_t)n * sizeof *zero);
    for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
        const float *dy = nn__row_in(c->dout[0], t, r * n, n, tmp);
        if (mask[r]) add_row(dtoken, dy, n);
        if (c->din[0]) nn__row_put(c->din[0], t, r * n, mask[r] ? zero : dy, n, nn__acc(c, 0));
    }
}

static mn_err backward(const nn_call *c)
{
    int64_t rows = mn_rows(c->node->in[0]->shape), n = mn_last(c->node->in[0]->shape), blocks = nn__blocks(rows);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++)
        backward_block(c, b, rows, n);
    if (c->din[2]) nn__add_blocks(c->din[2], c->work, blocks, 3 * n, n, nn__acc(c, 2));
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    n->work_bytes = nn__block_bytes(mn_rows(n->in[0]->shape), 3 * mn_last(n->in[0]->shape));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 3));
    MN_TRY(nn__want(n, 1, MN_U8, s.d[0] * s.d[1]));
    MN_TRY(nn__want(n, 2, MN_F32, s.d[2]));
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_mask_blend = {
    .name = "mask_blend",
    .bwd_reads_in = 1u << 1,
    .no_grad_in = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_mask_blend(nn_graph *g, nn_tensor *x, nn_tensor *mask, const char *name)
{
    nn_param_spec spec = {
        .shape = MN_SHAPE(1, 1, mn_last(x->shape)), .init = NN_INIT_TRUNC_NORMAL, .no_decay = 1, .f32 = 1};
    nn_tensor *token = nn_param_get(g, name, &spec);
    return nn_emit(g, &nn_op_mask_blend, name, 3, (nn_tensor *[]){x, mask, token}, NULL);
}
