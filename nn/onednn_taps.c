#include "nn/onednn_taps.h"

#include "nn/base/mem.h"
#include "nn/base/simd.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CHUNKS = 8 };

// Taps first .. first + count - 1: at most `stride` of them. oneDNN has its fast products, and those that allocate
// nothing, only for matrices without gaps: the weight is kept chunk by chunk, and a chunk of fewer than `stride` taps is
// gathered.
typedef struct chunk {
    int64_t first, count;
    nn__gemm *forward, *d_x, *d_weight;
} chunk;

struct nn__taps {
    nn__conv_cfg cfg;
    int64_t steps;
    int n_chunks;
    chunk chunk[MAX_CHUNKS];
    // Workspace: the weight as (chunk, out, taps of the chunk, in), gathered taps, then what the products want.
    size_t at_gathered, at_scratch, work_bytes;
};

int nn__taps_suit(const nn__conv_cfg *c)
{
    return c->io == MN_F32 && c->weight == MN_F32 && c->groups == 1 && c->left == 0 && c->right == 0 &&
           c->stride * c->in >= 64 && c->kernel <= MAX_CHUNKS * c->stride;
}

static mn_err make_chunk(nn__taps *t, chunk *k)
{
    const nn__conv_cfg *c = &t->cfg;
    const int64_t width = k->count * c->in;
    const int whole = k->count == c->stride;

    MN_TRY(nn__gemm_new(&k->forward, &(nn__gemm_cfg){.m = t->steps,
                                                     .n = c->out,
                                                     .k = width,
                                                     .b_transposed = 1,
                                                     .bias = c->bias && k->first == 0,
                                                     .add = k->first > 0}));
    if (c->d_x)
        MN_TRY(nn__gemm_new(&k->d_x,
                            &(nn__gemm_cfg){.m = t->steps, .n = width, .k = c->out, .add = whole && k->first > 0}));
    if (c->d_weight)
        MN_TRY(nn__gemm_new(&k->d_weight,
                            &(nn__gemm_cfg){.m = c->out, .n = width, .k = t->steps, .a_transposed = 1, .add = 1}));
    return MN_OK;
}

static size_t most_work(const nn__taps *t)
{
    size_t most = 0;

    for (int i = 0; i < t->n_chunks; i++) {
        const nn__gemm *g[3] = {t->chunk[i].forward, t->chunk[i].d_x, t->chunk[i].d_weight};
        for (int j = 0; j < 3; j++)
            if (nn__gemm_work(g[j]) > most) most = nn__gemm_work(g[j]);
    }
    return most;
}

mn_err nn__taps_new(nn__taps **out, const nn__conv_cfg *cfg)
{
    nn__taps *t = mn_calloc(1, sizeof *t);
    mn_err err = MN_OK;

    t->cfg = *cfg;
    t->steps = (cfg->t - cfg->kernel) / cfg->stride + 1;
    for (int64_t first = 0; first < cfg->kernel; first += cfg->stride) {
        chunk *k = &t->chunk[t->n_chunks++];
        k->first = first;
        k->count = cfg->kernel - first < cfg->stride ? cfg->kernel - first : cfg->stride;
        MN_TRY_OUT(err, make_chunk(t, k));
    }
    t->at_gathered = ((size_t)(cfg->out * cfg->kernel * cfg->in) * sizeof(float) + 63) / 64 * 64;
    t->at_scratch = t->at_gathered;
    if (cfg->kernel % cfg->stride)
        t->at_scratch += ((size_t)(t->steps * (cfg->kernel % cfg->stride) * cfg->in) * sizeof(float) + 63) / 64 * 64;
    t->work_bytes = t->at_scratch + most_work(t);
    *out = t;
    return MN_OK;
out:
    nn__taps_free(t);
    return err;
}

void nn__taps_free(nn__taps *t)
{
    if (!t) return;
    for (int i = 0; i < t->n_chunks; i++) {
        nn__gemm_free(t->chunk[i].forward);
        nn__gemm_free(t->chunk[i].d_x);
        nn__gemm_free(t->chunk[i].d_weight);
    }
    free(t);
}

size_t nn__taps_work(const nn__taps *t)
{
    return t->work_bytes;
}

// --- layouts ----------------------------------------------------------------------------------------------------------
static float *chunk_weight(const nn__taps *t, const chunk *k, float *by_chunk)
{
    return by_chunk + t->cfg.out * k->first * t->cfg.in;
}

// Between (out, in, kernel) and (chunk, out, taps, in).
static void cut_weight(const nn__taps *t, const float *weight, float *by_chunk)
{
    const nn__conv_cfg *c = &t->cfg;

    for (int n = 0; n < t->n_chunks; n++) {
        const chunk *k = &t->chunk[n];
        float *to = chunk_weight(t, k, by_chunk);
#pragma omp parallel for schedule(static)
        for (int64_t o = 0; o < c->out; o++)
            for (int64_t tap = 0; tap < k->count; tap++)
                for (int64_t i = 0; i < c->in; i++)
                    to[(o * k->count + tap) * c->in + i] = weight[(o * c->in + i) * c->kernel + k->first + tap];
    }
}

