#include "recompute_support.h"
#include "ops_support.h"

#include "nn/base/mem.h"
#include "nn/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 3, ROWS = 3, INPUTS = 8 }; // a GPU records the second step and replays those after it

// --- networks ---

static nn_tensor *simmim(nn_graph *g)
{
    nn_swin_cfg cfg = {.image = 32,
                       .patch = 4,
                       .window = 4,
                       .embed = 16,
                       .stages = 2,
                       .mlp_ratio = 2,
                       .depths = {2, 2},
                       .heads = {1, 2},
                       .drop_path = 0.4f};
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(ROWS, 32, 32, 3));
    nn_tensor *mask = nn_input(g, "mask", MN_U8, MN_SHAPE(ROWS, 64));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(ROWS));
    nn_tensor *pred = nn_simmim_decoder(g, &cfg, nn_swin(g, &cfg, image, mask));
    return nn_l1_loss(g, pred, image, mask, weight, nn_swin_stride(&cfg), cfg.patch);
}

static nn_tensor *against_targets(nn_graph *g, nn_tensor *x)
{
    nn_tensor *target = nn_input(g, "target", MN_F32, x->shape);
    nn_tensor *weight = nn_input(g, "frame_weight", MN_F32, MN_SHAPE(x->shape.d[0], x->shape.d[1]));
    return nn_ccc_loss(g, x, target, weight);
}

static nn_tensor *cca_of(nn_graph *g, nn_cca_form form)
{
    enum { FRAMES = 10, WIDTH = 16 };
    nn_cca_cfg cfg = {WIDTH, 2, {12, 8, 6}, 4, 0.3f, 0.4f, 0.7f, form, NN_CCA_VA, 1, 0};
    mn_shape shape = MN_SHAPE(ROWS, FRAMES, WIDTH);
    nn_tensor *image = nn_cast(g, nn_input(g, "image", MN_F32, shape), nn_graph_dtype(g));
    nn_tensor *audio = nn_cast(g, nn_input(g, "audio", MN_F32, shape), nn_graph_dtype(g));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(ROWS, FRAMES));
    return against_targets(g, nn_cca(g, &cfg, image, audio, weight));
}

static nn_tensor *cca_paper(nn_graph *g)
{
    return cca_of(g, NN_CCA_PAPER);
}

static nn_tensor *cca_released(nn_graph *g)
{
    return cca_of(g, NN_CCA_RELEASED);
}

static nn_tensor *wav2vec2_of(nn_graph *g, int stable)
{
    nn_wav2vec2_cfg cfg = {.width = 16,
                           .layers = 3,
                           .heads = 2,
                           .ffn = 32,
                           .conv_channels = 8,
                           .conv_layers = 2,
                           .conv_kernel = {10, 3},
                           .conv_stride = {5, 2},
                           .pos_kernel = 4,
                           .pos_groups = 2,
                           .stable = stable,
                           .drop = 0.2f};
    int64_t frames = nn_wav2vec2_frames(&cfg, 300);
    nn_tensor *wave = nn_input(g, "wave", MN_F32, MN_SHAPE(ROWS, 300));
    nn_tensor *valid = nn_input(g, "weight", MN_F32, MN_SHAPE(ROWS, frames));
    return against_targets(g, nn_head(g, nn_wav2vec2(g, &cfg, wave, valid), 2, "va"));
}

static nn_tensor *wav2vec2(nn_graph *g)
{
    return wav2vec2_of(g, 0);
}

static nn_tensor *wav2vec2_stable(nn_graph *g)
{
    return wav2vec2_of(g, 1);
}

// Blocks with what may not be run twice inside: batch statistics over all ranks, and the running ones. The second block
// is read by the fourth as well.
static nn_tensor *normed(nn_graph *g)
{
    nn_linear_cfg wide = {.out = 48, .init = NN_INIT_NORMAL, .init_scale = 0.2f, .act = NN_ACT_GELU}, narrow = wide;
    narrow.out = 24;
    narrow.act = NN_ACT_NONE;
    nn_batch_norm_cfg norm = {.eps = 1e-5f, .momentum = 0.1f};
    nn_tensor *x = nn_cast(g, nn_input(g, "image", MN_F32, MN_SHAPE(ROWS, 7, 24)), nn_graph_dtype(g)), *early = x;
    for (int i = 0; i < 4; i++) {
        nn_scope_push(g, "blocks.%d", i);
        nn_segment_begin(g);
        nn_tensor *y = nn_batch_norm(g, nn_linear(g, x, &wide, "up"), NULL, &norm, "norm");
        y = nn_dropout(g, nn_gelu(g, y), 0.3f, "drop");
        x = nn_residual(g, i == 3 ? early : x, nn_linear(g, y, &narrow, "down"), 0.3f, "path");
        nn_segment_end(g);
        nn_scope_pop(g);
        if (i == 1) early = x;
    }
    return against_targets(g, nn_head(g, x, 2, "va"));
}

