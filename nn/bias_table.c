#include "nn/bias_table.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>

#define MAX_SIDE 255

// 1 + q + ... + q^(n-1)
static double progression(double q, int64_t n)
{
    return (1 - pow(q, (double)n)) / (1 - q);
}

// The ratio for which `reach` source distances end at `target`, by the reference's bisection, its end points included.
static double find_ratio(int64_t reach, int64_t target)
{
    double low = 1.01, high = 1.5, q = low;
    while (high - low > 1e-6) {
        q = (low + high) / 2;
        if (progression(q, reach) > (double)target)
            high = q;
        else
            low = q;
    }
    return q;
}

// {-d, 0, d}, d_k = 1 + q + ... + q^k
static void source_coordinates(double *x, int64_t side, double q)
{
    int64_t reach = side / 2;
    double distance = 0;
    x[reach] = 0;
    for (int64_t k = 0; k < reach; k++) {
        distance += pow(q, (double)k);
        x[reach + 1 + k] = distance;
        x[reach - 1 - k] = -distance;
    }
}

// Solves a b = b in place, a (n, n), b (n, m), with row exchanges. Both are overwritten; b holds the result.
static void solve(double *a, double *b, int64_t n, int64_t m)
{
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
        for (int64_t j = 0; j < n; j++) {
            double t = a[k * n + j];
            a[k * n + j] = a[best * n + j];
            a[best * n + j] = t;
        }
        for (int64_t j = 0; j < m; j++) {
            double t = b[k * m + j];
            b[k * m + j] = b[best * m + j];
            b[best * m + j] = t;
        }
        for (int64_t i = 0; i < n; i++) {
            double f = a[i * n + k] / a[k * n + k];
            if (i == k || f == 0) continue;
            for (int64_t j = k; j < n; j++)
                a[i * n + j] -= f * a[k * n + j];
            for (int64_t j = 0; j < m; j++)
                b[i * m + j] -= f * b[k * m + j];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            b[i * m + j] /= a[i * n + i];
}

// b (n, n): second derivatives at the knots x as a linear map of the values there. The cubic spline is not-a-knot: its
// third derivative is continuous at the second and the last but one knot; through three points, a parabola.
static void second_derivatives(const double *x, int64_t n, double *a, double *b)
{
    for (int64_t i = 1; i + 1 < n; i++) {
        double before = x[i] - x[i - 1], after = x[i + 1] - x[i];
        a[i * n + i - 1] = before;
        a[i * n + i] = 2 * (before + after);
        a[i * n + i + 1] = after;
        b[i * n + i - 1] = 6 / before;
        b[i * n + i] = -6 / before - 6 / after;
        b[i * n + i + 1] = 6 / after;
    }
    if (n == 3) {
        a[0] = a[2 * n + 1] = 1;
        a[1] = a[2 * n + 2] = -1;
    } else {
        double *last = a + (n - 1) * n;
        a[0] = x[2] - x[1];
        a[1] = -(x[2] - x[0]);
        a[2] = x[1] - x[0];
        last[n - 3] = x[n - 1] - x[n - 2];
        last[n - 2] = -(x[n - 1] - x[n - 3]);
        last[n - 1] = x[n - 2] - x[n - 3];
    }
    solve(a, b, n, n);
}

// w (targets, n): values at -targets/2 ... targets/2 as a linear map of the values at the knots. Beyond the knots: the
// value at the nearest one.
static void spline_weights(const double *x, int64_t n, double *w, int64_t targets)
{
    double *a = mn_calloc((size_t)(2 * n * n), sizeof *a), *b = a + n * n;
    second_derivatives(x, n, a, b);
    for (int64_t t = 0; t < targets; t++) {
        double at = fmin(fmax((double)(t - targets / 2), x[0]), x[n - 1]);
        int64_t i = 0;
        while (i + 2 < n && at > x[i + 1])
            i++;
        double h = x[i + 1] - x[i], right = (at - x[i]) / h, left = 1 - right;
        double curve_left = (left * left * left - left) * h * h / 6;
        double curve_right = (right * right * right - right) * h * h / 6;
        for (int64_t j = 0; j < n; j++)
            w[t * n + j] = curve_left * b[i * n + j] + curve_right * b[(i + 1) * n + j];
        w[t * n + i] += left;
        w[t * n + i + 1] += right;
    }
    free(a);
}

// dst = w src w^T for each head: the spline of a grid is one axis after the other.
static void apply(const double *w, const float *src, int64_t n, float *dst, int64_t m, int64_t heads)
{
    double *half = mn_calloc((size_t)(m * n), sizeof *half); // (target row, source column)
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t t = 0; t < m; t++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t i = 0; i < n; i++)
                    sum += w[t * n + i] * (double)src[(i * n + j) * heads + h];
                half[t * n + j] = sum;
            }
        for (int64_t t = 0; t < m; t++)
            for (int64_t u = 0; u < m; u++) {
                double sum = 0;
                for (int64_t j = 0; j < n; j++)
                    sum += w[u * n + j] * half[t * n + j];
                dst[(t * m + u) * heads + h] = (float)sum;
            }
    }
    free(half);
}

static int possible(int64_t side)
{
    return side >= 1 && side <= MAX_SIDE && side % 2 == 1;
}

mn_err nn_bias_table_resize(const float *src, int64_t src_side, float *dst, int64_t dst_side, int64_t heads)
{
    if (!possible(src_side) || !possible(dst_side))
        return mn_fail(MN_ECONFIG,
                       "a relative position table of %lld x %lld cannot become one of %lld x %lld: sides are "
                       "odd and at most %d",
                       (long long)src_side, (long long)src_side, (long long)dst_side, (long long)dst_side, MAX_SIDE);
    double *w = mn_calloc((size_t)(dst_side * src_side), sizeof *w);
    if (src_side == 1) {
        for (int64_t t = 0; t < dst_side; t++)
            w[t] = 1;
    } else {
        double x[MAX_SIDE];
        source_coordinates(x, src_side, find_ratio(src_side / 2, dst_side / 2));
        spline_weights(x, src_side, w, dst_side);
    }
    apply(w, src, src_side, dst, dst_side, heads);
    free(w);
    return MN_OK;
}
