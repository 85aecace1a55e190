// softmax(q k^T d^-1/2) v over whole sequences (see attention.c) in tiles of 64 queries and 64 keys, as FlashAttention-2
// has it (Dao 2023, arXiv:2307.08691, algorithms 1 and 2): the softmax is carried along the keys, scores never leave
// the chip. A warp owns 16 rows of a tile; the next tile of keys (or queries) is copied while one is computed.
//
// Backward makes the probabilities again, twice, so that every gradient is written once by one warp and sums have one
// order: rows_of_queries finds the largest score and the sum of each row, dq, and leaves per row (largest, 1 / sum,
// dO . O) in the workspace; rows_of_keys then walks along the queries with keys and queries changed over, so that
// P^T and dS^T are already in the registers as the left side of dv and dk.
#include "nn/ops/attention_tiles.h"
#include "nn/ops/attr.h"

extern "C" {
#include "nn/base/mem.h"
}

#include <stdlib.h>

enum { Q, KV, VALID };
// --- forward ----------------------------------------------------------------------------------------------------------
// Copies of a tile's keys and values in shared memory: with two the next tile is on its way. One is what fits in f32.
template <class T, int D> constexpr int STAGES = sizeof(T) * D > 256 ? 1 : 2;
// Blocks that a multiprocessor has room for, at least: in bf16, heads of 64, 16 warps of 128 registers forward, 12 of
// 168 for queries and 8 of 255 for keys backward.
template <class T, int D> constexpr int FORWARD_BLOCKS = sizeof(T) == 4 ? 1 : D > 64 ? 2 : 4;
template <class T, int D> constexpr int BACKWARD_BLOCKS = sizeof(T) == 4 ? 1 : D > 64 ? 2 : 3;
template <class T, int D> constexpr int KEYS_BLOCKS = sizeof(T) == 4 ? 1 : 2;
template <class T, int D> constexpr int STEP = NN_CUDA_ROW<T, D> *TILE; // elements of a tile

template <class T, int D>
__global__ static void __launch_bounds__(THREADS, FORWARD_BLOCKS<T, D>) attention_forward(sequences s, tensors x)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>;
    NN_SHARED(T, shared); // queries, then stages of (keys, values)
    const spot at = spot_of(s, s.queries);
    const int own = (int)threadIdx.x / 32 * 16;
    const float *valid = x.valid ? x.valid + at.row * s.keys : NULL;
    T *q = shared, *kv = shared + STEP<T, D>;
    float y[D / 8][4] = {}, most[2] = {-FLT_MAX, -FLT_MAX}, sum[2] = {0, 0};
    nn_cuda_copies copies;
    auto start = [&](int64_t key, int stage) {
        T *k = kv + 2 * stage * STEP<T, D>;
        fetch<T, D, TILE>(copies, s, k, x.k, at.row, at.head, s.keys, s.kv_row, key);
        fetch<T, D, TILE>(copies, s, k + STEP<T, D>, x.v, at.row, at.head, s.keys, s.kv_row, key);
    };
    auto compute = [&](int64_t key, const T *k) {
        float p[ACROSS][4];
        nn_cuda_tile_scores<T, D, ACROSS>(p, q + own * ROW, k);
        mask_scores(s, valid, key, p);
        const float2 older = take_along<T>(p, most, sum);
        NN_UNROLL
        for (int n = 0; n < D / 8; n++) {
            y[n][0] *= older.x;
            y[n][1] *= older.x;
            y[n][2] *= older.y;
            y[n][3] *= older.y;
        }
        if (s.drop > 0) keep(p, mask_of_queries(s, x, at, at.first + own, key));
        nn_cuda_tile_sum<T, D, ACROSS>(y, p, k + STEP<T, D>);
    };

    fetch<T, D, TILE>(copies, s, q, x.q, at.row, at.head, s.queries, s.q_row, at.first);
    start(0, 0);
    walk<STAGES<T, D>, TILE>(copies, s.keys, start, [&](int64_t key, int stage) {
        if (at.first + own < s.queries) compute(key, kv + 2 * stage * STEP<T, D>);
    });
    const float rest = 1 - s.drop;
    store<T, D>(s, x.out, y, 1 / (nn_cuda_row_sum(sum[0]) * rest), 1 / (nn_cuda_row_sum(sum[1]) * rest), q + own * ROW,
                at.row, at.head, s.queries, s.channels, at.first + own, 0);
}

