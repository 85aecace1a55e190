// mien bench step: one training step (SimMIM, CCA) or one forward pass (wav2vec2) at full published size on random
// input. On the CPU the time from feeding to the end of the optimiser; on a GPU, as in a training, the host is one step
// ahead: every step's batch is copied there while the step before is computed, and the time is that between two ends.
#include "recipes/bench.h"
#include "recipes/bench_models.h"
#include "recipes/bench_ops.h"
#include "recipes/device.h"

#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/optim.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct bench {
    const mien_bench_cfg *cfg;
    const mien_bench_model *model;
    const nn_device *device;
    nn_params *params;
    nn_graph *graph;
    nn_optim *optim; // NULL: forward only
    mien_bench_input in[MIEN_BENCH_INPUTS];
    int n_in;
    nn_mark *end[2];     // of a forward pass on a GPU
    int64_t put, landed; // steps put on the device, steps known to have ended
    double landed_at;    // when the last one had
    nn_memory before;    // of the GPU: before the plan
    size_t planned;      // bytes that the plan takes of it
    double start_s;      // from the start of the process to the end of the first step
} bench;

// --- opening ---

// Zeros on a CPU.
static mn_err gpu_memory(const nn_device *d, nn_memory *out)
{
    *out = (nn_memory){0};
    return d->on_host ? MN_OK : d->memory(d, out, NULL, NULL);
}

// Recorded with the step.
static mn_err end_of_run(void *ctx)
{
    bench *b = ctx;
    return b->optim ? nn_optim_update(b->optim, nn_graph_device_buffer(b->graph, "loss")) : MN_OK;
}

static mn_err bench_open(bench *b)
{
    const mien_bench_cfg *cfg = b->cfg;
    int infer = b->model->infer;
    mn_dtype t = cfg->bf16 ? MN_BF16 : MN_F32;
    MN_TRY(mien_device_open(NULL, cfg->device, &b->device));
    MN_TRY(gpu_memory(b->device, &b->before));
    nn_graph_cfg graph = {
        .mode = infer ? NN_EVAL : NN_TRAIN, .dtype = t, .seed = 1, .device = b->device, .recompute = cfg->recompute};
    b->params = nn_params_new(1);
    b->graph = nn_graph_new(b->params, &graph);
    nn_tensor *loss = b->model->build(b->graph, cfg->batch);
    if (loss) nn_output(b->graph, "loss", loss);
    nn_layout_cfg layout = {.dtype = t, .forward_only = infer, .device = b->device};
    MN_TRY(nn_params_layout(b->params, b->graph, &layout));
    MN_TRY(nn_graph_plan(b->graph, loss));
    b->n_in = mien_bench_fill(b->graph, b->model, b->in);
    MN_TRY(nn_graph_status(b->graph));
    nn_graph_on_end(b->graph, end_of_run, b);
    nn_graph_record(b->graph, !cfg->no_graph);
    nn_optim_cfg adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05, .layer_decay = 1};
    if (!infer) MN_TRY(nn_optim_new(&b->optim, b->params, &adamw));
    nn_memory now;
    MN_TRY(gpu_memory(b->device, &now));
    b->planned = now.held;
    return MN_OK;
}

static void bench_close(bench *b)
{
    for (int i = 0; i < 2; i++)
        if (b->end[i]) b->device->mark_free(b->device, b->end[i]);
    nn_optim_free(b->optim);
    nn_graph_free(b->graph);
    nn_params_free(b->params);
    mien_device_close(b->device);
}

// On a GPU: all that was asked of it when everything is ready for the first step, after which nothing is. On a CPU: bytes
// of weights, gradients, moments, activations and batches.
static size_t planned(const bench *b)
{
    if (!b->device->on_host) return b->planned;
    const nn_arenas *a = nn_params_arenas(b->params);
    size_t weights = (size_t)a->count * (a->work == (void *)a->master ? 4 : 6);
    size_t moments = b->optim ? (size_t)a->trained * 8 : 0;
    return nn_graph_bytes(b->graph) + weights + (a->grad ? (size_t)a->trained * 4 : 0) + moments;
}

// --- running ---

