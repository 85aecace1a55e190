#include "nn/base/mem.h"
#include "nn/onednn.h"
#include "nn/onednn_prim.h"
#include "nn/onednn_taps.h"
#include "nn/ops/convert.h"

#include <stdlib.h>
#include <string.h>

// A primitive and the change of layout of its weight, from the given one before forward and d_x, to the f32 result
// after d_weight; unused when the primitive takes the weight as it is.
typedef struct pass {
    nn__prim prim, copy;
    int has_copy;
    size_t at_weight, at_scratch, work_bytes;
} pass;

struct nn__conv {
    nn__conv_cfg cfg;
    dnnl_engine_t engine;
    nn__taps *taps; // when set, it does the work and the rest is unused
    pass forward, d_x, d_weight;
    int widened;               // bf16 tensors are convolved in fp32
    mn_dtype io;               // of the primitives
    size_t at_x, at_y, at_own; // workspace: fp32 x and y when widened, then what the pass wants
};

typedef struct layouts {
    nn__layout x, y, bias, weight, plain_weight, plain_d_weight;
} layouts;

static int64_t steps(const nn__conv_cfg *c)
{
    return (c->t + c->left + c->right - c->kernel) / c->stride + 1;
}

static int64_t count_x(const nn__conv_cfg *c)
{
    return c->rows * c->t * c->in;
}

static int64_t count_y(const nn__conv_cfg *c)
{
    return c->rows * steps(c) * c->out;
}

// Activations are (rows, channels, time) to the library, and lie with the channels last.
static mn_err activation_layout(nn__layout *l, mn_dtype t, int64_t rows, int64_t time, int64_t channels)
{
    const int64_t dims[3] = {rows, channels, time}, strides[3] = {time * channels, 1, channels};

    return nn__layout_make(l, t, 3, dims, strides);
}

// Weights are (out, in, kernel), or (group, out, in, kernel) when there is more than one group.
static mn_err weight_layout(nn__layout *l, const nn__conv_cfg *c, mn_dtype t, int plain)
{
    const int64_t i = c->in / c->groups, o = c->out / c->groups, k = c->kernel;
    const int64_t dims[4] = {c->groups, o, i, k}, strides[4] = {o * i * k, i * k, k, 1};
    const int from = c->groups == 1;

    return nn__layout_make(l, t, 4 - from, dims + from, plain ? strides + from : NULL);
}

static void layouts_free(layouts *l)
{
    nn__layout_free(&l->x);
    nn__layout_free(&l->y);
    nn__layout_free(&l->bias);
    nn__layout_free(&l->weight);
    nn__layout_free(&l->plain_weight);
    nn__layout_free(&l->plain_d_weight);
}

static mn_err layouts_make(layouts *l, const nn__conv_cfg *c, mn_dtype io)
{
    const int64_t one = 1;

    MN_TRY(activation_layout(&l->x, io, c->rows, c->t, c->in));
    MN_TRY(activation_layout(&l->y, io, c->rows, steps(c), c->out));
    MN_TRY(nn__layout_make(&l->bias, MN_F32, 1, &c->out, &one));
    MN_TRY(weight_layout(&l->weight, c, io, 0));
    MN_TRY(weight_layout(&l->plain_weight, c, c->weight, 1));
    return weight_layout(&l->plain_d_weight, c, MN_F32, 1);
}

// --- passes -----------------------------------------------------------------------------------------------------------
static size_t reserve(size_t *used, size_t bytes)
{
    size_t at = *used;

    *used += (bytes + 63) / 64 * 64;
    return at;
}

static size_t layout_bytes(nn__layout_ref l)
{
    return dnnl_memory_desc_get_size(l);
}

// Takes pd over. The weight's position among the arguments is 1 in forward and d_x, 2 in d_weight.
static mn_err pass_make(nn__conv *v, pass *p, dnnl_primitive_desc_t pd, int n_args, const int *args,
                        nn__layout_ref plain, int weight_out)
{
    nn__layout_ref chosen = nn__pd_layout(pd, weight_out ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS);
    size_t weight_bytes = layout_bytes(chosen), scratch;
    mn_err err = MN_OK;

    p->has_copy = !dnnl_memory_desc_equal(chosen, plain);
    if (p->has_copy) err = nn__prim_copy(&p->copy, v->engine, weight_out ? chosen : plain, weight_out ? plain : chosen);
    if (err != MN_OK) {
        (void)dnnl_primitive_desc_destroy(pd);
        return err;
    }
    MN_TRY(nn__prim_make(&p->prim, v->engine, pd, n_args, args));
    scratch = p->prim.scratch_bytes > p->copy.scratch_bytes ? p->prim.scratch_bytes : p->copy.scratch_bytes;
    if (p->has_copy) p->at_weight = reserve(&p->work_bytes, weight_bytes);
    p->at_scratch = reserve(&p->work_bytes, scratch);
    return MN_OK;
}

