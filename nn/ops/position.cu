#include "nn/cuda_wide.h"
#include "nn/ops/position.h"

extern "C" {
#include "nn/base/mem.h"
}

#include <stdlib.h>

// y = x + table; a thread adds its part of the table (T, C) to every gridDim.y-th row of the batch.
template <class T, int V>
__global__ static void add_table(T *y, const T *x, const float *table, int64_t batch, int64_t n)
{
    int64_t k = nn_cuda_index() * V;
    float pe[V], v[V];
    if (k >= n) return;

    nn_cuda_read<V>(pe, table + k);
    for (int64_t b = blockIdx.y; b < batch; b += gridDim.y) {
        nn_cuda_read<V>(v, x + b * n + k);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            v[i] += pe[i];
        nn_cuda_write<V>(y + b * n + k, v, 0);
    }
}

template <class T, int V> static mn_err launch(const nn_call *c, int64_t batch, int64_t n)
{
    dim3 grid(nn_cuda_blocks(n, (int64_t)NN_CUDA_THREADS * V), (unsigned)(batch < 1024 ? batch : 1024));
    return NN_LAUNCH((add_table<T, V>), grid, NN_CUDA_THREADS, 0, c->stream, (T *)c->out[0], (const T *)c->in[0],
                     (const float *)c->node->state, batch, n);
}

static mn_err forward(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape; // (B, T, C)
    int64_t n = s.d[1] * s.d[2];

    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_BY_WIDTH(nn_cuda_vector<T>(n, c->in[0], c->out[0], c->out[0]), T, V, launch<T, V>(c, s.d[0], n)));
}

struct same {
    __device__ float operator()(float dy, float) const { return dy; }
};

static mn_err backward(const nn_call *c)
{
    int64_t n = mn_count(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        nn_cuda_map((T *)c->din[0], (const T *)c->dout[0], (const T *)NULL, same{}, n, nn_cuda_acc(c, 0), c->stream));
}

static mn_err prepare(nn_node *n)
{
    int64_t frames = n->in[0]->shape.d[1], width = n->in[0]->shape.d[2];
    size_t bytes = (size_t)(frames * width) * sizeof(float);
    float *table = (float *)mn_calloc(1, bytes);

    nn__position_table(table, frames, width);
    mn_err err = nn_cuda_check(cudaMalloc(&n->state, bytes), "memory for a position table");
    if (err == MN_OK)
        err = nn_cuda_check(cudaMemcpy(n->state, table, bytes, cudaMemcpyHostToDevice), "copying a position table");
    // From pageable memory the copy may still be on its way, and the streams of the graph do not wait for stream 0.
    if (err == MN_OK) err = nn_cuda_check(cudaStreamSynchronize(0), "copying a position table");
    free(table);
    return err;
}

static void release(nn_node *n)
{
    (void)cudaFree(n->state);
    n->state = NULL;
}

extern "C" const nn_kernels nn_cuda_position = {forward, backward, prepare, release};
