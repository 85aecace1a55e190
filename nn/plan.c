// From the built graph to one linear list of kernel calls: forward in building order, backward as its reverse, with
// every address fixed. All later questions (memory, when a gradient is final, order of collectives) are answered from
// that list.
#include "nn/graph_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct plan {
    nn_graph *g;
    unsigned char *node_needed; // by node
    unsigned char *needs;       // by tensor id: a gradient can flow into it
    unsigned char *has;         // by tensor id: its gradient has been written by an earlier backward step
    unsigned char *param_has;   // by registry index
} plan;

static int node_index(const nn_graph *g, const nn_node *n)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i] == n) return i;
    return -1;
}

static int param_index(const nn_params *ps, const nn_param *p)
{
    for (int i = 0; i < nn_params_count(ps); i++)
        if (nn_params_at(ps, i) == p) return i;
    return -1;
}

static int trained(const nn_tensor *t)
{
    return t->param && !t->param->frozen && !t->param->spec.buffer;
}

static int is_output(const nn_graph *g, const nn_tensor *root)
{
    for (int i = 0; i < g->n_outputs; i++)
        if (nn__root(g->output[i].tensor) == root) return 1;
    return 0;
}

static int is_input(const nn_graph *g, const nn_tensor *root)
{
    for (int i = 0; i < g->n_inputs; i++)
        if (g->input[i].tensor == root) return 1;
    return 0;
}

// --- what has to be computed ---

static void need_source(plan *p, const nn_tensor *t)
{
    if (t->src) p->node_needed[node_index(p->g, t->src)] = 1;
}

// Nodes that neither the loss nor an output depends on are left out.
static void mark_needed(plan *p)
{
    nn_graph *g = p->g;
    if (g->loss) need_source(p, g->loss);
    for (int i = 0; i < g->n_outputs; i++)
        need_source(p, g->output[i].tensor);
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        if (!p->node_needed[i]) continue;
        for (int k = 0; k < g->node[i]->n_in; k++)
            if (g->node[i]->in[k]) need_source(p, nn__root(g->node[i]->in[k]));
    }
}

static int flows_back(const nn_node *n, int i)
{
    return n->in[i] && !(n->op->no_grad_in & 1u << i) && n->op->cpu.bwd;
}

static void mark_gradients(plan *p)
{
    nn_graph *g = p->g;
    for (int i = 0; i < g->n_tensors; i++) {
        const nn_tensor *t = g->tensor[i];
        if (trained(t) || g->wanted[i]) p->needs[i] = 1;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        nn_node *n = g->node[i];
        int any = 0;
        for (int k = 0; k < n->n_in; k++)
            if (flows_back(n, k) && p->needs[nn__root(n->in[k])->id]) any = 1;
        for (int k = 0; k < n->n_out && any; k++)
            p->needs[n->out[k]->id] = 1;
    }
}

// --- the list ---

static void add_step(plan *p, nn_node *n, int backward)
{
    nn_graph *g = p->g;
    g->step = mn_realloc(g->step, (size_t)g->n_steps + 1, sizeof *g->step);
    g->step[g->n_steps] = (nn__step){.node = n, .backward = backward};
    g->n_steps++;
}

static void list_forward(plan *p)
{
    nn_graph *g = p->g;
    for (int i = 0; i < g->n_nodes; i++) {
        if (!p->node_needed[i]) continue;
        add_step(p, g->node[i], 0);
    }
    g->n_forward = g->n_steps;
}

// One backward step: which inputs it writes, and which of those it adds to.
static void want_inputs(plan *p, nn_node *n, nn_call *call)
{
    nn_graph *g = p->g;
    n->grad_in = 0;
    for (int k = 0; k < n->n_in; k++) {
        if (!flows_back(n, k)) continue;
        nn_tensor *root = nn__root(n->in[k]);
        if (!p->needs[root->id]) continue;
        unsigned char *has = &p->has[root->id];
        if (root->param) {
            has = &p->param_has[param_index(g->params, root->param)];
        }
        n->grad_in |= 1u << k;
        if (*has) call->acc |= 1u << k;
        *has = 1;
    }
    n->acc_in = call->acc;
}

static void list_backward(plan *p)
{
    nn_graph *g = p->g;
    if (!g->loss) return;
    p->has[nn__root(g->loss)->id] = 1;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        nn_node *n = g->node[i];
        nn_call call = {0};
        int any = 0;
        for (int k = 0; k < n->n_out; k++)
            any |= p->has[n->out[k]->id];
        if (!any || !p->node_needed[i]) continue;
        want_inputs(p, n, &call);
        if (!n->grad_in) continue;
        add_step(p, n, 1);
        g->step[g->n_steps - 1].call = call;
    }
}

// The last step that writes the gradient of a parameter.
static void mark_ready(nn_graph *g)
{
    for (int s = g->n_forward; s < g->n_steps; s++) {
        const nn_node *n = g->step[s].node;
        for (int k = 0; k < n->n_in && g->step[s].backward; k++) {
            const nn_tensor *root = n->in[k] ? nn__root(n->in[k]) : NULL;
            if (n->grad_in & 1u << k && root->param) g->ready[param_index(g->params, root->param)] = s;
        }
    }
}