const recompute_net recompute_nets[] = {{"simmim", simmim},
                                        {"cca, paper", cca_paper},
                                        {"cca, released", cca_released},
                                        {"wav2vec2", wav2vec2},
                                        {"wav2vec2, stable", wav2vec2_stable},
                                        {"batch norm in blocks", normed}};
const int n_recompute_nets = sizeof recompute_nets / sizeof *recompute_nets;

// --- a training ---

typedef struct collectives {
    int64_t n[64]; // sizes, in the order of the first run
    int count;
} collectives;

typedef struct training {
    const nn_device *device;
    nn_params *params;
    nn_graph *graph;
    nn_optim *optim;
    collectives sums;
    float **final; // by parameter: its gradient at the step after which it is final; NULL on a GPU
} training;

static mn_err note_sum(void *ctx, double *v, int64_t n)
{
    collectives *c = ctx;
    (void)v;
    if (c->count < 64) c->n[c->count++] = n;
    return MN_OK;
}

static mn_err keep_final(void *ctx, int step)
{
    training *t = ctx;
    for (int i = 0; i < nn_params_count(t->params); i++) {
        const nn_param *p = nn_params_at(t->params, i);
        if (nn_graph_ready_step(t->graph, p) != step) continue;
        memcpy(t->final[i], nn_param_grad(t->params, p), (size_t)p->count * sizeof(float));
    }
    return MN_OK;
}

static mn_err update(void *ctx)
{
    training *t = ctx;
    return nn_optim_update(t->optim, nn_graph_device_buffer(t->graph, "loss"));
}

static void fill(training *t)
{
    static const char *const names[INPUTS] = {"image", "audio", "wave", "target", "mask", "weight", "frame_weight"};
    for (int k = 0; k < INPUTS && names[k]; k++) {
        size_t bytes;
        void *at = nn_graph_input(t->graph, names[k], &bytes);
        int is_mask = strcmp(names[k], "mask") == 0, is_weight = strstr(names[k], "weight") != NULL;
        int64_t n = at ? (int64_t)(is_mask ? bytes : bytes / sizeof(float)) : 0;
        for (int64_t i = 0; i < n; i++) {
            if (is_mask)
                ((uint8_t *)at)[i] = i % 5 < 3;
            else
                ((float *)at)[i] = is_weight ? i < (3 * n + 3) / 4 : ops_random((uint64_t)k, i);
        }
    }
}

static void training_open(training *t, const recompute_net *net, mn_dtype type, const nn_device *d, int recompute)
{
    *t = (training){.device = d ? d : nn_device_cpu(), .params = nn_params_new(5)};
    nn_graph_cfg cfg = {.mode = NN_TRAIN, .dtype = type, .seed = 9, .device = d, .recompute = recompute};
    t->graph = nn_graph_new(t->params, &cfg);
    nn_tensor *loss = net->build(t->graph);
    nn_output(t->graph, "loss", loss);
    nn_graph_set_sum(t->graph, note_sum, &t->sums);
    cr_assert_eq(nn_params_layout(t->params, t->graph, &(nn_layout_cfg){.dtype = type, .device = d}), MN_OK);
    cr_assert_eq(nn_graph_plan(t->graph, loss), MN_OK, "%s: %s", net->name, mn_errmsg());
    nn_optim_cfg adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05, .layer_decay = 1};
    cr_assert_eq(nn_optim_new(&t->optim, t->params, &adamw), MN_OK);
    nn_graph_on_end(t->graph, update, t);
    nn_graph_poison(t->graph, 1);
    fill(t);
    int n = nn_params_count(t->params);
    t->final = mn_calloc((size_t)n, sizeof *t->final);
    for (int i = 0; i < n; i++)
        t->final[i] = mn_calloc((size_t)nn_params_at(t->params, i)->count, sizeof(float));
    if (t->device->on_host) nn_graph_on_step(t->graph, keep_final, t);
}

