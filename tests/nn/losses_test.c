// The losses against PyTorch (tests/golden/losses.py), on any number of ranks, with rows that do not exist.
#include "golden_support.h"
#include "ranks_support.h"

#include "nn/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 37, CLASSES = 7 };

// One graph with one loss. Inputs: x (with gradient), target, weight; for L1 also the mask.
typedef struct net {
    nn_params *params;
    nn_graph *graph;
    nn_tensor *x;
    int64_t rows;
} net;

typedef nn_tensor *build_fn(nn_graph *g, nn_tensor *x, int64_t rows);

static net make(build_fn *build, mn_dtype dtype, mn_shape row, int64_t rows)
{
    net n = {.params = nn_params_new(1), .rows = rows};
    mn_shape s = {.n = row.n + 1, .d = {rows}};

    for (int i = 0; i < row.n; i++)
        s.d[i + 1] = row.d[i];
    n.graph = nn_graph_new(n.params, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = dtype, .seed = 1});
    n.x = nn_input(n.graph, "x", dtype, s);
    nn_want_grad(n.graph, n.x);
    nn_tensor *loss = build(n.graph, n.x, rows);
    nn_output(n.graph, "loss", loss);
    cr_assert_eq(nn_params_layout(n.params, n.graph, &(nn_layout_cfg){.dtype = dtype}), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_plan(n.graph, loss), MN_OK, "%s", mn_errmsg());
    nn_graph_poison(n.graph, 1);
    return n;
}

static void drop(net n)
{
    nn_graph_free(n.graph);
    nn_params_free(n.params);
}

// The function that gives element i of an input.
typedef double value_fn(int64_t i);

// Fills rows of an input from those starting at `first`; rows past `exist` get `absent`.
static void fill(net n, const char *input, value_fn *value, int64_t first, int64_t exist, double absent)
{
    size_t bytes;
    mn_shape s;
    mn_dtype t;
    void *to = nn_graph_input(n.graph, input, &bytes);
    cr_assert(nn_graph_buffer(n.graph, input, &s, &t));
    int64_t width = mn_count(s) / n.rows;
    for (int64_t i = 0; i < n.rows * width; i++) {
        double v = i / width < exist ? value(first * width + i) : absent;
        if (t == MN_U8)
            ((uint8_t *)to)[i] = (uint8_t)v;
        else if (t == MN_BF16)
            ((mn_bf16 *)to)[i] = mn_f32_to_bf16((float)v);
        else
            ((float *)to)[i] = (float)v;
    }
}

static double loss_of(net n)
{
    return *(double *)nn_graph_buffer(n.graph, "loss", NULL, NULL);
}

// --- inputs, as the golden script has them -------------------------------------------------------------------------

static double amplitude(const char *name, int64_t i)
{
    return (double)golden_value(name, MN_SHAPE(1), i);
}
static double logits(int64_t i)
{
    return amplitude("input.logits", i);
}
static double large_logits(int64_t i)
{
    return 256 * logits(i);
}
static double one_hot(int64_t i)
{
    int64_t first = i / CLASSES * CLASSES, best = first;
    for (int64_t k = first; k < first + CLASSES; k++)
        if (amplitude("input.class", k) > amplitude("input.class", best)) best = k;
    return i == best;
}
static double soft(int64_t i)
{
    double sum = 0;
    for (int64_t k = i / CLASSES * CLASSES; k < i / CLASSES * CLASSES + CLASSES; k++)
        sum += golden_uniform("input.soft", k) + 1;
    return (golden_uniform("input.soft", i) + 1) / sum;
}
static double labels(int64_t i)
{
    return golden_uniform("input.labels", i) < 0;
}
static double va(int64_t i)
{
    return amplitude("input.va", i);
}
static double va_target(int64_t i)
{
    return amplitude("input.va_target", i);
}
static double image(int64_t i)
{
    return amplitude("input.image", i);
}
static double pred(int64_t i)
{
    return amplitude("input.pred", i);
}
static double mask(int64_t i)
{
    return golden_uniform("input.mask", i) < 2.0 * 0.6 - 1;
}
static double all(int64_t i)
{
    (void)i;
    return 1;
}
static double valid(int64_t i)
{
    return golden_uniform("input.valid", i) < 2.0 * 0.7 - 1;
}
static double valid_elements(int64_t i)
{
    return golden_uniform("input.valid_elements", i) < 2.0 * 0.6 - 1;
}
static double uneven(int64_t i)
{
    return valid(i) * (1 + 0.5 * golden_uniform("input.uneven", i));
}

// --- losses --------------------------------------------------------------------------------------------------------

