#include "nn/ops.h"

#include "nn/base/rng.h"
#include "nn/ops/attr.h"
#include "nn/ops/residual.h"
#include "nn/ops/rows.h"

float nn__drop_path(const nn_call *c, float drop, int64_t b)
{
    if (drop <= 0 || c->node->mode == NN_EVAL) return 1;
    mn_rng4 u = mn_rng_block(c->node->key, (uint64_t)(c->tick->first_row + b), c->tick->step, 0);
    return mn_uniform(u.v[0]) < drop ? 0 : 1 / (1 - drop);
}

// x + s h; a dropped branch is not read.
MN_SIMD static void add_row(const float *restrict x, const float *restrict h, float s, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + s * h[i];
}

MN_SIMD static void scale_row(const float *restrict dy, float s, float *restrict dh, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dh[i] = s * dy[i];
}

// Rows of the batch are cut into chunks, so that one long row still feeds all threads.
static mn_err forward(const nn_call *c)
{
    const residual_attr *attr = c->node->attr;
    mn_dtype t = c->node->in[0]->dtype;
    mn_shape s = c->node->in[0]->shape;
    int64_t batch = s.d[0], width = mn_count(s) / batch, chunks = nn__chunks(width);

#pragma omp parallel for schedule(static) if (batch * width > NN__SERIAL)
    for (int64_t k = 0; k < batch * chunks; k++) {
        float tmp_x[NN__CHUNK], tmp_h[NN__CHUNK], tmp_y[NN__CHUNK];
        int64_t b = k / chunks, first = k % chunks * NN__CHUNK;
        int64_t at = b * width + first, n = nn__min(NN__CHUNK, width - first);
        float scale = nn__drop_path(c, attr->drop, b);
        const float *x = nn__row_in(c->in[0], t, at, n, tmp_x);
        if (scale == 0) {
            nn__row_put(c->out[0], t, at, x, n, 0);
            continue;
        }
        float *y = nn__row_out(c->out[0], t, at, 0, tmp_y);
        add_row(x, nn__row_in(c->in[1], t, at, n, tmp_h), scale, y, n);
        nn__row_put(c->out[0], t, at, y, n, 0);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const residual_attr *attr = c->node->attr;
    mn_dtype t = c->node->in[0]->dtype;
    mn_shape s = c->node->in[0]->shape;
    int64_t batch = s.d[0], width = mn_count(s) / batch, chunks = nn__chunks(width);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (batch * width > NN__SERIAL)
    for (int64_t k = 0; k < batch * chunks; k++) {
        float tmp_dy[NN__CHUNK], tmp_dh[NN__CHUNK];
        int64_t b = k / chunks, first = k % chunks * NN__CHUNK;
        int64_t at = b * width + first, n = nn__min(NN__CHUNK, width - first);
        const float *dy = nn__row_in(c->dout[0], t, at, n, tmp_dy);
        if (c->din[0]) nn__row_put(c->din[0], t, at, dy, n, nn__acc(c, 0));
        if (!c->din[1]) continue;
        float *dh = nn__row_out(c->din[1], t, at, nn__acc(c, 1), tmp_dh);
        scale_row(dy, nn__drop_path(c, attr->drop, b), dh, n);
        nn__row_put(c->din[1], t, at, dh, n, nn__acc(c, 1));
    }
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    float drop = ((const residual_attr *)n->attr)->drop;

    MN_TRY(nn__want_activation(n, 0));
    if (n->in[1]->dtype != n->in[0]->dtype || !mn_shape_equal(n->in[0]->shape, n->in[1]->shape))
        return nn_bad_shape(n, "the inputs must have the same type and shape");
    if (!(drop >= 0 && drop < 1)) return nn_bad_shape(n, "drop must be in [0, 1), not %g", (double)drop);
    nn__out_like_in(n);
    return MN_OK;
}

const nn_op nn_op_residual = {
    .name = "residual",
    .attr_bytes = sizeof(residual_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_residual(nn_graph *g, nn_tensor *x, nn_tensor *h, float drop, const char *name)
{
    return nn_emit(g, &nn_op_residual, name, 2, (nn_tensor *[]){x, h}, &(residual_attr){.drop = drop});
}
