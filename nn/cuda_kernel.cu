#include "nn/cuda_columns.h"

#include <stdio.h>

mn_err nn_cuda_check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess) return MN_OK;
    (void)cudaGetLastError(); // told here, so that it is not found again after the next launch
    return mn_fail(e == cudaErrorMemoryAllocation ? MN_EMEM : MN_EDEVICE, "%s: CUDA says: %s (%d)", what,
                   cudaGetErrorString(e), (int)e);
}

mn_err nn_cuda_allow_shared(const void *kernel, size_t bytes, const char *what)
{
    struct cudaFuncAttributes now;

    MN_TRY(nn_cuda_check(cudaFuncGetAttributes(&now, kernel), what));
    if (bytes <= (size_t)now.maxDynamicSharedSizeBytes) return MN_OK;
    return nn_cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), what);
}

mn_err nn_cuda_no_gradient(const nn_call *c, int *none)
{
    *none = c->dout[0] == NULL;
    for (int k = 0; k < c->node->n_in && *none; k++) {
        const nn_tensor *t = c->node->in[k];
        if (!c->din[k] || nn_cuda_acc(c, k)) continue;
        // Gradients of parameters are f32, whatever the kernels read.
        size_t size = mn_dtype_size(t->param ? MN_F32 : t->dtype);
        MN_TRY(nn_cuda_check(cudaMemsetAsync(c->din[k], 0, (size_t)mn_count(t->shape) * size, (cudaStream_t)c->stream),
                             "setting a gradient to 0"));
    }
    return MN_OK;
}

mn_err nn_cuda_add_blocks(float *y, const float *part, int64_t blocks, int64_t stride, int64_t n, int acc, void *stream)
{
    nn_cuda_outs<float> out = {{y, NULL}, {acc, 0}};
    return nn_cuda_finish(part, blocks, stride, n, out, stream);
}
