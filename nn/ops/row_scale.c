#include "nn/ops.h"

#include "nn/ops/rows.h"

// A scale of 0 means that the row does not exist: it becomes exactly 0 even where it holds NaN.
MN_SIMD static void scale_row(const float *restrict x, float s, float *restrict y, int64_t n)
{
    if (s == 0.0f)
        for (int64_t i = 0; i < n; i++)
            y[i] = 0.0f;
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = s * x[i];
}

// to (+)= s[row] * from
static void scale_rows(const nn_call *c, const void *from, void *to, int acc)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    const float *s = c->in[1];
    int64_t rows = mn_count(node->in[1]->shape), n = mn_count(node->in[0]->shape) / rows;

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < n; k += NN__CHUNK) {
            float tmp_x[NN__CHUNK], tmp_y[NN__CHUNK];
            int64_t at = r * n + k, m = nn__min(NN__CHUNK, n - k);
            const float *x = nn__row_in(from, t, at, m, tmp_x);
            float *y = nn__row_out(to, t, at, acc, tmp_y);
            scale_row(x, s[r], y, m);
            nn__row_put(to, t, at, y, m, acc);
        }
    }
}

static mn_err forward(const nn_call *c)
{
    scale_rows(c, c->in[0], c->out[0], 0);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    if (nn__no_gradient(c)) return MN_OK;
    scale_rows(c, c->dout[0], c->din[0], nn__acc(c, 0));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape x = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    if (x.n < 2) return nn_bad_shape(n, "input 0 must be (B, T, ...)");
    MN_TRY(nn__want(n, 1, MN_F32, x.d[0] * x.d[1]));
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_row_scale = {
    .name = "row_scale",
    .bwd_reads_in = 1u << 1,
    .no_grad_in = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_row_scale(nn_graph *g, nn_tensor *x, nn_tensor *s)
{
    return nn_emit(g, &nn_op_row_scale, "row_scale", 2, (nn_tensor *[]){x, s}, NULL);
}
