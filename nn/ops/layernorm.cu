// Layer norm, alone and fused with the residual sum before it. A row lives in the registers of 16 to 128 lanes from its
// one read to its one write: forward moves 2 values per element (fused: 4), backward 3 (fused: 5), which is all there is
// to move. Rows that are too long or not a whole number of 16 bytes take plain loops, one warp a row.
#include "nn/cuda_columns.h"
#include "nn/ops/attr.h"

// Of backward: blocks on a multiprocessor, by how many registers a lane needs; elements that are worth a block's row of
// sums. As many blocks as are there at once on 132 multiprocessors.
enum { RESIDENT = 4, RESIDENT_LONG = 2, BLOCK_ELEMENTS = 1 << 14 };

template <class T> struct norm_rows {
    T *y, *sum;         // sum: x + s h (fused), else NULL
    const T *x, *h;     // backward reads the stored sum as x
    const T *dy, *dsum; // either may be NULL
    T *dx, *dh;         // either may be NULL
    float *part;        // backward: for each block dgain and dbias
    float2 *stats;      // mean, 1 / standard deviation
    const float *gain, *bias;
    const nn_tick *tick;
    uint64_t key;
    int64_t rows, n;
    unsigned rows_each; // of one row of the batch
    float eps, drop;
    int acc_x, acc_h;
};

template <class T> __device__ static inline float branch_scale(const norm_rows<T> &a, int64_t r)
{
    return a.drop > 0 ? nn_cuda_drop_path(a.drop, a.key, a.tick, (unsigned)r / a.rows_each) : 1;
}

// Sums over LANES neighbours, at most a warp, the same in each.
template <int LANES> __device__ static inline float lanes_sum(float v)
{
    NN_UNROLL
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2)
        v += __shfl_xor_sync(~0u, v, lanes);
    return v;
}

// Both over LANES neighbours, which may be several warps. Every thread of the block must come here, with `turn` 0 and 1
// by turns: what one call has put up is read while the next one puts up its own.
template <int LANES> __device__ static inline void lanes_sums(float *a, float *b, int turn)
{
    constexpr int INSIDE = LANES < 32 ? LANES : 32;
    *a = lanes_sum<INSIDE>(*a);
    *b = lanes_sum<INSIDE>(*b);
    if constexpr (LANES > 32) {
        __shared__ float2 warps[2][NN_CUDA_THREADS / 32];
        int warp = (int)threadIdx.x / 32, first = (int)threadIdx.x / LANES * (LANES / 32);
        if (threadIdx.x % 32 == 0) warps[turn][warp] = make_float2(*a, *b);
        __syncthreads();
        *a = *b = 0;
        NN_UNROLL
        for (int w = 0; w < LANES / 32; w++) {
            *a += warps[turn][first + w].x;
            *b += warps[turn][first + w].y;
        }
    }
}

// --- rows in registers: PASSES accesses of 16 bytes for each of LANES lanes ------------------------------------------
// x + s h, rounded as it is stored; a dropped branch is not read.
template <int V, class T> __device__ static inline void add_branch(const norm_rows<T> &a, float s, int64_t at, float *x)
{
    float h[V];
    if (s != 0) {
        nn_cuda_read<V>(h, a.h + at);
        NN_UNROLL
        for (int k = 0; k < V; k++)
            x[k] = (float)(T)(x[k] + s * h[k]);
    }
    nn_cuda_write<V>(a.sum + at, x, 0);
}

template <class T, int LANES, int PASSES>
__global__ __launch_bounds__(NN_CUDA_THREADS, RESIDENT_LONG) static void norm_forward(norm_rows<T> a)
{
    constexpr int V = nn_cuda_vec<T>::N;
    int lane = (int)threadIdx.x % LANES, n = (int)a.n;
    int64_t r = (int64_t)blockIdx.x * (NN_CUDA_THREADS / LANES) + threadIdx.x / LANES, row = r * n;
    float x[PASSES][V], sum = 0, square = 0, s = a.sum && r < a.rows ? branch_scale(a, r) : 1;

    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        int k = (p * LANES + lane) * V;
        nn_cuda_zero<V>(x[p]);
        if (r < a.rows && k < n) nn_cuda_read<V>(x[p], a.x + row + k);
    }
    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        int k = (p * LANES + lane) * V;
        if (a.sum && r < a.rows && k < n) add_branch<V>(a, s, row + k, x[p]);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            sum += x[p][i];
    }
    float mean = lanes_sum<LANES>(sum) / (float)n;
    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        if ((p * LANES + lane) * V >= n) continue;
        NN_UNROLL
        for (int i = 0; i < V; i++)
            square += (x[p][i] - mean) * (x[p][i] - mean);
    }
    float rstd = 1.0f / sqrtf(lanes_sum<LANES>(square) / (float)n + a.eps);
    if (r >= a.rows) return;
    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        int k = (p * LANES + lane) * V;
        float gain[V], bias[V];
        if (k >= n) continue;
        nn_cuda_read<V>(gain, a.gain + k);
        nn_cuda_read<V>(bias, a.bias + k);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            x[p][i] = (x[p][i] - mean) * rstd * gain[i] + bias[i];
        nn_cuda_write<V>(a.y + row + k, x[p], 0);
    }
    if (lane == 0) a.stats[r] = make_float2(mean, rstd);
}

