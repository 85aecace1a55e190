// Concordance correlation (Lin 1989), population form, one value per column over all rows of all ranks:
// L = sum over columns of 1 - ccc, ccc = 2 cov / D, D = var_x + var_y + (mean_x - mean_y)^2.
// The sample form divides variances and covariance by N - 1, as the public code of the CCA-Transformer does: the same as
// the population form with (mean_x - mean_y)^2 (N - 1) / N.
// Sums, for each column: [w, w x, w y, w x^2, w y^2, w x y]. They are taken about 0, because targets lie in [-1, 1].
#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/loss.h"

enum { SUMS = 6 };

typedef struct agreement {
    double n, mean_x, mean_y, distance, ccc; // distance: D above, 0 when both sides are constant and equal
    double shift;                            // factor of the squared difference of means
} agreement;

static agreement agree(const nn_call *c, int64_t column)
{
    const double *s = (const double *)c->in[3] + column * SUMS;
    agreement a = {.n = s[0], .shift = 1};

    if (!(a.n > 0)) return a;
    a.mean_x = s[1] / a.n;
    a.mean_y = s[2] / a.n;
    double var_x = s[3] / a.n - a.mean_x * a.mean_x, var_y = s[4] / a.n - a.mean_y * a.mean_y;
    double cov = s[5] / a.n - a.mean_x * a.mean_y, means = a.mean_x - a.mean_y;
    if (((const ccc_attr *)c->node->attr)->sample) a.shift = a.n > 1 ? (a.n - 1) / a.n : 0;
    a.distance = var_x + var_y + a.shift * means * means;
    // A constant target that is met exactly carries no information: ccc 0, and no gradient.
    if (a.distance < 1e-12)
        a.distance = 0;
    else
        a.ccc = 2 * cov / a.distance;
    return a;
}

static void sum_rows(const nn_call *c, int64_t first, int64_t end, double *sums, float *tmp)
{
    const float *target = c->in[1];
    int64_t n = mn_last(c->node->in[0]->shape);

    for (int64_t r = first; r < end; r++) {
        const float *row = nn__row_in(c->in[0], c->node->in[0]->dtype, r * n, n, tmp);
        for (int64_t k = 0; k < n; k++) {
            double w = (double)nn__loss_weight(c, r, k), x = (double)row[k], y = (double)target[r * n + k];
            if (w == 0) continue;
            double *s = sums + k * SUMS;
            s[0] += w;
            s[1] += w * x;
            s[2] += w * y;
            s[3] += w * x * x;
            s[4] += w * y * y;
            s[5] += w * x * y;
        }
    }
}

// dccc/dx_i = 2 w / (n D) ((y_i - mean_y) - ccc (x_i - mean_x + shift (mean_x - mean_y))): D depends on x through the
// distance of the means too. Population form, shift 1: x_i - mean_y is what remains.
static void grad_row(const nn_call *c, int64_t r, double scale, const float *row, float *dx)
{
    const float *target = c->in[1];
    int64_t n = mn_last(c->node->in[0]->shape);

    for (int64_t k = 0; k < n; k++) {
        agreement a = agree(c, k);
        double w = (double)nn__loss_weight(c, r, k), x = (double)row[k], y = (double)target[r * n + k];
        double from = x - a.mean_y - (1 - a.shift) * (a.mean_x - a.mean_y);
        if (w == 0 || a.distance == 0)
            dx[k] = 0;
        else
            dx[k] = (float)(-scale * 2 * w / (a.n * a.distance) * ((y - a.mean_y) - a.ccc * from));
    }
}

static mn_err sums_forward(const nn_call *c)
{
    return nn__loss_sums(c, sum_rows);
}

static mn_err loss_forward(const nn_call *c)
{
    double loss = 0;
    for (int64_t k = 0; k < mn_last(c->node->in[0]->shape); k++)
        loss += 1 - agree(c, k).ccc;
    *(double *)c->out[0] = loss;
    return MN_OK;
}

static mn_err loss_backward(const nn_call *c)
{
    return nn__loss_grad(c, grad_row);
}

static mn_err check(const nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    if (n->in[0]->shape.n < 1) return nn_bad_shape(n, "the input must have a dimension");
    MN_TRY(nn__want(n, 1, MN_F32, mn_count(n->in[0]->shape)));
    return nn__want_weights(n, 2);
}

static mn_err sums_shape(nn_node *n)
{
    MN_TRY(check(n));
    nn_set_out(n, 0, MN_F64, MN_SHAPE(mn_last(n->in[0]->shape), SUMS));
    return MN_OK;
}

static mn_err loss_shape(nn_node *n)
{
    MN_TRY(check(n));
    MN_TRY(nn__want(n, 3, MN_F64, mn_last(n->in[0]->shape) * SUMS));
    nn_set_out(n, 0, MN_F64, (mn_shape){0});
    return MN_OK;
}

const nn_op nn_op_ccc_sums = {
    .name = "ccc_sums",
    .attr_bytes = sizeof(ccc_attr),
    .no_grad_in = ~0u,
    .shape = sums_shape,
    .cpu = {.fwd = sums_forward, .prepare = nn__loss_prepare},
};

const nn_op nn_op_ccc_loss = {
    .name = "ccc_loss",
    .attr_bytes = sizeof(ccc_attr),
    .bwd_reads_in = ~0u,
    .no_grad_in = ~1u,
    .shape = loss_shape,
    .cpu = {.fwd = loss_forward, .bwd = loss_backward, .prepare = nn__loss_prepare},
};

static nn_tensor *build(nn_graph *g, nn_tensor *x, nn_tensor *target, nn_tensor *weight, ccc_attr attr)
{
    return nn__loss(g, &nn_op_ccc_sums, &nn_op_ccc_loss, 3, (nn_tensor *[4]){x, target, weight}, &attr);
}

nn_tensor *nn_ccc_loss(nn_graph *g, nn_tensor *x, nn_tensor *target, nn_tensor *weight)
{
    return build(g, x, target, weight, (ccc_attr){.sample = 0});
}

nn_tensor *nn_ccc_sample_loss(nn_graph *g, nn_tensor *x, nn_tensor *target, nn_tensor *weight)
{
    return build(g, x, target, weight, (ccc_attr){.sample = 1});
}
