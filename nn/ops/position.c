#include "nn/ops.h"

#include "nn/base/mem.h"
#include "nn/ops/position.h"
#include "nn/ops/rows.h"

#include <stdlib.h>

MN_SIMD static void add_row(const float *restrict x, const float *restrict pe, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + pe[i];
}

static mn_err prepare(nn_node *n)
{
    int64_t frames = n->in[0]->shape.d[1], width = n->in[0]->shape.d[2];
    float *table = mn_calloc((size_t)(frames * width), sizeof(float)); // (T, C)

    nn__position_table(table, frames, width);
    n->state = table;
    return MN_OK;
}

static void release(nn_node *n)
{
    free(n->state);
}

static mn_err forward(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape; // (B, T, C)
    mn_dtype t = c->node->in[0]->dtype;
    const float *table = c->node->state;
    int64_t width = s.d[2];

#pragma omp parallel for schedule(static) if (mn_count(s) > NN__SERIAL)
    for (int64_t r = 0; r < s.d[0] * s.d[1]; r++) {
        for (int64_t k = 0; k < width; k += NN__CHUNK) {
            float tmp_x[NN__CHUNK], tmp_y[NN__CHUNK];
            int64_t at = r * width + k, n = nn__min(NN__CHUNK, width - k);
            const float *x = nn__row_in(c->in[0], t, at, n, tmp_x);
            float *y = nn__row_out(c->out[0], t, at, 0, tmp_y);
            add_row(x, table + r % s.d[1] * width + k, y, n);
            nn__row_put(c->out[0], t, at, y, n, 0);
        }
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    mn_dtype t = c->node->in[0]->dtype;
    int64_t count = mn_count(c->node->in[0]->shape);
    int acc = nn__acc(c, 0);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (count > NN__SERIAL)
    for (int64_t k = 0; k < nn__chunks(count); k++) {
        float tmp[NN__CHUNK];
        int64_t at = k * NN__CHUNK, n = nn__min(NN__CHUNK, count - at);
        nn__row_put(c->din[0], t, at, nn__row_in(c->dout[0], t, at, n, tmp), n, acc);
    }
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 3));
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_position = {
    .name = "position",
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare, .release = release},
};

nn_tensor *nn_position(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &nn_op_position, "position", 1, &x, NULL);
}
