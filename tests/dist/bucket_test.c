// Sums over ranks against the same sums made by one rank in the promised order, bit for bit. Values are numbers for
// which the order matters; each rank can make those of all others.
#include "dist/bench.h"
#include "dist/bucket.h"
#include "dist/reduce.h"

#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL = sizeof(dist_control) / sizeof(float) };

static float value(int rank, int step, int64_t i)
{
    mn_rng4 r = mn_rng_block(7, (uint64_t)rank, (uint64_t)step, (uint32_t)i);
    return (mn_uniform(r.v[0]) - .5f) * (float)(1 << (r.v[1] % 24));
}

static float rounded(float v, mn_dtype wire)
{
    return wire == MN_BF16 ? mn_bf16_to_f32(mn_f32_to_bf16(v)) : v;
}

// Group sums in rank order, then their sum in group order; both rounded when they go over a bf16 wire. group: of every
// rank.
static float expected(const dist_place *at, const int *group, int step, int64_t i, mn_dtype wire)
{
    if (at->groups == 1) wire = MN_F32;
    float sum = 0;
    for (int g = 0; g < at->groups; g++) {
        float part = 0;
        for (int r = 0, first = 1; r < at->world; r++) {
            if (group[r] != g) continue;
            part = first ? value(r, step, i) : part + value(r, step, i);
            first = 0;
        }
        part = rounded(part, wire);
        sum = g ? sum + part : part;
    }
    return rounded(sum, wire);
}

