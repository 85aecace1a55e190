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

static mn_err score_batch(const dist_task *t, nn_graph *g, const data_set *set, const data_batch *b)
{
    MN_TRY(dist_feed(g, set, b));
    MN_TRY(nn_graph_run(g, &(nn_tick){.first_row = b->at.position + b->first_row, .rows = b->rows}));
    MN_TRY(t->score_add(t->ctx, g, b));
    return nn_graph_status(g);
}

// All ranks have equally many batches: after each they agree to go on.
static mn_err score_all(dist_comm *c, const dist_task *t, nn_graph *g, const data_set *set, data_loader *l)
{
    for (;;) {
        const data_batch *b = NULL;
        mn_err e = data_loader_next(l, &b);
        if (e == MN_OK && !b) return MN_OK;
        if (e == MN_OK) e = dist_release(l, g, b, score_batch(t, g, set, b));
        MN_TRY(dist_proceed(c, e));
    }
}

mn_err dist_evaluate(dist_comm *c, const dist_task *t, nn_graph *g, data_set *set, int64_t batch, int threads,
                     dist_score *out)
{
    data_loader *l = NULL;
    data_loader_cfg cfg = {.set = set,
                           .batch = batch,
                           .rank = dist_rank(c),
                           .world = dist_world(c),
                           .threads = threads,
                           .ahead = 2,
                           .memory = dist_batch_memory(g)};
    memset(out, 0, sizeof *out);
    out->loss = NAN;
    (void)mn_fault("eval");
    MN_TRY(dist_proceed(c, t->score_begin(t->ctx)));
    mn_err err = dist_agree(c, data_loader_open(&l, &cfg, (data_state){0}));
    if (err == MN_OK) err = score_all(c, t, g, set, l);
    data_loader_close(l);
    MN_TRY(err);
    return t->score_end(t->ctx, c, out);
}