static mn_err put_step(bench *b)
{
    for (int i = 0; !b->device->on_host && i < b->n_in; i++)
        MN_TRY(nn_graph_feed(b->graph, b->in[i].name, b->in[i].host, b->in[i].bytes));
    if (b->optim) MN_TRY(nn_optim_begin(b->optim, &(nn_optim_step_args){.lr = 1e-4, .clip = 5}));
    MN_TRY(nn_graph_run(b->graph, &(nn_tick){.step = (uint64_t)b->put, .rows = b->cfg->batch}));
    if (b->optim)
        MN_TRY(nn_optim_post(b->optim));
    else if (!b->device->on_host)
        MN_TRY(b->device->mark(b->device, &b->end[b->put % 2]));
    MN_TRY(nn_graph_fed(b->graph));
    b->put++;
    return MN_OK;
}

// Waits for the oldest step under way.
static mn_err land(bench *b, double *seconds)
{
    nn_optim_result r;
    if (b->optim)
        MN_TRY(nn_optim_take(b->optim, &r));
    else if (!b->device->on_host)
        MN_TRY(b->device->mark_wait(b->device, b->end[b->landed % 2]));
    double now = mn_seconds();
    *seconds = now - b->landed_at;
    b->landed_at = now;
    b->landed++;
    return MN_OK;
}

// n steps, from nothing under way to nothing under way.
static mn_err run_steps(bench *b, int64_t n, double *seconds)
{
    int64_t ahead = b->device->on_host ? 0 : 1, got = 0;
    b->landed_at = mn_seconds();
    for (int64_t i = 0; i < n; i++) {
        MN_TRY(put_step(b));
        if (b->put - b->landed > ahead) MN_TRY(land(b, &seconds[got++]));
    }
    while (got < n)
        MN_TRY(land(b, &seconds[got++]));
    return MN_OK;
}

// Memory is touched once; a GPU's first step prepares libraries, its second is recorded.
static mn_err warm_up(bench *b)
{
    double s[2];
    MN_TRY(run_steps(b, 1, s));
    b->start_s = mn_process_seconds();
    return run_steps(b, b->device->on_host ? 1 : 2, s);
}

// Each line read is a number of steps; the answer is one line, the seconds of each (tests/bench/compare.py).
static mn_err serve(bench *b)
{
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        long n = strtol(line, NULL, 10);
        if (n < 1 || n > 1000000) return mn_fail(MN_EUSAGE, "--serve wants numbers of steps, not '%.20s'", line);
        double *s = mn_calloc((size_t)n, sizeof *s);
        mn_err err = run_steps(b, n, s);
        for (long i = 0; err == MN_OK && i < n; i++)
            printf("%.6f%s", s[i], i + 1 < n ? " " : "\n");
        free(s);
        MN_TRY(err);
        fflush(stdout);
    }
    return MN_OK;
}

// --- the result ---

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

static double mib(size_t bytes)
{
    return (double)bytes / 1048576.0;
}

typedef struct figures {
    double median, low, high, rate, tflops; // seconds; samples and 10^12 operations a second
    size_t plan, held, used;                // bytes planned; held at the end, taken from the GPU's free memory; CPU: 0
} figures;

static void print_json_line(void *separator, const char *what, size_t bytes)
{
    const char **between = separator;
    printf("%s\"%s\": %zu", *between, what, bytes);
    *between = ", ";
}

static void print_text_line(void *ctx, const char *what, size_t bytes)
{
    (void)ctx;
    printf("  %10.2f MiB  %s\n", mib(bytes), what);
}

// What the GPU's memory is for, as members of an object or as lines.
static mn_err print_memory(const bench *b, void (*line)(void *ctx, const char *what, size_t bytes), void *ctx)
{
    nn_memory m;
    return b->device->on_host ? MN_OK : b->device->memory(b->device, &m, line, ctx);
}