static void open_window(dist_comm *c, dist_window **w, float **grad, int64_t count)
{
    void *p;
    cr_assert_eq(dist_window_new(w, c), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(dist_window_alloc(*w, (size_t)(count + CONTROL) * sizeof(float), &p), MN_OK, "%s", mn_errmsg());
    *grad = p;
}

static void spin(int turns)
{
    for (volatile int i = 0; i < turns; i++) {
    }
}

// Five steps of seven buckets of odd sizes, marked one by one from the hook, at different speeds on each rank. With a
// bf16 wire the control words, which stay exact, are an eighth.
static void check_sums_in_order(dist_comm *c, mn_dtype wire)
{
    static const int64_t sizes[] = {16, 5, 4096, 1, 300, 70001, 17};
    enum { N = sizeof sizes / sizeof sizes[0], STEPS = 5 };
    dist_window *w;
    dist_buckets *b;
    float *grad;
    dist_range range[N + 1];
    int64_t count = 0;
    for (int i = 0; i < N; i++) {
        range[i] = (dist_range){count, sizes[i] + (i == N - 1 && wire == MN_F32 ? CONTROL : 0), 10 + 2 * i, wire};
        count += sizes[i];
    }
    range[N] = (dist_range){count, CONTROL, 10 + 2 * N, MN_F32};
    open_window(c, &w, &grad, count);
    const dist_place *at = dist_where(c);
    cr_assert_eq(dist_buckets_of_ranges(&b, c, w, range, wire == MN_F32 ? N : N + 1, count), MN_OK, "%s", mn_errmsg());
    int group[64];
    cr_assert(at->world <= 64);
    cr_assert_eq(dist_gather(c, &at->group, sizeof at->group, group), MN_OK, "%s", mn_errmsg());
    for (int step = 0; step < STEPS; step++) {
        dist_buckets_control(b)->stop = at->rank == at->world - 1;
        dist_buckets_control(b)->bad = 1;
        dist_buckets_control(b)->user[3] = 1001; // not a number of bf16
        for (int i = 0; i < N; i++) {
            for (int64_t k = range[i].offset; k < range[i].offset + sizes[i]; k++)
                grad[k] = value(at->rank, step, k);
            spin((step * 977 + at->rank * 7919 + i * 31) % 5 * 20000);
            cr_assert_eq(dist_buckets_on_step(b, 10 + 2 * i), MN_OK, "%s", mn_errmsg());
        }
        dist_control sum;
        cr_assert_eq(dist_buckets_wait(b, &sum), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(sum.stop, 1);
        cr_assert_eq(sum.bad, (float)at->world);
        cr_assert_eq(sum.no_time, 0);
        cr_assert_eq(sum.user[3], 1001 * (float)at->world);
        for (int64_t k = 0; k < count; k++)
            cr_assert_eq(grad[k], expected(at, group, step, k, wire), "step %d element %lld", step, (long long)k);
    }
    double waiting, all = dist_buckets_seconds(b, &waiting);
    cr_assert(all >= waiting && waiting >= 0);
    dist_buckets_free(b);
    dist_window_free(w);
}

// One rank has values that are not finite; what is left of them is the same on all ranks.
static void check_not_finite(dist_comm *c)
{
    dist_window *w;
    dist_buckets *b;
    float *grad;
    const dist_place *at = dist_where(c);
    open_window(c, &w, &grad, 16);
    dist_range range[] = {{0, 16, 1, MN_BF16}, {16, CONTROL, 2, MN_F32}};
    cr_assert_eq(dist_buckets_of_ranges(&b, c, w, range, 2, 16), MN_OK, "%s", mn_errmsg());
    int odd = at->rank == at->world - 1;
    for (int i = 0; i < 16; i++)
        grad[i] = 1;
    grad[1] = odd ? NAN : 1;
    grad[2] = odd ? INFINITY : 1;
    grad[3] = odd ? -INFINITY : 1;
    cr_assert_eq(dist_buckets_wait(b, NULL), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(grad[0], (float)at->world);
    cr_assert(isnan(grad[1]) && isinf(grad[2]) && isinf(grad[3]) && grad[2] > 0 && grad[3] < 0);
    dist_buckets_free(b);
    dist_window_free(w);
}

// Without a hook nothing is touched before wait, which does everything.
static void check_works_without_hook(dist_comm *c)
{
    dist_window *w;
    dist_buckets *b;
    float *grad;
    open_window(c, &w, &grad, 1000);
    dist_range range = {0, 1000 + CONTROL, 3, MN_F32};
    cr_assert_eq(dist_buckets_of_ranges(&b, c, w, &range, 1, 1000), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < 1000; i++)
        grad[i] = (float)(i + 1);
    cr_assert_eq(dist_barrier(c), MN_OK);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(grad[i], (float)(i + 1));
    cr_assert_eq(dist_buckets_wait(b, NULL), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(grad[i], (float)(i + 1) * (float)dist_world(c));
    dist_buckets_free(b);
    dist_window_free(w);
}

static void check_refuses_ranks_that_differ(dist_comm *c)
{
    dist_window *w;
    dist_buckets *b;
    float *grad;
    open_window(c, &w, &grad, 1000);
    int odd = dist_rank(c) == dist_world(c) - 1;
    int64_t first = odd ? 512 : 496;
    dist_range range[2] = {{0, first, 3, MN_F32}, {first, 1000 + CONTROL - first, 4, MN_F32}};
    mn_err err = dist_buckets_of_ranges(&b, c, w, range, 2, 1000);
    if (dist_world(c) == 1) {
        cr_assert_eq(err, MN_OK);
        dist_buckets_free(b);
    } else {
        cr_assert_eq(err, MN_ECONFIG);
    }
    dist_window_free(w);
    dist_window *other;
    cr_assert_eq(dist_window_new(&other, c), MN_OK);
    void *p;
    err = dist_window_alloc(other, odd ? 4096 : 8192, &p);
    cr_assert_eq(err, dist_world(c) == 1 ? MN_OK : MN_ECONFIG);
    dist_window_free(other);
}

static void check_bench_runs(dist_comm *c)
{
    dist_bench_row row[2];
    cr_assert_eq(dist_bench_allreduce(c, (int64_t[]){64, 5 << 20}, 2, 3, row), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < 2; i++) {
        cr_assert(row[i].ours.low <= row[i].ours.median && row[i].ours.median <= row[i].ours.high);
        cr_assert(row[i].ours.median > 0 && row[i].ours.high < 5);
    }
}

Test(bucket, ranks)
{
    dist_comm *c;
    cr_assert_eq(dist_open(&c), MN_OK, "%s", mn_errmsg());
    check_sums_in_order(c, MN_F32);
    check_sums_in_order(c, MN_BF16);
    check_not_finite(c);
    check_works_without_hook(c);
    check_bench_runs(c);
    check_refuses_ranks_that_differ(c);
    dist_close(c);
}

// The leaf: any number of sources and targets, odd sizes, threads or none, in index order.
Test(reduce, sums_in_order)
{
    enum { MOST = 300000 };
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 2047, 2048, 2049, MOST};
    float *v[5];
    for (int s = 0; s < 5; s++)
        cr_assert(v[s] = malloc(MOST * sizeof(float)));
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int from = 1; from <= 5; from++)
            for (int to = 1; to <= from; to++) {
                int64_t n = sizes[k];
                if (n == MOST && to != from) continue;
                for (int s = 0; s < from; s++)
                    for (int64_t i = 0; i < n; i++)
                        v[s][i] = (float)(s * 3 + 1) / (float)(1 + (i * 7 + s) % 1013);
                float *wanted = malloc((size_t)n * sizeof(float) + 1);
                for (int64_t i = 0; i < n; i++) {
                    wanted[i] = v[0][i];
                    for (int s = 1; s < from; s++)
                        wanted[i] += v[s][i];
                }
                dist_sum_floats((const float *const *)v, from, v, to, n);
                for (int t = 0; t < to; t++)
                    cr_assert_eq(memcmp(v[t], wanted, (size_t)n * sizeof(float)), 0);
                free(wanted);
            }
    for (int s = 0; s < 5; s++)
        free(v[s]);
}

// The bf16 leaves: every size, every source, one rounding.
Test(reduce, sums_of_bf16)
{
    enum { MOST = 300000 };
    static const int64_t sizes[] = {0, 1, 15, 2047, 2048, 2049, MOST};
    static mn_bf16 v[3][MOST], got[MOST];
    static float wide[MOST];
    for (int s = 0; s < 3; s++) {
        for (int64_t i = 0; i < MOST; i++)
            wide[i] = (float)(s * 3 + 1) / (float)(1 + (i * 7 + s) % 1013);
        dist_narrow(v[s], wide, MOST);
        for (int64_t i = 0; i < MOST; i++)
            cr_assert_eq(v[s][i], mn_f32_to_bf16(wide[i]));
    }
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int from = 1; from <= 3; from++) {
            dist_sum_bf16((const mn_bf16 *const[]){v[0], v[1], v[2]}, from, got, sizes[k]);
            dist_widen(wide, got, sizes[k]);
            for (int64_t i = 0; i < sizes[k]; i++) {
                float sum = mn_bf16_to_f32(v[0][i]);
                for (int s = 1; s < from; s++)
                    sum += mn_bf16_to_f32(v[s][i]);
                cr_assert_eq(wide[i], rounded(sum, MN_BF16));
            }
        }
}
