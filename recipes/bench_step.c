// mien bench step: one training step (SimMIM, CCA) or one forward pass (wav2vec2) at full published size on random
// input, timed from feeding to the end of the optimiser.
#include "recipes/bench.h"

#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/models.h"
#include "nn/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    nn_params *params;
    nn_graph *graph;
    nn_optim *optim; // NULL: forward only
    uint64_t step;
} bench;

// --- the three networks ---

static nn_tensor *simmim(nn_graph *g, int64_t batch)
{
    nn_swin_cfg cfg = {.image = 192,
                       .patch = 4,
                       .window = 6,
                       .embed = 96,
                       .stages = 4,
                       .mlp_ratio = 4,
                       .depths = {2, 2, 6, 2},
                       .heads = {3, 6, 12, 24}};
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(batch, 192, 192, 3));
    nn_tensor *mask = nn_input(g, "mask", MN_U8, MN_SHAPE(batch, 48 * 48));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(batch));
    nn_tensor *pred = nn_simmim_decoder(g, &cfg, nn_swin(g, &cfg, image, mask));
    return nn_l1_loss(g, pred, image, mask, weight, nn_swin_stride(&cfg), cfg.patch);
}

static nn_tensor *wav2vec2(nn_graph *g, int64_t batch)
{
    nn_wav2vec2_cfg cfg;
    nn_wav2vec2_base(&cfg);
    nn_output(g, "hidden", nn_wav2vec2(g, &cfg, nn_input(g, "wave", MN_F32, MN_SHAPE(batch, 160000)), NULL));
    return NULL;
}

static nn_tensor *cca(nn_graph *g, int64_t batch)
{
    nn_cca_cfg cfg = {.width = 768,
                      .heads = 8,
                      .head_hidden = {256, 128, 64},
                      .mlp_ratio = 4,
                      .drop = 0.3f,
                      .mix = 0.7f,
                      .form = NN_CCA_PAPER,
                      .task = NN_CCA_EXPR};
    mn_dtype t = nn_graph_dtype(g);
    nn_tensor *image = nn_cast(g, nn_input(g, "image", MN_F32, MN_SHAPE(batch, 100, 768)), t);
    nn_tensor *audio = nn_cast(g, nn_input(g, "audio", MN_F32, MN_SHAPE(batch, 100, 768)), t);
    nn_tensor *target = nn_input(g, "target", MN_F32, MN_SHAPE(batch, 100, 8));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(batch, 100));
    return nn_ce_loss(g, nn_cca(g, &cfg, image, audio, weight), target, weight, &(nn_ce_cfg){0});
}

// --- inputs ---

static void fill_f32(nn_graph *g, const char *name, int ones)
{
    size_t bytes = 0;
    float *x = nn_graph_input(g, name, &bytes);
    mn_stream_rng r = mn_rng_open(mn_rng_key(1, name), 0, 0);
    for (size_t i = 0; x && i < bytes / sizeof *x; i++)
        x[i] = ones ? 1 : mn_rng_normal(&r);
}

// 22 of the 36 cells of each picture.
static void fill_mask(nn_graph *g)
{
    size_t bytes = 0;
    uint8_t *m = nn_graph_input(g, "mask", &bytes);
    for (size_t i = 0; m && i < bytes; i++) {
        size_t token = i % 2304, cell = token / 48 / 8 * 6 + token % 48 / 8;
        m[i] = mn_rng_permute(i / 2304, 36, (int64_t)cell) < 22;
    }
}

static void fill(nn_graph *g)
{
    static const char *const noise[] = {"image", "wave", "audio"};
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++)
        fill_f32(g, noise[i], 0);
    fill_f32(g, "weight", 1);
    fill_mask(g);
    size_t bytes = 0;
    float *target = nn_graph_input(g, "target", &bytes);
    for (size_t i = 0; target && i < bytes / sizeof *target; i += 8)
        target[i + i / 8 % 8] = 1;
}

// --- running ---

