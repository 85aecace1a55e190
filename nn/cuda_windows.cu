#include "nn/cuda_windows.h"

#include "nn/cuda_gemm.h"
#include "nn/cuda_wide.h"

extern "C" {
#include "nn/base/mem.h"
}

#include <stdlib.h>

enum { GATHERED_BYTES = 32 << 20, STEP = 64 }; // positions are taken in multiples of STEP: aligned results

// How windows lie: position p of a row sees, through tap j, step (p mul + add + sign j) / div of the same row of the
// source, where that is a whole number and inside.
typedef struct gather_map {
    int64_t first;                           // position, counted over all rows
    unsigned count;                          // positions
    int positions, length, channels, groups; // positions and source steps of a row, channels of the source
    int kernel, mul, add, sign, div;
} gather_map;

struct nn_cuda_windows {
    nn_cuda_conv_cfg cfg;
    gather_map map; // of position 0
    int64_t total, chunk;
    nn_cuda_gemm *whole, *rest; // of `chunk` positions, and of what is left
    size_t at_scratch;
};

// A thread gathers V neighbouring channels, and windows are (kernel, channels); or one value, and windows are
// (channels, kernel), when TAPS_LAST: then the weight (out, kernel, in) is the matrix to multiply by as it lies.
template <class T, int V, bool TAPS_LAST> __global__ static void gather(T *to, const T *from, gather_map m)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned of_group = (unsigned)(m.channels / m.groups / V), per_group = of_group * (unsigned)m.kernel;
    const unsigned window = i / per_group, inside = i % per_group;
    const unsigned position = window / (unsigned)m.groups, group = window % (unsigned)m.groups;
    const unsigned tap = TAPS_LAST ? inside % (unsigned)m.kernel : inside / of_group;
    const unsigned channel = group * of_group + (TAPS_LAST ? inside / (unsigned)m.kernel : inside % of_group);
    const int64_t at = m.first + position, row = at / m.positions;
    const int scaled = (int)(at % m.positions) * m.mul + m.add + (int)tap * m.sign, step = scaled / m.div;
    float value[V];

    if (position >= m.count) return;
    nn_cuda_zero<V>(value);
    if (scaled >= 0 && step * m.div == scaled && step < m.length)
        nn_cuda_read<V>(value, from + (row * m.length + step) * m.channels + channel * V);
    nn_cuda_write<V>(to + (int64_t)i * V, value, 0);
}

