// Memory-bound CUDA kernels, the part over many rows: sums of columns and of whole tensors, in two stages without
// atomics. Rows are cut into nn_cuda_column_shape(...).grid.y ranges by shape alone; a block writes the sums of its
// range, and the ranges are added in index order, in f64.
//
//     template <class T, int V>
//     __global__ __launch_bounds__(NN_CUDA_THREADS, NN_CUDA_SUM_RESIDENT) static void
//     sum_columns(float *part, const T *x, int64_t rows, int64_t n)
//     {
//         float sum[V], v[V];
//         int64_t k = nn_cuda_sum_column<V>();
//         nn_cuda_zero<V>(sum);
//         for (nn_cuda_range r = nn_cuda_rows_of(rows); r.at < r.end && k < n; r.at += blockDim.y) {
//             nn_cuda_read<V>(v, x + r.at * n + k);
//             for (int i = 0; i < V; i++) sum[i] += v[i];
//         }
//         nn_cuda_put_part<V>(part + blockIdx.y * n, sum, k, n);
//     }
//     ... then nn_cuda_finish(part, blocks, n, n, out, stream).
//
// Threading: as nn/op.h.
#ifndef NN_CUDA_COLUMNS_H
#define NN_CUDA_COLUMNS_H

#include "nn/cuda_wide.h"

enum {
    // Blocks of 256 threads: as many as are there at once on 132 multiprocessors, so that none is left for a second turn.
    NN_CUDA_SUM_RESIDENT = 4,
    NN_CUDA_SUM_BLOCKS = NN_CUDA_SUM_RESIDENT * 132,
    NN_CUDA_SUM_ROWS = 4, // fewest rows for a thread, so that writing sums stays cheap beside reading rows
};

// Grid and block for sums over rows of n values, V a thread: blockIdx.y is the range of rows, blockIdx.x the columns.
static inline nn_cuda_shape nn_cuda_column_shape(int64_t rows, int64_t n, int V)
{
    unsigned x = (n + V - 1) / V <= 16 ? 16 : 32, y = NN_CUDA_THREADS / x;
    unsigned across = nn_cuda_blocks(n, (int64_t)x * V), down = nn_cuda_blocks(rows, (int64_t)y * NN_CUDA_SUM_ROWS);
    unsigned most = (unsigned)nn_cuda_grid(NN_CUDA_SUM_BLOCKS) / across;
    if (most < 1) most = 1;
    return {dim3(across, down < most ? down : most), dim3(x, y)};
}

struct nn_cuda_range {
    int64_t at, end;
};
// The rows of this thread: from .at on, every blockDim.y-th before .end.
__device__ static inline nn_cuda_range nn_cuda_rows_of(int64_t rows)
{
    return {rows * blockIdx.y / gridDim.y + threadIdx.y, rows * (blockIdx.y + 1) / gridDim.y};
}
template <int V> __device__ static inline int64_t nn_cuda_sum_column()
{
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
}

// part[k + i] = sum over the threads of column k of sum[i], in the order of threadIdx.y. Every thread of the block must
// come here; ends with a barrier.
template <int V, class A> __device__ static inline void nn_cuda_put_part(A *part, const A *sum, int64_t k, int64_t n)
{
    __shared__ A all[V][NN_CUDA_THREADS];
    unsigned me = threadIdx.y * blockDim.x + threadIdx.x;

    NN_UNROLL
    for (int i = 0; i < V; i++)
        all[i][me] = sum[i];
    __syncthreads();
    for (unsigned i = threadIdx.y; i < V && k + i < n; i += blockDim.y) {
        A total = 0;
        for (unsigned y = 0; y < blockDim.y; y++)
            total += all[i][y * blockDim.x + threadIdx.x];
        part[k + i] = total;
    }
    __syncthreads();
}

// --- second stage ----------------------------------------------------------------------------------------------------
enum { NN_CUDA_FINISH = 32 }; // columns of a block of 32 x 32 threads

// Sum of part[i + b * stride] over b; valid where threadIdx.y is 0. Every thread of a block of 32 x 32 must come here;
// i beyond the columns is passed as negative.
template <class P>
__device__ static inline double nn_cuda_add_parts(const P *part, int64_t blocks, int64_t stride, int64_t i)
{
    __shared__ double all[NN_CUDA_FINISH][NN_CUDA_FINISH + 1];
    // Loads on their way: there are few blocks, so time is what a load takes.
    constexpr int TOGETHER = 32 / sizeof(P);
    double sum = 0;

    for (int64_t b = threadIdx.y; b < blocks && i >= 0; b += TOGETHER * NN_CUDA_FINISH) {
        P v[TOGETHER];
        NN_UNROLL
        for (int k = 0; k < TOGETHER; k++)
            v[k] = b + k * NN_CUDA_FINISH < blocks ? part[(b + k * NN_CUDA_FINISH) * stride + i] : (P)0;
        NN_UNROLL
        for (int k = 0; k < TOGETHER; k++)
            sum += (double)v[k];
    }
    __syncthreads();
    all[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0) return sum;
    NN_UNROLL
    for (int y = 1; y < NN_CUDA_FINISH; y++)
        sum += all[y][threadIdx.x];
    return sum;
}

// Where sums go: y[w][i] (+)= the sum of column w * n + i; a NULL is skipped.
template <class Y> struct nn_cuda_outs {
    Y *y[2];
    int acc[2];
};

template <class P, class Y>
__global__ __launch_bounds__(NN_CUDA_FINISH *NN_CUDA_FINISH) static void nn_cuda_finish_kernel(
    nn_cuda_outs<Y> out, const P *part, int64_t blocks, int64_t stride, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * NN_CUDA_FINISH + threadIdx.x;
    Y *y = blockIdx.y ? out.y[1] : out.y[0];
    int acc = blockIdx.y ? out.acc[1] : out.acc[0];

    if (!y) return;
    double sum = nn_cuda_add_parts(part, blocks, stride, i < n ? blockIdx.y * n + i : -1);
    if (threadIdx.y == 0 && i < n) y[i] = (Y)(acc ? (double)y[i] + sum : sum);
}

template <class P, class Y>
static mn_err nn_cuda_finish(const P *part, int64_t blocks, int64_t stride, int64_t n, nn_cuda_outs<Y> out,
                             void *stream)
{
    dim3 grid(nn_cuda_blocks(n, NN_CUDA_FINISH), out.y[1] ? 2 : 1), block(NN_CUDA_FINISH, NN_CUDA_FINISH);
    return NN_LAUNCH((nn_cuda_finish_kernel<P, Y>), grid, block, 0, stream, out, part, blocks, stride, n);
}

#endif
