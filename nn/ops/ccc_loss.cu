// Concordance correlation: blocks of rows by columns. What is computed, and the meaning of the six sums of a column:
// nn/ops/ccc_loss.c.
#include "nn/cuda_loss.h"
#include "nn/ops/attr.h"

enum { SUMS = 6 };

typedef struct agreement {
    double n, mean_x, mean_y, distance, ccc; // distance 0: both sides are constant and equal, no gradient
    double shift;                            // factor of the squared difference of means
} agreement;

__device__ static inline agreement agree(const double *s, int sample)
{
    agreement a = {s[0], 0, 0, 0, 0, 1};

    if (!(a.n > 0)) return a;
    a.mean_x = s[1] / a.n;
    a.mean_y = s[2] / a.n;
    double var_x = s[3] / a.n - a.mean_x * a.mean_x, var_y = s[4] / a.n - a.mean_y * a.mean_y;
    double cov = s[5] / a.n - a.mean_x * a.mean_y, means = a.mean_x - a.mean_y;
    if (sample) a.shift = a.n > 1 ? (a.n - 1) / a.n : 0;
    a.distance = var_x + var_y + a.shift * means * means;
    if (a.distance < 1e-12)
        a.distance = 0;
    else
        a.ccc = 2 * cov / a.distance;
    return a;
}

// Column blockIdx.y of the rows that this block takes.
template <class T>
__global__ static void ccc_sum(double *part, const T *x, const float *target, nn_cuda_weights weights, int64_t rows)
{
    int64_t k = blockIdx.y, n = weights.n;
    double s[SUMS] = {0, 0, 0, 0, 0, 0};

    for (int64_t r = nn_cuda_index(); r < rows; r += (int64_t)gridDim.x * blockDim.x) {
        double w = nn_cuda_weight(weights, r, k);
        if (w == 0) continue;
        double v = (double)(float)x[r * n + k], y = (double)target[r * n + k];
        s[0] += w;
        s[1] += w * v;
        s[2] += w * y;
        s[3] += w * v * v;
        s[4] += w * y * y;
        s[5] += w * v * y;
    }
    nn_cuda_put_sums<SUMS>(part + (blockIdx.x * n + k) * SUMS, s);
}

__global__ static void ccc_value(double *out, const double *sums, int64_t columns, int sample)
{
    double loss = 0;
    for (int64_t k = 0; k < columns; k++)
        loss += 1 - agree(sums + k * SUMS, sample).ccc;
    *out = loss;
}

// dccc/dx_i = 2 w / (n D) ((y_i - mean_y) - ccc (x_i - mean_x + shift (mean_x - mean_y)))
template <class T>
__global__ static void ccc_grad(T *dx, const T *x, const float *target, nn_cuda_weights weights, const double *sums,
                                const double *dout, int64_t count, int sample, int acc)
{
    int64_t i = nn_cuda_index();
    if (i >= count) return;
    int64_t r = i / weights.n, k = i % weights.n;
    double w = nn_cuda_weight(weights, r, k), d = 0;
    agreement a = agree(sums + k * SUMS, sample);

    if (w != 0 && a.distance != 0) {
        double from = (double)(float)x[i] - a.mean_y - (1 - a.shift) * (a.mean_x - a.mean_y);
        d = -*dout * 2 * w / (a.n * a.distance) * (((double)target[i] - a.mean_y) - a.ccc * from);
    }
    nn_cuda_put(dx, i, (float)d, acc);
}

static int is_sample(const nn_call *c)
{
    return ((const ccc_attr *)c->node->attr)->sample != 0;
}

static mn_err sums_forward(const nn_call *c)
{
    mn_shape s = c->node->in[0]->shape;
    dim3 grid(nn_cuda_sum_blocks(mn_rows(s)), (unsigned)mn_last(s));

    MN_TRY(NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH((ccc_sum<T>), grid, NN_CUDA_THREADS, 0, c->stream, (double *)c->work,
                                (const T *)c->in[0], (const float *)c->in[1], nn_cuda_weights_of(c), mn_rows(s))));
    return nn_cuda_finish_sums(c, grid.x, mn_last(s) * SUMS);
}

static mn_err sums_prepare(nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    n->work_bytes = (size_t)(nn_cuda_sum_blocks(mn_rows(s)) * mn_last(s)) * SUMS * sizeof(double);
    return MN_OK;
}

static mn_err loss_forward(const nn_call *c)
{
    return NN_LAUNCH(ccc_value, 1, 1, 0, c->stream, (double *)c->out[0], (const double *)c->in[3],
                     mn_last(c->node->in[0]->shape), is_sample(c));
}

static mn_err loss_backward(const nn_call *c)
{
    int64_t count = mn_count(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH((ccc_grad<T>), nn_cuda_blocks(count, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, c->stream,
                                (T *)c->din[0], (const T *)c->in[0], (const float *)c->in[1], nn_cuda_weights_of(c),
                                (const double *)c->in[3], (const double *)c->dout[0], count, is_sample(c),
                                nn_cuda_acc(c, 0)));
}

extern "C" const nn_kernels nn_cuda_ccc_sums = {sums_forward, NULL, sums_prepare};
extern "C" const nn_kernels nn_cuda_ccc_loss = {loss_forward, loss_backward};
