#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/onednn.h"
#include "nn/op.h"
#include "nn/ops/attr.h"
#include "nn/ops/convert.h"
#include "nn/ops/rows.h"

#include <stdlib.h>

enum { X, WEIGHT, BIAS };

// The library overwrites what it makes; what cannot go where it belongs at once goes through the workspace: a gradient
// that is added to, a weight gradient that is not f32, a bias gradient nobody asked for.
typedef struct state {
    nn__conv *conv;
    size_t at_d_x, at_d_weight, at_d_bias;
} state;

static float *place(const nn_call *c, size_t at)
{
    return (void *)((char *)c->work + at);
}

static mn_err forward(const nn_call *c)
{
    const state *s = c->node->state;

    return nn__conv_forward(s->conv, c->in[X], c->in[WEIGHT], c->in[BIAS], c->out[0], c->work);
}

// Adds or converts a gradient made in the workspace to where it belongs.
static void deliver(const nn_call *c, int i, mn_dtype made, const void *from, mn_dtype to_type)
{
    nn__convert(mn_count(c->node->in[i]->shape), made, from, to_type, c->din[i], nn__acc(c, i));
}

// Gradients of parameters are f32; those of other tensors have the type of the tensor.
static mn_dtype gradient_type(const nn_tensor *t)
{
    return t->param ? MN_F32 : t->dtype;
}

static mn_err d_x(const nn_call *c, const state *s)
{
    void *made = nn__acc(c, X) ? place(c, s->at_d_x) : c->din[X];
    const mn_dtype t = c->node->in[X]->dtype;

    MN_TRY(nn__conv_d_x(s->conv, c->dout[0], c->in[WEIGHT], made, c->work));
    if (made != c->din[X]) deliver(c, X, t, made, t);
    return MN_OK;
}

static mn_err d_weight(const nn_call *c, const state *s)
{
    const mn_dtype t = gradient_type(c->node->in[WEIGHT]);
    const int weight_in_place = c->din[WEIGHT] && t == MN_F32 && !nn__acc(c, WEIGHT);
    const int bias_in_place = c->din[BIAS] && !nn__acc(c, BIAS);
    float *weight = weight_in_place ? c->din[WEIGHT] : place(c, s->at_d_weight);
    float *bias = bias_in_place ? c->din[BIAS] : place(c, s->at_d_bias);

    MN_TRY(nn__conv_d_weight(s->conv, c->in[X], c->dout[0], weight, bias, c->work));
    if (c->din[WEIGHT] && !weight_in_place) deliver(c, WEIGHT, MN_F32, weight, t);
    if (c->din[BIAS] && !bias_in_place) deliver(c, BIAS, MN_F32, bias, MN_F32);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const state *s = c->node->state;

    if (nn__no_gradient(c)) return MN_OK;
    if (c->din[WEIGHT] || c->din[BIAS]) MN_TRY(d_weight(c, s));
    return c->din[X] ? d_x(c, s) : MN_OK;
}

static mn_err shape(nn_node *n)
{
    const conv_attr *a = n->attr;
    const mn_shape x = n->in[X]->shape;
    const nn_tensor *w = n->in[WEIGHT];

    MN_TRY(nn__want_activation(n, X));
    MN_TRY(nn__want_dims(n, X, 3));
    MN_TRY(nn__want_activation(n, WEIGHT));
    if (a->groups < 1 || x.d[2] % a->groups || a->out % a->groups)
        return nn_bad_shape(n, "%lld groups do not divide %lld inputs and %lld outputs", (long long)a->groups,
                            (long long)x.d[2], (long long)a->out);
    if (!mn_shape_equal(w->shape, MN_SHAPE(a->out, x.d[2] / a->groups, a->kernel)))
        return nn_bad_shape(n, "input 1 must be (outputs, inputs / groups, kernel)");
    if (n->in[BIAS]) MN_TRY(nn__want(n, BIAS, MN_F32, a->out));
    if (a->stride < 1 || a->pad < 0 || a->drop_last < 0 || a->drop_last * a->stride > a->pad)
        return nn_bad_shape(n, "wants stride >= 1 and 0 <= drop_last * stride <= pad");
    if (x.d[1] + 2 * a->pad - a->drop_last * a->stride < a->kernel)
        return nn_bad_shape(n, "%lld steps are too few for a kernel of %lld", (long long)x.d[1], (long long)a->kernel);
    const int64_t steps = (x.d[1] + 2 * a->pad - a->kernel) / a->stride + 1 - a->drop_last;
    nn_set_out(n, 0, n->in[X]->dtype, MN_SHAPE(x.d[0], steps, a->out));
    return MN_OK;
}

