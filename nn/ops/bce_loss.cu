// Binary cross entropy from logits, a thread for each element. What is computed: nn/ops/bce_loss.c.
#include "nn/cuda_loss.h"

template <class T>
__global__ static void bce_sum(double *part, const T *x, const float *target, nn_cuda_weights weights, int64_t count)
{
    double sums[2] = {0, 0};

    for (int64_t i = nn_cuda_index(); i < count; i += (int64_t)gridDim.x * blockDim.x) {
        double w = nn_cuda_weight(weights, i / weights.n, i % weights.n), z = (double)(float)x[i];
        if (w == 0) continue;
        sums[0] += w * (fmax(z, 0.0) - z * (double)target[i] + log1p(exp(-fabs(z))));
        sums[1] += w;
    }
    nn_cuda_put_sums<2>(part + blockIdx.x * 2, sums);
}

// dL/dz = w (sigmoid(z) - y) / sum of weights
template <class T>
__global__ static void bce_grad(T *dx, const T *x, const float *target, nn_cuda_weights weights, const double *sums,
                                const double *dout, int64_t count, int acc)
{
    int64_t i = nn_cuda_index();
    if (i >= count) return;
    double w = nn_cuda_weight(weights, i / weights.n, i % weights.n), d = 0;

    if (w != 0 && sums[1] > 0) d = *dout * w / sums[1] * (1 / (1 + exp(-(double)(float)x[i])) - (double)target[i]);
    nn_cuda_put(dx, i, (float)d, acc);
}

static mn_err sums_forward(const nn_call *c)
{
    int64_t count = mn_count(c->node->in[0]->shape);
    unsigned blocks = nn_cuda_sum_blocks(count);

    MN_TRY(NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH((bce_sum<T>), blocks, NN_CUDA_THREADS, 0, c->stream, (double *)c->work,
                                (const T *)c->in[0], (const float *)c->in[1], nn_cuda_weights_of(c), count)));
    return nn_cuda_finish_sums(c, blocks, 2);
}

static mn_err sums_prepare(nn_node *n)
{
    n->work_bytes = (size_t)nn_cuda_sum_blocks(mn_count(n->in[0]->shape)) * 2 * sizeof(double);
    return MN_OK;
}

static mn_err loss_forward(const nn_call *c)
{
    return NN_LAUNCH(nn_cuda_mean_kernel<double>, 1, 1, 0, c->stream, (double *)c->out[0], (const double *)c->in[3]);
}

static mn_err loss_backward(const nn_call *c)
{
    int64_t count = mn_count(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH((bce_grad<T>), nn_cuda_blocks(count, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, c->stream,
                                (T *)c->din[0], (const T *)c->in[0], (const float *)c->in[1], nn_cuda_weights_of(c),
                                (const double *)c->in[3], (const double *)c->dout[0], count, nn_cuda_acc(c, 0)));
}

extern "C" const nn_kernels nn_cuda_bce_sums = {sums_forward, NULL, sums_prepare};
extern "C" const nn_kernels nn_cuda_bce_loss = {loss_forward, loss_backward};