// --- backward: queries -----------------------------------------------------------------------------------------------
template <class T, int D>
__global__ static void __launch_bounds__(THREADS, BACKWARD_BLOCKS<T, D>) rows_of_queries(sequences s, tensors x)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>;
    NN_SHARED(T, shared); // queries, gradient of the output, then stages of (keys, values)
    const spot at = spot_of(s, s.queries);
    const int own = (int)threadIdx.x / 32 * 16, g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    const float *valid = x.valid ? x.valid + at.row * s.keys : NULL;
    T *q = shared, *dy = shared + STEP<T, D>, *kv = dy + STEP<T, D>, *made = kv + STEP<T, D>;
    const bool idle = at.first + own >= s.queries;
    float dq[D / 8][4] = {}, most[2] = {-FLT_MAX, -FLT_MAX}, sum[2] = {0, 0}, dot[2] = {0, 0};
    nn_cuda_copies copies;
    auto start_keys = [&](int64_t key, int stage) {
        fetch<T, D, TILE>(copies, s, kv + 2 * stage * STEP<T, D>, x.k, at.row, at.head, s.keys, s.kv_row, key);
    };
    auto start = [&](int64_t key, int stage) {
        start_keys(key, stage);
        fetch<T, D, TILE>(copies, s, kv + (2 * stage + 1) * STEP<T, D>, x.v, at.row, at.head, s.keys, s.kv_row, key);
    };
    auto scores = [&](float(&p)[ACROSS][4], int64_t key, const T *k) {
        nn_cuda_tile_scores<T, D, ACROSS>(p, q + own * ROW, k);
        mask_scores(s, valid, key, p);
    };
    auto add_dq = [&](int64_t key, const T *k) {
        const unsigned kept = s.drop > 0 ? mask_of_queries(s, x, at, at.first + own, key) : ~0u;
        const float up = 1 / (1 - s.drop);
        float p[ACROSS][4], dp[ACROSS][4];
        scores(p, key, k);
        nn_cuda_tile_scores<T, D, ACROSS>(dp, dy + own * ROW, k + STEP<T, D>);
        NN_UNROLL
        for (int e = 0; e < 4 * ACROSS; e++) {
            const int n = e / 4, i = e % 4;
            const float d = kept >> (4 * n + i) & 1u ? dp[n][i] * up : 0;
            p[n][i] = nn_cuda_exp2<T>(p[n][i] - most[i / 2]) * sum[i / 2] * (d - dot[i / 2]);
        }
        nn_cuda_tile_sum<T, D, ACROSS>(dq, p, k);
    };

    fetch<T, D, TILE>(copies, s, q, x.q, at.row, at.head, s.queries, s.q_row, at.first);
    fetch<T, D, TILE>(copies, s, dy, x.d_out, at.row, at.head, s.queries, s.channels, at.first);
    fetch<T, D, TILE>(copies, s, made, x.made, at.row, at.head, s.queries, s.channels, at.first);
    start_keys(0, 0);
    walk<STAGES<T, D>, TILE>(copies, s.keys, start_keys, [&](int64_t key, int stage) {
        float p[ACROSS][4];
        if (idle) return;
        scores(p, key, kv + 2 * stage * STEP<T, D>);
        (void)take_along<T>(p, most, sum);
    });
    NN_UNROLL
    for (int h = 0; h < 2; h++) {
        const int64_t i = at.first + own + g + 8 * h;
        sum[h] = 1 / nn_cuda_row_sum(sum[h]);
        for (int c = 2 * t; c < D; c += 8)
            for (int k = 0; k < 2; k++)
                dot[h] += (float)dy[(own + g + 8 * h) * ROW + c + k] * (float)made[(own + g + 8 * h) * ROW + c + k];
        dot[h] = nn_cuda_row_sum(dot[h]);
        if (t == 0 && i < s.queries)
            x.stats[(at.row * s.heads + at.head) * s.queries + i] = make_float4(most[h], sum[h], dot[h], 0);
    }
    if (!x.dq) return;
    __syncthreads();
    start(0, 0);
    walk<STAGES<T, D>, TILE>(copies, s.keys, start, [&](int64_t key, int stage) {
        if (!idle) add_dq(key, kv + 2 * stage * STEP<T, D>);
    });
    store<T, D>(s, x.dq, dq, s.scale, s.scale, q + own * ROW, at.row, at.head, s.queries, s.q_row, at.first + own,
                x.acc_q);
}

// --- backward: keys --------------------------------------------------------------------------------------------------
// Queries taken at a time: fewer where the gradients of keys and values take most registers.
template <int D> constexpr int QUERIES = D > 64 ? 32 : 64;

// p = the probabilities of 16 keys (rows, from `key` on) for queries with these statistics.
template <class T, int N>
__device__ static void probabilities(const sequences &s, const float *valid, int64_t key, const float4 *stats,
                                     float (&p)[N][4])
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    const float scale = s.scale * NN_CUDA_LOG2E;
    bool masked[2];

    NN_UNROLL
    for (int h = 0; h < 2; h++)
        masked[h] = valid && key + g + 8 * h < s.keys && valid[key + g + 8 * h] == 0.0f;
    NN_UNROLL
    for (int e = 0; e < 4 * N; e++) {
        const int n = e / 4, i = e % 4;
        const float4 of = stats[8 * n + 2 * t + i % 2];
        p[n][i] = nn_cuda_exp2<T>((masked[i / 2] ? -FLT_MAX : p[n][i] * scale) - of.x) * of.y;
    }
}

