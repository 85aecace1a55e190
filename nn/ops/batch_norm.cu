// Batch norm as three nodes (nn/ops/batch_norm.c): the sums, their sum over ranks, the normalisation. Sums are f64 from
// the first addition on, because the variance is a difference of them. Rows of weight 0 are not read.
#include "nn/cuda_columns.h"
#include "nn/ops/attr.h"

enum { X, WEIGHT, GAIN, BIAS, RUNNING_MEAN, RUNNING_VAR, SUMS };

// Rows of n channels, V a thread where wide, and the blocks for sums over them.
typedef struct batch_rows {
    int64_t rows, n;
    const float *weight; // (rows) or NULL
    int wide;
    nn_cuda_shape shape;
} batch_rows;

static batch_rows rows_of(const nn_node *n, const nn_call *c)
{
    mn_shape s = n->in[X]->shape;
    int each = n->in[X]->dtype == MN_BF16 ? 8 : 4;
    batch_rows b = {mn_rows(s), mn_last(s), NULL, 0, {}};

    if (c) b.weight = (const float *)c->in[WEIGHT];
    b.wide = b.n % each == 0;
    b.shape = nn_cuda_column_shape(b.rows, b.n, b.wide ? each : 1);
    return b;
}

template <int V> __device__ static inline void zero_sums(double *a, double *b)
{
    NN_UNROLL
    for (int i = 0; i < V; i++)
        a[i] = b[i] = 0;
}

// --- batch_stats: sums (2C + 1) f64 = [sum w x, sum w x^2, sum w] --------------------------------------------------
template <class T, int V>
__global__ __launch_bounds__(NN_CUDA_THREADS, NN_CUDA_SUM_RESIDENT) static void batch_sums(double *part, const T *x,
                                                                                           batch_rows d)
{
    int64_t k = nn_cuda_sum_column<V>(), stride = 2 * d.n + 1;
    double a[V], b[V], weights = 0;
    float v[V];

    zero_sums<V>(a, b);
    for (nn_cuda_range r = nn_cuda_rows_of(d.rows); r.at < r.end && k < d.n; r.at += blockDim.y) {
        double w = d.weight ? (double)d.weight[r.at] : 1;
        if (w == 0) continue;
        nn_cuda_read<V>(v, x + r.at * d.n + k);
        NN_UNROLL
        for (int i = 0; i < V; i++) {
            a[i] += w * (double)v[i];
            b[i] += w * (double)v[i] * (double)v[i];
        }
        weights += w;
    }
    nn_cuda_put_part<V>(part + blockIdx.y * stride, a, k, d.n);
    nn_cuda_put_part<V>(part + blockIdx.y * stride + d.n, b, k, d.n);
    nn_cuda_put_part<1>(part + blockIdx.y * stride + 2 * d.n, &weights, k, 1); // by the thread of column 0
}

// dx (+)= w (da + 2 x db)
template <class T, int V>
__global__ static void batch_sums_grad(T *dx, const T *x, const double *dsums, batch_rows d, int acc)
{
    int64_t r = nn_cuda_row();
    if (r >= d.rows) return;
    float w = d.weight ? d.weight[r] : 1, v[V];

    for (int64_t k = nn_cuda_column<V>(); k < d.n; k += nn_cuda_column_step<V>()) {
        nn_cuda_zero<V>(v);
        if (w != 0) nn_cuda_read<V>(v, x + r * d.n + k);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            v[i] = w != 0 ? (float)((double)w * (dsums[k + i] + 2 * (double)v[i] * dsums[d.n + k + i])) : 0;
        nn_cuda_write<V>(dx + r * d.n + k, v, acc);
    }
}

