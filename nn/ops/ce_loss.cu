// Cross entropy, a warp for each row of classes. What is computed: nn/ops/ce_loss.c.
#include "nn/cuda_loss.h"

extern "C" {
#include "nn/ops.h"
}

enum { WARPS = NN_CUDA_THREADS / 32 };

template <class T> struct ce_rows {
    const T *z;
    const float *target, *weight; // (rows, n); (rows) or NULL
    int64_t rows, n;
    int weighted; // by class
    nn_ce_cfg cfg;
};

template <class T> __device__ static inline double class_weight(const ce_rows<T> &a, int64_t k)
{
    return a.weighted ? (double)a.cfg.class_weight[k] : 1;
}

// Weight of class k times its smoothed target.
template <class T> __device__ static inline double smoothed(const ce_rows<T> &a, int64_t r, int64_t k)
{
    double smooth = (double)a.cfg.smoothing;
    return class_weight(a, k) * ((1 - smooth) * (double)a.target[r * a.n + k] + smooth / (double)a.n);
}

// log sum exp over a row, by a warp, the same in every lane.
template <class T> __device__ static inline double log_sum_exp(const T *z, int64_t n)
{
    int lane = (int)threadIdx.x % 32;
    float top = -INFINITY;
    double sum = 0;

    for (int64_t k = lane; k < n; k += 32)
        top = fmaxf(top, (float)z[k]);
    top = nn_cuda_warp_max(top);
    for (int64_t k = lane; k < n; k += 32)
        sum += exp((double)(float)z[k] - (double)top);
    return (double)top + log(nn_cuda_warp_sum(sum));
}

template <class T> __global__ static void ce_sum_rows(double *part, ce_rows<T> a)
{
    int lane = (int)threadIdx.x % 32;
    double sums[2] = {0, 0};

    for (int64_t r = nn_cuda_index() / 32; r < a.rows; r += (int64_t)gridDim.x * WARPS) {
        double w = a.weight ? (double)a.weight[r] : 1;
        if (w == 0) continue;
        double lse = log_sum_exp(a.z + r * a.n, a.n);
        for (int64_t k = lane; k < a.n; k += 32) {
            double t = smoothed(a, r, k);
            if (t != 0) sums[0] += w * t * (lse - (double)(float)a.z[r * a.n + k]);
            sums[1] += w * class_weight(a, k) * (double)a.target[r * a.n + k];
        }
    }
    nn_cuda_put_sums<2>(part + blockIdx.x * 2, sums);
}

// dL/dz_k = w (p_k sum_c W_c t'_c - W_k t'_k) / denominator
template <class T>
__global__ static void ce_grad_rows(T *dz, ce_rows<T> a, const double *sums, const double *dout, int acc)
{
    int lane = (int)threadIdx.x % 32;

    for (int64_t r = nn_cuda_index() / 32; r < a.rows; r += (int64_t)gridDim.x * WARPS) {
        double w = a.weight ? (double)a.weight[r] : 1, mass = 0;
        int none = w == 0 || !(sums[1] > 0);
        double lse = none ? 0 : log_sum_exp(a.z + r * a.n, a.n), factor = none ? 0 : *dout * w / sums[1];
        for (int64_t k = lane; k < a.n && !none; k += 32)
            mass += smoothed(a, r, k);
        mass = nn_cuda_warp_sum(mass);
        for (int64_t k = lane; k < a.n; k += 32) {
            int64_t at = r * a.n + k;
            double d = none ? 0 : factor * (exp((double)(float)a.z[at] - lse) * mass - smoothed(a, r, k));
            nn_cuda_put(dz, at, (float)d, acc);
        }
    }
}

template <class T> static ce_rows<T> rows_of(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape;
    ce_rows<T> a = {(const T *)c->in[0],
                    (const float *)c->in[1],
                    (const float *)c->in[2],
                    mn_rows(s),
                    mn_last(s),
                    0,
                    *(const nn_ce_cfg *)c->node->attr};
    for (size_t i = 0; i < sizeof a.cfg.class_weight / sizeof *a.cfg.class_weight; i++)
        a.weighted |= a.cfg.class_weight[i] != 0;
    return a;
}

static unsigned blocks_of(const nn_node *n)
{
    return nn_cuda_sum_blocks(mn_rows(n->in[0]->shape) * 32);
}

static mn_err sums_forward(const nn_call *c)
{
    unsigned blocks = blocks_of(c->node);

    MN_TRY(NN_BY_TYPE(
        c->node->in[0]->dtype, T,
        NN_LAUNCH((ce_sum_rows<T>), blocks, NN_CUDA_THREADS, 0, c->stream, (double *)c->work, rows_of<T>(c))));
    return nn_cuda_finish_sums(c, blocks, 2);
}

static mn_err sums_prepare(nn_node *n)
{
    n->work_bytes = (size_t)blocks_of(n) * 2 * sizeof(double);
    return MN_OK;
}

static mn_err loss_forward(const nn_call *c)
{
    return NN_LAUNCH(nn_cuda_mean_kernel<double>, 1, 1, 0, c->stream, (double *)c->out[0], (const double *)c->in[3]);
}

static mn_err loss_backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH((ce_grad_rows<T>), blocks_of(c->node), NN_CUDA_THREADS, 0, c->stream, (T *)c->din[0],
                                rows_of<T>(c), (const double *)c->in[3], (const double *)c->dout[0],
                                nn_cuda_acc(c, 0)));
}

extern "C" const nn_kernels nn_cuda_ce_sums = {sums_forward, NULL, sums_prepare};
extern "C" const nn_kernels nn_cuda_ce_loss = {loss_forward, loss_backward};
