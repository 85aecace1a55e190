// mien bench checkpoint: the state of a network at full published size is saved as training saves it, until it is
// durable, and read again: how long training stands still for it, and how fast the disk takes it.
#include "recipes/bench.h"
#include "recipes/bench_models.h"

#include "dist/ckpt.h"
#include "dist/signal.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct bench {
    nn_params *params;
    nn_graph *graph; // only declares the parameters
    nn_optim *optim;
    dist_ckpt *ckpt;
    char *folder, *dir;
} bench;

static mn_err open_state(bench *b, const mien_bench_model *m)
{
    nn_graph_cfg graph = {.mode = NN_TRAIN, .dtype = MN_F32, .seed = 1};
    nn_optim_cfg adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05, .layer_decay = 1};
    b->params = nn_params_new(1);
    b->graph = nn_graph_new(b->params, &graph);
    (void)m->build(b->graph, 1);
    MN_TRY(nn_params_layout(b->params, b->graph, &(nn_layout_cfg){.dtype = MN_F32}));
    return nn_optim_new(&b->optim, b->params, &adamw);
}

static mn_err open_folder(bench *b, const char *where)
{
    b->folder = mn_sprintf("%s/.mien-bench-%ld", where, (long)getpid());
    b->dir = mn_sprintf("%s/ckpt", b->folder);
    MN_TRY(mn_dir_make(b->dir));
    return dist_ckpt_open(
        &b->ckpt, &(dist_ckpt_cfg){.dir = b->dir, .keep = 1, .attempt = 1, .params = b->params, .optim = b->optim});
}

typedef struct times {
    double *stall, *durable, *load; // seconds, of each round
} times;

// After a signal the folder, which may be gigabytes, is removed as well.
static mn_err run_round(bench *b, int64_t round, double *stall, double *durable, double *load)
{
    if (dist_signal_pending()) return mn_fail(MN_EINTERRUPTED, "stopped by a signal; what was written is removed");
    char path[DIST_CKPT_PATH];
    dist_state state = {.step = round + 1, .best = -DBL_MAX, .world = 1};
    dist_saved saved;
    double began = mn_seconds();
    MN_TRY(dist_ckpt_save(b->ckpt, &state));
    *stall = mn_seconds() - began;
    MN_TRY(dist_ckpt_wait(b->ckpt));
    *durable = mn_seconds() - began;
    if (dist_ckpt_ended(b->ckpt, &saved)) MN_TRY(saved.err);
    began = mn_seconds();
    MN_TRY(dist_ckpt_latest(b->dir, path, sizeof path));
    MN_TRY(dist_ckpt_load(path, b->params, b->optim, &state));
    *load = mn_seconds() - began;
    return MN_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *s, int64_t n)
{
    qsort(s, (size_t)n, sizeof *s, ascending);
    return s[n / 2];
}

static void print(const mien_bench_cfg *cfg, const bench *b, const times *t)
{
    double bytes = (double)dist_ckpt_bytes(b->ckpt), stall = median(t->stall, cfg->rounds);
    double durable = median(t->durable, cfg->rounds), load = median(t->load, cfg->rounds);
    if (cfg->json)
        printf("{\"bench\": \"checkpoint\", \"model\": \"%s\", \"bytes\": %.0f, \"stall_ms\": %.3f, "
               "\"durable_s\": %.4f, \"write_bytes_per_s\": %.4g, \"load_s\": %.4f, \"read_bytes_per_s\": %.4g}\n",
               cfg->model, bytes, 1e3 * stall, durable, bytes / durable, load, bytes / load);
    else
        printf("%s: %.1f MB: training stands still for %.1f ms, durable after %.2f s (%.0f MB/s), verified and loaded "
               "in %.2f s (%.0f MB/s)\n",
               cfg->model, bytes / 1e6, 1e3 * stall, durable, bytes / 1e6 / durable, load, bytes / 1e6 / load);
}

// The first failure is the one to report.
static mn_err remove_folder(const char *folder, mn_err err)
{
    char first[1024];
    snprintf(first, sizeof first, "%s", err == MN_OK ? "" : mn_errmsg());
    mn_err removed = mn_tree_remove(folder);
    return err == MN_OK ? removed : mn_fail(err, "%s", first);
}

mn_err mien_bench_checkpoint(const mien_bench_cfg *cfg, const char *where)
{
    bench b = {0};
    const mien_bench_model *m = mien_bench_model_find(cfg->model);
    if (!m)
        return mn_fail(MN_EUSAGE, "--model is simmim, simmim_b, wav2vec2, cca or tiny, not '%s'; see mien bench --help",
                       cfg->model);
    double *s = mn_calloc((size_t)cfg->rounds * 3, sizeof *s);
    times t = {s, s + cfg->rounds, s + 2 * cfg->rounds};
    mn_err err = dist_signal_install();
    if (err == MN_OK) err = open_state(&b, m);
    if (err == MN_OK) err = open_folder(&b, where);
    for (int64_t i = -1; i < cfg->rounds && err == MN_OK; i++) { // the first is not counted
        int64_t k = i < 0 ? 0 : i;
        err = run_round(&b, i + 1, &t.stall[k], &t.durable[k], &t.load[k]);
    }
    if (err == MN_OK) print(cfg, &b, &t);
    dist_ckpt_close(b.ckpt);
    if (b.folder) err = remove_folder(b.folder, err);
    nn_optim_free(b.optim);
    nn_graph_free(b.graph);
    nn_params_free(b.params);
    free(b.dir);
    free(b.folder);
    free(s);
    return err;
}
