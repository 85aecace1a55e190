// out = in summed over ranks, and in backward the gradient is summed over ranks, because every rank's result depends on
// every rank's input. The kernels here are for one rank; the executor adds the ranks (nn/exec.c).
#include "nn/ops.h"

#include "nn/ops/rows.h"

#include <string.h>

static mn_err shape(nn_node *n)
{
    if (n->in[0]->dtype != MN_F64) return nn_bad_shape(n, "the input must be f64");
    nn__out_like_in(n);
    return MN_OK;
}

static mn_err forward(const nn_call *c)
{
    memcpy(c->out[0], c->in[0], (size_t)mn_count(c->node->out[0]->shape) * sizeof(double));
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const double *from = c->dout[0];
    double *to = c->din[0];
    for (int64_t i = 0; i < mn_count(c->node->out[0]->shape); i++)
        to[i] = nn__acc(c, 0) ? to[i] + from[i] : from[i];
    return MN_OK;
}

const nn_op nn_op_all_sum = {
    .name = "all_sum",
    .flags = NN_OP_COLLECTIVE,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_all_sum(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &nn_op_all_sum, "all_sum", 1, &x, NULL);
}
