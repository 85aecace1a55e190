// Weight normalisation (Salimans and Kingma 2016) over all dimensions but the last, as wav2vec2's positional
// convolution uses it: w[., k] = g[k] v[., k] / ||v[., k]||. With s = sum(dw v) over the other dimensions:
//     dv = g / ||v|| (dw - v s / ||v||^2),   dg = s / ||v||
#include "nn/ops.h"

#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/math.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <string.h>

enum { V, G };
enum { MAX_KERNEL = 1024 };

// sum += a b, one row of taps.
MN_SIMD static void dot_row(const void *a, mn_dtype t, int64_t at, const float *restrict b, int64_t n,
                            float *restrict sum)
{
    float row[MAX_KERNEL];

    nn__load_row(row, a, t, at, n);
    for (int64_t i = 0; i < n; i++)
        sum[i] += row[i] * b[at + i];
}

// y (+)= a scale - v shift, one row of taps.
MN_SIMD static void scale_row(const void *a, mn_dtype a_type, const float *v, int64_t at, int64_t n, const float *scale,
                              const float *shift, void *y, mn_dtype y_type, int acc)
{
    float row[MAX_KERNEL];

    nn__load_row(row, a, a_type, at, n);
    for (int64_t i = 0; i < n; i++)
        row[i] = row[i] * scale[i] - v[at + i] * shift[i];
    if (acc)
        nn__add_row(y, y_type, at, row, n);
    else
        nn__store_row(y, y_type, at, row, n);
}

// Sums of a v over everything but the taps, the same on any number of threads: blocks of rows, added in order.
static void tap_sums(const void *a, mn_dtype t, const float *v, int64_t rows, int64_t taps, float *work, double *sum)
{
    const int64_t blocks = nn__blocks(rows);

#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        float *mine = work + b * taps;
        memset(mine, 0, (size_t)taps * sizeof *mine);
        for (int64_t r = nn__block_start(rows, b); r < nn__block_start(rows, b + 1); r++)
            dot_row(a, t, r * taps, v, taps, mine);
    }
    for (int64_t k = 0; k < taps; k++) {
        sum[k] = 0;
        for (int64_t b = 0; b < blocks; b++)
            sum[k] += (double)work[b * taps + k];
    }
}

static mn_err forward(const nn_call *c)
{
    const nn_tensor *v = c->node->in[V], *w = c->node->out[0];
    const int64_t taps = mn_last(v->shape), rows = mn_rows(v->shape);
    const float *g = c->in[G];
    double sum[MAX_KERNEL];
    float scale[MAX_KERNEL], zero[MAX_KERNEL] = {0};

    tap_sums(c->in[V], MN_F32, c->in[V], rows, taps, c->work, sum);
    for (int64_t k = 0; k < taps; k++)
        scale[k] = sum[k] > 0 ? (float)((double)g[k] / sqrt(sum[k])) : 0;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        scale_row(c->in[V], MN_F32, c->in[V], r * taps, taps, scale, zero, c->out[0], w->dtype, 0);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const nn_tensor *v = c->node->in[V], *w = c->node->out[0];
    const int64_t taps = mn_last(v->shape), rows = mn_rows(v->shape);
    const float *g = c->in[G];
    float *dg = c->din[G];
    double squares[MAX_KERNEL], dots[MAX_KERNEL];
    float scale[MAX_KERNEL], shift[MAX_KERNEL];

    if (nn__no_gradient(c)) return MN_OK;
    tap_sums(c->in[V], MN_F32, c->in[V], rows, taps, c->work, squares);
    tap_sums(c->dout[0], w->dtype, c->in[V], rows, taps, c->work, dots);
    for (int64_t k = 0; k < taps; k++) {
        double norm = sqrt(squares[k]), inverse = norm > 0 ? 1 / norm : 0;
        scale[k] = (float)((double)g[k] * inverse);
        shift[k] = (float)((double)g[k] * inverse * inverse * inverse * dots[k]);
        if (dg) dg[k] = (nn__acc(c, G) ? dg[k] : 0) + (float)(dots[k] * inverse);
    }
    if (!c->din[V]) return MN_OK;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        scale_row(c->dout[0], w->dtype, c->in[V], r * taps, taps, scale, shift, c->din[V], MN_F32, nn__acc(c, V));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    const weight_norm_attr *a = n->attr;
    const mn_shape v = n->in[V]->shape;

    MN_TRY(nn__want(n, V, MN_F32, mn_count(v)));
    if (mn_last(v) > MAX_KERNEL) return nn_bad_shape(n, "the last dimension is larger than %d", MAX_KERNEL);
    MN_TRY(nn__want(n, G, MN_F32, mn_last(v)));
    nn_set_out(n, 0, (mn_dtype)a->type, v);
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    const mn_shape v = n->in[V]->shape;

    n->work_bytes = nn__block_bytes(mn_rows(v), mn_last(v));
    return MN_OK;
}

const nn_op nn_op_weight_norm = {
    .name = "weight_norm",
    .attr_bytes = sizeof(weight_norm_attr),
    .bwd_reads_in = 1u << V | 1u << G,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_weight_norm(nn_graph *g, mn_shape v, const char *name)
{
    // As wav2vec2 starts: v normal with deviation 2 / sqrt(kernel * channels), and g near the norm that gives.
    const int64_t taps = mn_last(v);
    const float deviation = 2 / sqrtf((float)(taps * v.d[0]));
    const nn_param_spec direction = {.shape = v, .init = NN_INIT_NORMAL, .init_scale = deviation, .f32 = 1};
    const nn_param_spec size = {.shape = MN_SHAPE(1, 1, taps),
                                .init = NN_INIT_CONSTANT,
                                .init_scale = deviation * sqrtf((float)mn_rows(v)),
                                .no_decay = 1,
                                .f32 = 1};
    const weight_norm_attr attr = {.type = nn_graph_dtype(g)};
    nn_tensor *inputs[2] = {0};

    nn_scope_push(g, "%s", name);
    inputs[V] = nn_param_get(g, "weight_v", &direction);
    inputs[G] = nn_param_get(g, "weight_g", &size);
    nn_scope_pop(g);
    return nn_emit(g, &nn_op_weight_norm, name, 2, inputs, &attr);
}