static nn_tensor *ce(nn_graph *g, nn_tensor *x, int64_t rows, float smoothing, int weighted)
{
    nn_ce_cfg cfg = {.smoothing = smoothing};
    for (int k = 0; k < CLASSES && weighted; k++)
        cfg.class_weight[k] = 1 + 0.5f * (float)k;
    return nn_ce_loss(g, x, nn_input(g, "target", MN_F32, MN_SHAPE(rows, CLASSES)),
                      nn_input(g, "weight", MN_F32, MN_SHAPE(rows)), &cfg);
}
static nn_tensor *ce_plain(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return ce(g, x, rows, 0, 0);
}
static nn_tensor *ce_weighted(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return ce(g, x, rows, 0, 1);
}
static nn_tensor *ce_smooth(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return ce(g, x, rows, 0.1f, 1);
}
static nn_tensor *ce_soft_smooth(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return ce(g, x, rows, 0.2f, 0);
}
static nn_tensor *bce_elements(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return nn_bce_loss(g, x, nn_input(g, "target", MN_F32, MN_SHAPE(rows, CLASSES)),
                       nn_input(g, "weight", MN_F32, MN_SHAPE(rows, CLASSES)));
}
static nn_tensor *bce_rows(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return nn_bce_loss(g, x, nn_input(g, "target", MN_F32, MN_SHAPE(rows, CLASSES)),
                       nn_input(g, "weight", MN_F32, MN_SHAPE(rows)));
}
static nn_tensor *ccc(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return nn_ccc_loss(g, x, nn_input(g, "target", MN_F32, MN_SHAPE(rows, 2)),
                       nn_input(g, "weight", MN_F32, MN_SHAPE(rows)));
}
static nn_tensor *l1(nn_graph *g, nn_tensor *x, int64_t rows)
{
    return nn_l1_loss(g, x, nn_input(g, "target", MN_F32, MN_SHAPE(rows, 16, 24, 3)),
                      nn_input(g, "mask", MN_U8, MN_SHAPE(rows, 4, 6)), nn_input(g, "weight", MN_F32, MN_SHAPE(rows)),
                      8, 4);
}

typedef struct row {
    const char *name;
    build_fn *build;
    mn_shape shape; // of x without rows
    int64_t rows;
    value_fn *x, *target, *weight;
    double x_grad_scale; // the golden's logits are a multiple of its leaf
} row;

static const row table[] = {
    {"ce.plain", ce_plain, {1, {CLASSES}}, ROWS, logits, one_hot, all, 1},
    {"ce.valid", ce_plain, {1, {CLASSES}}, ROWS, logits, one_hot, valid, 1},
    {"ce.weighted", ce_weighted, {1, {CLASSES}}, ROWS, logits, one_hot, valid, 1},
    {"ce.smooth", ce_smooth, {1, {CLASSES}}, ROWS, logits, one_hot, valid, 1},
    {"ce.soft", ce_plain, {1, {CLASSES}}, ROWS, logits, soft, all, 1},
    {"ce.soft_smooth", ce_soft_smooth, {1, {CLASSES}}, ROWS, logits, soft, valid, 1},
    {"ce.large", ce_plain, {1, {CLASSES}}, ROWS, large_logits, one_hot, all, 256},
    {"bce.plain", bce_rows, {1, {CLASSES}}, ROWS, logits, labels, all, 1},
    {"bce.elements", bce_elements, {1, {CLASSES}}, ROWS, logits, labels, valid_elements, 1},
    {"bce.rows", bce_rows, {1, {CLASSES}}, ROWS, logits, labels, valid, 1},
    {"bce.large", bce_rows, {1, {CLASSES}}, ROWS, large_logits, labels, all, 256},
    {"ccc.plain", ccc, {1, {2}}, ROWS, va, va_target, all, 1},
    {"ccc.rows", ccc, {1, {2}}, ROWS, va, va_target, valid, 1},
    {"l1.plain", l1, {2, {6, 192}}, 3, pred, image, all, 1},
};

static void feed(net n, const row *r, value_fn *weight, int64_t first, int64_t exist)
{
    fill(n, "x", r->x, first, exist, NAN);
    fill(n, "target", r->target, first, exist, NAN);
    fill(n, "weight", weight, first, exist, 0);
    if (r->build == l1) fill(n, "mask", mask, first, exist, 1);
}

