#include "data/vector.h"

#include <math.h>
#include <string.h>

enum { LANES = 8 }; // partial sums: one alone would wait for each addition

static double total(const double part[LANES])
{
    double sum = 0;
    for (int k = 0; k < LANES; k++)
        sum += part[k];
    return sum;
}

static void standardise(float *x, int64_t n)
{
    double sum[LANES] = {0}, square[LANES] = {0};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            sum[k] += x[i + k];
    for (int64_t i = whole; i < n; i++)
        sum[0] += x[i];
    double mean = total(sum) / (double)n;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            square[k] += (x[i + k] - mean) * (x[i + k] - mean);
    for (int64_t i = whole; i < n; i++)
        square[0] += (x[i] - mean) * (x[i] - mean);
    float scale = (float)(1 / (sqrt(total(square) / (double)n) + 1e-6)), shift = (float)mean;
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] - shift) * scale;
}

// Linear interpolation along channels, align_corners false: src = max(0, (i + 0.5) n / m - 0.5).
static void stretch(const float *x, int64_t n, float *y, int64_t m)
{
    for (int64_t i = 0; i < m; i++) {
        double at = ((double)i + 0.5) * (double)n / (double)m - 0.5;
        if (at < 0) at = 0;
        int64_t k = (int64_t)at;
        double part = at - (double)k;
        int64_t next = k + 1 < n ? k + 1 : k;
        y[i] = (float)((1 - part) * x[k] + part * x[next]);
    }
}

void data_vector_fit(float *vector, int64_t dim, float *out, int64_t width)
{
    standardise(vector, dim);
    if (dim == width)
        memcpy(out, vector, (size_t)width * sizeof *out);
    else
        stretch(vector, dim, out, width);
}
