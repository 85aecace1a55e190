// Attention inside windows (Liu et al. 2021, Swin), as one op: the cyclic shift and the partition are an index list,
// the relative bias and the -100 mask are added in the tile, probabilities exist only in the tile.
// A tile is one (row, window, head). Tasks are (block of windows, head), so that what a head sums over all windows, the
// gradient of its bias, is made in blocks and added in index order: the same on any number of threads.
//     S = scale Q K^T + bias[query - key] + mask,  P = softmax(S),  O = P V
//     dV = P^T dO,  dS = P (dO V^T - sum(P dO V^T)),  dQ = scale dS K,  dK = scale dS^T Q,  dbias = sum dS
#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/op.h"
#include "nn/ops/math.h"
#include "nn/ops/rows.h"
#include "nn/ops/tile.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { QKV, TABLE };

typedef struct window_attr {
    int64_t height, width, heads, window, shift;
} window_attr;

// What every kernel call needs, made once.
typedef struct state {
    int64_t rows, windows, tokens, heads, size, channels; // tokens: of a window; size: of a head
    int64_t blocks;                                       // of (row, window) pairs
    int64_t padded;                                       // tokens, to whole registers
    float scale;
    int32_t *index;       // (windows, tokens): position in the map
    int32_t *label;       // (windows, padded): region of the shifted map; keys of another region are masked
    unsigned char *mixed; // (windows): more than one label
    int32_t *relative;    // (tokens, tokens): row of the table
    // Workspace: bias (heads, tokens, padded), its gradient (blocks, heads, tokens, padded), tiles (threads, ...).
    size_t at_d_bias, at_tiles, tile_bytes;
} state;

// The tiles of one thread.
typedef struct tiles {
    float *q, *k, *v, *k_transposed, *v_transposed, *p, *dp, *out;
} tiles;

static size_t tile_floats(const state *s)
{
    const int64_t by_size = nn__pad16(s->size) * s->tokens, by_token = s->padded * s->size;

    return (size_t)(4 * by_size + 2 * by_token + 2 * s->padded * s->tokens);
}

static tiles tiles_of(const state *s, const nn_call *c)
{
    const int64_t by_size = nn__pad16(s->size) * s->tokens, by_token = s->padded * s->size;
    float *at = (void *)((char *)c->work + s->at_tiles + s->tile_bytes * (size_t)omp_get_thread_num());
    tiles t = {.q = at, .k = at + by_size, .v = at + 2 * by_size, .out = at + 3 * by_size};

    at += 4 * by_size;
    t.k_transposed = at;
    t.v_transposed = at + by_token;
    t.p = at + 2 * by_token;
    t.dp = t.p + s->padded * s->tokens;
    return t;
}

// --- strips of a window -----------------------------------------------------------------------------------------------
// The head's columns of q (part 0), k (1) or v (2); item = row * windows + window.
static nn__strip strip_of(const nn_call *c, const state *s, int64_t item, int64_t head, int part)
{
    const int64_t row = item / s->windows, window = item % s->windows, map = s->windows * s->tokens;

    return (nn__strip){.type = c->node->in[QKV]->dtype,
                       .at = row * map * 3 * s->channels + part * s->channels + head * s->size,
                       .stride = 3 * s->channels,
                       .n = s->size,
                       .index = s->index + window * s->tokens};
}

static nn__strip strip_of_output(const nn_call *c, const state *s, int64_t item, int64_t head)
{
    const int64_t row = item / s->windows, window = item % s->windows, map = s->windows * s->tokens;

    return (nn__strip){.type = c->node->out[0]->dtype,
                       .at = row * map * s->channels + head * s->size,
                       .stride = s->channels,
                       .n = s->size,
                       .index = s->index + window * s->tokens};
}

// --- one tile ---------------------------------------------------------------------------------------------------------
// s += bias, and -100 where query and key lie in different regions (label NULL: one region).
MN_SIMD static void add_bias(float *restrict s, const float *restrict bias, const int32_t *restrict label,
                             int64_t tokens, int64_t padded)
{
    for (int64_t i = 0; i < tokens; i++) {
        for (int64_t j = 0; j < padded; j++)
            s[i * padded + j] += bias[i * padded + j];
        for (int64_t j = 0; label && j < padded; j++)
            s[i * padded + j] += label[j] != label[i] ? -100.0f : 0.0f;
    }
}

