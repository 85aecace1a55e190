#include "nn/optim.h"

#include "nn/base/mem.h"
#include "nn/device.h"
#include "nn/mail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct nn_optim {
    nn_optim_cfg cfg;
    nn_params *params;
    const nn_device *device;
    nn_adamw call;               // addresses of the device
    float *m, *v;                // moments in host memory, in arena layout, or NULL; of the CPU: the same as in call
    size_t bytes, chunk_bytes;   // of each of m, v; of the table
    nn_adamw_chunk *table;       // chunks in host memory
    nn_optim_result *result;     // of the device
    nn_optim_step_args *args;    // of the device
    nn_mail *results, *commands; // from and to the device
    int64_t updates;
};

// A chunk is the unit of work: of one parameter, so that padding between parameters is never touched and a partial sum
// of the norm does not depend on the number of threads.
static int trained(const nn_params *ps, const nn_param *p)
{
    return p->offset < nn_params_arenas(ps)->trained && nn_param_grad(ps, p) != NULL;
}

static double lr_scale(const nn_optim_cfg *cfg, const nn_param *p)
{
    if (cfg->layer_decay <= 0) return 1;
    return pow(cfg->layer_decay, cfg->layers - p->spec.layer);
}

static int64_t count_chunks(const nn_optim *o)
{
    int64_t n = 0;
    for (int i = 0; i < nn_params_count(o->params); i++) {
        const nn_param *p = nn_params_at(o->params, i);
        if (trained(o->params, p)) n += (p->count + NN_ADAMW_CHUNK - 1) / NN_ADAMW_CHUNK;
    }
    return n;
}

static void cut(nn_optim *o)
{
    o->call.n_chunks = count_chunks(o);
    o->chunk_bytes = ((size_t)o->call.n_chunks + 1) * sizeof *o->table;
    o->table = mn_calloc(1, o->chunk_bytes);
    nn_adamw_chunk *to = o->table;
    for (int i = 0; i < nn_params_count(o->params); i++) {
        const nn_param *p = nn_params_at(o->params, i);
        if (!trained(o->params, p)) continue;
        double decay = p->spec.no_decay && !o->cfg.decay_all ? 0 : o->cfg.weight_decay;
        for (int64_t at = 0; at < p->count; at += NN_ADAMW_CHUNK) {
            int64_t left = p->count - at;
            *to++ = (nn_adamw_chunk){.offset = p->offset + at,
                                     .count = left < NN_ADAMW_CHUNK ? left : NN_ADAMW_CHUNK,
                                     .lr_scale = lr_scale(&o->cfg, p),
                                     .decay = decay};
        }
    }
}

static mn_err device_alloc(nn_optim *o, void **out, size_t bytes, const char *what)
{
    MN_TRY(o->device->alloc(o->device, out, bytes, what));
    return o->device->fill(o->device, *out, 0, bytes);
}

static size_t scratch_bytes(const nn_optim *o)
{
    return ((size_t)o->call.n_chunks + NN_ADAMW_SCRATCH) * sizeof(double);
}

static mn_err alloc_moments(nn_optim *o)
{
    void *m, *v;
    if (!o->bytes) return MN_OK;
    MN_TRY(device_alloc(o, &m, o->bytes, "the first moments of the optimiser"));
    o->call.m = m;
    MN_TRY(device_alloc(o, &v, o->bytes, "the second moments of the optimiser"));
    o->call.v = v;
    if (!o->device->on_host) return MN_OK;
    o->m = m;
    o->v = v;
    return MN_OK;
}

// Pinned memory is slow to get and only one rank saves, so whoever asks first pays.
static mn_err make_copy(nn_optim *o, float **out, const char *what)
{
    void *p;
    if (*out) return MN_OK;
    MN_TRY(o->device->host_alloc(o->device, &p, o->bytes, what));
    *out = p;
    return MN_OK;
}

static void free_copies(nn_optim *o)
{
    const nn_device *d = o->device;
    if (d->on_host) return;
    if (o->m) d->host_release(d, o->m, o->bytes);
    if (o->v) d->host_release(d, o->v, o->bytes);
    o->m = o->v = NULL;
}

