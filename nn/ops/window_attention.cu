// Attention inside windows (see window_attention.c), one kernel each way: q, k and v of a (window, head) are read once,
// at the addresses that the cyclic shift and the partition give, 16 bytes a thread; scores, probabilities and their
// gradients stay in registers and shared memory.
//
// A block keeps its heads and walks over windows of the batch; the copy of the next window runs while this one is
// computed. Each head has one warp per 16 queries. The bias of the pairs that a lane holds is the same in every window,
// so each lane keeps its own, backward also the sum of its gradient, which is put together once at the end: per block
// into the workspace, then over blocks in index order.
//
// Bytes: forward 4 C per token (q, k, v read, output written), backward 7 C, plus one table per block.
#include "nn/ops/attr.h"
#include "nn/ops/window_tiles.h"

extern "C" {
#include "nn/base/mem.h"
}

#include <stdlib.h>

enum { QKV, TABLE };

// Blocks of a launch, about: a few per multiprocessor, so that a block has several windows where there are many. A
// constant, so that sums are the same on every GPU.
enum { BLOCKS = 2112, MOST_TOKENS = 64 };

// Warps of a block, at most, and blocks of a multiprocessor, at least: in bf16, heads of 32, that is 18 warps of 96
// registers forward (windows of 6; 16 of 128 for 7) and 12 of 168 backward (8 of 255 for 7, which shared memory and
// registers bound alike), so that the next windows are on their way while some warps compute.
template <int N> constexpr int FORWARD_WARPS = N <= 5 ? 6 : 8;
template <int N> constexpr int BACKWARD_WARPS = N <= 5 ? 6 : 4;
template <class T, int D, int N> constexpr int FORWARD_BLOCKS = sizeof(T) == 4 || D > 32 ? 1 : N <= 5 ? 3 : 2;
template <class T, int D, int N> constexpr int BACKWARD_BLOCKS = sizeof(T) == 4 ? 1 : 2;

// --- both ways -------------------------------------------------------------------------------------------------------
// The windows of a block: start(window, stage) puts the copies of one under way, work(stage) computes with what has come.
// First all that shared memory has for tensors is zero: rows of tokens and columns of keys that do not exist stay so, and
// are multiplied by zeros, so they must be numbers.
template <class T, class Start, class Work>
__device__ static inline void walk(const windows &w, T *shared, int clear, nn_cuda_copies &q, Start start, Work work)
{
    const int first = (int)blockIdx.x / (w.heads / w.group);

    for (int i = (int)threadIdx.x; i < clear; i += (int)blockDim.x)
        shared[i] = (T)0.0f;
    __syncthreads();
    start(first, 0);
    int stage = 0;
    for (int item = first; item < w.count; item += w.slots, stage ^= w.stages - 1) {
        nn_cuda_copy_group(q);
        nn_cuda_copy_wait<0>(q);
        __syncthreads();
        if (w.stages == 2 && item + w.slots < w.count) start(item + w.slots, stage ^ 1);
        work(stage);
        if (w.stages == 1) {
            __syncthreads();
            if (item + w.slots < w.count) start(item + w.slots, 0);
        }
    }
}

