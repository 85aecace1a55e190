// SimMIM's loss (Xie et al. 2022; microsoft/SimMIM models/simmim.py): sum |x - x_hat| M / (sum M + 1e-5) / 3 with M the
// patch mask spread to pixels, one channel. Only masked patches are read. Sums: [sum |x - x_hat| M w, sum M w].
#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/loss.h"

#include <math.h>
#include <string.h>

enum { PRED, IMAGE, MASK, WEIGHT, GLOBAL };

// Where patch (i, j) of a cell begins, in pred's row (channel 0), in the image (channel 0), and its mask.
typedef struct site {
    int64_t pred, image;
    int masked;
} site;

typedef struct layout {
    int64_t cell, patch, height, width, across, cells, per_cell; // cells per row and per image; patches per cell's side
} layout;

static layout layout_of(const nn_node *n)
{
    const l1_attr *attr = n->attr;
    mn_shape image = n->in[IMAGE]->shape; // (B, H, W, 3)
    layout l = {.cell = attr->cell, .patch = attr->patch, .height = image.d[1], .width = image.d[2]};
    l.across = l.width / l.cell;
    l.cells = l.height / l.cell * l.across;
    l.per_cell = l.cell / l.patch;
    return l;
}

static site site_of(const nn_call *c, layout l, int64_t row, int64_t k)
{
    const uint8_t *mask = c->in[MASK];
    int64_t b = row / l.cells, cell = row % l.cells, i = k / l.per_cell * l.patch, j = k % l.per_cell * l.patch;
    int64_t y = cell / l.across * l.cell + i, x = cell % l.across * l.cell + j;
    int64_t patch = y / l.patch * (l.width / l.patch) + x / l.patch;
    return (site){.pred = i * l.cell + j,
                  .image = ((b * l.height + y) * l.width + x) * 3,
                  .masked = mask[b * (l.height / l.patch) * (l.width / l.patch) + patch] != 0};
}

static double sum_patch(const nn_call *c, layout l, site s, const float *pred)
{
    const float *image = c->in[IMAGE];
    double sum = 0;

    for (int64_t ch = 0; ch < 3; ch++)
        for (int64_t i = 0; i < l.patch; i++) {
            const float *p = pred + s.pred + (ch * l.cell + i) * l.cell;
            const float *q = image + s.image + i * l.width * 3 + ch;
            for (int64_t j = 0; j < l.patch; j++)
                sum += (double)fabsf(p[j] - q[3 * j]);
        }
    return sum;
}

static void sum_rows(const nn_call *c, int64_t first, int64_t end, double *sums, float *tmp)
{
    layout l = layout_of(c->node);
    const float *weight = c->in[WEIGHT];
    int64_t n = mn_last(c->node->in[PRED]->shape);

    for (int64_t r = first; r < end; r++) {
        double w = weight ? (double)weight[r / l.cells] : 1;
        if (w == 0) continue;
        const float *pred = nn__row_in(c->in[PRED], c->node->in[PRED]->dtype, r * n, n, tmp);
        for (int64_t k = 0; k < l.per_cell * l.per_cell; k++) {
            site s = site_of(c, l, r, k);
            if (!s.masked) continue;
            sums[0] += w * sum_patch(c, l, s, pred);
            sums[1] += w * (double)(l.patch * l.patch);
        }
    }
}

static void patch_grad(const nn_call *c, layout l, site s, float size, const float *pred, float *dpred)
{
    const float *image = c->in[IMAGE];

    for (int64_t ch = 0; ch < 3; ch++)
        for (int64_t i = 0; i < l.patch; i++) {
            int64_t at = s.pred + (ch * l.cell + i) * l.cell;
            const float *q = image + s.image + i * l.width * 3 + ch;
            for (int64_t j = 0; j < l.patch; j++) {
                float e = pred[at + j] - q[3 * j];
                dpred[at + j] = e > 0 ? size : e < 0 ? -size : e * 0.0f; // NaN stays visible
            }
        }
}

