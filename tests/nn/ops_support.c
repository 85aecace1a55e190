#include "ops_support.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- counting allocations -------------------------------------------------------------------------------------------
// The sanitizers bring their own malloc; there nothing is counted.
static _Thread_local int64_t allocations;
static _Thread_local int counting;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n)
{
    allocations += counting;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations += counting;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    allocations += counting;
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    allocations += counting;
    return __libc_memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    allocations += counting;
    *p = __libc_memalign(alignment, n);
    return *p ? 0 : 12; // ENOMEM
}
#endif

void ops_count_start(void)
{
    allocations = 0;
    counting = 1;
}

int64_t ops_count_stop(void)
{
    counting = 0;
    return allocations;
}

// --- the loss: sum of r_i y_i -----------------------------------------------------------------------------------------
typedef struct projection_attr {
    uint64_t seed;
} projection_attr;

static mn_err projection_shape(nn_node *n)
{
    nn_set_out(n, 0, MN_F64, MN_SHAPE(1));
    return MN_OK;
}

static mn_err projection_forward(const nn_call *c)
{
    const projection_attr *a = c->node->attr;
    double sum = 0;

    for (int k = 0; k < c->node->n_in; k++) {
        const nn_tensor *y = c->node->in[k];
        for (int64_t i = 0; i < mn_count(y->shape); i++)
            sum += (double)ops_random(a->seed + (uint64_t)k, i) * ops_value(c->in[k], y->dtype, i);
    }
    *(double *)c->out[0] = sum;
    return MN_OK;
}

static void put_gradient(const nn_call *c, int k, int64_t i, double v)
{
    const mn_dtype t = c->node->in[k]->dtype;

    if (c->acc & 1u << k) v += ops_value(c->din[k], t, i);
    if (t == MN_F64)
        ((double *)c->din[k])[i] = v;
    else if (t == MN_F32)
        ((float *)c->din[k])[i] = (float)v;
    else
        ((mn_bf16 *)c->din[k])[i] = mn_f32_to_bf16((float)v);
}

static mn_err projection_backward(const nn_call *c)
{
    const projection_attr *a = c->node->attr;
    const double d = *(const double *)c->dout[0];

    for (int k = 0; k < c->node->n_in; k++)
        for (int64_t i = 0; c->din[k] && i < mn_count(c->node->in[k]->shape); i++)
            put_gradient(c, k, i, d * (double)ops_random(a->seed + (uint64_t)k, i));
    return MN_OK;
}

static const nn_op projection = {.name = "projection",
                                 .attr_bytes = sizeof(projection_attr),
                                 .shape = projection_shape,
                                 .cpu = {.fwd = projection_forward, .bwd = projection_backward}};

// --- values -----------------------------------------------------------------------------------------------------------
double ops_value(const void *p, mn_dtype t, int64_t i)
{
    switch (t) {
    case MN_F32:
        return (double)((const float *)p)[i];
    case MN_BF16:
        return (double)mn_bf16_to_f32(((const mn_bf16 *)p)[i]);
    case MN_F64:
        return ((const double *)p)[i];
    case MN_U8:
        return ((const unsigned char *)p)[i];
    default:
        return NAN;
    }
}

float ops_random(uint64_t seed, int64_t i)
{
    mn_rng4 r = mn_rng_block(seed * 0x9e3779b97f4a7c15u + 1, 0, 0, (uint32_t)(i / 4));
    return 2 * mn_uniform(r.v[i % 4]) - 1;
}

double ops_distance(const double *a, const double *b, int64_t n)
{
    double error = 0, size = 0;

    for (int64_t i = 0; i < n; i++) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return size > 0 ? sqrt(error / size) : sqrt(error);
}

static float rounded(float v, int on)
{
    return on ? mn_bf16_to_f32(mn_f32_to_bf16(v)) : v;
}

static float input_value(const ops_in *in, uint64_t seed, int64_t i)
{
    const float u = ops_random(seed, i), lo = in->lo == in->hi ? -1 : in->lo, hi = in->lo == in->hi ? 1 : in->hi;
    const int64_t last = mn_last(in->shape);

    switch (in->kind) {
    case OPS_ROW_WEIGHT:
        return u < -0.3f || i == 0 ? 0 : 1 + u / 2;
    case OPS_ZERO_ONE:
    case OPS_MASK:
        return u > 0;
    case OPS_ONE_HOT:
        return i % last == (int64_t)((ops_random(seed + 1, i / last) + 1) / 2 * (float)last);
    default:
        return lo + (hi - lo) * (u + 1) / 2;
    }
}

static mn_dtype input_type(const ops_in *in, mn_dtype run)
{
    return in->kind == OPS_ACTIVATION ? run : in->kind == OPS_MASK ? MN_U8 : MN_F32;
}

