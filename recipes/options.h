// Option rows that several tasks share: the sizes of a Swin Transformer, and picture augmentation.
// Threading: constants.
#ifndef RECIPES_OPTIONS_H
#define RECIPES_OPTIONS_H

#include "nn/base/schema.h"
#include "nn/models.h"

typedef struct mien_swin {
    int64_t image, patch, window, embed;
    mn_ints depths, heads;
    float mlp_ratio, drop_path;
} mien_swin;

// The defaults are Swin-T at 192 pixels.
#define MIEN_SWIN_OPTIONS(T, m)                                                                                        \
    MN_OPT_INT(T, m.image, "model.image", "192", 8, 4096, 0, "side of the picture in pixels"),                         \
        MN_OPT_INT(T, m.patch, "model.patch", "4", 1, 64, 0, "side of a patch in pixels"),                             \
        MN_OPT_INT(T, m.window, "model.window", "6", 2, 64, 0, "side of an attention window in tokens"),               \
        MN_OPT_INT(T, m.embed, "model.embed", "96", 4, 4096, 0, "channels of the first stage"),                        \
        MN_OPT_INTS(T, m.depths, "model.depths", "[2, 2, 6, 2]", 1, 100, 0, "blocks of each stage"),                   \
        MN_OPT_INTS(T, m.heads, "model.heads", "[3, 6, 12, 24]", 1, 256, 0, "attention heads of each stage"),          \
        MN_OPT_FLOAT(T, m.mlp_ratio, "model.mlp_ratio", "4", 0.25, 16, 0, "hidden channels over channels"),            \
        MN_OPT_FLOAT(T, m.drop_path, "model.drop_path", "0", 0, 0.95, 0, "stochastic depth of the last block")

typedef struct mien_augment {
    double scale_min, flip, jitter, hue, centre;
    double affine, rotate, translate, zoom_min, zoom_max, shear;
    int64_t rand_layers;
    double rand_magnitude, rand_std, rand_probability, erase;
    int cubic, erase_fill;
} mien_augment;
extern const char *const mien_erase_fills[]; // order of data_erase_fill

#define MIEN_AUGMENT_OPTIONS(T, m, scale)                                                                              \
    MN_OPT_FLOAT(T, m.scale_min, "augment.scale_min", scale, 0, 1, MN_ABOVE_LO,                                        \
                 "random resized crop: least share of the area; 1: no crop"),                                          \
        MN_OPT_FLOAT(T, m.flip, "augment.flip", "0.5", 0, 1, 0, "probability of a horizontal flip"),                   \
        MN_OPT_FLOAT(T, m.jitter, "augment.jitter", "0", 0, 1, 0, "brightness, contrast and saturation: 1 +- this"),   \
        MN_OPT_FLOAT(T, m.hue, "augment.hue", "0", 0, 0.5, 0, "hue: +- this turn"),                                    \
        MN_OPT_FLOAT(T, m.affine, "augment.affine", "1", 0, 1, 0,                                                      \
                     "probability of the next five, which are one change of 8-bit pictures; black comes in"),          \
        MN_OPT_FLOAT(T, m.rotate, "augment.rotate", "0", 0, 180, 0, "angle: +- this many degrees"),                    \
        MN_OPT_FLOAT(T, m.translate, "augment.translate", "0", 0, 1, 0, "shift: +- this share of the side"),           \
        MN_OPT_FLOAT(T, m.zoom_min, "augment.zoom_min", "1", 0.1, 10, 0, "enlarged by at least this factor"),          \
        MN_OPT_FLOAT(T, m.zoom_max, "augment.zoom_max", "1", 0.1, 10, 0, "enlarged by at most this factor"),           \
        MN_OPT_FLOAT(T, m.shear, "augment.shear", "0", 0, 80, 0, "shear along x: +- this many degrees"),               \
        MN_OPT_INT(T, m.rand_layers, "augment.rand_layers", "0", 0, 8, 0,                                              \
                   "RandAugment: operations drawn for a picture (timm: 2); 0: off"),                                   \
        MN_OPT_FLOAT(T, m.rand_magnitude, "augment.rand_magnitude", "9", 0, 10, 0, "RandAugment: timm's m"),           \
        MN_OPT_FLOAT(T, m.rand_std, "augment.rand_std", "0.5", 0, 10, 0, "RandAugment: timm's mstd"),                  \
        MN_OPT_FLOAT(T, m.rand_probability, "augment.rand_probability", "0.5", 0, 1, 0,                                \
                     "RandAugment: of each drawn operation to be applied"),                                            \
        MN_OPT_FLOAT(T, m.erase, "augment.erase", "0", 0, 1, 0, "probability of random erasing"),                      \
        MN_OPT_ENUM(T, m.erase_fill, "augment.erase_fill", "pixels", mien_erase_fills, 0,                              \
                    "with noise, one random colour, or the mean (timm: pixel, rand, const)"),                          \
        MN_OPT_FLOAT(T, m.centre, "augment.centre", "1", 0, 1, MN_ABOVE_LO,                                            \
                     "evaluation: share of the shorter side that is kept"),                                            \
        MN_OPT_BOOL(T, m.cubic, "augment.bicubic", "false", 0, "bicubic instead of bilinear")

// The network's configuration from the options; refuses sizes that do not fit, at the place where they were given.
MN_MUST_CHECK mn_err mien_swin_config(const mn_recipe *r, const mien_swin *o, nn_swin_cfg *cfg);

#endif
