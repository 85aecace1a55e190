// Metrics against values made by hand from their definitions, and against themselves on any split of the frames.
#include "dist/metrics.h"

#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPRESSIONS = 8, UNITS = 12 };

static void add_expression(dist_metrics *m, int64_t video, int truth, int said, int times)
{
    float target[EXPRESSIONS] = {0}, logits[EXPRESSIONS] = {0}, weight = 1;
    target[truth] = 1;
    logits[said] = 2;
    for (int i = 0; i < times; i++)
        dist_metrics_add(m, video, logits, target, &weight, 0);
}

static dist_metrics_result compute(const dist_metrics *m, dist_zero_division zero)
{
    dist_metrics_result r;
    dist_metrics_compute(m, zero, 1, &r);
    return r;
}

// One action unit with given counts, the other eleven always right and both present.
static dist_metrics *unit_with(int tp, int fp, int fn, int tn)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_AU, 1);
    int counts[] = {tp, fp, fn, tn};
    for (int kind = 0; kind < 4; kind++)
        for (int i = 0; i < counts[kind]; i++) {
            float target[UNITS], logits[UNITS], weight = 1;
            for (int k = 0; k < UNITS; k++) {
                target[k] = (float)((i + k + kind) % 2);
                logits[k] = target[k] > 0 ? 1 : -1;
            }
            target[3] = kind == 0 || kind == 2;
            logits[3] = kind < 2 ? 0 : -.001f; // at the threshold: active
            dist_metrics_add(m, 0, logits, target, &weight, 0);
        }
    return m;
}

// The table of cases without true positives: what each rule makes of them.
Test(metrics, zero_division)
{
    static const struct {
        int tp, fp, fn;
        double zero, one, skip, sklearn13; // -1: left out of the mean
    } rows[] = {{0, 5, 7, 0, 0, 0, 1},
                {0, 0, 7, 0, 0, 0, 0},
                {0, 5, 0, 0, 0, 0, 0},
                {0, 0, 0, 0, 1, -1, 1},
                {3, 5, 7, 6. / 18, 6. / 18, 6. / 18, 6. / 18}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dist_metrics *m = unit_with(rows[i].tp, rows[i].fp, rows[i].fn, 10);
        const double wanted[] = {rows[i].zero, rows[i].one, rows[i].skip, rows[i].sklearn13};
        for (int zero = DIST_ZERO_0; zero <= DIST_ZERO_SKLEARN13; zero++) {
            dist_metrics_result r = compute(m, (dist_zero_division)zero);
            double rest = 11, n = wanted[zero] < 0 ? 11 : 12;
            if (wanted[zero] >= 0) cr_assert_float_eq(r.value[3], wanted[zero], 1e-15, "row %zu rule %d", i, zero);
            cr_assert_float_eq(r.mean, (rest + (wanted[zero] < 0 ? 0 : wanted[zero])) / n, 1e-15, "row %zu rule %d: %g",
                               i, zero, r.mean);
            cr_assert_eq(r.undefined, rows[i].tp + rows[i].fp + rows[i].fn == 0);
        }
        dist_metrics_free(m);
    }
}

// Counts over all frames of all videos together, never a mean of videos; confusion as truth, said.
Test(metrics, macro_f1_of_expressions)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_EXPR, 3);
    add_expression(m, 0, 0, 0, 5);
    add_expression(m, 0, 0, 1, 1);
    add_expression(m, 1, 1, 1, 2);
    add_expression(m, 2, 1, 0, 3);
    add_expression(m, 2, 7, 0, 4);
    dist_metrics_result r = compute(m, DIST_ZERO_0);
    cr_assert_eq(dist_metrics_confusion(m, 1, 0), 3);
    cr_assert_eq(dist_metrics_confusion(m, 0, 1), 1);
    cr_assert_eq(r.frames, 15);
    cr_assert_float_eq(r.value[0], 10. / (10 + 7 + 1), 1e-15); // 2 TP / (2 TP + FP + FN)
    cr_assert_float_eq(r.value[1], 4. / (4 + 1 + 3), 1e-15);
    cr_assert_float_eq(r.value[7], 0, 0);
    cr_assert_eq(r.undefined, 5, "classes that are nowhere are counted 0 and flagged");
    cr_assert_float_eq(r.mean, (10. / 18 + 4. / 8) / 8, 1e-15);
    cr_assert_float_eq(compute(m, DIST_ZERO_SKIP).mean, (10. / 18 + 4. / 8) / 3, 1e-15);
    cr_assert_float_eq(r.chance, 2. * 6 / (15 + 6) / 8, 1e-15); // always saying class 0, which 6 of 15 are
    dist_metrics_free(m);
}

