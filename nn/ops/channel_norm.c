// Each channel of each row of the batch normalised over time: GroupNorm with one channel per group, as wav2vec2's first
// convolution has it. The sequence is long (32,000 frames for 10 s of sound) and is read from memory once per pass:
// time is cut into blocks, each keeps a running mean and sum of squared deviations, and these are merged in order.
#include "nn/ops.h"

#include "nn/ops/attr.h"
#include "nn/ops/rows.h"

#include <math.h>
#include <string.h>

// Frames that are summed in f32 before the sums go to f64.
enum { RUN = 128 };

typedef struct dims {
    int64_t batch, frames, width, blocks; // blocks of time per row of the batch
} dims;

static dims dims_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape;
    int64_t blocks = (NN__MAX_BLOCKS + s.d[0] - 1) / s.d[0];
    return (dims){.batch = s.d[0], .frames = s.d[1], .width = s.d[2], .blocks = nn__min(s.d[1], blocks)};
}

// Workspace of one block: two f64 sums and four f32 rows for every channel.
static size_t block_bytes(dims d)
{
    return (size_t)d.width * (2 * sizeof(double) + 4 * sizeof(float));
}
static double *block_sums(const nn_call *c, dims d, int64_t k)
{
    return (double *)((char *)c->work + (size_t)k * block_bytes(d));
}

// After the blocks: for each row of the batch two f32 rows, the means over time that backward subtracts.
static float *row_means(const nn_call *c, dims d, int64_t row)
{
    return (float *)((char *)c->work + (size_t)(d.batch * d.blocks) * block_bytes(d)) + row * 2 * d.width;
}

// a += x - shift, b += (x - shift)^2
MN_SIMD static void add_moments(const float *restrict x, const float *restrict shift, float *restrict a,
                                float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float e = x[i] - shift[i];
        a[i] += e;
        b[i] += e * e;
    }
}

// Joins `count` more frames with sums a, b about shift to the mean and squared deviations of `before` frames
// (Chan, Golub, LeVeque 1979).
static void merge(double *mean, double *square, int64_t before, const float *shift, const float *a, const float *b,
                  int64_t count, int64_t n)
{
    double total = (double)(before + count);
    for (int64_t i = 0; i < n; i++) {
        double m = (double)shift[i] + (double)a[i] / (double)count;
        double q = (double)b[i] - (double)a[i] * (double)a[i] / (double)count;
        double delta = before ? m - mean[i] : m;
        mean[i] = before ? mean[i] + delta * (double)count / total : m;
        square[i] = before ? square[i] + q + delta * delta * (double)before * (double)count / total : q;
    }
}

// Mean and squared deviations of the frames of block k (over batch and time).
static void block_moments(const nn_call *c, dims d, int64_t k)
{
    mn_dtype t = c->node->in[0]->dtype;
    int64_t row = k / d.blocks, block = k % d.blocks, n = d.width;
    int64_t first = d.frames * block / d.blocks, end = d.frames * (block + 1) / d.blocks;
    double *mean = block_sums(c, d, k), *square = mean + n;
    float *a = (float *)(square + n), *b = a + n, *shift = b + n, *tmp = shift + n;

    for (int64_t f = first; f < end; f += RUN) {
        int64_t count = nn__min(RUN, end - f);
        for (int64_t j = 0; j < count; j++) {
            const float *x = nn__row_in(c->in[0], t, (row * d.frames + f + j) * n, n, tmp);
            if (j == 0) {
                memcpy(shift, x, (size_t)n * sizeof *shift);
                memset(a, 0, 2 * (size_t)n * sizeof *a);
            }
            add_moments(x, shift, a, b, n);
        }
        merge(mean, square, f - first, shift, a, b, count, n);
    }
}

