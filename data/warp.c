#include "data/warp.h"

#include "nn/base/simd.h"

#include <math.h>
#include <string.h>

// Three channels and one value that nobody uses. Double, as in Pillow: its results are cut to whole numbers, so that an
// error in the last digit of a float would move a value by one.
typedef double pixel __attribute__((vector_size(32)));
typedef int32_t whole __attribute__((vector_size(16)));
typedef int32_t stored __attribute__((aligned(1), may_alias));

// Four bytes at once, taken apart in a vector: byte by byte this would be most of the time.
#define SPREAD(v) __builtin_convertvector(((whole){v, v, v, v} >> (whole){0, 8, 16, 24}) & 255, pixel)
#define LOAD(row, x) SPREAD(*(const stored *)((row) + 3 * (size_t)(x)))

static inline int clamp(int v, int n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

// Pillow's libImaging/Geometry.c, BILINEAR and BICUBIC: the forms that are exact where all inputs are equal.
#define LINEAR(a, b, d) ((a) + ((b) - (a)) * (d))
#define CUBIC(a, b, c, e, d)                                                                                           \
    ((b) + (d) * ((c) - (a) + (d) * (2.0 * ((a) - (b)) + (c) - (e) + (d) * ((b) - (a) + (e) - (c)))))

static inline void store(const pixel *v, uint8_t *to)
{
    for (int c = 0; c < 3; c++) {
        double x = (*v)[c];
        to[c] = (uint8_t)(x <= 0 ? 0 : x >= 255 ? 255 : x);
    }
}

MN_SIMD static void warp_row(const uint8_t *from, uint8_t *to, int width, int height, int y, const double m[6],
                             int cubic, const uint8_t fill[3])
{
    size_t stride = (size_t)width * 3;
    for (int o = 0; o < width; o++, to += 3) {
        double at_x = m[0] * (o + 0.5) + m[1] * (y + 0.5) + m[2], at_y = m[3] * (o + 0.5) + m[4] * (y + 0.5) + m[5];
        if (!(at_x >= 0 && at_x < width && at_y >= 0 && at_y < height)) {
            memcpy(to, fill, 3);
            continue;
        }
        at_x -= 0.5;
        at_y -= 0.5;
        double whole_x = floor(at_x), whole_y = floor(at_y), dx = at_x - whole_x, dy = at_y - whole_y;
        int first_x = (int)whole_x, first_y = (int)whole_y;
        pixel v;
        if (cubic) {
            int column[4];
            pixel line[4];
            for (int k = 0; k < 4; k++)
                column[k] = clamp(first_x + k - 1, width);
            for (int k = 0; k < 4; k++) {
                const uint8_t *row = from + (size_t)clamp(first_y + k - 1, height) * stride;
                pixel a = LOAD(row, column[0]), b = LOAD(row, column[1]), c = LOAD(row, column[2]),
                      e = LOAD(row, column[3]);
                line[k] = CUBIC(a, b, c, e, dx);
            }
            v = CUBIC(line[0], line[1], line[2], line[3], dy);
        } else {
            int left = clamp(first_x, width), right = clamp(first_x + 1, width);
            const uint8_t *above = from + (size_t)clamp(first_y, height) * stride;
            const uint8_t *below = from + (size_t)clamp(first_y + 1, height) * stride;
            pixel a = LOAD(above, left), b = LOAD(above, right), c = LOAD(below, left), e = LOAD(below, right);
            pixel upper = LINEAR(a, b, dx), lower = LINEAR(c, e, dx);
            v = LINEAR(upper, lower, dy);
        }
        store(&v, to);
    }
}

void data_warp(const uint8_t *from, uint8_t *to, int width, int height, const double m[6], data_filter filter,
               const uint8_t fill[3])
{
    for (int y = 0; y < height; y++)
        warp_row(from, to + (size_t)y * (size_t)width * 3, width, height, y, m, filter == DATA_BICUBIC, fill);
}

void data_warp_matrix(const data_warp_draw *w, int width, int height, double m[6])
{
    double turn = w->angle * M_PI / 180, slant = tan(w->shear * M_PI / 180);
    double centre_x = 0.5 * width, centre_y = 0.5 * height;
    // Rotation times shear is [[a, b], [c, d]]; its inverse over the zoom is [[d, -b], [-c, a]] / zoom.
    double a = cos(turn), b = -cos(turn) * slant - sin(turn), c = sin(turn), d = -sin(turn) * slant + cos(turn);
    m[0] = d / w->zoom;
    m[1] = -b / w->zoom;
    m[3] = -c / w->zoom;
    m[4] = a / w->zoom;
    m[2] = m[0] * (-centre_x - w->x) + m[1] * (-centre_y - w->y) + centre_x;
    m[5] = m[3] * (-centre_x - w->x) + m[4] * (-centre_y - w->y) + centre_y;
}