static mn_err make_forward(nn__conv *v, const layouts *l, const nn__conv_pd *c, dnnl_primitive_desc_t *keep)
{
    static const int args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    dnnl_primitive_desc_t pd;

    MN_TRY(nn__conv_forward_pd(keep, v->engine, c));
    MN_TRY(nn__conv_forward_pd(&pd, v->engine, c));
    return pass_make(v, &v->forward, pd, v->cfg.bias ? 4 : 3, args, NN__LAYOUT_REF(l->plain_weight), 0);
}

static mn_err make_d_x(nn__conv *v, const layouts *l, const nn__conv_pd *c, dnnl_primitive_desc_t forward)
{
    static const int args[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC};
    dnnl_primitive_desc_t pd;

    MN_TRY(nn__conv_d_x_pd(&pd, v->engine, c, forward));
    return pass_make(v, &v->d_x, pd, 3, args, NN__LAYOUT_REF(l->plain_weight), 0);
}

static mn_err make_d_weight(nn__conv *v, const layouts *l, const nn__conv_pd *c, dnnl_primitive_desc_t forward)
{
    static const int args[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS};
    dnnl_primitive_desc_t pd;
    nn__layout f32 = {0};
    nn__conv_pd wide = *c;
    mn_err err;

    // Sums over all positions: kept in f32 whatever the activations are.
    MN_TRY(weight_layout(&f32, &v->cfg, MN_F32, 0));
    wide.weight = NN__LAYOUT_REF(f32);
    err = nn__conv_d_weight_pd(&pd, v->engine, &wide, forward);
    if (err == MN_OK)
        err = pass_make(v, &v->d_weight, pd, v->cfg.bias ? 4 : 3, args, NN__LAYOUT_REF(l->plain_d_weight), 1);
    nn__layout_free(&f32);
    return err;
}

static mn_err make_passes(nn__conv *v, mn_dtype io)
{
    const nn__conv_cfg *c = &v->cfg;
    layouts l = {0};
    dnnl_primitive_desc_t forward = NULL;
    mn_err err;

    v->io = io;
    MN_TRY_OUT(err, layouts_make(&l, c, io));
    const nn__conv_pd d = {.x = NN__LAYOUT_REF(l.x),
                           .y = NN__LAYOUT_REF(l.y),
                           .weight = NN__LAYOUT_REF(l.weight),
                           .bias = c->bias ? NN__LAYOUT_REF(l.bias) : NULL,
                           .stride = c->stride,
                           .left = c->left,
                           .right = c->right};
    MN_TRY_OUT(err, make_forward(v, &l, &d, &forward));
    if (c->d_x) MN_TRY_OUT(err, make_d_x(v, &l, &d, forward));
    if (c->d_weight) MN_TRY_OUT(err, make_d_weight(v, &l, &d, forward));
out:
    if (forward) (void)dnnl_primitive_desc_destroy(forward);
    layouts_free(&l);
    return err;
}

static void free_pass(pass *p)
{
    nn__prim_free(&p->copy);
    nn__prim_free(&p->prim);
    *p = (pass){0};
}

