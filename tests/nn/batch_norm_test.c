// Batch norm over ranks: statistics, their gradient and the running statistics are those of the global batch.
#include "golden_support.h"
#include "ranks_support.h"

#include "nn/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 41, WIDTH = 5 };

// x (rows, WIDTH) -> batch norm -> CCC against a target, so that the gradient depends on everything.
typedef struct net {
    nn_params *params;
    nn_graph *graph;
    nn_tensor *x;
    int64_t rows;
} net;

static net make(nn_mode mode, int local, int64_t rows)
{
    net n = {.params = nn_params_new(1), .rows = rows};
    const nn_batch_norm_cfg cfg = {.eps = 1e-5f, .momentum = 0.1f, .local = local};

    n.graph = nn_graph_new(n.params, &(nn_graph_cfg){.mode = mode, .dtype = MN_F32});
    n.x = nn_input(n.graph, "x", MN_F32, MN_SHAPE(rows, WIDTH));
    nn_want_grad(n.graph, n.x);
    nn_tensor *weight = nn_input(n.graph, "weight", MN_F32, MN_SHAPE(rows));
    nn_tensor *target = nn_input(n.graph, "target", MN_F32, MN_SHAPE(rows, WIDTH));
    nn_tensor *y = nn_batch_norm(n.graph, n.x, weight, &cfg, "bn");
    nn_tensor *loss = nn_ccc_loss(n.graph, y, target, weight);
    nn_output(n.graph, "y", y);
    nn_output(n.graph, "loss", loss);
    cr_assert_eq(nn_params_layout(n.params, n.graph, &(nn_layout_cfg){.dtype = MN_F32}), MN_OK, "%s", mn_errmsg());
    golden_fill(n.params);
    cr_assert_eq(nn_graph_plan(n.graph, mode == NN_TRAIN ? loss : NULL), MN_OK, "%s", mn_errmsg());
    nn_graph_poison(n.graph, 1);
    return n;
}

static void drop(net n)
{
    nn_graph_free(n.graph);
    nn_params_free(n.params);
}

static float value(const char *name, int64_t i)
{
    return golden_value(name, MN_SHAPE(1), i);
}
static float weight_of(int64_t row)
{
    return row % 5 == 2 ? 0 : 1 + 0.5f * (float)golden_uniform("input.weight", row);
}
static float x_of(int64_t i)
{
    return 2 + value("input.x", i) * (float)(1 + i % WIDTH);
}

// The rows of the global batch from `first` on; rows past `exist` and rows of weight 0 hold NaN.
static void feed(net n, int64_t first, int64_t exist)
{
    float *x = nn_graph_input(n.graph, "x", NULL), *w = nn_graph_input(n.graph, "weight", NULL);
    float *y = nn_graph_input(n.graph, "target", NULL);
    for (int64_t r = 0; r < n.rows; r++) {
        w[r] = r < exist ? weight_of(first + r) : 0;
        for (int64_t k = 0; k < WIDTH; k++) {
            x[r * WIDTH + k] = w[r] == 0 ? NAN : x_of((first + r) * WIDTH + k);
            y[r * WIDTH + k] = w[r] == 0 ? NAN : value("input.y", (first + r) * WIDTH + k);
        }
    }
}

static const float *param(net n, const char *name)
{
    return nn_param_master(n.params, nn_params_find(n.params, name));
}
static const float *grad(net n, const char *name)
{
    return nn_param_grad(n.params, nn_params_find(n.params, name));
}

// `size`: of the terms that were added, whose rounding is what is left when they cancel.
static void expect_rows(const float *have, const float *want, int64_t count, float size, const char *what)
{
    for (int64_t i = 0; i < count; i++)
        cr_expect(fabsf(have[i] - want[i]) <= 2e-6f * (size + fabsf(want[i])), "%s[%d]: %g, want %g", what, (int)i,
                  (double)have[i], (double)want[i]);
}

Test(batch_norm, does_not_depend_on_the_number_of_ranks)
{
    enum { HALF = 14 };
    net whole = make(NN_TRAIN, 0, ROWS), part[2] = {make(NN_TRAIN, 0, HALF), make(NN_TRAIN, 0, ROWS - HALF + 1)};
    nn_graph *all[1] = {whole.graph}, *two[2] = {part[0].graph, part[1].graph};

    feed(whole, 0, ROWS);
    feed(part[0], 0, HALF);
    feed(part[1], HALF, ROWS - HALF);
    // Statistics, loss, and the gradient of the statistics.
    cr_expect_eq(ranks_run(all, (nn_tick[1]){{.rows = ROWS}}, 1), 3);
    cr_expect_eq(ranks_run(two, (nn_tick[2]){{.rows = HALF}, {.first_row = HALF, .rows = ROWS - HALF}}, 2), 3);
    const float *y = nn_graph_buffer(whole.graph, "y", NULL, NULL), *dx = nn_graph_grad(whole.graph, whole.x);
    for (int k = 0; k < 2; k++) {
        int64_t first = k ? HALF * WIDTH : 0, count = (k ? ROWS - HALF : HALF) * WIDTH;
        expect_rows(nn_graph_buffer(two[k], "y", NULL, NULL), y + first, count, 1e-3f, "y");
        expect_rows(nn_graph_grad(two[k], part[k].x), dx + first, count, 1e-3f, "dx");
        expect_rows(param(part[k], "bn.running_mean"), param(whole, "bn.running_mean"), WIDTH, 1e-3f, "running mean");
        expect_rows(param(part[k], "bn.running_var"), param(whole, "bn.running_var"), WIDTH, 1e-3f, "running var");
    }
    for (int i = 0; i < WIDTH; i++) {
        float gain = grad(part[0], "bn.weight")[i] + grad(part[1], "bn.weight")[i];
        float bias = grad(part[0], "bn.bias")[i] + grad(part[1], "bn.bias")[i];
        expect_rows(&gain, grad(whole, "bn.weight") + i, 1, 1e-2f, "gain");
        expect_rows(&bias, grad(whole, "bn.bias") + i, 1, 1e-2f, "bias");
    }
    drop(whole);
    drop(part[0]);
    drop(part[1]);
}