Test(losses, agree_with_pytorch)
{
    golden *gold = golden_open("losses.safetensors");

    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const row *r = &table[k];
        char grad[64];
        int64_t count;
        net n = make(r->build, MN_F32, r->shape, r->rows);
        feed(n, r, r->weight, 0, r->rows);
        cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = r->rows}), MN_OK);
        double want = (double)golden_get(gold, r->name, &count)[0], have = loss_of(n), norm;
        cr_expect(fabs(have - want) <= 1e-6 * fabs(want), "%s: %.9g, want %.9g", r->name, have, want);
        float *dx = nn_graph_grad(n.graph, n.x);
        for (int64_t i = 0; i < mn_count(n.x->shape); i++)
            dx[i] *= (float)r->x_grad_scale;
        snprintf(grad, sizeof grad, "grad.%s", r->name);
        double distance = golden_distance(gold, grad, dx, mn_count(n.x->shape), &norm);
        cr_expect(distance >= 0 && distance <= 1e-6 * norm, "%s: gradient off by %g of %g", r->name, distance, norm);
        drop(n);
    }
    golden_close(gold);
}

// Splits the rows unevenly, one row of the second rank does not exist (NaN everywhere, weight 0).
static void check_ranks(const row *r, mn_dtype dtype)
{
    int64_t half = r->rows / 3 + 1, rest = r->rows - half, width = mn_count(r->shape);
    net whole = make(r->build, dtype, r->shape, r->rows), part[2];
    nn_graph *g[2];
    value_fn *weight = r->weight == valid ? uneven : r->weight;
    size_t element = mn_dtype_size(dtype);

    feed(whole, r, weight, 0, r->rows);
    cr_assert_eq(nn_graph_run(whole.graph, &(nn_tick){.rows = r->rows}), MN_OK);
    for (int k = 0; k < 2; k++) {
        part[k] = make(r->build, dtype, r->shape, k ? rest + 1 : half);
        feed(part[k], r, weight, k ? half : 0, k ? rest : half);
        g[k] = part[k].graph;
    }
    cr_assert_eq(ranks_run(g, (nn_tick[2]){{.rows = half}, {.first_row = half, .rows = rest}}, 2), 1);
    for (int k = 0; k < 2; k++) {
        const char *have = nn_graph_grad(part[k].graph, part[k].x), *want = nn_graph_grad(whole.graph, whole.x);
        int64_t rows = k ? rest : half;
        cr_expect(fabs(loss_of(part[k]) - loss_of(whole)) <= 1e-13, "%s: rank %d has another loss", r->name, k);
        want += k ? (size_t)(half * width) * element : 0;
        if (dtype == MN_F32)
            for (int64_t i = 0; i < rows * width; i++) {
                float a = ((const float *)have)[i], b = ((const float *)want)[i];
                cr_expect(fabsf(a - b) <= 1e-6f * fabsf(b), "%s: rank %d, %g not %g", r->name, k, (double)a, (double)b);
            }
        else
            cr_expect(memcmp(have, want, (size_t)(rows * width) * element) == 0, "%s: rank %d", r->name, k);
        for (int64_t i = rows * width; i < part[k].rows * width; i++) {
            double v = dtype == MN_F32 ? (double)((const float *)have)[i] : (double)((const mn_bf16 *)have)[i];
            cr_expect(v == 0, "%s: a row that does not exist has a gradient", r->name);
        }
        drop(part[k]);
    }
    drop(whole);
}

Test(losses, do_not_depend_on_the_number_of_ranks)
{
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        check_ranks(&table[k], MN_F32);
        check_ranks(&table[k], MN_BF16);
    }
}

// Nothing valid, or nothing to learn from: a finite value and no gradient.
Test(losses, without_valid_rows_are_finite)
{
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const row *r = &table[k];
        net n = make(r->build, MN_F32, r->shape, r->rows);
        feed(n, r, r->weight, 0, 0);
        cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = 0}), MN_OK);
        cr_expect_eq(loss_of(n), r->build == ccc ? 2 : 0, "%s: %g", r->name, loss_of(n));
        const float *dx = nn_graph_grad(n.graph, n.x);
        for (int64_t i = 0; i < mn_count(n.x->shape); i++)
            cr_expect_eq(dx[i], 0, "%s", r->name);
        drop(n);
    }
}

static double constant(int64_t i)
{
    return i % 2 ? 0.3 : va_target(i);
}

Test(losses, ccc_of_a_constant_column_that_is_met_is_zero)
{
    net n = make(ccc, MN_F32, MN_SHAPE(2), ROWS);

    fill(n, "x", constant, 0, ROWS, 0);
    fill(n, "target", constant, 0, ROWS, 0);
    fill(n, "weight", all, 0, ROWS, 0);
    cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = ROWS}), MN_OK);
    cr_expect(fabs(loss_of(n) - 1) <= 1e-12, "%g", loss_of(n)); // 0 for the first column, 1 for the constant one
    const float *dx = nn_graph_grad(n.graph, n.x);
    for (int i = 0; i < ROWS; i++)
        cr_expect_eq(dx[2 * i + 1], 0);
    drop(n);
}
