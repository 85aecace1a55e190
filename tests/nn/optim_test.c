// AdamW against torch.optim.AdamW (tests/golden/adamw.py); what it may and may not touch.
#include "golden_support.h"

#include "nn/base/mem.h"
#include "nn/op.h"
#include "nn/optim.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

// A node that uses a parameter, so that the layout gives it a gradient.
static mn_err use_shape(nn_node *n)
{
    nn_set_out(n, 0, MN_F64, (mn_shape){0});
    return MN_OK;
}
static mn_err use_nothing(const nn_call *c)
{
    (void)c;
    return MN_OK;
}
static const nn_op use = {.name = "use", .shape = use_shape, .cpu = {.fwd = use_nothing, .bwd = use_nothing}};

typedef struct spec {
    const char *name;
    mn_shape shape;
    int no_decay, layer, buffer;
} spec;

static const spec specs[] = {
    {"first.weight", {2, {37, 230}}, 0, 0, 0}, // more than one chunk
    {"first.bias", {1, {37}}, 1, 0, 0},        {"second.weight", {2, {8, 37}}, 0, 2, 0},
    {"norm.weight", {1, {5}}, 1, 3, 0},        {"frozen.weight", {2, {3, 5}}, 0, 1, 0},
    {"norm.running_mean", {1, {5}}, 1, 3, 1},
};
enum { TRAINED = 4, SPECS = (int)(sizeof specs / sizeof *specs), UPDATES = 12 };

typedef struct net {
    nn_params *params;
    nn_graph *graph;
    nn_optim *optim;
} net;

static net make(mn_dtype dtype, const nn_optim_cfg *cfg)
{
    net n = {.params = nn_params_new(1)};

    n.graph = nn_graph_new(n.params, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = dtype});
    for (int i = 0; i < SPECS; i++) {
        const spec *s = &specs[i];
        nn_params_layer(n.params, s->layer);
        nn_param_spec p = {.shape = s->shape, .no_decay = s->no_decay, .f32 = s->no_decay, .buffer = s->buffer};
        nn_tensor *t = nn_param_get(n.graph, s->name, &p);
        nn_emit(n.graph, &use, s->name, 1, &t, NULL);
    }
    nn_params_freeze(n.params, "frozen");
    cr_assert_eq(nn_params_layout(n.params, n.graph, &(nn_layout_cfg){.dtype = dtype}), MN_OK, "%s", mn_errmsg());
    golden_fill(n.params);
    cr_assert_eq(nn_params_sync(n.params), MN_OK);
    cr_assert_eq(nn_optim_new(&n.optim, n.params, cfg), MN_OK, "%s", mn_errmsg());
    return n;
}

static void drop(net n)
{
    nn_optim_free(n.optim);
    nn_graph_free(n.graph);
    nn_params_free(n.params);
}

static void set_gradients(net n, int update)
{
    // The padding between parameters belongs to nobody: whatever is in it must not matter.
    const nn_arenas *a = nn_params_arenas(n.params);
    for (int64_t i = 0; i < a->trained; i++)
        a->grad[i] = NAN;
    for (int i = 0; i < TRAINED; i++) {
        const nn_param *p = nn_params_find(n.params, specs[i].name);
        char *input = mn_sprintf("input.grad.%d.%s", update, p->name);
        float scale = update % 3 ? 1.0f : 0.02f;
        for (int64_t k = 0; k < p->count; k++)
            nn_param_grad(n.params, p)[k] = scale * golden_value(input, p->spec.shape, k);
        free(input);
    }
}

