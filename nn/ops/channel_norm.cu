// Each channel of each row of the batch normalised over time. Time is long (32,000 frames for 10 s of sound), so it is
// cut into ranges over the grid: forward reads x twice and writes y, backward reads x and dy twice and writes dx. Sums
// are of differences from the channel's first frame, in f32 over the few frames of a thread and in f64 from there on.
#include "nn/cuda_columns.h"
#include "nn/ops/attr.h"

enum { RUN = 32 }; // frames of a thread that are summed in f32

typedef struct channels {
    int64_t batch, frames, n;
    int64_t ranges; // of time
    float eps;
} channels;

template <class T> struct channel_rows {
    T *to;
    const T *x, *dy;
    float *stats; // (B, 2, C): mean, 1 / standard deviation
    const float *gain, *bias;
    double *part; // (B, ranges, 2, C)
    float *mean;  // (B, 2, C): of dy, of dy times the normalised value
    int acc;
};

// Blocks: x columns, y range of time, z rows of the batch.
struct channel_site {
    int64_t b, k, at, end; // first frame of this thread and end of its range
};

template <int V> __device__ static inline channel_site site_of(const channels &d, int64_t b)
{
    nn_cuda_range r = nn_cuda_rows_of(d.frames);
    return {b, nn_cuda_sum_column<V>(), r.at, r.end};
}

template <int V> __device__ static inline void widen(double *y, const float *x)
{
    NN_UNROLL
    for (int i = 0; i < V; i++)
        y[i] = (double)x[i];
}

// Sums over a range of time, of at most RUN frames for a thread. Forward: of the differences from the first frame and
// their squares. BACK: of dy and of dy times the normalised value.
template <class T, int V, int BACK> __global__ static void channel_sums(channels d, channel_rows<T> a)
{
    for (int64_t b = blockIdx.z; b < d.batch; b += gridDim.z) {
        channel_site s = site_of<V>(d, b);
        const T *x = a.x + b * d.frames * d.n + s.k, *dy = a.dy + b * d.frames * d.n + s.k;
        double *part = a.part + (b * gridDim.y + blockIdx.y) * 2 * d.n, sum[V];
        float from[V], scale[V], u[V], v[V], p[V], q[V];
        nn_cuda_zero<V>(p);
        nn_cuda_zero<V>(q);
        if (s.k < d.n && BACK) {
            nn_cuda_read<V>(from, a.stats + b * 2 * d.n + s.k);
            nn_cuda_read<V>(scale, a.stats + b * 2 * d.n + d.n + s.k);
        } else if (s.k < d.n) {
            nn_cuda_read<V>(from, x);
        }
        for (; s.at < s.end && s.k < d.n; s.at += blockDim.y) {
            nn_cuda_read<V>(u, x + s.at * d.n);
            if (BACK) nn_cuda_read<V>(v, dy + s.at * d.n);
            NN_UNROLL
            for (int i = 0; i < V; i++) {
                float e = u[i] - from[i];
                p[i] += BACK ? v[i] : e;
                q[i] += BACK ? v[i] * (e * scale[i]) : e * e;
            }
        }
        widen<V>(sum, p);
        nn_cuda_put_part<V>(part, sum, s.k, d.n);
        widen<V>(sum, q);
        nn_cuda_put_part<V>(part + d.n, sum, s.k, d.n);
    }
}

// Mean and 1 / standard deviation of 32 channels of row blockIdx.y of the batch.
template <class T>
__global__ __launch_bounds__(NN_CUDA_FINISH *NN_CUDA_FINISH) static void channel_stats(channels d, channel_rows<T> a)
{
    int64_t i = (int64_t)blockIdx.x * NN_CUDA_FINISH + threadIdx.x, at = i < d.n ? i : -1;

    for (int64_t b = blockIdx.y; b < d.batch; b += gridDim.y) {
        const double *part = a.part + b * d.ranges * 2 * d.n;
        double sum = nn_cuda_add_parts(part, d.ranges, 2 * d.n, at) / (double)d.frames;
        double square = nn_cuda_add_parts(part + d.n, d.ranges, 2 * d.n, at) / (double)d.frames;
        if (threadIdx.y != 0 || at < 0) continue;
        double var = square - sum * sum, first = (double)(float)a.x[b * d.frames * d.n + i];
        a.stats[b * 2 * d.n + i] = (float)(first + sum);
        a.stats[b * 2 * d.n + d.n + i] = (float)(1.0 / sqrt((var > 0 ? var : 0) + (double)d.eps));
    }
}

// The sums over time of every row of the batch: their means for dx, and added over the batch for gain and bias.
template <class T>
__global__ __launch_bounds__(NN_CUDA_FINISH *NN_CUDA_FINISH) static void channel_totals(channels d, channel_rows<T> a,
                                                                                        nn_cuda_outs<float> out)
{
    int64_t i = (int64_t)blockIdx.x * NN_CUDA_FINISH + threadIdx.x, at = i < d.n ? i : -1;
    int64_t which = blockIdx.y; // 0: dy; 1: dy times the normalised value
    double total = 0;

    for (int64_t b = 0; b < d.batch; b++) {
        double sum = nn_cuda_add_parts(a.part + b * d.ranges * 2 * d.n + which * d.n, d.ranges, 2 * d.n, at);
        if (threadIdx.y == 0 && at >= 0) a.mean[b * 2 * d.n + which * d.n + i] = (float)(sum / (double)d.frames);
        total += sum;
    }
    float *y = which ? out.y[0] : out.y[1];
    int acc = which ? out.acc[0] : out.acc[1];
    if (threadIdx.y == 0 && at >= 0 && y) y[i] = (float)((acc ? (double)y[i] : 0) + total);
}

