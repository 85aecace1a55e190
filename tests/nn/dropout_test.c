// Dropout and stochastic depth: a function of (seed, path, global row, step, element) and of nothing else.
#include "nn/base/rng.h"
#include "nn/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, WIDTH = 1 << 12 };

typedef struct net {
    nn_params *params;
    nn_graph *graph;
    nn_tensor *x, *h;
    int64_t rows;
} net;

typedef nn_tensor *build_fn(nn_graph *g, nn_tensor *x, nn_tensor *h);

static nn_tensor *dropout(nn_graph *g, nn_tensor *x, nn_tensor *h)
{
    (void)h;
    return nn_dropout(g, x, 0.3f, "drop");
}
static nn_tensor *residual(nn_graph *g, nn_tensor *x, nn_tensor *h)
{
    return nn_residual(g, x, h, 0.3f, "drop");
}
static nn_tensor *residual_layernorm(nn_graph *g, nn_tensor *x, nn_tensor *h)
{
    nn_tensor *sum;
    nn_residual_layernorm(g, x, h, 0.3f, 1e-5f, &sum, "drop");
    return sum;
}

// Everything is 1, so that what comes out is the scale itself; the loss makes gradients of about 1 / count.
static net make(build_fn *build, int64_t rows, uint64_t seed, const char *scope)
{
    net n = {.params = nn_params_new(1), .rows = rows};

    n.graph = nn_graph_new(n.params, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32, .seed = seed});
    n.x = nn_input(n.graph, "x", MN_F32, MN_SHAPE(rows, 2, WIDTH / 2));
    n.h = nn_input(n.graph, "h", MN_F32, MN_SHAPE(rows, 2, WIDTH / 2));
    nn_want_grad(n.graph, n.x);
    nn_want_grad(n.graph, n.h);
    nn_scope_push(n.graph, "%s", scope);
    nn_tensor *y = build(n.graph, n.x, n.h);
    nn_scope_pop(n.graph);
    nn_tensor *zero = nn_input(n.graph, "zero", MN_F32, MN_SHAPE(rows, 2, WIDTH / 2));
    nn_tensor *loss = nn_bce_loss(n.graph, y, zero, NULL);
    nn_output(n.graph, "y", y);
    cr_assert_eq(nn_params_layout(n.params, n.graph, &(nn_layout_cfg){.dtype = MN_F32}), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_plan(n.graph, loss), MN_OK, "%s", mn_errmsg());
    float *x = nn_graph_input(n.graph, "x", NULL), *h = nn_graph_input(n.graph, "h", NULL);
    for (int64_t i = 0; i < rows * WIDTH; i++)
        x[i] = 1;
    for (int64_t i = 0; h && i < rows * WIDTH; i++)
        h[i] = 1;
    return n;
}

static void drop(net n)
{
    nn_graph_free(n.graph);
    nn_params_free(n.params);
}

static const float *run(net n, uint64_t step, int64_t first_row)
{
    const nn_tick tick = {.step = step, .first_row = first_row, .rows = n.rows};
    cr_assert_eq(nn_graph_run(n.graph, &tick), MN_OK, "%s", mn_errmsg());
    return nn_graph_buffer(n.graph, "y", NULL, NULL);
}

static build_fn *const all[] = {dropout, residual, residual_layernorm};

Test(dropout, follows_the_global_row)
{
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        net whole = make(all[k], ROWS, 1, "a"), part = make(all[k], ROWS / 2, 1, "a");
        const float *y = run(whole, 7, 100);
        for (int half = 0; half < 2; half++) {
            const float *z = run(part, 7, 100 + half * ROWS / 2);
            cr_expect_arr_eq(z, y + half * ROWS / 2 * WIDTH, ROWS / 2 * WIDTH * sizeof(float), "op %zu", k);
        }
        drop(whole);
        drop(part);
    }
}

static int differs(build_fn *build, uint64_t seed, const char *scope, uint64_t step)
{
    net a = make(build, 64, 1, "a"), b = make(build, 64, seed, scope);
    const float *y = run(a, 7, 0), *z = run(b, step, 0);
    int result = memcmp(y, z, 64 * WIDTH * sizeof *y) != 0;
    drop(a);
    drop(b);
    return result;
}

Test(dropout, changes_with_seed_path_and_step)
{
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        cr_expect_not(differs(all[k], 1, "a", 7), "op %zu", k);
        cr_expect(differs(all[k], 2, "a", 7), "op %zu", k);
        cr_expect(differs(all[k], 1, "b", 7), "op %zu", k);
        cr_expect(differs(all[k], 1, "a", 8), "op %zu", k);
    }
}

Test(dropout, keeps_the_stated_share_and_scales_it)
{
    net n = make(dropout, ROWS, 1, "a");
    const float *y = run(n, 7, 0), *dx = nn_graph_grad(n.graph, n.x);
    int64_t kept = 0;

    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        cr_assert(y[i] == 0 || y[i] == 1 / (1 - 0.3f), "%g", (double)y[i]);
        cr_assert_eq(y[i] != 0, dx[i] != 0, "backward has another mask");
        kept += y[i] != 0;
    }
    double share = (double)kept / (ROWS * WIDTH), sigma = sqrt(0.3 * 0.7 / (ROWS * WIDTH));
    cr_expect(fabs(share - 0.7) <= 4 * sigma, "%g", share);
    drop(n);
}

// The definition: element i of a row is kept when its own 32-bit number makes a uniform of at least p.
Test(dropout, is_philox_of_path_row_step_and_element)
{
    net n = make(dropout, 2, 11, "scope");
    const float *y = run(n, 5, 40);
    uint64_t key = mn_rng_key(11, "scope.drop");

    for (int64_t row = 0; row < 2; row++)
        for (int64_t i = 0; i < WIDTH; i++) {
            mn_rng4 u = mn_rng_block(key, (uint64_t)(40 + row), 5, (uint32_t)(i / 4));
            cr_assert_eq(y[row * WIDTH + i] != 0, mn_uniform(u.v[i % 4]) >= 0.3f);
        }
    drop(n);
}

Test(dropout, stochastic_depth_drops_whole_rows)
{
    enum { MANY = 400 };
    net n = make(residual, MANY, 1, "a");
    const float *y = run(n, 7, 0), *dh = nn_graph_grad(n.graph, n.h), *dx = nn_graph_grad(n.graph, n.x);
    int kept = 0;

    for (int64_t row = 0; row < MANY; row++) {
        float first = y[row * WIDTH];
        cr_assert(first == 1 || first == 1 + 1 / (1 - 0.3f));
        for (int64_t i = 0; i < WIDTH; i += 97) {
            cr_assert_eq(y[row * WIDTH + i], first);
            cr_assert_eq(dh[row * WIDTH + i] != 0, first != 1);
            cr_assert_neq(dx[row * WIDTH + i], 0);
        }
        kept += first != 1;
    }
    cr_expect(abs(kept - 280) <= 4 * 10, "%d of 400 kept", kept);
    drop(n);
}

Test(dropout, is_absent_in_evaluation)
{
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_EVAL, .dtype = MN_F32});
    nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(2, 3));
    cr_expect_eq(nn_dropout(g, x, 0.5f, "drop"), x);
    nn_graph_free(g);
    nn_params_free(ps);
}
