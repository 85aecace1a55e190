// Batch norm as three nodes: the batch's weighted sums (batch_stats), their sum over ranks (all_sum), and the
// normalisation with them (batch_norm). Backward goes the same way: batch_norm gives its input's gradient with the sums
// held fixed and the gradient of the sums, all_sum adds the latter over ranks, batch_stats takes it on to the input.
// Rows of weight 0 do not exist: they are not read, come out as 0 and get no gradient.
#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// --- batch_stats: sums (2C + 1) f64 = [sum w x, sum w x^2, sum w] --------------------------------------------------

static float row_weight(const nn_call *c, int64_t r)
{
    const float *weight = c->in[1];
    return weight ? weight[r] : 1;
}

MN_SIMD static void add_powers(const float *restrict x, double w, double *restrict a, double *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        a[i] += w * v;
        b[i] += w * v * v;
    }
}

// Workspace of a block: the sums, then one row of floats.
static int64_t stats_doubles(int64_t n)
{
    return 2 * n + 1 + (n + 1) / 2;
}

static mn_err stats_forward(const nn_call *c)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    int64_t rows = mn_rows(node->in[0]->shape), n = mn_last(node->in[0]->shape), blocks = nn__blocks(rows);
    int64_t stride = stats_doubles(n);

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++) {
        double *sums = (double *)c->work + b * stride;
        memset(sums, 0, (size_t)(2 * n + 1) * sizeof *sums);
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
            double w = (double)row_weight(c, r);
            if (w == 0) continue;
            const float *x = nn__row_in(c->in[0], t, r * n, n, (float *)(sums + 2 * n + 1));
            add_powers(x, w, sums, sums + n, n);
            sums[2 * n] += w;
        }
    }
    nn__add_blocks_f64(c->out[0], c->work, blocks, stride, 2 * n + 1);
    return MN_OK;
}

// dx = w (da + 2 x db)
MN_SIMD static void powers_grad(const float *restrict x, double w, const double *restrict da, const double *restrict db,
                                float *restrict dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dx[i] = (float)(w * (da[i] + 2 * (double)x[i] * db[i]));
}

static mn_err stats_backward(const nn_call *c)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    int64_t rows = mn_rows(node->in[0]->shape), n = mn_last(node->in[0]->shape), blocks = nn__blocks(rows);
    const double *dsums = c->dout[0];
    int acc = nn__acc(c, 0);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++) {
        float *tmp = (float *)c->work + b * 2 * n;
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
            double w = (double)row_weight(c, r);
            float *dx = nn__row_out(c->din[0], t, r * n, acc, tmp + n);
            if (w == 0)
                memset(dx, 0, (size_t)n * sizeof *dx);
            else
                powers_grad(nn__row_in(c->in[0], t, r * n, n, tmp), w, dsums, dsums + n, dx, n);
            nn__row_put(c->din[0], t, r * n, dx, n, acc);
        }
    }
    return MN_OK;
}

static mn_err stats_prepare(nn_node *n)
{
    int64_t blocks = nn__blocks(mn_rows(n->in[0]->shape));
    n->work_bytes = (size_t)(blocks * stats_doubles(mn_last(n->in[0]->shape))) * sizeof(double);
    return MN_OK;
}

static mn_err want_rows(const nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    if (n->in[0]->shape.n < 1) return nn_bad_shape(n, "the input must have a dimension");
    if (n->in[1]) MN_TRY(nn__want(n, 1, MN_F32, mn_rows(n->in[0]->shape)));
    return MN_OK;
}

static mn_err stats_shape(nn_node *n)
{
    MN_TRY(want_rows(n));
    nn_set_out(n, 0, MN_F64, MN_SHAPE(2 * mn_last(n->in[0]->shape) + 1));
    return MN_OK;
}

const nn_op nn_op_batch_stats = {
    .name = "batch_stats",
    .bwd_reads_in = 1u << 0 | 1u << 1,
    .no_grad_in = 1u << 1,
    .shape = stats_shape,
    .cpu = {.fwd = stats_forward, .bwd = stats_backward, .prepare = stats_prepare},
};

// --- batch_norm: in [x, weight, gain, bias, running mean, running var, sums], out [y, (mean, 1 / std) (2, C)] -------

enum { X, WEIGHT, GAIN, BIAS, RUNNING_MEAN, RUNNING_VAR, SUMS };

// Workspace of a block: two rows of f64 sums, three of floats.
static int64_t block_doubles(int64_t n)
{
    return 2 * n + (3 * n + 1) / 2;
}

