// Binary cross entropy from logits: mean over valid elements of max(z, 0) - z y + log(1 + exp(-|z|)).
// Sums: [numerator, sum of weights].
#include "nn/ops.h"

#include "nn/ops/loss.h"

#include <math.h>

static void sum_rows(const nn_call *c, int64_t first, int64_t end, double *sums, float *tmp)
{
    const float *target = c->in[1];
    int64_t n = mn_last(c->node->in[0]->shape);

    for (int64_t r = first; r < end; r++) {
        const float *row = nn__row_in(c->in[0], c->node->in[0]->dtype, r * n, n, tmp);
        for (int64_t k = 0; k < n; k++) {
            double w = (double)nn__loss_weight(c, r, k), z = (double)row[k];
            if (w == 0) continue;
            sums[0] += w * (fmax(z, 0) - z * (double)target[r * n + k] + log1p(exp(-fabs(z))));
            sums[1] += w;
        }
    }
}

// dL/dz = w (sigmoid(z) - y) / sum of weights
static void grad_row(const nn_call *c, int64_t r, double scale, const float *row, float *dz)
{
    const float *target = c->in[1];
    const double *sums = c->in[3];
    int64_t n = mn_last(c->node->in[0]->shape);

    for (int64_t k = 0; k < n; k++) {
        double w = (double)nn__loss_weight(c, r, k), z = (double)row[k];
        int valid = w != 0 && sums[1] > 0;
        dz[k] = valid ? (float)(scale * w / sums[1] * (1 / (1 + exp(-z)) - (double)target[r * n + k])) : 0;
    }
}

static mn_err sums_forward(const nn_call *c)
{
    return nn__loss_sums(c, sum_rows);
}

static mn_err loss_forward(const nn_call *c)
{
    const double *sums = c->in[3];
    *(double *)c->out[0] = sums[1] > 0 ? sums[0] / sums[1] : 0;
    return MN_OK;
}

static mn_err loss_backward(const nn_call *c)
{
    return nn__loss_grad(c, grad_row);
}

static mn_err check(const nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    if (n->in[0]->shape.n < 1) return nn_bad_shape(n, "the logits must have a dimension");
    MN_TRY(nn__want(n, 1, MN_F32, mn_count(n->in[0]->shape)));
    return nn__want_weights(n, 2);
}

static mn_err sums_shape(nn_node *n)
{
    MN_TRY(check(n));
    nn_set_out(n, 0, MN_F64, MN_SHAPE(2));
    return MN_OK;
}

static mn_err loss_shape(nn_node *n)
{
    MN_TRY(check(n));
    MN_TRY(nn__want(n, 3, MN_F64, 2));
    nn_set_out(n, 0, MN_F64, (mn_shape){0});
    return MN_OK;
}

const nn_op nn_op_bce_sums = {
    .name = "bce_sums",
    .no_grad_in = ~0u,
    .shape = sums_shape,
    .cpu = {.fwd = sums_forward, .prepare = nn__loss_prepare},
};

const nn_op nn_op_bce_loss = {
    .name = "bce_loss",
    .bwd_reads_in = ~0u,
    .no_grad_in = ~1u,
    .shape = loss_shape,
    .cpu = {.fwd = loss_forward, .bwd = loss_backward, .prepare = nn__loss_prepare},
};

nn_tensor *nn_bce_loss(nn_graph *g, nn_tensor *z, nn_tensor *target, nn_tensor *weight)
{
    return nn__loss(g, &nn_op_bce_sums, &nn_op_bce_loss, 3, (nn_tensor *[4]){z, target, weight}, NULL);
}
