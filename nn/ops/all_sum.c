// The record of the collective; the executor runs it (nn/exec.c): out = in summed over ranks, and in backward the
// gradient is summed over ranks, because every rank's result depends on every rank's input.
#include "nn/ops.h"

#include "nn/ops/rows.h"

static mn_err shape(nn_node *n)
{
    if (n->in[0]->dtype != MN_F64) return nn_bad_shape(n, "the input must be f64");
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_all_sum = {
    .name = "all_sum",
    .flags = NN_OP_COLLECTIVE,
    .shape = shape,
};

nn_tensor *nn_all_sum(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &nn_op_all_sum, "all_sum", 1, &x, NULL);
}
