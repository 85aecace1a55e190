// A pass of a convolution over time as matrix products: what each result sees of the operand (its window) is gathered
// into the workspace, some positions at a time, and multiplied by the weight. Same meaning as nn/cuda_conv.h, for any
// configuration: it takes over what cuDNN has no algorithm for.
//
// The gathered part is kept so small that it stays in the L2 cache on its way into the product. Backward to x gathers
// dy; with a stride, all but one in `stride` of what it multiplies are zeros.
// Threading: as nn/cuda_gemm.h.
#ifndef NN_CUDA_WINDOWS_H
#define NN_CUDA_WINDOWS_H

#include "nn/cuda_conv.h"

typedef struct nn_cuda_windows nn_cuda_windows;
// most_bytes: of what is gathered at a time, rounded to 64 positions; 0: what fits into the L2 cache.
MN_MUST_CHECK mn_err nn_cuda_windows_new(nn_cuda_windows **out, const nn_cuda_conv_cfg &cfg, int64_t most_bytes);
void nn_cuda_windows_free(nn_cuda_windows *w);
size_t nn_cuda_windows_work(const nn_cuda_windows *w); // 0 for NULL
MN_MUST_CHECK mn_err nn_cuda_windows_run(nn_cuda_windows *w, const void *first, const void *second, void *made,
                                         void *work, void *stream);

#endif
