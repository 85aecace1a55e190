#include "dist/gradients.h"

#include "nn/base/mem.h"

#include <stdlib.h>

enum { POSTED = 4 };

struct dist_gradients {
    dist_comm *comm;
    const nn_device *device;
    dist_window *window; // on CPUs
    dist_buckets *buckets;
    dist_control now, sum[POSTED];
    int64_t posted, taken;
};

mn_err dist_gradients_new(dist_gradients **out, dist_comm *c, const nn_device *d)
{
    dist_gradients *r = mn_calloc(1, sizeof *r);
    mn_err err = MN_OK;
    r->comm = c;
    r->device = d;
    if (d->on_host)
        err = dist_window_new(&r->window, c);
    else if (dist_world(c) > 1)
        err =
            mn_fail(MN_EDEVICE,
                    "%s: several ranks on GPUs are not supported by this build: use one rank, or device: cpu", d->name);
    if (err != MN_OK) {
        dist_gradients_free(r);
        return err;
    }
    *out = r;
    return MN_OK;
}

void dist_gradients_free(dist_gradients *r)
{
    if (!r) return;
    dist_buckets_free(r->buckets);
    dist_window_free(r->window);
    free(r);
}

void dist_gradients_layout(dist_gradients *r, nn_layout_cfg *cfg)
{
    cfg->device = r->device;
    cfg->tail = sizeof(dist_control);
    if (!r->window) return;
    cfg->alloc = dist_window_alloc;
    cfg->ctx = r->window;
}

mn_err dist_gradients_plan(dist_gradients *r, nn_graph *g, const nn_params *ps)
{
    if (!r->window) return MN_OK;
    MN_TRY(dist_buckets_new(&r->buckets, r->comm, r->window, g, ps, 0));
    nn_graph_on_step(g, dist_buckets_on_step, r->buckets);
    return MN_OK;
}

mn_err dist_gradients_begin(dist_gradients *r, const dist_control *own)
{
    r->now = *own;
    if (r->buckets) *dist_buckets_control(r->buckets) = *own;
    return MN_OK;
}

mn_err dist_gradients_finish(dist_gradients *r)
{
    return r->buckets ? dist_buckets_wait(r->buckets, &r->now) : MN_OK;
}

mn_err dist_gradients_post(dist_gradients *r)
{
    mn_assert(r->posted - r->taken < POSTED);
    r->sum[r->posted++ % POSTED] = r->now;
    return MN_OK;
}

mn_err dist_gradients_take(dist_gradients *r, dist_control *sum)
{
    mn_assert(r->taken < r->posted);
    *sum = r->sum[r->taken++ % POSTED];
    return MN_OK;
}

double dist_gradients_seconds(const dist_gradients *r)
{
    return r->buckets ? dist_buckets_seconds(r->buckets, NULL) : 0;
}
