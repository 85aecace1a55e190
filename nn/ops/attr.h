// What the builders of ops hand to nn_emit: read by the kernels of every device. Hashed into the plan, so no pointers and
// no padding.
#ifndef NN_OPS_ATTR_H
#define NN_OPS_ATTR_H

#include <stdint.h>

typedef struct add_attr {
    float a, b;
} add_attr;

typedef struct attention_attr {
    int64_t heads;
    double drop;
} attention_attr;

typedef struct batch_norm_attr {
    float eps, momentum;
} batch_norm_attr;

typedef struct cast_attr {
    int64_t to; // mn_dtype
} cast_attr;

typedef struct ccc_attr {
    int64_t sample;
} ccc_attr;

typedef struct channel_norm_attr {
    float eps;
} channel_norm_attr;

typedef struct conv_attr {
    int64_t out, kernel, stride, pad, groups, drop_last;
} conv_attr;

typedef struct dropout_attr {
    float p;
} dropout_attr;

typedef struct l1_attr {
    int64_t cell, patch; // pixels on a side of what one token of pred describes, and of what one mask entry covers
} l1_attr;

typedef struct layernorm_attr {
    float eps, drop;
} layernorm_attr;

typedef struct linear_attr {
    int64_t out;
    int64_t act; // nn_act
} linear_attr;

typedef struct patch_merge_attr {
    int64_t height, width;
} patch_merge_attr;

typedef struct patchify_attr {
    int64_t p;
    int64_t dtype; // of the output
} patchify_attr;

typedef struct residual_attr {
    float drop;
} residual_attr;

typedef struct weight_norm_attr {
    int64_t type; // mn_dtype of w
} weight_norm_attr;

typedef struct window_attr {
    int64_t height, width, heads, window, shift;
} window_attr;

#endif
