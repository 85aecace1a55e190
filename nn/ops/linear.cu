// y = act(x W^T + b): three products by cuBLASLt, with the bias added in the first and its gradient summed in that of
// the weight. With GELU one pass lies between them each way: forward writes y beside the kept z, backward turns dy into
// dz and sums its columns, so every tensor is read and written once.
#include "nn/cuda_epilogue.h"
#include "nn/cuda_gemm.h"
#include "nn/ops/attr.h"

extern "C" {
#include "nn/base/mem.h"
#include "nn/ops.h"
}

#include <stdlib.h>

enum { X, WEIGHT, BIAS };

typedef struct state {
    nn_cuda_gemm *forward, *d_x, *d_weight;
    int sums_in_product; // the gradient of the bias is made with that of the weight
    // Workspace of backward: dz when there is an activation, parts of the bias gradient, and the products'.
    size_t at_parts, at_scratch;
} state;

static int64_t rows_of(const nn_node *n)
{
    return mn_rows(n->in[X]->shape);
}

static const linear_attr *attr_of(const nn_node *n)
{
    return (const linear_attr *)n->attr;
}

static mn_err forward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    const nn_tensor *y = c->node->out[0];
    void *z = c->node->n_out > 1 ? c->out[1] : c->out[0];

    MN_TRY(nn_cuda_gemm_run(
        s->forward, {.a = c->in[X], .b = c->in[WEIGHT], .bias = (const float *)c->in[BIAS], .c = z, .work = c->work},
        c->stream));
    if (!attr_of(c->node)->act) return MN_OK;
    return nn_cuda_gelu_forward(y->dtype, mn_count(y->shape), z, c->out[0], c->stream);
}

// dz: dy itself without an activation. The bias gradient is made here unless it comes with the weight's.
static mn_err d_activation(const nn_call *c, const state *s, const void **dz)
{
    const int64_t rows = rows_of(c->node), out = attr_of(c->node)->out;
    const mn_dtype t = c->node->out[0]->dtype;
    float *parts = c->din[BIAS] && !s->sums_in_product ? (float *)((char *)c->work + s->at_parts) : NULL;

    *dz = c->dout[0];
    if (attr_of(c->node)->act) {
        *dz = c->work;
        MN_TRY(nn_cuda_gelu_columns(t, rows, out, c->dout[0], c->out[1], c->work, parts, c->stream));
    } else if (parts) {
        MN_TRY(nn_cuda_columns(t, rows, out, out, c->dout[0], parts, c->stream));
    }
    if (!parts) return MN_OK;
    return nn_cuda_columns_finish(rows, out, parts, (float *)c->din[BIAS], nn_cuda_acc(c, BIAS), c->stream);
}

static mn_err backward(const nn_call *c)
{
    const state *s = (const state *)c->node->state;
    void *scratch = (char *)c->work + s->at_scratch;
    const void *dz;
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    MN_TRY(d_activation(c, s, &dz));
    if (c->din[WEIGHT])
        MN_TRY(nn_cuda_gemm_run(
            s->d_weight, {.a = dz, .b = c->in[X], .c = c->din[WEIGHT], .sums = (float *)c->din[BIAS], .work = scratch},
            c->stream));
    if (c->din[X])
        MN_TRY(nn_cuda_gemm_run(s->d_x, {.a = dz, .b = c->in[WEIGHT], .c = c->din[X], .work = scratch}, c->stream));
    return MN_OK;
}

static void release(nn_node *n)
{
    state *s = (state *)n->state;

    if (!s) return;
    nn_cuda_gemm_free(s->forward);
    nn_cuda_gemm_free(s->d_x);
    nn_cuda_gemm_free(s->d_weight);
    free(s);
    n->state = NULL;
}

static size_t align_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static mn_err prepare_backward(nn_node *n, state *s, int64_t rows, int64_t in, int64_t out)
{
    const mn_dtype t = n->in[X]->dtype;
    const int act = attr_of(n)->act != NN_ACT_NONE, weight = (int)(n->grad_in >> WEIGHT & 1u),
              bias = (int)(n->grad_in >> BIAS & 1u);

    // Sums in the product overwrite; and with an activation the pass that makes dz has each value at hand.
    s->sums_in_product = weight && bias && !act && !(n->acc_in >> BIAS & 1u);
    if (n->grad_in & 1u << X)
        MN_TRY(nn_cuda_gemm_new(&s->d_x,
                                {.m = rows, .n = in, .k = out, .in = t, .out = t, .add = (int)(n->acc_in >> X & 1u)}));
    if (weight)
        MN_TRY(nn_cuda_gemm_new(&s->d_weight, {.m = out,
                                               .n = in,
                                               .k = rows,
                                               .in = t,
                                               .out = MN_F32,
                                               .a_transposed = 1,
                                               .sums = s->sums_in_product,
                                               .add = (int)(n->acc_in >> WEIGHT & 1u)}));
    s->at_parts = act ? align_up((size_t)(rows * out) * mn_dtype_size(t)) : 0;
    s->at_scratch = s->at_parts + (bias && !s->sums_in_product ? align_up(nn_cuda_columns_work(rows, out)) : 0);
    n->work_bytes =
        larger(n->work_bytes, s->at_scratch + larger(nn_cuda_gemm_work(s->d_x), nn_cuda_gemm_work(s->d_weight)));
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    state *s = (state *)mn_calloc(1, sizeof *s);
    const int64_t rows = rows_of(n), in = mn_last(n->in[X]->shape), out = attr_of(n)->out;
    const mn_dtype t = n->in[X]->dtype;

    n->state = s;
    MN_TRY(nn_cuda_gemm_new(
        &s->forward,
        {.m = rows, .n = out, .k = in, .in = t, .out = t, .b_transposed = 1, .bias = n->in[BIAS] != NULL}));
    n->work_bytes = nn_cuda_gemm_work(s->forward);
    return n->grad_in ? prepare_backward(n, s, rows, in, out) : MN_OK;
}

extern "C" const nn_kernels nn_cuda_linear = {forward, backward, prepare, release};
