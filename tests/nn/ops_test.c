// Every op of nn/ops.def, from its rows in ops_rows.c: shape, gradients against finite differences (inputs and
// parameters, alone and added to another gradient), any number of threads, memory that is not read before it is
// written, repeatability, rows without weight, bf16 against f32, no allocation while running.
// OPS_VERBOSE=1 in the environment prints every measured error.
#include "ops_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ops_cfg train_f32 = {.dtype = MN_F32, .mode = NN_TRAIN};

// A tensor whose gradient is checked: an input or a parameter.
typedef struct leaf {
    char name[160];
    float *value;
    const void *grad;
    mn_dtype grad_type;
    int64_t count;
} leaf;

static int leaves(const ops_bench *b, leaf *out, int capacity)
{
    int n = 0;

    for (int k = 0; k < ops_count(b->row); k++) {
        if (!b->row->in[k].grad) continue;
        leaf *l = &out[n++];
        snprintf(l->name, sizeof l->name, "in%d", k);
        *l = (leaf){.value = nn_graph_input(b->graph, l->name, NULL),
                    .grad = nn_graph_grad(b->graph, b->in[k]),
                    .grad_type = b->in[k]->dtype,
                    .count = mn_count(b->in[k]->shape)};
        snprintf(l->name, sizeof l->name, "in%d", k);
        cr_expect_not_null(l->grad, "%s: no gradient of input %d", b->row->name, k);
    }
    for (int i = 0; i < nn_params_count(b->params) && n < capacity; i++) {
        const nn_param *p = nn_params_at(b->params, i);
        if (p->spec.buffer) continue;
        leaf *l = &out[n++];
        *l = (leaf){.value = nn_param_master(b->params, p),
                    .grad = nn_param_grad(b->params, p),
                    .grad_type = MN_F32,
                    .count = p->count};
        snprintf(l->name, sizeof l->name, "%s", p->name);
    }
    return n;
}

static double difference(ops_bench *b, float *at, float step)
{
    const float value = *at;

    *at = value + step;
    const double above = *at, up = ops_run(b);
    *at = value - step;
    const double below = *at, down = ops_run(b);
    *at = value;
    return (up - down) / (above - below);
}

// The elements looked at: all of a small tensor, every so-many-th of a large one.
enum { LOOK = 192 };

static int64_t look_at(int64_t count, int64_t i)
{
    return count <= LOOK ? i : i * (count / LOOK) + i % (count / LOOK);
}

static void check_leaf(ops_bench *b, const leaf *l, const char *how)
{
    const int64_t n = l->count < LOOK ? l->count : LOOK;
    const double tol = b->row->tol > 0 ? b->row->tol : 5e-4;
    double analytic[LOOK], numeric[LOOK];

    if (!l->grad) return;
    (void)ops_run(b);
    for (int64_t i = 0; i < n; i++)
        analytic[i] = ops_value(l->grad, l->grad_type, look_at(l->count, i));
    for (int64_t i = 0; i < n; i++)
        numeric[i] = difference(b, l->value + look_at(l->count, i), b->row->step > 0 ? b->row->step : 1e-2f);
    const double error = ops_distance(analytic, numeric, n);
    if (getenv("OPS_VERBOSE")) printf("%-28s %-10s %-24s %.1e\n", b->row->name, how, l->name, error);
    cr_expect(error <= tol, "%s, %s: gradient of %s is off by %.2e (at most %.1e)", b->row->name, how, l->name, error,
              tol);
}

static void check_gradients(const ops_row *row, int twice)
{
    ops_bench b;
    leaf l[16];
    ops_cfg cfg = train_f32;

    cfg.twice = twice;
    cfg.poison = 1;
    ops_open(&b, row, &cfg);
    const int n = leaves(&b, l, 16);
    for (int i = 0; i < n; i++)
        check_leaf(&b, &l[i], twice ? "added" : "alone");
    ops_close(&b);
}

Test(ops, every_op_has_a_row)
{
    static const char *const names[] = {
#define NN_OP(name) #name,
#include "nn/ops.def"
#undef NN_OP
    };
    enum { N = sizeof names / sizeof *names };
    unsigned char seen[N] = {0};

    for (int i = 0; i < n_ops_rows; i++) {
        ops_bench b;
        ops_open(&b, &ops_rows[i], &train_f32);
        ops_mark(b.out[0], seen);
        ops_close(&b);
    }
    for (int i = 0; i < N; i++)
        cr_expect(seen[i], "op %s has no row in tests/nn/ops_rows.c", names[i]);
}

