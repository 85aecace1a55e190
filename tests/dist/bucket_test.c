// Sums over ranks against the same sums made by one rank in the promised order, bit for bit. Values are numbers for
// which the order matters; each rank can make those of all others.
#include "dist/bench.h"
#include "dist/bucket.h"
#include "dist/reduce.h"

#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL = sizeof(dist_control) / sizeof(float) };

static float value(int rank, int step, int64_t i)
{
    mn_rng4 r = mn_rng_block(7, (uint64_t)rank, (uint64_t)step, (uint32_t)i);
    return (mn_uniform(r.v[0]) - .5f) * (float)(1 << (r.v[1] % 24));
}

// Group sums in rank order, then their sum in group order. group: of every rank.
static float expected(const dist_place *at, const int *group, int step, int64_t i)
{
    float sum = 0;
    for (int g = 0; g < at->groups; g++) {
        float part = 0;
        for (int r = 0, first = 1; r < at->world; r++) {
            if (group[r] != g) continue;
            part = first ? value(r, step, i) : part + value(r, step, i);
            first = 0;
        }
        sum = g ? sum + part : part;
    }
    return sum;
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

// Five steps of seven buckets of odd sizes, marked one by one from the hook, at different speeds on each rank.
static void check_sums_in_order(dist_comm *c)
{
    static const int64_t sizes[] = {16, 5, 4096, 1, 300, 70001, 17};
    enum { N = sizeof sizes / sizeof sizes[0], STEPS = 5 };
    dist_window *w;
    dist_buckets *b;
    float *grad;
    dist_range range[N];
    int64_t count = 0;
    for (int i = 0; i < N; i++) {
        range[i] = (dist_range){count, sizes[i] + (i == N - 1 ? CONTROL : 0), 10 + 2 * i};
        count += sizes[i];
    }
    open_window(c, &w, &grad, count);
    const dist_place *at = dist_where(c);
    cr_assert_eq(dist_buckets_of_ranges(&b, c, w, range, N, count), MN_OK, "%s", mn_errmsg());
    int group[64];
    cr_assert(at->world <= 64);
    cr_assert_eq(dist_gather(c, &at->group, sizeof at->group, group), MN_OK, "%s", mn_errmsg());
    for (int step = 0; step < STEPS; step++) {
        dist_buckets_control(b)->stop = at->rank == at->world - 1;
        dist_buckets_control(b)->bad = 1;
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
        for (int64_t k = 0; k < count; k++)
            cr_assert_eq(grad[k], expected(at, group, step, k), "step %d element %lld", step, (long long)k);
    }
    double waiting, all = dist_buckets_seconds(b, &waiting);
    cr_assert(all >= waiting && waiting >= 0);
    dist_buckets_free(b);
    dist_window_free(w);
}

// With the hook off nothing is touched; without a hook at all, wait does everything.
static void check_can_be_switched_off(dist_comm *c)
{
    dist_window *w;
    dist_buckets *b;
    float *grad;
    open_window(c, &w, &grad, 1000);
    dist_range range = {0, 1000 + CONTROL, 3};
    cr_assert_eq(dist_buckets_of_ranges(&b, c, w, &range, 1, 1000), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < 1000; i++)
        grad[i] = (float)(i + 1);
    dist_buckets_enable(b, 0);
    for (int micro = 0; micro < 3; micro++)
        cr_assert_eq(dist_buckets_on_step(b, 100), MN_OK);
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
    dist_range range[2] = {{0, odd ? 512 : 496, 3}, {odd ? 512 : 496, 1000 + CONTROL - (odd ? 512 : 496), 4}};
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
    check_sums_in_order(c);
    check_can_be_switched_off(c);
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
