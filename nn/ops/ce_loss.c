// Cross entropy with soft targets, class weights and label smoothing, as the mean that PyTorch defines for class
// indices: L = sum w_i sum_c W_c t'_ic (-log p_ic) / sum w_i sum_c W_c t_ic with t' = (1 - s) t + s / K.
// Sums: [numerator, denominator].
#include "nn/ops.h"

#include "nn/ops/loss.h"

#include <math.h>

enum { MAX_CLASSES = (int)(sizeof((nn_ce_cfg *)0)->class_weight / sizeof(float)) };

static double class_weight(const nn_ce_cfg *cfg, int64_t k, int weighted)
{
    return weighted ? (double)cfg->class_weight[k] : 1;
}

static int is_weighted(const nn_ce_cfg *cfg)
{
    for (int i = 0; i < MAX_CLASSES; i++)
        if (cfg->class_weight[i] != 0) return 1;
    return 0;
}

// log sum exp(z)
static double log_sum_exp(const float *z, int64_t n)
{
    double top = (double)z[0], sum = 0;
    for (int64_t k = 1; k < n; k++)
        top = fmax(top, (double)z[k]);
    for (int64_t k = 0; k < n; k++)
        sum += exp((double)z[k] - top);
    return top + log(sum);
}

static void sum_rows(const nn_call *c, int64_t first, int64_t end, double *sums, float *tmp)
{
    const nn_ce_cfg *cfg = c->node->attr;
    const float *target = c->in[1];
    int64_t n = mn_last(c->node->in[0]->shape);
    int weighted = is_weighted(cfg);
    double smooth = (double)cfg->smoothing;

    for (int64_t r = first; r < end; r++) {
        double w = (double)nn__loss_weight(c, r, 0), loss = 0, mass = 0;
        if (w == 0) continue;
        const float *z = nn__row_in(c->in[0], c->node->in[0]->dtype, r * n, n, tmp);
        double lse = log_sum_exp(z, n);
        for (int64_t k = 0; k < n; k++) {
            double t = (double)target[r * n + k], share = class_weight(cfg, k, weighted);
            double smoothed = share * ((1 - smooth) * t + smooth / (double)n);
            if (smoothed != 0) loss += smoothed * (lse - (double)z[k]);
            mass += share * t;
        }
        sums[0] += w * loss;
        sums[1] += w * mass;
    }
}

// dL/dz_k = w (p_k sum_c W_c t'_c - W_k t'_k) / denominator
static void grad_row(const nn_call *c, int64_t r, double scale, const float *z, float *dz)
{
    const nn_ce_cfg *cfg = c->node->attr;
    const float *target = (const float *)c->in[1];
    const double *sums = c->in[3];
    int64_t n = mn_last(c->node->in[0]->shape);
    int weighted = is_weighted(cfg);
    double smooth = (double)cfg->smoothing, w = (double)nn__loss_weight(c, r, 0), mass = 0;

    if (w == 0 || !(sums[1] > 0)) {
        for (int64_t k = 0; k < n; k++)
            dz[k] = 0;
        return;
    }
    double lse = log_sum_exp(z, n), factor = scale * w / sums[1];
    for (int64_t k = 0; k < n; k++)
        mass += class_weight(cfg, k, weighted) * ((1 - smooth) * (double)target[r * n + k] + smooth / (double)n);
    for (int64_t k = 0; k < n; k++) {
        double t = class_weight(cfg, k, weighted) * ((1 - smooth) * (double)target[r * n + k] + smooth / (double)n);
        dz[k] = (float)(factor * (exp((double)z[k] - lse) * mass - t));
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
    const nn_ce_cfg *cfg = n->attr;
    mn_shape s = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    if (s.n < 1) return nn_bad_shape(n, "the logits must have a dimension");
    MN_TRY(nn__want(n, 1, MN_F32, mn_count(s)));
    if (n->in[2]) MN_TRY(nn__want(n, 2, MN_F32, mn_rows(s)));
    if (is_weighted(cfg) && mn_last(s) > MAX_CLASSES)
        return nn_bad_shape(n, "class weights go with at most %d classes", MAX_CLASSES);
    if (!(cfg->smoothing >= 0 && cfg->smoothing <= 1)) return nn_bad_shape(n, "smoothing must be in [0, 1]");
    return MN_OK;
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

const nn_op nn_op_ce_sums = {
    .name = "ce_sums",
    .attr_bytes = sizeof(nn_ce_cfg),
    .no_grad_in = ~0u,
    .shape = sums_shape,
    .cpu = {.fwd = sums_forward, .prepare = nn__loss_prepare},
};

const nn_op nn_op_ce_loss = {
    .name = "ce_loss",
    .attr_bytes = sizeof(nn_ce_cfg),
    .bwd_reads_in = ~0u,
    .no_grad_in = ~1u,
    .shape = loss_shape,
    .cpu = {.fwd = loss_forward, .bwd = loss_backward, .prepare = nn__loss_prepare},
};

nn_tensor *nn_ce_loss(nn_graph *g, nn_tensor *logits, nn_tensor *target, nn_tensor *weight, const nn_ce_cfg *cfg)
{
    return nn__loss(g, &nn_op_ce_sums, &nn_op_ce_loss, 3, (nn_tensor *[4]){logits, target, weight}, cfg);
}
