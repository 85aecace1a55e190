// What the kernels of attention.cu do with one tile: copies from and to sequences, the walk along keys or queries, scores
// and the softmax that is carried along, and the dropout mask. Included there only.
//
// The dropout mask is drawn where it is needed, with the numbers of the CPU kernel: element (head, key, query) of a row
// of the batch, four queries to a block of the generator. Lanes share the blocks: each draws as many as it has elements
// divided by four, and hands on one bit per element.
#ifndef NN_OPS_ATTENTION_TILES_H
#define NN_OPS_ATTENTION_TILES_H

#include "nn/cuda_tile.h"

#include <float.h>

enum { TILE = 64, WARPS = TILE / 16, THREADS = 32 * WARPS, ACROSS = TILE / 8 };

typedef struct sequences {
    int64_t rows, heads, queries, keys, channels;
    int64_t q_row, kv_row; // elements from one step to the next, of q and of k and v
    int size, wide;        // channels of a head; rows may be copied 16 bytes at a time
    float scale, drop;
    uint64_t key; // of the mask
} sequences;

// What the kernels are given; the strides are those of sequences.
typedef struct tensors {
    const void *q, *k, *v;
    const float *valid; // (rows, keys) or NULL
    const nn_tick *tick;
    void *out;         // forward
    const void *d_out; // backward
    const void *made;  // the output again
    void *dq, *dk, *dv;
    int acc_q, acc_kv;
    float4 *stats; // (rows, heads, queries): largest score, 1 / sum, dO . O
} tensors;

// The block's tile of a row of the batch and a head.
struct spot {
    int64_t row, head, first; // first query or key
};

__device__ static spot spot_of(const sequences &s, int64_t steps)
{
    int64_t tiles = (steps + TILE - 1) / TILE, at = (int64_t)blockIdx.x / tiles;
    return {at / s.heads, at % s.heads, (int64_t)blockIdx.x % tiles * TILE};
}

// `count` rows of a tile: from step `first` on, as far as there are steps.
template <class T, int D, int count>
__device__ static void fetch(nn_cuda_copies &q, const sequences &s, T *tile, const void *x, int64_t row, int64_t head,
                             int64_t steps, int64_t stride, int64_t first)
{
    const T *from = (const T *)x + (row * steps + first) * stride + head * s.size;
    nn_cuda_tile_load<T, D>(q, tile, count, from, s.size, s.wide,
                            [&](int r) -> int64_t { return first + r < steps ? r * stride : -1; });
}

// The warp's 16 rows to steps from `first` on.
template <class T, int D>
__device__ static void store(const sequences &s, void *y, const float (&x)[D / 8][4], float upper, float lower, T *tile,
                             int64_t row, int64_t head, int64_t steps, int64_t stride, int64_t first, int acc)
{
    T *to = (T *)y + (row * steps + first) * stride + head * s.size;
    nn_cuda_tile_store<T, D>(to, x, upper, lower, tile, s.size, s.wide, acc,
                             [&](int r) -> int64_t { return first + r < steps ? r * stride : -1; });
}

// Steps of `wide` keys or queries: start(first, stage) puts copies on their way, that of the first step by the caller,
// use(first, stage) computes with what has come.
template <int stages, int wide, class Start, class Use>
__device__ static void walk(nn_cuda_copies &copies, int64_t steps, Start start, Use use)
{
    int stage = 0;
    for (int64_t first = 0; first < steps; first += wide, stage ^= stages - 1) {
        nn_cuda_copy_group(copies);
        nn_cuda_copy_wait<0>(copies);
        __syncthreads();
        if (stages == 2 && first + wide < steps) start(first + wide, stage ^ 1);
        use(first, stage);
        if (stages == 1) {
            __syncthreads();
            if (first + wide < steps) start(first + wide, 0);
        }
    }
}

// --- dropout ---------------------------------------------------------------------------------------------------------
// One bit per query of the block of four that `query` lies in: is the probability of this key kept?
__device__ static unsigned draw(const sequences &s, const tensors &x, const spot &at, int64_t key, int64_t query)
{
    // In 32 bits, which hold it: see the shape check of the op.
    uint32_t per_key = (uint32_t)((s.queries + 3) / 4);
    uint32_t block = ((uint32_t)(at.head * s.keys) + (uint32_t)key) * per_key + (uint32_t)(query / 4);
    nn_cuda_rng4 u = nn_cuda_rng(s.key, (uint64_t)(x.tick->first_row + at.row), x.tick->step, block);
    unsigned kept = 0;
    for (int i = 0; i < 4; i++)
        kept |= (nn_cuda_uniform(u.v[i]) >= s.drop ? 1u : 0u) << i;
    return kept;
}

