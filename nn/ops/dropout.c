// Inverted dropout. The mask is a function of (path, global row, step, element) and is drawn again in backward.
#include "nn/ops.h"

#include "nn/base/rng.h"
#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

// Keeps element i when the uniform number made of u[i] is at least p.
MN_SIMD static void drop_row(const float *restrict x, const uint32_t *restrict u, float p, float *restrict y, int64_t n)
{
    float scale = 1.0f / (1.0f - p);
    for (int64_t i = 0; i < n; i++)
        y[i] = mn_uniform(u[i]) >= p ? x[i] * scale : 0.0f;
}

// to (+)= mask * from; a row of the batch is the first dimension, and its elements are numbered from 0.
static void apply(const nn_call *c, const void *from, void *to, int acc)
{
    const dropout_attr *attr = c->node->attr;
    mn_dtype t = c->node->in[0]->dtype;
    mn_shape s = c->node->in[0]->shape;
    int64_t batch = s.d[0], width = mn_count(s) / batch, chunks = nn__chunks(width);

#pragma omp parallel for schedule(static) if (batch * width > NN__SERIAL / 4)
    for (int64_t k = 0; k < batch * chunks; k++) {
        float tmp_x[NN__CHUNK], tmp_y[NN__CHUNK];
        uint32_t u[NN__CHUNK];
        int64_t b = k / chunks, first = k % chunks * NN__CHUNK;
        int64_t at = b * width + first, n = nn__min(NN__CHUNK, width - first);
        mn_rng_blocks(c->node->key, (uint64_t)(c->tick->first_row + b), c->tick->step, (uint32_t)(first / 4),
                      (n + 3) / 4, u);
        const float *x = nn__row_in(from, t, at, n, tmp_x);
        float *y = nn__row_out(to, t, at, acc, tmp_y);
        drop_row(x, u, attr->p, y, n);
        nn__row_put(to, t, at, y, n, acc);
    }
}

static mn_err forward(const nn_call *c)
{
    apply(c, c->in[0], c->out[0], 0);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    if (nn__no_gradient(c)) return MN_OK;
    apply(c, c->dout[0], c->din[0], nn__acc(c, 0));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    float p = ((const dropout_attr *)n->attr)->p;

    MN_TRY(nn__want_activation(n, 0));
    if (s.n < 1) return nn_bad_shape(n, "the input must have a batch dimension");
    if (!(p >= 0 && p < 1)) return nn_bad_shape(n, "p must be in [0, 1), not %g", (double)p);
    if (mn_count(s) / s.d[0] > (int64_t)UINT32_MAX * 4)
        return nn_bad_shape(n, "a row of the batch is longer than the random numbers reach");
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_dropout = {
    .name = "dropout",
    .attr_bytes = sizeof(dropout_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_dropout(nn_graph *g, nn_tensor *x, float p, const char *name)
{
    if (p == 0 || nn_graph_mode(g) == NN_EVAL) return x;
    return nn_emit(g, &nn_op_dropout, name, 1, &x, &(dropout_attr){.p = p});
}
