// What the losses share on the GPU (nn/ops/loss.h has it for the CPU): local sums in f64, in two stages of fixed order;
// the value of one thread; the closed-form gradient. The sums over ranks and the upstream gradient are read from device
// memory.
//
//     MN_TRY(NN_LAUNCH(my_sums<T>, blocks, NN_CUDA_THREADS, 0, c->stream, (double *)c->work, ...));
//         // in the kernel: nn_cuda_put_sums<2>(part + blockIdx.x * 2, sums);
//     return nn_cuda_finish((const double *)c->work, blocks, 2, 2, (nn_cuda_outs<double>){{out}}, c->stream);
//
// Threading: as nn/op.h.
#ifndef NN_CUDA_LOSS_H
#define NN_CUDA_LOSS_H

#include "nn/cuda_columns.h"

// part[i] = the sum of sum[i] over the block's NN_CUDA_THREADS threads, warp by warp. Every thread must come here.
template <int N> __device__ static inline void nn_cuda_put_sums(double *part, const double *sum)
{
    __shared__ double warps[N][NN_CUDA_THREADS / 32];
    unsigned me = threadIdx.y * blockDim.x + threadIdx.x;

    NN_UNROLL
    for (int i = 0; i < N; i++) {
        double total = nn_cuda_warp_sum(sum[i]);
        if (me % 32 == 0) warps[i][me / 32] = total;
    }
    __syncthreads();
    if (me >= N) return;
    double total = 0;
    for (int w = 0; w < NN_CUDA_THREADS / 32; w++)
        total += warps[me][w];
    part[me] = total;
}

// Blocks for `items` of which each thread takes one at a time.
static inline unsigned nn_cuda_sum_blocks(int64_t items)
{
    int64_t blocks = nn_cuda_blocks(items, NN_CUDA_THREADS), most = nn_cuda_grid(NN_CUDA_SUM_BLOCKS);
    return (unsigned)(blocks < most ? blocks : most);
}

// Second stage, of `count` sums.
static inline mn_err nn_cuda_finish_sums(const nn_call *c, int64_t blocks, int64_t count)
{
    nn_cuda_outs<double> out = {{(double *)c->out[0], NULL}, {0, 0}};
    return nn_cuda_finish((const double *)c->work, blocks, count, count, out, c->stream);
}

// Weights of rows of n elements: one per row, per element, or none (1).
typedef struct nn_cuda_weights {
    const float *w;
    int64_t n;
    int per_element;
} nn_cuda_weights;

static inline nn_cuda_weights nn_cuda_weights_of(const nn_call *c)
{
    const nn_node *n = c->node;
    nn_cuda_weights w = {(const float *)c->in[2], mn_last(n->in[0]->shape), 0};
    if (w.w) w.per_element = mn_count(n->in[2]->shape) == mn_count(n->in[0]->shape);
    return w;
}

__device__ static inline double nn_cuda_weight(const nn_cuda_weights &w, int64_t row, int64_t k)
{
    if (!w.w) return 1;
    return (double)w.w[w.per_element ? row * w.n + k : row];
}

// out = sums[0] / sums[1]: a weighted mean, 0 without weight.
template <class S> __global__ static void nn_cuda_mean_kernel(S *out, const S *sums)
{
    *out = sums[1] > 0 ? sums[0] / sums[1] : 0;
}

#endif
