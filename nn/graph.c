#include "nn/graph_internal.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nn_tensor *make_bad(nn_graph *g)
{
    // Builders read shapes and sibling outputs of what they got: give them something harmless to read.
    nn_tensor *t = nn__new_tensor(g, MN_F32, MN_SHAPE(1, 1, 1));
    nn_node *n = mn_calloc(1, sizeof *n);
    n->path = "";
    n->n_out = NN_MAX_OUT;
    for (int i = 0; i < NN_MAX_OUT; i++)
        n->out[i] = t;
    t->src = n;
    return t;
}

nn_graph *nn_graph_new(nn_params *params, const nn_graph_cfg *cfg)
{
    nn_graph *g = mn_calloc(1, sizeof *g);
    g->params = params;
    g->cfg = *cfg;
    g->device = cfg->device ? cfg->device : nn_device_cpu();
    g->bad = make_bad(g);
    return g;
}

static void free_node(nn_graph *g, nn_node *n)
{
    const nn_kernels *k = g->device->kernels(g->device, n->op);
    if (n->state && k->release) k->release(n);
    free(n->attr);
    free((char *)n->path);
    free(n);
}

void nn_graph_free(nn_graph *g)
{
    if (!g) return;
    nn__away_free(g); // first: it waits for what still uses the rest
    for (int i = 0; i < g->n_nodes; i++)
        free_node(g, g->node[i]);
    free(g->bad->src);
    for (int i = 0; i < g->n_tensors; i++)
        free(g->tensor[i]);
    if (g->arena) g->device->release(g->device, g->arena, g->arena_bytes);
    if (g->work) g->device->release(g->device, g->work, g->work_bytes);
    free(g->node);
    free(g->tensor);
    free(g->input);
    free(g->output);
    free(g->wanted);
    free(g->err_text);
    free(g->step);
    free(g->value);
    free(g->ready);
    free(g);
}

nn_mode nn_graph_mode(const nn_graph *g)
{
    return g->cfg.mode;
}

mn_dtype nn_graph_dtype(const nn_graph *g)
{
    return g->cfg.dtype;
}

nn_params *nn_graph_params(const nn_graph *g)
{
    return g->params;
}

nn_tensor *nn__root(nn_tensor *t)
{
    while (t->alias)
        t = t->alias;
    return t;
}

size_t nn__bytes(const nn_tensor *t)
{
    return (size_t)mn_count(t->shape) * mn_dtype_size(t->dtype);
}

static void keep_error(nn_graph *g, mn_err e)
{
    if (g->err != MN_OK) return;
    g->err = e;
    g->err_text = mn_strdup(mn_errmsg());
}

nn_tensor *nn_graph_bad(nn_graph *g, const char *format, ...)
{
    if (g->err != MN_OK) return g->bad;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    keep_error(g, mn_fail(MN_ECONFIG, "%s%s%s", g->scope, *g->scope ? ": " : "", text));
    return g->bad;
}

nn_tensor *nn__new_tensor(nn_graph *g, mn_dtype dtype, mn_shape shape)
{
    if (g->n_tensors == g->tensor_capacity) {
        g->tensor_capacity = g->tensor_capacity ? 2 * g->tensor_capacity : 64;
        g->tensor = mn_realloc(g->tensor, (size_t)g->tensor_capacity, sizeof *g->tensor);
        g->wanted = mn_realloc(g->wanted, (size_t)g->tensor_capacity, 1);
    }
    nn_tensor *t = mn_calloc(1, sizeof *t);
    t->dtype = dtype;
    t->shape = shape;
    t->id = g->n_tensors;
    g->wanted[t->id] = 0;
    g->tensor[g->n_tensors++] = t;
    return t;
}

// --- scopes and names ---

void nn_scope_push(nn_graph *g, const char *format, ...)
{
    char name[NN_PATH_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    mn_assert(g->scope_depth < (int)(sizeof g->scope_end / sizeof g->scope_end[0]));
    size_t end = strlen(g->scope);
    g->scope_end[g->scope_depth++] = end;
    int n = snprintf(g->scope + end, sizeof g->scope - end, "%s%s", end ? "." : "", name);
    if (n < 0 || (size_t)n >= sizeof g->scope - end) nn_graph_bad(g, "the name '%s' makes a path too long", name);
}

void nn_scope_pop(nn_graph *g)
{
    mn_assert(g->scope_depth > 0);
    g->scope[g->scope_end[--g->scope_depth]] = '\0';
}

mn_err nn__scoped(const nn_graph *g, const char *leaf, char *text, size_t size)
{
    int n = snprintf(text, size, "%s%s%s", g->scope, *g->scope ? "." : "", leaf);
    if (n < 0 || (size_t)n >= size)
        return mn_fail(MN_ECONFIG, "%s.%s: the name is longer than %zu bytes", g->scope, leaf, size - 1);
    return MN_OK;
}

static int path_taken(const nn_graph *g, const char *path)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (strcmp(g->node[i]->path, path) == 0) return 1;
    return 0;
}

// Scope and name, with "#2", "#3" ... where that path exists: random keys must differ between nodes.
static char *unique_path(const nn_graph *g, const char *name)
{
    char *path = mn_sprintf("%s%s%s", g->scope, *g->scope ? "." : "", name);
    char *numbered = mn_strdup(path);
    for (int k = 2; path_taken(g, numbered); k++) {
        free(numbered);
        numbered = mn_sprintf("%s#%d", path, k);
    }
    free(path);
    return numbered;
}

