#include "nn/ops.h"

#include "nn/ops/rows.h"

#include <string.h>

// A weight of 0 means that the token does not exist, even where it holds NaN.
MN_SIMD static void add_scaled(float *restrict y, const float *restrict x, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += s * x[i];
}

MN_SIMD static void scale_row(const float *restrict x, float s, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = s * x[i];
}

typedef struct dims {
    int64_t batch, tokens, width, chunks; // chunks of the width
} dims;

static dims dims_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    return (dims){.batch = s.d[0], .tokens = s.d[1], .width = s.d[2], .chunks = nn__chunks(s.d[2])};
}

// Share of token t in the mean of row b: the weights divided by their sum.
static float share(const nn_call *c, dims d, int64_t b, int64_t t, double total)
{
    const float *weight = c->in[1];
    double w = weight ? (double)weight[b * d.tokens + t] : 1;
    return total > 0 ? (float)(w / total) : 0;
}

static double total_weight(const nn_call *c, dims d, int64_t b)
{
    const float *weight = c->in[1];
    double sum = 0;
    if (!weight) return (double)d.tokens;
    for (int64_t t = 0; t < d.tokens; t++)
        sum += (double)weight[b * d.tokens + t];
    return sum;
}

static mn_err forward(const nn_call *c)
{
    dims d = dims_of(c->node);
    mn_dtype type = c->node->in[0]->dtype;

#pragma omp parallel for schedule(static) if (d.batch * d.tokens * d.width > NN__SERIAL)
    for (int64_t k = 0; k < d.batch * d.chunks; k++) {
        float tmp[NN__CHUNK], sum[NN__CHUNK];
        int64_t b = k / d.chunks, first = k % d.chunks * NN__CHUNK, n = nn__min(NN__CHUNK, d.width - first);
        double total = total_weight(c, d, b);
        memset(sum, 0, sizeof sum);
        for (int64_t t = 0; t < d.tokens; t++) {
            float s = share(c, d, b, t, total);
            if (s == 0) continue;
            add_scaled(sum, nn__row_in(c->in[0], type, (b * d.tokens + t) * d.width + first, n, tmp), s, n);
        }
        nn__row_put(c->out[0], type, b * d.width + first, sum, n, 0);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    dims d = dims_of(c->node);
    mn_dtype type = c->node->in[0]->dtype;
    int acc = nn__acc(c, 0);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (d.batch * d.tokens * d.width > NN__SERIAL)
    for (int64_t k = 0; k < d.batch * d.chunks; k++) {
        float tmp_dy[NN__CHUNK], tmp_dx[NN__CHUNK];
        int64_t b = k / d.chunks, first = k % d.chunks * NN__CHUNK, n = nn__min(NN__CHUNK, d.width - first);
        double total = total_weight(c, d, b);
        const float *dy = nn__row_in(c->dout[0], type, b * d.width + first, n, tmp_dy);
        for (int64_t t = 0; t < d.tokens; t++) {
            int64_t at = (b * d.tokens + t) * d.width + first;
            float *dx = nn__row_out(c->din[0], type, at, acc, tmp_dx);
            scale_row(dy, share(c, d, b, t, total), dx, n);
            nn__row_put(c->din[0], type, at, dx, n, acc);
        }
    }
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 3));
    if (n->in[1]) MN_TRY(nn__want(n, 1, MN_F32, s.d[0] * s.d[1]));
    nn_set_out(n, 0, n->in[0]->dtype, MN_SHAPE(s.d[0], s.d[2]));
    return MN_OK;
}

const nn_op nn_op_token_mean = {
    .name = "token_mean",
    .bwd_reads_in = 1u << 1,
    .no_grad_in = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_token_mean(nn_graph *g, nn_tensor *x, nn_tensor *weight)
{
    return nn_emit(g, &nn_op_token_mean, "token_mean", 2, (nn_tensor *[]){x, weight}, NULL);
}
