// softmax(q k^T d^-1/2) v over whole sequences. One task is one (row, head): keys and values are read once into tiles,
// then queries pass by in blocks of QUERIES, so that scores take QUERIES rows of keys and never (T, T). Probabilities
// are not stored: backward makes them again, and the dropout mask with them (Philox, keyed by path, global row and
// element (head, query, key)).
//     S = scale Q K^T + mask,  P = softmax(S),  D = drop(P),  O = D V
//     dV = D^T dO,  dP = drop(dO V^T),  dS = P (dP - sum(P dP)),  dQ = scale dS K,  dK = scale dS^T Q
#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/op.h"
#include "nn/ops/rows.h"
#include "nn/ops/tile.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { Q, KV, VALID };
enum { QUERIES = 48 };

typedef struct attention_attr {
    int64_t heads;
    double drop;
} attention_attr;

typedef struct state {
    int64_t rows, heads, size, channels, queries, keys;
    int64_t padded; // keys, to whole registers
    int64_t width;  // size, to whole registers
    float scale, drop;
    size_t tile_bytes; // of one thread
} state;

// The tiles of one thread. Backward only: from v_transposed on.
typedef struct tiles {
    float *q, *out, *p, *k_transposed, *v;
    float *v_transposed, *k, *d_k, *d_v, *dp, *mask, *d_out;
} tiles;

// Lays the tiles out from `at`; returns the floats taken.
static size_t lay_out(const state *s, int backward, float *at, tiles *t)
{
    const int64_t queries = QUERIES * s->width, scores = QUERIES * s->padded;
    const int64_t keys = s->keys * s->width, transposed = s->size * s->padded;
    size_t used = 0;
    float **part[] = {&t->q, &t->out, &t->p,   &t->k_transposed, &t->v,    &t->v_transposed,
                      &t->k, &t->d_k, &t->d_v, &t->dp,           &t->mask, &t->d_out};
    const int64_t floats[] = {queries, queries, scores, transposed, keys,   transposed,
                              keys,    keys,    keys,   scores,     scores, queries};

    for (size_t i = 0; i < (backward ? 12u : 5u); i++) {
        *part[i] = at ? at + used : NULL;
        used += (size_t)floats[i];
    }
    if (!backward && s->drop > 0) {
        t->mask = at ? at + used : NULL;
        used += (size_t)scores;
    }
    return used;
}

static tiles tiles_of(const nn_call *c, const state *s, int backward)
{
    tiles t = {0};

    (void)lay_out(s, backward, (void *)((char *)c->work + s->tile_bytes * (size_t)omp_get_thread_num()), &t);
    return t;
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
MN_SIMD static void mask_keys(float *restrict s, const float *restrict valid, int64_t rows, int64_t keys,
                              int64_t padded)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < keys; j++)
            s[i * padded + j] = valid[j] != 0.0f ? s[i * padded + j] : -FLT_MAX;
}

MN_SIMD static void mask_from_bits(float *restrict mask, const uint32_t *restrict bits, int64_t n, float drop)
{
    const float keep = 1 / (1 - drop);

    for (int64_t i = 0; i < n; i++)
        mask[i] = mn_uniform(bits[i]) >= drop ? keep : 0.0f;
}

MN_SIMD static void multiply(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= x[i];
}

// mask (rows, padded): 0 or 1 / (1 - drop). A query's keys are numbered from a multiple of 4, a block of the generator.
static void draw_mask(const nn_call *c, const state *s, float *mask, int64_t row, int64_t head, int64_t first,
                      int64_t rows)
{
    enum { BLOCKS = 64 };
    const int64_t per_query = (s->keys + 3) / 4;
    uint32_t bits[4 * BLOCKS];

    for (int64_t i = 0; i < rows; i++) {
        const int64_t block = (head * s->queries + first + i) * per_query;
        for (int64_t b = 0; b < per_query; b += BLOCKS) {
            const int64_t n = nn__min(BLOCKS, per_query - b);
            mn_rng_blocks(c->node->key, (uint64_t)(c->tick->first_row + row), c->tick->step, (uint32_t)(block + b), n,
                          bits);
            mask_from_bits(mask + i * s->padded + 4 * b, bits, 4 * n, s->drop);
        }
        for (int64_t j = 4 * per_query; j < s->padded; j++)
            mask[i * s->padded + j] = 0;
    }
}

