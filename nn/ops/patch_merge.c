#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

#include <string.h>

// First element, in the input, of quarter q of merged token m: quarters in the order (row, column) (0,0), (1,0), (0,1),
// (1,1) of the paper's code.
static int64_t quarter_at(const nn_node *n, int64_t m, int q)
{
    const patch_merge_attr *attr = n->attr;
    int64_t w = attr->width / 2, per_image = attr->height / 2 * w;
    int64_t b = m / per_image, y = m % per_image / w * 2 + (q & 1), x = m % w * 2 + (q >> 1);
    return ((b * attr->height + y) * attr->width + x) * mn_last(n->in[0]->shape);
}

static mn_err forward(const nn_call *c)
{
    const nn_node *node = c->node;
    size_t element = mn_dtype_size(node->in[0]->dtype), bytes = (size_t)mn_last(node->in[0]->shape) * element;
    int64_t merged = mn_rows(node->out_shape[0]);

#pragma omp parallel for schedule(static) if (mn_count(node->out_shape[0]) > NN__SERIAL)
    for (int64_t m = 0; m < merged; m++) {
        char *y = (char *)c->out[0] + (size_t)m * 4 * bytes;
        for (int q = 0; q < 4; q++)
            memcpy(y + (size_t)q * bytes, (const char *)c->in[0] + (size_t)quarter_at(node, m, q) * element, bytes);
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    const nn_node *node = c->node;
    mn_dtype t = node->in[0]->dtype;
    int64_t merged = mn_rows(node->out_shape[0]), width = mn_last(node->in[0]->shape);
    int acc = nn__acc(c, 0);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (mn_count(node->out_shape[0]) > NN__SERIAL)
    for (int64_t m = 0; m < merged; m++) {
        for (int64_t k = 0; k < 4 * width; k += nn__min(NN__CHUNK, width - k % width)) {
            float tmp[NN__CHUNK];
            int64_t n = nn__min(NN__CHUNK, width - k % width);
            const float *dy = nn__row_in(c->dout[0], t, m * 4 * width + k, n, tmp);
            nn__row_put(c->din[0], t, quarter_at(node, m, (int)(k / width)) + k % width, dy, n, acc);
        }
    }
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    const patch_merge_attr *attr = n->attr;
    mn_shape s = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 3));
    if (attr->height * attr->width != s.d[1] || attr->height % 2 || attr->width % 2)
        return nn_bad_shape(n, "a grid of %lld x %lld tokens cannot be merged by 2 x 2", (long long)attr->height,
                            (long long)attr->width);
    nn_set_out(n, 0, n->in[0]->dtype, MN_SHAPE(s.d[0], s.d[1] / 4, 4 * s.d[2]));
    return MN_OK;
}

const nn_op nn_op_patch_merge = {
    .name = "patch_merge",
    .attr_bytes = sizeof(patch_merge_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward},
};

nn_tensor *nn_patch_merge(nn_graph *g, nn_tensor *x, int64_t height, int64_t width)
{
    return nn_emit(g, &nn_op_patch_merge, "patch_merge", 1, &x, &(patch_merge_attr){.height = height, .width = width});
}