// The same two ranks with local statistics differ, by a lot: what the collective is for.
Test(batch_norm, local_statistics_differ)
{
    net whole = make(NN_TRAIN, 0, ROWS), part = make(NN_TRAIN, 1, 14);

    feed(whole, 0, ROWS);
    feed(part, 0, 14);
    cr_assert_eq(nn_graph_run(whole.graph, &(nn_tick){.rows = ROWS}), MN_OK);
    cr_assert_eq(nn_graph_run(part.graph, &(nn_tick){.rows = 14}), MN_OK);
    const float *a = nn_graph_buffer(whole.graph, "y", NULL, NULL), *b = nn_graph_buffer(part.graph, "y", NULL, NULL);
    cr_expect(fabsf(a[0] - b[0]) > 1e-2f);
    drop(whole);
    drop(part);
}

static void global_moments(int k, double *mean, double *var, double *count)
{
    double sum = 0, square = 0;
    *count = 0;
    for (int64_t r = 0; r < ROWS; r++) {
        sum += (double)weight_of(r) * (double)x_of(r * WIDTH + k);
        *count += (double)weight_of(r);
    }
    *mean = sum / *count;
    for (int64_t r = 0; r < ROWS; r++) {
        double e = (double)x_of(r * WIDTH + k) - *mean;
        square += (double)weight_of(r) * e * e;
    }
    *var = square / *count;
}

Test(batch_norm, normalises_and_keeps_running_statistics)
{
    net n = make(NN_TRAIN, 0, ROWS), before = make(NN_TRAIN, 0, ROWS);

    feed(n, 0, ROWS);
    cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = ROWS}), MN_OK);
    const float *y = nn_graph_buffer(n.graph, "y", NULL, NULL);
    for (int k = 0; k < WIDTH; k++) {
        double mean, var, count;
        global_moments(k, &mean, &var, &count);
        cr_expect_float_eq(param(n, "bn.running_mean")[k],
                           0.9 * (double)param(before, "bn.running_mean")[k] + 0.1 * mean, 1e-5);
        cr_expect_float_eq(param(n, "bn.running_var")[k],
                           0.9 * (double)param(before, "bn.running_var")[k] + 0.1 * var * count / (count - 1), 1e-5);
        double gain = (double)param(n, "bn.weight")[k], bias = (double)param(n, "bn.bias")[k];
        for (int64_t r = 0; r < ROWS; r++) {
            double want = weight_of(r) == 0 ? 0 : ((double)x_of(r * WIDTH + k) - mean) / sqrt(var + 1e-5) * gain + bias;
            cr_expect_float_eq(y[r * WIDTH + k], want, 1e-5, "row %d", (int)r);
        }
    }
    drop(n);
    drop(before);
}

Test(batch_norm, evaluation_uses_running_statistics_and_keeps_them)
{
    net n = make(NN_EVAL, 0, ROWS);
    float mean = param(n, "bn.running_mean")[1], var = param(n, "bn.running_var")[1];

    feed(n, 0, ROWS);
    cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = ROWS}), MN_OK);
    const float *y = nn_graph_buffer(n.graph, "y", NULL, NULL);
    float want = (x_of(1) - mean) / sqrtf(var + 1e-5f) * param(n, "bn.weight")[1] + param(n, "bn.bias")[1];
    cr_expect_float_eq(y[1], want, 1e-5);
    cr_expect_eq(param(n, "bn.running_mean")[1], mean);
    cr_expect_eq(param(n, "bn.running_var")[1], var);
    drop(n);
}

// A rank, or a job, without rows.
Test(batch_norm, without_rows_leaves_running_statistics)
{
    net n = make(NN_TRAIN, 0, ROWS);
    float mean = param(n, "bn.running_mean")[1];

    feed(n, 0, 0);
    cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = 0}), MN_OK);
    const float *y = nn_graph_buffer(n.graph, "y", NULL, NULL), *dx = nn_graph_grad(n.graph, n.x);
    for (int i = 0; i < ROWS * WIDTH; i++)
        cr_expect(y[i] == 0 && dx[i] == 0, "%d", i);
    cr_expect_eq(param(n, "bn.running_mean")[1], mean);
    drop(n);
}

// A sample that is not finite, in a row that counts: its step is skipped, the next ones are as if it had not been.
Test(batch_norm, a_batch_that_is_not_finite_leaves_running_statistics)
{
    static const float bad[] = {NAN, INFINITY, 1e30f}; // the square of the last one is no float
    net n = make(NN_TRAIN, 0, ROWS), good = make(NN_TRAIN, 0, ROWS);

    for (int i = 0; i < 3; i++) {
        feed(n, 0, ROWS);
        float *x = nn_graph_input(n.graph, "x", NULL);
        for (int64_t k = 0; k < WIDTH; k++)
            x[k] = bad[i];
        cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = ROWS}), MN_OK);
        expect_rows(param(n, "bn.running_mean"), param(good, "bn.running_mean"), WIDTH, 0, "running mean");
        expect_rows(param(n, "bn.running_var"), param(good, "bn.running_var"), WIDTH, 0, "running var");
    }
    drop(n);
    drop(good);
}