// --- forward ---------------------------------------------------------------------------------------------------------
template <class T, int D, int N>
__global__ static void __launch_bounds__(32 * FORWARD_WARPS<N>, FORWARD_BLOCKS<T, D, N>)
    windows_forward(void *out, const void *qkv, const float *table, windows w)
{
    constexpr int TILE = ROWS<N> * NN_CUDA_ROW<T, D>;
    NN_SHARED(T, shared); // stages of heads of (q, k, v), where the windows lie, and the bias of each lane
    const int groups = w.heads / w.group, head_step = 3 * TILE, stage_step = w.group * head_step;
    const int64_t channels = (int64_t)w.heads * w.size;
    const part p = part_of(w);
    const T *x = (const T *)qkv + (int)blockIdx.x % groups * w.group * w.size;
    place *places = (place *)(shared + w.stages * stage_step);
    float4 *bias = (float4 *)(places + 2) + (int)threadIdx.x / 32 * 32 * N + nn_cuda_lane(); // C n: bias[32 n]
    nn_cuda_copies q;
    auto start = [&](int item, int stage) {
        const place at = place_of(w, item);
        if (threadIdx.x == 0) places[stage] = at;
        for (int k = 0; k < 3; k++)
            fetch<T, D>(q, w, at, shared + stage * stage_step + k * TILE, head_step, x + k * channels, 3 * channels);
    };

    for (int n = 0; n < N; n++)
        bias[32 * n] = bias_of(w, p, table, n);
    const unsigned sides = key_sides<N>(w);
    walk(w, shared, w.stages * stage_step, q, start, [&](int stage) {
        const place &at = places[stage];
        T *own = shared + stage * stage_step + p.local * head_step, *own_q = own + p.first * NN_CUDA_ROW<T, D>;
        float s[N][4], y[D / 8][4] = {};
        nn_cuda_tile_scores<T, D, N>(s, own_q, own + TILE);
        const float2 over = softmax<T, N>(w, p, at.edge, sides, bias, 32, s);
        nn_cuda_tile_sum<T, D, N>(y, s, own + 2 * TILE);
        nn_cuda_tile_store<T, D>((T *)out, y, over.x, over.y, own_q, w.size, w.wide, 0, [&](int r) -> int64_t {
            int64_t token = token_at(w, at, p.first + r);
            return token < 0 ? -1 : token * channels + p.head * w.size;
        });
    });
}

// --- backward --------------------------------------------------------------------------------------------------------
// The gradient of a head's scores, summed over the windows of the block (tokens, tokens), put together into a row of the
// workspace: one value for each row of the table.
__device__ static void fold_table(const windows &w, const part &p, const float *d_scores, float *d_table)
{
    int threads = 32 * w.tiles, first = (int)threadIdx.x % threads, reach = w.side - 1;

    for (int e = first; e < w.span * w.span; e += threads) {
        int down = e / w.span - reach, right = e % w.span - reach; // query minus key
        float sum = 0;
        for (int y = down < 0 ? -down : 0; y < w.side && y + down < w.side; y++)
            for (int x = right < 0 ? -right : 0; x < w.side && x + right < w.side; x++)
                sum += d_scores[((y + down) * w.side + x + right) * w.tokens + y * w.side + x];
        d_table[(int64_t)e * w.heads + p.head] = sum;
    }
}

// The same from what each lane has of the scores' gradient. scores: room for those of the head.
template <int N>
__device__ static inline void put_table(const windows &w, const part &p, float *scores, const float (&d_bias)[N][4],
                                        float *d_table)
{
    const int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;

    NN_UNROLL
    for (int e = 0; e < 4 * N; e++) {
        const int n = e / 4, k = e % 4;
        int i = p.first + g + k / 2 * 8, j = 8 * n + 2 * t + k % 2;
        if (i < w.tokens && j < w.tokens) scores[i * w.tokens + j] = d_bias[n][k];
    }
    __syncthreads();
    fold_table(w, p, scores, d_table);
}

// P (16 x 8 N) of this warp as rows of a matrix over all queries and keys.
template <class T, int N> __device__ static void put_rows(T *matrix, const float (&s)[N][4], float upper, float lower)
{
    constexpr int ROW = NN_CUDA_ROW<T, ROWS<N>>;
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;

    NN_UNROLL
    for (int n = 0; n < N; n++) {
        nn_cuda_pair(matrix + g * ROW + 8 * n + 2 * t, s[n][0] * upper, s[n][1] * upper);
        nn_cuda_pair(matrix + (g + 8) * ROW + 8 * n + 2 * t, s[n][2] * lower, s[n][3] * lower);
    }
}

// y (16 x D) = the warp's 16 columns of a matrix, summed over the queries with rows of x.
template <class T, int D, int N>
__device__ static void sum_queries(float (&y)[D / 8][4], const T *columns, const T *x, int tiles)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>, ACROSS = NN_CUDA_ROW<T, ROWS<N>>;

    NN_UNROLL
    for (int n = 0; n < D / 8; n++)
        y[n][0] = y[n][1] = y[n][2] = y[n][3] = 0;
    NN_UNROLL
    for (int k = 0; k < ROWS<N> / 16; k++) {
        if (k >= tiles) break;
        nn_cuda_a<T> left;
        nn_cuda_load_a_down(left, columns + 16 * k * ACROSS, ACROSS);
        NN_UNROLL
        for (int n = 0; n < D / 8; n += 2) {
            nn_cuda_b<T> right[2];
            nn_cuda_load_b_down(right, x + 16 * k * ROW + 8 * n, ROW);
            nn_cuda_mma(y[n], left, right[0]);
            nn_cuda_mma(y[n + 1], left, right[1]);
        }
    }
}