static size_t reserve(nn_node *n, size_t bytes)
{
    size_t at = n->work_bytes;

    n->work_bytes += (bytes + 63) / 64 * 64;
    return at;
}

static mn_err prepare(nn_node *n)
{
    state *s = n->state = mn_calloc(1, sizeof *s);
    const conv_attr *a = n->attr;
    const mn_shape x = n->in[X]->shape;
    const nn__conv_cfg cfg = {.rows = x.d[0],
                              .t = x.d[1],
                              .in = x.d[2],
                              .out = a->out,
                              .kernel = a->kernel,
                              .stride = a->stride,
                              .left = a->pad,
                              .right = a->pad - a->drop_last * a->stride,
                              .groups = a->groups,
                              .io = n->in[X]->dtype,
                              .weight = n->in[WEIGHT]->dtype,
                              .bias = n->in[BIAS] != NULL,
                              .d_x = (int)(n->grad_in >> X & 1u),
                              .d_weight = (n->grad_in & (1u << WEIGHT | 1u << BIAS)) != 0};

    MN_TRY(nn__conv_new(&s->conv, &cfg));
    n->work_bytes = (nn__conv_work(s->conv) + 63) / 64 * 64;
    if (n->acc_in & 1u << X) s->at_d_x = reserve(n, (size_t)mn_count(x) * mn_dtype_size(cfg.io));
    if (!cfg.d_weight) return MN_OK;
    s->at_d_weight = reserve(n, (size_t)mn_count(n->in[WEIGHT]->shape) * sizeof(float));
    s->at_d_bias = reserve(n, (size_t)a->out * sizeof(float));
    return MN_OK;
}

static void release(nn_node *n)
{
    state *s = n->state;

    if (!s) return;
    nn__conv_free(s->conv);
    free(s);
    n->state = NULL;
}

const nn_op nn_op_conv1d = {
    .name = "conv1d",
    .attr_bytes = sizeof(conv_attr),
    .bwd_reads_in = 1u << X | 1u << WEIGHT,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare, .release = release},
};

nn_tensor *nn_conv1d(nn_graph *g, nn_tensor *x, const nn_conv1d_cfg *cfg, const char *name)
{
    const int64_t groups = cfg->groups ? cfg->groups : 1, in = mn_last(x->shape) / (groups > 0 ? groups : 1);
    const nn_param_spec weight = {
        .shape = MN_SHAPE(cfg->out, in, cfg->kernel), .init = cfg->init, .init_scale = cfg->init_scale};
    const nn_param_spec bias = {.shape = MN_SHAPE(cfg->out),
                                .init = cfg->init == NN_INIT_FAN_IN_UNIFORM ? cfg->init : NN_INIT_ZERO,
                                .fan_in = in * cfg->kernel,
                                .no_decay = 1,
                                .f32 = 1};
    const conv_attr attr = {.out = cfg->out,
                            .kernel = cfg->kernel,
                            .stride = cfg->stride ? cfg->stride : 1,
                            .pad = cfg->pad,
                            .groups = groups,
                            .drop_last = cfg->drop_last};
    nn_tensor *inputs[3] = {0};

    nn_scope_push(g, "%s", name);
    inputs[X] = nn_cast(g, x, nn_graph_dtype(g));
    inputs[WEIGHT] = cfg->weight ? cfg->weight : nn_param_get(g, "weight", &weight);
    if (!cfg->no_bias) inputs[BIAS] = nn_param_get(g, "bias", &bias);
    nn_scope_pop(g);
    return nn_emit(g, &nn_op_conv1d, name, 3, inputs, &attr);
}
