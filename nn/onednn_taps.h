// A convolution over time without padding, channels last, as matrix products: neighbouring taps of one position are
// neighbours in memory, so `stride` taps at a time are a product; the last, fewer taps are gathered first. In f32
// oneDNN's products reach 100 GF a core (Zen 4) where its convolutions reach 76, and 14 in the gradient of the weight.
// Inside nn/onednn_conv.c only.
#ifndef NN_ONEDNN_TAPS_H
#define NN_ONEDNN_TAPS_H

#include "nn/onednn.h"

typedef struct nn__taps nn__taps;
int nn__taps_suit(const nn__conv_cfg *cfg);
MN_MUST_CHECK mn_err nn__taps_new(nn__taps **out, const nn__conv_cfg *cfg);
void nn__taps_free(nn__taps *t);
size_t nn__taps_work(const nn__taps *t);
// As nn__conv_*.
MN_MUST_CHECK mn_err nn__taps_forward(nn__taps *t, const float *x, const float *weight, const float *bias, float *y,
                                      void *work);
MN_MUST_CHECK mn_err nn__taps_d_x(nn__taps *t, const float *dy, const float *weight, float *dx, void *work);
MN_MUST_CHECK mn_err nn__taps_d_weight(nn__taps *t, const float *x, const float *dy, float *d_weight, float *d_bias,
                                       void *work);

#endif