static void list_steps(plan *p)
{
    nn_graph *g = p->g;
    mark_needed(p);
    list_forward(p);
    if (!g->loss) return;
    mark_gradients(p);
    list_backward(p);
    if (g->cfg.recompute) nn__recompute(g);
    mark_ready(g);
}

// --- how long each value and gradient lives ---

static void live(nn__place *place, int step)
{
    if (!place->used) {
        *place = (nn__place){.used = 1, .first = step, .last = step};
        return;
    }
    if (step < place->first) place->first = step;
    if (step > place->last) place->last = step;
}

// Where a value is in a step: where it was first made, until it is made again.
static nn__place *value_place(nn_graph *g, nn_tensor *t, int step)
{
    int id = nn__root(t)->id;
    return g->again[id].used && step >= g->again[id].first ? &g->again[id] : &g->value[id];
}

static void live_value(nn_graph *g, nn_tensor *t, int step)
{
    if (!nn__root(t)->param) live(value_place(g, t, step), step);
}

static void live_grad(nn_graph *g, nn_tensor *t, int step)
{
    nn_tensor *root = nn__root(t);
    if (!root->param) live(&g->grad[root->id], step);
}

static void forward_lives(plan *p, nn_node *n, int step)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]) live_value(p->g, n->in[k], step);
    for (int k = 0; k < n->n_out; k++)
        live_value(p->g, n->out[k], step);
}

static void backward_lives(plan *p, nn_node *n, int step)
{
    nn_graph *g = p->g;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k] && n->op->bwd_reads_in & 1u << k) live_value(g, n->in[k], step);
        if (n->grad_in & 1u << k) live_grad(g, n->in[k], step);
    }
    for (int k = 0; k < n->n_out; k++) {
        if (n->op->bwd_reads_out & 1u << k) live_value(g, n->out[k], step);
        if (p->has[n->out[k]->id]) live_grad(g, n->out[k], step);
    }
}

static void mark_lives(plan *p)
{
    nn_graph *g = p->g;
    for (int i = 0; i < g->n_inputs; i++)
        live(&g->value[g->input[i].tensor->id], -1);
    for (int s = 0; s < g->n_steps; s++) {
        if (g->step[s].backward)
            backward_lives(p, g->step[s].node, s);
        else
            forward_lives(p, g->step[s].node, s);
    }
    if (g->loss) live_grad(g, g->loss, g->n_forward - 1);
    for (int i = 0; i < g->n_tensors; i++) {
        nn_tensor *t = g->tensor[i];
        if (is_output(g, t) && g->value[i].used) live(&g->value[i], g->n_steps);
        if (g->wanted[i] && g->grad[i].used) live(&g->grad[i], g->n_steps);
        if (is_input(g, t)) g->value[i].last = g->n_steps;
    }
}

// --- addresses ---

static void *value_at(nn_graph *g, nn_tensor *t, int step)
{
    const nn__place *place = value_place(g, t, step);
    return place == &g->again[nn__root(t)->id] ? (char *)g->arena + place->offset : nn__value_at(g, t);
}

static void bake(plan *p, int step)
{
    nn_graph *g = p->g;
    nn__step *s = &g->step[step];
    nn_node *n = s->node;
    nn_call *c = &s->call;
    c->node = n;
    c->tick = g->away ? nn__away_tick(g) : &g->tick;
    c->stream = g->device->stream;
    c->seed = g->cfg.seed;
    c->work = g->work;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k]) c->in[k] = value_at(g, n->in[k], step);
    for (int k = 0; k < n->n_out; k++)
        c->out[k] = value_at(g, n->out[k], step);
    if (!s->backward) return;
    for (int k = 0; k < n->n_in; k++)
        if (n->grad_in & 1u << k) c->din[k] = nn__grad_at(g, n->in[k]);
    for (int k = 0; k < n->n_out; k++)
        if (p->has[n->out[k]->id]) c->dout[k] = nn__grad_at(g, n->out[k]);
}

static mn_err prepare_nodes(plan *p)
{
    nn_graph *g = p->g;
    for (int i = 0; i < g->n_nodes; i++) {
        nn_node *n = g->node[i];
        const nn_kernels *k = g->device->kernels(g->device, n->op);
        if (!p->node_needed[i]) continue;
        if (k->prepare) MN_TRY(k->prepare(n));
        if (n->work_bytes > g->work_bytes) g->work_bytes = n->work_bytes;
    }
    return MN_OK;
}

static mn_err check(nn_graph *g, nn_tensor *loss)
{
    if (g->err != MN_OK) return mn_fail(g->err, "%s", g->err_text);
    mn_assert(!g->step);
    if (!loss) return MN_OK;
    if (mn_count(loss->shape) != 1 || loss->dtype != MN_F64)
        return mn_fail(MN_EINTERNAL, "the loss is %s %s; it must be one f64", loss->src ? loss->src->path : "an input",
                       mn_dtype_name(loss->dtype));
    return MN_OK;
}

