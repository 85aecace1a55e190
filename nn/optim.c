#include "nn/optim.h"

#include "nn/base/mem.h"
#include "nn/base/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// The unit of work: at most CHUNK elements of one parameter, so that padding between parameters is never touched and a
// partial sum of the norm does not depend on the number of threads.
enum { CHUNK = 8192 };

typedef struct chunk {
    int64_t offset, count;
    double lr_scale, decay;
} chunk;

struct nn_optim {
    nn_optim_cfg cfg;
    nn_params *params;
    float *m, *v; // moments, in arena layout
    size_t bytes; // of each
    int64_t updates;
    chunk *chunk;
    double *square; // by chunk
    int64_t n_chunks;
};

static int trained(const nn_params *ps, const nn_param *p)
{
    return p->offset < nn_params_arenas(ps)->trained && nn_param_grad(ps, p) != NULL;
}

static double lr_scale(const nn_optim_cfg *cfg, const nn_param *p)
{
    if (cfg->layer_decay <= 0) return 1;
    return pow(cfg->layer_decay, cfg->layers - p->spec.layer);
}

static int64_t chunks_of(const nn_param *p)
{
    return (p->count + CHUNK - 1) / CHUNK;
}

static void cut(nn_optim *o)
{
    for (int i = 0; i < nn_params_count(o->params); i++)
        if (trained(o->params, nn_params_at(o->params, i))) o->n_chunks += chunks_of(nn_params_at(o->params, i));
    o->chunk = mn_calloc((size_t)o->n_chunks + 1, sizeof *o->chunk);
    o->square = mn_calloc((size_t)o->n_chunks + 1, sizeof *o->square);

    chunk *to = o->chunk;
    for (int i = 0; i < nn_params_count(o->params); i++) {
        const nn_param *p = nn_params_at(o->params, i);
        if (!trained(o->params, p)) continue;
        double decay = p->spec.no_decay && !o->cfg.decay_all ? 0 : o->cfg.weight_decay;
        for (int64_t at = 0; at < p->count; at += CHUNK) {
            int64_t left = p->count - at;
            *to++ = (chunk){.offset = p->offset + at,
                            .count = left < CHUNK ? left : CHUNK,
                            .lr_scale = lr_scale(&o->cfg, p),
                            .decay = decay};
        }
    }
}

mn_err nn_optim_new(nn_optim **out, nn_params *ps, const nn_optim_cfg *cfg)
{
    const nn_arenas *a = nn_params_arenas(ps);
    nn_optim *o = mn_calloc(1, sizeof *o);
    mn_err err = MN_OK;
    void *m = NULL, *v = NULL;

    o->cfg = *cfg;
    o->params = ps;
    MN_TRY_OUT(err, mn_mul_size((size_t)a->trained, sizeof(float), &o->bytes));
    if (o->bytes) {
        MN_TRY_OUT(err, mn_large_alloc(&m, o->bytes, "the first moments of the optimiser"));
        o->m = m;
        MN_TRY_OUT(err, mn_large_alloc(&v, o->bytes, "the second moments of the optimiser"));
        o->v = v;
        memset(m, 0, o->bytes);
        memset(v, 0, o->bytes);
    }
    cut(o);
    *out = o;
    return MN_OK;
out:
    nn_optim_free(o);
    return err;
}

void nn_optim_free(nn_optim *o)
{
    if (!o) return;
    if (o->m) mn_large_free(o->m, o->bytes);
    if (o->v) mn_large_free(o->v, o->bytes);
    free(o->chunk);
    free(o->square);
    free(o);
}

MN_SIMD static double sum_squares(const float *restrict g, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}

double nn_optim_grad_norm(const nn_optim *o)
{
    const float *grad = nn_params_arenas(o->params)->grad;
    double total = 0;

#pragma omp parallel for schedule(static) if (o->n_chunks > 16)
    for (int64_t k = 0; k < o->n_chunks; k++)
        o->square[k] = sum_squares(grad + o->chunk[k].offset, o->chunk[k].count);
    for (int64_t k = 0; k < o->n_chunks; k++)
        total += o->square[k];
    return sqrt(total);
}

typedef struct factors {
    float grad;           // scale of the gradients
    float m, v, keep_v;   // 1 - beta1, 1 - beta2, beta2
    float root, eps;      // 1 / sqrt(1 - beta2^t)
    float keep_w, step_w; // 1 - lr decay, lr / (1 - beta1^t)
} factors;

// Loshchilov and Hutter 2019, algorithm 2, in the order of operations of torch.optim.AdamW.
MN_SIMD static void update(float *restrict w, const float *restrict g, float *restrict m, float *restrict v, factors f,
                           int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float grad = g[i] * f.grad;
        m[i] += (grad - m[i]) * f.m;
        v[i] = v[i] * f.keep_v + grad * grad * f.v;
        w[i] = w[i] * f.keep_w - f.step_w * m[i] / (sqrtf(v[i]) * f.root + f.eps);
    }
}

MN_SIMD static void narrow(const float *restrict w, mn_bf16 *restrict work, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        work[i] = mn_f32_to_bf16(w[i]);
}

void nn_optim_step(nn_optim *o, double lr, double grad_scale)
{
    const nn_arenas *a = nn_params_arenas(o->params);
    const nn_optim_cfg *cfg = &o->cfg;
    double t = (double)++o->updates;
    double first = 1 - pow(cfg->beta1, t), second = 1 - pow(cfg->beta2, t);
    factors common = {.grad = (float)grad_scale,
                      .m = (float)(1 - cfg->beta1),
                      .v = (float)(1 - cfg->beta2),
                      .keep_v = (float)cfg->beta2,
                      .root = (float)(1 / sqrt(second)),
                      .eps = (float)cfg->eps};

#pragma omp parallel for schedule(static) if (o->n_chunks > 16)
    for (int64_t k = 0; k < o->n_chunks; k++) {
        const chunk *c = &o->chunk[k];
        factors f = common;
        f.keep_w = (float)(1 - lr * c->lr_scale * c->decay);
        f.step_w = (float)(lr * c->lr_scale / first);
        update(a->master + c->offset, a->grad + c->offset, o->m + c->offset, o->v + c->offset, f, c->count);
        if (a->work != (void *)a->master) narrow(a->master + c->offset, (mn_bf16 *)a->work + c->offset, c->count);
    }
}

float *nn_optim_m(nn_optim *o, const nn_param *p)
{
    return trained(o->params, p) ? o->m + p->offset : NULL;
}

float *nn_optim_v(nn_optim *o, const nn_param *p)
{
    return trained(o->params, p) ? o->v + p->offset : NULL;
}

int64_t nn_optim_updates(const nn_optim *o)
{
    return o->updates;
}

void nn_optim_set_updates(nn_optim *o, int64_t n)
{
    o->updates = n;
}