// y = (x - mean) rstd gain + bias, or dx = gain rstd (dy - mean(dy) - xh mean(dy xh)).
template <class T, int V, int BACK> __global__ static void channel_apply(channels d, channel_rows<T> a)
{
    for (int64_t b = blockIdx.z; b < d.batch; b += gridDim.z) {
        channel_site s = site_of<V>(d, b);
        float mean[V], rstd[V], gain[V], p[V], q[V], u[V], v[V];
        const float *stats = a.stats + b * 2 * d.n + s.k, *means = a.mean + b * 2 * d.n + s.k;
        if (s.k >= d.n) continue;
        nn_cuda_read<V>(mean, stats);
        nn_cuda_read<V>(rstd, stats + d.n);
        nn_cuda_read<V>(gain, a.gain + s.k);
        nn_cuda_read<V>(p, BACK ? means : a.bias + s.k);
        if (BACK) nn_cuda_read<V>(q, means + d.n);
        for (; s.at < s.end; s.at += blockDim.y) {
            int64_t at = (b * d.frames + s.at) * d.n + s.k;
            nn_cuda_read<V>(u, a.x + at);
            if (BACK) nn_cuda_read<V>(v, a.dy + at);
            NN_UNROLL
            for (int i = 0; i < V; i++) {
                float xh = (u[i] - mean[i]) * rstd[i];
                u[i] = BACK ? gain[i] * rstd[i] * (v[i] - p[i] - xh * q[i]) : xh * gain[i] + p[i];
            }
            nn_cuda_write<V>(a.to + at, u, a.acc);
        }
    }
}

// --- launches ----------------------------------------------------------------------------------------------------------
typedef struct channel_plan {
    channels d;
    nn_cuda_shape sums; // blocks of channel_sums and channel_apply
    int wide;           // V > 1
} channel_plan;

static channel_plan plan_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    channel_plan p = {{s.d[0], s.d[1], s.d[2], 0, ((const channel_norm_attr *)n->attr)->eps}, {}, 0};
    int each = n->in[0]->dtype == MN_BF16 ? 8 : 4;

    p.wide = p.d.n % each == 0;
    p.sums = nn_cuda_column_shape(p.d.frames, p.d.n, p.wide ? each : 1);
    p.sums.grid.y = nn_cuda_blocks(p.d.frames, (int64_t)RUN * p.sums.block.y);
    p.sums.grid.z = (unsigned)(p.d.batch < 1024 ? p.d.batch : 1024);
    p.d.ranges = p.sums.grid.y;
    return p;
}

template <class T> static channel_rows<T> rows_of(const nn_call *c, const channel_plan &p)
{
    channel_rows<T> a = {};

    a.x = (const T *)c->in[0];
    a.dy = a.x; // forward reads none
    a.stats = (float *)c->out[1];
    a.gain = (const float *)c->in[1];
    a.bias = (const float *)c->in[2];
    a.part = (double *)c->work;
    a.mean = (float *)(a.part + p.d.batch * p.d.ranges * 2 * p.d.n);
    return a;
}

static dim3 finish_block()
{
    return dim3(NN_CUDA_FINISH, NN_CUDA_FINISH);
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, const channel_plan &p)
{
    channel_rows<T> a = rows_of<T>(c, p);
    dim3 finish(nn_cuda_blocks(p.d.n, NN_CUDA_FINISH), p.sums.grid.z);

    a.to = (T *)c->out[0];
    MN_TRY(NN_LAUNCH((channel_sums<T, V, 0>), p.sums.grid, p.sums.block, 0, c->stream, p.d, a));
    MN_TRY(NN_LAUNCH((channel_stats<T>), finish, finish_block(), 0, c->stream, p.d, a));
    return NN_LAUNCH((channel_apply<T, V, 0>), p.sums.grid, p.sums.block, 0, c->stream, p.d, a);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, const channel_plan &p)
{
    channel_rows<T> a = rows_of<T>(c, p);
    dim3 finish(nn_cuda_blocks(p.d.n, NN_CUDA_FINISH), 2);
    nn_cuda_outs<float> out = {{(float *)c->din[1], (float *)c->din[2]}, {nn_cuda_acc(c, 1), nn_cuda_acc(c, 2)}};

    a.to = (T *)c->din[0];
    a.dy = (const T *)c->dout[0];
    a.acc = nn_cuda_acc(c, 0);
    MN_TRY(NN_LAUNCH((channel_sums<T, V, 1>), p.sums.grid, p.sums.block, 0, c->stream, p.d, a));
    MN_TRY(NN_LAUNCH((channel_totals<T>), finish, finish_block(), 0, c->stream, p.d, a, out));
    if (!a.to) return MN_OK;
    return NN_LAUNCH((channel_apply<T, V, 1>), p.sums.grid, p.sums.block, 0, c->stream, p.d, a);
}

static mn_err forward(const nn_call *c)
{
    channel_plan p = plan_of(c->node);
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(p.wide, T, V, launch_forward<T, V>(c, p)));
}

static mn_err backward(const nn_call *c)
{
    channel_plan p = plan_of(c->node);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T, NN_BY_WIDTH(p.wide, T, V, launch_backward<T, V>(c, p)));
}

static mn_err prepare(nn_node *n)
{
    channel_plan p = plan_of(n);
    n->work_bytes =
        (size_t)(p.d.batch * p.d.ranges * 2 * p.d.n) * sizeof(double) + (size_t)(p.d.batch * 2 * p.d.n) * sizeof(float);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_channel_norm = {forward, backward, prepare};