// Loads q (scaled) and k, and leaves the probabilities in t->p.
static void probabilities(const nn_call *c, const state *s, const tiles *t, int64_t item, int64_t head)
{
    const nn__strip q = strip_of(c, s, item, head, 0), k = strip_of(c, s, item, head, 1);
    const int64_t window = item % s->windows;
    const float *bias = (const float *)c->work + head * s->tokens * s->padded;

    nn__tile_load(&q, c->in[QKV], s->tokens, s->scale, t->q);
    nn__tile_load_transposed(&k, c->in[QKV], s->tokens, t->k_transposed);
    nn__tile_product(&(nn__product){.m = s->tokens,
                                    .n = s->padded,
                                    .k = s->size,
                                    .a = t->q,
                                    .a_row = nn__pad16(s->size),
                                    .a_column = 1,
                                    .b = t->k_transposed,
                                    .b_row = s->padded,
                                    .c = t->p,
                                    .c_row = s->padded});
    add_bias(t->p, bias, s->mixed[window] ? s->label + window * s->padded : NULL, s->tokens, s->padded);
    nn__tile_softmax(t->p, s->tokens, s->tokens, s->padded);
}

// c (tokens, size) = a b with a (tokens, tokens) or its transpose, b (tokens, size).
static void mix(const state *s, const float *a, int transposed, const float *b, float *c)
{
    const int64_t width = nn__pad16(s->size);

    nn__tile_product(&(nn__product){.m = s->tokens,
                                    .n = width,
                                    .k = s->tokens,
                                    .a = a,
                                    .a_row = transposed ? 1 : s->padded,
                                    .a_column = transposed ? s->padded : 1,
                                    .b = b,
                                    .b_row = width,
                                    .c = c,
                                    .c_row = width});
}

static void forward_tile(const nn_call *c, const state *s, const tiles *t, int64_t item, int64_t head)
{
    const nn__strip v = strip_of(c, s, item, head, 2), o = strip_of_output(c, s, item, head);

    probabilities(c, s, t, item, head);
    nn__tile_load(&v, c->in[QKV], s->tokens, 1, t->v);
    mix(s, t->p, 0, t->v, t->out);
    nn__tile_store(&o, c->out[0], s->tokens, 1, t->out, 0);
}

static void put(const nn_call *c, const state *s, const tiles *t, int64_t item, int64_t head, int part, float scale)
{
    const nn__strip strip = strip_of(c, s, item, head, part);

    nn__tile_store(&strip, c->din[QKV], s->tokens, scale, t->out, nn__acc(c, QKV));
}

MN_SIMD static void add_rows(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void backward_tile(const nn_call *c, const state *s, const tiles *t, int64_t item, int64_t head, float *d_bias)
{
    const nn__strip k = strip_of(c, s, item, head, 1), v = strip_of(c, s, item, head, 2);
    const nn__strip o = strip_of_output(c, s, item, head);
    float *d_out = t->v; // (tokens, size): v itself is needed as a transpose only

    probabilities(c, s, t, item, head);
    nn__tile_load(&o, c->dout[0], s->tokens, 1, d_out);
    nn__tile_load_transposed(&v, c->in[QKV], s->tokens, t->v_transposed);
    nn__tile_product(&(nn__product){.m = s->tokens,
                                    .n = s->padded,
                                    .k = s->size,
                                    .a = d_out,
                                    .a_row = nn__pad16(s->size),
                                    .a_column = 1,
                                    .b = t->v_transposed,
                                    .b_row = s->padded,
                                    .c = t->dp,
                                    .c_row = s->padded});
    nn__tile_d_softmax(t->p, t->dp, s->tokens, s->padded);
    if (d_bias) add_rows(d_bias, t->dp, s->tokens * s->padded);
    if (!c->din[QKV]) return;
    mix(s, t->p, 1, d_out, t->out);
    put(c, s, t, item, head, 2, 1);
    nn__tile_load(&k, c->in[QKV], s->tokens, 1, t->k);
    mix(s, t->dp, 0, t->k, t->out);
    put(c, s, t, item, head, 0, s->scale);
    mix(s, t->dp, 1, t->q, t->out);
    put(c, s, t, item, head, 1, 1); // q carries the scale
}

// --- bias -------------------------------------------------------------------------------------------------------------
static void expand_bias(const nn_call *c, const state *s)
{
    const float *table = c->in[TABLE];
    float *bias = c->work;

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < s->heads * s->tokens; r++) {
        const int64_t head = r / s->tokens;
        const int32_t *relative = s->relative + r % s->tokens * s->tokens;
        for (int64_t j = 0; j < s->tokens; j++)
            bias[r * s->padded + j] = table[relative[j] * s->heads + head];
        for (int64_t j = s->tokens; j < s->padded; j++)
            bias[r * s->padded + j] = 0;
    }
}

