// softmax(q k^T d^-1/2) v over whole sequences. One task is one (row, head): keys and values are read once into tiles
// (nn/ops/head.h), then queries pass by in blocks, so that scores take one block of queries and never (T, T).
// Probabilities are not stored: backward makes them again, and the dropout mask with them (Philox, keyed by path, global
// row, step and element).
#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/head.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { Q, KV, VALID };
enum { QUERIES = 48 }; // of a block

typedef struct state {
    int64_t rows, heads, size, channels, queries, keys;
    float scale, drop;
    int threads;              // that have tiles
    size_t head_bytes, bytes; // of one thread: its tiles, and with the dropout mask of a block
} state;

static nn__head_cfg head_cfg(const nn_node *n, const state *s, int backward)
{
    return (nn__head_cfg){.keys = s->keys,
                          .queries = nn__min(QUERIES, s->queries),
                          .size = s->size,
                          .type = n->in[Q]->dtype,
                          .backward = backward};
}

static char *memory_of(const nn_call *c, const state *s)
{
    return (char *)c->work + s->bytes * (size_t)omp_get_thread_num();
}

// --- strips -----------------------------------------------------------------------------------------------------------
// A head's columns: of q, k or v (part 0, 1, 2), which lie together or in two tensors.
static nn__strip strip_of(const nn_call *c, const state *s, int64_t row, int64_t head, int part)
{
    const int together = c->node->in[KV] == NULL;
    const int64_t parts = together ? 3 : part ? 2 : 1, steps = part ? s->keys : s->queries;
    const int64_t column = together || !part ? part : part - 1;

    return (nn__strip){.type = c->node->in[Q]->dtype,
                       .at = row * steps * parts * s->channels + column * s->channels + head * s->size,
                       .stride = parts * s->channels,
                       .n = s->size};
}

static nn__strip strip_of_output(const nn_call *c, const state *s, int64_t row, int64_t head)
{
    return (nn__strip){.type = c->node->out[0]->dtype,
                       .at = row * s->queries * s->channels + head * s->size,
                       .stride = s->channels,
                       .n = s->size};
}

static nn__strip from_row(nn__strip s, int64_t first)
{
    s.at += first * s.stride;
    return s;
}

static const void *source(const nn_call *c, int part)
{
    return part && c->node->in[KV] ? c->in[KV] : c->in[Q];
}

// --- one block of queries ---------------------------------------------------------------------------------------------
MN_SIMD static void mask_from_bits(float *restrict mask, const uint32_t *restrict bits, int64_t n, float drop)
{
    const float keep = 1 / (1 - drop);

    for (int64_t i = 0; i < n; i++)
        mask[i] = mn_uniform(bits[i]) >= drop ? keep : 0.0f;
}

// mask (keys, pad16(rows)). Elements of a row of the batch are numbered (head, key, query), queries from a multiple of
// four, which is a block of the generator; so is QUERIES.
static void draw_mask(const nn_call *c, const state *s, float *mask, int64_t row, int64_t head, int64_t first,
                      int64_t rows)
{
    const int64_t per_key = (s->queries + 3) / 4, blocks = (rows + 3) / 4, across = nn__pad16(rows);
    uint32_t bits[QUERIES];

    for (int64_t j = 0; j < s->keys; j++, mask += across) {
        const int64_t block = (head * s->keys + j) * per_key + first / 4;
        mn_rng_blocks(c->node->key, (uint64_t)(c->tick->first_row + row), c->tick->step, (uint32_t)block, blocks, bits);
        mask_from_bits(mask, bits, 4 * blocks, s->drop);
        for (int64_t i = 4 * blocks; i < across; i++)
            mask[i] = 0;
    }
}

static nn__head_block block_of(const nn_call *c, const state *s, int64_t row, int64_t head, int64_t first)
{
    const float *valid = c->in[VALID];
    float *mask = (void *)(memory_of(c, s) + s->head_bytes);
    const nn__head_block b = {.rows = nn__min(QUERIES, s->queries - first),
                              .q = from_row(strip_of(c, s, row, head, 0), first),
                              .q_from = c->in[Q],
                              .scores = {.scale = s->scale, .valid = valid ? valid + row * s->keys : NULL},
                              .drop = s->drop > 0 ? mask : NULL};

    if (b.drop) draw_mask(c, s, mask, row, head, first, b.rows);
    return b;
}

static void forward_head(const nn_call *c, const state *s, nn__head *h, int64_t row, int64_t head)
{
    const nn__strip k = strip_of(c, s, row, head, 1), v = strip_of(c, s, row, head, 2);

    nn__head_keys(h, &k, source(c, 1), &v, source(c, 2));
    for (int64_t first = 0; first < s->queries; first += QUERIES) {
        const nn__head_block b = block_of(c, s, row, head, first);
        const nn__strip o = from_row(strip_of_output(c, s, row, head), first);
        nn__head_forward(h, &b);
        nn__tile_store(&o, c->out[0], b.rows, 1, h->out, 0);
    }
}