static void grad_row(const nn_call *c, int64_t r, double scale, const float *pred, float *dpred)
{
    layout l = layout_of(c->node);
    const float *weight = c->in[WEIGHT];
    const double *sums = c->in[GLOBAL];
    double w = weight ? (double)weight[r / l.cells] : 1;
    float size = (float)(scale * w / (3 * (sums[1] + 1e-5)));

    memset(dpred, 0, (size_t)mn_last(c->node->in[PRED]->shape) * sizeof *dpred);
    for (int64_t k = 0; k < l.per_cell * l.per_cell && w != 0; k++) {
        site s = site_of(c, l, r, k);
        if (s.masked) patch_grad(c, l, s, size, pred, dpred);
    }
}

static mn_err sums_forward(const nn_call *c)
{
    return nn__loss_sums(c, sum_rows);
}

static mn_err loss_forward(const nn_call *c)
{
    const double *sums = c->in[GLOBAL];
    *(double *)c->out[0] = sums[0] / (sums[1] + 1e-5) / 3;
    return MN_OK;
}

static mn_err loss_backward(const nn_call *c)
{
    return nn__loss_grad(c, grad_row);
}

static mn_err check(const nn_node *n)
{
    const l1_attr *attr = n->attr;
    mn_shape pred = n->in[PRED]->shape, image = n->in[IMAGE]->shape;

    MN_TRY(nn__want_activation(n, PRED));
    MN_TRY(nn__want_dims(n, PRED, 3));
    MN_TRY(nn__want_dims(n, IMAGE, 4));
    if (attr->cell < 1 || attr->patch < 1 || attr->cell % attr->patch || image.d[1] % attr->cell ||
        image.d[2] % attr->cell || image.d[3] != 3)
        return nn_bad_shape(n, "cells of %lld pixels and patches of %lld do not divide the image",
                            (long long)attr->cell, (long long)attr->patch);
    if (pred.d[0] != image.d[0] || pred.d[1] * attr->cell * attr->cell != image.d[1] * image.d[2] ||
        pred.d[2] != 3 * attr->cell * attr->cell)
        return nn_bad_shape(n, "pred must be (B, cells, 3 * %lld^2) for the cells of the image", (long long)attr->cell);
    MN_TRY(nn__want(n, IMAGE, MN_F32, mn_count(image)));
    MN_TRY(nn__want(n, MASK, MN_U8, mn_count(image) / 3 / (attr->patch * attr->patch)));
    if (n->in[WEIGHT]) MN_TRY(nn__want(n, WEIGHT, MN_F32, image.d[0]));
    return MN_OK;
}

static mn_err sums_shape(nn_node *n)
{
    MN_TRY(check(n));
    nn_set_out(n, 0, MN_F64, MN_SHAPE(2));
    return MN_OK;
}

static mn_err loss_shape(nn_node *n)
{
    MN_TRY(check(n));
    MN_TRY(nn__want(n, GLOBAL, MN_F64, 2));
    nn_set_out(n, 0, MN_F64, (mn_shape){0});
    return MN_OK;
}

const nn_op nn_op_l1_sums = {
    .name = "l1_sums",
    .attr_bytes = sizeof(l1_attr),
    .no_grad_in = ~0u,
    .shape = sums_shape,
    .cpu = {.fwd = sums_forward, .prepare = nn__loss_prepare},
};

const nn_op nn_op_l1_loss = {
    .name = "l1_loss",
    .attr_bytes = sizeof(l1_attr),
    .bwd_reads_in = ~0u,
    .no_grad_in = ~1u,
    .shape = loss_shape,
    .cpu = {.fwd = loss_forward, .bwd = loss_backward, .prepare = nn__loss_prepare},
};

nn_tensor *nn_l1_loss(nn_graph *g, nn_tensor *pred, nn_tensor *image, nn_tensor *mask, nn_tensor *weight, int64_t cell,
                      int64_t patch)
{
    return nn__loss(g, &nn_op_l1_sums, &nn_op_l1_loss, 4, (nn_tensor *[5]){pred, image, mask, weight},
                    &(l1_attr){.cell = cell, .patch = patch});
}
