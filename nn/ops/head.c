#include "nn/ops/head.h"

#include "nn/base/simd.h"

static size_t take(float **p, char *memory, size_t used, int64_t words)
{
    *p = memory ? (float *)(void *)(memory + used) : NULL;
    return used + ((size_t)words * sizeof(float) + 63) / 64 * 64;
}

size_t nn__head_place(nn__head *h, const nn__head_cfg *cfg, void *memory)
{
    const int pairs = nn__tile_pairs(cfg->type);
    const int64_t width = nn__pad16(cfg->size), row = nn__tile_row(cfg->size, pairs);
    const int64_t across = nn__pad16(cfg->queries), scores = cfg->keys * across;
    size_t n = 0;

    *h = (nn__head){.cfg = *cfg, .pairs = pairs, .width = width};
    n = take(&h->k, memory, n, cfg->keys * row);
    n = take(&h->v, memory, n, cfg->keys * row);
    n = take(&h->q, memory, n, cfg->queries * row);
    n = take(&h->across, memory, n, nn__tile_steps(cfg->size, pairs) * across);
    n = take(&h->p, memory, n, scores);
    n = take(&h->out, memory, n, cfg->queries * width);
    h->v_down = h->v;
    h->k_down = h->k;
    h->q_down = h->q;
    if (pairs) {
        n = take(&h->v_down, memory, n, nn__tile_steps(cfg->keys, 1) * width);
        n = take(&h->packed, memory, n, (cfg->keys + 1) * across / 2);
    }
    if (!cfg->backward) return n;
    n = take(&h->d_out, memory, n, cfg->queries * row);
    n = take(&h->d_s, memory, n, scores);
    n = take(&h->d_k, memory, n, cfg->keys * width);
    n = take(&h->d_v, memory, n, cfg->keys * width);
    h->d_out_down = h->d_out;
    if (!pairs) return n;
    n = take(&h->k_down, memory, n, nn__tile_steps(cfg->keys, 1) * width);
    n = take(&h->q_down, memory, n, nn__tile_steps(cfg->queries, 1) * width);
    return take(&h->d_out_down, memory, n, nn__tile_steps(cfg->queries, 1) * width);
}

void nn__head_keys(nn__head *h, const nn__strip *k, const void *k_from, const nn__strip *v, const void *v_from)
{
    const int64_t keys = h->cfg.keys, size = h->cfg.size;

    nn__tile_load(k, k_from, keys, h->pairs, h->k);
    nn__tile_load(v, v_from, keys, h->pairs, h->v);
    if (!h->pairs) return;
    if (h->cfg.backward)
        nn__tile_interleave(h->k, keys, size, h->k_down);
    else
        nn__tile_interleave(h->v, keys, size, h->v_down);
}

// --- products ---------------------------------------------------------------------------------------------------------
// s (keys, queries) = a b^T, both summed over the channels; b is given as it lies.
static void product_of_rows(nn__head *h, const float *a, const float *b, int64_t rows, float *s)
{
    const int64_t row = nn__tile_row(h->cfg.size, h->pairs), steps = nn__tile_steps(h->cfg.size, h->pairs);
    const int64_t across = nn__pad16(rows);

    nn__tile_transpose(b, rows, row, steps, h->across);
    nn__tile_product(&(nn__product){.m = h->cfg.keys,
                                    .n = across,
                                    .k = steps,
                                    .a = a,
                                    .a_row = row,
                                    .a_column = 1,
                                    .b = h->across,
                                    .b_row = across,
                                    .c = s,
                                    .c_row = across,
                                    .pairs = h->pairs});
}

// out (queries, width) = x^T b, summed over the keys.
static void sum_over_keys(nn__head *h, const float *x, const float *b, int64_t rows, float *out)
{
    const int64_t across = nn__pad16(rows);

    if (h->pairs) nn__tile_pack_columns(x, h->cfg.keys, across, h->packed);
    nn__tile_product(&(nn__product){.m = rows,
                                    .n = h->width,
                                    .k = nn__tile_steps(h->cfg.keys, h->pairs),
                                    .a = h->pairs ? h->packed : x,
                                    .a_row = 1,
                                    .a_column = across,
                                    .b = b,
                                    .b_row = h->width,
                                    .c = out,
                                    .c_row = h->width,
                                    .pairs = h->pairs});
}

// d (keys, width) = or += x b, summed over the queries.
static void sum_over_queries(nn__head *h, const float *x, const float *b, int64_t rows, float *d, int add)
{
    const int64_t across = nn__pad16(rows);

    if (h->pairs) nn__tile_pack_rows(x, h->cfg.keys, across, h->packed);
    nn__tile_product(&(nn__product){.m = h->cfg.keys,
                                    .n = h->width,
                                    .k = nn__tile_steps(rows, h->pairs),
                                    .a = h->pairs ? h->packed : x,
                                    .a_row = h->pairs ? across / 2 : across,
                                    .a_column = 1,
                                    .b = b,
                                    .b_row = h->width,
                                    .c = d,
                                    .c_row = h->width,
                                    .add = add,
                                    .pairs = h->pairs});
}

MN_SIMD static void multiply(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= x[i];
}

// --- blocks -----------------------------------------------------------------------------------------------------------
static void probabilities(nn__head *h, const nn__head_block *b)
{
    nn__scores scores = b->scores;

    scores.keys = h->cfg.keys;
    scores.row = nn__pad16(b->rows);
    nn__tile_load(&b->q, b->q_from, b->rows, h->pairs, h->q);
    product_of_rows(h, h->k, h->q, b->rows, h->p);
    nn__tile_softmax(&scores, h->p);
}

void nn__head_forward(nn__head *h, const nn__head_block *b)
{
    probabilities(h, b);
    if (b->drop) multiply(h->p, b->drop, h->cfg.keys * nn__pad16(b->rows));
    sum_over_keys(h, h->p, h->v_down, b->rows, h->out);
}

void nn__head_backward(nn__head *h, const nn__head_block *b, const nn__strip *d_out, const void *d_out_from, int first)
{
    const int64_t count = h->cfg.keys * nn__pad16(b->rows);

    probabilities(h, b);
    nn__tile_load(d_out, d_out_from, b->rows, h->pairs, h->d_out);
    product_of_rows(h, h->v, h->d_out, b->rows, h->d_s);
    if (b->drop) multiply(h->d_s, b->drop, count);
    nn__tile_d_softmax(h->p, h->d_s, h->cfg.keys, nn__pad16(b->rows));
    if (b->drop) multiply(h->p, b->drop, count);
    if (h->pairs) {
        nn__tile_interleave(h->q, b->rows, h->cfg.size, h->q_down);
        nn__tile_interleave(h->d_out, b->rows, h->cfg.size, h->d_out_down);
    }
    sum_over_queries(h, h->p, h->d_out_down, b->rows, h->d_v, !first);
    sum_over_queries(h, h->d_s, h->q_down, b->rows, h->d_k, !first);
    sum_over_keys(h, h->d_s, h->k_down, b->rows, h->out);
}
