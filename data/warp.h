// Affine changes of 8-bit RGB pictures (rotation, translation, zoom, shear), with the arithmetic of Pillow's
// Image.transform(size, AFFINE, ...), on which the rotations and RandAugment of torchvision and timm are defined.
//
//     double m[6];
//     data_warp_matrix(&(data_warp_draw){.angle = 20, .zoom = 1}, width, height, m);
//     data_warp(rgb, to, width, height, m, DATA_BILINEAR, (uint8_t[]){0, 0, 0});
//
// Threading: pure functions.
#ifndef DATA_WARP_H
#define DATA_WARP_H

#include "data/resample.h"

// The output pixel whose centre is (x, y) is taken from (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]); the centre of
// the first pixel is (0.5, 0.5). What lies outside the picture is `fill`, what a filter reaches beyond the border
// repeats it. Bicubic: Keys with a = -1, as Pillow has it here (and only here). from and to: (height, width, 3), and
// one byte more may be read after `from`.
void data_warp(const uint8_t *from, uint8_t *to, int width, int height, const double m[6], data_filter filter,
               const uint8_t fill[3]);

// The parameters of torchvision.transforms.functional.affine: degrees clockwise, pixels, factor, degrees of shear along x.
typedef struct data_warp_draw {
    double angle, x, y, zoom, shear;
} data_warp_draw;
// The inverse map around the centre: torchvision's _get_inverse_affine_matrix.
void data_warp_matrix(const data_warp_draw *w, int width, int height, double m[6]);

#endif