template <class T, int V> static mn_err launch_stats(const nn_call *c, const batch_rows &d)
{
    nn_cuda_outs<double> out = {{(double *)c->out[0], NULL}, {0, 0}};

    MN_TRY(NN_LAUNCH((batch_sums<T, V>), d.shape.grid, d.shape.block, 0, c->stream, (double *)c->work,
                     (const T *)c->in[X], d));
    return nn_cuda_finish((const double *)c->work, d.shape.grid.y, 2 * d.n + 1, 2 * d.n + 1, out, c->stream);
}

template <class T, int V> static mn_err launch_stats_grad(const nn_call *c, const batch_rows &d)
{
    nn_cuda_shape s = nn_cuda_row_shape(d.rows, d.n / V);
    return NN_LAUNCH((batch_sums_grad<T, V>), s.grid, s.block, 0, c->stream, (T *)c->din[X], (const T *)c->in[X],
                     (const double *)c->dout[0], d, nn_cuda_acc(c, X));
}

static mn_err stats_forward(const nn_call *c)
{
    batch_rows d = rows_of(c->node, c);
    return NN_BY_TYPE(c->node->in[X]->dtype, T, NN_BY_WIDTH(d.wide, T, V, launch_stats<T, V>(c, d)));
}

static mn_err stats_backward(const nn_call *c)
{
    batch_rows d = rows_of(c->node, c);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[X]->dtype, T, NN_BY_WIDTH(d.wide, T, V, launch_stats_grad<T, V>(c, d)));
}