static mn_err build(plan *p)
{
    nn_graph *g = p->g;
    list_steps(p);
    MN_TRY(prepare_nodes(p));
    mark_lives(p);
    nn__place_all(g);
    MN_TRY(g->device->alloc(g->device, &g->arena, g->arena_bytes, "the activations of the plan"));
    if (g->work_bytes) MN_TRY(g->device->alloc(g->device, &g->work, g->work_bytes, "the workspace of the plan"));
    MN_TRY(nn__away_new(g));
    for (int s = 0; s < g->n_steps; s++)
        bake(p, s);
    // Inputs that are never fed, and the memory behind them, start as zeros.
    return g->device->fill(g->device, g->arena, 0, g->input_bytes);
}

static void plan_open(plan *p, nn_graph *g)
{
    size_t tensors = (size_t)g->n_tensors + 1, params = (size_t)nn_params_count(g->params) + 1;
    *p = (plan){.g = g,
                .node_needed = mn_calloc((size_t)g->n_nodes + 1, 1),
                .needs = mn_calloc(tensors, 1),
                .has = mn_calloc(tensors, 1),
                .param_has = mn_calloc(params, 1)};
    g->value = mn_calloc(3 * tensors, sizeof *g->value);
    g->grad = g->value + tensors;
    g->again = g->grad + tensors;
    g->ready = mn_calloc(params, sizeof *g->ready);
    for (size_t i = 0; i < params; i++)
        g->ready[i] = -1;
}

static void plan_close(plan *p)
{
    free(p->node_needed);
    free(p->needs);
    free(p->has);
    free(p->param_has);
}

mn_err nn_graph_plan(nn_graph *g, nn_tensor *loss)
{
    plan p;
    MN_TRY(check(g, loss));
    g->loss = loss;
    plan_open(&p, g);
    mn_err err = build(&p);
    plan_close(&p);
    return err;
}

// --- questions about the plan ---

size_t nn_graph_bytes(const nn_graph *g)
{
    return g->arena_bytes + g->work_bytes + (g->device->on_host ? 0 : g->input_bytes);
}

// The list and its memory are made on a copy that shares nodes and tensors: they are told again what they know.
size_t nn_graph_bytes_recomputed(const nn_graph *g)
{
    plan p;
    nn_graph other = *g;
    other.cfg.recompute = 1;
    other.step = NULL;
    other.n_steps = other.n_forward = 0;
    plan_open(&p, &other);
    list_steps(&p);
    mark_lives(&p);
    nn__place_all(&other);
    plan_close(&p);
    free(other.step);
    free(other.value);
    free(other.ready);
    return nn_graph_bytes(&other);
}

int nn_graph_steps(const nn_graph *g)
{
    return g->n_steps;
}

int nn_graph_ready_step(const nn_graph *g, const nn_param *p)
{
    int i = param_index(g->params, p);
    return i < 0 ? -1 : g->ready[i];
}

uint64_t nn_graph_hash(const nn_graph *g)
{
    XXH3_state_t *state = XXH3_createState();
    mn_assert(state && XXH3_64bits_reset(state) == XXH_OK);
    for (int s = 0; s < g->n_steps; s++) {
        const nn_node *n = g->step[s].node;
        XXH3_64bits_update(state, n->op->name, strlen(n->op->name) + 1);
        XXH3_64bits_update(state, n->path, strlen(n->path) + 1);
        XXH3_64bits_update(state, &g->step[s].backward, sizeof g->step[s].backward);
        if (n->op->attr_bytes) XXH3_64bits_update(state, n->attr, n->op->attr_bytes);
        for (int i = 0; i < n->n_out; i++) {
            XXH3_64bits_update(state, &n->out_dtype[i], sizeof n->out_dtype[i]);
            XXH3_64bits_update(state, n->out_shape[i].d, (size_t)n->out_shape[i].n * sizeof(int64_t));
        }
    }
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

int nn_graph_param_order(const nn_graph *g, nn_param **out, int capacity)
{
    // Backward visits the nodes in reverse: what the first node uses is finished last.
    int n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = g->n_nodes - 1; i >= 0; i--) {
            for (int k = 0; k < g->node[i]->n_in; k++) {
                nn_tensor *t = g->node[i]->in[k] ? nn__root(g->node[i]->in[k]) : NULL;
                if (!t || !t->param || trained(t) == pass) continue;
                int used_earlier = 0;
                for (int j = 0; j < i && !used_earlier; j++)
                    for (int m = 0; m < g->node[j]->n_in; m++)
                        if (g->node[j]->in[m] && nn__root(g->node[j]->in[m])->param == t->param) used_earlier = 1;
                for (int j = 0; j < n; j++)
                    if (out[j] == t->param) used_earlier = 1;
                if (!used_earlier && n < capacity) out[n++] = t->param;
            }
        }
    }
    return n;
}
