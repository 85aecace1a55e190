#include "nn/cuda_wide.h"
#include "nn/ops/attr.h"

typedef struct drop_path {
    float drop;
    uint64_t key;
    const nn_tick *tick;
} drop_path;

static drop_path drop_path_of(const nn_call *c)
{
    float drop = ((const residual_attr *)c->node->attr)->drop;
    return {c->node->mode == NN_EVAL ? 0 : drop, c->node->key, c->tick};
}

// A row of the batch per block column. A dropped branch is not read.
template <class T, int V>
__global__ static void residual_forward(T *y, const T *x, const T *h, drop_path d, int64_t batch, int64_t n)
{
    int64_t b = nn_cuda_row();
    if (b >= batch) return;
    float s = nn_cuda_drop_path(d.drop, d.key, d.tick, b);

    for (int64_t k = nn_cuda_column<V>(); k < n; k += nn_cuda_column_step<V>()) {
        float u[V], v[V];
        nn_cuda_read<V>(u, x + b * n + k);
        if (s != 0) {
            nn_cuda_read<V>(v, h + b * n + k);
            NN_UNROLL
            for (int i = 0; i < V; i++)
                u[i] += s * v[i];
        }
        nn_cuda_write<V>(y + b * n + k, u, 0);
    }
}

template <class T> struct residual_gradients {
    T *dx, *dh; // either may be NULL
    const T *dy;
    int acc_x, acc_h;
};

template <class T, int V>
__global__ static void residual_backward(residual_gradients<T> g, drop_path d, int64_t batch, int64_t n)
{
    int64_t b = nn_cuda_row();
    if (b >= batch) return;
    float s = g.dh ? nn_cuda_drop_path(d.drop, d.key, d.tick, b) : 0;

    for (int64_t k = nn_cuda_column<V>(); k < n; k += nn_cuda_column_step<V>()) {
        float v[V];
        nn_cuda_read<V>(v, g.dy + b * n + k);
        if (g.dx) nn_cuda_write<V>(g.dx + b * n + k, v, g.acc_x);
        if (!g.dh) continue;
        NN_UNROLL
        for (int i = 0; i < V; i++)
            v[i] *= s;
        nn_cuda_write<V>(g.dh + b * n + k, v, g.acc_h);
    }
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, int64_t batch, int64_t n)
{
    nn_cuda_shape s = nn_cuda_row_shape(batch, n / V);
    return NN_LAUNCH((residual_forward<T, V>), s.grid, s.block, 0, c->stream, (T *)c->out[0], (const T *)c->in[0],
                     (const T *)c->in[1], drop_path_of(c), batch, n);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, int64_t batch, int64_t n)
{
    nn_cuda_shape s = nn_cuda_row_shape(batch, n / V);
    residual_gradients<T> g = {(T *)c->din[0], (T *)c->din[1], (const T *)c->dout[0], nn_cuda_acc(c, 0),
                               nn_cuda_acc(c, 1)};
    return NN_LAUNCH((residual_backward<T, V>), s.grid, s.block, 0, c->stream, g, drop_path_of(c), batch, n);
}

static mn_err forward(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape;
    int64_t n = mn_count(s) / s.d[0];

    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_BY_WIDTH(nn_cuda_vector<T>(n, c->in[0], c->in[1], c->out[0]), T, V, launch_forward<T, V>(c, s.d[0], n)));
}

static mn_err backward(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape;
    int64_t n = mn_count(s) / s.d[0];
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_BY_WIDTH(nn_cuda_vector<T>(n, c->dout[0], c->din[0], c->din[1]), T, V, launch_backward<T, V>(c, s.d[0], n)));
}

extern "C" const nn_kernels nn_cuda_residual = {forward, backward};
