// AdamW in three kernels, a block for each chunk of the table: sums of squares (4 bytes an element), the decision (one
// block), and the update (16 bytes read, 12 or, with bf16 work weights, 14 written). The host learns of the decision
// from the result, later.
#include "nn/cuda_optim.h"

#include "nn/cuda_wide.h"

// What the decision leaves for the update, behind the sums of the chunks.
typedef struct adamw_step {
    double update, grad, first, root; // 0 or 1; scale of the gradients; 1 - beta1^t; 1 / sqrt(1 - beta2^t)
} adamw_step;
static_assert(sizeof(adamw_step) <= NN_ADAMW_SCRATCH * sizeof(double), "scratch of the optimiser");

__device__ static inline adamw_step *step_of(const nn_adamw &a)
{
    return (adamw_step *)(a.square + a.n_chunks);
}

// Chunks start at multiples of 16 elements; the last access of one may be short.
__global__ __launch_bounds__(NN_CUDA_THREADS) static void adamw_squares(nn_adamw a)
{
    __shared__ double tmp[32];
    nn_adamw_chunk c = a.chunk[blockIdx.x];
    const float *g = a.grad + c.offset;
    double sum = 0;

    for (int64_t i = 4 * threadIdx.x; i < c.count; i += 4 * NN_CUDA_THREADS) {
        if (i + 4 <= c.count) {
            float v[4];
            nn_cuda_read<4>(v, g + i);
            NN_UNROLL
            for (int k = 0; k < 4; k++)
                sum += (double)v[k] * (double)v[k];
        } else {
            for (int64_t k = i; k < c.count; k++)
                sum += (double)g[k] * (double)g[k];
        }
    }
    sum = nn_cuda_block_sum(sum, tmp);
    if (threadIdx.x == 0) a.square[blockIdx.x] = sum;
}

// As nn/adamw.c decides: a loss or norm that is not finite changes nothing and is not counted.
__device__ static void decide(const nn_adamw &a, double norm)
{
    double scale = a.args->grad_scale != 0 ? a.args->grad_scale : 1, clip = a.args->clip;
    nn_optim_result *r = a.result;
    adamw_step *s = step_of(a);

    r->loss = a.loss ? *a.loss : (double)NAN;
    r->grad_norm = norm * scale;
    r->skipped = !isfinite(r->grad_norm) || (a.loss && !isfinite(r->loss));
    s->update = r->skipped ? 0 : 1;
    if (r->skipped) return;
    if (clip > 0 && r->grad_norm > clip) scale *= clip / (r->grad_norm + 1e-6);
    double t = (double)++r->updates;
    s->grad = scale;
    s->first = 1 - pow(a.beta1, t);
    s->root = 1 / sqrt(1 - pow(a.beta2, t));
}

__global__ __launch_bounds__(1024) static void adamw_decide(nn_adamw a)
{
    __shared__ double tmp[32];
    double sum = 0;

    for (int64_t k = threadIdx.x; k < a.n_chunks; k += blockDim.x)
        sum += a.square[k];
    sum = nn_cuda_block_sum(sum, tmp);
    if (threadIdx.x == 0) decide(a, sqrt(sum));
}

typedef struct adamw_factors {
    float grad;           // scale of the gradients
    float m, v, keep_v;   // 1 - beta1, 1 - beta2, beta2
    float root, eps;      // 1 / sqrt(1 - beta2^t)
    float keep_w, step_w; // 1 - lr decay, lr / (1 - beta1^t)
} adamw_factors;

// Loshchilov and Hutter 2019, algorithm 2, in the order of operations of torch.optim.AdamW.
__device__ static inline void adamw_element(const adamw_factors &f, float g, float *w, float *m, float *v)
{
    float grad = g * f.grad;
    *m += (grad - *m) * f.m;
    *v = *v * f.keep_v + grad * grad * f.v;
    *w = *w * f.keep_w - f.step_w * *m / (sqrtf(*v) * f.root + f.eps);
}

// Four work weights, 8 bytes at once.
__device__ static inline void put_narrow(nn_bf16 *y, const float *f)
{
    struct alignas(8) {
        __nv_bfloat162 v[2];
    } p = {{__floats2bfloat162_rn(f[0], f[1]), __floats2bfloat162_rn(f[2], f[3])}};
    *(uint2 *)y = *(const uint2 *)&p;
}
__device__ static inline void put_narrow(nn_bf16 *y, float f)
{
    *y = (nn_bf16)f;
}

