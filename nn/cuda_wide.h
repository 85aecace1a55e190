// Memory-bound CUDA kernels, the part over one element or row: reading and writing V values a thread, elementwise maps,
// and blocks shaped for rows.
//
//     struct square {
//         __device__ float operator()(float a, float) const { return a * a; }
//     };
//     ... nn_cuda_map((T *)c->out[0], (const T *)c->in[0], (const T *)NULL, square{}, n, 0, c->stream);
//
//     template <class T, int V> __global__ static void copy_rows(T *y, const T *x, int64_t rows, int64_t n)
//     {
//         int64_t r = nn_cuda_row();
//         for (int64_t k = nn_cuda_column<V>(); r < rows && k < n; k += nn_cuda_column_step<V>()) {
//             float v[V];
//             nn_cuda_read<V>(v, x + r * n + k);
//             nn_cuda_write<V>(y + r * n + k, v, 0);
//         }
//     }
//     ... NN_BY_WIDTH(nn_cuda_vector<T>(n, x, y, y), T, V, (... nn_cuda_row_shape(rows, n / V) ...))
//
// V is what 16 bytes hold (or twice that, for f32 beside bf16), else 1: rows of odd widths. All loops over V are
// unrolled, so the arrays are registers.
// Threading: as nn/op.h.
#ifndef NN_CUDA_WIDE_H
#define NN_CUDA_WIDE_H

#include "nn/cuda_kernel.h"

#ifdef __CUDACC__
#define NN_UNROLL _Pragma("unroll")
#else
#define NN_UNROLL
#endif

// The expression with V = the number of T in 16 bytes, or 1.
#define NN_BY_WIDTH(wide, T, V, ...)                                                                                   \
    ((wide) ? [&] { constexpr int V = nn_cuda_vec<T>::N; return __VA_ARGS__; }()                                       \
            : [&] { constexpr int V = 1; return __VA_ARGS__; }())

template <int V, class T> __device__ static inline void nn_cuda_read(float *f, const T *x)
{
    constexpr int N = nn_cuda_vec<T>::N;
    if constexpr (V % N == 0) {
        NN_UNROLL
        for (int k = 0; k < V; k += N) {
            nn_cuda_vec<T> in = nn_cuda_load(x + k);
            NN_UNROLL
            for (int j = 0; j < N; j++)
                f[k + j] = (float)in.v[j];
        }
    } else {
        NN_UNROLL
        for (int k = 0; k < V; k++)
            f[k] = (float)x[k];
    }
}

// Eight floats to bf16 by the instruction that makes two at a time.
__device__ static inline uint4 nn_cuda_pack(const float *f)
{
    struct alignas(16) {
        __nv_bfloat162 v[4];
    } p;
    NN_UNROLL
    for (int k = 0; k < 4; k++)
        p.v[k] = __floats2bfloat162_rn(f[2 * k], f[2 * k + 1]);
    return *(const uint4 *)&p;
}

template <int V, class T> __device__ static inline void nn_cuda_write(T *y, const float *f, int acc)
{
    constexpr int N = nn_cuda_vec<T>::N;
    if constexpr (V % N == 0) {
        float sum[V];
        if (acc) nn_cuda_read<V>(sum, y);
        NN_UNROLL
        for (int k = 0; k < V; k++)
            sum[k] = f[k] + (acc ? sum[k] : 0);
        NN_UNROLL
        for (int k = 0; k < V; k += N) {
            if constexpr (sizeof(T) == 2)
                *(uint4 *)(y + k) = nn_cuda_pack(sum + k);
            else
                *(float4 *)(y + k) = make_float4(sum[k], sum[k + 1], sum[k + 2], sum[k + 3]);
        }
    } else {
        NN_UNROLL
        for (int k = 0; k < V; k++)
            nn_cuda_put(y, k, f[k], acc);
    }
}

template <int V> __device__ static inline void nn_cuda_zero(float *f)
{
    NN_UNROLL
    for (int k = 0; k < V; k++)
        f[k] = 0;
}

// --- elementwise ----------------------------------------------------------------------------------------------------
// y (+)= f(a, b); b may be NULL. 16 bytes a thread and tensor, each read once.
template <class T, class F>
__global__ static void nn_cuda_map_kernel(T *y, const T *a, const T *b, F f, int64_t n, int acc)
{
    constexpr int V = nn_cuda_vec<T>::N;
    int64_t at = nn_cuda_index() * V;

    if (at + V <= n) {
        float u[V], v[V];
        nn_cuda_read<V>(u, a + at);
        if (b)
            nn_cuda_read<V>(v, b + at);
        else
            nn_cuda_zero<V>(v);
        NN_UNROLL
        for (int k = 0; k < V; k++)
            u[k] = f(u[k], v[k]);
        nn_cuda_write<V>(y + at, u, acc);
    } else {
        for (; at < n; at++)
            nn_cuda_put(y, at, f((float)a[at], b ? (float)b[at] : 0), acc);
    }
}

template <class T, class F>
static mn_err nn_cuda_map(T *y, const T *a, const T *b, F f, int64_t n, int acc, void *stream)
{
    unsigned blocks = nn_cuda_blocks(n, (int64_t)NN_CUDA_THREADS * nn_cuda_vec<T>::N);
    return NN_LAUNCH((nn_cuda_map_kernel<T, F>), blocks, NN_CUDA_THREADS, 0, stream, y, a, b, f, n, acc);
}

// --- blocks for rows ------------------------------------------------------------------------------------------------
// blockDim.x threads along a row (a power of two), blockDim.y rows in a block; long rows take several blocks.
struct nn_cuda_shape {
    dim3 grid, block;
};

static inline nn_cuda_shape nn_cuda_row_shape(int64_t rows, int64_t accesses)
{
    unsigned x = 1;
    while (x < NN_CUDA_THREADS && x < accesses)
        x *= 2;
    unsigned y = NN_CUDA_THREADS / x, across = nn_cuda_blocks(accesses, x);
    return {dim3(nn_cuda_blocks(rows, y), across < 65535 ? across : 65535), dim3(x, y)};
}

__device__ static inline int64_t nn_cuda_row()
{
    return (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
}
template <int V> __device__ static inline int64_t nn_cuda_column()
{
    return ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * V;
}
template <int V> __device__ static inline int64_t nn_cuda_column_step()
{
    return (int64_t)gridDim.y * blockDim.x * V;
}

#endif