Test(ops, shapes)
{
    for (int i = 0; i < n_ops_rows; i++) {
        const ops_row *row = &ops_rows[i];
        char have[96], want[96];
        ops_bench b;
        ops_open(&b, row, &train_f32);
        if (row->scalar) {
            cr_expect(b.out[0]->dtype == MN_F64 && mn_count(b.out[0]->shape) == 1, "%s: not a loss", row->name);
        } else {
            cr_expect(mn_shape_equal(b.out[0]->shape, row->out), "%s makes %s, should be %s", row->name,
                      mn_shape_text(b.out[0]->shape, have, sizeof have), mn_shape_text(row->out, want, sizeof want));
        }
        ops_close(&b);
    }
}

// Thousands of tiny runs: with one thread nobody waits for another. thread_counts_agree does the rest.
Test(ops, gradients)
{
    omp_set_num_threads(1);
    for (int i = 0; i < n_ops_rows; i++)
        check_gradients(&ops_rows[i], 0);
}

Test(ops, gradients_added_to_others)
{
    omp_set_num_threads(1);
    for (int i = 0; i < n_ops_rows; i++)
        check_gradients(&ops_rows[i], 1);
}

// Loss, output and every gradient of a run, in one array.
typedef struct results {
    double *v;
    int64_t n;
} results;

static void append(results *r, const void *p, mn_dtype t, int64_t n)
{
    if (!p) return;
    r->v = mn_realloc(r->v, (size_t)(r->n + n), sizeof *r->v);
    for (int64_t i = 0; i < n; i++)
        r->v[r->n++] = ops_value(p, t, i);
}

static void collect(ops_bench *b, results *r)
{
    leaf l[16];
    mn_shape shape;
    mn_dtype t;
    const void *out = nn_graph_buffer(b->graph, "out", &shape, &t);

    append(r, out, t, mn_count(shape));
    const int n = leaves(b, l, 16);
    for (int i = 0; i < n; i++)
        append(r, l[i].grad, l[i].grad_type, l[i].count);
}

static int same(const results *a, const results *b)
{
    return a->n == b->n && memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0;
}

Test(ops, repeat_bit_for_bit_and_never_read_what_was_not_written)
{
    for (int i = 0; i < n_ops_rows; i++) {
        for (int type = 0; type < (ops_rows[i].f32_only ? 1 : 2); type++) {
            results plain = {0}, again = {0}, poisoned = {0};
            const ops_cfg cfg = {.dtype = type ? MN_BF16 : MN_F32, .mode = NN_TRAIN};
            ops_bench b;
            ops_open(&b, &ops_rows[i], &cfg);
            (void)ops_run(&b);
            collect(&b, &plain);
            (void)ops_run(&b);
            collect(&b, &again);
            nn_graph_poison(b.graph, 1);
            (void)ops_run(&b);
            collect(&b, &poisoned);
            cr_expect(same(&plain, &again), "%s: two runs differ", ops_rows[i].name);
            cr_expect(same(&plain, &poisoned), "%s: reads memory it did not write", ops_rows[i].name);
            free(plain.v);
            free(again.v);
            free(poisoned.v);
            ops_close(&b);
        }
    }
}

Test(ops, thread_counts_agree)
{
    static const int threads[] = {1, 3};

    for (int i = 0; i < n_ops_rows; i++) {
        results r[2] = {{0}};
        for (int k = 0; k < 2; k++) {
            ops_bench b;
            omp_set_num_threads(threads[k]);
            ops_open(&b, &ops_rows[i], &train_f32);
            (void)ops_run(&b);
            collect(&b, &r[k]);
            ops_close(&b);
        }
        const double error = r[0].n == r[1].n ? ops_distance(r[1].v, r[0].v, r[0].n) : 1;
        cr_expect(error <= 1e-6, "%s: 3 threads differ from 1 by %.2e", ops_rows[i].name, error);
        free(r[0].v);
        free(r[1].v);
    }
}

