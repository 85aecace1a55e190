#include "nn/cuda_wide.h"

struct tanh_of {
    __device__ float operator()(float x, float) const { return tanhf(x); }
};

struct tanh_grad {
    __device__ float operator()(float dy, float y) const { return dy * (1.0f - y * y); }
};

static mn_err forward(const nn_call *c)
{
    int64_t n = mn_count(c->node->in[0]->shape);

    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      nn_cuda_map((T *)c->out[0], (const T *)c->in[0], (const T *)NULL, tanh_of{}, n, 0, c->stream));
}

static mn_err backward(const nn_call *c)
{
    int64_t n = mn_count(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      nn_cuda_map((T *)c->din[0], (const T *)c->dout[0], (const T *)c->out[0], tanh_grad{}, n,
                                  nn_cuda_acc(c, 0), c->stream));
}

extern "C" const nn_kernels nn_cuda_tanh = {forward, backward};