template <class T>
static mn_err launch_gather(const gather_map &m, int taps_last, void *to, const void *from, void *stream)
{
    enum { V = 16 / sizeof(T) };
    const int64_t n = (int64_t)m.count * m.channels * m.kernel;

    if (taps_last)
        return NN_LAUNCH((gather<T, 1, true>), nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream, (T *)to,
                         (const T *)from, m);
    if (m.channels / m.groups % V == 0 && nn_cuda_vector<T>(0, to, from, NULL))
        return NN_LAUNCH((gather<T, V, false>), nn_cuda_blocks(n / V, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream,
                         (T *)to, (const T *)from, m);
    return NN_LAUNCH((gather<T, 1, false>), nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream, (T *)to,
                     (const T *)from, m);
}

// --- plan time ---------------------------------------------------------------------------------------------------------
// Elements of the windows of one position.
static int64_t width_of(const nn_cuda_conv_cfg &c)
{
    return c.kernel * (c.pass == NN_CONV_D_X ? c.out : c.in);
}

static gather_map map_of(const nn_cuda_conv_cfg &c)
{
    const int t = (int)c.t, n = (int)nn_cuda_conv_steps(c), stride = (int)c.stride, left = (int)c.left;
    gather_map m = {.positions = n,
                    .length = t,
                    .channels = (int)c.in,
                    .groups = (int)c.groups,
                    .kernel = (int)c.kernel,
                    .mul = stride,
                    .add = -left,
                    .sign = 1,
                    .div = 1};

    if (c.pass != NN_CONV_D_X) return m;
    m.positions = t, m.length = n, m.channels = (int)c.out;
    m.mul = 1, m.add = left, m.sign = -1, m.div = stride;
    return m;
}

// The groups are a batch: their windows lie beside each other, and so do their channels of the result.
static mn_err make_product(nn_cuda_gemm **g, const nn_cuda_conv_cfg &c, int64_t positions)
{
    const int64_t in = c.in / c.groups, out = c.out / c.groups, width = width_of(c), window = width / c.groups;
    nn_cuda_gemm_cfg p = {.m = positions,
                          .n = out,
                          .k = window,
                          .in = c.io,
                          .out = c.io,
                          .b_transposed = 1,
                          .lda = width,
                          .ldc = c.out,
                          .batch = c.groups,
                          .stride_a = window,
                          .stride_b = out * window,
                          .stride_c = out};

    if (c.pass == NN_CONV_D_X) {
        p.n = in;
        p.b_transposed = 0;
        p.ldc = c.in;
        p.stride_b = window * in;
        p.stride_c = in;
    } else if (c.pass == NN_CONV_D_WEIGHT) {
        p = {.m = out,
             .n = window,
             .k = positions,
             .in = c.io,
             .out = MN_F32,
             .a_transposed = 1,
             .lda = c.out,
             .ldb = width,
             .batch = c.groups,
             .stride_a = out,
             .stride_b = window,
             .stride_c = out * window,
             .add = 1};
    }
    return nn_cuda_gemm_new(g, p);
}

static mn_err check_sizes(const nn_cuda_windows *w)
{
    const nn_cuda_conv_cfg &c = w->cfg;
    const int64_t most = (c.t + c.left + c.right) * c.stride;

    if (most < INT32_MAX && w->chunk * width_of(c) < INT32_MAX) return MN_OK;
    return mn_fail(MN_ECONFIG, "a convolution over %lld steps with %lld taps is too long for a GPU", (long long)c.t,
                   (long long)c.kernel);
}

mn_err nn_cuda_windows_new(nn_cuda_windows **out, const nn_cuda_conv_cfg &cfg, int64_t most_bytes)
{
    nn_cuda_windows *w = (nn_cuda_windows *)mn_calloc(1, sizeof *w);
    const int64_t bytes = width_of(cfg) * (int64_t)mn_dtype_size(cfg.io);
    const int64_t fit = (most_bytes ? most_bytes : (int64_t)GATHERED_BYTES) / bytes / STEP * STEP;
    mn_err err;

    w->cfg = cfg;
    w->map = map_of(cfg);
    w->total = cfg.rows * w->map.positions;
    w->chunk = fit > STEP ? fit : (int64_t)STEP;
    if (w->chunk > w->total) w->chunk = w->total;
    w->at_scratch = (size_t)((w->chunk * bytes + 255) / 256 * 256);
    MN_TRY_OUT(err, check_sizes(w));
    MN_TRY_OUT(err, make_product(&w->whole, cfg, w->chunk));
    if (w->total % w->chunk) MN_TRY_OUT(err, make_product(&w->rest, cfg, w->total % w->chunk));
    *out = w;
    return MN_OK;
out:
    nn_cuda_windows_free(w);
    return err;
}

void nn_cuda_windows_free(nn_cuda_windows *w)
{
    if (!w) return;
    nn_cuda_gemm_free(w->whole);
    nn_cuda_gemm_free(w->rest);
    free(w);
}

size_t nn_cuda_windows_work(const nn_cuda_windows *w)
{
    const size_t whole = w ? nn_cuda_gemm_work(w->whole) : 0, rest = w ? nn_cuda_gemm_work(w->rest) : 0;

    return w ? w->at_scratch + (whole > rest ? whole : rest) : 0;
}

// --- running -----------------------------------------------------------------------------------------------------------
// From position `first` on: one gather and one product.
static mn_err run_chunk(nn_cuda_windows *w, int64_t first, const void *operand, const void *other, void *made,
                        void *work, void *stream)
{
    const nn_cuda_conv_cfg &c = w->cfg;
    const int64_t left = w->total - first;
    const size_t element = mn_dtype_size(c.io);
    nn_cuda_gemm *product = left < w->chunk ? w->rest : w->whole;
    nn_cuda_gemm_args args = {.a = work, .b = other, .c = made, .work = (char *)work + w->at_scratch};
    gather_map map = w->map;

    map.first = first;
    map.count = (unsigned)(left < w->chunk ? left : w->chunk);
    MN_TRY(NN_BY_TYPE(c.io, T, launch_gather<T>(map, c.pass == NN_CONV_D_X, work, operand, stream)));
    if (c.pass == NN_CONV_D_WEIGHT) {
        args.a = (const char *)other + (size_t)(first * c.out) * element;
        args.b = work;
    } else {
        args.c = (char *)made + (size_t)(first * (c.pass == NN_CONV_D_X ? c.in : c.out)) * element;
    }
    return nn_cuda_gemm_run(product, args, stream);
}

mn_err nn_cuda_windows_run(nn_cuda_windows *w, const void *first, const void *second, void *made, void *work,
                           void *stream)
{
    const size_t bytes = (size_t)(w->cfg.out * (w->cfg.in / w->cfg.groups) * w->cfg.kernel) * sizeof(float);

    if (w->cfg.pass == NN_CONV_D_WEIGHT)
        MN_TRY(nn_cuda_check(cudaMemsetAsync(made, 0, bytes, (cudaStream_t)stream), "setting a gradient to 0"));
    for (int64_t at = 0; at < w->total; at += w->chunk)
        MN_TRY(run_chunk(w, at, first, second, made, work, stream));
    return MN_OK;
}