static mn_err bench_open(bench *b, const mien_bench_cfg *cfg)
{
    nn_tensor *loss;
    int infer = strcmp(cfg->model, "wav2vec2") == 0;
    mn_dtype t = cfg->bf16 ? MN_BF16 : MN_F32;
    b->params = nn_params_new(1);
    b->graph = nn_graph_new(b->params, &(nn_graph_cfg){.mode = infer ? NN_EVAL : NN_TRAIN, .dtype = t, .seed = 1});
    if (infer)
        loss = wav2vec2(b->graph, cfg->batch);
    else if (strcmp(cfg->model, "cca") == 0)
        loss = cca(b->graph, cfg->batch);
    else if (strcmp(cfg->model, "simmim") == 0)
        loss = simmim(b->graph, cfg->batch);
    else
        return mn_fail(MN_EUSAGE, "--model is simmim, wav2vec2 or cca, not '%s'", cfg->model);
    MN_TRY(nn_params_layout(b->params, b->graph, &(nn_layout_cfg){.dtype = t, .forward_only = infer}));
    MN_TRY(nn_graph_plan(b->graph, loss));
    fill(b->graph);
    nn_optim_cfg adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05, .layer_decay = 1};
    return infer ? MN_OK : nn_optim_new(&b->optim, b->params, &adamw);
}

static void bench_close(bench *b)
{
    nn_optim_free(b->optim);
    nn_graph_free(b->graph);
    nn_params_free(b->params);
}

static mn_err run_step(bench *b, int64_t batch, double *seconds)
{
    double start = mn_seconds();
    MN_TRY(nn_graph_run(b->graph, &(nn_tick){.step = b->step++, .rows = batch}));
    if (b->optim) MN_TRY(nn_optim_step(b->optim, &(nn_optim_step_args){.lr = 1e-4, .clip = 5}, &(nn_optim_result){0}));
    *seconds = mn_seconds() - start;
    return MN_OK;
}

// Each line read is a number of steps; the answer is one line, the seconds of each (tests/bench/compare.py).
static mn_err serve(bench *b, int64_t batch)
{
    char line[64];
    double s;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        for (long n = strtol(line, NULL, 10); n > 0; n--) {
            MN_TRY(run_step(b, batch, &s));
            printf("%.6f%s", s, n > 1 ? " " : "\n");
        }
        fflush(stdout);
    }
    return MN_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_line(void *ctx, const char *text)
{
    (void)ctx;
    puts(text);
}

static mn_err measure(bench *b, const mien_bench_cfg *cfg)
{
    int64_t n = cfg->rounds;
    double *s = mn_calloc((size_t)n, sizeof *s);
    mn_err err = MN_OK;
    nn_graph_timing(b->graph, cfg->profile);
    for (int64_t i = 0; i < n && err == MN_OK; i++)
        err = run_step(b, cfg->batch, &s[i]);
    qsort(s, (size_t)n, sizeof *s, ascending);
    double median = s[n / 2], low = s[n / 4], high = s[3 * n / 4];
    free(s);
    MN_TRY(err);
    if (cfg->profile) nn_graph_dump(b->graph, print_line, NULL);
    if (cfg->json)
        printf("{\"model\": \"%s\", \"batch\": %lld, \"precision\": \"%s\", \"ms\": %.3f, \"ms_q1\": %.3f, \"ms_q3\": "
               "%.3f, \"samples_per_s\": %.4g, \"plan_bytes\": %zu}\n",
               cfg->model, (long long)cfg->batch, cfg->bf16 ? "bf16" : "fp32", 1e3 * median, 1e3 * low, 1e3 * high,
               (double)cfg->batch / median, nn_graph_bytes(b->graph));
    else
        printf("%s batch %lld %s: %.1f ms a step (quartiles %.1f to %.1f), %.4g samples/s, plan %.0f MiB\n", cfg->model,
               (long long)cfg->batch, cfg->bf16 ? "bf16" : "fp32", 1e3 * median, 1e3 * low, 1e3 * high,
               (double)cfg->batch / median, (double)nn_graph_bytes(b->graph) / 1048576.0);
    return MN_OK;
}

mn_err mien_bench_step(const mien_bench_cfg *cfg)
{
    bench b = {0};
    double s;
    mn_err err = bench_open(&b, cfg);
    for (int i = 0; i < 2 && err == MN_OK; i++)
        err = run_step(&b, cfg->batch, &s); // memory is touched once
    if (err == MN_OK) err = cfg->serve ? serve(&b, cfg->batch) : measure(&b, cfg);
    bench_close(&b);
    return err;
}