static void backward_head(const nn_call *c, const state *s, nn__head *h, int64_t row, int64_t head)
{
    const nn__strip k = strip_of(c, s, row, head, 1), v = strip_of(c, s, row, head, 2);
    const int to = c->node->in[KV] ? KV : Q;

    nn__head_keys(h, &k, source(c, 1), &v, source(c, 2));
    for (int64_t first = 0; first < s->queries; first += QUERIES) {
        const nn__head_block b = block_of(c, s, row, head, first);
        const nn__strip o = from_row(strip_of_output(c, s, row, head), first);
        nn__head_backward(h, &b, &o, c->dout[0], first == 0);
        if (c->din[Q]) nn__tile_store(&b.q, c->din[Q], b.rows, s->scale, h->out, nn__acc(c, Q));
    }
    if (!c->din[to]) return;
    nn__tile_store(&k, c->din[to], s->keys, s->scale, h->d_k, nn__acc(c, to));
    nn__tile_store(&v, c->din[to], s->keys, 1, h->d_v, nn__acc(c, to));
}

// --- kernels ----------------------------------------------------------------------------------------------------------
static mn_err forward(const nn_call *c)
{
    const state *s = c->node->state;
    const nn__head_cfg cfg = head_cfg(c->node, s, 0);

#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t task = 0; task < s->rows * s->heads; task++) {
        nn__head h;
        (void)nn__head_place(&h, &cfg, memory_of(c, s));
        forward_head(c, s, &h, task / s->heads, task % s->heads);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;
    const nn__head_cfg cfg = head_cfg(c->node, s, 1);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t task = 0; task < s->rows * s->heads; task++) {
        nn__head h;
        (void)nn__head_place(&h, &cfg, memory_of(c, s));
        backward_head(c, s, &h, task / s->heads, task % s->heads);
    }
    return MN_OK;
}

// --- plan time --------------------------------------------------------------------------------------------------------
static mn_err prepare(nn_node *n)
{
    const attention_attr *a = n->attr;
    const mn_shape q = n->in[Q]->shape;
    state *s = n->state = mn_calloc(1, sizeof *s);
    nn__head none;

    s->rows = q.d[0];
    s->queries = q.d[1];
    s->keys = n->in[KV] ? n->in[KV]->shape.d[1] : s->queries;
    s->heads = a->heads;
    s->channels = mn_last(n->out[0]->shape);
    s->size = s->channels / s->heads;
    s->threads = omp_get_max_threads();
    s->scale = 1 / sqrtf((float)s->size);
    s->drop = n->mode == NN_TRAIN ? (float)a->drop : 0;
    const nn__head_cfg cfg = head_cfg(n, s, n->grad_in != 0);
    s->head_bytes = nn__head_place(&none, &cfg, NULL);
    s->bytes = s->head_bytes + (s->drop > 0 ? (size_t)(s->keys * nn__pad16(cfg.queries)) * sizeof(float) : 0);
    n->work_bytes = s->bytes * (size_t)s->threads;
    return MN_OK;
}

static void release(nn_node *n)
{
    free(n->state);
    n->state = NULL;
}

static mn_err shape(nn_node *n)
{
    const attention_attr *a = n->attr;
    const mn_shape q = n->in[Q]->shape;
    const int64_t parts = n->in[KV] ? 1 : 3;

    MN_TRY(nn__want_activation(n, Q));
    MN_TRY(nn__want_dims(n, Q, 3));
    if (a->heads < 1 || q.d[2] % (parts * a->heads))
        return nn_bad_shape(n, "%lld channels do not make %lld heads", (long long)q.d[2], (long long)a->heads);
    if (a->drop < 0 || a->drop >= 1) return nn_bad_shape(n, "dropout must be in [0, 1)");
    const int64_t channels = q.d[2] / parts, keys = n->in[KV] ? n->in[KV]->shape.d[1] : q.d[1];
    if (n->in[KV]) {
        MN_TRY(nn__want_dims(n, KV, 3));
        MN_TRY(nn__want(n, KV, n->in[Q]->dtype, q.d[0] * keys * 2 * channels));
    }
    if (n->in[VALID]) MN_TRY(nn__want(n, VALID, MN_F32, q.d[0] * keys));
    // Elements of the dropout mask of one row are numbered by 32 bits of blocks of 4.
    if (a->drop > 0 && a->heads * keys * ((q.d[1] + 3) / 4) > (int64_t)UINT32_MAX)
        return nn_bad_shape(n, "sequences are too long for dropout");
    nn_set_out(n, 0, n->in[Q]->dtype, MN_SHAPE(q.d[0], q.d[1], channels));
    return MN_OK;
}

const nn_op nn_op_attention = {
    .name = "attention",
    .attr_bytes = sizeof(attention_attr),
    .bwd_reads_in = 1u << Q | 1u << KV | 1u << VALID,
    .bwd_reads_out = 1, // on a GPU: sum of P dP = dO . O
    .no_grad_in = 1u << VALID,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare, .release = release},
};

nn_tensor *nn_attention(nn_graph *g, nn_tensor *q, nn_tensor *kv, nn_tensor *valid, const nn_attention_cfg *cfg,
                        const char *name)
{
    const attention_attr attr = {.heads = cfg->heads, .drop = (double)cfg->drop};
    nn_tensor *inputs[3] = {q, kv, valid};

    return nn_emit(g, &nn_op_attention, name, 3, inputs, &attr);
}