// --- rows without weight ----------------------------------------------------------------------------------------------
static int weight_input(const ops_row *row)
{
    for (int k = 0; k < ops_count(row); k++)
        if (row->in[k].kind == OPS_ROW_WEIGHT) return k;
    return -1;
}

// Large values where the weight is 0, and whether the gradient there is 0.
static void spoil(ops_bench *b, int k, const float *weight, int64_t n_weights)
{
    char name[16];
    snprintf(name, sizeof name, "in%d", k);
    float *v = nn_graph_input(b->graph, name, NULL);
    const int64_t slice = mn_count(b->in[k]->shape) / n_weights;

    for (int64_t i = 0; i < slice * n_weights; i++)
        if (weight[i / slice] == 0) v[i] = 50 + 20 * ops_random(7, i);
}

static void expect_no_gradient(const ops_bench *b, int k, const float *weight, int64_t n_weights)
{
    const float *d = nn_graph_grad(b->graph, b->in[k]);
    const int64_t slice = mn_count(b->in[k]->shape) / n_weights;
    int wrong = 0;

    for (int64_t i = 0; d && i < slice * n_weights; i++)
        if (weight[i / slice] == 0 && d[i] != 0) wrong++;
    cr_expect_eq(wrong, 0, "%s: %d gradients of rows without weight in input %d", b->row->name, wrong, k);
}

static void check_weights(const ops_row *row, int weights)
{
    results clean = {0}, spoiled = {0};
    ops_bench b;
    char name[16];

    ops_open(&b, row, &train_f32);
    snprintf(name, sizeof name, "in%d", weights);
    const float *weight = nn_graph_input(b.graph, name, NULL);
    const int64_t n = mn_count(row->in[weights].shape);
    const double loss = ops_run(&b);
    collect(&b, &clean);
    for (int k = 0; k < ops_count(row); k++)
        if (row->in[k].by_weight) spoil(&b, k, weight, n);
    const double loss_spoiled = ops_run(&b);
    collect(&b, &spoiled);
    cr_expect(fabs(loss - loss_spoiled) <= 1e-6 * (fabs(loss) + 1e-3),
              "%s: rows without weight change the loss by %.2e", row->name, loss_spoiled - loss);
    if (row->scalar) // else outputs of these rows may be anything
        cr_expect(ops_distance(spoiled.v, clean.v, clean.n) <= 1e-6, "%s: rows without weight change a gradient",
                  row->name);
    for (int k = 0; k < ops_count(row); k++)
        if (row->in[k].by_weight && row->in[k].grad) expect_no_gradient(&b, k, weight, n);
    free(clean.v);
    free(spoiled.v);
    ops_close(&b);
}

Test(ops, rows_without_weight_do_not_matter)
{
    for (int i = 0; i < n_ops_rows; i++) {
        const int weights = weight_input(&ops_rows[i]);
        if (weights >= 0) check_weights(&ops_rows[i], weights);
    }
}

// --- ranks --------------------------------------------------------------------------------------------------------------
// Can the batch be cut in two?
static int rows_apart(const ops_row *row)
{
    const int64_t rows = row->in[0].shape.d[0];

    if (row->scalar || row->couples_rows || row->out.d[0] != rows || rows < 2) return 0;
    for (int k = 0; k < ops_count(row); k++)
        if (row->in[k].shape.d[0] != rows) return 0;
    return 1;
}

static void output_of(const ops_row *row, int64_t skip, results *r)
{
    ops_cfg cfg = train_f32;
    ops_bench b;
    mn_shape shape;
    mn_dtype t;

    cfg.skip = skip;
    ops_open(&b, row, &cfg);
    (void)ops_run(&b);
    const void *p = nn_graph_buffer(b.graph, "out", &shape, &t);
    append(r, p, t, mn_count(shape));
    ops_close(&b);
}

// A rank that starts at a later row makes of it what one rank makes of the whole batch: random masks included.
Test(ops, rows_are_the_same_on_any_rank)
{
    int tried = 0;

    for (int i = 0; i < n_ops_rows; i++) {
        results whole = {0}, rest = {0};
        if (!rows_apart(&ops_rows[i])) continue;
        output_of(&ops_rows[i], 0, &whole);
        output_of(&ops_rows[i], 1, &rest);
        const double error = ops_distance(rest.v, whole.v + (whole.n - rest.n), rest.n);
        cr_expect(error <= 1e-6, "%s: rows on another rank differ by %.2e", ops_rows[i].name, error);
        free(whole.v);
        free(rest.v);
        tried++;
    }
    cr_expect_gt(tried, 10);
}

