#include "nn/adamw.h"

#include "nn/base/simd.h"

#include <math.h>

MN_SIMD static double sum_squares(const float *restrict g, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}

static double grad_norm(const nn_adamw *a)
{
    double total = 0;

#pragma omp parallel for schedule(static) if (a->n_chunks > 16)
    for (int64_t k = 0; k < a->n_chunks; k++)
        a->square[k] = sum_squares(a->grad + a->chunk[k].offset, a->chunk[k].count);
    for (int64_t k = 0; k < a->n_chunks; k++)
        total += a->square[k];
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

static void update_all(const nn_adamw *a, double t, double grad_scale)
{
    double first = 1 - pow(a->beta1, t), second = 1 - pow(a->beta2, t), lr = a->args->lr;
    factors common = {.grad = (float)grad_scale,
                      .m = (float)(1 - a->beta1),
                      .v = (float)(1 - a->beta2),
                      .keep_v = (float)a->beta2,
                      .root = (float)(1 / sqrt(second)),
                      .eps = (float)a->eps};

#pragma omp parallel for schedule(static) if (a->n_chunks > 16)
    for (int64_t k = 0; k < a->n_chunks; k++) {
        const nn_adamw_chunk *c = &a->chunk[k];
        factors f = common;
        f.keep_w = (float)(1 - lr * c->lr_scale * c->decay);
        f.step_w = (float)(lr * c->lr_scale / first);
        update(a->master + c->offset, a->grad + c->offset, a->m + c->offset, a->v + c->offset, f, c->count);
        if (a->work != (void *)a->master) narrow(a->master + c->offset, (mn_bf16 *)a->work + c->offset, c->count);
    }
}

mn_err nn__adamw_cpu(const nn_device *d, const nn_adamw *a)
{
    double scale = a->args->grad_scale != 0 ? a->args->grad_scale : 1;
    nn_optim_result *r = a->result;
    (void)d;

    r->loss = a->loss ? *a->loss : NAN;
    r->grad_norm = grad_norm(a) * scale;
    r->skipped = !isfinite(r->grad_norm) || (a->loss && !isfinite(r->loss));
    if (r->skipped) return MN_OK;
    if (a->args->clip > 0 && r->grad_norm > a->args->clip) scale *= a->args->clip / (r->grad_norm + 1e-6);
    r->updates++;
    update_all(a, (double)r->updates, scale);
    return MN_OK;
}
