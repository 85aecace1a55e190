// Attention inside windows (Liu et al. 2021, Swin), as one op: the cyclic shift and the partition are an index list,
// the relative bias and the -100 mask are added in the tile (nn/ops/head.h), probabilities exist only there.
// A tile is one (row, window, head). Tasks are (block of windows, head), so that what a head sums over all windows, the
// gradient of its bias, is made in blocks and added in index order: the same on any number of threads.
#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/head.h"
#include "nn/ops/math.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { QKV, TABLE };

// What every kernel call needs, made once.
typedef struct state {
    int64_t rows, windows, tokens, heads, size, channels; // tokens: of a window; size: of a head
    int64_t blocks;                                       // of (row, window) pairs
    int64_t padded;                                       // tokens, to whole registers
    float scale;
    int threads;          // that have tiles
    int32_t *index;       // (windows, tokens): position in the map
    int32_t *label;       // (windows, padded): region of the shifted map; keys of another region are masked
    unsigned char *mixed; // (windows): more than one label
    int32_t *relative;    // (tokens, tokens): row of the table for a key and a query
    // Workspace: bias (heads, tokens, padded), its gradient (blocks, heads, tokens, padded), tiles (threads, ...).
    size_t at_d_bias, at_tiles, tile_bytes;
} state;

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

// --- one tile -----------------------------------------------------------------------------------------------------------
static nn__head head_of(const nn_call *c, const state *s, const nn__head_cfg *cfg)
{
    nn__head h;

    (void)nn__head_place(&h, cfg, (char *)c->work + s->at_tiles + s->tile_bytes * (size_t)omp_get_thread_num());
    return h;
}

static nn__head_cfg head_cfg(const nn_node *n, const state *s, int backward)
{
    return (nn__head_cfg){
        .keys = s->tokens, .queries = s->tokens, .size = s->size, .type = n->in[QKV]->dtype, .backward = backward};
}

// Loads keys and values, and says what the queries are and how they are scored.
static nn__head_block block_of(const nn_call *c, const state *s, nn__head *h, int64_t item, int64_t head)
{
    const nn__strip k = strip_of(c, s, item, head, 1), v = strip_of(c, s, item, head, 2);
    const int64_t window = item % s->windows;

    nn__head_keys(h, &k, c->in[QKV], &v, c->in[QKV]);
    return (nn__head_block){.rows = s->tokens,
                            .q = strip_of(c, s, item, head, 0),
                            .q_from = c->in[QKV],
                            .scores = {.scale = s->scale,
                                       .bias = (const float *)c->work + head * s->tokens * s->padded,
                                       .label = s->mixed[window] ? s->label + window * s->padded : NULL}};
}

static void forward_tile(const nn_call *c, const state *s, nn__head *h, int64_t item, int64_t head)
{
    const nn__strip o = strip_of_output(c, s, item, head);
    const nn__head_block block = block_of(c, s, h, item, head);

    nn__head_forward(h, &block);
    nn__tile_store(&o, c->out[0], s->tokens, 1, h->out, 0);
}

MN_SIMD static void add_rows(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void put(const nn_call *c, const state *s, int64_t item, int64_t head, int part, float scale, const float *x)
{
    const nn__strip strip = strip_of(c, s, item, head, part);

    nn__tile_store(&strip, c->din[QKV], s->tokens, scale, x, nn__acc(c, QKV));
}

static void backward_tile(const nn_call *c, const state *s, nn__head *h, int64_t item, int64_t head, float *d_bias)
{
    const nn__strip o = strip_of_output(c, s, item, head);
    const nn__head_block block = block_of(c, s, h, item, head);

    nn__head_backward(h, &block, &o, c->dout[0], 1);
    if (d_bias) add_rows(d_bias, h->d_s, s->tokens * s->padded);
    if (!c->din[QKV]) return;
    put(c, s, item, head, 0, s->scale, h->out);
    put(c, s, item, head, 1, s->scale, h->d_k);
    put(c, s, item, head, 2, 1, h->d_v);
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
        for (int64_t i = 0; i < s->tokens; i++)
            bias[r * s->padded + i] = table[relative[i] * s->heads + head];
        for (int64_t i = s->tokens; i < s->padded; i++)
            bias[r * s->padded + i] = 0;
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
        for (int64_t j = 0; j < s->tokens; j++)
            for (int64_t i = 0; i < s->tokens; i++)
                d[s->relative[j * s->tokens + i] * s->heads + head] += sum[j * s->padded + i];
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
    const nn__head_cfg cfg = head_cfg(c->node, s, 0);

    expand_bias(c, s);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t task = 0; task < s->blocks * s->heads; task++) {
        const int64_t block = task / s->heads, head = task % s->heads;
        nn__head h = head_of(c, s, &cfg);
        const int64_t end = first_item(s, block + 1);
        for (int64_t item = first_item(s, block); item < end; item++)
            forward_tile(c, s, &h, item, head);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;
    const nn__head_cfg cfg = head_cfg(c->node, s, 1);

    if (nn__no_gradient(c)) return MN_OK;
    expand_bias(c, s);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t task = 0; task < s->blocks * s->heads; task++) {
        const int64_t block = task / s->heads, head = task % s->heads;
        nn__head h = head_of(c, s, &cfg);
        float *d_bias = c->din[TABLE] ? d_bias_of(c, s, block, head) : NULL;
        if (d_bias) memset(d_bias, 0, (size_t)(s->tokens * s->padded) * sizeof *d_bias);
        const int64_t end = first_item(s, block + 1);
        for (int64_t item = first_item(s, block); item < end; item++)
            backward_tile(c, s, &h, item, head, d_bias);
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

    for (int64_t j = 0; j < s->tokens; j++)
        for (int64_t i = 0; i < s->tokens; i++)
            s->relative[j * s->tokens + i] = (int32_t)((i / w - j / w + w - 1) * span + i % w - j % w + w - 1);
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
    s->threads = omp_get_max_threads();
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
    const nn__head_cfg cfg = head_cfg(n, s, n->grad_in != 0);
    nn__head none;
    s->tile_bytes = nn__head_place(&none, &cfg, NULL);
    n->work_bytes = s->at_tiles + s->tile_bytes * (size_t)s->threads;
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
