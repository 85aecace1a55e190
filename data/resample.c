#include "data/resample.h"

#include "nn/base/mem.h"
#include "nn/base/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double weight_at(data_filter filter, double x)
{
    x = fabs(x);
    if (filter == DATA_BILINEAR) return x < 1 ? 1 - x : 0;
    const double a = -0.5; // Keys 1981, "Cubic convolution interpolation for digital image processing", Eq. 4
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static mn_err grow(data_taps *t)
{
    if (t->n > t->capacity) {
        t->first = mn_realloc(t->first, (size_t)t->n, sizeof *t->first);
        t->capacity = t->n;
    }
    int64_t weights = (int64_t)t->n * t->width;
    if (weights <= t->weights_capacity) return MN_OK;
    size_t bytes;
    MN_TRY(mn_mul_size((size_t)weights, sizeof *t->weight, &bytes));
    float *larger = realloc(t->weight, bytes);
    if (!larger) return mn_fail(MN_EMEM, "no memory for %lld filter weights", (long long)weights);
    t->weight = larger;
    t->weights_capacity = weights;
    return MN_OK;
}

// Input pixels [*first, *end) of the output position whose centre is given; at least one, all in [low, high).
static void reach(const data_taps *t, double centre, double support, int *first, int *end)
{
    double from = floor(centre - support + 0.5), to = floor(centre + support + 0.5);
    *first = (int)fmax(fmin(from, t->high - 1), t->low); // a box that ends beside the picture repeats its border
    *end = (int)fmin(fmax(to, *first + 1), t->high);
}

mn_err data_taps_fill(data_taps *t, const data_axis *axis, data_filter filter)
{
    if (!(axis->length > 0) || axis->high <= axis->low || !(axis->start < axis->high) ||
        !(axis->start + axis->length > axis->low))
        return mn_fail(MN_EDATA, "a box %g long from %g has no pixel of [%d, %d)", axis->length, axis->start, axis->low,
                       axis->high);
    mn_assert(axis->n >= 1);
    double step = axis->length / axis->n, shrink = step > 1 ? 1 / step : 1;
    double support = (filter == DATA_BICUBIC ? 2 : 1) / shrink;
    t->n = axis->n;
    t->low = axis->low;
    t->high = axis->high;
    t->width = 1;
    for (int i = 0, first, end; i < t->n; i++) {
        reach(t, axis->start + step * (i + 0.5), support, &first, &end);
        if (end - first > t->width) t->width = end - first;
    }
    MN_TRY(grow(t));
    for (int o = 0; o < t->n; o++) {
        double centre = axis->start + step * ((axis->mirrored ? t->n - 1 - o : o) + 0.5), sum = 0;
        float *w = t->weight + (size_t)o * (size_t)t->width;
        int first, end;
        reach(t, centre, support, &first, &end);
        t->first[o] = first + t->width > t->high ? t->high - t->width : first; // keeps the padded reads inside
        for (int k = 0; k < t->width; k++) {
            int j = t->first[o] + k;
            double v = j < first || j >= end ? 0 : weight_at(filter, (j + 0.5 - centre) * shrink);
            w[k] = (float)v;
            sum += v;
        }
        if (!(sum > 0)) { // beside the picture
            w[first - t->first[o]] = 1;
            sum = 1;
        }
        for (int k = 0; k < t->width; k++)
            w[k] = (float)((double)w[k] / sum);
    }
    return MN_OK;
}

void data_taps_free(data_taps *t)
{
    free(t->first);
    free(t->weight);
    *t = (data_taps){0};
}

enum { TILE = 4 }; // output rows at a time, so that the weights across are loaded once for all of them

// Three channels at once: a vector of four floats whose last one belongs to the next pixel.
typedef float pixel __attribute__((vector_size(16), aligned(4), may_alias));

// The last pixel of a row is read as four floats.
static int64_t scratch_row(const data_taps *across)
{
    return (int64_t)(across->high - across->low) * 3 + 1;
}

int64_t data_resample_scratch(const data_taps *across)
{
    return (scratch_row(across) + (int64_t)across->n * 3) * TILE;
}

// Weighted sum of up to four input rows, or added to it.
MN_SIMD static void add_rows(const uint8_t *const *restrict row, const float *restrict w, int rows, int add, int n,
                             float *restrict out)
{
    const uint8_t *restrict a = row[0], *restrict b = row[rows > 1], *restrict c = row[rows > 2 ? 2 : 0],
                            *restrict d = row[rows > 3 ? 3 : 0];
    float wa = w[0], wb = rows > 1 ? w[1] : 0, wc = rows > 2 ? w[2] : 0, wd = rows > 3 ? w[3] : 0;
    if (add)
        for (int x = 0; x < n; x++)
            out[x] += wa * (float)a[x] + wb * (float)b[x] + wc * (float)c[x] + wd * (float)d[x];
    else if (rows <= 2)
        for (int x = 0; x < n; x++)
            out[x] = wa * (float)a[x] + wb * (float)b[x];
    else if (rows == 3)
        for (int x = 0; x < n; x++)
            out[x] = wa * (float)a[x] + wb * (float)b[x] + wc * (float)c[x];
    else
        for (int x = 0; x < n; x++)
            out[x] = wa * (float)a[x] + wb * (float)b[x] + wc * (float)c[x] + wd * (float)d[x];
}

static void filter_down(const uint8_t *rgb, size_t stride, const data_taps *down, int o, int n, float *out)
{
    const float *w = down->weight + (size_t)o * (size_t)down->width;
    const uint8_t *first = rgb + (size_t)(down->first[o] - down->low) * stride;
    for (int k = 0; k < down->width; k += 4) {
        int rows = down->width - k < 4 ? down->width - k : 4;
        const uint8_t *row[4] = {0};
        for (int i = 0; i < rows; i++)
            row[i] = first + (size_t)(k + i) * stride;
        add_rows(row, w + k, rows, k > 0, n, out);
    }
}

// TILE rows. Every pixel is stored as four floats, the last of which the next pixel overwrites; the last pixel of a row
// stores three.
MN_SIMD static void filter_across(const float *const in[TILE], const data_taps *across, const float scale[3],
                                  const float bias[3], float *const out[TILE])
{
    const pixel s = {scale[0], scale[1], scale[2], 0}, b = {bias[0], bias[1], bias[2], 0};
    const float *w = across->weight, *from[TILE];
    float *to[TILE];
    int width = across->width, n = across->n;
    for (int i = 0; i < TILE; i++) { // copies: a store of a pixel may not change them
        from[i] = in[i];
        to[i] = out[i];
    }
    for (int o = 0; o < n; o++, w += width) {
        int first = (across->first[o] - across->low) * 3;
        pixel sum[TILE];
        for (int i = 0; i < TILE; i++)
            sum[i] = w[0] * *(const pixel *)(from[i] + first);
        for (int k = 1; k < width; k++)
            for (int i = 0; i < TILE; i++)
                sum[i] += w[k] * *(const pixel *)(from[i] + first + 3 * k);
        for (int i = 0; i < TILE; i++)
            sum[i] = sum[i] * s + b;
        for (int i = 0; i < TILE; i++)
            if (o < n - 1)
                *(pixel *)(to[i] + 3 * o) = sum[i];
            else
                memcpy(to[i] + 3 * o, &sum[i], 3 * sizeof(float));
    }
}

MN_SIMD void data_narrow(const float *restrict from, int64_t n, mn_bf16 *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = mn_f32_to_bf16(from[i]);
}

MN_SIMD static void cut_row(float *restrict out, int n, const float *restrict low, const float *restrict high)
{
    for (int x = 0; x < n; x++)
        for (int c = 0; c < 3; c++) {
            float v = out[3 * x + c];
            out[3 * x + c] = v < low[c] ? low[c] : v > high[c] ? high[c] : v;
        }
}

void data_resample(const uint8_t *rgb, size_t stride, const data_taps *across, const data_taps *down,
                   const float scale[3], const float bias[3], int cut, float *scratch, mn_dtype type, void *out)
{
    mn_assert(type == MN_F32 || type == MN_BF16);
    int n = (across->high - across->low) * 3;
    size_t row = (size_t)across->n * 3;
    float unit[3], high[3];
    for (int c = 0; c < 3; c++) {
        unit[c] = scale[c] / 255;
        high[c] = scale[c] + bias[c];
    }
    for (int o = 0; o < down->n; o += TILE) {
        int rows = down->n - o < TILE ? down->n - o : TILE;
        const float *in[TILE];
        float *to[TILE];
        float *tile = type == MN_F32 ? (float *)out + (size_t)o * row : scratch + TILE * scratch_row(across);
        for (int i = 0; i < TILE; i++) { // the last tile repeats its last row
            int k = i < rows ? i : rows - 1;
            float *filtered = scratch + k * scratch_row(across);
            if (i < rows) filter_down(rgb, stride, down, o + i, n, filtered);
            filtered[n] = 0;
            in[i] = filtered;
            to[i] = tile + (size_t)k * row;
        }
        filter_across(in, across, unit, bias, to);
        if (cut) cut_row(tile, rows * across->n, bias, high);
        if (type == MN_BF16) data_narrow(tile, (int64_t)rows * (int64_t)row, (mn_bf16 *)out + (size_t)o * row);
    }
}
