#include "dist/bench.h"

#include "dist/backend.h"
#include "dist/bucket.h"
#include "dist/proceed.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

static dist_quartiles quartiles(double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    return (dist_quartiles){quantile(seconds, n, .25), quantile(seconds, n, .5), quantile(seconds, n, .75)};
}

// The slowest rank's time.
static mn_err slowest(dist_comm *c, double *seconds)
{
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof *seconds, 6, seconds, sizeof *seconds));
    for (int r = 0; r < c->at.world; r++) {
        double other = *(const double *)dist__from(c, r);
        if (other > *seconds) *seconds = other;
    }
    return MN_OK;
}

typedef struct contest {
    dist_comm *comm;
    dist_window *window;
    dist_buckets *buckets;
    float *plain;
    int64_t elements;
} contest;

static mn_err time_ours(contest *k, double *seconds)
{
    MN_TRY(dist_barrier(k->comm));
    int64_t start = dist_now_ns();
    MN_TRY(dist_buckets_wait(k->buckets, NULL));
    *seconds = 1e-9 * (double)(dist_now_ns() - start);
    return slowest(k->comm, seconds);
}

static mn_err time_library(contest *k, double *seconds)
{
    *seconds = 0;
    if (k->comm->at.world == 1) return MN_OK;
    MN_TRY(dist_barrier(k->comm));
    int64_t start = dist_now_ns();
    MN_TRY(k->comm->backend->library_sum(k->comm, k->plain, k->elements));
    *seconds = 1e-9 * (double)(dist_now_ns() - start);
    return slowest(k->comm, seconds);
}

static mn_err open_ours(contest *k)
{
    int64_t bytes = k->elements * 4 + (int64_t)sizeof(dist_control), most = DIST_BUCKET_BYTES / 4;
    void *arena;
    MN_TRY(dist_window_new(&k->window, k->comm));
    MN_TRY(dist_window_alloc(k->window, (size_t)bytes, &arena));
    int64_t end = bytes / 4;
    dist_range *range = mn_calloc((size_t)(end / most + 1), sizeof *range);
    int n = 0;
    for (int64_t at = 0; at < end; at += most)
        range[n++] = (dist_range){at, end - at < most ? end - at : most, -1, MN_F32};
    mn_err err = dist_buckets_of_ranges(&k->buckets, k->comm, k->window, range, n, k->elements);
    free(range);
    return err;
}

static mn_err run_contest(contest *k, int rounds, double *ours, double *library)
{
    void *plain;
    MN_TRY(open_ours(k));
    MN_TRY(mn_large_alloc(&plain, (size_t)k->elements * 4, "the benchmark"));
    k->plain = plain;
    memset(plain, 0, (size_t)k->elements * 4);
    for (int i = -1; i < rounds; i++) { // the first is not counted
        MN_TRY(time_ours(k, &ours[i < 0 ? 0 : i]));
        MN_TRY(time_library(k, &library[i < 0 ? 0 : i]));
        MN_TRY(dist_proceed(k->comm, MN_OK));
    }
    return MN_OK;
}

mn_err dist_bench_allreduce(dist_comm *c, const int64_t *bytes, int n, int rounds, dist_bench_row *rows)
{
    double *seconds = mn_calloc((size_t)rounds * 2, sizeof *seconds);
    mn_err err = MN_OK;
    for (int i = 0; i < n && err == MN_OK; i++) {
        mn_assert(bytes[i] > 0 && bytes[i] % 64 == 0 && rounds > 0);
        contest k = {.comm = c, .elements = bytes[i] / 4};
        err = run_contest(&k, rounds, seconds, seconds + rounds);
        if (err == MN_OK)
            rows[i] = (dist_bench_row){bytes[i], quartiles(seconds, rounds), quartiles(seconds + rounds, rounds)};
        dist_buckets_free(k.buckets);
        dist_window_free(k.window);
        mn_large_free(k.plain, (size_t)k.elements * 4);
    }
    free(seconds);
    return err;
}

static json_t *quartiles_json(const dist_quartiles *q)
{
    return json_pack("{s:f, s:f, s:f}", "low", q->low, "median", q->median, "high", q->high);
}

static mn_err write_json(FILE *to, const dist_comm *c, const dist_bench_row *rows, int n)
{
    json_t *list = json_array(), *all;
    for (int i = 0; i < n; i++) {
        json_t *row = json_pack("{s:I, s:o, s:o}", "bytes", (json_int_t)rows[i].bytes, "ours_s",
                                quartiles_json(&rows[i].ours), "library_s", quartiles_json(&rows[i].library));
        if (rows[i].ours.median > 0 && c->at.world > 1 && row)
            json_object_set_new(row, "ratio", json_real(rows[i].library.median / rows[i].ours.median));
        json_array_append_new(list, row);
    }
    all = json_pack("{s:i, s:i, s:s, s:o}", "ranks", c->at.world, "groups", c->at.groups, "library", dist_library(),
                    "allreduce", list);
    int failed = !all || json_dumpf(all, to, JSON_REAL_PRECISION(6)) != 0 || fputc('\n', to) == EOF;
    json_decref(all);
    return failed ? mn_fail(MN_EIO, "cannot write the benchmark: %s", strerror(errno)) : MN_OK;
}

static mn_err write_table(FILE *to, const dist_comm *c, const dist_bench_row *rows, int n)
{
    int ok = fprintf(to, "all-reduce of fp32, %d ranks in %d groups, median (quartiles) of the slowest rank in ms\n",
                     c->at.world, c->at.groups) > 0;
    ok = ok && fprintf(to, "%12s  %26s  %26s  %6s\n", "bytes", "mien", dist_library(), "ratio") > 0;
    for (int i = 0; ok && i < n; i++) {
        const dist_quartiles *a = &rows[i].ours, *b = &rows[i].library;
        ok = fprintf(to, "%12lld  %8.3f (%6.3f - %7.3f)  %8.3f (%6.3f - %7.3f)  %6.2f\n", (long long)rows[i].bytes,
                     1e3 * a->median, 1e3 * a->low, 1e3 * a->high, 1e3 * b->median, 1e3 * b->low, 1e3 * b->high,
                     a->median > 0 ? b->median / a->median : 0) > 0;
    }
    return ok ? MN_OK : mn_fail(MN_EIO, "cannot write the benchmark: %s", strerror(errno));
}

mn_err dist_bench_write(FILE *to, const dist_comm *c, const dist_bench_row *rows, int n, int json)
{
    return json ? write_json(to, c, rows, n) : write_table(to, c, rows, n);
}