Test(metrics, ties_and_weights)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_EXPR, 1);
    float logits[EXPRESSIONS] = {1, 3, 3}, target[EXPRESSIONS] = {0, 1}, on = 1, off = 0;
    dist_metrics_add(m, 0, logits, target, &on, 0);
    dist_metrics_add(m, 0, logits, target, &off, 0); // does not count
    cr_assert_eq(dist_metrics_confusion(m, 1, 1), 1, "the lowest class wins a tie");
    cr_assert_eq(compute(m, DIST_ZERO_0).frames, 1);
    dist_metrics_free(m);

    m = dist_metrics_new(DIST_METRIC_AU, 1); // a weight per column
    float z[UNITS], y[UNITS], w[UNITS];
    for (int k = 0; k < UNITS; k++) {
        z[k] = 1;
        y[k] = k < 6;
        w[k] = (float)(k % 2);
    }
    dist_metrics_add(m, 0, z, y, w, 1);
    dist_metrics_result r = compute(m, DIST_ZERO_SKIP);
    cr_assert_eq(r.undefined, 6);
    cr_assert_float_eq(r.mean, 3. / 6, 1e-15);
    dist_metrics_free(m);
}

static void add_value(dist_metrics *m, int64_t video, double v, double a, double tv, double ta)
{
    float x[] = {(float)v, (float)a}, y[] = {(float)tv, (float)ta}, weight = 1;
    dist_metrics_add(m, video, x, y, &weight, 0);
}

// x = 1, 2, 3, 4 and y = 2, 2, 5, 7, all / 8. In eighths: means 2.5 and 4, variances 1.25 and 4.5 (population),
// covariance 2.25: ccc = 4.5 / (1.25 + 4.5 + 2.25) = .5625. Arousal: y = -x has -1.
Test(metrics, ccc_in_population_form)
{
    static const double x[] = {1, 2, 3, 4}, y[] = {2, 2, 5, 7};
    dist_metrics *m = dist_metrics_new(DIST_METRIC_VA, 2);
    for (int i = 0; i < 4; i++)
        add_value(m, i % 2, x[i] / 8, (x[i] - 2.5) / 8, y[i] / 8, (2.5 - x[i]) / 8);
    dist_metrics_result r = compute(m, DIST_ZERO_0);
    cr_assert_float_eq(r.value[0], .5625, 1e-14, "%.17g", r.value[0]);
    cr_assert_float_eq(r.value[1], -1, 1e-14, "%.17g", r.value[1]);
    cr_assert_float_eq(r.mean, (.5625 - 1) / 2, 1e-14);
    cr_assert_eq(r.frames, 4);
    dist_metrics_free(m);
}

Test(metrics, ccc_of_hard_cases)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_VA, 1);
    for (int i = 0; i < 10; i++)
        add_value(m, 0, .5, .25, .5, i * .1); // both constant and equal; a constant against what varies
    dist_metrics_result r = compute(m, DIST_ZERO_0);
    cr_assert_eq(r.value[0], 0);
    cr_assert_float_eq(r.value[1], 0, 1e-15);
    dist_metrics_free(m);

    // Far from 0 with a spread of 1e-4: sums of squares lose 8 of 16 digits, and what is left must still be right.
    m = dist_metrics_new(DIST_METRIC_VA, 1);
    double mx = 0, my = 0, vx = 0, vy = 0, c = 0;
    enum { FRAMES = 20000 };
    float x[FRAMES], y[FRAMES];
    for (int i = 0; i < FRAMES; i++) {
        x[i] = (float)(.9 + 1e-4 * sin(i));
        y[i] = (float)(.9 + 1e-4 * sin(i + .5));
        mx += x[i] / (double)FRAMES;
        my += y[i] / (double)FRAMES;
        add_value(m, 0, x[i], 0, y[i], 0);
    }
    for (int i = 0; i < FRAMES; i++) {
        vx += (x[i] - mx) * (x[i] - mx) / FRAMES;
        vy += (y[i] - my) * (y[i] - my) / FRAMES;
        c += (x[i] - mx) * (y[i] - my) / FRAMES;
    }
    double wanted = 2 * c / (vx + vy + (mx - my) * (mx - my));
    cr_assert_float_eq(compute(m, DIST_ZERO_0).value[0], wanted, 1e-9, "%.12g %.12g", compute(m, DIST_ZERO_0).value[0],
                       wanted);
    dist_metrics_free(m);
}