// V elements from `at` on, and as many for each further part, `apart` from one to the next. All parts are read before any
// is written, so that more is on its way.
template <int V, int PARTS>
__device__ static inline void adamw_elements(const nn_adamw &a, const adamw_factors &f, int64_t at, int apart)
{
    float g[PARTS][V], w[PARTS][V], m[PARTS][V], v[PARTS][V];

    NN_UNROLL
    for (int p = 0; p < PARTS; p++) {
        nn_cuda_read<V>(g[p], a.grad + at + p * apart);
        nn_cuda_read<V>(w[p], a.master + at + p * apart);
        nn_cuda_read<V>(m[p], a.m + at + p * apart);
        nn_cuda_read<V>(v[p], a.v + at + p * apart);
    }
    NN_UNROLL
    for (int p = 0; p < PARTS; p++) {
        NN_UNROLL
        for (int k = 0; k < V; k++)
            adamw_element(f, g[p][k], &w[p][k], &m[p][k], &v[p][k]);
        nn_cuda_write<V>(a.master + at + p * apart, w[p], 0);
        nn_cuda_write<V>(a.m + at + p * apart, m[p], 0);
        nn_cuda_write<V>(a.v + at + p * apart, v[p], 0);
        if (a.work == (void *)a.master) continue;
        if constexpr (V == 4)
            put_narrow((nn_bf16 *)a.work + at + p * apart, w[p]);
        else
            put_narrow((nn_bf16 *)a.work + at + p * apart, w[p][0]);
    }
}

__global__ __launch_bounds__(NN_CUDA_THREADS) static void adamw_update(nn_adamw a)
{
    constexpr int V = nn_cuda_vec<float>::N, ROUND = V * NN_CUDA_THREADS;
    nn_adamw_chunk c = a.chunk[blockIdx.x];
    adamw_step s = *step_of(a);
    double lr = a.args->lr * c.lr_scale;

    if (s.update == 0) return;
    adamw_factors f = {(float)s.grad, (float)(1 - a.beta1), (float)(1 - a.beta2),      (float)a.beta2,
                       (float)s.root, (float)a.eps,         (float)(1 - lr * c.decay), (float)(lr / s.first)};
    int64_t i = V * (int64_t)threadIdx.x;
    for (; i + ROUND + V <= c.count; i += 2 * ROUND)
        adamw_elements<V, 2>(a, f, c.offset + i, ROUND);
    for (; i + V <= c.count; i += ROUND)
        adamw_elements<V, 1>(a, f, c.offset + i, 0);
    for (; i < c.count; i++)
        adamw_elements<1, 1>(a, f, c.offset + i, 0);
}

mn_err nn_cuda_adamw(const nn_adamw *a, void *stream)
{
    unsigned chunks = (unsigned)a->n_chunks;

    if (chunks) MN_TRY(NN_LAUNCH(adamw_squares, chunks, NN_CUDA_THREADS, 0, stream, *a));
    MN_TRY(NN_LAUNCH(adamw_decide, 1, 1024, 0, stream, *a));
    return chunks ? NN_LAUNCH(adamw_update, chunks, NN_CUDA_THREADS, 0, stream, *a) : MN_OK;
}

// --- to bf16 and back -------------------------------------------------------------------------------------------------
// 4 bytes read and 2 written an element, or the other way round: 8 elements a thread.
template <typename To, typename From> __device__ static void convert(To *to, const From *from, int64_t n)
{
    constexpr int V = nn_cuda_vec<nn_bf16>::N;
    int64_t at = nn_cuda_index() * V;

    if (at + V <= n) {
        float v[V];
        nn_cuda_read<V>(v, from + at);
        nn_cuda_write<V>(to + at, v, 0);
    } else {
        for (; at < n; at++)
            to[at] = (To)from[at];
    }
}

__global__ static void narrow(nn_bf16 *to, const float *from, int64_t n)
{
    convert(to, from, n);
}

__global__ static void widen(float *to, const nn_bf16 *from, int64_t n)
{
    convert(to, from, n);
}

mn_err nn_cuda_narrow(mn_bf16 *to, const float *from, int64_t n, void *stream)
{
    return NN_LAUNCH(narrow, nn_cuda_blocks(n, (int64_t)NN_CUDA_THREADS * 8), NN_CUDA_THREADS, 0, stream, (nn_bf16 *)to,
                     from, n);
}

mn_err nn_cuda_widen(float *to, const mn_bf16 *from, int64_t n, void *stream)
{
    return NN_LAUNCH(widen, nn_cuda_blocks(n, (int64_t)NN_CUDA_THREADS * 8), NN_CUDA_THREADS, 0, stream, to,
                     (const nn_bf16 *)from, n);
}
