// Rows of activations as tiles in shared memory, and the steps of attention on the tiles of a warp: what the attention
// kernels share. Included by .cu files only.
//
// A tile holds rows of D channels, NN_CUDA_ROW apart; channels beyond the size of a head and rows that do not exist are
// zero. The part of a product that one warp owns is 16 rows: float s[N][4], N neighbouring C of nn/cuda_mma.h. Of those,
// the lane's rows are g = lane / 4 (h = 0) and g + 8 (h = 1); in C number n its columns are 8n + 2 (lane % 4) + {0, 1}.
#ifndef NN_CUDA_TILE_H
#define NN_CUDA_TILE_H

#include "nn/cuda_mma.h"

template <class T> constexpr int NN_CUDA_WIDE = 16 / sizeof(T); // elements of 16 bytes
template <class T, int D> constexpr int NN_CUDA_ROW = D + NN_CUDA_WIDE<T>;

// Chunk c (16 bytes from channel c on) of a row at x, which exists or not, into shared memory.
template <class T>
__device__ static inline void nn_cuda_tile_chunk(nn_cuda_copies &q, T *tile, const T *x, bool exists, int c, int size,
                                                 int wide)
{
    if (wide) {
        bool ok = exists && c < size;
        nn_cuda_copy16(q, tile + c, ok ? x + c : x, ok);
        return;
    }
    for (int i = c; i < c + NN_CUDA_WIDE<T>; i++)
        tile[i] = exists && i < size ? x[i] : (T)0.0f;
}

// `rows` rows by the threads of the block; row r is at x + at(r), which is < 0 where there is none.
template <class T, int D, class At>
__device__ static inline void nn_cuda_tile_load(nn_cuda_copies &q, T *tile, int rows, const T *x, int size, int wide,
                                                At at)
{
    constexpr int CHUNKS = D / NN_CUDA_WIDE<T>;
    for (int i = (int)threadIdx.x; i < rows * CHUNKS; i += (int)blockDim.x) {
        int r = i / CHUNKS;
        int64_t from = at(r);
        nn_cuda_tile_chunk(q, tile + r * NN_CUDA_ROW<T, D>, x + (from < 0 ? 0 : from), from >= 0,
                           i % CHUNKS * NN_CUDA_WIDE<T>, size, wide);
    }
}

// Two neighbours at once; the first has an even index.
__device__ static inline void nn_cuda_pair(nn_bf16 *y, float first, float second)
{
    *(uint32_t *)y = nn_cuda_pack(first, second);
}
__device__ static inline void nn_cuda_pair(float *y, float first, float second)
{
    *(float2 *)y = make_float2(first, second);
}

// A warp's 16 rows, times a factor for each of the lane's two, through 16 rows of shared memory of its own to y + at(r)
// (+)=, 16 bytes at a time.
template <class T, int D, class At>
__device__ static inline void nn_cuda_tile_store(T *y, const float (&s)[D / 8][4], float upper, float lower, T *tile,
                                                 int size, int wide, int acc, At at)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>, WIDE = NN_CUDA_WIDE<T>, CHUNKS = D / WIDE;
    int lane = nn_cuda_lane(), g = lane / 4, t = lane % 4;

    __syncwarp(); // what lay there has been read
    NN_UNROLL
    for (int n = 0; n < D / 8; n++) {
        nn_cuda_pair(tile + g * ROW + 8 * n + 2 * t, s[n][0] * upper, s[n][1] * upper);
        nn_cuda_pair(tile + (g + 8) * ROW + 8 * n + 2 * t, s[n][2] * lower, s[n][3] * lower);
    }
    __syncwarp();
    for (int i = lane; i < 16 * CHUNKS; i += 32) {
        int r = i / CHUNKS, c = i % CHUNKS * WIDE;
        int64_t to = at(r);
        if (to < 0 || c >= size) continue;
        nn_cuda_vec<T> v = nn_cuda_load(tile + r * ROW + c);
        if (wide) {
            if (acc) {
                nn_cuda_vec<T> old = nn_cuda_load(y + to + c);
                NN_UNROLL
                for (int k = 0; k < WIDE; k++)
                    v.v[k] = (T)((float)v.v[k] + (float)old.v[k]);
            }
            nn_cuda_store(y + to + c, v);
        } else {
            for (int k = 0; k < WIDE && c + k < size; k++)
                nn_cuda_put(y, to + c + k, (float)tile[r * ROW + c + k], acc);
        }
    }
}

// s (16 x 8 N) = a b^T: a 16 rows and b 16 ceil(N / 2) rows of D channels.
template <class T, int D, int N>
__device__ static inline void nn_cuda_tile_scores(float (&s)[N][4], const T *a, const T *b)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>;

    NN_UNROLL
    for (int n = 0; n < N; n++)
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
    NN_UNROLL
    for (int k = 0; k < D; k += 16) {
        nn_cuda_a<T> left;
        nn_cuda_load_a(left, a + k, ROW);
        NN_UNROLL
        for (int n = 0; n < N; n += 2) {
            nn_cuda_b<T> right[2];
            nn_cuda_load_b(right, b + 8 * n * ROW + k, ROW);
            nn_cuda_mma(s[n], left, right[0]);
            if (n + 1 < N) nn_cuda_mma(s[n + 1 < N ? n + 1 : n], left, right[1]);
        }
    }
}

// out (16 x D) += p (16 x 8 N) b, b 16 ceil(N / 2) rows of D channels: those beyond 8 N are times zero.
template <class T, int D, int N>
__device__ static inline void nn_cuda_tile_sum(float (&out)[D / 8][4], const float (&p)[N][4], const T *b)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>;
    const float none[4] = {0, 0, 0, 0};

    NN_UNROLL
    for (int k = 0; k < N; k += 2) {
        nn_cuda_a<T> left;
        if (k + 1 < N)
            nn_cuda_a_of(left, p[k], p[k + 1 < N ? k + 1 : k]);
        else
            nn_cuda_a_of(left, p[k], none);
        NN_UNROLL
        for (int n = 0; n < D / 8; n += 2) {
            nn_cuda_b<T> right[2];
            nn_cuda_load_b_down(right, b + 8 * k * ROW + 8 * n, ROW);
            nn_cuda_mma(out[n], left, right[0]);
            nn_cuda_mma(out[n + 1], left, right[1]);
        }
    }
}

// Sum and maximum over the four lanes that share a row.
__device__ static inline float nn_cuda_row_sum(float v)
{
    v += __shfl_xor_sync(~0u, v, 1);
    return v + __shfl_xor_sync(~0u, v, 2);
}
__device__ static inline float nn_cuda_row_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
    return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}

// Scores are kept times log2 e, so that a probability is a power of 2: as exact as exp2f in f32, the hardware's
// instruction in bf16.
#define NN_CUDA_LOG2E 1.44269504f
template <class T> __device__ static inline float nn_cuda_exp2(float x)
{
#ifdef __CUDACC__
    if (sizeof(T) == 2) {
        float y;
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
        return y;
    }
#endif
    return exp2f(x);
}

#endif
