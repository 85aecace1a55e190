#include "dist/metrics.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPRESSIONS = 8, UNITS = 12, RESAMPLES = 1000 };
enum { TP, FP, FN, TN, UNIT_SUMS }; // of an action unit
// Of valence or arousal: the number of frames, then x, y, x x, y y, x y in whole multiples of 2^-72, four parts each.
enum { N, FIRST_PART };
enum { SX, SY, SXX, SYY, SXY, MOMENTS, PARTS = 4, VA_SUMS = FIRST_PART + MOMENTS * PARTS };
enum { MOST_SUMS = EXPRESSIONS * EXPRESSIONS + 1 };

// Sums of each video, in integers: their order cannot matter. The last one counts predictions that are not finite.
struct dist_metrics {
    dist_metric kind;
    int64_t videos;
    int sums;
    int64_t *sum; // (videos, sums); EXPR: truth * 8 + said
};

static int sums_of(dist_metric kind)
{
    static const int sums[] = {EXPRESSIONS * EXPRESSIONS, UNITS * UNIT_SUMS, 2 * VA_SUMS};
    return sums[kind] + 1;
}

int dist_metrics_columns(dist_metric kind)
{
    static const int columns[] = {EXPRESSIONS, UNITS, 2};
    return columns[kind];
}

dist_metrics *dist_metrics_new(dist_metric kind, int64_t videos)
{
    dist_metrics *m = mn_calloc(1, sizeof *m);
    m->kind = kind;
    m->videos = videos;
    m->sums = sums_of(kind);
    m->sum = mn_calloc((size_t)videos * (size_t)m->sums + 1, sizeof *m->sum);
    return m;
}

void dist_metrics_free(dist_metrics *m)
{
    if (!m) return;
    free(m->sum);
    free(m);
}

// --- adding ---

static int largest(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void add_unit(int64_t *s, float logit, float target)
{
    int said = logit >= 0, truth = target > 0.5f;
    if (said && truth)
        s[TP]++;
    else if (said)
        s[FP]++;
    else if (truth)
        s[FN]++;
    else
        s[TN]++;
}

// A product of two floats is exact in a double. In units of 2^-72 a value of at most 2^8, squared and added 2^36 times,
// fits in 127 bits; the parts hold 32 bits each, the last one the sign, and carry on their own in 64.
static void add_moment(int64_t *parts, double v)
{
    __int128 whole = (__int128)ldexp(v, 72);
    for (int i = 0; i < PARTS - 1; i++, whole >>= 32)
        parts[i] += (int64_t)(whole & 0xffffffff);
    parts[PARTS - 1] += (int64_t)whole;
}

static void add_value(int64_t *s, double x, double y)
{
    const double limit = 256; // labels lie in [-1, 1]: what is out here scores 0 anyway
    x = x > limit ? limit : x < -limit ? -limit : x;
    y = y > limit ? limit : y < -limit ? -limit : y;
    const double moment[MOMENTS] = {x, y, x * x, y * y, x * y};
    s[N]++;
    for (int i = 0; i < MOMENTS; i++)
        add_moment(s + FIRST_PART + i * PARTS, moment[i]);
}

static int is_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return 0;
    return 1;
}

void dist_metrics_add(dist_metrics *m, int64_t video, const float *prediction, const float *target, const float *weight,
                      int by_column)
{
    mn_assert(video >= 0 && video < m->videos);
    int64_t *s = m->sum + video * m->sums;
    int columns = dist_metrics_columns(m->kind), counts = 0;
    for (int k = 0; k < (by_column ? columns : 1); k++)
        counts |= weight[k] > 0;
    if (counts && !is_finite(prediction, columns)) {
        s[m->sums - 1]++;
        return;
    }
    if (m->kind == DIST_METRIC_EXPR) {
        if (weight[0] > 0) s[largest(target, EXPRESSIONS) * EXPRESSIONS + largest(prediction, EXPRESSIONS)]++;
        return;
    }
    for (int k = 0; k < columns; k++) {
        if (weight[by_column ? k : 0] <= 0) continue;
        if (m->kind == DIST_METRIC_AU)
            add_unit(s + k * UNIT_SUMS, prediction[k], target[k]);
        else
            add_value(s + k * VA_SUMS, prediction[k], target[k]);
    }
}

mn_err dist_metrics_merge(dist_metrics *m, dist_comm *c)
{
    int64_t bad = 0;
    if (c) MN_TRY(dist_sum_int(c, m->sum, m->videos * m->sums));
    for (int64_t v = 0; v < m->videos; v++)
        bad += m->sum[v * m->sums + m->sums - 1];
    if (bad && (!c || dist_rank(c) == 0)) mn_warn("%lld predictions are not finite: the score is 0", (long long)bad);
    return MN_OK;
}

// --- values from sums ---

static double f1(double tp, double fp, double fn, dist_zero_division zero, int *undefined)
{
    *undefined = tp + fp + fn == 0;
    if (*undefined) return zero == DIST_ZERO_1 || zero == DIST_ZERO_SKLEARN13 ? 1 : zero == DIST_ZERO_SKIP ? NAN : 0;
    if (tp == 0 && fp > 0 && fn > 0 && zero == DIST_ZERO_SKLEARN13) return 1;
    return 2 * tp / (2 * tp + fp + fn);
}

static double f1_of_class(const int64_t *confusion, int k, dist_zero_division zero, int *undefined)
{
    int64_t tp = confusion[k * EXPRESSIONS + k], fp = -tp, fn = -tp;
    for (int i = 0; i < EXPRESSIONS; i++) {
        fp += confusion[i * EXPRESSIONS + k];
        fn += confusion[k * EXPRESSIONS + i];
    }
    return f1((double)tp, (double)fp, (double)fn, zero, undefined);
}