static double step(net n, double lr, double clip)
{
    nn_optim_result r;
    cr_assert_eq(nn_optim_begin(n.optim, &(nn_optim_step_args){.lr = lr, .clip = clip}), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_optim_update(n.optim, NULL), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_optim_post(n.optim), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_optim_take(n.optim, &r), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(r.skipped, 0);
    return r.grad_norm;
}

static void train(net n, double *norms)
{
    for (int update = 0; update < UPDATES; update++) {
        set_gradients(n, update);
        norms[update] = step(n, 1e-2 * (1 + update), 5);
    }
}

static const nn_optim_cfg torch_like = {
    .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.05, .layer_decay = 0.7, .layers = 3};

static void expect_near(const golden *gold, const char *prefix, const nn_param *p, const float *x)
{
    double norm;
    char *name = mn_sprintf("%s%s", prefix, p->name);
    double distance = golden_distance(gold, name, x, p->count, &norm);
    cr_expect(distance >= 0 && distance <= 2e-6 * norm, "%s: off by %g of %g", name, distance, norm);
    free(name);
}

Test(optim, agrees_with_torch)
{
    golden *gold = golden_open("adamw.safetensors");
    net n = make(MN_F32, &torch_like);
    double norms[UPDATES];
    int64_t count;

    train(n, norms);
    const float *want = golden_get(gold, "norms", &count);
    for (int k = 0; k < UPDATES; k++)
        cr_expect(fabs(norms[k] - (double)want[k]) <= 1e-6 * norms[k], "norm %d: %g", k, norms[k]);
    for (int i = 0; i < TRAINED; i++) {
        const nn_param *p = nn_params_find(n.params, specs[i].name);
        expect_near(gold, "", p, nn_param_master(n.params, p));
        expect_near(gold, "m.", p, nn_optim_m(n.optim, p));
        expect_near(gold, "v.", p, nn_optim_v(n.optim, p));
    }
    cr_expect_eq(nn_optim_updates(n.optim), UPDATES);
    golden_close(gold);
    drop(n);
}

Test(optim, leaves_frozen_parameters_and_buffers_alone)
{
    net n = make(MN_F32, &torch_like), untouched = make(MN_F32, &torch_like);
    double norms[UPDATES];

    train(n, norms);
    for (int i = TRAINED; i < SPECS; i++) {
        const nn_param *p = nn_params_find(n.params, specs[i].name), *q = nn_params_find(untouched.params, p->name);
        cr_expect_arr_eq(nn_param_master(n.params, p), nn_param_master(untouched.params, q),
                         (size_t)p->count * sizeof(float), "%s", p->name);
        cr_expect_null(nn_optim_m(n.optim, p));
        cr_expect_null(nn_optim_v(n.optim, p));
    }
    drop(n);
    drop(untouched);
}

// The fp32 masters are the same whatever the compute type, and the work arena is their rounding.
Test(optim, writes_the_work_arena_in_bf16)
{
    net n = make(MN_BF16, &torch_like), f32 = make(MN_F32, &torch_like);
    double norms[UPDATES];

    train(n, norms);
    train(f32, norms);
    for (int i = 0; i < TRAINED; i++) {
        const nn_param *p = nn_params_find(n.params, specs[i].name), *q = nn_params_find(f32.params, p->name);
        const float *master = nn_param_master(n.params, p);
        const mn_bf16 *work = (const mn_bf16 *)nn_params_arenas(n.params)->work + p->offset;
        cr_expect_arr_eq(master, nn_param_master(f32.params, q), (size_t)p->count * sizeof(float), "%s", p->name);
        for (int64_t k = 0; k < p->count; k++)
            cr_expect_eq(work[k], mn_f32_to_bf16(master[k]), "%s[%d]", p->name, (int)k);
    }
    drop(n);
    drop(f32);
}

Test(optim, does_not_depend_on_the_number_of_threads)
{
    double one[UPDATES], three[UPDATES];
    net a = make(MN_F32, &torch_like), b = make(MN_F32, &torch_like);

    omp_set_num_threads(1);
    train(a, one);
    omp_set_num_threads(3);
    train(b, three);
    cr_expect_arr_eq(one, three, sizeof one);
    for (int i = 0; i < TRAINED; i++) {
        const nn_param *p = nn_params_find(a.params, specs[i].name), *q = nn_params_find(b.params, p->name);
        cr_expect_arr_eq(nn_param_master(a.params, p), nn_param_master(b.params, q), (size_t)p->count * sizeof(float));
    }
    drop(a);
    drop(b);
}

// Continuing from saved moments, update count and masters is the same as never having stopped.
Test(optim, resumes_from_its_state)
{
    net whole = make(MN_F32, &torch_like), part = make(MN_F32, &torch_like);

    for (int update = 0; update < 4; update++) {
        set_gradients(whole, update);
        step(whole, 1e-2, 0);
        if (update != 1) continue;
        for (int i = 0; i < TRAINED; i++) {
            const nn_param *p = nn_params_find(whole.params, specs[i].name), *q = nn_params_find(part.params, p->name);
            size_t bytes = (size_t)p->count * sizeof(float);
            memcpy(nn_param_master(part.params, q), nn_param_master(whole.params, p), bytes);
            memcpy(nn_optim_m(part.optim, q), nn_optim_m(whole.optim, p), bytes);
            memcpy(nn_optim_v(part.optim, q), nn_optim_v(whole.optim, p), bytes);
        }
        nn_optim_set_updates(part.optim, nn_optim_updates(whole.optim));
    }
    for (int update = 2; update < 4; update++) {
        set_gradients(part, update);
        step(part, 1e-2, 0);
    }
    for (int i = 0; i < TRAINED; i++) {
        const nn_param *p = nn_params_find(whole.params, specs[i].name), *q = nn_params_find(part.params, p->name);
        cr_expect_arr_eq(nn_param_master(whole.params, p), nn_param_master(part.params, q),
                         (size_t)p->count * sizeof(float));
    }
    drop(whole);
    drop(part);
}

Test(optim, decay_all_reaches_norms_and_biases)
{
    nn_optim_cfg cfg = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.5, .layer_decay = 1};
    for (int all = 0; all < 2; all++) {
        cfg.decay_all = all;
        net n = make(MN_F32, &cfg);
        const nn_param *bias = nn_params_find(n.params, "first.bias");
        set_gradients(n, 0);
        memset(nn_param_grad(n.params, bias), 0, (size_t)bias->count * sizeof(float));
        float before = nn_param_master(n.params, bias)[3];
        step(n, 0.1, 0);
        cr_expect_float_eq(nn_param_master(n.params, bias)[3], all ? before * 0.95f : before, 1e-7f);
        drop(n);
    }
}

// A step that is not finite changes nothing, and does not count for the bias correction.
Test(optim, skips_what_is_not_finite)
{
    net n = make(MN_F32, &torch_like);
    const nn_param *p = nn_params_find(n.params, specs[0].name);
    const double nan = NAN;
    nn_optim_result r;
    float before;

    set_gradients(n, 0);
    step(n, 1e-2, 0);
    before = nn_param_master(n.params, p)[0];
    for (int by_loss = 0; by_loss < 2; by_loss++) {
        set_gradients(n, 1);
        if (!by_loss) nn_param_grad(n.params, p)[1] = INFINITY;
        cr_assert_eq(nn_optim_begin(n.optim, &(nn_optim_step_args){.lr = 1e-2}), MN_OK);
        cr_assert_eq(nn_optim_update(n.optim, by_loss ? &nan : NULL), MN_OK);
        cr_assert_eq(nn_optim_post(n.optim), MN_OK);
        cr_assert_eq(nn_optim_take(n.optim, &r), MN_OK);
        cr_expect_eq(r.skipped, 1);
        cr_expect_eq(r.updates, 1);
        cr_expect_eq(nn_param_master(n.params, p)[0], before);
    }
    drop(n);
}
