// y = act(x W^T + b). The products are oneDNN's; what lies between them is one pass each way: forward adds the bias in
// the product and applies GELU, backward turns dy into dz and sums the columns of dz for the bias while it is at hand.
#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/onednn.h"
#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/gelu.h"
#include "nn/ops/math.h"
#include "nn/ops/rows.h"

#include <stdlib.h>
#include <string.h>

enum { X, WEIGHT, BIAS };

typedef struct state {
    nn__gemm *forward, *d_x, *d_weight;
    // Workspace of backward: dz when there is an activation, block sums of the bias gradient, and the library's.
    size_t at_sums, at_scratch;
} state;

static int64_t rows_of(const nn_node *n)
{
    return mn_rows(n->in[X]->shape);
}

static const linear_attr *attr_of(const nn_node *n)
{
    return n->attr;
}

// --- bias gradient, and dz = dy gelu'(z) on the way -----------------------------------------------------------------
// sum += one row of dy.
MN_SIMD static void sum_f32(const float *restrict dy, float *restrict sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += dy[i];
}

MN_SIMD static void sum_bf16(const mn_bf16 *restrict dy, float *restrict sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += nn__get(dy, MN_BF16, i);
}

// One row at element `at`: sum += dz, with dz = dy gelu'(z) made on the way when there is an activation.
static void d_row(mn_dtype t, int64_t at, int64_t n, const void *dy, const void *z, void *dz, float *sum)
{
    if (dz)
        nn__gelu_backward_sum(t, at, n, dy, z, dz, sum);
    else if (t == MN_F32)
        sum_f32((const float *)dy + at, sum, n);
    else
        sum_bf16((const mn_bf16 *)dy + at, sum, n);
}

// Rows are summed in blocks and the blocks in index order, so that the result is the same on any number of threads.
static void sum_block(const nn_call *c, void *dz, float *sum, int64_t first, int64_t last)
{
    const int64_t out = attr_of(c->node)->out;
    const mn_dtype t = c->node->out[0]->dtype;

    memset(sum, 0, (size_t)out * sizeof *sum);
    for (int64_t r = first; r < last; r++)
        d_row(t, r * out, out, c->dout[0], dz ? c->out[1] : NULL, dz, sum);
}

// Returns dz: dy itself without an activation.
static const void *d_activation(const nn_call *c, const state *s)
{
    const int64_t rows = rows_of(c->node), out = attr_of(c->node)->out;
    float *sums = (void *)((char *)c->work + s->at_sums);
    void *dz = attr_of(c->node)->act ? c->work : NULL;

    if (dz || c->din[BIAS]) {
#pragma omp parallel for schedule(static)
        for (int64_t b = 0; b < nn__blocks(rows); b++)
            sum_block(c, dz, sums + b * out, nn__block_start(rows, b), nn__block_start(rows, b + 1));
    }
    if (c->din[BIAS]) nn__add_blocks(c->din[BIAS], sums, nn__blocks(rows), out, out, nn__acc(c, BIAS));
    return dz ? dz : c->dout[0];
}

// --- kernels --------------------------------------------------------------------------------------------------------
static mn_err forward(const nn_call *c)
{
    const state *s = c->node->state;
    const nn_tensor *y = c->node->out[0];
    void *z = c->node->n_out > 1 ? c->out[1] : c->out[0];

    MN_TRY(nn__gemm_run(s->forward, c->in[X], c->in[WEIGHT], c->in[BIAS], z, c->work));
    if (attr_of(c->node)->act) nn__gelu_forward(y->dtype, z, c->out[0], mn_count(y->shape));
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;
    void *scratch = (char *)c->work + s->at_scratch;

    if (nn__no_gradient(c)) return MN_OK;
    const void *dz = d_activation(c, s);
    if (c->din[WEIGHT]) MN_TRY(nn__gemm_run(s->d_weight, dz, c->in[X], NULL, c->din[WEIGHT], scratch));
    if (c->din[X]) MN_TRY(nn__gemm_run(s->d_x, dz, c->in[WEIGHT], NULL, c->din[X], scratch));
    return MN_OK;
}

