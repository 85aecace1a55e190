// One forward pass over a set, in order, every sample exactly once whatever the number of ranks.
#include "dist/train.h"

#include "dist/proceed.h"
#include "nn/base/fault.h"
#include "nn/base/mem.h"
#include "nn/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

nn_tensor *dist_input(nn_graph *g, const data_set *set, int64_t rows, const char *field)
{
    int i = data_set_field(set, field);
    if (i < 0) return nn_graph_bad(g, "the data has no field '%s'", field);
    const data_field *f = &set->field[i];
    mn_shape shape = {.n = f->shape.n + 1, .d = {rows}};
    if (shape.n > MN_MAX_DIMS) return nn_graph_bad(g, "the field '%s' has too many dimensions", field);
    for (int k = 0; k < f->shape.n; k++)
        shape.d[k + 1] = f->shape.d[k];
    return nn_input(g, field, f->dtype, shape);
}

mn_err dist_feed(nn_graph *g, const data_set *set, const data_batch *b)
{
    for (int i = 0; i < b->n_fields; i++) {
        const char *name = set->field[i].name;
        if (nn_graph_has_input(g, name)) MN_TRY(nn_graph_feed(g, name, b->field[i], b->bytes[i]));
    }
    return MN_OK;
}

static mn_err batch_alloc(void *device, size_t bytes, void **out)
{
    const nn_device *d = device;
    return d->host_alloc(d, out, bytes, "batches prepared ahead");
}

static void batch_free(void *device, void *p, size_t bytes)
{
    const nn_device *d = device;
    d->host_release(d, p, bytes);
}

data_memory dist_batch_memory(const nn_graph *g)
{
    return (data_memory){batch_alloc, batch_free, (void *)nn_params_device(nn_graph_params(g))};
}

mn_err dist_release(data_loader *l, nn_graph *g, const data_batch *b, mn_err err)
{
    char *message = err == MN_OK ? NULL : mn_strdup(mn_errmsg());
    mn_err copied = nn_graph_fed(g);
    data_loader_release(l, b);
    if (err != MN_OK) (void)mn_fail(err, "%s", message);
    free(message);
    return err == MN_OK ? copied : err;
}

static mn_err score_batch(const dist_evaluation *e, const data_batch *b)
{
    MN_TRY(dist_feed(e->graph, e->set, b));
    MN_TRY(nn_graph_run(e->graph, &(nn_tick){.first_row = b->at.position + b->first_row, .rows = b->rows}));
    MN_TRY(e->task->score_add(e->task->ctx, e->graph, b));
    return nn_graph_status(e->graph);
}

// All ranks have equally many batches: after each they agree to go on.
static mn_err score_all(const dist_evaluation *e)
{
    for (;;) {
        const data_batch *b = NULL;
        mn_err err = data_loader_next(e->loader, &b);
        if (err == MN_OK && !b) return MN_OK;
        if (err == MN_OK) err = dist_release(e->loader, e->graph, b, score_batch(e, b));
        MN_TRY(dist_proceed(e->comm, err));
    }
}

static mn_err open_loader(dist_evaluation *e)
{
    data_loader_cfg cfg = {.set = e->set,
                           .batch = e->batch,
                           .rank = dist_rank(e->comm),
                           .world = dist_world(e->comm),
                           .threads = e->threads,
                           .ahead = 2,
                           .memory = dist_batch_memory(e->graph)};
    return dist_agree(e->comm, data_loader_open(&e->loader, &cfg, (data_state){0}));
}

mn_err dist_evaluate(dist_evaluation *e, dist_score *out)
{
    const dist_task *t = e->task;
    memset(out, 0, sizeof *out);
    out->loss = NAN;
    (void)mn_fault("eval");
    MN_TRY(dist_proceed(e->comm, t->score_begin(t->ctx)));
    if (e->loader)
        data_loader_rewind(e->loader);
    else
        MN_TRY(open_loader(e));
    MN_TRY(score_all(e));
    return t->score_end(t->ctx, e->comm, out);
}

void dist_evaluation_close(dist_evaluation *e)
{
    data_loader_close(e->loader);
    e->loader = NULL;
}
