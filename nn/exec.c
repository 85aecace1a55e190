// Running the list: kernels in order, collectives through the function that was handed down, a hook after each
// backward step. Nothing is allocated here.
#include "nn/graph_internal.h"

#include "nn/base/clock.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// In the memory of the device; what is not f32 is in the work arena.
static void *param_at(const nn_graph *g, const nn_tensor *t)
{
    const nn_arenas *a = nn_params_arenas(g->params);
    if (t->dtype == MN_F32 || a->work == (void *)a->master) return a->master ? a->master + t->param->offset : NULL;
    return (mn_bf16 *)a->work + t->param->offset;
}

void *nn__value_at(const nn_graph *g, nn_tensor *t)
{
    nn_tensor *root = nn__root(t);
    if (root->param) return param_at(g, root);
    return g->value[root->id].used ? (char *)g->arena + g->value[root->id].offset : NULL;
}

void *nn__grad_at(const nn_graph *g, nn_tensor *t)
{
    nn_tensor *root = nn__root(t);
    if (root->param) return nn_param_grad(g->params, root->param);
    return g->grad[root->id].used ? (char *)g->arena + g->grad[root->id].offset : NULL;
}

static nn_tensor *find(const nn__named *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0) return list[i].tensor;
    return NULL;
}

int nn_graph_has_input(const nn_graph *g, const char *name)
{
    return g->arena && find(g->input, g->n_inputs, name) != NULL;
}

void *nn_graph_input(nn_graph *g, const char *name, size_t *bytes)
{
    nn_tensor *t = find(g->input, g->n_inputs, name);
    if (!t || !g->arena) return NULL;
    if (bytes) *bytes = nn__bytes(t);
    return g->away ? nn__away_input(g, t) : nn__value_at(g, t);
}

mn_err nn_graph_feed(nn_graph *g, const char *name, const void *host, size_t bytes)
{
    nn_tensor *t = find(g->input, g->n_inputs, name);
    if (!t || !g->arena) return mn_fail(MN_EINTERNAL, "the graph has no input '%s'", name);
    size_t have = nn__bytes(t);
    if (bytes != have)
        return mn_fail(MN_EINTERNAL, "input '%s': %zu bytes were fed, the plan wants %zu", name, bytes, have);
    return g->away ? nn__away_feed(g, t, host, bytes) : g->device->copy(g->device, nn__value_at(g, t), host, bytes);
}

// The sum over ranks is in place: of the output, and in backward of the gradient before it is added to what is there
// (this rank's own), or after it was copied.
static mn_err sum_over_ranks(nn_graph *g, const nn__step *s)
{
    const nn_kernels *k = g->device->kernels(g->device, s->node->op);
    const nn_call *c = &s->call;
    int64_t n = mn_count(s->node->out[0]->shape);
    int add = s->backward && c->acc & 1u;
    if (g->sum && add) MN_TRY(g->sum(g->sum_ctx, (double *)c->dout[0], n));
    MN_TRY(s->backward ? k->bwd(c) : k->fwd(c));
    if (g->sum && !add) MN_TRY(g->sum(g->sum_ctx, s->backward ? c->din[0] : c->out[0], n));
    return MN_OK;
}

static mn_err run_step(nn_graph *g, const nn__step *s)
{
    if (s->node->op->flags & NN_OP_COLLECTIVE) return sum_over_ranks(g, s);
    const nn_kernels *k = g->device->kernels(g->device, s->node->op);
    return s->backward ? k->bwd(&s->call) : k->fwd(&s->call);
}

static mn_err run_timed(nn_graph *g, nn__step *s)
{
    if (!g->timing) return run_step(g, s);
    double start = mn_seconds();
    MN_TRY(run_step(g, s));
    MN_TRY(g->device->wait(g->device));
    s->seconds += mn_seconds() - start;
    s->runs++;
    return MN_OK;
}

static mn_err seed_backward(nn_graph *g)
{
    static const double one = 1;
    return g->device->copy(g->device, nn__grad_at(g, g->loss), g->away ? nn__away_one(g) : &one, sizeof one);
}

static mn_err poison(nn_graph *g)
{
    const nn_device *d = g->device;
    MN_TRY(d->fill(d, (char *)g->arena + g->input_bytes, 0xff, g->arena_bytes - g->input_bytes));
    return g->work ? d->fill(d, g->work, 0xff, g->work_bytes) : MN_OK;
}

static mn_err run_program(nn_graph *g)
{
    if (g->poison) MN_TRY(poison(g));
    for (int i = 0; i < g->n_steps; i++) {
        nn__step *s = &g->step[i];
        if (i == g->n_forward && g->loss) MN_TRY(seed_backward(g));
        MN_TRY(run_timed(g, s));
        if (s->backward && g->hook) MN_TRY(g->hook(g->hook_ctx, i));
    }
    return g->end_hook ? g->end_hook(g->end_ctx) : MN_OK;
}

mn_err nn_graph_run(nn_graph *g, const nn_tick *tick)
{
    mn_assert(g->arena);
    g->tick = *tick;
    return g->away ? nn__away_run(g, run_program) : run_program(g);
}

static nn_tensor *named(const nn_graph *g, const char *name)
{
    nn_tensor *t = find(g->output, g->n_outputs, name);
    if (!t) t = find(g->input, g->n_inputs, name);
    return g->arena ? t : NULL;
}

void *nn_graph_buffer(const nn_graph *g, const char *name, mn_shape *shape, mn_dtype *dtype)
{
    nn_tensor *t = named(g, name);
    if (!t) return NULL;
    if (shape) *shape = t->shape;
    if (dtype) *dtype = t->dtype;
    return g->away ? nn__away_buffer(g, t) : nn__value_at(g, t);
}

void *nn_graph_device_buffer(const nn_graph *g, const char *name)
{
    nn_tensor *t = named(g, name);
    return t ? nn__value_at(g, t) : NULL;
}

void *nn_graph_grad(const nn_graph *g, const nn_tensor *t)
{
    return g->arena ? nn__grad_at(g, (nn_tensor *)t) : NULL;
}

void nn_graph_times(const nn_graph *g, void (*each)(void *ctx, const nn_step_time *t), void *ctx)
{
    for (int i = 0; i < g->n_steps; i++) {
        const nn__step *s = &g->step[i];
        each(ctx, &(nn_step_time){.op = s->node->op->name,
                                  .backward = s->backward,
                                  .seconds = s->runs ? s->seconds / (double)s->runs : 0});
    }
}

void nn_graph_dump(const nn_graph *g, void (*line)(void *ctx, const char *text), void *ctx)
{
    char text[512], shape[96];
    snprintf(text, sizeof text, "%d steps (%d forward), arena %.1f MiB, workspace %.1f MiB", g->n_steps, g->n_forward,
             (double)g->arena_bytes / 1048576.0, (double)g->work_bytes / 1048576.0);
    line(ctx, text);
    for (int i = 0; i < g->n_steps; i++) {
        const nn__step *s = &g->step[i];
        const nn_tensor *t = s->node->out[0];
        double ms = s->runs ? 1e3 * s->seconds / (double)s->runs : 0;
        const nn__place *place = s->again ? &g->again[t->id] : &g->value[t->id];
        snprintf(text, sizeof text, "%5d %s %-18s %9.3f ms  %-22s %-5s at %zu  %s", i,
                 s->backward ? "bwd"
                 : s->again  ? "rep"
                             : "fwd",
                 s->node->op->name, ms, mn_shape_text(t->shape, shape, sizeof shape), mn_dtype_name(t->dtype),
                 place->offset, s->node->path);
        line(ctx, text);
    }
}
