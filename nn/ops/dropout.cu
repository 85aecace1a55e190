// Inverted dropout. The mask is a function of (path, global row, step, element) and is drawn again in backward: one draw
// gives four elements their numbers, which costs about as much as a pass over bf16 memory hides.
#include "nn/cuda_wide.h"
#include "nn/ops/attr.h"

enum { DRAW = 4 }; // numbers that one draw gives

typedef struct dropout_source {
    uint64_t key;
    const nn_tick *tick;
    float p;
} dropout_source;

// x = 0 or x / (1 - p), for the DRAW elements of block `at` of a row.
__device__ static inline void drop(float *x, dropout_source d, int64_t row, int64_t at)
{
    nn_cuda_rng4 u = nn_cuda_rng(d.key, (uint64_t)(d.tick->first_row + row), d.tick->step, (uint32_t)at);
    float scale = 1.0f / (1.0f - d.p);
    NN_UNROLL
    for (int i = 0; i < DRAW; i++)
        x[i] = nn_cuda_uniform(u.v[i]) >= d.p ? x[i] * scale : 0;
}

// y (+)= mask * x: W elements a thread, in accesses of 16 bytes or (rows of odd widths) one by one.
template <class T, int WIDE>
__global__ static void dropout_rows(T *y, const T *x, dropout_source d, int64_t batch, int64_t n, int acc)
{
    constexpr int W = WIDE ? nn_cuda_vec<T>::N : DRAW;
    int64_t b = nn_cuda_row();

    for (int64_t k = nn_cuda_column<W>(); b < batch && k < n; k += nn_cuda_column_step<W>()) {
        float v[W];
        int64_t at = b * n + k;
        if constexpr (WIDE) {
            nn_cuda_read<W>(v, x + at);
        } else {
            NN_UNROLL
            for (int i = 0; i < W; i++)
                v[i] = k + i < n ? (float)x[at + i] : 0;
        }
        NN_UNROLL
        for (int i = 0; i < W; i += DRAW)
            drop(v + i, d, b, (k + i) / DRAW);
        if constexpr (WIDE) {
            nn_cuda_write<W>(y + at, v, acc);
        } else {
            NN_UNROLL
            for (int i = 0; i < W; i++)
                if (k + i < n) nn_cuda_put(y, at + i, v[i], acc);
        }
    }
}

template <class T> static mn_err launch(const nn_call *c, const void *from, void *to, int acc)
{
    mn_shape s = c->node->in[0]->shape;
    int64_t batch = s.d[0], n = mn_count(s) / batch;
    dropout_source d = {c->node->key, c->tick, ((const dropout_attr *)c->node->attr)->p};
    int wide = nn_cuda_vector<T>(n, from, to, to);
    int64_t each = wide ? nn_cuda_vec<T>::N : DRAW;
    nn_cuda_shape g = nn_cuda_row_shape(batch, (n + each - 1) / each);

    if (wide)
        return NN_LAUNCH((dropout_rows<T, 1>), g.grid, g.block, 0, c->stream, (T *)to, (const T *)from, d, batch, n,
                         acc);
    return NN_LAUNCH((dropout_rows<T, 0>), g.grid, g.block, 0, c->stream, (T *)to, (const T *)from, d, batch, n, acc);
}

static mn_err forward(const nn_call *c)
{
    return NN_BY_TYPE(c->node->in[0]->dtype, T, launch<T>(c, c->in[0], c->out[0], 0));
}

static mn_err backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T, launch<T>(c, c->dout[0], c->din[0], nn_cuda_acc(c, 0)));
}

extern "C" const nn_kernels nn_cuda_dropout = {forward, backward};
