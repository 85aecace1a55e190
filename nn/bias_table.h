// Relative position bias tables for another window size.
//
//     // a 6x6 window pre-trained, 7x7 fine-tuned: tables of 11 x 11 and 13 x 13 distances
//     MN_TRY(nn_bias_table_resize(src, 11, dst, 13, heads));
//
// The geometric form of microsoft/SimMIM (utils.py, remap_pretrained_keys_swin): the source distances are spread as a
// geometric progression that ends where the target does, and each head's table is interpolated by a cubic spline.
// Threading: pure functions.
#ifndef NN_BIAS_TABLE_H
#define NN_BIAS_TABLE_H

#include "nn/base/err.h"

#include <stdint.h>

// src (src_side, src_side, heads) -> dst (dst_side, dst_side, heads). Sides are 2 window - 1: odd, 1 to 255.
// MN_ECONFIG for others.
MN_MUST_CHECK mn_err nn_bias_table_resize(const float *src, int64_t src_side, float *dst, int64_t dst_side,
                                          int64_t heads);

#endif
