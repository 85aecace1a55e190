#include "nn/cuda_wide.h"

// Row r of z is row r of x and then row r of y.
template <class T, int V>
__global__ static void join_rows(T *z, const T *x, const T *y, int64_t rows, int64_t nx, int64_t ny)
{
    int64_t r = nn_cuda_row(), n = nx + ny;

    for (int64_t k = nn_cuda_column<V>(); r < rows && k < n; k += nn_cuda_column_step<V>()) {
        float v[V];
        nn_cuda_read<V>(v, k < nx ? x + r * nx + k : y + r * ny + (k - nx));
        nn_cuda_write<V>(z + r * n + k, v, 0);
    }
}

template <class T, int V>
__global__ static void split_rows(const T *dz, T *dx, T *dy, int64_t rows, int64_t nx, int64_t ny, int acc_x, int acc_y)
{
    int64_t r = nn_cuda_row(), n = nx + ny;

    for (int64_t k = nn_cuda_column<V>(); r < rows && k < n; k += nn_cuda_column_step<V>()) {
        float v[V];
        T *to = k < nx ? dx : dy;
        if (!to) continue;
        nn_cuda_read<V>(v, dz + r * n + k);
        nn_cuda_write<V>(k < nx ? dx + r * nx + k : dy + r * ny + (k - nx), v, k < nx ? acc_x : acc_y);
    }
}

typedef struct widths {
    int64_t rows, x, y;
} widths;

static widths widths_of(const nn_node *n)
{
    return {mn_rows(n->in[0]->shape), mn_last(n->in[0]->shape), mn_last(n->in[1]->shape)};
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, widths w)
{
    nn_cuda_shape s = nn_cuda_row_shape(w.rows, (w.x + w.y) / V);
    return NN_LAUNCH((join_rows<T, V>), s.grid, s.block, 0, c->stream, (T *)c->out[0], (const T *)c->in[0],
                     (const T *)c->in[1], w.rows, w.x, w.y);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, widths w)
{
    nn_cuda_shape s = nn_cuda_row_shape(w.rows, (w.x + w.y) / V);
    return NN_LAUNCH((split_rows<T, V>), s.grid, s.block, 0, c->stream, (const T *)c->dout[0], (T *)c->din[0],
                     (T *)c->din[1], w.rows, w.x, w.y, nn_cuda_acc(c, 0), nn_cuda_acc(c, 1));
}

static mn_err forward(const nn_call *c)
{
    widths w = widths_of(c->node);

    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_BY_WIDTH(nn_cuda_vector<T>(w.x | w.y, c->in[0], c->in[1], c->out[0]), T, V, launch_forward<T, V>(c, w)));
}

static mn_err backward(const nn_call *c)
{
    widths w = widths_of(c->node);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_BY_WIDTH(nn_cuda_vector<T>(w.x | w.y, c->dout[0], c->din[0], c->din[1]), T, V, launch_backward<T, V>(c, w)));
}

extern "C" const nn_kernels nn_cuda_concat = {forward, backward};
