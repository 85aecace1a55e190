// Separable resampling of 8-bit RGB into float, one pass over the output: a box of the input in real numbers becomes
// width x height pixels, every one a weighted mean of input pixels under a filter as wide as the reduction (antialiased,
// as Pillow and torchvision with antialias do), then y = scale[c] x + bias[c].
//
//     data_taps across = {0}, down = {0};               // memory that is used again; one pair per thread
//     MN_TRY(data_taps_fill(&across, &(data_axis){.start = 3, .length = 200, .low = 3, .high = 203, .n = 192}, filter));
//     ...
//     data_resample(rgb, stride, &across, &down, scale, bias, 0, scratch, MN_F32, out);
//
// Threading: pure functions on the caller's memory.
#ifndef DATA_RESAMPLE_H
#define DATA_RESAMPLE_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

#include <stddef.h>
#include <stdint.h>

typedef enum data_filter { DATA_BILINEAR, DATA_BICUBIC } data_filter; // triangle; Keys with a = -0.5

typedef struct data_axis {
    double start, length; // of the box, in input pixels
    int low, high;        // input pixels [low, high) may be read; the filter is cut and scaled to sum 1 there
    int n;                // output pixels
    int mirrored;         // 1: the output runs from the end of the box to its start
} data_axis;

typedef struct data_taps {
    int n, width; // output positions; weights of each, padded with 0 to the same number
    int low, high;
    int *first;    // (n): input position of weight 0; first + width <= high
    float *weight; // (n, width)
    int64_t capacity, weights_capacity;
} data_taps;

// Filter positions and weights of PyTorch's upsample_bilinear2d_aa and upsample_bicubic2d_aa. MN_EDATA when the box is
// empty or does not touch [low, high).
MN_MUST_CHECK mn_err data_taps_fill(data_taps *t, const data_axis *axis, data_filter filter);
void data_taps_free(data_taps *t);

// Floats that data_resample needs beside its output.
int64_t data_resample_scratch(const data_taps *across);
// rgb: row down->low of the input, column across->low; stride: bytes between rows; out (down->n, across->n, 3), f32 or bf16.
// 0..255 becomes scale[c] v / 255 + bias[c], scale > 0; cut: what a bicubic filter overshoots is cut to 0..255 first.
void data_resample(const uint8_t *rgb, size_t stride, const data_taps *across, const data_taps *down,
                   const float scale[3], const float bias[3], int cut, float *scratch, mn_dtype type, void *out);
// To the nearest, halves to even.
void data_narrow(const float *from, int64_t n, mn_bf16 *to);

#endif