static void join_weight(const nn__taps *t, float *by_chunk, float *weight)
{
    const nn__conv_cfg *c = &t->cfg;

    for (int n = 0; n < t->n_chunks; n++) {
        const chunk *k = &t->chunk[n];
        const float *from = chunk_weight(t, k, by_chunk);
#pragma omp parallel for schedule(static)
        for (int64_t o = 0; o < c->out; o++)
            for (int64_t tap = 0; tap < k->count; tap++)
                for (int64_t i = 0; i < c->in; i++)
                    weight[(o * c->in + i) * c->kernel + k->first + tap] = from[(o * k->count + tap) * c->in + i];
    }
}

// The chunk's columns of x (t, in), one row a step: where they lie, or gathered.
static const float *taps_of(const nn__taps *t, const chunk *k, const float *x, void *work)
{
    const int64_t width = k->count * t->cfg.in, apart = t->cfg.stride * t->cfg.in;
    float *to = (void *)((char *)work + t->at_gathered);

    x += k->first * t->cfg.in;
    if (width == apart) return x;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < t->steps; s++)
        memcpy(to + s * width, x + s * apart, (size_t)width * sizeof *to);
    return to;
}

MN_SIMD static void add_row(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

// The way back: += into dx.
static void add_taps(const nn__taps *t, const chunk *k, const float *from, float *dx)
{
    const int64_t width = k->count * t->cfg.in, apart = t->cfg.stride * t->cfg.in;

    dx += k->first * t->cfg.in;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < t->steps; s++)
        add_row(dx + s * apart, from + s * width, width);
}

// --- passes -----------------------------------------------------------------------------------------------------------
mn_err nn__taps_forward(nn__taps *t, const float *x, const float *weight, const float *bias, float *y, void *work)
{
    const nn__conv_cfg *c = &t->cfg;

    cut_weight(t, weight, work);
    for (int64_t r = 0; r < c->rows; r++)
        for (int i = 0; i < t->n_chunks; i++) {
            const chunk *k = &t->chunk[i];
            const float *a = taps_of(t, k, x + r * c->t * c->in, work);
            MN_TRY(nn__gemm_run(k->forward, a, chunk_weight(t, k, work), bias, y + r * t->steps * c->out,
                                (char *)work + t->at_scratch));
        }
    return MN_OK;
}

mn_err nn__taps_d_x(nn__taps *t, const float *dy, const float *weight, float *dx, void *work)
{
    const nn__conv_cfg *c = &t->cfg;
    float *gathered = (void *)((char *)work + t->at_gathered);

    cut_weight(t, weight, work);
    for (int64_t r = 0; r < c->rows; r++, dx += c->t * c->in) {
        // The first chunk, when it is whole, writes all but the positions that no window reaches.
        const int64_t covered = c->kernel < c->stride ? 0 : t->steps * c->stride;
        memset(dx + covered * c->in, 0, (size_t)((c->t - covered) * c->in) * sizeof *dx);
        for (int i = 0; i < t->n_chunks; i++) {
            const chunk *k = &t->chunk[i];
            const int whole = k->count == c->stride;
            MN_TRY(nn__gemm_run(k->d_x, dy + r * t->steps * c->out, chunk_weight(t, k, work), NULL,
                                whole ? dx + k->first * c->in : gathered, (char *)work + t->at_scratch));
            if (!whole) add_taps(t, k, gathered, dx);
        }
    }
    return MN_OK;
}

MN_SIMD static void add_columns(const float *restrict x, int64_t rows, int64_t apart, int64_t n, float *restrict sum)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            sum[i] += x[r * apart + i];
}

static void sum_columns(const float *x, int64_t rows, int64_t columns, float *sum)
{
    enum { STRIPE = 64 };
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < columns; at += STRIPE)
        add_columns(x + at, rows, columns, columns - at < STRIPE ? columns - at : STRIPE, sum + at);
}

mn_err nn__taps_d_weight(nn__taps *t, const float *x, const float *dy, float *d_weight, float *d_bias, void *work)
{
    const nn__conv_cfg *c = &t->cfg;
    float *by_chunk = work;

    memset(by_chunk, 0, (size_t)(c->out * c->kernel * c->in) * sizeof *by_chunk);
    for (int64_t r = 0; r < c->rows; r++)
        for (int i = 0; i < t->n_chunks; i++) {
            const chunk *k = &t->chunk[i];
            const float *b = taps_of(t, k, x + r * c->t * c->in, work);
            MN_TRY(nn__gemm_run(k->d_weight, dy + r * t->steps * c->out, b, NULL, chunk_weight(t, k, by_chunk),
                                (char *)work + t->at_scratch));
        }
    join_weight(t, by_chunk, d_weight);
    if (c->bias) sum_columns(dy, c->rows * t->steps, c->out, d_bias);
    return MN_OK;
}
