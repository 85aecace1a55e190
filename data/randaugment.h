// RandAugment (Cubuk et al. 2020) as timm has it, rand-m<magnitude>-mstd<std>-inc1, the augmentation of the SimMIM and Swin
// fine-tuning recipes: of 15 operations whose strength grows with the magnitude, `layers` are drawn with replacement,
// each is applied with a probability of one half (see data_rand), at a magnitude from N(magnitude, std) cut to 0..10.
// The operations are Pillow's, on 8 bits (ImageOps, ImageEnhance, Image.transform), value for value.
//
//     data_rand_op ops[DATA_RAND_LAYERS];
//     int n = data_rand_draw(&cfg, draw, ops);
//     for (int i = 0; i < n; i++) data_rand_apply(&ops[i], width, height, DATA_BICUBIC, fill, rgb, scratch);
//
// Threading: pure functions.
#ifndef DATA_RANDAUGMENT_H
#define DATA_RANDAUGMENT_H

#include "data/set.h"
#include "data/resample.h"

enum { DATA_RAND_LAYERS = 8 }; // most that can be asked for

// X(name, timm's name), in timm's order
#define DATA_RAND_OPS(X)                                                                                               \
    X(DATA_RAND_AUTO_CONTRAST, "AutoContrast")                                                                         \
    X(DATA_RAND_EQUALIZE, "Equalize")                                                                                  \
    X(DATA_RAND_INVERT, "Invert")                                                                                      \
    X(DATA_RAND_ROTATE, "Rotate")                                                                                      \
    X(DATA_RAND_POSTERIZE, "PosterizeIncreasing")                                                                      \
    X(DATA_RAND_SOLARIZE, "SolarizeIncreasing")                                                                        \
    X(DATA_RAND_SOLARIZE_ADD, "SolarizeAdd")                                                                           \
    X(DATA_RAND_COLOUR, "ColorIncreasing")                                                                             \
    X(DATA_RAND_CONTRAST, "ContrastIncreasing")                                                                        \
    X(DATA_RAND_BRIGHTNESS, "BrightnessIncreasing")                                                                    \
    X(DATA_RAND_SHARPNESS, "SharpnessIncreasing")                                                                      \
    X(DATA_RAND_SHEAR_X, "ShearX")                                                                                     \
    X(DATA_RAND_SHEAR_Y, "ShearY")                                                                                     \
    X(DATA_RAND_TRANSLATE_X, "TranslateXRel")                                                                          \
    X(DATA_RAND_TRANSLATE_Y, "TranslateYRel")
typedef enum data_rand_kind {
#define DATA_RAND_ENUM(name, text) name,
    DATA_RAND_OPS(DATA_RAND_ENUM)
#undef DATA_RAND_ENUM
        DATA_RAND_KINDS
} data_rand_kind;

typedef struct data_rand {
    int layers; // 0: none
    double magnitude, std;
    double probability; // of each drawn operation; timm: 0.5
} data_rand;

typedef struct data_rand_op {
    data_rand_kind kind;
    double magnitude; // 0..10
    int negative;     // the other direction, for operations that have one
} data_rand_op;

// How many of the drawn operations are applied: ops[0 .. return), at most cfg->layers.
int data_rand_draw(const data_rand *cfg, data_draw draw, data_rand_op ops[DATA_RAND_LAYERS]);
// Changes rgb (height, width, 3); scratch: as many bytes, and one more after each of the two. fill: what comes in from
// outside; filter: of rotations, shears and translations.
void data_rand_apply(const data_rand_op *op, int width, int height, data_filter filter, const uint8_t fill[3],
                     uint8_t *rgb, uint8_t *scratch);

#endif