static void training_close(training *t)
{
    for (int i = 0; i < nn_params_count(t->params); i++)
        free(t->final[i]);
    free(t->final);
    nn_optim_free(t->optim);
    nn_graph_free(t->graph);
    nn_params_free(t->params);
}

static double train_step(training *t, int step)
{
    nn_optim_result r;
    nn_tick tick = {.step = (uint64_t)step, .first_row = 6, .rows = ROWS};
    cr_assert_eq(nn_optim_begin(t->optim, &(nn_optim_step_args){.lr = 1e-2, .clip = 5}), MN_OK);
    cr_assert_eq(nn_graph_run(t->graph, &tick), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_optim_post(t->optim), MN_OK);
    cr_assert_eq(nn_optim_take(t->optim, &r), MN_OK);
    cr_assert_not(r.skipped, "step %d is not finite", step);
    return r.loss;
}

static float *fetched(const training *t, const float *from, int64_t n)
{
    float *x = mn_calloc((size_t)n, sizeof *x);
    cr_assert_eq(t->device->copy(t->device, x, from, (size_t)n * sizeof *x), MN_OK);
    cr_assert_eq(t->device->wait(t->device), MN_OK);
    return x;
}

static void expect_same(const training *a, const training *b, const char *what, const float *x, const float *y,
                        int64_t offset, int64_t n)
{
    float *p = fetched(a, x + offset, n), *q = fetched(b, y + offset, n);
    cr_expect(memcmp(p, q, (size_t)n * sizeof *p) == 0, "%s", what);
    free(p);
    free(q);
}

// Of both: what each parameter and its gradient are, and that gradients are final in the same order, when they say so.
static void expect_same_arenas(const training *a, const training *b, const char *name)
{
    const nn_arenas *x = nn_params_arenas(a->params), *y = nn_params_arenas(b->params);
    for (int i = 0; i < nn_params_count(a->params); i++) {
        const nn_param *p = nn_params_at(a->params, i), *q = nn_params_at(b->params, i);
        char text[256];
        snprintf(text, sizeof text, "%s: %s", name, p->name);
        cr_assert_str_eq(p->name, q->name);
        expect_same(a, b, text, x->master, y->master, p->offset, p->count);
        if (!nn_param_grad(a->params, p)) continue;
        expect_same(a, b, text, x->grad, y->grad, p->offset, p->count);
        if (i > 0)
            cr_expect_geq(nn_graph_ready_step(b->graph, q),
                          nn_graph_ready_step(b->graph, nn_params_at(b->params, i - 1)), "%s", text);
        if (b->device->on_host)
            cr_expect(memcmp(b->final[i], y->grad + q->offset, (size_t)q->count * sizeof(float)) == 0,
                      "%s: its gradient is not final after step %d", text, nn_graph_ready_step(b->graph, q));
    }
}

void recompute_compare(const recompute_net *net, mn_dtype type, const nn_device *d)
{
    training kept, again;
    training_open(&kept, net, type, d, 0);
    training_open(&again, net, type, d, 1);
    cr_expect_gt(nn_graph_steps(again.graph), nn_graph_steps(kept.graph), "%s: nothing is recomputed", net->name);
    cr_expect_lt(nn_graph_bytes(again.graph), nn_graph_bytes(kept.graph), "%s", net->name);
    for (int step = 0; step < STEPS; step++) {
        double want = train_step(&kept, step), got = train_step(&again, step);
        cr_expect(isfinite(want));
        cr_expect_eq(got, want, "%s, step %d: %.17g, not %.17g", net->name, step, got, want);
    }
    expect_same_arenas(&kept, &again, net->name);
    cr_expect_gt(kept.sums.count, 0);
    cr_expect_eq(memcmp(&kept.sums, &again.sums, sizeof kept.sums), 0, "%s: other collectives", net->name);
    training_close(&kept);
    training_close(&again);
}

// --- plans ---

static void count_call(void *ctx, const nn_step_time *t)
{
    recompute_plan *p = ctx;
    *(t->backward ? &p->backward : &p->forward) += 1;
}

recompute_plan recompute_plan_of(const recompute_net *net, int recompute)
{
    training t;
    training_open(&t, net, MN_F32, NULL, recompute);
    recompute_plan p = {.bytes = nn_graph_bytes(t.graph), .other_bytes = nn_graph_bytes_recomputed(t.graph)};
    nn_graph_times(t.graph, count_call, &p);
    training_close(&t);
    return p;
}