static mn_err stats_prepare(nn_node *n)
{
    batch_rows d = rows_of(n, NULL);
    n->work_bytes = (size_t)(d.shape.grid.y * (2 * d.n + 1)) * sizeof(double);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_batch_stats = {stats_forward, stats_backward, stats_prepare};

// --- batch_norm ---------------------------------------------------------------------------------------------------------
typedef struct batch_moments {
    const double *sums; // NULL: the running ones (evaluation)
    float *running_mean, *running_var;
    float *stats; // (2, C): mean, 1 / standard deviation
    int64_t n;
    float eps, momentum;
} batch_moments;

static batch_moments moments_of(const nn_call *c)
{
    const batch_norm_attr *attr = (const batch_norm_attr *)c->node->attr;
    // Buffers are inputs like all parameters; this op alone writes them (NN_OP_STATE).
    return {(const double *)c->in[SUMS],
            (float *)c->in[RUNNING_MEAN],
            (float *)c->in[RUNNING_VAR],
            (float *)c->out[1],
            mn_last(c->node->in[X]->shape),
            attr->eps,
            attr->momentum};
}

__device__ static inline void moments_at(const double *sums, int64_t i, int64_t n, double *mean, double *var)
{
    double count = sums[2 * n], m = count > 0 ? sums[i] / count : 0, v = count > 0 ? sums[n + i] / count - m * m : 0;
    *mean = m;
    *var = v < 0 ? 0 : v; // NaN stays
}

// A batch that is not finite leaves the running statistics alone: the step is skipped, and what it had written here could
// be neither taken back nor saved.
__device__ static inline void update_running(const batch_moments &a, int64_t i, double count, double mean, double var)
{
    double keep = 1 - (double)a.momentum, unbiased = count > 1 ? var * count / (count - 1) : var;
    float new_mean = (float)(keep * (double)a.running_mean[i] + (double)a.momentum * mean);
    float new_var = (float)(keep * (double)a.running_var[i] + (double)a.momentum * unbiased);

    if (!isfinite(new_mean) || !isfinite(new_var)) return;
    a.running_mean[i] = new_mean;
    a.running_var[i] = new_var;
}

__global__ static void batch_statistics(batch_moments a)
{
    int64_t i = nn_cuda_index();
    if (i >= a.n) return;
    double mean = 0, var = 0;

    if (a.sums) {
        moments_at(a.sums, i, a.n, &mean, &var);
        if (a.sums[2 * a.n] > 0) update_running(a, i, a.sums[2 * a.n], mean, var);
    } else {
        mean = (double)a.running_mean[i];
        var = (double)a.running_var[i];
    }
    a.stats[i] = (float)mean;
    a.stats[a.n + i] = (float)(1 / sqrt(var + (double)a.eps));
}

template <class T, int V>
__global__ static void batch_normalise(T *y, const T *x, const float *stats, const float *gain, const float *bias,
                                       batch_rows d)
{
    int64_t r = nn_cuda_row();
    if (r >= d.rows) return;
    int exists = !d.weight || d.weight[r] != 0;

    for (int64_t k = nn_cuda_column<V>(); k < d.n; k += nn_cuda_column_step<V>()) {
        float v[V], mean[V], rstd[V], g[V], b[V];
        nn_cuda_zero<V>(v);
        if (exists) {
            nn_cuda_read<V>(v, x + r * d.n + k);
            nn_cuda_read<V>(mean, stats + k);
            nn_cuda_read<V>(rstd, stats + d.n + k);
            nn_cuda_read<V>(g, gain + k);
            nn_cuda_read<V>(b, bias + k);
            NN_UNROLL
            for (int i = 0; i < V; i++)
                v[i] = (v[i] - mean[i]) * rstd[i] * g[i] + b[i];
        }
        nn_cuda_write<V>(y + r * d.n + k, v, 0);
    }
}

// dx with fixed statistics (dx may be NULL), and this block's sums of dy and of dy times the normalised value. Half as
// many blocks are there at once as are asked for: two whole turns.
template <class T, int V>
__global__ __launch_bounds__(NN_CUDA_THREADS, NN_CUDA_SUM_RESIDENT / 2) static void batch_backward(
    T *dx, double *part, const T *x, const T *dy, const float *stats, const float *gain, batch_rows d, int acc)
{
    int64_t k = nn_cuda_sum_column<V>();
    double a[V], b[V];
    float u[V], v[V], mean[V], rstd[V], g[V];

    zero_sums<V>(a, b);
    if (k < d.n) {
        nn_cuda_read<V>(mean, stats + k);
        nn_cuda_read<V>(rstd, stats + d.n + k);
        nn_cuda_read<V>(g, gain + k);
    }
    for (nn_cuda_range r = nn_cuda_rows_of(d.rows); r.at < r.end && k < d.n; r.at += blockDim.y) {
        nn_cuda_zero<V>(v);
        if (!d.weight || d.weight[r.at] != 0) {
            nn_cuda_read<V>(u, x + r.at * d.n + k);
            nn_cuda_read<V>(v, dy + r.at * d.n + k);
            NN_UNROLL
            for (int i = 0; i < V; i++) {
                a[i] += (double)v[i];
                b[i] += (double)v[i] * (double)((u[i] - mean[i]) * rstd[i]);
                v[i] = v[i] * g[i] * rstd[i];
            }
        }
        if (dx) nn_cuda_write<V>(dx + r.at * d.n + k, v, acc);
    }
    nn_cuda_put_part<V>(part + blockIdx.y * 2 * d.n, a, k, d.n);
    nn_cuda_put_part<V>(part + blockIdx.y * 2 * d.n + d.n, b, k, d.n);
}

// Where the sums over the batch go; each may be NULL.
typedef struct batch_totals {
    float *dgain, *dbias;
    double *dsums;
    int acc_gain, acc_bias, acc_sums;
} batch_totals;

// With m = S1 / n, v = S2 / n - m^2: dm = -gain rstd sum(dy), dv = -gain rstd^2 sum(dy xh) / 2,
// dS1 = (dm - 2 m dv) / n, dS2 = dv / n. The number of rows has no gradient.
__device__ static void put_sums_grad(const batch_totals &t, const batch_moments &m, float gain, int64_t i, double a,
                                     double b)
{
    double mean, var, count = m.sums[2 * m.n], rstd = (double)m.stats[m.n + i], *d = t.dsums;
    moments_at(m.sums, i, m.n, &mean, &var);
    double dm = -(double)gain * rstd * a, dv = -0.5 * (double)gain * rstd * rstd * b;

    d[i] = (t.acc_sums ? d[i] : 0) + (count > 0 ? (dm - 2 * mean * dv) / count : 0);
    d[m.n + i] = (t.acc_sums ? d[m.n + i] : 0) + (count > 0 ? dv / count : 0);
    if (i == 0 && !t.acc_sums) d[2 * m.n] = 0;
}

__global__ __launch_bounds__(NN_CUDA_FINISH *NN_CUDA_FINISH,
                             1) static void batch_finish(batch_totals t, batch_moments m, const float *gain,
                                                         const double *part, int64_t blocks)
{
    int64_t i = (int64_t)blockIdx.x * NN_CUDA_FINISH + threadIdx.x, at = i < m.n ? i : -1;
    double a = nn_cuda_add_parts(part, blocks, 2 * m.n, at);
    double b = nn_cuda_add_parts(part + m.n, blocks, 2 * m.n, at);

    if (threadIdx.y != 0 || at < 0) return;
    if (t.dbias) t.dbias[i] = (float)((t.acc_bias ? (double)t.dbias[i] : 0) + a);
    if (t.dgain) t.dgain[i] = (float)((t.acc_gain ? (double)t.dgain[i] : 0) + b);
    if (t.dsums) put_sums_grad(t, m, gain[i], i, a, b);
}

template <class T, int V> static mn_err launch_forward(const nn_call *c, const batch_rows &d)
{
    nn_cuda_shape s = nn_cuda_row_shape(d.rows, d.n / V);
    return NN_LAUNCH((batch_normalise<T, V>), s.grid, s.block, 0, c->stream, (T *)c->out[0], (const T *)c->in[X],
                     (const float *)c->out[1], (const float *)c->in[GAIN], (const float *)c->in[BIAS], d);
}

template <class T, int V> static mn_err launch_backward(const nn_call *c, const batch_rows &d)
{
    return NN_LAUNCH((batch_backward<T, V>), d.shape.grid, d.shape.block, 0, c->stream, (T *)c->din[X],
                     (double *)c->work, (const T *)c->in[X], (const T *)c->dout[0], (const float *)c->out[1],
                     (const float *)c->in[GAIN], d, nn_cuda_acc(c, X));
}

static mn_err forward(const nn_call *c)
{
    batch_rows d = rows_of(c->node, c);

    MN_TRY(NN_LAUNCH(batch_statistics, nn_cuda_blocks(d.n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, c->stream,
                     moments_of(c)));
    return NN_BY_TYPE(c->node->in[X]->dtype, T, NN_BY_WIDTH(d.wide, T, V, launch_forward<T, V>(c, d)));
}

static mn_err backward(const nn_call *c)
{
    batch_rows d = rows_of(c->node, c);
    batch_totals t = {(float *)c->din[GAIN], (float *)c->din[BIAS], (double *)c->din[SUMS],
                      nn_cuda_acc(c, GAIN),  nn_cuda_acc(c, BIAS),  nn_cuda_acc(c, SUMS)};
    dim3 finish(NN_CUDA_FINISH, NN_CUDA_FINISH);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    MN_TRY(NN_BY_TYPE(c->node->in[X]->dtype, T, NN_BY_WIDTH(d.wide, T, V, launch_backward<T, V>(c, d))));
    return NN_LAUNCH(batch_finish, nn_cuda_blocks(d.n, NN_CUDA_FINISH), finish, 0, c->stream, t, moments_of(c),
                     (const float *)c->in[GAIN], (const double *)c->work, (int64_t)d.shape.grid.y);
}

static mn_err prepare(nn_node *n)
{
    batch_rows d = rows_of(n, NULL);
    n->work_bytes = (size_t)(d.shape.grid.y * 2 * d.n) * sizeof(double);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_batch_norm = {forward, backward, prepare};