static mn_err alloc_all(nn_optim *o)
{
    void *p;
    MN_TRY(alloc_moments(o));
    MN_TRY(device_alloc(o, &p, scratch_bytes(o), "the sums of the gradient norm"));
    o->call.square = p;
    MN_TRY(device_alloc(o, &p, o->chunk_bytes, "the table of the optimiser"));
    o->call.chunk = p;
    MN_TRY(o->device->copy(o->device, p, o->table, o->chunk_bytes));
    MN_TRY(device_alloc(o, &p, sizeof *o->result, "the results of a step"));
    o->result = p;
    MN_TRY(device_alloc(o, &p, sizeof *o->args, "the numbers of a step"));
    o->args = p;
    MN_TRY(nn_mail_new(&o->results, o->device, sizeof *o->result));
    return nn_mail_new(&o->commands, o->device, sizeof *o->args);
}

mn_err nn_optim_new(nn_optim **out, nn_params *ps, const nn_optim_cfg *cfg)
{
    const nn_arenas *a = nn_params_arenas(ps);
    nn_optim *o = mn_calloc(1, sizeof *o);
    mn_err err = MN_OK;

    o->cfg = *cfg;
    o->params = ps;
    o->device = nn_params_device(ps);
    MN_TRY_OUT(err, mn_mul_size((size_t)a->trained, sizeof(float), &o->bytes));
    cut(o);
    MN_TRY_OUT(err, alloc_all(o));
    o->call.beta1 = cfg->beta1;
    o->call.beta2 = cfg->beta2;
    o->call.eps = cfg->eps;
    o->call.master = a->master;
    o->call.work = a->work;
    o->call.grad = a->grad;
    o->call.args = o->args;
    o->call.result = o->result;
    *out = o;
    return MN_OK;
out:
    nn_optim_free(o);
    return err;
}

static void give_back(nn_optim *o, const void *p, size_t bytes)
{
    if (p) o->device->release(o->device, (void *)p, bytes);
}

void nn_optim_free(nn_optim *o)
{
    if (!o) return;
    nn_mail_free(o->results);
    nn_mail_free(o->commands);
    free_copies(o);
    give_back(o, o->call.m, o->bytes);
    give_back(o, o->call.v, o->bytes);
    give_back(o, o->call.square, scratch_bytes(o));
    give_back(o, o->call.chunk, o->chunk_bytes);
    give_back(o, o->result, sizeof *o->result);
    give_back(o, o->args, sizeof *o->args);
    free(o->table);
    free(o);
}

mn_err nn_optim_begin(nn_optim *o, const nn_optim_step_args *args)
{
    *(nn_optim_step_args *)nn_mail_slot(o->commands) = *args;
    return nn_mail_send(o->commands, o->args);
}

mn_err nn_optim_update(nn_optim *o, const double *loss)
{
    o->call.loss = loss;
    return o->device->adamw(o->device, &o->call);
}

mn_err nn_optim_post(nn_optim *o)
{
    return nn_mail_post(o->results, o->result);
}

mn_err nn_optim_take(nn_optim *o, nn_optim_result *r)
{
    const void *at;
    MN_TRY(nn_mail_take(o->results, &at));
    *r = *(const nn_optim_result *)at;
    o->updates = r->updates;
    return MN_OK;
}

float *nn_optim_m(nn_optim *o, const nn_param *p)
{
    return o->m && trained(o->params, p) ? o->m + p->offset : NULL;
}

float *nn_optim_v(nn_optim *o, const nn_param *p)
{
    return o->v && trained(o->params, p) ? o->v + p->offset : NULL;
}

int64_t nn_optim_updates(const nn_optim *o)
{
    return o->updates;
}

void nn_optim_set_updates(nn_optim *o, int64_t n)
{
    o->updates = n;
    if (o->device->on_host) o->result->updates = n;
}

mn_err nn_optim_fetch(nn_optim *o)
{
    if (o->device->on_host || !o->bytes) return MN_OK;
    MN_TRY(make_copy(o, &o->m, "the first moments, for checkpoints"));
    MN_TRY(make_copy(o, &o->v, "the second moments, for checkpoints"));
    MN_TRY(o->device->copy(o->device, o->m, o->call.m, o->bytes));
    MN_TRY(o->device->copy(o->device, o->v, o->call.v, o->bytes));
    return o->device->wait(o->device);
}

mn_err nn_optim_sync(nn_optim *o)
{
    nn_optim_result r = {.updates = o->updates};
    MN_TRY(o->device->copy(o->device, o->result, &r, sizeof r));
    if (o->device->on_host) return MN_OK;
    if (o->m) MN_TRY(o->device->copy(o->device, o->call.m, o->m, o->bytes));
    if (o->v) MN_TRY(o->device->copy(o->device, o->call.v, o->v, o->bytes));
    MN_TRY(o->device->wait(o->device));
    free_copies(o);
    return MN_OK;
}