// Gradient dx of V values: with what reaches the sum by another way, to x and through the branch to h.
template <int V, class T>
__device__ static inline void put_gradient(const norm_rows<T> &a, float s, int64_t at, float *dx)
{
    if (a.dsum) {
        float extra[V];
        nn_cuda_read<V>(extra, a.dsum + at);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            dx[i] += extra[i];
    }
    if (a.dx) nn_cuda_write<V>(a.dx + at, dx, a.acc_x);
    if (!a.dh) return;
    NN_UNROLL
    for (int i = 0; i < V; i++)
        dx[i] *= s;
    nn_cuda_write<V>(a.dh + at, dx, a.acc_h);
}

// part += the sums that the groups of lanes hold, in their order; shared: 2 n floats.
template <int V, int LANES, int PASSES>
__device__ static inline void put_sums(float *part, float *shared, int64_t n, const float (*dgain)[V],
                                       const float (*dbias)[V])
{
    int lane = (int)threadIdx.x % LANES, group = (int)threadIdx.x / LANES;

    for (int g = 0; g < NN_CUDA_THREADS / LANES; g++) {
        NN_UNROLL
        for (int p = 0; p < PASSES; p++) {
            int64_t k = (p * LANES + lane) * V;
            if (g != group || k >= n) continue;
            NN_UNROLL
            for (int i = 0; i < V; i++) {
                shared[k + i] = (g ? shared[k + i] : 0) + dgain[p][i];
                shared[n + k + i] = (g ? shared[n + k + i] : 0) + dbias[p][i];
            }
        }
        __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < 2 * n; i += NN_CUDA_THREADS)
        part[i] = shared[i];
}

// A row on its way through backward, as it is stored: where it is, and its x and dy.
template <class T, int PASSES> struct row_gradient {
    int64_t row;
    int live;
    float2 stats;
    nn_cuda_vec<T> x[PASSES], dy[PASSES];
};

// sum += g, dot += g xh with g = dy gain, and the row's part in dgain and dbias.
template <int LANES, int PASSES, int V, class T>
__device__ static inline void add_row(const norm_rows<T> &a, const row_gradient<T, PASSES> &g, float *sum, float *dot,
                                      float (*dgain)[V], float (*dbias)[V])
{
    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        int k = (p * LANES + (int)threadIdx.x % LANES) * V;
        float gain[V];
        if (!g.live || k >= a.n) continue;
        nn_cuda_read<V>(gain, a.gain + k);
        NN_UNROLL
        for (int i = 0; i < V; i++) {
            float d = (float)g.dy[p].v[i], xh = ((float)g.x[p].v[i] - g.stats.x) * g.stats.y;
            *sum += d * gain[i];
            *dot += d * gain[i] * xh;
            dgain[p][i] += d * xh;
            dbias[p][i] += d;
        }
    }
}

// dx = rstd (g - mean(g) - xh mean(g xh)), on to x and h.
template <int LANES, int PASSES, class T>
__device__ static inline void put_row(const norm_rows<T> &a, const row_gradient<T, PASSES> &g, float sum, float dot,
                                      float s)
{
    constexpr int V = nn_cuda_vec<T>::N;
    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        int k = (p * LANES + (int)threadIdx.x % LANES) * V;
        float gain[V], dx[V];
        if (!g.live || k >= a.n) continue;
        nn_cuda_read<V>(gain, a.gain + k);
        NN_UNROLL
        for (int i = 0; i < V; i++) {
            float xh = ((float)g.x[p].v[i] - g.stats.x) * g.stats.y;
            dx[i] = g.stats.y * ((float)g.dy[p].v[i] * gain[i] - sum - xh * dot);
        }
        put_gradient<V>(a, s, g.row + k, dx);
    }
}