// --- bf16 ---------------------------------------------------------------------------------------------------------------
static void compare_bf16(const ops_row *row)
{
    const double tol = row->tol_bf16 > 0 ? row->tol_bf16 : 1e-2;
    ops_bench b[2];
    leaf l[2][16];
    results out[2] = {{0}};

    for (int k = 0; k < 2; k++) {
        const ops_cfg cfg = {.dtype = k ? MN_BF16 : MN_F32, .mode = NN_TRAIN, .rounded = 1};
        mn_shape shape;
        mn_dtype t;
        ops_open(&b[k], row, &cfg);
        (void)ops_run(&b[k]);
        const void *p = nn_graph_buffer(b[k].graph, "out", &shape, &t);
        append(&out[k], p, t, mn_count(shape));
    }
    const double error = ops_distance(out[1].v, out[0].v, out[0].n);
    if (getenv("OPS_VERBOSE")) printf("%-28s %-10s %-24s %.1e\n", row->name, "bf16", "output", error);
    cr_expect(error <= tol, "%s: bf16 is off by %.2e (at most %.1e)", row->name, error, tol);
    const int n = leaves(&b[0], l[0], 16);
    cr_assert_eq(leaves(&b[1], l[1], 16), n);
    for (int i = 0; i < n; i++) {
        results grad[2] = {{0}};
        for (int k = 0; k < 2; k++)
            append(&grad[k], l[k][i].grad, l[k][i].grad_type, l[k][i].count);
        const double e = ops_distance(grad[1].v, grad[0].v, grad[0].n);
        if (getenv("OPS_VERBOSE")) printf("%-28s %-10s %-24s %.1e\n", row->name, "bf16", l[0][i].name, e);
        cr_expect(e <= tol, "%s: bf16 gradient of %s is off by %.2e (at most %.1e)", row->name, l[0][i].name, e, tol);
        free(grad[0].v);
        free(grad[1].v);
    }
    for (int k = 0; k < 2; k++) {
        free(out[k].v);
        ops_close(&b[k]);
    }
}

Test(ops, bf16_agrees_with_f32)
{
    for (int i = 0; i < n_ops_rows; i++)
        if (!ops_rows[i].f32_only) compare_bf16(&ops_rows[i]);
}

Test(ops, evaluation_gives_the_same_value)
{
    for (int i = 0; i < n_ops_rows; i++) {
        results out[2] = {{0}};
        if (ops_rows[i].differs_in_eval) continue;
        for (int k = 0; k < 2; k++) {
            const ops_cfg cfg = {.dtype = MN_F32, .mode = k ? NN_EVAL : NN_TRAIN, .poison = 1};
            ops_bench b;
            mn_shape shape;
            mn_dtype t;
            ops_open(&b, &ops_rows[i], &cfg);
            (void)ops_run(&b);
            const void *p = nn_graph_buffer(b.graph, "out", &shape, &t);
            append(&out[k], p, t, mn_count(shape));
            ops_close(&b);
        }
        cr_expect(same(&out[0], &out[1]), "%s: another value in evaluation", ops_rows[i].name);
        free(out[0].v);
        free(out[1].v);
    }
}

// Without AVX-512 oneDNN's products nest parallel regions, and libgomp makes a team for each.
static int library_allocates(void)
{
#if defined(__x86_64__)
    return !__builtin_cpu_supports("avx512f");
#else
    return 1;
#endif
}

Test(ops, no_allocation_while_running)
{
    if (library_allocates()) cr_skip_test("this processor has no AVX-512");
    for (int i = 0; i < n_ops_rows; i++) {
        ops_bench b;
        if (ops_rows[i].may_allocate) continue;
        ops_open(&b, &ops_rows[i], &train_f32);
        ops_count_start();
        (void)ops_run(&b);
        (void)ops_run(&b);
        const int64_t n = ops_count_stop();
        cr_expect_eq(n, 0, "%s: %lld allocations in two runs", ops_rows[i].name, (long long)n);
        ops_close(&b);
    }
}