// Bit 4n + k: is s[n][k] kept? Rows of the tile are queries (from `query` on), columns keys. The four lanes that hold
// the rows of one block of the generator, at the same columns, draw one column of four each.
__device__ static unsigned mask_of_queries(const sequences &s, const tensors &x, const spot &at, int64_t query,
                                           int64_t key)
{
    int lane = nn_cuda_lane(), g = lane / 4, t = lane % 4, own = g % 4;
    unsigned drawn = 0, kept = 0;

    NN_ROLL
    for (int i = 0; i < 8; i++) // n in 2 (i / 2) + {0, 1}, rows of half i % 2
        drawn |= draw(s, x, at, key + 8 * (i / 2 * 2 + own / 2) + 2 * t + own % 2, query + g + i % 2 * 8) << 4 * i;
    NN_UNROLL
    for (int c = 0; c < 4; c++) { // column c of the four: drawn by the lane whose row is c
        unsigned other = __shfl_sync(~0u, drawn, (g / 4 * 4 + c) * 4 + t) >> own;
        NN_UNROLL
        for (int i = 0; i < 8; i++)
            kept |= (other >> 4 * i & 1u) << (4 * (i / 2 * 2 + c / 2) + i % 2 * 2 + c % 2);
    }
    return kept;
}

// The same with keys as rows and queries as columns: two lanes hold the columns of one block.
template <int N>
__device__ static unsigned mask_of_keys(const sequences &s, const tensors &x, const spot &at, int64_t query,
                                        int64_t key)
{
    int lane = nn_cuda_lane(), g = lane / 4, t = lane % 4, own = t % 2;
    unsigned drawn = 0, kept = 0;

    NN_ROLL
    for (int i = 0; i < N; i++) // n = 2 (i / 2) + own, rows of half i % 2
        drawn |= draw(s, x, at, key + g + i % 2 * 8, query + 8 * (i / 2 * 2 + own) + 2 * t) << 4 * i;
    NN_UNROLL
    for (int c = 0; c < 2; c++) {
        unsigned other = __shfl_sync(~0u, drawn, lane / 2 * 2 + c) >> 2 * own;
        NN_UNROLL
        for (int i = 0; i < N; i++)
            kept |= (other >> 4 * i & 3u) << (4 * (i / 2 * 2 + c) + i % 2 * 2);
    }
    return kept;
}

// --- scores -----------------------------------------------------------------------------------------------------------
// p = scale p in powers of 2; masked keys get -FLT_MAX and keys that do not exist -infinity, of which comes 0.
__device__ static void mask_scores(const sequences &s, const float *valid, int64_t key, float (&p)[ACROSS][4])
{
    const int left = s.keys - key < TILE ? (int)(s.keys - key) : TILE, t = nn_cuda_lane() % 4;
    const float scale = s.scale * NN_CUDA_LOG2E;

    NN_UNROLL
    for (int e = 0; e < 4 * ACROSS; e++)
        p[e / 4][e % 4] *= scale;
    if (left == TILE && !valid) return;
    NN_UNROLL
    for (int e = 0; e < 4 * ACROSS; e++) {
        const int j = 8 * (e / 4) + 2 * t + e % 2;
        if (j >= left)
            p[e / 4][e % 4] = -INFINITY;
        else if (valid && valid[key + j] == 0.0f)
            p[e / 4][e % 4] = -FLT_MAX;
    }
}

// Takes the largest of each row along and makes p = 2^(s - largest) of it; sums are the lane's own. Returns what older
// sums are multiplied with.
template <class T> __device__ static float2 take_along(float (&p)[ACROSS][4], float (&most)[2], float (&sum)[2])
{
    float now[2] = {most[0], most[1]};

    NN_UNROLL
    for (int e = 0; e < 4 * ACROSS; e++) {
        const int n = e / 4, k = e % 4;
        now[k / 2] = fmaxf(now[k / 2], p[n][k]);
    }
    now[0] = nn_cuda_row_max(now[0]);
    now[1] = nn_cuda_row_max(now[1]);
    const float2 older = make_float2(nn_cuda_exp2<T>(most[0] - now[0]), nn_cuda_exp2<T>(most[1] - now[1]));
    most[0] = now[0];
    most[1] = now[1];
    sum[0] *= older.x;
    sum[1] *= older.y;
    NN_UNROLL
    for (int e = 0; e < 4 * ACROSS; e++) {
        const int n = e / 4, k = e % 4;
        p[n][k] = nn_cuda_exp2<T>(p[n][k] - most[k / 2]);
        sum[k / 2] += p[n][k];
    }
    return older;
}

__device__ static void keep(float (&p)[ACROSS][4], unsigned kept)
{
    NN_UNROLL
    for (int e = 0; e < 4 * ACROSS; e++) {
        const int n = e / 4, k = e % 4;
        if (!(kept >> (4 * n + k) & 1u)) p[n][k] = 0;
    }
}

#endif