// x and dy stay packed between the two uses of a row, beside the sums of the columns. Long rows take several warps: 16
// values a lane and its 32 sums leave room for two blocks on a multiprocessor.
template <class T, int LANES, int PASSES>
__global__ __launch_bounds__(NN_CUDA_THREADS,
                             PASSES == 1 ? RESIDENT : RESIDENT_LONG) static void norm_backward(norm_rows<T> a)
{
    constexpr int V = nn_cuda_vec<T>::N;
    NN_SHARED(float, shared);
    int turn = 0;
    int64_t step = (int64_t)gridDim.x * (NN_CUDA_THREADS / LANES);
    float dgain[PASSES][V], dbias[PASSES][V];

    NN_UNROLL
    for (int p = 0; p < PASSES; p++) {
        nn_cuda_zero<V>(dgain[p]);
        nn_cuda_zero<V>(dbias[p]);
    }
    for (int64_t base = (int64_t)blockIdx.x * (NN_CUDA_THREADS / LANES); base < a.rows; base += step, turn ^= 1) {
        row_gradient<T, PASSES> g;
        int64_t r = base + threadIdx.x / LANES;
        float sum = 0, dot = 0;
        g.row = r * a.n;
        g.live = r < a.rows;
        g.stats = g.live ? a.stats[r] : make_float2(0, 0);
        NN_UNROLL
        for (int p = 0; p < PASSES; p++) {
            int k = (p * LANES + (int)threadIdx.x % LANES) * V;
            if (!g.live || k >= a.n) continue;
            g.x[p] = nn_cuda_load(a.x + g.row + k);
            g.dy[p] = nn_cuda_load(a.dy + g.row + k);
        }
        add_row<LANES>(a, g, &sum, &dot, dgain, dbias);
        lanes_sums<LANES>(&sum, &dot, turn);
        put_row<LANES>(a, g, sum / (float)a.n, dot / (float)a.n, g.live && a.dh ? branch_scale(a, r) : 1);
    }
    put_sums<V, LANES, PASSES>(a.part + blockIdx.x * 2 * a.n, shared, a.n, dgain, dbias);
}

// --- any row: one warp, which goes over it several times -----------------------------------------------------------
template <class T> __global__ static void any_forward(norm_rows<T> a)
{
    int lane = (int)threadIdx.x % 32;
    int64_t r = nn_cuda_index() / 32, row = r * a.n;
    if (r >= a.rows) return;
    float sum = 0, square = 0, s = a.sum ? branch_scale(a, r) : 1;
    const T *x = a.sum ? a.sum : a.x;

    for (int64_t k = row + lane; a.sum && k < row + a.n; k += 32)
        a.sum[k] = s == 0 ? a.x[k] : (T)((float)a.x[k] + s * (float)a.h[k]);
    for (int64_t k = row + lane; k < row + a.n; k += 32)
        sum += (float)x[k];
    float mean = nn_cuda_warp_sum(sum) / (float)a.n;
    for (int64_t k = row + lane; k < row + a.n; k += 32)
        square += ((float)x[k] - mean) * ((float)x[k] - mean);
    float rstd = 1.0f / sqrtf(nn_cuda_warp_sum(square) / (float)a.n + a.eps);
    for (int64_t k = lane; k < a.n; k += 32)
        a.y[row + k] = (T)(((float)x[row + k] - mean) * rstd * a.gain[k] + a.bias[k]);
    if (lane == 0) a.stats[r] = make_float2(mean, rstd);
}

template <class T> __global__ static void any_backward(norm_rows<T> a)
{
    int lane = (int)threadIdx.x % 32;
    int64_t r = nn_cuda_index() / 32, row = r * a.n;
    if (r >= a.rows) return;
    float sum = 0, dot = 0, mean = a.stats[r].x, rstd = a.stats[r].y, s = a.dh ? branch_scale(a, r) : 1;

    for (int64_t k = lane; k < a.n; k += 32) {
        float g = (float)a.dy[row + k] * a.gain[k];
        sum += g;
        dot += g * ((float)a.x[row + k] - mean) * rstd;
    }
    sum = nn_cuda_warp_sum(sum) / (float)a.n;
    dot = nn_cuda_warp_sum(dot) / (float)a.n;
    for (int64_t k = lane; k < a.n; k += 32) {
        float xh = ((float)a.x[row + k] - mean) * rstd;
        float dx = rstd * ((float)a.dy[row + k] * a.gain[k] - sum - xh * dot);
        put_gradient<1>(a, s, row + k, &dx);
    }
}

