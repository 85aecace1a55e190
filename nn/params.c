#include "nn/params.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/device.h"
#include "nn/graph_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_ELEMENTS = 16 };

struct nn_params {
    uint64_t seed;
    nn_param **param;
    int n, layer;
    const nn_device *device;
    nn_arenas arenas;
    float *master; // in host memory; of the CPU: the arena itself
    size_t work_bytes, master_bytes, grad_bytes;
    int grad_borrowed, laid_out;
};

nn_params *nn_params_new(uint64_t seed)
{
    nn_params *ps = mn_calloc(1, sizeof *ps);
    ps->seed = seed;
    return ps;
}

void nn_params_free(nn_params *ps)
{
    if (!ps) return;
    const nn_device *d = ps->device;
    if (d) {
        if (ps->arenas.work != (void *)ps->arenas.master) d->release(d, ps->arenas.work, ps->work_bytes);
        if (ps->master != ps->arenas.master) d->host_release(d, ps->master, ps->master_bytes);
        d->release(d, ps->arenas.master, ps->master_bytes);
        if (!ps->grad_borrowed) d->release(d, ps->arenas.grad, ps->grad_bytes);
    }
    for (int i = 0; i < ps->n; i++)
        free(ps->param[i]);
    free(ps->param);
    free(ps);
}

void nn_params_layer(nn_params *ps, int layer)
{
    ps->layer = layer;
}

nn_param *nn_params_find(const nn_params *ps, const char *name)
{
    for (int i = 0; i < ps->n; i++)
        if (strcmp(ps->param[i]->name, name) == 0) return ps->param[i];
    return NULL;
}

static nn_param *create(nn_params *ps, const char *name, const nn_param_spec *spec)
{
    nn_param *p = mn_calloc(1, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->spec = *spec;
    p->spec.layer = ps->layer;
    p->count = mn_count(spec->shape);
    ps->param = mn_realloc(ps->param, (size_t)ps->n + 1, sizeof(nn_param *));
    ps->param[ps->n++] = p;
    return p;
}

nn_tensor *nn_param_get(nn_graph *g, const char *leaf, const nn_param_spec *spec)
{
    nn_params *ps = nn_graph_params(g);
    char name[sizeof((nn_param *)0)->name], have[96], want[96];
    if (g->err != MN_OK) return g->bad;
    if (nn__scoped(g, leaf, name, sizeof name) != MN_OK) return nn_graph_bad(g, "%s", mn_errmsg());
    nn_param *p = nn_params_find(ps, name);
    if (p && !mn_shape_equal(p->spec.shape, spec->shape))
        return nn_graph_bad(g, "parameter %s is %s in one place and %s in another", name,
                            mn_shape_text(p->spec.shape, have, sizeof have),
                            mn_shape_text(spec->shape, want, sizeof want));
    if (!p && ps->laid_out) return nn_graph_bad(g, "parameter %s is new, but the parameters are laid out", name);
    if (!p) p = create(ps, name, spec);
    mn_dtype dtype = spec->f32 || spec->buffer ? MN_F32 : nn_graph_dtype(g);
    nn_tensor *t = nn__new_tensor(g, dtype, spec->shape);
    t->param = p;
    return t;
}

int nn_params_count(const nn_params *ps)
{
    return ps->n;
}

nn_param *nn_params_at(const nn_params *ps, int i)
{
    return ps->param[i];
}

int64_t nn_params_elements(const nn_params *ps)
{
    int64_t n = 0;
    for (int i = 0; i < ps->n; i++)
        if (!ps->param[i]->spec.buffer) n += ps->param[i]->count;
    return n;
}

void nn_params_freeze(nn_params *ps, const char *prefix)
{
    mn_assert(!ps->laid_out);
    for (int i = 0; i < ps->n; i++)
        if (strncmp(ps->param[i]->name, prefix, strlen(prefix)) == 0) ps->param[i]->frozen = 1;
}

// --- initial values: a pure function of (seed, name, element) ---

static float spread(const nn_param_spec *s)
{
    double out = s->shape.n > 0 ? (double)s->shape.d[0] : 1;
    double in = s->fan_in ? (double)s->fan_in : (double)mn_count(s->shape) / out;
    double scale = s->init_scale != 0 ? s->init_scale : 1;
    switch (s->init) {
    case NN_INIT_FAN_IN_UNIFORM:
        return (float)(scale / sqrt(in));
    case NN_INIT_XAVIER_UNIFORM:
        return (float)(scale * sqrt(6 / (in + out)));
    case NN_INIT_KAIMING_UNIFORM:
        return (float)(scale * sqrt(6 / in));
    case NN_INIT_TRUNC_NORMAL:
    case NN_INIT_NORMAL:
        return s->init_scale != 0 ? s->init_scale : 0.02f;
    case NN_INIT_CONSTANT:
        return s->init_scale;
    case NN_INIT_ONE:
        return 1;
    case NN_INIT_ZERO:
        return 0;
    }
    return 0;
}

// Two normals from two 32-bit numbers (Box-Muller).
static void normal_pair(uint32_t a, uint32_t b, float *x)
{
    double radius = sqrt(-2 * log(((double)a + 1) * 0x1p-32)), angle = 6.283185307179586 * (double)b * 0x1p-32;
    x[0] = (float)(radius * cos(angle));
    x[1] = (float)(radius * sin(angle));
}

static void four_values(const nn_param_spec *s, float a, mn_rng4 u, float *x)
{
    if (s->init == NN_INIT_TRUNC_NORMAL || s->init == NN_INIT_NORMAL) {
        normal_pair(u.v[0], u.v[1], x);
        normal_pair(u.v[2], u.v[3], x + 2);
        // Cut at +-2 absolute, as the references do: at std 0.02 that never happens.
        for (int i = 0; i < 4; i++) {
            x[i] *= a;
            if (s->init == NN_INIT_TRUNC_NORMAL) x[i] = fminf(fmaxf(x[i], -2), 2);
        }
        return;
    }
    for (int i = 0; i < 4; i++)
        x[i] = a * (2 * mn_uniform(u.v[i]) - 1);
}

static void initialise(nn_params *ps, nn_param *p)
{
    float *x = ps->master + p->offset, a = spread(&p->spec);
    uint64_t key = mn_rng_key(ps->seed, p->name);
    int constant = p->spec.init == NN_INIT_ZERO || p->spec.init == NN_INIT_ONE || p->spec.init == NN_INIT_CONSTANT;
    int64_t blocks = (p->count + 3) / 4;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        float four[4] = {a, a, a, a};
        if (!constant) four_values(&p->spec, a, mn_rng_block(key, 0, 0, (uint32_t)b), four);
        for (int64_t i = 0; i < 4 && 4 * b + i < p->count; i++)
            x[4 * b + i] = four[i];
    }
    for (int64_t i = p->count; i % ALIGN_ELEMENTS != 0; i++) // what lies between parameters
        x[i] = 0;
}