static mn_err print_json(const bench *b, const figures *f)
{
    const mien_bench_cfg *cfg = b->cfg;
    printf(
        "{\"model\": \"%s\", \"batch\": %lld, \"precision\": \"%s\", \"device\": \"%s\", \"on\": \"%s\", "
        "\"recorded\": %s, \"recompute\": %s, \"ms\": %.3f, \"ms_q1\": %.3f, \"ms_q3\": %.3f, \"samples_per_s\": %.4g, "
        "\"tflops\": %.4g, ",
        cfg->model, (long long)cfg->batch, cfg->bf16 ? "bf16" : "fp32", b->device->name, b->device->text,
        b->device->on_host || cfg->no_graph ? "false" : "true", cfg->recompute ? "true" : "false", 1e3 * f->median,
        1e3 * f->low, 1e3 * f->high, f->rate, f->tflops);
    if (cfg->peak > 0) printf("\"share_of_peak\": %.3f, ", f->tflops / cfg->peak);
    printf("\"start_s\": %.2f, \"plan_bytes\": %zu, \"planned_bytes\": %zu, \"held_bytes\": %zu, "
           "\"used_bytes\": %zu, \"memory\": {",
           b->start_s, nn_graph_bytes(b->graph), f->plan, f->held, f->used);
    const char *between = "";
    mn_err err = print_memory(b, print_json_line, &between);
    puts("}}");
    return err;
}

static mn_err print_text(const bench *b, const figures *f)
{
    const mien_bench_cfg *cfg = b->cfg;
    printf("%s batch %lld %s%s%s%s%s: %.*f ms a step (quartiles %.*f to %.*f), %.4g samples/s", cfg->model,
           (long long)cfg->batch, cfg->bf16 ? "bf16" : "fp32", b->device->on_host ? "" : " on ", b->device->text,
           !b->device->on_host && cfg->no_graph ? ", not recorded" : "", cfg->recompute ? ", recomputed" : "",
           f->median < 0.1 ? 3 : 1, 1e3 * f->median, f->median < 0.1 ? 3 : 1, 1e3 * f->low, f->median < 0.1 ? 3 : 1,
           1e3 * f->high, f->rate);
    if (f->tflops > 0) printf(", %.3g TFLOP/s", f->tflops);
    if (f->tflops > 0 && cfg->peak > 0) printf(" (%.1f %% of %g)", 100 * f->tflops / cfg->peak, cfg->peak);
    printf(", first step %.2f s after the start, plan %.0f MiB", b->start_s, mib(nn_graph_bytes(b->graph)));
    if (!b->device->on_host)
        printf("; GPU memory: planned %.1f MiB, taken %.1f MiB (%+.1f %%)", mib(f->plan), mib(f->used),
               100 * ((double)f->used / (double)f->plan - 1));
    puts("");
    return print_memory(b, print_text_line, NULL);
}

static mn_err measure(bench *b)
{
    const mien_bench_cfg *cfg = b->cfg;
    int64_t n = cfg->rounds;
    nn_memory now;
    double *s = mn_calloc((size_t)n, sizeof *s);
    nn_graph_timing(b->graph, cfg->profile || cfg->ops);
    mn_err err = run_steps(b, n, s);
    qsort(s, (size_t)n, sizeof *s, ascending);
    figures f = {.median = s[n / 2], .low = s[n / 4], .high = s[3 * n / 4], .plan = planned(b)};
    free(s);
    MN_TRY(err);
    MN_TRY(gpu_memory(b->device, &now));
    f.held = now.held;
    f.used = b->before.free > now.free ? b->before.free - now.free : 0;
    f.rate = (double)cfg->batch / f.median;
    f.tflops = f.rate * b->model->gigaflop / 1e3;
    if (cfg->profile) nn_graph_dump(b->graph, print_line, NULL);
    if (cfg->ops) {
        mien_bench_print_ops(cfg, b->graph, b->device->name);
        return MN_OK;
    }
    return cfg->json ? print_json(b, &f) : print_text(b, &f);
}

mn_err mien_bench_step(const mien_bench_cfg *cfg)
{
    mien_bench_cfg own = *cfg;
    bench b = {.cfg = &own, .model = mien_bench_model_find(cfg->model)};
    if (!b.model)
        return mn_fail(MN_EUSAGE, "--model is simmim, simmim_b, wav2vec2, cca or tiny, not '%s'; see mien bench --help",
                       cfg->model);
    if (own.batch == 0) own.batch = b.model->batch;
    mn_err err = bench_open(&b);
    if (err == MN_OK) err = warm_up(&b);
    if (err == MN_OK) err = cfg->serve ? serve(&b) : measure(&b);
    bench_close(&b);
    return err;
}
