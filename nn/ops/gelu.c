#include "nn/ops/gelu.h"

#include "nn/ops.h"
#include "nn/ops/math.h"
#include "nn/ops/rows.h"

enum { CHUNK = 1 << 13 };

// --- leaves -----------------------------------------------------------------------------------------------------------
// y may be x.
MN_SIMD static void forward_f32(const float *x, float *y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = nn__gelu(x[i]);
}

MN_SIMD static void forward_bf16(const mn_bf16 *x, mn_bf16 *y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        nn__put(y, MN_BF16, i, nn__gelu_bf16(nn__get(x, MN_BF16, i)));
}

MN_SIMD static void backward_f32(const float *restrict dy, const float *restrict x, float *restrict dx, int64_t n,
                                 int add)
{
    if (add)
        for (int64_t i = 0; i < n; i++)
            dx[i] += dy[i] * nn__gelu_grad(x[i]);
    else
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i] * nn__gelu_grad(x[i]);
}

static inline float back_bf16(const mn_bf16 *dy, const mn_bf16 *x, int64_t i)
{
    return nn__get(dy, MN_BF16, i) * nn__gelu_grad_bf16(nn__get(x, MN_BF16, i));
}

MN_SIMD static void backward_bf16(const mn_bf16 *restrict dy, const mn_bf16 *restrict x, mn_bf16 *restrict dx,
                                  int64_t n, int add)
{
    if (add)
        for (int64_t i = 0; i < n; i++)
            nn__put(dx, MN_BF16, i, nn__get(dx, MN_BF16, i) + back_bf16(dy, x, i));
    else
        for (int64_t i = 0; i < n; i++)
            nn__put(dx, MN_BF16, i, back_bf16(dy, x, i));
}

MN_SIMD static void backward_sum_f32(const float *restrict dy, const float *restrict x, float *restrict dx,
                                     float *restrict sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dx[i] = dy[i] * nn__gelu_grad(x[i]);
        sum[i] += dx[i];
    }
}

MN_SIMD static void backward_sum_bf16(const mn_bf16 *restrict dy, const mn_bf16 *restrict x, mn_bf16 *restrict dx,
                                      float *restrict sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = back_bf16(dy, x, i);
        nn__put(dx, MN_BF16, i, d);
        sum[i] += d;
    }
}

// --- arrays -----------------------------------------------------------------------------------------------------------
void nn__gelu_forward(mn_dtype t, const void *x, void *y, int64_t count)
{
#pragma omp parallel for schedule(static) if (count > NN__SERIAL)
    for (int64_t i = 0; i < count; i += CHUNK) {
        const int64_t n = nn__min(CHUNK, count - i);
        if (t == MN_F32)
            forward_f32((const float *)x + i, (float *)y + i, n);
        else
            forward_bf16((const mn_bf16 *)x + i, (mn_bf16 *)y + i, n);
    }
}

void nn__gelu_backward(mn_dtype t, const void *dy, const void *x, void *dx, int64_t count, int add)
{
#pragma omp parallel for schedule(static) if (count > NN__SERIAL)
    for (int64_t i = 0; i < count; i += CHUNK) {
        const int64_t n = nn__min(CHUNK, count - i);
        if (t == MN_F32)
            backward_f32((const float *)dy + i, (const float *)x + i, (float *)dx + i, n, add);
        else
            backward_bf16((const mn_bf16 *)dy + i, (const mn_bf16 *)x + i, (mn_bf16 *)dx + i, n, add);
    }
}

void nn__gelu_backward_sum(mn_dtype t, int64_t at, int64_t n, const void *dy, const void *x, void *dx, float *sum)
{
    if (t == MN_F32)
        backward_sum_f32((const float *)dy + at, (const float *)x + at, (float *)dx + at, sum, n);
    else
        backward_sum_bf16((const mn_bf16 *)dy + at, (const mn_bf16 *)x + at, (mn_bf16 *)dx + at, sum, n);
}

// --- the op -----------------------------------------------------------------------------------------------------------
static mn_err forward(const nn_call *c)
{
    const nn_tensor *x = c->node->in[0];

    nn__gelu_forward(x->dtype, c->in[0], c->out[0], mn_count(x->shape));
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const nn_tensor *x = c->node->in[0];

    if (nn__no_gradient(c)) return MN_OK;
    nn__gelu_backward(x->dtype, c->dout[0], c->in[0], c->din[0], mn_count(x->shape), nn__acc(c, 0));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_gelu = {
    .name = "gelu",
    .bwd_reads_in = 1u << 0,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_gelu(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &nn_op_gelu, "gelu", 1, &x, NULL);
}
