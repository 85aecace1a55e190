#include "nn/cuda_columns.h"

// Masked tokens become the mask token; they are not read.
template <class T, int V>
__global__ static void blend(T *y, const T *x, const uint8_t *mask, const float *token, int64_t rows, int64_t n)
{
    int64_t r = nn_cuda_row();
    if (r >= rows) return;
    int masked = mask[r];

    for (int64_t k = nn_cuda_column<V>(); k < n; k += nn_cuda_column_step<V>()) {
        float v[V];
        if (masked)
            nn_cuda_read<V>(v, token + k);
        else
            nn_cuda_read<V>(v, x + r * n + k);
        nn_cuda_write<V>(y + r * n + k, v, 0);
    }
}

// dx (+)= dy where not masked, and the sum of the masked dy for this block's rows.
template <class T, int V>
__global__ __launch_bounds__(NN_CUDA_THREADS,
                             NN_CUDA_SUM_RESIDENT) static void blend_backward(T *dx, float *part, const T *dy,
                                                                              const uint8_t *mask, int64_t rows,
                                                                              int64_t n, int acc)
{
    int64_t k = nn_cuda_sum_column<V>();
    float sum[V], v[V];

    nn_cuda_zero<V>(sum);
    for (nn_cuda_range r = nn_cuda_rows_of(rows); r.at < r.end && k < n; r.at += blockDim.y) {
        nn_cuda_read<V>(v, dy + r.at * n + k);
        if (mask[r.at]) {
            NN_UNROLL
            for (int i = 0; i < V; i++)
                sum[i] += v[i];
            nn_cuda_zero<V>(v);
        }
        if (dx) nn_cuda_write<V>(dx + r.at * n + k, v, acc);
    }
    nn_cuda_put_part<V>(part + blockIdx.y * n, sum, k, n);
}

typedef struct tokens {
    int64_t rows, n;
    int wide; // V > 1
} tokens;

static tokens tokens_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    return {mn_rows(s), mn_last(s), mn_last(s) % (n->in[0]->dtype == MN_BF16 ? 8 : 4) == 0};
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, tokens t)
{
    nn_cuda_shape s = nn_cuda_row_shape(t.rows, t.n / V);
    return NN_LAUNCH((blend<T, V>), s.grid, s.block, 0, c->stream, (T *)c->out[0], (const T *)c->in[0],
                     (const uint8_t *)c->in[1], (const float *)c->in[2], t.rows, t.n);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, tokens t)
{
    nn_cuda_shape s = nn_cuda_column_shape(t.rows, t.n, V);
    nn_cuda_outs<float> out = {{(float *)c->din[2]}, {nn_cuda_acc(c, 2)}};

    MN_TRY(NN_LAUNCH((blend_backward<T, V>), s.grid, s.block, 0, c->stream, (T *)c->din[0], (float *)c->work,
                     (const T *)c->dout[0], (const uint8_t *)c->in[1], t.rows, t.n, nn_cuda_acc(c, 0)));
    return nn_cuda_finish((const float *)c->work, s.grid.y, t.n, t.n, out, c->stream);
}

static mn_err forward(const nn_call *c)
{
    tokens t = tokens_of(c->node);
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(t.wide, T, V, launch_forward<T, V>(c, t)));
}

static mn_err backward(const nn_call *c)
{
    tokens t = tokens_of(c->node);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(t.wide, T, V, launch_backward<T, V>(c, t)));
}

static mn_err prepare(nn_node *n)
{
    tokens t = tokens_of(n);
    int V = !t.wide ? 1 : n->in[0]->dtype == MN_BF16 ? 8 : 4;
    n->work_bytes = (size_t)(nn_cuda_column_shape(t.rows, t.n, V).grid.y * t.n) * sizeof(float);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_mask_blend = {forward, backward, prepare};
