#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

MN_SIMD static void add_row(const float *restrict x, const float *restrict y, float *restrict z, int64_t n,
                            const void *attr)
{
    float a = ((const add_attr *)attr)->a, b = ((const add_attr *)attr)->b;
    for (int64_t i = 0; i < n; i++)
        z[i] = a * x[i] + b * y[i];
}

MN_SIMD static void scale_row(const float *restrict dz, const float *restrict none, float *restrict dx, int64_t n,
                              const void *scale)
{
    float s = *(const float *)scale;
    (void)none;
    for (int64_t i = 0; i < n; i++)
        dx[i] = s * dz[i];
}

static mn_err forward(const nn_call *c)
{
    nn__map(c, add_row, c->in[0], c->in[1], c->out[0], 0, c->node->attr);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const add_attr *attr = c->node->attr;

    if (nn__no_gradient(c)) return MN_OK;
    if (c->din[0]) nn__map(c, scale_row, c->dout[0], NULL, c->din[0], nn__acc(c, 0), &attr->a);
    if (c->din[1]) nn__map(c, scale_row, c->dout[0], NULL, c->din[1], nn__acc(c, 1), &attr->b);
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    if (n->in[1]->dtype != n->in[0]->dtype || !mn_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return nn_bad_shape(n, "the inputs must have the same type and shape");
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_add = {
    .name = "add",
    .attr_bytes = sizeof(add_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_add(nn_graph *g, nn_tensor *x, float a, nn_tensor *y, float b)
{
    return nn_emit(g, &nn_op_add, "add", 2, (nn_tensor *[]){x, y}, &(add_attr){.a = a, .b = b});
}