// What is not a number is not scored as if it were left out.
Test(metrics, nan_is_not_hidden)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_VA, 1);
    for (int i = 0; i < 10; i++)
        add_value(m, 0, i == 3 ? NAN : i * .1, i * .1, i * .1, i * .1);
    dist_metrics_result r = compute(m, DIST_ZERO_0);
    cr_assert(r.mean == 0 && r.value[0] == 0 && r.value[1] == 0, "mean %g", r.mean);
    dist_metrics_free(m);
    m = dist_metrics_new(DIST_METRIC_AU, 1);
    float logits[UNITS] = {0}, target[UNITS] = {0}, weight = 1;
    logits[4] = -INFINITY;
    for (int k = 0; k < UNITS; k++)
        target[k] = k != 4;
    dist_metrics_add(m, 0, logits, target, &weight, 0);
    cr_assert_eq(compute(m, DIST_ZERO_SKIP).mean, 0);
    weight = 0; // what does not count may be anything
    dist_metrics_free(m);
    m = dist_metrics_new(DIST_METRIC_AU, 1);
    dist_metrics_add(m, 0, logits, target, &weight, 0);
    logits[4] = -1;
    weight = 1;
    dist_metrics_add(m, 0, logits, target, &weight, 0);
    cr_assert_eq(compute(m, DIST_ZERO_SKIP).mean, 1);
    dist_metrics_free(m);
}

static float number(uint64_t row, uint32_t column)
{
    return mn_uniform(mn_rng_block(9, row, 0, column).v[0]) * 2 - 1;
}

// Frame `row` of a generated evaluation, to video row % 7.
static void add_row(dist_metrics *m, dist_metric kind, uint64_t row)
{
    float x[UNITS], y[UNITS], weight = 1;
    int n = dist_metrics_columns(kind);
    for (int k = 0; k < n; k++) {
        x[k] = number(row, (uint32_t)k);
        y[k] = .5f * x[k] + .5f * number(row, (uint32_t)(100 + k));
        if (kind == DIST_METRIC_AU) y[k] = y[k] > 0;
    }
    dist_metrics_add(m, (int64_t)(row % 7), x, y, &weight, 0);
}

// Any split of the frames over ranks has the same bits, interval included, and the seed decides the interval.
Test(metrics, ranks)
{
    enum { ROWS = 3001 };
    dist_comm *c;
    cr_assert_eq(dist_open(&c), MN_OK, "%s", mn_errmsg());
    for (int kind = DIST_METRIC_EXPR; kind <= DIST_METRIC_VA; kind++) {
        dist_metrics *all = dist_metrics_new((dist_metric)kind, 7), *part = dist_metrics_new((dist_metric)kind, 7);
        for (uint64_t row = 0; row < ROWS; row++) {
            add_row(all, (dist_metric)kind, row);
            if ((int)(row / 5 % (uint64_t)dist_world(c)) == dist_rank(c)) add_row(part, (dist_metric)kind, row);
        }
        cr_assert_eq(dist_metrics_merge(part, c), MN_OK, "%s", mn_errmsg());
        dist_metrics_result a = compute(all, DIST_ZERO_0), b = compute(part, DIST_ZERO_0), other;
        cr_assert_eq(memcmp(a.value, b.value, sizeof a.value), 0, "kind %d: %.17g %.17g", kind, a.value[0], b.value[0]);
        cr_assert(a.mean == b.mean && a.low == b.low && a.high == b.high);
        cr_assert(a.low < a.mean && a.mean < a.high, "%g in %g - %g", a.mean, a.low, a.high);
        dist_metrics_compute(all, DIST_ZERO_0, 2, &other);
        cr_assert(other.mean == a.mean && (other.low != a.low || other.high != a.high));
        dist_metrics_free(all);
        dist_metrics_free(part);
    }
    dist_close(c);
}

// The interval is that of videos: with all videos alike it is a point, however many frames they have.
Test(metrics, interval_resamples_videos)
{
    dist_metrics *m = dist_metrics_new(DIST_METRIC_EXPR, 20);
    for (int video = 0; video < 20; video++)
        for (int k = 0; k < EXPRESSIONS; k++) {
            add_expression(m, video, k, k, 3);
            add_expression(m, video, k, (k + 1) % EXPRESSIONS, 1);
        }
    dist_metrics_result r = compute(m, DIST_ZERO_0);
    cr_assert_float_eq(r.low, r.high, 1e-12);
    dist_metrics_free(m);

    // Half of the videos all right, half all wrong: the share of right ones in a resample of 20 has a standard
    // deviation of .112; 95 % of the resamples lie within about +-.22.
    m = dist_metrics_new(DIST_METRIC_EXPR, 20);
    for (int video = 0; video < 20; video++)
        for (int k = 0; k < EXPRESSIONS; k++)
            add_expression(m, video, k, video % 2 ? (k + 1) % EXPRESSIONS : k, 50);
    r = compute(m, DIST_ZERO_0);
    cr_assert_float_eq(r.mean, .5, 1e-12);
    cr_assert(r.low > .2 && r.low < .38 && r.high > .62 && r.high < .8, "%g - %g", r.low, r.high);
    dist_metrics_free(m);
}