static float *d_bias_of(const nn_call *c, const state *s, int64_t block, int64_t head)
{
    float *all = (void *)((char *)c->work + s->at_d_bias);

    return all + (block * s->heads + head) * s->tokens * s->padded;
}

// d table (relative, head) (+)= the sum over blocks, then over all pairs of tokens that lie so.
static void collect_table(const nn_call *c, const state *s)
{
    const int64_t entries = mn_count(c->node->in[TABLE]->shape) / s->heads;
    float *d = c->din[TABLE];

#pragma omp parallel for schedule(static)
    for (int64_t head = 0; head < s->heads; head++) {
        float *sum = d_bias_of(c, s, 0, head);
        for (int64_t b = 1; b < s->blocks; b++)
            add_rows(sum, d_bias_of(c, s, b, head), s->tokens * s->padded);
        for (int64_t e = 0; e < entries && !nn__acc(c, TABLE); e++)
            d[e * s->heads + head] = 0;
        for (int64_t i = 0; i < s->tokens; i++)
            for (int64_t j = 0; j < s->tokens; j++)
                d[s->relative[i * s->tokens + j] * s->heads + head] += sum[i * s->padded + j];
    }
}

// --- kernels ----------------------------------------------------------------------------------------------------------
static int64_t first_item(const state *s, int64_t block)
{
    return s->rows * s->windows * block / s->blocks;
}

static mn_err forward(const nn_call *c)
{
    const state *s = c->node->state;

    expand_bias(c, s);
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < s->blocks * s->heads; task++) {
        const int64_t block = task / s->heads, head = task % s->heads;
        const tiles t = tiles_of(s, c);
        for (int64_t item = first_item(s, block); item < first_item(s, block + 1); item++)
            forward_tile(c, s, &t, item, head);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;

    if (nn__no_gradient(c)) return MN_OK;
    expand_bias(c, s);
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < s->blocks * s->heads; task++) {
        const int64_t block = task / s->heads, head = task % s->heads;
        const tiles t = tiles_of(s, c);
        float *d_bias = c->din[TABLE] ? d_bias_of(c, s, block, head) : NULL;
        if (d_bias) memset(d_bias, 0, (size_t)(s->tokens * s->padded) * sizeof *d_bias);
        for (int64_t item = first_item(s, block); item < first_item(s, block + 1); item++)
            backward_tile(c, s, &t, item, head, d_bias);
    }
    if (c->din[TABLE]) collect_table(c, s);
    return MN_OK;
}

// --- plan time --------------------------------------------------------------------------------------------------------
// Regions of the shifted map: cut at size - window and size - shift, on each axis.
static int32_t region(int64_t at, int64_t size, const window_attr *a)
{
    return a->shift == 0 || at < size - a->window ? 0 : at < size - a->shift ? 1 : 2;
}

static void place_windows(state *s, const window_attr *a)
{
    const int64_t across = a->width / a->window;

    for (int64_t w = 0; w < s->windows; w++) {
        for (int64_t i = 0; i < s->tokens; i++) {
            const int64_t y = w / across * a->window + i / a->window, x = w % across * a->window + i % a->window;
            const int64_t from_y = (y + a->shift) % a->height, from_x = (x + a->shift) % a->width;
            s->index[w * s->tokens + i] = (int32_t)(from_y * a->width + from_x);
            s->label[w * s->padded + i] = 3 * region(y, a->height, a) + region(x, a->width, a);
            if (s->label[w * s->padded + i] != s->label[w * s->padded]) s->mixed[w] = 1;
        }
    }
}

