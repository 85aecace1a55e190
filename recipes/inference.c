#include "recipes/inference.h"

#include "dist/ckpt.h"
#include "dist/proceed.h"
#include "dist/watchdog.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "…/step-00000120/model.safetensors": the step, for the record.
static int64_t step_of(const char *path)
{
    const char *at = strstr(path, "/step-");
    return at ? strtoll(at + 6, NULL, 10) : -1;
}

static mn_err sum_over_ranks(mien_inference *m)
{
    const mien_job *j = m->job;
    if (j->device->on_host)
        nn_graph_set_sum(m->graph, dist_host_sum, j->comm);
    else
        MN_TRY(dist_nccl_open(&m->nccl, j->comm, j->device));
    dist_nccl_attach(m->nccl, m->graph);
    return MN_OK;
}

static mn_err build(mien_inference *m, const data_set *set, int64_t rows)
{
    mien_job *j = m->job;
    nn_graph_cfg cfg = {.mode = NN_EVAL,
                        .dtype = j->common.precision == MIEN_BF16 ? MN_BF16 : MN_F32,
                        .seed = j->common.seed,
                        .device = j->device};
    m->params = nn_params_new(j->common.seed);
    m->graph = nn_graph_new(m->params, &cfg);
    j->task->build(j, m->graph, set, rows);
    if (j->comm && !j->alone) MN_TRY(sum_over_ranks(m));
    MN_TRY(nn_params_layout(m->params, m->graph,
                            &(nn_layout_cfg){.device = j->device, .dtype = cfg.dtype, .forward_only = 1}));
    return nn_graph_plan(m->graph, NULL);
}

// ".../NAME/ckpt/step-00000120/model.safetensors": NAME; of any other path its last part.
static void run_of(const char *path, char *run, size_t size)
{
    const char *end = strstr(path, "/ckpt/step-"), *from = end ? end : path + strlen(path);
    if (!end) end = from;
    while (from > path && from[-1] != '/')
        from--;
    snprintf(run, size, "%.*s", (int)(end - from), from);
}

mn_err mien_weights_find(const mien_job *j, const char *weights, int select, mien_weights_file *out)
{
    int64_t size;
    MN_TRY(dist_ckpt_find_model(weights, j->common.runs_dir, select == MIEN_BEST, out->path, sizeof out->path));
    out->step = step_of(out->path);
    run_of(out->path, out->run, sizeof out->run);
    return mn_file_digest(out->path, out->digest, &size);
}

mn_err mien_inference_open(mien_inference **out, mien_job *j, const data_set *set, int64_t rows, const char *weights,
                           int select)
{
    mien_inference *m = mn_calloc(1, sizeof *m);
    m->job = j;
    mn_err err = build(m, set, rows);
    if (err == MN_OK) err = mien_weights_find(j, weights, select, &m->from);
    if (err == MN_OK) err = mien_load_weights(j, m->params, m->from.path, 1);
    if (err != MN_OK) {
        mien_inference_close(m);
        return err;
    }
    *out = m;
    return MN_OK;
}

void mien_inference_close(mien_inference *m)
{
    if (!m) return;
    dist_nccl_close(m->nccl, m->graph ? nn_graph_status(m->graph) : MN_OK);
    nn_graph_free(m->graph);
    nn_params_free(m->params);
    free(m);
}

static mn_err run_batch(mien_inference *m, const data_set *set, const data_batch *b, mien_each_batch *each, void *ctx)
{
    MN_TRY(dist_feed(m->graph, set, b));
    MN_TRY(nn_graph_run(m->graph, &(nn_tick){.first_row = b->at.position, .rows = b->rows}));
    MN_TRY(each(ctx, m->graph, b));
    return nn_graph_status(m->graph);
}

// One line each 30 s; of rank 0, whose share is as large as any other.
static void tell_progress(int64_t done, int64_t count, double start, double *told)
{
    double now = mn_seconds();
    if (now - *told < 30 || done == count) return;
    double left = (now - start) / (double)done * (double)(count - done);
    mn_info("%lld of %lld samples of this rank, %.1f a second, left %.0f s", (long long)done, (long long)count,
            (double)done / (now - start), left);
    *told = now;
}

static mn_err run_share(mien_inference *m, data_set *set, int64_t rows, mien_each_batch *each, void *ctx,
                        dist_share *share)
{
    data_loader *l;
    const data_batch *b = NULL;
    double start = mn_seconds(), told = start;
    int64_t done = 0;
    data_loader_cfg cfg = {.set = set,
                           .batch = rows,
                           .world = 1,
                           .threads = (int)m->job->common.loader_threads,
                           .ahead = 2,
                           .memory = dist_batch_memory(m->graph)};
    mn_err err = MN_OK;
    if (set->count == 0) return MN_OK;
    MN_TRY(data_loader_open(&l, &cfg, (data_state){0}));
    while ((err = data_loader_next(l, &b)) == MN_OK && b) {
        done += b->rows;
        err = dist_release(l, m->graph, b, run_batch(m, set, b, each, ctx));
        if (err == MN_OK) err = dist_share_proceed(share);
        if (err != MN_OK) break;
        tell_progress(done, set->count, start, &told);
    }
    data_loader_close(l);
    return err;
}

mn_err mien_inference_run(mien_inference *m, data_set *set, int64_t rows, mien_each_batch *each, void *ctx)
{
    dist_comm *comm = m->job->comm;
    dist_share share;
    dist_watchdog_phase(dist_watchdog_of(comm), DIST_PHASE_EVAL, 0);
    dist_share_begin(&share, comm);
    return dist_share_end(&share, run_share(m, set, rows, each, ctx, &share));
}
