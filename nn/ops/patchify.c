#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

// p rows of pixels and the row of patches made of them hold the same elements in another order:
// pixels (p, W, ch), patches (W / p, ch, p, p).
static void strip_to_patches(const float *restrict pixels, float *restrict patches, int64_t p, int64_t width,
                             int64_t ch)
{
    for (int64_t k = 0; k < width / p; k++)
        for (int64_t q = 0; q < ch; q++)
            for (int64_t i = 0; i < p; i++)
                for (int64_t j = 0; j < p; j++)
                    *patches++ = pixels[(i * width + k * p + j) * ch + q];
}

static void patches_to_strip(const float *restrict patches, float *restrict pixels, int64_t p, int64_t width,
                             int64_t ch)
{
    for (int64_t k = 0; k < width / p; k++)
        for (int64_t q = 0; q < ch; q++)
            for (int64_t i = 0; i < p; i++)
                for (int64_t j = 0; j < p; j++)
                    pixels[(i * width + k * p + j) * ch + q] = *patches++;
}

typedef struct strips {
    int64_t count, size; // strips in the batch, elements of one
    int64_t p, width, ch;
} strips;

static strips strips_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape; // (B, H, W, ch)
    int64_t p = ((const patchify_attr *)n->attr)->p;
    return (strips){.count = s.d[0] * s.d[1] / p, .size = p * s.d[2] * s.d[3], .p = p, .width = s.d[2], .ch = s.d[3]};
}

static mn_err forward(const nn_call *c)
{
    strips s = strips_of(c->node);
    mn_dtype ti = c->node->in[0]->dtype, to = c->node->out_dtype[0];

#pragma omp parallel for schedule(static) if (s.count * s.size > NN__SERIAL)
    for (int64_t b = 0; b < nn__blocks(s.count); b++) {
        float *tmp = (float *)c->work + b * 2 * s.size;
        for (int64_t k = nn__block_start(s.count, b); k < nn__block_start(s.count, b + 1); k++) {
            const float *x = nn__row_in(c->in[0], ti, k * s.size, s.size, tmp);
            float *y = nn__row_out(c->out[0], to, k * s.size, 0, tmp + s.size);
            strip_to_patches(x, y, s.p, s.width, s.ch);
            nn__row_put(c->out[0], to, k * s.size, y, s.size, 0);
        }
    }
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    strips s = strips_of(c->node);
    mn_dtype ti = c->node->in[0]->dtype, to = c->node->out_dtype[0];
    int acc = nn__acc(c, 0);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (s.count * s.size > NN__SERIAL)
    for (int64_t b = 0; b < nn__blocks(s.count); b++) {
        float *tmp = (float *)c->work + b * 2 * s.size;
        for (int64_t k = nn__block_start(s.count, b); k < nn__block_start(s.count, b + 1); k++) {
            const float *dy = nn__row_in(c->dout[0], to, k * s.size, s.size, tmp);
            float *dx = nn__row_out(c->din[0], ti, k * s.size, acc, tmp + s.size);
            patches_to_strip(dy, dx, s.p, s.width, s.ch);
            nn__row_put(c->din[0], ti, k * s.size, dx, s.size, acc);
        }
    }
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    strips s = strips_of(n);
    n->work_bytes = nn__block_bytes(s.count, 2 * s.size);
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    const patchify_attr *attr = n->attr;
    int64_t p = attr->p;

    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 4));
    if (p < 1 || s.d[1] % p || s.d[2] % p)
        return nn_bad_shape(n, "height and width must be multiples of the patch size %lld", (long long)p);
    nn_set_out(n, 0, (mn_dtype)attr->dtype, MN_SHAPE(s.d[0], s.d[1] / p * (s.d[2] / p), s.d[3] * p * p));
    return MN_OK;
}

const nn_op nn_op_patchify = {
    .name = "patchify",
    .attr_bytes = sizeof(patchify_attr),
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_patchify(nn_graph *g, nn_tensor *x, int64_t p)
{
    return nn_emit(g, &nn_op_patchify, "patchify", 1, &x, &(patchify_attr){.p = p, .dtype = nn_graph_dtype(g)});
}