// Mean and 1 / standard deviation of one row of the batch from its blocks: stats (2, C).
static void row_stats(const nn_call *c, dims d, int64_t row, float eps, float *stats)
{
    for (int64_t i = 0; i < d.width; i++) {
        double mean = 0, square = 0;
        for (int64_t block = 0; block < d.blocks; block++) {
            const double *part = block_sums(c, d, row * d.blocks + block);
            double before = (double)(d.frames * block / d.blocks);
            double count = (double)(d.frames * (block + 1) / d.blocks) - before;
            double delta = part[i] - mean;
            mean += delta * count / (before + count);
            square += part[d.width + i] + delta * delta * before * count / (before + count);
        }
        stats[i] = (float)mean;
        stats[d.width + i] = (float)(1.0 / sqrt(square / (double)d.frames + (double)eps));
    }
}

MN_SIMD static void normalise(const float *restrict x, const float *restrict stats, const float *restrict gain,
                              const float *restrict bias, float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - stats[i]) * stats[n + i] * gain[i] + bias[i];
}

static mn_err forward(const nn_call *c)
{
    const channel_norm_attr *attr = c->node->attr;
    dims d = dims_of(c->node);
    mn_dtype t = c->node->in[0]->dtype;
    int64_t blocks = d.batch * d.blocks, n = d.width;
    float *stats = c->out[1];

#pragma omp parallel for schedule(static) if (d.batch * d.frames * n > NN__SERIAL)
    for (int64_t k = 0; k < blocks; k++)
        block_moments(c, d, k);
    for (int64_t row = 0; row < d.batch; row++)
        row_stats(c, d, row, attr->eps, stats + row * 2 * n);
#pragma omp parallel for schedule(static) if (d.batch * d.frames * n > NN__SERIAL)
    for (int64_t k = 0; k < blocks; k++) {
        int64_t row = k / d.blocks, block = k % d.blocks;
        float *tmp = (float *)(block_sums(c, d, k) + 2 * n);
        for (int64_t f = d.frames * block / d.blocks; f < d.frames * (block + 1) / d.blocks; f++) {
            int64_t at = (row * d.frames + f) * n;
            const float *x = nn__row_in(c->in[0], t, at, n, tmp);
            float *y = nn__row_out(c->out[0], t, at, 0, tmp + n);
            normalise(x, stats + row * 2 * n, c->in[1], c->in[2], y, n);
            nn__row_put(c->out[0], t, at, y, n, 0);
        }
    }
    return MN_OK;
}

// a += dy, b += dy times the normalised value
MN_SIMD static void add_products(const float *restrict x, const float *restrict dy, const float *restrict stats,
                                 float *restrict a, float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        a[i] += dy[i];
        b[i] += dy[i] * (x[i] - stats[i]) * stats[n + i];
    }
}

static void block_products(const nn_call *c, dims d, int64_t k)
{
    mn_dtype t = c->node->in[0]->dtype;
    int64_t row = k / d.blocks, block = k % d.blocks, n = d.width;
    int64_t first = d.frames * block / d.blocks, end = d.frames * (block + 1) / d.blocks;
    const float *stats = (const float *)c->out[1] + row * 2 * n;
    double *sums = block_sums(c, d, k);
    float *part = (float *)(sums + 2 * n), *tmp = part + 2 * n;

    memset(sums, 0, 2 * (size_t)n * sizeof *sums);
    for (int64_t f = first; f < end; f += RUN) {
        memset(part, 0, 2 * (size_t)n * sizeof *part);
        for (int64_t j = f; j < nn__min(end, f + RUN); j++) {
            int64_t at = (row * d.frames + j) * n;
            const float *x = nn__row_in(c->in[0], t, at, n, tmp);
            const float *dy = nn__row_in(c->dout[0], t, at, n, tmp + n);
            add_products(x, dy, stats, part, part + n, n);
        }
        for (int64_t i = 0; i < 2 * n; i++)
            sums[i] += (double)part[i];
    }
}

// dx = gain rstd (dy - mean_t(dy) - xh mean_t(dy xh)); a, b: those means.
MN_SIMD static void normalise_grad(const float *restrict x, const float *restrict dy, const float *restrict stats,
                                   const float *restrict gain, const float *restrict a, const float *restrict b,
                                   float *restrict dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float rstd = stats[n + i];
        dx[i] = gain[i] * rstd * (dy[i] - a[i] - (x[i] - stats[i]) * rstd * b[i]);
    }
}