template <class T>
__global__ __launch_bounds__(NN_CUDA_THREADS, NN_CUDA_SUM_RESIDENT) static void any_sums(norm_rows<T> a)
{
    float dgain = 0, dbias = 0, *part = a.part + blockIdx.y * 2 * a.n;
    int64_t k = nn_cuda_sum_column<1>();

    for (nn_cuda_range r = nn_cuda_rows_of(a.rows); r.at < r.end && k < a.n; r.at += blockDim.y) {
        float dy = (float)a.dy[r.at * a.n + k];
        dgain += dy * ((float)a.x[r.at * a.n + k] - a.stats[r.at].x) * a.stats[r.at].y;
        dbias += dy;
    }
    nn_cuda_put_part<1>(part, &dgain, k, a.n);
    nn_cuda_put_part<1>(part + a.n, &dbias, k, a.n);
}

// Only the sum has a gradient.
template <class T, int V> __global__ static void sum_backward(norm_rows<T> a)
{
    int64_t r = nn_cuda_row();
    float s = r < a.rows && a.dh ? branch_scale(a, r) : 1;

    for (int64_t k = nn_cuda_column<V>(); r < a.rows && k < a.n; k += nn_cuda_column_step<V>()) {
        float dx[V];
        nn_cuda_zero<V>(dx);
        put_gradient<V>(a, s, r * a.n + k, dx);
    }
}

// --- launches ----------------------------------------------------------------------------------------------------------
static int fused(const nn_node *n)
{
    return n->n_in == 4;
}

template <class T> static norm_rows<T> rows_of(const nn_call *c)
{
    const nn_node *n = c->node;
    const layernorm_attr *attr = (const layernorm_attr *)n->attr;
    mn_shape s = n->in[0]->shape;
    norm_rows<T> a = {};

    a.x = (const T *)c->in[0];
    a.stats = (float2 *)c->out[n->n_out - 1];
    a.gain = (const float *)c->in[n->n_in - 2];
    a.bias = (const float *)c->in[n->n_in - 1];
    a.tick = c->tick;
    a.key = n->key;
    a.rows = mn_rows(s);
    a.n = mn_last(s);
    a.rows_each = (unsigned)(a.rows / s.d[0]);
    a.eps = attr->eps;
    a.drop = n->mode == NN_EVAL ? 0 : attr->drop;
    return a;
}

// Accesses of 16 bytes in a row, or 0 when the row is not made of them or does not fit registers (2048 values).
// Tensors start at multiples of 64 bytes.
static int64_t accesses(const nn_node *n)
{
    int64_t width = mn_last(n->in[0]->shape), each = n->in[0]->dtype == MN_BF16 ? 8 : 4;
    return width % each == 0 && width <= 2048 ? width / each : 0;
}

template <class T> static mn_err launch_forward(const nn_call *c)
{
    constexpr int LONGEST = 2048 / 32 / nn_cuda_vec<T>::N;
    norm_rows<T> a = rows_of<T>(c);
    int64_t count = accesses(c->node);
    unsigned by8 = nn_cuda_blocks(a.rows, 8), by16 = nn_cuda_blocks(a.rows, 16);

    a.y = (T *)c->out[0];
    if (fused(c->node)) {
        a.h = (const T *)c->in[1];
        a.sum = (T *)c->out[1];
    }
    if (count == 0) return NN_LAUNCH((any_forward<T>), by8, NN_CUDA_THREADS, 0, c->stream, a);
    if (count <= 16) return NN_LAUNCH((norm_forward<T, 16, 1>), by16, NN_CUDA_THREADS, 0, c->stream, a);
    if (count <= 32) return NN_LAUNCH((norm_forward<T, 32, 1>), by8, NN_CUDA_THREADS, 0, c->stream, a);
    if (count <= 64) return NN_LAUNCH((norm_forward<T, 32, 2>), by8, NN_CUDA_THREADS, 0, c->stream, a);
    if (count <= 128) return NN_LAUNCH((norm_forward<T, 32, 4>), by8, NN_CUDA_THREADS, 0, c->stream, a);
    if (count <= 256) return NN_LAUNCH((norm_forward<T, 32, 8>), by8, NN_CUDA_THREADS, 0, c->stream, a);
    return NN_LAUNCH((norm_forward<T, 32, LONGEST>), by8, NN_CUDA_THREADS, 0, c->stream, a);
}

