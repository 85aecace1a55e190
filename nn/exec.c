// Running the list: kernels in order, collectives through the function that was handed down, a hook after each
// backward step. Nothing is allocated here.
#include "nn/graph_internal.h"

#include "nn/base/clock.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *nn__value_at(const nn_graph *g, nn_tensor *t)
{
    nn_tensor *root = nn__root(t);
    if (root->param)
        return root->dtype == MN_F32 ? (void *)nn_param_master(g->params, root->param)
                                     : nn_param_work(g->params, root->param);
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

void *nn_graph_input(nn_graph *g, const char *name, size_t *bytes)
{
    nn_tensor *t = find(g->input, g->n_inputs, name);
    if (!t || !g->arena) return NULL;
    if (bytes) *bytes = nn__bytes(t);
    return nn__value_at(g, t);
}

mn_err nn_graph_feed(nn_graph *g, const char *name, const void *host, size_t bytes)
{
    size_t have = 0;
    void *to = nn_graph_input(g, name, &have);
    if (!to) return mn_fail(MN_EINTERNAL, "the graph has no input '%s'", name);
    if (bytes != have)
        return mn_fail(MN_EINTERNAL, "input '%s': %zu bytes were fed, the plan wants %zu", name, bytes, have);
    return g->device->upload(to, host, bytes);
}

static mn_err sum_over_ranks(nn_graph *g, const nn__step *s)
{
    const nn_tensor *t = s->node->out[0];
    int64_t n = mn_count(t->shape);
    const double *from = s->backward ? s->call.dout[0] : s->call.in[0];
    double *to = s->backward ? s->call.din[0] : s->call.out[0];
    // Added after the sum: what is in `to` already is this rank's own.
    double *sum = s->backward && s->call.acc & 1u ? (double *)from : to;
    if (sum != from) memcpy(sum, from, (size_t)n * sizeof *sum);
    if (g->sum) MN_TRY(g->sum(g->sum_ctx, sum, n));
    if (sum != to)
        for (int64_t i = 0; i < n; i++)
            to[i] += sum[i];
    return MN_OK;
}

static mn_err run_step(nn_graph *g, const nn__step *s)
{
    if (s->node->op->flags & NN_OP_COLLECTIVE) return sum_over_ranks(g, s);
    const nn_kernels *k = g->device->kernels(s->node->op);
    return s->backward ? k->bwd(&s->call) : k->fwd(&s->call);
}

static mn_err run_timed(nn_graph *g, nn__step *s)
{
    double start = g->timing ? mn_seconds() : 0;
    MN_TRY(run_step(g, s));
    if (g->timing) {
        s->seconds += mn_seconds() - start;
        s->runs++;
    }
    return MN_OK;
}

mn_err nn_graph_run(nn_graph *g, const nn_tick *tick)
{
    mn_assert(g->arena);
    g->tick = *tick;
    if (g->poison) {
        memset((char *)g->arena + g->input_bytes, 0xff, g->arena_bytes - g->input_bytes);
        if (g->work) memset(g->work, 0xff, g->work_bytes);
    }
    for (int i = 0; i < g->n_steps; i++) {
        nn__step *s = &g->step[i];
        if (i == g->n_forward && g->loss) *(double *)nn__grad_at(g, g->loss) = 1;
        MN_TRY(run_timed(g, s));
        if (s->backward && g->hook) MN_TRY(g->hook(g->hook_ctx, i));
    }
    return MN_OK;
}

void *nn_graph_buffer(const nn_graph *g, const char *name, mn_shape *shape, mn_dtype *dtype)
{
    nn_tensor *t = find(g->output, g->n_outputs, name);
    if (!t) t = find(g->input, g->n_inputs, name);
    if (!t || !g->arena) return NULL;
    if (shape) *shape = t->shape;
    if (dtype) *dtype = t->dtype;
    return nn__value_at(g, t);
}

void *nn_graph_grad(const nn_graph *g, const nn_tensor *t)
{
    return g->arena ? nn__grad_at(g, (nn_tensor *)t) : NULL;
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
        snprintf(text, sizeof text, "%5d %s %-18s %9.3f ms  %-22s %-5s at %zu  %s", i, s->backward ? "bwd" : "fwd",
                 s->node->op->name, ms, mn_shape_text(t->shape, shape, sizeof shape), mn_dtype_name(t->dtype),
                 g->value[t->id].offset, s->node->path);
        line(ctx, text);
    }
}