// --- layout ---

static int contains(nn_param *const *list, int n, const nn_param *p)
{
    for (int i = 0; i < n; i++)
        if (list[i] == p) return 1;
    return 0;
}

// Arena order: what g trains, as backward completes it; then frozen parameters, buffers, and those g does not use.
static void order(nn_params *ps, const nn_graph *g)
{
    nn_param **sorted = mn_calloc((size_t)ps->n + 1, sizeof(nn_param *));
    int n = nn_graph_param_order(g, sorted, ps->n);
    for (int i = 0; i < ps->n; i++)
        if (!contains(sorted, n, ps->param[i])) {
            ps->param[i]->frozen = 1;
            sorted[n++] = ps->param[i];
        }
    free(ps->param);
    ps->param = sorted;
}

static void set_offsets(nn_params *ps)
{
    int64_t at = 0;
    for (int i = 0; i < ps->n; i++) {
        nn_param *p = ps->param[i];
        p->offset = at;
        at += (p->count + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
        if (!p->frozen && !p->spec.buffer) ps->arenas.trained = at;
    }
    ps->arenas.count = at;
}

static mn_err allocate_masters(nn_params *ps)
{
    const nn_device *d = ps->device;
    void *p;
    ps->master_bytes = (size_t)ps->arenas.count * sizeof(float);
    MN_TRY(d->alloc(d, &p, ps->master_bytes, "the parameters"));
    ps->arenas.master = ps->master = p;
    if (!d->on_host) {
        ps->master = NULL;
        MN_TRY(d->host_alloc(d, &p, ps->master_bytes, "the parameters in host memory"));
        ps->master = p;
    }
    return MN_OK;
}

static mn_err allocate(nn_params *ps, const nn_layout_cfg *cfg)
{
    const nn_device *d = ps->device;
    nn_arenas *a = &ps->arenas;
    void *work, *grad;
    MN_TRY(allocate_masters(ps));
    a->work = a->master;
    if (cfg->dtype == MN_BF16) {
        ps->work_bytes = (size_t)a->count * sizeof(mn_bf16);
        MN_TRY(d->alloc(d, &work, ps->work_bytes, "the bf16 parameters"));
        a->work = work;
    }
    if (cfg->forward_only) return MN_OK;
    ps->grad_bytes = (size_t)a->trained * sizeof(float) + cfg->tail;
    if (cfg->alloc) {
        MN_TRY(cfg->alloc(cfg->ctx, ps->grad_bytes, &grad));
        ps->grad_borrowed = 1;
    } else {
        MN_TRY(d->alloc(d, &grad, ps->grad_bytes, "the gradients"));
    }
    a->grad = grad;
    return d->fill(d, grad, 0, ps->grad_bytes);
}

mn_err nn_params_layout(nn_params *ps, const nn_graph *g, const nn_layout_cfg *cfg)
{
    mn_assert(!ps->laid_out);
    if (g->err != MN_OK) return mn_fail(g->err, "%s", g->err_text);
    ps->device = cfg->device ? cfg->device : nn_device_cpu();
    order(ps, g);
    set_offsets(ps);
    MN_TRY(allocate(ps, cfg));
    ps->laid_out = 1;
    for (int i = 0; i < ps->n; i++)
        initialise(ps, ps->param[i]);
    return nn_params_sync(ps);
}

const nn_device *nn_params_device(const nn_params *ps)
{
    return ps->device;
}

const nn_arenas *nn_params_arenas(const nn_params *ps)
{
    return &ps->arenas;
}

float *nn_param_master(const nn_params *ps, const nn_param *p)
{
    return ps->master ? ps->master + p->offset : NULL;
}

float *nn_param_grad(const nn_params *ps, const nn_param *p)
{
    if (!ps->arenas.grad || p->frozen || p->spec.buffer) return NULL;
    return ps->arenas.grad + p->offset;
}

mn_err nn_params_sync(nn_params *ps)
{
    const nn_device *d = ps->device;
    const nn_arenas *a = &ps->arenas;
    if (!d->on_host) MN_TRY(d->copy(d, a->master, ps->master, ps->master_bytes));
    if (a->work != (void *)a->master) MN_TRY(d->narrow(d, a->work, a->master, a->count));
    return d->wait(d);
}

mn_err nn_params_fetch(nn_params *ps)
{
    const nn_device *d = ps->device;
    if (d->on_host) return MN_OK;
    MN_TRY(d->copy(d, ps->master, ps->arenas.master, ps->master_bytes));
    return d->wait(d);
}