template <class T, int D>
__global__ static void __launch_bounds__(THREADS, KEYS_BLOCKS<T, D>) rows_of_keys(sequences s, tensors x)
{
    constexpr int ROW = NN_CUDA_ROW<T, D>, N = QUERIES<D> / 8, PART = QUERIES<D> * ROW;
    // Keys, values, then stages of (queries, gradient of the output), then the statistics of each.
    NN_SHARED(T, shared);
    const spot at = spot_of(s, s.keys);
    const int own = (int)threadIdx.x / 32 * 16, t = nn_cuda_lane() % 4;
    const float *valid = x.valid ? x.valid + at.row * s.keys : NULL;
    T *k = shared, *v = k + STEP<T, D>, *parts = v + STEP<T, D>;
    float4 *stats = (float4 *)(parts + STAGES<T, D> * 2 * PART);
    const float4 *from = x.stats + (at.row * s.heads + at.head) * s.queries;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    nn_cuda_copies copies;
    auto start = [&](int64_t query, int stage) {
        T *q = parts + 2 * stage * PART;
        fetch<T, D, QUERIES<D>>(copies, s, q, x.q, at.row, at.head, s.queries, s.q_row, query);
        fetch<T, D, QUERIES<D>>(copies, s, q + PART, x.d_out, at.row, at.head, s.queries, s.channels, query);
        for (int i = (int)threadIdx.x; i < QUERIES<D>; i += THREADS) {
            bool exists = query + i < s.queries; // else zeros: probabilities of 0
            nn_cuda_copy16(copies, stats + stage * QUERIES<D> + i, exists ? from + query + i : from, exists);
        }
    };
    auto compute = [&](int64_t query, const T *q, const float4 *of) {
        const unsigned kept = s.drop > 0 ? mask_of_keys<N>(s, x, at, query, at.first + own) : ~0u;
        const float up = 1 / (1 - s.drop);
        float p[N][4], dp[N][4];
        nn_cuda_tile_scores<T, D, N>(p, k + own * ROW, q);
        probabilities<T, N>(s, valid, at.first + own, of, p);
        nn_cuda_tile_scores<T, D, N>(dp, v + own * ROW, q + PART);
        NN_UNROLL
        for (int e = 0; e < 4 * N; e++) {
            const int n = e / 4, i = e % 4;
            const bool keeps = kept >> (4 * n + i) & 1u;
            dp[n][i] = p[n][i] * ((keeps ? dp[n][i] * up : 0) - of[8 * n + 2 * t + i % 2].z);
            if (!keeps) p[n][i] = 0;
        }
        nn_cuda_tile_sum<T, D, N>(dv, p, q + PART);
        nn_cuda_tile_sum<T, D, N>(dk, dp, q);
    };

    fetch<T, D, TILE>(copies, s, k, x.k, at.row, at.head, s.keys, s.kv_row, at.first);
    fetch<T, D, TILE>(copies, s, v, x.v, at.row, at.head, s.keys, s.kv_row, at.first);
    start(0, 0);
    walk<STAGES<T, D>, QUERIES<D>>(copies, s.queries, start, [&](int64_t query, int stage) {
        if (at.first + own < s.keys) compute(query, parts + 2 * stage * PART, stats + stage * QUERIES<D>);
    });
    const float up = 1 / (1 - s.drop);
    store<T, D>(s, x.dk, dk, s.scale, s.scale, k + own * ROW, at.row, at.head, s.keys, s.kv_row, at.first + own,
                x.acc_kv);
    store<T, D>(s, x.dv, dv, up, up, v + own * ROW, at.row, at.head, s.keys, s.kv_row, at.first + own, x.acc_kv);
}

// --- plan time -------------------------------------------------------------------------------------------------------
typedef void kernel(sequences, tensors);

typedef struct state {
    sequences shape;
    kernel *forward, *queries, *keys;
    size_t forward_bytes, queries_bytes, keys_bytes; // of shared memory
} state;

template <class T, int D> static void choose(state *s)
{
    const size_t tile = STEP<T, D> * sizeof(T), stages = STAGES<T, D>;

    s->forward = attention_forward<T, D>;
    s->queries = rows_of_queries<T, D>;
    s->keys = rows_of_keys<T, D>;
    s->forward_bytes = (1 + 2 * stages) * tile;
    s->queries_bytes = (2 + 2 * stages) * tile;
    s->keys_bytes = 2 * tile + stages * QUERIES<D> * (2 * tile / TILE + sizeof(float4));
}
template <class T> static void choose(state *s)
{
    if (s->shape.size <= 32)
        choose<T, 32>(s);
    else if (s->shape.size <= 64)
        choose<T, 64>(s);
    else
        choose<T, 128>(s);
}

