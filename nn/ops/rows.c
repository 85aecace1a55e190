#include "nn/ops/rows.h"

#include "nn/ops/math.h"

#include <stdio.h>
#include <string.h>

MN_SIMD static void load_row(float *restrict y, const void *x, mn_dtype t, int64_t at, int64_t n)
{
    nn__load_row(y, x, t, at, n);
}

MN_SIMD static void store_row(void *y, mn_dtype t, int64_t at, const float *restrict x, int64_t n)
{
    nn__store_row(y, t, at, x, n);
}

MN_SIMD static void add_row(void *y, mn_dtype t, int64_t at, const float *restrict x, int64_t n)
{
    nn__add_row(y, t, at, x, n);
}

const float *nn__row_in(const void *x, mn_dtype t, int64_t at, int64_t n, float *tmp)
{
    if (t == MN_F32) return (const float *)x + at;
    load_row(tmp, x, t, at, n);
    return tmp;
}

float *nn__row_out(void *y, mn_dtype t, int64_t at, int acc, float *tmp)
{
    return t == MN_F32 && !acc ? (float *)y + at : tmp;
}

void nn__row_put(void *y, mn_dtype t, int64_t at, const float *row, int64_t n, int acc)
{
    if (acc)
        add_row(y, t, at, row, n);
    else if (t != MN_F32 || row != (const float *)y + at)
        store_row(y, t, at, row, n);
}

void nn__map(const nn_call *c, nn__leaf *leaf, const void *a, const void *b, void *y, int acc, const void *attr)
{
    mn_dtype t = c->node->in[0]->dtype;
    int64_t count = mn_count(c->node->in[0]->shape);

#pragma omp parallel for schedule(static) if (count > NN__SERIAL)
    for (int64_t k = 0; k < nn__chunks(count); k++) {
        float tmp_a[NN__CHUNK], tmp_b[NN__CHUNK], tmp_y[NN__CHUNK];
        int64_t at = k * NN__CHUNK, n = nn__min(NN__CHUNK, count - at);
        const float *row_a = nn__row_in(a, t, at, n, tmp_a);
        const float *row_b = b ? nn__row_in(b, t, at, n, tmp_b) : NULL;
        float *row_y = nn__row_out(y, t, at, acc, tmp_y);
        leaf(row_a, row_b, row_y, n, attr);
        nn__row_put(y, t, at, row_y, n, acc);
    }
}

MN_SIMD static void add_to_f64(double *restrict sum, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += (double)x[i];
}

void nn__add_blocks(float *y, const float *part, int64_t blocks, int64_t stride, int64_t n, int acc)
{
    for (int64_t at = 0; at < n; at += NN__CHUNK) {
        double sum[NN__CHUNK] = {0};
        int64_t m = nn__min(NN__CHUNK, n - at);
        for (int64_t b = 0; b < blocks; b++)
            add_to_f64(sum, part + b * stride + at, m);
        for (int64_t i = 0; i < m; i++)
            y[at + i] = (float)(acc ? (double)y[at + i] + sum[i] : sum[i]);
    }
}

void nn__add_blocks_f64(double *y, const double *part, int64_t blocks, int64_t stride, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t b = 0; b < blocks; b++)
            sum += part[b * stride + i];
        y[i] = sum;
    }
}

int nn__no_gradient(const nn_call *c)
{
    if (c->dout[0]) return 0;
    for (int i = 0; i < c->node->n_in; i++) {
        if (!c->din[i] || nn__acc(c, i)) continue;
        const nn_tensor *in = c->node->in[i];
        mn_dtype t = in->param ? MN_F32 : in->dtype;
        memset(c->din[i], 0, (size_t)mn_count(in->shape) * mn_dtype_size(t));
    }
    return 1;
}

mn_err nn__want_activation(const nn_node *n, int i)
{
    mn_dtype t = n->in[i]->dtype;
    if (t != MN_F32 && t != MN_BF16) return nn_bad_shape(n, "input %d is %s, want f32 or bf16", i, mn_dtype_name(t));
    return MN_OK;
}

mn_err nn__want(const nn_node *n, int i, mn_dtype t, int64_t count)
{
    if (n->in[i]->dtype != t || mn_count(n->in[i]->shape) != count)
        return nn_bad_shape(n, "input %d must be %s with %lld elements", i, mn_dtype_name(t), (long long)count);
    return MN_OK;
}

mn_err nn__want_dims(const nn_node *n, int i, int dims)
{
    if (n->in[i]->shape.n != dims) return nn_bad_shape(n, "input %d must have %d dimensions", i, dims);
    return MN_OK;
}

void nn__out_like_in(nn_node *n)
{
    nn_set_out(n, 0, n->in[0]->dtype, n->in[0]->shape);
}

void nn__norm_params(nn_graph *g, int64_t n, const char *name, nn_tensor **in)
{
    char leaf[128];
    nn_param_spec spec = {.shape = MN_SHAPE(n), .init = NN_INIT_ONE, .no_decay = 1, .f32 = 1};

    snprintf(leaf, sizeof leaf, "%s.weight", name);
    in[0] = nn_param_get(g, leaf, &spec);
    spec.init = NN_INIT_ZERO;
    snprintf(leaf, sizeof leaf, "%s.bias", name);
    in[1] = nn_param_get(g, leaf, &spec);
}