// s = the gradient of this warp's scores, added to d_bias; probabilities (rows of all queries): this warp's are stored.
template <class T, int D, int N>
__device__ static inline void score_grad(float (&s)[N][4], float (&d_bias)[N][4], const windows &w, const part &p,
                                         unsigned edge, unsigned sides, const float4 (&bias)[N], const T *own,
                                         T *probabilities)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>, TILE = ROWS<N> * ROW, ACROSS = NN_CUDA_ROW<T, ROWS<N>>;
    float dp[N][4], dot[2] = {0, 0};

    nn_cuda_tile_scores<T, D, N>(s, own + p.first * ROW, own + TILE);
    const float2 over = softmax<T, N>(w, p, edge, sides, bias, 1, s);
    put_rows<T, N>(probabilities + p.first * ACROSS, s, over.x, over.y);
    nn_cuda_tile_scores<T, D, N>(dp, own + 3 * TILE + p.first * ROW, own + 2 * TILE);
    NN_UNROLL
    for (int e = 0; e < 4 * N; e++) {
        const int n = e / 4, k = e % 4;
        s[n][k] *= k < 2 ? over.x : over.y;
        dot[k / 2] += s[n][k] * dp[n][k];
    }
    dot[0] = nn_cuda_row_sum(dot[0]);
    dot[1] = nn_cuda_row_sum(dot[1]);
    NN_UNROLL
    for (int e = 0; e < 4 * N; e++) {
        const int n = e / 4, k = e % 4;
        s[n][k] *= dp[n][k] - dot[k / 2];
        d_bias[n][k] += s[n][k];
    }
}

template <class T, int D, int N>
__global__ static void __launch_bounds__(32 * BACKWARD_WARPS<N>, BACKWARD_BLOCKS<T, D, N>)
    windows_backward(void *d_qkv, float *d_tables, const void *qkv, const void *d_out, const float *table, windows w,
                     int acc)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>, TILE = ROWS<N> * ROW, ACROSS = NN_CUDA_ROW<T, ROWS<N>>;
    // Stages of heads of (q, k, v, gradient of the output), heads of (P, dS), then where the windows lie.
    NN_SHARED(T, shared);
    const int groups = w.heads / w.group, head_step = 4 * TILE, stage_step = w.group * head_step;
    const int64_t channels = (int64_t)w.heads * w.size;
    const part p = part_of(w);
    const T *x = (const T *)qkv + (int)blockIdx.x % groups * w.group * w.size;
    const T *dy = (const T *)d_out + (int)blockIdx.x % groups * w.group * w.size;
    T *probabilities = shared + w.stages * stage_step + p.local * 2 * ROWS<N> * ACROSS;
    T *d_scores = probabilities + ROWS<N> * ACROSS;
    place *places = (place *)(shared + w.stages * stage_step + w.group * 2 * ROWS<N> * ACROSS);
    nn_cuda_copies q;
    float4 bias[N];
    float d_bias[N][4] = {};
    auto start = [&](int item, int stage) {
        const place at = place_of(w, item);
        if (threadIdx.x == 0) places[stage] = at;
        T *tile = shared + stage * stage_step;
        for (int k = 0; k < 3; k++)
            fetch<T, D>(q, w, at, tile + k * TILE, head_step, x + k * channels, 3 * channels);
        fetch<T, D>(q, w, at, tile + 3 * TILE, head_step, dy, channels);
    };

    NN_UNROLL
    for (int n = 0; n < N; n++)
        bias[n] = bias_of(w, p, table, n);
    const unsigned sides = key_sides<N>(w);
    const int clear = w.stages * stage_step + w.group * 2 * ROWS<N> * ACROSS;
    walk(w, shared, clear, q, start, [&](int stage) {
        const place &at = places[stage];
        T *own = shared + stage * stage_step + p.local * head_step;
        T *own_k = own + TILE + p.first * ROW, *own_v = own_k + TILE;
        float s[N][4], y[D / 8][4] = {};
        score_grad<T, D, N>(s, d_bias, w, p, at.edge, sides, bias, own, probabilities);
        put_rows<T, N>(d_scores + p.first * ACROSS, s, 1, 1);
        nn_cuda_tile_sum<T, D, N>(y, s, own + TILE);
        __syncthreads();
        if (!d_qkv) return;

        // From here on k and v are not read any more: their rows take what is stored.
        auto token = [&](int r) -> int64_t {
            int64_t to = token_at(w, at, p.first + r);
            return to < 0 ? -1 : to * 3 * channels + p.head * w.size;
        };
        T *dx = (T *)d_qkv;
        nn_cuda_tile_store<T, D>(dx, y, w.scale, w.scale, own_k, w.size, w.wide, acc, token);
        sum_queries<T, D, N>(y, d_scores + p.first, own, w.tiles);
        nn_cuda_tile_store<T, D>(dx + channels, y, w.scale, w.scale, own_k, w.size, w.wide, acc, token);
        sum_queries<T, D, N>(y, probabilities + p.first, own + 3 * TILE, w.tiles);
        nn_cuda_tile_store<T, D>(dx + 2 * channels, y, 1, 1, own_v, w.size, w.wide, acc, token);
    });
    if (!d_tables) return;
    __syncthreads();
    put_table<N>(w, p, (float *)shared + p.local * w.tokens * w.tokens, d_bias,
                 d_tables + (int64_t)((int)blockIdx.x / groups) * w.span * w.span * w.heads);
}