static void fill_input(const ops_bench *b, int k, int round)
{
    const ops_in *in = &b->row->in[k];
    char name[16];
    size_t bytes;

    snprintf(name, sizeof name, "in%d", k);
    void *p = nn_graph_input(b->graph, name, &bytes);
    if (!p) return; // nothing in the graph reads it
    const int64_t count = mn_count(b->in[k]->shape), skipped = mn_count(in->shape) - count;
    for (int64_t i = 0; i < count; i++) {
        const float v = rounded(input_value(in, 100 + (uint64_t)k, skipped + i), round);
        if (b->in[k]->dtype == MN_F32)
            ((float *)p)[i] = v;
        else if (b->in[k]->dtype == MN_BF16)
            ((mn_bf16 *)p)[i] = mn_f32_to_bf16(v);
        else
            ((unsigned char *)p)[i] = (unsigned char)v;
    }
}

// Parameters away from their initial values, which hide mistakes: zeros, ones, tiny weights.
static void fill_params(const ops_bench *b, int round)
{
    for (int i = 0; i < nn_params_count(b->params); i++) {
        const nn_param *p = nn_params_at(b->params, i);
        float *v = nn_param_master(b->params, p);
        for (int64_t j = 0; j < p->count && !p->spec.buffer; j++)
            v[j] = rounded(v[j] + ops_random(200 + (uint64_t)i, j) * 0.4f, round);
    }
    cr_assert_eq(nn_params_sync(b->params), MN_OK);
}

// --- the bench --------------------------------------------------------------------------------------------------------
int64_t ops_count(const ops_row *row)
{
    int n = 0;

    while (n < OPS_MAX_IN && row->in[n].shape.n)
        n++;
    return n;
}

static void build(ops_bench *b, const ops_cfg *cfg)
{
    char name[16];

    for (int k = 0; k < ops_count(b->row); k++) {
        mn_shape shape = b->row->in[k].shape;
        snprintf(name, sizeof name, "in%d", k);
        shape.d[0] -= cfg->skip;
        b->in[k] = nn_input(b->graph, name, input_type(&b->row->in[k], cfg->dtype), shape);
        if (b->row->in[k].grad) nn_want_grad(b->graph, b->in[k]);
    }
    b->out[0] = b->row->build(b->graph, b->in);
    b->out[1] = cfg->twice ? b->row->build(b->graph, b->in) : NULL;
    b->loss = nn_emit(b->graph, &projection, "loss", cfg->twice ? 2 : 1, b->out, &(projection_attr){.seed = 11});
    nn_output(b->graph, "out", b->out[0]);
    nn_output(b->graph, "loss", b->loss);
}

void ops_open(ops_bench *b, const ops_row *row, const ops_cfg *cfg)
{
    *b = (ops_bench){.row = row, .params = nn_params_new(5), .dtype = cfg->dtype, .skip = cfg->skip};
    b->graph = nn_graph_new(b->params,
                            &(nn_graph_cfg){.mode = cfg->mode, .dtype = cfg->dtype, .seed = 9, .device = cfg->device});
    build(b, cfg);
    cr_assert_eq(nn_params_layout(b->params, b->graph, &(nn_layout_cfg){.device = cfg->device, .dtype = cfg->dtype}),
                 MN_OK, "%s: %s", row->name, mn_errmsg());
    cr_assert_eq(nn_graph_plan(b->graph, cfg->mode == NN_TRAIN ? b->loss : NULL), MN_OK, "%s: %s", row->name,
                 mn_errmsg());
    nn_graph_poison(b->graph, cfg->poison);
    for (int k = 0; k < ops_count(row); k++)
        fill_input(b, k, cfg->rounded);
    fill_params(b, cfg->rounded);
}

void ops_close(ops_bench *b)
{
    nn_graph_free(b->graph);
    nn_params_free(b->params);
}

double ops_run(ops_bench *b)
{
    const nn_tick tick = {.step = 3, .first_row = 5 + b->skip, .rows = b->in[0]->shape.d[0]};

    cr_assert_eq(nn_graph_run(b->graph, &tick), MN_OK, "%s: %s", b->row->name, mn_errmsg());
    return *(const double *)nn_graph_buffer(b->graph, "loss", NULL, NULL);
}

void ops_mark(const nn_tensor *t, unsigned char *seen)
{
    static const char *const all[] = {
#define NN_OP(name) #name,
#include "nn/ops.def"
#undef NN_OP
    };

    while (t->alias)
        t = t->alias;
    if (!t->src) return;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(t->src->op->name, all[i]) == 0) seen[i] = 1;
    for (int k = 0; k < t->src->n_in; k++)
        if (t->src->in[k]) ops_mark(t->src->in[k], seen);
}
