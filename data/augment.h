// From the stored bytes of a picture to the network's input: f32 or bf16 (S, S, 3), RGB, normalised. Training draws, in this
// order, a random resized crop and a flip, an affine change, a colour jitter (all torchvision's definitions), RandAugment
// and random erasing (timm's); evaluation takes the middle. Decoding, crop, resize, flip and normalisation are one pass:
// only the rectangle that is used is decoded.
//
//     data_augmenter *a; MN_TRY(data_augmenter_open(&a, &cfg));                     // one per thread
//     MN_TRY(data_augment_picture(a, bytes, size, (data_draw){seed, epoch, row}, out));
//
// All numbers stay float between the steps, where torchvision rounds to 8 bits after each; but the affine change and
// RandAugment are defined on 8 bits, and a picture that they are applied to is rounded. Every random number is a function
// of the draw and of what it is for, so one option does not move the numbers of another.
// Threading: an augmenter belongs to one thread at a time; the functions below it are pure.
#ifndef DATA_AUGMENT_H
#define DATA_AUGMENT_H

#include "data/erase.h"
#include "data/set.h"
#include "data/randaugment.h"
#include "data/resample.h"
#include "data/warp.h"

// torchvision's RandomAffine (with zoom 1 and nothing else its RandomRotation); what comes in from outside is black.
typedef struct data_affine {
    double probability; // 0: never
    double degrees;     // angle from [-degrees, degrees]
    double translate;   // whole pixels, up to this share of the side, each way
    double zoom[2];     // uniform; zoom[1] = 0: 1
    double shear;       // degrees along x from [-shear, shear]
} data_affine;

typedef struct data_augment {
    int size;                  // S
    int train;                 // 1: random, as below; 0: the middle, as `centre` says
    double scale[2], ratio[2]; // random resized crop: share of the area, width : height; scale[1] = 0: no crop
    double flip;               // probability
    double brightness, contrast, saturation; // factors from [max(0, 1 - x), 1 + x]
    double hue;                              // turn from [-x, x] of the circle, x <= 0.5
    data_affine affine;
    data_rand rand;
    data_erase erase;
    double centre; // evaluation: share of the shorter side that is kept; 0 and 1: all, .875: 224 of 256
    int grey;      // 1: brightness only, the same in all three channels
    data_filter filter;
    mn_dtype dtype;        // MN_F32 or MN_BF16, rounded once, at the end
    float mean[3], std[3]; // of 0..1; std 0 counts as 1
} data_augment;
// SimMIM's and ImageNet's: crop (0.67, 1), (3/4, 4/3), flip 0.5, bilinear, ImageNet's mean and std.
data_augment data_augment_simmim(int size, int train);

typedef struct data_augmenter data_augmenter;
MN_MUST_CHECK mn_err data_augmenter_open(data_augmenter **out, const data_augment *cfg);
void data_augmenter_close(data_augmenter *a);
// JPEG or PNG bytes -> out (S, S, 3). MN_EDATA for a damaged picture.
MN_MUST_CHECK mn_err data_augment_picture(data_augmenter *a, const void *bytes, size_t size, data_draw draw, void *out);
// Seconds so far; DATA_STAGE_READ is not the augmenter's.
const double *data_augmenter_stages(const data_augmenter *a);

// The steps, for tests and for other kinds of pictures.
typedef struct data_crop {
    double x, y, width, height;       // the box that becomes the output, in pixels
    int low_x, high_x, low_y, high_y; // the pixels its filter may read
    int flip;
} data_crop;
data_crop data_augment_crop(const data_augment *cfg, int width, int height, data_draw draw);

typedef struct data_jitter {
    int order[4];                                // of 0 brightness, 1 contrast, 2 saturation, 3 hue
    float brightness, contrast, saturation, hue; // 1, 1, 1, 0: nothing
} data_jitter;
data_jitter data_augment_jitter(const data_augment *cfg, data_draw draw);
void data_jitter_apply(const data_jitter *j, float *rgb, int64_t pixels); // (pixels, 3) of 0..1

// 0: the picture stays as it is.
int data_augment_warp(const data_affine *cfg, int width, int height, data_draw draw, data_warp_draw *out);

// SimMIM's mask: exactly ceil(ratio cells^2) of the cells x cells cells are masked, chosen by a keyed permutation; a
// cell is tokens x tokens tokens. mask u8 ((cells tokens)^2), row by row: 1 masked.
void data_mask_draw(int cells, int tokens, double ratio, data_draw draw, uint8_t *mask);

#endif