// Leaves scaled queries in t->q and probabilities in t->p, and the dropout mask in t->mask.
static void probabilities(const nn_call *c, const state *s, const tiles *t, int64_t row, int64_t head, int64_t first,
                          int64_t rows)
{
    const nn__strip q = from_row(strip_of(c, s, row, head, 0), first);

    nn__tile_load(&q, c->in[Q], rows, s->scale, t->q);
    nn__tile_product(&(nn__product){.m = rows,
                                    .n = s->padded,
                                    .k = s->size,
                                    .a = t->q,
                                    .a_row = s->width,
                                    .a_column = 1,
                                    .b = t->k_transposed,
                                    .b_row = s->padded,
                                    .c = t->p,
                                    .c_row = s->padded});
    if (c->in[VALID]) mask_keys(t->p, (const float *)c->in[VALID] + row * s->keys, rows, s->keys, s->padded);
    nn__tile_softmax(t->p, rows, s->keys, s->padded);
    if (s->drop > 0) draw_mask(c, s, t->mask, row, head, first, rows);
}

// c (rows, size) = a (rows, keys) b (keys, size)
static void mix(const state *s, int64_t rows, const float *a, const float *b, float *c)
{
    nn__tile_product(&(nn__product){.m = rows,
                                    .n = s->width,
                                    .k = s->keys,
                                    .a = a,
                                    .a_row = s->padded,
                                    .a_column = 1,
                                    .b = b,
                                    .b_row = s->width,
                                    .c = c,
                                    .c_row = s->width});
}

// c (keys, size) += a^T b with a (rows, keys), b (rows, size)
static void mix_back(const state *s, int64_t rows, const float *a, const float *b, float *c)
{
    nn__tile_product(&(nn__product){.m = s->keys,
                                    .n = s->width,
                                    .k = rows,
                                    .a = a,
                                    .a_row = 1,
                                    .a_column = s->padded,
                                    .b = b,
                                    .b_row = s->width,
                                    .c = c,
                                    .c_row = s->width,
                                    .add = 1});
}

static void forward_block(const nn_call *c, const state *s, const tiles *t, int64_t row, int64_t head, int64_t first)
{
    const int64_t rows = nn__min(QUERIES, s->queries - first);
    const nn__strip o = from_row(strip_of_output(c, s, row, head), first);

    probabilities(c, s, t, row, head, first, rows);
    if (s->drop > 0) multiply(t->p, t->mask, rows * s->padded);
    mix(s, rows, t->p, t->v, t->out);
    nn__tile_store(&o, c->out[0], rows, 1, t->out, 0);
}

static void backward_block(const nn_call *c, const state *s, const tiles *t, int64_t row, int64_t head, int64_t first)
{
    const int64_t rows = nn__min(QUERIES, s->queries - first);
    const nn__strip o = from_row(strip_of_output(c, s, row, head), first);
    const nn__strip q = from_row(strip_of(c, s, row, head, 0), first);

    probabilities(c, s, t, row, head, first, rows);
    nn__tile_load(&o, c->dout[0], rows, 1, t->d_out);
    nn__tile_product(&(nn__product){.m = rows,
                                    .n = s->padded,
                                    .k = s->size,
                                    .a = t->d_out,
                                    .a_row = s->width,
                                    .a_column = 1,
                                    .b = t->v_transposed,
                                    .b_row = s->padded,
                                    .c = t->dp,
                                    .c_row = s->padded});
    if (s->drop > 0) multiply(t->dp, t->mask, rows * s->padded);
    nn__tile_d_softmax(t->p, t->dp, rows, s->padded);
    if (c->din[Q]) {
        mix(s, rows, t->dp, t->k, t->out);
        nn__tile_store(&q, c->din[Q], rows, s->scale, t->out, nn__acc(c, Q));
    }
    if (s->drop > 0) multiply(t->p, t->mask, rows * s->padded);
    mix_back(s, rows, t->p, t->d_out, t->d_v);
    mix_back(s, rows, t->dp, t->q, t->d_k); // q carries the scale
}