// --- plan time -------------------------------------------------------------------------------------------------------
typedef void forward_kernel(void *, const void *, const float *, windows);
typedef void backward_kernel(void *, float *, const void *, const void *, const float *, windows, int);

typedef struct state {
    windows fwd, bwd;
    forward_kernel *forward;
    backward_kernel *backward;
    size_t forward_bytes, backward_bytes; // of shared memory
} state;

// The smallest form that holds the head and the window.
typedef struct form {
    forward_kernel *forward;
    backward_kernel *backward;
    int forward_warps, backward_warps; // of a block, at most
    size_t tile, matrix, bias;         // bytes: rows of one tensor, scores of a head, bias of a warp
} form;

template <class T, int D, int N> static form form_of()
{
    return {windows_forward<T, D, N>,
            windows_backward<T, D, N>,
            FORWARD_WARPS<N>,
            BACKWARD_WARPS<N>,
            ROWS<N> * NN_CUDA_ROW<T, D> * sizeof(T),
            ROWS<N> * NN_CUDA_ROW<T, ROWS<N>> * sizeof(T),
            N * 32 * sizeof(float4)};
}

template <class T> static form choose(const windows &w)
{
    if (w.size > 32) return form_of<T, 64, 8>(); // the window of 7 has a form of its own where speed counts
    if (w.tokens > 56) return form_of<T, 32, 8>();
    if (w.tokens > 40) return sizeof(T) == 2 ? form_of<nn_bf16, 32, 7>() : form_of<float, 32, 8>();
    return form_of<T, 32, 5>();
}

// Heads of a block: as many as keep their warps and, with two stages, their shared memory within bounds. Two heads of 32
// in bf16 are 128 bytes of a token, a whole line.
static void share(windows *w, int warps, size_t tiles, size_t rest, size_t *bytes)
{
    enum { ENOUGH = 100 * 1024 }; // of shared memory: two blocks a multiprocessor

    for (w->group = 1, w->group_log = 0; w->heads % (2 * w->group) == 0 && 2 * w->group * w->tiles <= warps &&
                                         (size_t)(2 * w->group) * (2 * tiles + rest) <= ENOUGH;
         w->group_log++)
        w->group *= 2;
    w->stages = (size_t)w->group * (2 * tiles + rest) <= ENOUGH ? 2 : 1;
    w->slots = nn_cuda_grid(BLOCKS) / (w->heads / w->group);
    if (w->slots < 1) w->slots = 1;
    if (w->slots > w->count) w->slots = w->count;
    *bytes = (size_t)w->group * ((size_t)w->stages * tiles + rest) + 2 * sizeof(place);
}

