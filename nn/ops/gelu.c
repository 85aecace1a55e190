#include "nn/ops.h"

#include "nn/ops/math.h"
#include "nn/ops/rows.h"

MN_SIMD static void gelu_row(const float *restrict x, const float *restrict none, float *restrict y, int64_t n,
                             const void *attr)
{
    (void)none, (void)attr;
    for (int64_t i = 0; i < n; i++)
        y[i] = nn__gelu(x[i]);
}

MN_SIMD static void gelu_grad_row(const float *restrict x, const float *restrict dy, float *restrict dx, int64_t n,
                                  const void *attr)
{
    (void)attr;
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * nn__gelu_grad(x[i]);
}

static mn_err forward(const nn_call *c)
{
    nn__map(c, gelu_row, c->in[0], NULL, c->out[0], 0, NULL);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    if (nn__no_gradient(c)) return MN_OK;
    nn__map(c, gelu_grad_row, c->in[0], c->dout[0], c->din[0], nn__acc(c, 0), NULL);
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_gelu = {
    .name = "gelu",
    .bwd_reads_in = 1u << 0,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_gelu(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &nn_op_gelu, "gelu", 1, &x, NULL);
}