// A mean of values, from the parts of their sum. Long double: a small variance is the difference of two such means.
static long double mean_of(const int64_t *s, int moment)
{
    const int64_t *parts = s + FIRST_PART + moment * PARTS;
    __int128 whole = 0;
    for (int i = PARTS - 1; i >= 0; i--)
        whole = whole * ((__int128)1 << 32) + parts[i];
    return ldexpl((long double)whole, -72) / (long double)s[N];
}

// Population form. Both constant and equal: a constant carries no information, 0.
static double ccc(const int64_t *s)
{
    if (s[N] == 0) return 0;
    long double mx = mean_of(s, SX), my = mean_of(s, SY), c = mean_of(s, SXY) - mx * my;
    long double vx = mean_of(s, SXX) - mx * mx, vy = mean_of(s, SYY) - my * my;
    long double d = vx + vy + (mx - my) * (mx - my);
    return d < 1e-12L ? 0 : (double)(2 * c / d);
}

// NAN: the class is left out.
static double class_value(const dist_metrics *m, const int64_t *sums, int k, dist_zero_division zero, int *undefined)
{
    *undefined = 0;
    if (sums[m->sums - 1]) return 0;
    if (m->kind == DIST_METRIC_VA) return ccc(sums + k * VA_SUMS);
    if (m->kind == DIST_METRIC_EXPR) return f1_of_class(sums, k, zero, undefined);
    const int64_t *u = sums + k * UNIT_SUMS;
    return f1((double)u[TP], (double)u[FP], (double)u[FN], zero, undefined);
}

// Mean over the classes that count.
static double mean_value(const dist_metrics *m, const int64_t *sums, dist_zero_division zero)
{
    double total = 0;
    int n = 0, undefined;
    for (int k = 0; k < dist_metrics_columns(m->kind); k++) {
        double v = class_value(m, sums, k, zero, &undefined);
        if (isnan(v)) continue;
        total += v;
        n++;
    }
    return n ? total / n : 0;
}

static void add_video(const dist_metrics *m, int64_t video, int64_t *total)
{
    for (int i = 0; i < m->sums; i++)
        total[i] += m->sum[video * m->sums + i];
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void interval(const dist_metrics *m, dist_zero_division zero, uint64_t seed, dist_metrics_result *out)
{
    double *value = mn_calloc(RESAMPLES, sizeof *value);
    uint64_t key = mn_rng_key(seed, "metrics.interval");
    for (int r = 0; r < RESAMPLES; r++) {
        int64_t total[MOST_SUMS] = {0};
        mn_stream_rng rng = mn_rng_open(key, (uint64_t)r, 0);
        for (int64_t v = 0; v < m->videos; v++)
            add_video(m, mn_rng_below(&rng, m->videos), total);
        value[r] = mean_value(m, total, zero);
    }
    qsort(value, RESAMPLES, sizeof *value, ascending);
    out->low = value[RESAMPLES / 40];
    out->high = value[RESAMPLES - 1 - RESAMPLES / 40];
    free(value);
}

static double chance_of(const dist_metrics *m, const int64_t *total)
{
    double best = 0, n = 0, sum = 0;
    if (m->kind == DIST_METRIC_VA) return 0;
    if (m->kind == DIST_METRIC_AU) {
        // Saying "active" always: precision is the share of active frames, recall 1.
        for (int k = 0; k < UNITS; k++) {
            const int64_t *u = total + k * UNIT_SUMS;
            int64_t active = u[TP] + u[FN], frames = active + u[FP] + u[TN];
            sum += active > 0 ? 2 * (double)active / (double)(frames + active) : 0;
        }
        return sum / UNITS;
    }
    for (int k = 0; k < EXPRESSIONS; k++) {
        int64_t count = 0;
        for (int i = 0; i < EXPRESSIONS; i++)
            count += total[k * EXPRESSIONS + i];
        n += (double)count;
        if ((double)count > best) best = (double)count;
    }
    return n > 0 ? 2 * best / (n + best) / EXPRESSIONS : 0;
}

void dist_metrics_compute(const dist_metrics *m, dist_zero_division zero, uint64_t seed, dist_metrics_result *out)
{
    int64_t total[MOST_SUMS] = {0};
    int undefined;
    memset(out, 0, sizeof *out);
    for (int64_t v = 0; v < m->videos; v++)
        add_video(m, v, total);
    out->classes = dist_metrics_columns(m->kind);
    for (int k = 0; k < out->classes; k++) {
        out->value[k] = class_value(m, total, k, zero, &undefined);
        out->undefined += undefined;
    }
    out->mean = mean_value(m, total, zero);
    out->chance = chance_of(m, total);
    if (m->kind == DIST_METRIC_VA)
        out->frames = total[N];
    else if (m->kind == DIST_METRIC_AU)
        out->frames = total[TP] + total[FP] + total[FN] + total[TN];
    else
        for (int i = 0; i < EXPRESSIONS * EXPRESSIONS; i++)
            out->frames += total[i];
    interval(m, zero, seed, out);
}

int64_t dist_metrics_confusion(const dist_metrics *m, int truth, int said)
{
    int64_t n = 0;
    mn_assert(m->kind == DIST_METRIC_EXPR);
    for (int64_t v = 0; v < m->videos; v++)
        n += m->sum[v * m->sums + truth * EXPRESSIONS + said];
    return n;
}