mn_err nn__conv_new(nn__conv **out, const nn__conv_cfg *cfg)
{
    nn__conv *v = mn_calloc(1, sizeof *v);
    mn_err err;

    v->cfg = *cfg;
    if (nn__taps_suit(cfg)) {
        MN_TRY_OUT(err, nn__taps_new(&v->taps, cfg));
        *out = v;
        return MN_OK;
    }
    MN_TRY_OUT(err, nn__engine_new(&v->engine));
    err = make_passes(v, cfg->io);
    if (err == MN_EDEVICE && cfg->io == MN_BF16) {
        free_pass(&v->forward);
        free_pass(&v->d_x);
        free_pass(&v->d_weight);
        v->widened = 1;
        err = make_passes(v, MN_F32);
    }
    if (err == MN_EDEVICE) (void)mn_fail(err, "oneDNN has no such convolution for this processor");
    if (err != MN_OK) goto out;
    if (v->widened) {
        v->at_x = reserve(&v->at_own, (size_t)count_x(cfg) * sizeof(float));
        v->at_y = reserve(&v->at_own, (size_t)count_y(cfg) * sizeof(float));
    }
    *out = v;
    return MN_OK;
out:
    nn__conv_free(v);
    return err;
}

void nn__conv_free(nn__conv *v)
{
    if (!v) return;
    nn__taps_free(v->taps);
    free_pass(&v->d_weight);
    free_pass(&v->d_x);
    free_pass(&v->forward);
    if (v->engine) (void)dnnl_engine_destroy(v->engine);
    free(v);
}

size_t nn__conv_work(const nn__conv *v)
{
    size_t most = v->forward.work_bytes;

    if (v->taps) return nn__taps_work(v->taps);
    if (v->d_x.work_bytes > most) most = v->d_x.work_bytes;
    if (v->d_weight.work_bytes > most) most = v->d_weight.work_bytes;
    return v->at_own + most;
}

// --- running ----------------------------------------------------------------------------------------------------------
static char *own(const nn__conv *v, void *work)
{
    return (char *)work + v->at_own;
}

// An activation as the primitives want it; `at` is its place in the workspace.
static const void *given(const nn__conv *v, const void *p, int64_t count, void *work, size_t at)
{
    float *wide = (void *)((char *)work + at);

    if (!v->widened) return p;
    nn__widen(count, p, wide);
    return wide;
}

static mn_err weight_in(pass *p, const void **weight, char *work)
{
    const void *address[2] = {*weight, work + p->at_weight};

    if (!p->has_copy) return MN_OK;
    *weight = address[1];
    return nn__prim_run(&p->copy, address, work + p->at_scratch);
}

// Forward and d_x differ in what is given and what is made.
static mn_err run_pass(nn__conv *v, pass *p, const void *from, const void *weight, void *to, int64_t count_to,
                       const float *bias, void *work, size_t at_to)
{
    void *wide = (char *)work + at_to;
    const void *address[4] = {from, weight, v->widened ? wide : to, bias};

    MN_TRY(weight_in(p, &address[1], own(v, work)));
    MN_TRY(nn__prim_run(&p->prim, address, own(v, work) + p->at_scratch));
    if (v->widened) nn__narrow(count_to, wide, to);
    return MN_OK;
}

mn_err nn__conv_forward(nn__conv *v, const void *x, const void *weight, const float *bias, void *y, void *work)
{
    if (v->taps) return nn__taps_forward(v->taps, x, weight, bias, y, work);
    x = given(v, x, count_x(&v->cfg), work, v->at_x);
    return run_pass(v, &v->forward, x, weight, y, count_y(&v->cfg), bias, work, v->at_y);
}

mn_err nn__conv_d_x(nn__conv *v, const void *dy, const void *weight, void *dx, void *work)
{
    if (v->taps) return nn__taps_d_x(v->taps, dy, weight, dx, work);
    dy = given(v, dy, count_y(&v->cfg), work, v->at_y);
    return run_pass(v, &v->d_x, dy, weight, dx, count_x(&v->cfg), NULL, work, v->at_x);
}

mn_err nn__conv_d_weight(nn__conv *v, const void *x, const void *dy, float *d_weight, float *d_bias, void *work)
{
    if (v->taps) return nn__taps_d_weight(v->taps, x, dy, d_weight, d_bias, work);
    pass *p = &v->d_weight;
    void *made = p->has_copy ? (void *)(own(v, work) + p->at_weight) : (void *)d_weight;
    const void *address[4] = {given(v, x, count_x(&v->cfg), work, v->at_x),
                              given(v, dy, count_y(&v->cfg), work, v->at_y), made, d_bias};
    const void *copied[2] = {made, d_weight};

    MN_TRY(nn__prim_run(&p->prim, address, own(v, work) + p->at_scratch));
    return p->has_copy ? nn__prim_run(&p->copy, copied, own(v, work) + p->at_scratch) : MN_OK;
}
