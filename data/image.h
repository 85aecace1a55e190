// JPEG and PNG, in memory: what the importers, the loader and the generated corpora share.
//
//     data_coder *c; MN_TRY(data_coder_open(&c));                 // one per thread
//     data_image im = {0};
//     MN_TRY(data_image_decode(c, bytes, size, 0, &im));          // im.rgb: (height, width, 3), reused by the next call
//     data_image_release(&im); data_coder_close(c);
//
// Input is untrusted. The format is told by its first bytes, never by a name; pixels are capped before memory is
// asked for; a warning of the JPEG library (half a file decodes with one) is an error. Whatever is stored comes out as
// 8-bit RGB: grey is spread, CMYK and YCCK are converted (inverted ones, as Adobe writes them, too), alpha is dropped,
// EXIF orientation is applied. What is refused is MN_EDATA, and data_coder_fault says which kind it was.
// Threading: a coder and an image belong to one thread at a time.
#ifndef DATA_IMAGE_H
#define DATA_IMAGE_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define DATA_IMAGE_MAX_PIXELS ((int64_t)1 << 26) // 8192 x 8192: 192 MiB of RGB

// Why a picture was refused: the reasons that reject lists and counts are made of.
// X(name, text)
#define DATA_IMAGE_FAULTS(X)                                                                                           \
    X(DATA_IMAGE_FINE, "fine")                                                                                         \
    X(DATA_IMAGE_EMPTY, "empty file")                                                                                  \
    X(DATA_IMAGE_FORMAT, "not a JPEG or PNG")                                                                          \
    X(DATA_IMAGE_HEADER, "damaged header")                                                                             \
    X(DATA_IMAGE_LARGE, "too many pixels")                                                                             \
    X(DATA_IMAGE_DAMAGED, "damaged or cut off")
typedef enum data_image_fault {
#define DATA_IMAGE_ENUM(name, text) name,
    DATA_IMAGE_FAULTS(DATA_IMAGE_ENUM)
#undef DATA_IMAGE_ENUM
        DATA_IMAGE_FAULT_COUNT
} data_image_fault;

typedef struct data_image {
    int width, height;
    uint8_t *rgb;    // (height, width, 3)
    size_t capacity; // bytes behind rgb
} data_image;

typedef struct data_image_info {
    int codec;         // DATA_CODEC_JPEG or DATA_CODEC_PNG of data/shard.h
    int width, height; // as decoded: after EXIF orientation
    int channels;      // as stored: 1 grey, 2 grey + alpha, 3 colour, 4 CMYK or colour + alpha
    int orientation;   // EXIF 1..8; 1: as stored
} data_image_info;

typedef struct data_coder data_coder;
MN_MUST_CHECK mn_err data_coder_open(data_coder **out);
void data_coder_close(data_coder *c);
data_image_fault data_coder_fault(const data_coder *c); // of the last probe or decode of this coder

// Reads the header only. A picture that probes well may still be damaged further on.
MN_MUST_CHECK mn_err data_image_probe(data_coder *c, const void *bytes, size_t size, data_image_info *out);
// Decodes into out, whose memory grows when it must (start from {0}). at_least > 0 allows a JPEG to be decoded at 1/2,
// 1/4 or 1/8 as long as its shorter side keeps at_least pixels: several times faster where it will be reduced anyway.
MN_MUST_CHECK mn_err data_image_decode(data_coder *c, const void *bytes, size_t size, int at_least, data_image *out);
void data_image_release(data_image *im);

// Cuts the box (x, y, width, height; it may leave the picture, what is outside repeats the border) out of `in` and
// resizes it to out_width x out_height with a triangle filter as wide as the reduction (the bilinear filter of Pillow).
MN_MUST_CHECK mn_err data_image_resize(const data_image *in, const double box[4], int out_width, int out_height,
                                       data_image *out);

// The same with another kernel. Box: the mean of the pixels covered; cubic: Keys' with a = -0.5; Lanczos: three lobes (all
// as Pillow defines them).
#define DATA_KERNELS(X)                                                                                                \
    X(TRIANGLE, "triangle")                                                                                            \
    X(BOX, "box")                                                                                                      \
    X(CUBIC, "cubic")                                                                                                  \
    X(LANCZOS, "lanczos")
typedef enum data_kernel {
#define DATA_KERNEL_ENUM(name, text) DATA_KERNEL_##name,
    DATA_KERNELS(DATA_KERNEL_ENUM)
#undef DATA_KERNEL_ENUM
        DATA_KERNEL_COUNT
} data_kernel;
const char *data_kernel_name(data_kernel f);
int data_kernel_number(const char *name); // -1: there is none of this name
MN_MUST_CHECK mn_err data_image_resize_by(const data_image *in, const double box[4], int out_width, int out_height,
                                          data_kernel kernel, data_image *out);

// Encoders: rgb is (height, width, 3); *bytes is the coder's memory, valid until its next encode.
// quality 1..100; full_colour 1: 4:4:4, 0: 4:2:0.
MN_MUST_CHECK mn_err data_jpeg_encode(data_coder *c, const uint8_t *rgb, int width, int height, int quality,
                                      int full_colour, const uint8_t **bytes, size_t *size);
// channels: 3 RGB or 1 grey.
MN_MUST_CHECK mn_err data_png_encode(data_coder *c, const uint8_t *pixels, int width, int height, int channels,
                                     const uint8_t **bytes, size_t *size);

#endif