// --- plan time ------------------------------------------------------------------------------------------------------
static mn_err shape(nn_node *n)
{
    const linear_attr *a = n->attr;
    mn_shape s = n->in[X]->shape;

    MN_TRY(nn__want_activation(n, X));
    if (s.n < 1) return nn_bad_shape(n, "input 0 must have at least one dimension");
    MN_TRY(nn__want(n, WEIGHT, n->in[X]->dtype, a->out * mn_last(s)));
    if (n->in[BIAS]) MN_TRY(nn__want(n, BIAS, MN_F32, a->out));
    if (a->act != NN_ACT_NONE && a->act != NN_ACT_GELU) return nn_bad_shape(n, "unknown activation %d", (int)a->act);
    s.d[s.n - 1] = a->out;
    nn_set_out(n, 0, n->in[X]->dtype, s);
    if (a->act && n->mode == NN_TRAIN) nn_set_out(n, 1, n->in[X]->dtype, s);
    return MN_OK;
}

static void release(nn_node *n)
{
    state *s = n->state;

    if (!s) return;
    nn__gemm_free(s->forward);
    nn__gemm_free(s->d_x);
    nn__gemm_free(s->d_weight);
    free(s);
    n->state = NULL;
}

static size_t align_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static mn_err prepare_backward(nn_node *n, state *s, int64_t rows, int64_t in, int64_t out)
{
    const mn_dtype t = n->in[X]->dtype;

    if (n->grad_in & 1u << X)
        MN_TRY(nn__gemm_new(
            &s->d_x,
            &(nn__gemm_cfg){.m = rows, .n = in, .k = out, .in = t, .out = t, .add = (int)(n->acc_in >> X & 1u)}));
    if (n->grad_in & 1u << WEIGHT)
        MN_TRY(nn__gemm_new(&s->d_weight, &(nn__gemm_cfg){.m = out,
                                                          .n = in,
                                                          .k = rows,
                                                          .in = t,
                                                          .out = MN_F32,
                                                          .a_transposed = 1,
                                                          .add = (int)(n->acc_in >> WEIGHT & 1u)}));
    s->at_sums = attr_of(n)->act ? align_up((size_t)(rows * out) * mn_dtype_size(t)) : 0;
    s->at_scratch = s->at_sums + align_up(nn__block_bytes(rows, out));
    n->work_bytes = larger(n->work_bytes, s->at_scratch + larger(nn__gemm_work(s->d_x), nn__gemm_work(s->d_weight)));
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    state *s = n->state = mn_calloc(1, sizeof *s);
    const int64_t rows = rows_of(n), in = mn_last(n->in[X]->shape), out = attr_of(n)->out;
    const mn_dtype t = n->in[X]->dtype;

    MN_TRY(nn__gemm_new(
        &s->forward,
        &(nn__gemm_cfg){
            .m = rows, .n = out, .k = in, .in = t, .out = t, .b_transposed = 1, .bias = n->in[BIAS] != NULL}));
    n->work_bytes = nn__gemm_work(s->forward);
    return n->grad_in ? prepare_backward(n, s, rows, in, out) : MN_OK;
}

const nn_op nn_op_linear = {
    .name = "linear",
    .attr_bytes = sizeof(linear_attr),
    .bwd_reads_in = 1u << X | 1u << WEIGHT,
    .bwd_reads_out = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare, .release = release},
};

nn_tensor *nn_linear(nn_graph *g, nn_tensor *x, const nn_linear_cfg *cfg, const char *name)
{
    const int64_t in = mn_last(x->shape);
    const nn_param_spec weight = {.shape = cfg->weight_shape.n ? cfg->weight_shape : MN_SHAPE(cfg->out, in),
                                  .init = cfg->init,
                                  .init_scale = cfg->init_scale};
    const nn_param_spec bias = {.shape = MN_SHAPE(cfg->out),
                                .init = cfg->init == NN_INIT_FAN_IN_UNIFORM ? cfg->init : NN_INIT_ZERO,
                                .fan_in = in,
                                .no_decay = 1,
                                .f32 = 1};
    const linear_attr attr = {.out = cfg->out, .act = cfg->act};
    nn_tensor *inputs[3] = {0};

    nn_scope_push(g, "%s", name);
    inputs[X] = nn_cast(g, x, nn_graph_dtype(g));
    inputs[WEIGHT] = nn_param_get(g, "weight", &weight);
    if (!cfg->no_bias) inputs[BIAS] = nn_param_get(g, "bias", &bias);
    nn_scope_pop(g);
    return nn_emit(g, &nn_op_linear, name, 3, inputs, &attr);
}
