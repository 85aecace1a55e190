// Random erasing (Zhong et al. 2020) as timm and torchvision have it: with a probability, a rectangle of 2 % to 1/3 of the
// normalised picture, its height over its width from 0.3 to 1/0.3 (uniform in the logarithm), is overwritten.
// Threading: pure functions.
#ifndef DATA_ERASE_H
#define DATA_ERASE_H

#include "data/set.h"

typedef enum data_erase_fill {
    DATA_ERASE_PIXELS, // N(0, 1) for every value: timm's "pixel"
    DATA_ERASE_COLOUR, // one N(0, 1) for each channel: "rand"
    DATA_ERASE_MEAN    // 0, the mean after normalisation: "const", torchvision's default
} data_erase_fill;

typedef struct data_erase {
    double probability; // 0: never
    data_erase_fill fill;
} data_erase;

typedef struct data_box {
    int x, y, width, height; // width 0: none
} data_box;

// The rectangle of `area` pixels (not whole) and height : width `ratio`; 0 when it does not fit.
int data_erase_fit(double area, double ratio, int width, int height, data_box *out);
// Ten tries, as in both references.
data_box data_erase_box(const data_erase *cfg, int width, int height, data_draw draw);
// rgb (height, width, 3), normalised.
void data_erase_apply(const data_erase *cfg, data_draw draw, int width, int height, float *rgb);

#endif
