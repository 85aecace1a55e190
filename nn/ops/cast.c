#include "nn/ops.h"

#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/convert.h"
#include "nn/ops/rows.h"

static mn_err forward(const nn_call *c)
{
    const nn_tensor *x = c->node->in[0], *y = c->node->out[0];

    nn__convert(mn_count(x->shape), x->dtype, c->in[0], y->dtype, c->out[0], 0);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const nn_tensor *x = c->node->in[0], *y = c->node->out[0];

    if (nn__no_gradient(c)) return MN_OK;
    nn__convert(mn_count(x->shape), y->dtype, c->dout[0], x->dtype, c->din[0], nn__acc(c, 0));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    const cast_attr *a = n->attr;

    MN_TRY(nn__want_activation(n, 0));
    if (a->to != MN_F32 && a->to != MN_BF16) return nn_bad_shape(n, "a cast makes f32 or bf16");
    nn_set_out(n, 0, (mn_dtype)a->to, n->in[0]->shape);
    return MN_OK;
}

const nn_op nn_op_cast = {
    .name = "cast",
    .attr_bytes = sizeof(cast_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_cast(nn_graph *g, nn_tensor *x, mn_dtype t)
{
    const cast_attr attr = {.to = t};

    return x->dtype == t ? x : nn_emit(g, &nn_op_cast, "cast", 1, &x, &attr);
}
