// Every op on the GPU against the same op on the CPU, from its row in tests/nn/ops_rows.c: value and gradients, alone and
// added to another gradient, f32 and bf16, in an arena of NaN. Errors are relative to the largest value of the tensor;
// OPS_VERBOSE=1 prints every one. OPS_ONLY=text runs the rows whose name has it.
#include "../nn/ops_support.h"
#include "gpu_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Largest difference over largest value: of f32, of f32 through matrix products (sums in another order), of bf16.
static const double tol_f32 = 1e-5, tol_product = 1e-4, tol_bf16 = 2e-2;

static int chosen(const ops_row *row)
{
    const char *only = getenv("OPS_ONLY");
    return !only || strstr(row->name, only) != NULL;
}

static double error_of(const double *a, const double *b, int64_t n)
{
    double largest = 0, apart = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) != !isfinite(b[i])) return INFINITY;
        if (fabs(b[i]) > largest) largest = fabs(b[i]);
        if (fabs(a[i] - b[i]) > apart) apart = fabs(a[i] - b[i]);
    }
    return apart == 0 ? 0 : apart / largest;
}

static double *values(const nn_device *d, const void *p, mn_dtype t, int64_t n)
{
    size_t bytes = (size_t)n * mn_dtype_size(t);
    char *host = mn_calloc(1, bytes + 1);
    double *v = mn_calloc((size_t)n + 1, sizeof *v);
    gpu_read(d, host, p, bytes);
    for (int64_t i = 0; i < n; i++)
        v[i] = ops_value(host, t, i);
    free(host);
    return v;
}

static void compare(const ops_row *row, const char *what, const char *how, const nn_device *d, const void *mine,
                    const void *theirs, mn_dtype t, int64_t n, double tol)
{
    if (!mine || !theirs) {
        cr_expect(!mine && !theirs, "%s, %s: %s is made on one device only", row->name, how, what);
        return;
    }
    double *a = values(d, mine, t, n), *b = values(nn_device_cpu(), theirs, t, n), error = error_of(a, b, n);
    if (getenv("OPS_VERBOSE")) printf("%-28s %-12s %-24s %.1e\n", row->name, how, what, error);
    cr_expect(error <= tol, "%s, %s: %s is off by %.2e of the largest value (at most %.0e)", row->name, how, what,
              error, tol);
    free(a);
    free(b);
}

static double tolerance(const ops_row *row, const ops_cfg *cfg)
{
    if (cfg->dtype == MN_BF16) return row->tol_bf16 > tol_bf16 ? row->tol_bf16 : tol_bf16;
    return row->product ? tol_product : tol_f32;
}

static void compare_row(const ops_row *row, const nn_device *d, ops_cfg cfg)
{
    ops_bench gpu, cpu;
    mn_shape shape;
    mn_dtype t;
    char how[32];
    snprintf(how, sizeof how, "%s%s%s", mn_dtype_name(cfg.dtype), cfg.mode == NN_EVAL ? " eval" : "",
             cfg.twice ? " added" : "");
    ops_open(&cpu, row, &cfg);
    cfg.device = d;
    ops_open(&gpu, row, &cfg);
    (void)ops_run(&cpu);
    (void)ops_run(&gpu);
    const void *out = nn_graph_buffer(cpu.graph, "out", &shape, &t);
    compare(row, "the value", how, d, nn_graph_device_buffer(gpu.graph, "out"), out, t, mn_count(shape),
            tolerance(row, &cfg));
    for (int k = 0; k < ops_count(row) && cfg.mode == NN_TRAIN; k++) {
        char name[32];
        snprintf(name, sizeof name, "gradient of in%d", k);
        if (row->in[k].grad)
            compare(row, name, how, d, nn_graph_grad(gpu.graph, gpu.in[k]), nn_graph_grad(cpu.graph, cpu.in[k]),
                    cpu.in[k]->dtype, mn_count(cpu.in[k]->shape), tolerance(row, &cfg));
    }
    for (int i = 0; i < nn_params_count(cpu.params); i++) {
        const nn_param *p = nn_params_at(cpu.params, i), *q = nn_params_at(gpu.params, i);
        if (!p->spec.buffer && cfg.mode == NN_TRAIN)
            compare(row, p->name, how, d, nn_param_grad(gpu.params, q), nn_param_grad(cpu.params, p), MN_F32, p->count,
                    tolerance(row, &cfg));
        if (!p->spec.buffer) continue;
        cr_assert_eq(nn_params_fetch(gpu.params), MN_OK, "%s", mn_errmsg());
        compare(row, p->name, how, nn_device_cpu(), nn_param_master(gpu.params, q), nn_param_master(cpu.params, p),
                MN_F32, p->count, tolerance(row, &cfg));
    }
    ops_close(&gpu);
    ops_close(&cpu);
}

static void compare_all(ops_cfg cfg)
{
    const nn_device *d = gpu_open();
    int tried = 0;
    for (int i = 0; i < n_ops_rows; i++) {
        if (!chosen(&ops_rows[i]) || (cfg.dtype == MN_BF16 && ops_rows[i].f32_only)) continue;
        compare_row(&ops_rows[i], d, cfg);
        tried++;
    }
    gpu_close(d);
    cr_expect_gt(tried, 0);
}

Test(gpu_ops, f32)
{
    compare_all((ops_cfg){.dtype = MN_F32, .mode = NN_TRAIN, .poison = 1});
}

Test(gpu_ops, f32_added_gradients)
{
    compare_all((ops_cfg){.dtype = MN_F32, .mode = NN_TRAIN, .poison = 1, .twice = 1});
}

Test(gpu_ops, bf16)
{
    compare_all((ops_cfg){.dtype = MN_BF16, .mode = NN_TRAIN, .poison = 1, .rounded = 1});
}

Test(gpu_ops, bf16_added_gradients)
{
    compare_all((ops_cfg){.dtype = MN_BF16, .mode = NN_TRAIN, .poison = 1, .rounded = 1, .twice = 1});
}

Test(gpu_ops, evaluation)
{
    compare_all((ops_cfg){.dtype = MN_F32, .mode = NN_EVAL, .poison = 1});
}