// Mean and variance of the batch, or the running ones where there are no sums (eval mode).
static void moments(const nn_call *c, int64_t i, int64_t n, double *mean, double *var)
{
    const double *sums = c->in[SUMS];

    if (!sums) {
        *mean = (double)((const float *)c->in[RUNNING_MEAN])[i];
        *var = (double)((const float *)c->in[RUNNING_VAR])[i];
        return;
    }
    double count = sums[2 * n];
    *mean = count > 0 ? sums[i] / count : 0;
    *var = count > 0 ? fmax(sums[n + i] / count - *mean * *mean, 0) : 0;
}

// A batch that is not finite leaves the running statistics alone: the step is skipped (dist/train_step.c), and what it had
// written here could be neither taken back nor saved.
static void update_running(const nn_call *c, int64_t i, double count, double mean, double var)
{
    const batch_norm_attr *attr = c->node->attr;
    // Buffers are inputs like all parameters; this op alone writes them (NN_OP_STATE).
    float *running_mean = (float *)c->in[RUNNING_MEAN], *running_var = (float *)c->in[RUNNING_VAR];
    double keep = 1 - (double)attr->momentum, unbiased = count > 1 ? var * count / (count - 1) : var;

    float new_mean = (float)(keep * (double)running_mean[i] + (double)attr->momentum * mean);
    float new_var = (float)(keep * (double)running_var[i] + (double)attr->momentum * unbiased);
    if (!isfinite(new_mean) || !isfinite(new_var)) return;
    running_mean[i] = new_mean;
    running_var[i] = new_var;
}

MN_SIMD static void normalise(const float *restrict x, const float *restrict stats, const float *restrict gain,
                              const float *restrict bias, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - stats[i]) * stats[n + i] * gain[i] + bias[i];
}

static mn_err forward(const nn_call *c)
{
    const nn_node *node = c->node;
    const batch_norm_attr *attr = node->attr;
    mn_dtype t = node->in[0]->dtype;
    int64_t rows = mn_rows(node->in[0]->shape), n = mn_last(node->in[0]->shape), blocks = nn__blocks(rows);
    const double *sums = c->in[SUMS];
    float *stats = c->out[1];

    for (int64_t i = 0; i < n; i++) {
        double mean, var;
        moments(c, i, n, &mean, &var);
        stats[i] = (float)mean;
        stats[n + i] = (float)(1 / sqrt(var + (double)attr->eps));
        if (sums && sums[2 * n] > 0) update_running(c, i, sums[2 * n], mean, var);
    }
#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++) {
        float *tmp = (float *)((double *)c->work + b * block_doubles(n));
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
            float *y = nn__row_out(c->out[0], t, r * n, 0, tmp + n);
            if (row_weight(c, r) == 0)
                memset(y, 0, (size_t)n * sizeof *y);
            else
                normalise(nn__row_in(c->in[0], t, r * n, n, tmp), stats, c->in[GAIN], c->in[BIAS], y, n);
            nn__row_put(c->out[0], t, r * n, y, n, 0);
        }
    }
    return MN_OK;
}

// dx with fixed statistics; a += dy, b += dy times the normalised value.
MN_SIMD static void normalise_grad(const float *restrict x, const float *restrict dy, const float *restrict stats,
                                   const float *restrict gain, float *restrict dx, double *restrict a,
                                   double *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dx[i] = dy[i] * gain[i] * stats[n + i];
        a[i] += (double)dy[i];
        b[i] += (double)dy[i] * (double)((x[i] - stats[i]) * stats[n + i]);
    }
}

static void backward_block(const nn_call *c, int64_t b, int64_t rows, int64_t n)
{
    mn_dtype t = c->node->in[0]->dtype;
    const float *stats = c->out[1];
    double *part = (double *)c->work + b * block_doubles(n);
    float *tmp = (float *)(part + 2 * n);

    memset(part, 0, 2 * (size_t)n * sizeof *part);
    for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
        float *dx = tmp + 2 * n;
        if (row_weight(c, r) == 0) {
            memset(dx, 0, (size_t)n * sizeof *dx);
        } else {
            const float *x = nn__row_in(c->in[X], t, r * n, n, tmp);
            const float *dy = nn__row_in(c->dout[0], t, r * n, n, tmp + n);
            normalise_grad(x, dy, stats, c->in[GAIN], dx, part, part + n, n);
        }
        if (c->din[X]) nn__row_put(c->din[X], t, r * n, dx, n, nn__acc(c, X));
    }
}