static mn_err allow(kernel *k, size_t bytes)
{
    return nn_cuda_allow_shared((const void *)k, bytes, "shared memory of attention");
}

static mn_err prepare(nn_node *n)
{
    const attention_attr *a = (const attention_attr *)n->attr;
    const int64_t channels = mn_last(n->out[0]->shape);

    if (channels / a->heads > 128)
        return mn_fail(MN_ECONFIG, "%s: heads of %lld channels; on a GPU a head has at most 128 (raise model.heads)",
                       n->path, (long long)(channels / a->heads));
    state *s = (state *)mn_calloc(1, sizeof *s);
    n->state = s;
    s->shape.rows = n->in[Q]->shape.d[0];
    s->shape.heads = a->heads;
    s->shape.queries = n->in[Q]->shape.d[1];
    s->shape.keys = n->in[KV] ? n->in[KV]->shape.d[1] : s->shape.queries;
    s->shape.channels = channels;
    s->shape.q_row = mn_last(n->in[Q]->shape);
    s->shape.kv_row = n->in[KV] ? 2 * channels : 3 * channels;
    s->shape.size = (int)(channels / a->heads);
    s->shape.wide = s->shape.size % (n->in[Q]->dtype == MN_BF16 ? 8 : 4) == 0;
    s->shape.scale = 1 / sqrtf((float)s->shape.size);
    s->shape.drop = n->mode == NN_TRAIN ? (float)a->drop : 0;
    s->shape.key = n->key;
    if (n->in[Q]->dtype == MN_BF16)
        choose<nn_bf16>(s);
    else
        choose<float>(s);
    if (n->grad_in) n->work_bytes = (size_t)(s->shape.rows * a->heads * s->shape.queries) * sizeof(float4);
    MN_TRY(allow(s->forward, s->forward_bytes));
    MN_TRY(allow(s->queries, s->queries_bytes));
    return allow(s->keys, s->keys_bytes);
}

static void release(nn_node *n)
{
    free(n->state);
    n->state = NULL;
}

// --- calls -----------------------------------------------------------------------------------------------------------
// Part 0, 1, 2 (q, k, v) of a tensor that holds them, or of the two that do.
static const void *part_of(const nn_call *c, int part, const void *q, const void *kv)
{
    const int64_t channels = mn_last(c->node->out[0]->shape);
    const int64_t skip = c->node->in[KV] ? (part == 2 ? channels : 0) : part * channels;
    const char *x = (const char *)(c->node->in[KV] && part ? kv : q);

    return x ? x + skip * (int64_t)mn_dtype_size(c->node->in[Q]->dtype) : NULL;
}

static tensors tensors_of(const nn_call *c)
{
    const int kv = c->node->in[KV] ? KV : Q;
    tensors x = {};

    x.q = part_of(c, 0, c->in[Q], c->in[KV]);
    x.k = part_of(c, 1, c->in[Q], c->in[KV]);
    x.v = part_of(c, 2, c->in[Q], c->in[KV]);
    x.valid = (const float *)c->in[VALID];
    x.tick = c->tick;
    x.out = c->out[0];
    x.made = c->out[0];
    x.d_out = c->dout[0];
    x.dq = (void *)part_of(c, 0, c->din[Q], c->din[KV]);
    x.dk = (void *)part_of(c, 1, c->din[Q], c->din[KV]);
    x.dv = (void *)part_of(c, 2, c->din[Q], c->din[KV]);
    x.acc_q = nn_cuda_acc(c, Q);
    x.acc_kv = nn_cuda_acc(c, kv);
    x.stats = (float4 *)c->work;
    return x;
}

static unsigned blocks_of(const sequences *s, int64_t steps)
{
    return (unsigned)(s->rows * s->heads * ((steps + TILE - 1) / TILE));
}

static mn_err forward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    const tensors x = tensors_of(c);
    const sequences shape = s->shape;
    kernel *attention = s->forward;

    return NN_LAUNCH(attention, blocks_of(&shape, shape.queries), THREADS, s->forward_bytes, c->stream, shape, x);
}

static mn_err backward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    const tensors x = tensors_of(c);
    const sequences shape = s->shape;
    kernel *queries = s->queries, *keys = s->keys;
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    MN_TRY(NN_LAUNCH(queries, blocks_of(&shape, shape.queries), THREADS, s->queries_bytes, c->stream, shape, x));
    if (!x.dk) return MN_OK;
    return NN_LAUNCH(keys, blocks_of(&shape, shape.keys), THREADS, s->keys_bytes, c->stream, shape, x);
}

extern "C" const nn_kernels nn_cuda_attention = {forward, backward, prepare, release};