static void add_name(nn_graph *g, nn__named **list, int *n, const char *name, nn_tensor *t)
{
    for (int i = 0; i < *n; i++) {
        if (strcmp((*list)[i].name, name) != 0) continue;
        nn_graph_bad(g, "the name '%s' is used twice", name);
        return;
    }
    if (strlen(name) >= sizeof(*list)->name) {
        nn_graph_bad(g, "the name '%s' is longer than %zu bytes", name, sizeof(*list)->name - 1);
        return;
    }
    *list = mn_realloc(*list, (size_t)*n + 1, sizeof **list);
    nn__named *e = &(*list)[(*n)++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->tensor = t;
}

// --- building ---

void nn_segment_begin(nn_graph *g)
{
    mn_assert(!g->segment);
    g->segment = ++g->n_segments;
}

void nn_segment_end(nn_graph *g)
{
    mn_assert(g->segment);
    g->segment = 0;
}

nn_tensor *nn_input(nn_graph *g, const char *name, mn_dtype dtype, mn_shape shape)
{
    if (g->err != MN_OK) return g->bad;
    char text[96];
    if (mn_count(shape) <= 0)
        return nn_graph_bad(g, "input %s: empty shape %s", name, mn_shape_text(shape, text, sizeof text));
    nn_tensor *t = nn__new_tensor(g, dtype, shape);
    add_name(g, &g->input, &g->n_inputs, name, t);
    return t;
}

void nn_output(nn_graph *g, const char *name, nn_tensor *t)
{
    if (g->err != MN_OK) return;
    add_name(g, &g->output, &g->n_outputs, name, t);
}

void nn_want_grad(nn_graph *g, nn_tensor *t)
{
    g->wanted[nn__root(t)->id] = 1;
}

nn_tensor *nn_reshape(nn_graph *g, nn_tensor *x, mn_shape s)
{
    if (g->err != MN_OK) return g->bad;
    int64_t known = 1, count = mn_count(x->shape);
    int free_dim = -1;
    for (int i = 0; i < s.n; i++) {
        if (s.d[i] == -1)
            free_dim = i;
        else
            known *= s.d[i];
    }
    if (free_dim >= 0 && known > 0) s.d[free_dim] = count / known;
    if (mn_count(s) != count) {
        char from[96], to[96];
        return nn_graph_bad(g, "reshape from %s to %s changes the number of elements",
                            mn_shape_text(x->shape, from, sizeof from), mn_shape_text(s, to, sizeof to));
    }
    nn_tensor *t = nn__new_tensor(g, x->dtype, s);
    t->alias = x;
    t->src = x->src;
    t->param = x->param;
    return t;
}

static void add_node(nn_graph *g, nn_node *n)
{
    g->node = mn_grow(g->node, g->n_nodes, &g->node_capacity, sizeof *g->node);
    g->node[g->n_nodes++] = n;
}

nn_tensor *nn_emit(nn_graph *g, const nn_op *op, const char *name, int n_in, nn_tensor *const *in, const void *attr)
{
    if (g->err != MN_OK) return g->bad;
    mn_assert(n_in <= NN_MAX_IN);
    nn_node *n = mn_calloc(1, sizeof *n);
    n->op = op;
    n->n_in = n_in;
    for (int i = 0; i < n_in; i++)
        n->in[i] = in[i];
    n->mode = g->cfg.mode;
    n->segment = g->segment;
    n->path = unique_path(g, name);
    n->key = mn_rng_key(g->cfg.seed, n->path);
    if (op->attr_bytes) {
        n->attr = mn_calloc(1, op->attr_bytes);
        memcpy(n->attr, attr, op->attr_bytes);
    }
    add_node(g, n);
    mn_err e = op->shape(n);
    if (e != MN_OK) {
        keep_error(g, e);
        return g->bad;
    }
    mn_assert(n->n_out >= 1 && n->n_out <= NN_MAX_OUT);
    for (int i = 0; i < n->n_out; i++) {
        n->out[i] = nn__new_tensor(g, n->out_dtype[i], n->out_shape[i]);
        n->out[i]->src = n;
    }
    return n->out[0];
}

void nn_set_out(nn_node *n, int i, mn_dtype t, mn_shape s)
{
    mn_assert(i < NN_MAX_OUT);
    n->out_dtype[i] = t;
    n->out_shape[i] = s;
    if (n->n_out < i + 1) n->n_out = i + 1;
}

mn_err nn_bad_shape(const nn_node *n, const char *format, ...)
{
    char text[256], shapes[512] = "", one[96];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = 0;
    for (int i = 0; i < n->n_in && used < sizeof shapes; i++) {
        const char *shape = n->in[i] ? mn_shape_text(n->in[i]->shape, one, sizeof one) : "none";
        int k = snprintf(shapes + used, sizeof shapes - used, "%s%s", i ? ", " : "", shape);
        used += k > 0 ? (size_t)k : 0;
    }
    return mn_fail(MN_ECONFIG, "%s: %s: %s (inputs: %s)", n->path, n->op->name, text, shapes);
}

void nn_graph_set_sum(nn_graph *g, nn_sum_fn *sum, void *ctx)
{
    g->sum = sum;
    g->sum_ctx = ctx;
}

void nn_graph_on_step(nn_graph *g, nn_step_hook *hook, void *ctx)
{
    g->hook = hook;
    g->hook_ctx = ctx;
}

void nn_graph_on_end(nn_graph *g, nn_end_hook *hook, void *ctx)
{
    g->end_hook = hook;
    g->end_ctx = ctx;
}

void nn_graph_poison(nn_graph *g, int on)
{
    g->poison = on;
}

void nn_graph_timing(nn_graph *g, int on)
{
    g->timing = on;
}
