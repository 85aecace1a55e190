#include "nn/ops.h"

#include "nn/ops/rows.h"

#include <string.h>

static mn_err forward(const nn_call *c)
{
    const nn_node *node = c->node;
    int64_t rows = mn_rows(node->in[0]->shape);
    size_t element = mn_dtype_size(node->in[0]->dtype);
    size_t nx = (size_t)mn_last(node->in[0]->shape) * element, ny = (size_t)mn_last(node->in[1]->shape) * element;

#pragma omp parallel for schedule(static) if (mn_count(node->out_shape[0]) > NN__SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        char *z = (char *)c->out[0] + (size_t)r * (nx + ny);
        memcpy(z, (const char *)c->in[0] + (size_t)r * nx, nx);
        memcpy(z + nx, (const char *)c->in[1] + (size_t)r * ny, ny);
    }
    return MN_OK;
}

// The columns of the output's gradient from `first` on belong to input i.
static void backward_one(const nn_call *c, int i, int64_t first)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    int64_t rows = mn_rows(node->in[0]->shape), n = mn_last(node->in[i]->shape), width = mn_last(node->out_shape[0]);
    int acc = nn__acc(c, i);

#pragma omp parallel for schedule(static) if (rows * n > NN__SERIAL)
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < n; k += NN__CHUNK) {
            float tmp[NN__CHUNK];
            int64_t m = nn__min(NN__CHUNK, n - k);
            const float *dz = nn__row_in(c->dout[0], t, r * width + first + k, m, tmp);
            nn__row_put(c->din[i], t, r * n + k, dz, m, acc);
        }
    }
}

static mn_err backward(const nn_call *c)
{
    if (nn__no_gradient(c)) return MN_OK;
    if (c->din[0]) backward_one(c, 0, 0);
    if (c->din[1]) backward_one(c, 1, mn_last(c->node->in[0]->shape));
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    const nn_tensor *x = n->in[0], *y = n->in[1];

    MN_TRY(nn__want_activation(n, 0));
    int same = x->dtype == y->dtype && x->shape.n == y->shape.n && x->shape.n > 0;
    for (int i = 0; i + 1 < x->shape.n && same; i++)
        same = x->shape.d[i] == y->shape.d[i];
    if (!same) return nn_bad_shape(n, "the inputs must agree in type and in all but the last dimension");
    mn_shape s = x->shape;
    s.d[s.n - 1] += y->shape.d[s.n - 1];
    nn_set_out(n, 0, x->dtype, s);
    return MN_OK;
}

const nn_op nn_op_concat = {
    .name = "concat",
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_concat(nn_graph *g, nn_tensor *x, nn_tensor *y)
{
    return nn_emit(g, &nn_op_concat, "concat", 2, (nn_tensor *[]){x, y}, NULL);
}
