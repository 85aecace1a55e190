#include "nn/cuda_columns.h"

// Sum of the weights of a row of the batch, the same in every thread of the block.
__device__ static inline double total_weight(const float *weight, int64_t tokens)
{
    __shared__ double all[NN_CUDA_THREADS];
    unsigned me = threadIdx.y * blockDim.x + threadIdx.x;
    double sum = 0;

    if (!weight) return (double)tokens;
    for (int64_t t = me; t < tokens; t += NN_CUDA_THREADS)
        sum += (double)weight[t];
    all[me] = sum;
    for (unsigned left = NN_CUDA_THREADS / 2; left > 0; left /= 2) {
        __syncthreads();
        if (me < left) all[me] += all[me + left];
    }
    __syncthreads();
    return all[0];
}

// Share of a token in the mean: its weight divided by their sum.
__device__ static inline float share(const float *weight, int64_t t, double total)
{
    double w = weight ? (double)weight[t] : 1;
    return total > 0 ? (float)(w / total) : 0;
}

// Blocks of (columns, tokens): a block makes the means of its columns for row blockIdx.x of the batch. Tokens of weight 0
// do not exist: they are not read.
template <class T, int V>
__global__ static void mean_rows(T *y, const T *x, const float *weight, int64_t tokens, int64_t n)
{
    __shared__ float all[V][NN_CUDA_THREADS];
    int64_t b = blockIdx.x, k = nn_cuda_column<V>();
    const float *w = weight ? weight + b * tokens : NULL;
    double total = total_weight(w, tokens);
    float sum[V], v[V];

    nn_cuda_zero<V>(sum);
    for (int64_t t = threadIdx.y; t < tokens && k < n; t += blockDim.y) {
        float s = share(w, t, total);
        if (s == 0) continue;
        nn_cuda_read<V>(v, x + (b * tokens + t) * n + k);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            sum[i] += s * v[i];
    }
    NN_UNROLL
    for (int i = 0; i < V; i++)
        all[i][threadIdx.y * blockDim.x + threadIdx.x] = sum[i];
    __syncthreads();
    if (threadIdx.y != 0 || k >= n) return;
    for (unsigned j = 1; j < blockDim.y; j++)
        NN_UNROLL
    for (int i = 0; i < V; i++)
        sum[i] += all[i][j * blockDim.x + threadIdx.x];
    nn_cuda_write<V>(y + b * n + k, sum, 0);
}

template <class T, int V>
__global__ static void spread_rows(T *dx, const T *dy, const float *weight, int64_t tokens, int64_t n, int acc)
{
    int64_t b = blockIdx.x, k = nn_cuda_column<V>();
    const float *w = weight ? weight + b * tokens : NULL;
    double total = total_weight(w, tokens);
    float d[V], v[V];
    if (k >= n) return;

    nn_cuda_read<V>(d, dy + b * n + k);
    for (int64_t t = threadIdx.y; t < tokens; t += blockDim.y) {
        float s = share(w, t, total);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            v[i] = s * d[i];
        nn_cuda_write<V>(dx + (b * tokens + t) * n + k, v, acc);
    }
}

typedef struct means {
    int64_t batch, tokens, n;
    int wide; // V > 1
} means;

static means means_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    return {s.d[0], s.d[1], s.d[2], s.d[2] % (n->in[0]->dtype == MN_BF16 ? 8 : 4) == 0};
}

template <int V> static nn_cuda_shape shape_of(means m)
{
    nn_cuda_shape s = nn_cuda_column_shape(1, m.n, V);
    s.grid = dim3((unsigned)m.batch, s.grid.x);
    return s;
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, means m)
{
    nn_cuda_shape s = shape_of<V>(m);
    return NN_LAUNCH((mean_rows<T, V>), s.grid, s.block, 0, c->stream, (T *)c->out[0], (const T *)c->in[0],
                     (const float *)c->in[1], m.tokens, m.n);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, means m)
{
    nn_cuda_shape s = shape_of<V>(m);
    return NN_LAUNCH((spread_rows<T, V>), s.grid, s.block, 0, c->stream, (T *)c->din[0], (const T *)c->dout[0],
                     (const float *)c->in[1], m.tokens, m.n, nn_cuda_acc(c, 0));
}

static mn_err forward(const nn_call *c)
{
    means m = means_of(c->node);
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(m.wide, T, V, launch_forward<T, V>(c, m)));
}

static mn_err backward(const nn_call *c)
{
    means m = means_of(c->node);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(m.wide, T, V, launch_backward<T, V>(c, m)));
}

extern "C" const nn_kernels nn_cuda_token_mean = {forward, backward};
