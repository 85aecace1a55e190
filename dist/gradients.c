#include "dist/gradients.h"

#include "nn/base/fault.h"
#include "nn/base/mem.h"
#include "nn/mail.h"

#include <stdlib.h>

// Large enough to use a link fully, small enough that most of the sum is under way before backward ends.
enum { DEVICE_BUCKET_BYTES = 32 << 20 };

struct dist_gradients {
    dist_comm *comm;
    const nn_device *device;
    mn_dtype wire;
    // On CPUs.
    dist_window *window;
    dist_buckets *buckets;
    dist_control sum[NN_MAIL_SLOTS];
    int64_t posted, taken;
    // On GPUs.
    dist_nccl *nccl;
    dist_range *range;
    int n, next;     // ranges; the first that is not yet being summed, in this run
    float *grad;     // the arena, which ends in the control words
    mn_bf16 *packed; // a range on its way, with a bf16 wire; one after the other
    size_t packed_bytes;
    dist_control *control; // of this rank, and after the last range of all
    nn_mail *own, *sums;   // control words to the device and from it
};

mn_err dist_gradients_new(dist_gradients **out, dist_comm *c, const nn_device *d, mn_dtype wire)
{
    dist_gradients *r = mn_calloc(1, sizeof *r);
    mn_err err;
    r->comm = c;
    r->device = d;
    r->wire = wire;
    err = d->on_host ? dist_window_new(&r->window, c) : dist_nccl_open(&r->nccl, c, d);
    if (err == MN_OK && !d->on_host) err = nn_mail_new(&r->own, d, sizeof(dist_control));
    if (err == MN_OK && !d->on_host) err = nn_mail_new(&r->sums, d, sizeof(dist_control));
    if (err != MN_OK) {
        dist_gradients_stop(r, err);
        dist_gradients_free(r);
        return err;
    }
    *out = r;
    return MN_OK;
}

void dist_gradients_stop(dist_gradients *r, mn_err err)
{
    if (!r) return;
    dist_nccl_close(r->nccl, err);
    r->nccl = NULL;
}

void dist_gradients_free(dist_gradients *r)
{
    if (!r) return;
    dist_gradients_stop(r, MN_OK);
    nn_mail_free(r->own);
    nn_mail_free(r->sums); // waits for the device
    if (r->packed) r->device->release(r->device, r->packed, r->packed_bytes);
    free(r->range);
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

void dist_gradients_sums(dist_gradients *r, nn_graph *g)
{
    if (r->device->on_host)
        nn_graph_set_sum(g, dist_host_sum, r->comm);
    else
        dist_nccl_attach(r->nccl, g);
}

static mn_err sum_range(dist_gradients *r, const dist_range *range)
{
    const nn_device *d = r->device;
    float *at = r->grad + range->offset;
    if (range->wire == MN_F32) return dist_nccl_sum(r->nccl, at, range->count, NN_NCCL_F32, d->side);
    MN_TRY(d->side_narrow(d, r->packed, at, range->count));
    MN_TRY(dist_nccl_sum(r->nccl, r->packed, range->count, NN_NCCL_BF16, d->side));
    return d->side_widen(d, at, r->packed, range->count);
}

// Ranges that backward has completed are summed beside it.
static mn_err sum_ranges(dist_gradients *r, int upto)
{
    if (!r->nccl || upto == r->next) return MN_OK;
    if (mn_fault("gradients") == 2) // four bytes of ones are NaN
        MN_TRY(r->device->fill(r->device, r->grad + r->range[r->next].offset, 0xff, sizeof *r->grad));
    MN_TRY(r->device->fork(r->device));
    for (; r->next < upto; r->next++)
        MN_TRY(sum_range(r, &r->range[r->next]));
    return MN_OK;
}

static mn_err on_step(void *ctx, int step)
{
    dist_gradients *r = ctx;
    int ready = r->next;
    while (ready < r->n - 1 && r->range[ready].ready_step <= step) // the last one holds the control words
        ready++;
    return sum_ranges(r, ready);
}

static mn_err alloc_packed(dist_gradients *r)
{
    void *p;
    for (int i = 0; i < r->n; i++) {
        size_t bytes = r->range[i].wire == MN_BF16 ? (size_t)r->range[i].count * sizeof *r->packed : 0;
        if (bytes > r->packed_bytes) r->packed_bytes = bytes;
    }
    if (!r->nccl || !r->packed_bytes) return MN_OK;
    MN_TRY(r->device->alloc(r->device, &p, r->packed_bytes, "gradients on the wire"));
    r->packed = p;
    return MN_OK;
}

static mn_err plan_on_device(dist_gradients *r, nn_graph *g, const nn_params *ps)
{
    const nn_arenas *a = nn_params_arenas(ps);
    r->n = dist_ranges(g, ps, DEVICE_BUCKET_BYTES, r->wire, &r->range);
    r->grad = a->grad;
    r->control = (dist_control *)(void *)(a->grad + a->trained);
    nn_graph_on_step(g, on_step, r);
    MN_TRY(alloc_packed(r));
    return dist_world(r->comm) > 1 ? dist_ranges_compare(r->comm, r->range, r->n) : MN_OK;
}

mn_err dist_gradients_plan(dist_gradients *r, nn_graph *g, const nn_params *ps)
{
    if (!r->device->on_host) return plan_on_device(r, g, ps);
    MN_TRY(dist_buckets_new(&r->buckets, r->comm, r->window, g, ps, 0, r->wire));
    nn_graph_on_step(g, dist_buckets_on_step, r->buckets);
    return MN_OK;
}

mn_err dist_gradients_begin(dist_gradients *r, const dist_control *own)
{
    r->next = 0;
    if (!r->device->on_host) {
        *(dist_control *)nn_mail_slot(r->own) = *own;
        return nn_mail_send(r->own, r->control);
    }
    *dist_buckets_control(r->buckets) = *own;
    return MN_OK;
}

mn_err dist_gradients_finish(dist_gradients *r)
{
    if (r->device->on_host) return dist_buckets_wait(r->buckets, &r->sum[r->posted % NN_MAIL_SLOTS]);
    MN_TRY(sum_ranges(r, r->n));
    r->next = 0; // a run that is recorded passes here twice
    return r->nccl ? r->device->join(r->device) : MN_OK;
}

mn_err dist_gradients_post(dist_gradients *r)
{
    mn_assert(r->posted - r->taken < NN_MAIL_SLOTS);
    r->posted++;
    return r->device->on_host ? MN_OK : nn_mail_post(r->sums, r->control);
}

mn_err dist_gradients_take(dist_gradients *r, dist_control *sum)
{
    const void *at = &r->sum[r->taken % NN_MAIL_SLOTS];
    mn_assert(r->taken < r->posted);
    r->taken++;
    if (!r->device->on_host) {
        MN_TRY(nn_mail_take(r->sums, &at));
        MN_TRY(dist_nccl_check(r->nccl));
    }
    *sum = *(const dist_control *)at;
    return MN_OK;
}

double dist_gradients_seconds(const dist_gradients *r)
{
    return r->buckets ? dist_buckets_seconds(r->buckets, NULL) : 0;
}