static void place_pairs(state *s, const window_attr *a)
{
    const int64_t w = a->window, span = 2 * w - 1;

    for (int64_t i = 0; i < s->tokens; i++)
        for (int64_t j = 0; j < s->tokens; j++)
            s->relative[i * s->tokens + j] = (int32_t)((i / w - j / w + w - 1) * span + (i % w - j % w + w - 1));
}

static size_t align_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static mn_err prepare(nn_node *n)
{
    const window_attr *a = n->attr;
    state *s = n->state = mn_calloc(1, sizeof *s);

    s->rows = n->in[QKV]->shape.d[0];
    s->tokens = a->window * a->window;
    s->windows = a->height * a->width / s->tokens;
    s->heads = a->heads;
    s->channels = mn_last(n->out[0]->shape);
    s->size = s->channels / s->heads;
    s->padded = nn__pad16(s->tokens);
    s->blocks = nn__blocks(s->rows * s->windows);
    s->scale = 1 / sqrtf((float)s->size);
    s->index = mn_calloc((size_t)(s->windows * s->tokens), sizeof *s->index);
    s->label = mn_calloc((size_t)(s->windows * s->padded), sizeof *s->label);
    s->mixed = mn_calloc((size_t)s->windows, 1);
    s->relative = mn_calloc((size_t)(s->tokens * s->tokens), sizeof *s->relative);
    place_windows(s, a);
    place_pairs(s, a);

    const size_t bias_bytes = (size_t)(s->heads * s->tokens * s->padded) * sizeof(float);
    s->at_d_bias = align_up(bias_bytes);
    s->at_tiles = s->at_d_bias + (n->grad_in & 1u << TABLE ? align_up((size_t)s->blocks * bias_bytes) : 0);
    s->tile_bytes = align_up(tile_floats(s) * sizeof(float));
    n->work_bytes = s->at_tiles + s->tile_bytes * (size_t)omp_get_max_threads();
    return MN_OK;
}

static void release(nn_node *n)
{
    state *s = n->state;

    if (!s) return;
    free(s->index);
    free(s->label);
    free(s->mixed);
    free(s->relative);
    free(s);
    n->state = NULL;
}

static mn_err shape(nn_node *n)
{
    const window_attr *a = n->attr;
    const mn_shape x = n->in[QKV]->shape;
    const int64_t span = 2 * a->window - 1;

    MN_TRY(nn__want_activation(n, QKV));
    MN_TRY(nn__want_dims(n, QKV, 3));
    if (a->window < 1 || a->height % a->window || a->width % a->window || x.d[1] != a->height * a->width)
        return nn_bad_shape(n, "windows of %lld do not divide %lld x %lld tokens", (long long)a->window,
                            (long long)a->height, (long long)a->width);
    if (a->shift < 0 || a->shift >= a->window) return nn_bad_shape(n, "the shift must be in [0, window)");
    if (a->heads < 1 || x.d[2] % (3 * a->heads))
        return nn_bad_shape(n, "%lld channels are not q, k and v of %lld heads", (long long)x.d[2],
                            (long long)a->heads);
    MN_TRY(nn__want(n, TABLE, MN_F32, span * span * a->heads));
    nn_set_out(n, 0, n->in[QKV]->dtype, MN_SHAPE(x.d[0], x.d[1], x.d[2] / 3));
    return MN_OK;
}

const nn_op nn_op_window_attention = {
    .name = "window_attention",
    .attr_bytes = sizeof(window_attr),
    .bwd_reads_in = 1u << QKV | 1u << TABLE,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare, .release = release},
};

nn_tensor *nn_window_attention(nn_graph *g, nn_tensor *qkv, const nn_window_cfg *cfg, const char *name)
{
    const int64_t span = 2 * cfg->window - 1;
    const nn_param_spec table = {
        .shape = MN_SHAPE(span * span, cfg->heads), .init = NN_INIT_TRUNC_NORMAL, .no_decay = 1, .f32 = 1};
    const window_attr attr = {cfg->height, cfg->width, cfg->heads, cfg->window, cfg->shift};
    nn_tensor *inputs[2] = {qkv, nn_param_get(g, name, &table)};

    return nn_emit(g, &nn_op_window_attention, name, 2, inputs, &attr);
}