// With m = S1 / n, v = S2 / n - m^2: dm = -gain rstd sum(dy), dv = -gain rstd^2 sum(dy xh) / 2,
// dS1 = (dm - 2 m dv) / n, dS2 = dv / n. The number of rows has no gradient.
static void sums_grad(const nn_call *c, const double *a, const double *b, int64_t n)
{
    const double *sums = c->in[SUMS];
    const float *gain = c->in[GAIN], *stats = c->out[1];
    double *dsums = c->din[SUMS], count = sums[2 * n];
    int acc = nn__acc(c, SUMS);

    for (int64_t i = 0; i < n; i++) {
        double mean, var, rstd = (double)stats[n + i];
        moments(c, i, n, &mean, &var);
        double dm = -(double)gain[i] * rstd * a[i];
        double dv = -0.5 * (double)gain[i] * rstd * rstd * b[i];
        dsums[i] = (acc ? dsums[i] : 0) + (count > 0 ? (dm - 2 * mean * dv) / count : 0);
        dsums[n + i] = (acc ? dsums[n + i] : 0) + (count > 0 ? dv / count : 0);
    }
    if (!acc) dsums[2 * n] = 0;
}

static void put_total(const nn_call *c, int input, const double *total, int64_t n)
{
    float *d = c->din[input];
    for (int64_t i = 0; d && i < n; i++)
        d[i] = (float)((nn__acc(c, input) ? (double)d[i] : 0) + total[i]);
}

static mn_err backward(const nn_call *c)
{
    int64_t rows = mn_rows(c->node->in[0]->shape), n = mn_last(c->node->in[0]->shape), blocks = nn__blocks(rows);
    double *work = c->work, *total = work + blocks * block_doubles(n);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++)
        backward_block(c, b, rows, n);
    nn__add_blocks_f64(total, work, blocks, block_doubles(n), 2 * n);
    put_total(c, BIAS, total, n);
    put_total(c, GAIN, total + n, n);
    if (c->din[SUMS]) sums_grad(c, total, total + n, n);
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    int64_t width = mn_last(n->in[0]->shape), blocks = nn__blocks(mn_rows(n->in[0]->shape));
    n->work_bytes = (size_t)(blocks * block_doubles(width) + 2 * width) * sizeof(double);
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    int64_t width = mn_last(n->in[0]->shape);

    MN_TRY(want_rows(n));
    for (int i = GAIN; i <= RUNNING_VAR; i++)
        MN_TRY(nn__want(n, i, MN_F32, width));
    if (n->in[SUMS]) MN_TRY(nn__want(n, SUMS, MN_F64, 2 * width + 1));
    nn__out_like_in(n);
    nn_set_out(n, 1, MN_F32, MN_SHAPE(2, width));
    return MN_OK;
}

const nn_op nn_op_batch_norm = {
    .name = "batch_norm",
    .attr_bytes = sizeof(batch_norm_attr),
    .bwd_reads_in = 1u << X | 1u << WEIGHT | 1u << GAIN | 1u << SUMS,
    .bwd_reads_out = 1u << 1,
    .no_grad_in = 1u << WEIGHT | 1u << RUNNING_MEAN | 1u << RUNNING_VAR,
    .flags = NN_OP_STATE,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_batch_norm(nn_graph *g, nn_tensor *x, nn_tensor *weight, const nn_batch_norm_cfg *cfg, const char *name)
{
    char leaf[128];
    nn_tensor *in[7] = {x, weight};
    nn_param_spec spec = {
        .shape = MN_SHAPE(mn_last(x->shape)), .init = NN_INIT_ZERO, .no_decay = 1, .f32 = 1, .buffer = 1};

    nn__norm_params(g, mn_last(x->shape), name, in + GAIN);
    snprintf(leaf, sizeof leaf, "%s.running_mean", name);
    in[RUNNING_MEAN] = nn_param_get(g, leaf, &spec);
    spec.init = NN_INIT_ONE;
    snprintf(leaf, sizeof leaf, "%s.running_var", name);
    in[RUNNING_VAR] = nn_param_get(g, leaf, &spec);
    if (nn_graph_mode(g) == NN_TRAIN) {
        snprintf(leaf, sizeof leaf, "%s.stats", name);
        in[SUMS] = nn_emit(g, &nn_op_batch_stats, leaf, 2, in, NULL);
        if (!cfg->local) in[SUMS] = nn_all_sum(g, in[SUMS]);
    } else {
        in[WEIGHT] = NULL;
    }
    return nn_emit(g, &nn_op_batch_norm, name, 7, in, &(batch_norm_attr){.eps = cfg->eps, .momentum = cfg->momentum});
}
