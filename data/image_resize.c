// Separable resize with antialiasing: each output pixel is a weighted mean of the input pixels under a kernel as wide as
// the reduction, as in Pillow (libImaging/Resample.c), whose BILINEAR is the triangle, here with a box in real numbers.
#include "data/image.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct taps { // of one axis
    int n, width;     // output positions; weights per position
    int *index;       // (n, width) input positions, inside the picture
    float *weight;    // (n, width), each row sums to 1
} taps;

static void taps_free(taps *t)
{
    free(t->index);
    free(t->weight);
}

// Kernels

static const char *const filter_names[] = {
#define FILTER_NAME(name, text) text,
    DATA_KERNELS(FILTER_NAME)
#undef FILTER_NAME
};

const char *data_kernel_name(data_kernel f)
{
    mn_assert(f >= 0 && f < DATA_KERNEL_COUNT);
    return filter_names[f];
}

int data_kernel_number(const char *name)
{
    for (int f = 0; f < DATA_KERNEL_COUNT; f++)
        if (strcmp(filter_names[f], name) == 0) return f;
    return -1;
}

static const double reach[DATA_KERNEL_COUNT] = { // of the kernel to each side, in output pixels
    [DATA_KERNEL_TRIANGLE] = 1,
    [DATA_KERNEL_BOX] = 0.5,
    [DATA_KERNEL_CUBIC] = 2,
    [DATA_KERNEL_LANCZOS] = 3};

static double sinc(double x)
{
    const double pi = 3.14159265358979323846;
    return x == 0 ? 1 : sin(pi * x) / (pi * x);
}

static double weigh(data_kernel f, double x)
{
    const double a = -0.5; // Keys 1981: exact for quadratics
    double d = fabs(x);
    switch (f) {
    case DATA_KERNEL_BOX:
        return x > -0.5 && x <= 0.5 ? 1 : 0;
    case DATA_KERNEL_CUBIC:
        return d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? ((d - 5) * d + 8) * d * a - 4 * a : 0;
    case DATA_KERNEL_LANCZOS:
        return d < 3 ? sinc(d) * sinc(d / 3) : 0;
    default:
        return fmax(1 - d, 0);
    }
}

static mn_err taps_make(taps *t, double start, double length, int in_size, int n, data_kernel f)
{
    double scale = length / n, filter = scale > 1 ? scale : 1, support = reach[f] * filter;
    double farthest = 16.0 * in_size; // bounds memory: a box comes from a file
    if (!(scale > 0) || !(length <= farthest) || !(fabs(start) <= farthest))
        return mn_fail(MN_EDATA, "a box %g long from %g is no part of a picture of %d pixels", length, start, in_size);
    size_t width = (size_t)ceil(support) * 2 + 1, cells, bytes;
    MN_TRY(mn_mul_size(width, (size_t)n, &cells));
    MN_TRY(mn_mul_size(cells, sizeof(float), &bytes));
    *t = (taps){.n = n, .width = (int)width, .index = calloc(cells, sizeof(int)), .weight = calloc(1, bytes)};
    if (!t->index || !t->weight) return mn_fail(MN_EMEM, "no memory to resize to %d pixels", n);
    for (int o = 0; o < n; o++) {
        double centre = start + (o + 0.5) * scale, sum = 0;
        double first = floor(centre - support + 0.5);
        float *w = t->weight + (size_t)o * width;
        int *index = t->index + (size_t)o * width;
        for (size_t k = 0; k < width; k++) {
            double at = first + (double)k;
            index[k] = (int)fmin(fmax(at, 0), in_size - 1);
            w[k] = (float)weigh(f, (at + 0.5 - centre) / filter);
            sum += (double)w[k];
        }
        for (size_t k = 0; k < width; k++)
            w[k] = (float)((double)w[k] / sum);
    }
    return MN_OK;
}

static void filter_row(const uint8_t *in, const taps *t, float *out)
{
    for (int o = 0; o < t->n; o++) {
        const int *index = t->index + (size_t)o * (size_t)t->width;
        const float *w = t->weight + (size_t)o * (size_t)t->width;
        float sum[3] = {0, 0, 0};
        for (int k = 0; k < t->width; k++)
            for (int ch = 0; ch < 3; ch++)
                sum[ch] += w[k] * (float)in[3 * (size_t)index[k] + (size_t)ch];
        memcpy(out + 3 * (size_t)o, sum, sizeof sum);
    }
}

// Rows [first, last] of the picture, filtered along x.
static void filter_rows(const data_image *in, const taps *t, int first, int last, float *rows)
{
    for (int y = first; y <= last; y++)
        filter_row(in->rgb + (size_t)y * (size_t)in->width * 3, t, rows + (size_t)(y - first) * (size_t)t->n * 3);
}

static void filter_columns(const float *rows, int first, const taps *t, int out_width, uint8_t *out)
{
    size_t row = (size_t)out_width * 3;
    for (int o = 0; o < t->n; o++) {
        const int *index = t->index + (size_t)o * (size_t)t->width;
        const float *w = t->weight + (size_t)o * (size_t)t->width;
        for (size_t x = 0; x < row; x++) {
            float sum = 0.5f;
            for (int k = 0; k < t->width; k++)
                sum += w[k] * rows[(size_t)(index[k] - first) * row + x];
            out[(size_t)o * row + x] = (uint8_t)(sum > 255 ? 255 : sum < 0 ? 0 : sum);
        }
    }
}

mn_err data_image_resize(const data_image *in, const double box[4], int out_width, int out_height, data_image *out)
{
    return data_image_resize_by(in, box, out_width, out_height, DATA_KERNEL_TRIANGLE, out);
}

mn_err data_image_resize_by(const data_image *in, const double box[4], int out_width, int out_height,
                            data_kernel kernel, data_image *out)
{
    taps across = {0}, down = {0};
    float *rows = NULL;
    size_t row_bytes, bytes;
    mn_err err;
    mn_assert(in != out && out_width > 0 && out_height > 0 && in->width > 0 && in->height > 0);
    MN_TRY_OUT(err, taps_make(&across, box[0], box[2], in->width, out_width, kernel));
    MN_TRY_OUT(err, taps_make(&down, box[1], box[3], in->height, out_height, kernel));
    int first = down.index[0], last = down.index[(size_t)down.n * (size_t)down.width - 1];
    MN_TRY_OUT(err, mn_mul_size((size_t)out_width * 3, sizeof(float), &row_bytes));
    MN_TRY_OUT(err, mn_mul_size(row_bytes, (size_t)(last - first + 1), &bytes));
    rows = malloc(bytes);
    size_t need = (size_t)out_width * (size_t)out_height * 3;
    if (need > out->capacity) {
        uint8_t *larger = realloc(out->rgb, need);
        if (larger) {
            out->rgb = larger;
            out->capacity = need;
        }
    }
    if (!rows || need > out->capacity) {
        err = mn_fail(MN_EMEM, "no memory to resize to %d x %d pixels", out_width, out_height);
        goto out;
    }
    out->width = out_width;
    out->height = out_height;
    filter_rows(in, &across, first, last, rows);
    filter_columns(rows, first, &down, out_width, out->rgb);
out:
    taps_free(&across);
    taps_free(&down);
    free(rows);
    return err;
}
