// w[., k] = g[k] v[., k] / ||v[., k]|| and its gradients: nn/ops/weight_norm.c has the formulas. Three kernels each way:
// sums over the rows of each tap in ranges, from them a factor for each tap, then one pass over the weight. The sums of
// the ranges are added in fp64, as on the CPU.
#include "nn/cuda_wide.h"
#include "nn/ops/attr.h"

enum { DIRECTION, SIZE };
enum { WARPS = NN_CUDA_THREADS / 32, MOST_RANGES = 128, V = 8 };

static int64_t ranges_of(int64_t rows)
{
    const int64_t most = (rows + WARPS - 1) / WARPS;

    return most < MOST_RANGES ? most : (int64_t)MOST_RANGES;
}

// A block takes 32 taps of one range of rows; squares[range][tap] = sum v v, and dots[range][tap] = sum dw v unless dw
// is NULL.
template <class T>
__global__ static void __launch_bounds__(NN_CUDA_THREADS)
    tap_sums(float *squares, float *dots, const float *v, const T *dw, int64_t rows, int64_t taps)
{
    __shared__ float partial[2][WARPS][32];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int64_t tap = (int64_t)blockIdx.x * 32 + lane;
    const int64_t first = rows * blockIdx.y / gridDim.y, last = rows * (blockIdx.y + 1) / gridDim.y;
    float square = 0, dot = 0;

    for (int64_t r = first + warp; r < last && tap < taps; r += WARPS) {
        const float x = v[r * taps + tap];
        square += x * x;
        if (dw) dot += x * (float)dw[r * taps + tap];
    }
    partial[0][warp][lane] = square;
    partial[1][warp][lane] = dot;
    __syncthreads();
    if (warp > 1 || tap >= taps || (warp == 1 && !dw)) return;
    float sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += partial[warp][w][lane];
    (warp ? dots : squares)[(int64_t)blockIdx.y * taps + tap] = sum;
}

__device__ static double sum_ranges(const float *part, int64_t ranges, int64_t taps, int64_t tap)
{
    double sum = 0;

    for (int64_t r = (int)threadIdx.x % 32; r < ranges; r += 32)
        sum += (double)part[r * taps + tap];
    return nn_cuda_warp_sum(sum);
}

// A warp for each tap. w = v scale; backward (dots not NULL): dv = dw scale - v shift, dg (+)= sum(dw v) / ||v||.
__global__ static void tap_factors(float *scale, float *shift, float *dg, const float *g, const float *squares,
                                   const float *dots, int64_t ranges, int64_t taps, int acc)
{
    const int64_t tap = nn_cuda_index() / 32;

    if (tap >= taps) return;
    const double norm = sqrt(sum_ranges(squares, ranges, taps, tap)), inverse = norm > 0 ? 1 / norm : 0;
    const double dot = dots ? sum_ranges(dots, ranges, taps, tap) : 0;
    if (threadIdx.x % 32 > 0) return;
    scale[tap] = (float)((double)g[tap] * inverse);
    if (!dots) return;
    shift[tap] = (float)((double)g[tap] * inverse * inverse * inverse * dot);
    if (dg) nn_cuda_put(dg, tap, (float)(dot * inverse), acc);
}

// y (+)= a scale - v shift; without shift, of a alone. N values of one row a thread.
template <int N, class Y, class A>
__global__ static void apply(Y *y, const A *a, const float *v, const float *scale, const float *shift, int64_t n,
                             int64_t taps, int acc)
{
    const int64_t at = nn_cuda_index() * N, tap = at % taps;
    float value[N], direction[N];

    if (at >= n) return;
    nn_cuda_read<N>(value, a + at);
    if (shift) nn_cuda_read<N>(direction, v + at);
    NN_UNROLL
    for (int k = 0; k < N; k++)
        value[k] = value[k] * scale[tap + k] - (shift ? direction[k] * shift[tap + k] : 0);
    nn_cuda_write<N>(y + at, value, acc);
}

template <class Y, class A>
static mn_err launch_apply(const nn_call *c, void *y, const void *a, const float *scale, const float *shift, int acc)
{
    const mn_shape s = c->node->in[DIRECTION]->shape;
    const int64_t n = mn_count(s), taps = mn_last(s);
    const float *v = (const float *)c->in[DIRECTION];

    return taps % V == 0 ? NN_LAUNCH((apply<V, Y, A>), nn_cuda_blocks(n / V, NN_CUDA_THREADS), NN_CUDA_THREADS, 0,
                                     c->stream, (Y *)y, (const A *)a, v, scale, shift, n, taps, acc)
                         : NN_LAUNCH((apply<1, Y, A>), nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0,
                                     c->stream, (Y *)y, (const A *)a, v, scale, shift, n, taps, acc);
}

// Workspace: squares, dots, scale, shift.
static float *work_at(const nn_call *c, int which)
{
    const mn_shape v = c->node->in[DIRECTION]->shape;
    const int64_t taps = mn_last(v), ranges = ranges_of(mn_rows(v));

    return (float *)c->work + taps * (which < 2 ? which * ranges : 2 * ranges + which - 2);
}

// The two kernels before the last.
static mn_err factors(const nn_call *c, const void *dw)
{
    const mn_shape v = c->node->in[DIRECTION]->shape;
    const int64_t taps = mn_last(v), rows = mn_rows(v), ranges = ranges_of(rows);
    float *squares = work_at(c, 0), *dots = work_at(c, 1), *scale = work_at(c, 2), *shift = work_at(c, 3);
    float *dg = dw ? (float *)c->din[SIZE] : NULL;
    const dim3 grid(nn_cuda_blocks(taps, 32), (unsigned)ranges);

    MN_TRY(NN_BY_TYPE(c->node->out[0]->dtype, T,
                      NN_LAUNCH(tap_sums<T>, grid, NN_CUDA_THREADS, 0, c->stream, squares, dots,
                                (const float *)c->in[DIRECTION], (const T *)dw, rows, taps)));
    if (!dw) dots = NULL;
    return NN_LAUNCH(tap_factors, nn_cuda_blocks(taps, WARPS), NN_CUDA_THREADS, 0, c->stream, scale, shift, dg,
                     (const float *)c->in[SIZE], squares, dots, ranges, taps, dg ? nn_cuda_acc(c, SIZE) : 0);
}

static mn_err forward(const nn_call *c)
{
    MN_TRY(factors(c, NULL));
    return NN_BY_TYPE(c->node->out[0]->dtype, T,
                      launch_apply<T, float>(c, c->out[0], c->in[DIRECTION], work_at(c, 2), NULL, 0));
}

static mn_err backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    MN_TRY(factors(c, c->dout[0]));
    if (!c->din[DIRECTION]) return MN_OK;
    return NN_BY_TYPE(c->node->out[0]->dtype, T,
                      launch_apply<float, T>(c, c->din[DIRECTION], c->dout[0], work_at(c, 2), work_at(c, 3),
                                             nn_cuda_acc(c, DIRECTION)));
}

static mn_err prepare(nn_node *n)
{
    const mn_shape v = n->in[DIRECTION]->shape;
    const int64_t taps = mn_last(v);

    n->work_bytes = (size_t)(2 * taps * (ranges_of(mn_rows(v)) + 1)) * sizeof(float);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_weight_norm = {forward, backward, prepare};