static mn_err forward(const nn_call *c)
{
    return NN_BY_TYPE(c->node->in[0]->dtype, T, launch_forward<T>(c));
}

static int64_t sum_blocks(const nn_node *n)
{
    int64_t width = mn_last(n->in[0]->shape), rows = mn_rows(n->in[0]->shape);
    if (accesses(n) == 0) return nn_cuda_column_shape(rows, width, 1).grid.y;
    int64_t blocks = rows * width / BLOCK_ELEMENTS,
            most = nn_cuda_grid(132 * (accesses(n) <= 128 ? RESIDENT : RESIDENT_LONG));
    return blocks < 1 ? 1 : blocks > most ? most : blocks;
}

template <class T> static mn_err launch_any_backward(const nn_call *c, const norm_rows<T> &a)
{
    nn_cuda_shape s = nn_cuda_column_shape(a.rows, a.n, 1);

    MN_TRY(NN_LAUNCH((any_backward<T>), nn_cuda_blocks(a.rows, 8), NN_CUDA_THREADS, 0, c->stream, a));
    return NN_LAUNCH((any_sums<T>), s.grid, s.block, 0, c->stream, a);
}

template <class T> static mn_err launch_sum_backward(const nn_call *c, const norm_rows<T> &a)
{
    int64_t count = accesses(c->node);
    nn_cuda_shape s = nn_cuda_row_shape(a.rows, count ? count : a.n);
    return NN_BY_WIDTH(count, T, V, NN_LAUNCH((sum_backward<T, V>), s.grid, s.block, 0, c->stream, a));
}

template <class T> static mn_err launch_backward(const nn_call *c)
{
    const nn_node *n = c->node;
    norm_rows<T> a = rows_of<T>(c);
    int64_t count = accesses(n);
    unsigned blocks = (unsigned)sum_blocks(n);
    constexpr int LONGEST = 2048 / 128 / nn_cuda_vec<T>::N;
    size_t shared = (size_t)(2 * a.n) * sizeof(float);

    a.dy = (const T *)c->dout[0];
    a.dx = (T *)c->din[0];
    a.acc_x = nn_cuda_acc(c, 0);
    a.part = (float *)c->work;
    if (fused(n)) {
        a.x = (const T *)c->out[1];
        a.dsum = (const T *)c->dout[1];
        a.dh = (T *)c->din[1];
        a.acc_h = nn_cuda_acc(c, 1);
    }
    if (!a.dy) return launch_sum_backward(c, a);
    if (count == 0) return launch_any_backward(c, a);
    if (count <= 16) return NN_LAUNCH((norm_backward<T, 16, 1>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
    if (count <= 32) return NN_LAUNCH((norm_backward<T, 32, 1>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
    if (count <= 64) return NN_LAUNCH((norm_backward<T, 64, 1>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
    if (count <= 128) return NN_LAUNCH((norm_backward<T, 128, 1>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
    if (count <= 256) return NN_LAUNCH((norm_backward<T, 128, 2>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
    return NN_LAUNCH((norm_backward<T, 128, LONGEST>), blocks, NN_CUDA_THREADS, shared, c->stream, a);
}

static mn_err backward(const nn_call *c)
{
    const nn_node *n = c->node;
    int64_t width = mn_last(n->in[0]->shape), blocks = sum_blocks(n);
    int gain = n->n_in - 2, bias = n->n_in - 1, none = 0;
    nn_cuda_outs<float> out = {{(float *)c->din[gain], (float *)c->din[bias]},
                               {nn_cuda_acc(c, gain), nn_cuda_acc(c, bias)}};

    if (!(fused(n) && c->dout[1])) MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    MN_TRY(NN_BY_TYPE(n->in[0]->dtype, T, launch_backward<T>(c)));
    return nn_cuda_finish((const float *)c->work, c->dout[0] ? blocks : 0, 2 * width, width, out, c->stream);
}

static mn_err prepare(nn_node *n)
{
    n->work_bytes = (size_t)(sum_blocks(n) * 2 * mn_last(n->in[0]->shape)) * sizeof(float);
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_layernorm = {forward, backward, prepare};
extern "C" const nn_kernels nn_cuda_residual_layernorm = {forward, backward, prepare};
