// Layer norm, alone and fused with the residual sum before it. Both keep (mean, 1 / standard deviation) of every row in
// f32; backward needs only those, the normalised input and the gain.
#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/math.h"
#include "nn/ops/residual.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <string.h>

// y = (x - mean) / sqrt(var + eps) * gain + bias; stats = (mean, 1 / sqrt(var + eps)). Two passes: no cancellation.
static inline void normalise(mn_dtype t, const void *restrict x, const float *restrict gain, const float *restrict bias,
                             float eps, int64_t n, void *restrict y, float *restrict stats)
{
    float sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += nn__get(x, t, i);
    float mean = sum / (float)n;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < n; i++)
        square += (nn__get(x, t, i) - mean) * (nn__get(x, t, i) - mean);
    float rstd = 1.0f / sqrtf(square / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        nn__put(y, t, i, (nn__get(x, t, i) - mean) * rstd * gain[i] + bias[i]);
    stats[0] = mean;
    stats[1] = rstd;
}

MN_SIMD static void normalise_f32(const float *restrict x, const float *restrict gain, const float *restrict bias,
                                  float eps, int64_t n, float *restrict y, float *restrict stats)
{
    normalise(MN_F32, x, gain, bias, eps, n, y, stats);
}

MN_SIMD static void normalise_bf16(const mn_bf16 *restrict x, const float *restrict gain, const float *restrict bias,
                                   float eps, int64_t n, mn_bf16 *restrict y, float *restrict stats)
{
    normalise(MN_BF16, x, gain, bias, eps, n, y, stats);
}

// sum = x + s h
MN_SIMD static void add_f32(const float *restrict x, const float *restrict h, float s, float *restrict sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] = x[i] + s * h[i];
}

MN_SIMD static void add_bf16(const mn_bf16 *restrict x, const mn_bf16 *restrict h, float s, mn_bf16 *restrict sum,
                             int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        nn__put(sum, MN_BF16, i, nn__get(x, MN_BF16, i) + s * nn__get(h, MN_BF16, i));
}

// With xh the normalised row and g = dy * gain: dx = rstd (g - mean(g) - xh mean(g xh)) + extra.
// dgain += dy xh, dbias += dy. extra: gradient that reaches x by another way, or NULL.
MN_SIMD static void normalise_grad(const float *restrict x, const float *restrict gain, const float *restrict stats,
                                   const float *restrict dy, const float *restrict extra, int64_t n, float *restrict dx,
                                   float *restrict dgain, float *restrict dbias)
{
    float mean = stats[0], rstd = stats[1], sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int64_t i = 0; i < n; i++) {
        float g = dy[i] * gain[i], xh = (x[i] - mean) * rstd;
        sum += g;
        dot += g * xh;
        dgain[i] += dy[i] * xh;
        dbias[i] += dy[i];
    }
    sum /= (float)n;
    dot /= (float)n;
    for (int64_t i = 0; i < n; i++)
        dx[i] = rstd * (dy[i] * gain[i] - sum - (x[i] - mean) * rstd * dot);
    if (extra)
        for (int64_t i = 0; i < n; i++)
            dx[i] += extra[i];
}

MN_SIMD static void scale_row(const float *restrict x, float s, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = s * x[i];
}

// Inputs: [x, gain, bias] or [x, h, gain, bias]. Outputs: [y, stats] or [y, sum, stats].
static int fused(const nn_node *n)
{
    return n->n_in == 4;
}

// Rows of floats of workspace that one block uses in backward: dgain, dbias and converted rows.
enum { WORK_ROWS = 6 };

static float *block_work(const nn_call *c, int64_t b, int64_t n)
{
    return (float *)c->work + b * WORK_ROWS * n;
}

// Scale of the branch for the rows of one row of the batch; drawn again when a block goes on to the next.
typedef struct branch {
    int64_t end; // first row it does not hold for
    float scale;
} branch;

static float scale_at(const nn_call *c, branch *b, int64_t r)
{
    if (r >= b->end) {
        mn_shape s = c->node->in[0]->shape;
        int64_t rows = mn_rows(s) / s.d[0]; // of one row of the batch
        b->scale = nn__drop_path(c, ((const layernorm_attr *)c->node->attr)->drop, r / rows);
        b->end = (r / rows + 1) * rows;
    }
    return b->scale;
}

// Row r of x + s h, into the second output.
static void add_branch(const nn_call *c, branch *b, int64_t r, int64_t n)
{
    mn_dtype t = c->node->in[0]->dtype;
    float s = scale_at(c, b, r);

    if (s == 0)
        memcpy((char *)c->out[1] + (size_t)(r * n) * mn_dtype_size(t),
               (const char *)c->in[0] + (size_t)(r * n) * mn_dtype_size(t), (size_t)n * mn_dtype_size(t));
    else if (t == MN_BF16)
        add_bf16((const mn_bf16 *)c->in[0] + r * n, (const mn_bf16 *)c->in[1] + r * n, s, (mn_bf16 *)c->out[1] + r * n,
                 n);
    else
        add_f32((const float *)c->in[0] + r * n, (const float *)c->in[1] + r * n, s, (float *)c->out[1] + r * n, n);
}

static mn_err forward(const nn_call *c)
{
    const nn_node *node = c->node;
    const layernorm_attr *attr = node->attr;
    int64_t n = mn_last(node->in[0]->shape), rows = mn_rows(node->in[0]->shape), blocks = nn__blocks(rows);
    const float *gain = c->in[node->n_in - 2], *bias = c->in[node->n_in - 1];
    // What is normalised is the stored sum, rounded: the next op and backward read the same.
    const void *x = fused(node) ? c->out[1] : c->in[0];
    float *stats = c->out[node->n_out - 1];

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++) {
        branch at = {0};
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
            if (fused(node)) add_branch(c, &at, r, n);
            if (node->in[0]->dtype == MN_BF16)
                normalise_bf16((const mn_bf16 *)x + r * n, gain, bias, attr->eps, n, (mn_bf16 *)c->out[0] + r * n,
                               stats + 2 * r);
            else
                normalise_f32((const float *)x + r * n, gain, bias, attr->eps, n, (float *)c->out[0] + r * n,
                              stats + 2 * r);
        }
    }
    return MN_OK;
}

