// The windows of a map as the kernels of window_attention.cu see them: where the tokens of a window lie, the copies of
// its rows, bias and mask of the pairs that a lane holds, and the softmax. Included there only.
#ifndef NN_OPS_WINDOW_TILES_H
#define NN_OPS_WINDOW_TILES_H

#include "nn/cuda_tile.h"

typedef struct windows {
    int count; // rows of the batch times windows of a map
    int tokens, side, span, height, width, shift, across, per_map;
    int heads, size;
    int group, group_log; // heads of a block, a power of 2
    int tiles, stages;    // tiles of 16 queries; copies in shared memory, 2: the next window is on its way
    int slots;            // blocks per group of heads
    int wide;             // rows may be copied 16 bytes at a time
    float scale;
    int divide; // i / side = i * divide >> 16
} windows;

// Tokens of a window, up to whole tiles, for the template: 8 N keys.
template <int N> constexpr int ROWS = (N + 1) / 2 * 16;

// Where window `item` lies, and which of its tokens were brought together by the shift alone.
struct alignas(16) place {
    int64_t map; // first token of the row of the batch
    int y, x;
    unsigned edge; // bit 0: the window wraps vertically, bit 1: horizontally
};

__device__ static place place_of(const windows &w, int item)
{
    int window = item % w.per_map, row = window / w.across, column = window % w.across;
    place p;
    p.map = (int64_t)(item / w.per_map) * w.height * w.width;
    p.y = row * w.side + w.shift;
    p.x = column * w.side + w.shift;
    p.edge = w.shift == 0 ? 0 : (p.y + w.side > w.height ? 1u : 0u) | (p.x + w.side > w.width ? 2u : 0u);
    return p;
}

// Token i of the window in the tensor; -1: there is none.
__device__ static int64_t token_at(const windows &w, const place &p, int i)
{
    int down = i * w.divide >> 16, y = p.y + down, x = p.x + i - down * w.side;
    if (i >= w.tokens) return -1;
    return p.map + (y >= w.height ? y - w.height : y) * w.width + (x >= w.width ? x - w.width : x);
}

// On which side of the seam the token lies, as bits like edge.
__device__ static unsigned seam_side(const windows &w, int i)
{
    int down = i * w.divide >> 16, right = i - down * w.side;
    return (down >= w.side - w.shift ? 1u : 0u) | (right >= w.side - w.shift ? 2u : 0u);
}

// Row of the table for key j and query i.
__device__ static int relative(const windows &w, int j, int i)
{
    int yj = j * w.divide >> 16, yi = i * w.divide >> 16;
    return (yi - yj + w.side - 1) * w.span + (i - yi * w.side) - (j - yj * w.side) + w.side - 1;
}

// The warp's part of the block.
struct part {
    int local, head, first; // head of the block and of the network; first query
};

__device__ static part part_of(const windows &w)
{
    int warp = (int)threadIdx.x / 32, groups = w.heads / w.group;
    part p;
    p.local = warp / w.tiles;
    p.head = (int)blockIdx.x % groups * w.group + p.local;
    p.first = warp % w.tiles * 16;
    return p;
}

// One tensor's rows of the heads of the block: x points to channel 0 of the first head, rows `stride` apart.
template <class T, int D>
__device__ static void fetch(nn_cuda_copies &q, const windows &w, const place &p, T *tile, int tile_step, const T *x,
                             int64_t stride)
{
    constexpr int CHUNKS = D / NN_CUDA_WIDE<T>;

    NN_ROLL
    for (int i = (int)threadIdx.x; i < w.tokens * w.group * CHUNKS; i += (int)blockDim.x) {
        int r = i / CHUNKS >> w.group_log, local = i / CHUNKS & (w.group - 1), c = i % CHUNKS * NN_CUDA_WIDE<T>;
        nn_cuda_tile_chunk(q, tile + local * tile_step + r * NN_CUDA_ROW<T, D>,
                           x + token_at(w, p, r) * stride + local * w.size, true, c, w.size, w.wide);
    }
}

// Bias of the lane's pairs in C number n, times log2 e; -infinity where there is no such key.
__device__ static float4 bias_of(const windows &w, const part &p, const float *table, int n)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    float bias[4];

    NN_UNROLL
    for (int k = 0; k < 4; k++) {
        int i = p.first + g + k / 2 * 8, j = 8 * n + 2 * t + k % 2;
        bias[k] = j >= w.tokens  ? -INFINITY
                  : i < w.tokens ? table[(int64_t)relative(w, j, i) * w.heads + p.head] * NN_CUDA_LOG2E
                                 : 0;
    }
    return make_float4(bias[0], bias[1], bias[2], bias[3]);
}

// Seam sides of the lane's keys, two bits each.
template <int N> __device__ static unsigned key_sides(const windows &w)
{
    unsigned sides = 0;
    int t = nn_cuda_lane() % 4;

    NN_UNROLL
    for (int k = 0; k < 2 * N; k++)
        sides |= seam_side(w, 8 * (k / 2) + 2 * t + k % 2) << 2 * k;
    return sides;
}

// s = softmax of (scale s + bias + mask) without its last factor, which is returned for the lane's two rows. The bias of
// C number n lies at bias[n * step].
template <class T, int N>
__device__ static float2 softmax(const windows &w, const part &p, unsigned edge, unsigned sides, const float4 *bias,
                                 int step, float (&s)[N][4])
{
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    const float scale = w.scale * NN_CUDA_LOG2E;

    NN_UNROLL
    for (int n = 0; n < N; n++) {
        const float4 b = bias[n * step];
        s[n][0] = s[n][0] * scale + b.x;
        s[n][1] = s[n][1] * scale + b.y;
        s[n][2] = s[n][2] * scale + b.z;
        s[n][3] = s[n][3] * scale + b.w;
    }
    if (edge) { // few windows: the same in the whole block
        const int g = nn_cuda_lane() / 4;
        const unsigned own[2] = {seam_side(w, p.first + g), seam_side(w, p.first + g + 8)};
        NN_UNROLL
        for (int e = 0; e < 4 * N; e++) {
            const int n = e / 4, k = e % 4;
            if ((sides >> (4 * n + 2 * (k % 2)) ^ own[k / 2]) & edge) s[n][k] -= 100 * NN_CUDA_LOG2E;
        }
    }
    NN_UNROLL
    for (int e = 0; e < 4 * N; e++)
        most[e % 4 / 2] = fmaxf(most[e % 4 / 2], s[e / 4][e % 4]);
    most[0] = nn_cuda_row_max(most[0]);
    most[1] = nn_cuda_row_max(most[1]);
    NN_UNROLL
    for (int e = 0; e < 4 * N; e++) {
        const int n = e / 4, k = e % 4;
        s[n][k] = nn_cuda_exp2<T>(s[n][k] - most[k / 2]);
        sum[k / 2] += s[n][k];
    }
    return make_float2(1 / nn_cuda_row_sum(sum[0]), 1 / nn_cuda_row_sum(sum[1]));
}

#endif
