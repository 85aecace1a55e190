// The optimiser's side of the CUDA device (nn_device.adamw, .narrow), and bf16 on its way
// between ranks (.side_narrow, .side_widen).
#ifndef NN_CUDA_OPTIM_H
#define NN_CUDA_OPTIM_H

extern "C" {
#include "nn/device.h"
}

// Norm of all gradients, decision, update: as nn/adamw.c. All addresses in *a are of the device, *a itself is not read
// after the return.
mn_err nn_cuda_adamw(const nn_adamw *a, void *stream);
mn_err nn_cuda_narrow(mn_bf16 *to, const float *from, int64_t n, void *stream);
mn_err nn_cuda_widen(float *to, const mn_bf16 *from, int64_t n, void *stream);

#endif
