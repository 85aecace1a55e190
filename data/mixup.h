// Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): two samples of a batch made from each other, and their targets
// with them, so that every loss on soft or real targets sees the mixture. timm's rules: one draw for a batch; where both
// are on, cutmix is taken with the probability `cutmix_share`, else mixup.
// Threading: pure functions.
#ifndef DATA_MIXUP_H
#define DATA_MIXUP_H

#include "nn/base/shape.h"

#include <stdint.h>

typedef struct data_mixup {
    double alpha;        // mixup: share from Beta(alpha, alpha); 0: off
    double cutmix_alpha; // cutmix: share that is kept from Beta(cutmix_alpha, cutmix_alpha); 0: off
    double probability;  // of a batch to be mixed; 0 counts as 1
    double cutmix_share; // where both are on
} data_mixup;

// a -> keep a + (1 - keep) b. Cutmix: a picture gets rows [top, bottom) and columns [left, right) of the other, and
// keep is what it has left of its own area.
typedef struct data_mixture {
    float keep;
    int cut, top, bottom, left, right;
} data_mixture;

static inline int data_mixup_on(const data_mixup *cfg)
{
    return cfg->alpha > 0 || cfg->cutmix_alpha > 0;
}

// Whether a field of this shape of one row is a picture (height, width, channels), which is cut and not blended.
static inline int data_mixup_is_picture(mn_shape row)
{
    return row.n == 3;
}

// For the batch that starts at `position` of the epoch; height and width of its pictures, 0 where it has none.
data_mixture data_mixup_draw(const data_mixup *cfg, uint64_t seed, int64_t epoch, int64_t position, int height,
                             int width);
// The box around (y, x) that leaves about `keep` of the picture, and what it leaves exactly.
data_mixture data_mixup_box(double keep, int y, int x, int height, int width);
// Both rows of a pair from both. row: shape of one.
void data_mixup_pair(const data_mixture *m, mn_shape row, float *a, float *b);

#endif
