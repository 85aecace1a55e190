#include "nn/cuda_wide.h"

// y (+)= s[row] x. A scale of 0 means that the row does not exist: it becomes exactly 0 and is not read.
template <class T, int V>
__global__ static void scale_rows(T *y, const T *x, const float *scale, int64_t rows, int64_t n, int acc)
{
    int64_t r = nn_cuda_row();
    if (r >= rows) return;
    float s = scale[r];

    for (int64_t k = nn_cuda_column<V>(); k < n; k += nn_cuda_column_step<V>()) {
        float v[V];
        nn_cuda_zero<V>(v);
        if (s != 0) nn_cuda_read<V>(v, x + r * n + k);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            v[i] *= s;
        nn_cuda_write<V>(y + r * n + k, v, acc);
    }
}

template <class T, int V> static mn_err launch(const nn_call *c, void *to, const void *from, int acc)
{
    int64_t rows = mn_count(c->node->in[1]->shape), n = mn_count(c->node->in[0]->shape) / rows;
    nn_cuda_shape s = nn_cuda_row_shape(rows, n / V);

    return NN_LAUNCH((scale_rows<T, V>), s.grid, s.block, 0, c->stream, (T *)to, (const T *)from,
                     (const float *)c->in[1], rows, n, acc);
}

static mn_err apply(const nn_call *c, void *to, const void *from, int acc)
{
    int64_t n = mn_count(c->node->in[0]->shape) / mn_count(c->node->in[1]->shape);

    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_BY_WIDTH(nn_cuda_vector<T>(n, to, from, from), T, V, launch<T, V>(c, to, from, acc)));
}

static mn_err forward(const nn_call *c)
{
    return apply(c, c->out[0], c->in[0], 0);
}

static mn_err backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    return none ? MN_OK : apply(c, c->din[0], c->dout[0], nn_cuda_acc(c, 0));
}

extern "C" const nn_kernels nn_cuda_row_scale = {forward, backward};