// Gradient of the normalised row to x, and through the branch's scale to h.
static void put_row(const nn_call *c, branch *b, int64_t r, int64_t n, const float *dx, float *tmp)
{
    mn_dtype t = c->node->in[0]->dtype;

    if (fused(c->node) && c->din[1]) {
        float *dh = nn__row_out(c->din[1], t, r * n, nn__acc(c, 1), tmp);
        scale_row(dx, scale_at(c, b, r), dh, n);
        nn__row_put(c->din[1], t, r * n, dh, n, nn__acc(c, 1));
    }
    if (c->din[0]) nn__row_put(c->din[0], t, r * n, dx, n, nn__acc(c, 0));
}

static void backward_block(const nn_call *c, int64_t b, int64_t n, int64_t rows)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    const float *gain = c->in[node->n_in - 2], *stats = c->out[node->n_out - 1];
    const void *value = fused(node) ? c->out[1] : c->in[0], *dsum = fused(node) ? c->dout[1] : NULL;
    float *work = block_work(c, b, n), *dgain = work, *dbias = work + n, *tmp = work + 2 * n;
    branch at = {0};

    for (int64_t i = 0; i < 2 * n; i++)
        work[i] = 0;
    for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++) {
        const float *extra = dsum ? nn__row_in(dsum, t, r * n, n, tmp) : NULL;
        float *dx = tmp + 3 * n;
        if (c->dout[0]) {
            const float *x = nn__row_in(value, t, r * n, n, tmp + n);
            const float *dy = nn__row_in(c->dout[0], t, r * n, n, tmp + 2 * n);
            normalise_grad(x, gain, stats + 2 * r, dy, extra, n, dx, dgain, dbias);
            put_row(c, &at, r, n, dx, tmp);
        } else {
            put_row(c, &at, r, n, extra, tmp + n);
        }
    }
}

static mn_err backward(const nn_call *c)
{
    const nn_node *node = c->node;
    int64_t n = mn_last(node->in[0]->shape), rows = mn_rows(node->in[0]->shape), blocks = nn__blocks(rows);
    int gain = node->n_in - 2, bias = node->n_in - 1;

    if (!(fused(node) && c->dout[1]) && nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t b = 0; b < blocks; b++)
        backward_block(c, b, n, rows);
    const float *part = c->work;
    if (c->din[gain]) nn__add_blocks(c->din[gain], part, blocks, WORK_ROWS * n, n, nn__acc(c, gain));
    if (c->din[bias]) nn__add_blocks(c->din[bias], part + n, blocks, WORK_ROWS * n, n, nn__acc(c, bias));
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    n->work_bytes = nn__block_bytes(mn_rows(n->in[0]->shape), WORK_ROWS * mn_last(n->in[0]->shape));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    float drop = ((const layernorm_attr *)n->attr)->drop;

    MN_TRY(nn__want_activation(n, 0));
    if (s.n < 1) return nn_bad_shape(n, "the input must have a dimension");
    MN_TRY(nn__want(n, n->n_in - 2, MN_F32, mn_last(s)));
    MN_TRY(nn__want(n, n->n_in - 1, MN_F32, mn_last(s)));
    if (fused(n) && (n->in[1]->dtype != n->in[0]->dtype || !mn_shape_equal(s, n->in[1]->shape)))
        return nn_bad_shape(n, "x and h must have the same type and shape");
    if (fused(n) && s.n < 2) return nn_bad_shape(n, "x must have a batch dimension");
    if (!(drop >= 0 && drop < 1)) return nn_bad_shape(n, "drop must be in [0, 1), not %g", (double)drop);
    nn__out_like_in(n);
    if (fused(n)) nn_set_out(n, 1, n->in[0]->dtype, s);
    nn_set_out(n, fused(n) ? 2 : 1, MN_F32, MN_SHAPE(mn_rows(s), 2));
    return MN_OK;
}

const nn_op nn_op_layernorm = {
    .name = "layernorm",
    .attr_bytes = sizeof(layernorm_attr),
    .bwd_reads_in = 1u << 0 | 1u << 1,
    .bwd_reads_out = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

const nn_op nn_op_residual_layernorm = {
    .name = "residual_layernorm",
    .attr_bytes = sizeof(layernorm_attr),
    .bwd_reads_in = 1u << 2,
    .bwd_reads_out = 1u << 1 | 1u << 2,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_layernorm(nn_graph *g, nn_tensor *x, float eps, const char *name)
{
    nn_tensor *in[3] = {x};

    nn__norm_params(g, mn_last(x->shape), name, in + 1);
    return nn_emit(g, &nn_op_layernorm, name, 3, in, &(layernorm_attr){.eps = eps});
}

nn_tensor *nn_residual_layernorm(nn_graph *g, nn_tensor *x, nn_tensor *h, float drop, float eps, nn_tensor **sum,
                                 const char *name)
{
    nn_tensor *in[4] = {x, h};

    nn__norm_params(g, mn_last(x->shape), name, in + 2);
    nn_tensor *y = nn_emit(g, &nn_op_residual_layernorm, name, 4, in, &(layernorm_attr){.eps = eps, .drop = drop});
    *sum = y->src->out[1];
    return y;
}