// --- kernels ----------------------------------------------------------------------------------------------------------
static mn_err forward(const nn_call *c)
{
    const state *s = c->node->state;

#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < s->rows * s->heads; task++) {
        const int64_t row = task / s->heads, head = task % s->heads;
        const nn__strip k = strip_of(c, s, row, head, 1), v = strip_of(c, s, row, head, 2);
        const tiles t = tiles_of(c, s, 0);
        nn__tile_load_transposed(&k, source(c, 1), s->keys, t.k_transposed);
        nn__tile_load(&v, source(c, 2), s->keys, 1, t.v);
        for (int64_t first = 0; first < s->queries; first += QUERIES)
            forward_block(c, s, &t, row, head, first);
    }
    return MN_OK;
}

static void backward_head(const nn_call *c, const state *s, const tiles *t, int64_t row, int64_t head)
{
    const nn__strip k = strip_of(c, s, row, head, 1), v = strip_of(c, s, row, head, 2);
    const int to = c->node->in[KV] ? KV : Q;

    nn__tile_load_transposed(&k, source(c, 1), s->keys, t->k_transposed);
    nn__tile_load_transposed(&v, source(c, 2), s->keys, t->v_transposed);
    nn__tile_load(&k, source(c, 1), s->keys, 1, t->k);
    memset(t->d_k, 0, (size_t)(s->keys * s->width) * sizeof(float));
    memset(t->d_v, 0, (size_t)(s->keys * s->width) * sizeof(float));
    for (int64_t first = 0; first < s->queries; first += QUERIES)
        backward_block(c, s, t, row, head, first);
    if (!c->din[to]) return;
    nn__tile_store(&k, c->din[to], s->keys, 1, t->d_k, nn__acc(c, to));
    nn__tile_store(&v, c->din[to], s->keys, 1, t->d_v, nn__acc(c, to));
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < s->rows * s->heads; task++) {
        const tiles t = tiles_of(c, s, 1);
        backward_head(c, s, &t, task / s->heads, task % s->heads);
    }
    return MN_OK;
}

// --- plan time --------------------------------------------------------------------------------------------------------
static mn_err prepare(nn_node *n)
{
    const attention_attr *a = n->attr;
    const mn_shape q = n->in[Q]->shape;
    state *s = n->state = mn_calloc(1, sizeof *s);
    tiles none = {0};

    s->rows = q.d[0];
    s->queries = q.d[1];
    s->keys = n->in[KV] ? n->in[KV]->shape.d[1] : s->queries;
    s->heads = a->heads;
    s->channels = mn_last(n->out[0]->shape);
    s->size = s->channels / s->heads;
    s->width = nn__pad16(s->size);
    s->padded = nn__pad16(s->keys);
    s->scale = 1 / sqrtf((float)s->size);
    s->drop = n->mode == NN_TRAIN ? (float)a->drop : 0;
    s->tile_bytes = lay_out(s, n->grad_in != 0, NULL, &none) * sizeof(float);
    s->tile_bytes = (s->tile_bytes + 63) / 64 * 64;
    n->work_bytes = s->tile_bytes * (size_t)omp_get_max_threads();
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
    if (a->drop > 0 && a->heads * q.d[1] * ((keys + 3) / 4) > (int64_t)UINT32_MAX)
        return nn_bad_shape(n, "sequences are too long for dropout");
    nn_set_out(n, 0, n->in[Q]->dtype, MN_SHAPE(q.d[0], q.d[1], channels));
    return MN_OK;
}

const nn_op nn_op_attention = {
    .name = "attention",
    .attr_bytes = sizeof(attention_attr),
    .bwd_reads_in = 1u << Q | 1u << KV | 1u << VALID,
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