static mn_err check(const nn_node *n, const windows *w)
{
    if (w->tokens > MOST_TOKENS)
        return mn_fail(MN_ECONFIG,
                       "%s: windows of %d x %d tokens; on a GPU a window has at most %d (train it on the CPU, or with "
                       "a smaller model.window)",
                       n->path, w->side, w->side, MOST_TOKENS);
    if (w->size > 64)
        return mn_fail(MN_ECONFIG,
                       "%s: windowed heads of %d channels; on a GPU a head has at most 64 (raise model.heads)", n->path,
                       w->size);
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    const window_attr *a = (const window_attr *)n->attr;
    windows w = {};

    w.tokens = (int)(a->window * a->window);
    w.side = (int)a->window;
    w.span = 2 * w.side - 1;
    w.height = (int)a->height;
    w.width = (int)a->width;
    w.shift = (int)a->shift;
    w.across = w.width / w.side;
    w.per_map = w.height / w.side * w.across;
    w.count = (int)n->in[QKV]->shape.d[0] * w.per_map;
    w.heads = (int)a->heads;
    w.size = (int)(mn_last(n->out[0]->shape) / a->heads);
    w.tiles = (w.tokens + 15) / 16;
    w.wide = w.size % (n->in[QKV]->dtype == MN_BF16 ? 8 : 4) == 0;
    w.scale = 1 / sqrtf((float)w.size);
    w.divide = (65536 + w.side - 1) / w.side; // exact for i < 64: the error is below i / 65536
    MN_TRY(check(n, &w));

    state *s = (state *)mn_calloc(1, sizeof *s);
    n->state = s;
    s->fwd = s->bwd = w;
    const form f = n->in[QKV]->dtype == MN_BF16 ? choose<nn_bf16>(w) : choose<float>(w);
    s->forward = f.forward;
    s->backward = f.backward;
    share(&s->fwd, f.forward_warps, 3 * f.tile, (size_t)w.tiles * f.bias, &s->forward_bytes);
    share(&s->bwd, f.backward_warps, 4 * f.tile, 2 * f.matrix, &s->backward_bytes);
    if (n->grad_in & 1u << TABLE)
        n->work_bytes = (size_t)s->bwd.slots * (size_t)(w.span * w.span * w.heads) * sizeof(float);
    MN_TRY(nn_cuda_allow_shared((const void *)s->forward, s->forward_bytes, "shared memory of window_attention"));
    return nn_cuda_allow_shared((const void *)s->backward, s->backward_bytes, "shared memory of window_attention");
}

static void release(nn_node *n)
{
    free(n->state);
    n->state = NULL;
}

// --- calls -----------------------------------------------------------------------------------------------------------
static unsigned blocks_of(const windows *w)
{
    return (unsigned)(w->slots * (w->heads / w->group));
}
static unsigned threads_of(const windows *w)
{
    return (unsigned)(32 * w->tiles * w->group);
}

static mn_err forward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    forward_kernel *kernel = s->forward;
    const windows w = s->fwd;

    return NN_LAUNCH(kernel, blocks_of(&w), threads_of(&w), s->forward_bytes, c->stream, c->out[0], c->in[QKV],
                     (const float *)c->in[TABLE], w);
}

static mn_err backward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    const int64_t entries = mn_count(c->node->in[TABLE]->shape);
    backward_kernel *kernel = s->backward;
    const windows w = s->bwd;
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    float *tables = c->din[TABLE] ? (float *)c->work : NULL;
    MN_TRY(NN_LAUNCH(kernel, blocks_of(&w), threads_of(&w), s->backward_bytes, c->stream, c->din[QKV], tables,
                     c->in[QKV], c->dout[0], (const float *)c->in[TABLE], w, nn_cuda_acc(c, QKV)));
    if (!tables) return MN_OK;
    return nn_cuda_add_blocks((float *)c->din[TABLE], tables, w.slots, entries, entries, nn_cuda_acc(c, TABLE),
                              c->stream);
}

extern "C" const nn_kernels nn_cuda_window_attention = {forward, backward, prepare, release};