static void block_dx(const nn_call *c, dims d, int64_t k)
{
    mn_dtype t = c->node->in[0]->dtype;
    int64_t row = k / d.blocks, block = k % d.blocks, n = d.width;
    const float *stats = (const float *)c->out[1] + row * 2 * n, *mean = row_means(c, d, row);
    float *tmp = (float *)(block_sums(c, d, k) + 2 * n);
    int acc = nn__acc(c, 0);

    for (int64_t f = d.frames * block / d.blocks; f < d.frames * (block + 1) / d.blocks; f++) {
        int64_t at = (row * d.frames + f) * n;
        const float *x = nn__row_in(c->in[0], t, at, n, tmp);
        const float *dy = nn__row_in(c->dout[0], t, at, n, tmp + n);
        float *dx = nn__row_out(c->din[0], t, at, acc, tmp + 2 * n);
        normalise_grad(x, dy, stats, c->in[1], mean, mean + n, dx, n);
        nn__row_put(c->din[0], t, at, dx, n, acc);
    }
}

// The sums over time of every row of the batch: their means for dx, and added over the batch for gain and bias.
static void join_products(const nn_call *c, dims d)
{
    int64_t n = d.width;
    float *dgain = c->din[1], *dbias = c->din[2];

    for (int64_t i = 0; i < 2 * n; i++) {
        double total = 0;
        for (int64_t row = 0; row < d.batch; row++) {
            double sum = 0;
            for (int64_t block = 0; block < d.blocks; block++)
                sum += block_sums(c, d, row * d.blocks + block)[i];
            row_means(c, d, row)[i] = (float)(sum / (double)d.frames);
            total += sum;
        }
        if (i < n && dbias) dbias[i] = (float)((nn__acc(c, 2) ? (double)dbias[i] : 0) + total);
        if (i >= n && dgain) dgain[i - n] = (float)((nn__acc(c, 1) ? (double)dgain[i - n] : 0) + total);
    }
}

static mn_err backward(const nn_call *c)
{
    dims d = dims_of(c->node);

    if (nn__no_gradient(c)) return MN_OK;
#pragma omp parallel for schedule(static) if (d.batch * d.frames * d.width > NN__SERIAL)
    for (int64_t k = 0; k < d.batch * d.blocks; k++)
        block_products(c, d, k);
    join_products(c, d);
    if (!c->din[0]) return MN_OK;
#pragma omp parallel for schedule(static) if (d.batch * d.frames * d.width > NN__SERIAL)
    for (int64_t k = 0; k < d.batch * d.blocks; k++)
        block_dx(c, d, k);
    return MN_OK;
}

static mn_err prepare(nn_node *n)
{
    dims d = dims_of(n);
    n->work_bytes = (size_t)(d.batch * d.blocks) * block_bytes(d) + (size_t)(d.batch * 2 * d.width) * sizeof(float);
    return MN_OK;
}

static mn_err shape(nn_node *n)
{
    mn_shape s = n->in[0]->shape;

    MN_TRY(nn__want_activation(n, 0));
    MN_TRY(nn__want_dims(n, 0, 3));
    MN_TRY(nn__want(n, 1, MN_F32, s.d[2]));
    MN_TRY(nn__want(n, 2, MN_F32, s.d[2]));
    nn__out_like_in(n);
    nn_set_out(n, 1, MN_F32, MN_SHAPE(s.d[0], 2, s.d[2]));
    return MN_OK;
}

const nn_op nn_op_channel_norm = {
    .name = "channel_norm",
    .attr_bytes = sizeof(channel_norm_attr),
    .bwd_reads_in = 1u << 0 | 1u << 1,
    .bwd_reads_out = 1u << 1,
    .shape = shape,
    .cpu = {.fwd = forward, .bwd = backward, .prepare = prepare},
};

nn_tensor *nn_channel_norm(nn_graph *g, nn_tensor *x, float eps, const char *name)
{
    nn_tensor *in[3] = {x};

    nn__norm_params(g, mn_last(x->shape), name, in + 1);
    return nn_emit(g, &nn_op_channel_norm, name, 3, in, &(channel_norm_attr){.eps = eps});
}
