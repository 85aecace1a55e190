// mien bench ops: the steps of `mien bench step`, their time summed by operator.
#include "recipes/bench_ops.h"

#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPERATORS = 128 };

typedef struct sum {
    const char *op;
    int calls;    // in one step
    double ms[2]; // of one step: forward, backward
} sum;

typedef struct sums {
    sum of[OPERATORS];
    int n;
    double ms; // of all
} sums;

static void add(void *ctx, const nn_step_time *t)
{
    sums *s = ctx;
    int i = 0;
    while (i < s->n && strcmp(s->of[i].op, t->op) != 0)
        i++;
    if (i == s->n) {
        mn_assert(s->n < OPERATORS);
        s->of[s->n++].op = t->op;
    }
    s->of[i].calls++;
    s->of[i].ms[t->backward] += 1e3 * t->seconds;
    s->ms += 1e3 * t->seconds;
}

static int longest_first(const void *a, const void *b)
{
    const sum *x = a, *y = b;
    double d = y->ms[0] + y->ms[1] - x->ms[0] - x->ms[1];
    return d > 0 ? 1 : d < 0 ? -1 : strcmp(x->op, y->op);
}

static void print_json(const mien_bench_cfg *cfg, const sums *s, const char *device)
{
    printf("{\"model\": \"%s\", \"batch\": %lld, \"precision\": \"%s\", \"device\": \"%s\", \"ms\": %.3f, \"ops\": [",
           cfg->model, (long long)cfg->batch, cfg->bf16 ? "bf16" : "fp32", device, s->ms);
    for (int i = 0; i < s->n; i++)
        printf("%s{\"op\": \"%s\", \"calls\": %d, \"forward_ms\": %.4f, \"backward_ms\": %.4f}", i ? ", " : "",
               s->of[i].op, s->of[i].calls, s->of[i].ms[0], s->of[i].ms[1]);
    puts("]}");
}

static void print_table(const mien_bench_cfg *cfg, const sums *s)
{
    printf("%s batch %lld %s: ms of a step by operator, mean of %lld steps\n", cfg->model, (long long)cfg->batch,
           cfg->bf16 ? "bf16" : "fp32", (long long)cfg->rounds);
    printf("%-22s %6s %12s %12s %8s\n", "operator", "calls", "forward", "backward", "share");
    for (int i = 0; i < s->n; i++)
        printf("%-22s %6d %12.3f %12.3f %6.1f %%\n", s->of[i].op, s->of[i].calls, s->of[i].ms[0], s->of[i].ms[1],
               s->ms > 0 ? 100 * (s->of[i].ms[0] + s->of[i].ms[1]) / s->ms : 0);
    printf("%-22s %6s %12.3f\n", "all", "", s->ms);
}

void mien_bench_print_ops(const mien_bench_cfg *cfg, const nn_graph *g, const char *device)
{
    sums *s = mn_calloc(1, sizeof *s);
    nn_graph_times(g, add, s);
    qsort(s->of, (size_t)s->n, sizeof *s->of, longest_first);
    if (cfg->json)
        print_json(cfg, s, device);
    else
        print_table(cfg, s);
    free(s);
}
