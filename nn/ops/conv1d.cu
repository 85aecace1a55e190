// Convolution over time: each pass by cuDNN where it has an algorithm, else by products of gathered windows. Both want
// the weight with its channels last, so it is packed into the workspace before and its gradient unpacked behind them.
// Bias and its gradient are passes of their own: the long convolutions of our networks have none.
//
// A kernel of even length keeps the number of steps with one step of padding less at the end, and cuDNN has few
// algorithms for ends that differ. Where it has none, both ends are padded alike: y gets steps behind its own, which
// forward drops and backward takes as zeros.
#include "nn/cuda_epilogue.h"
#include "nn/cuda_wide.h"
#include "nn/cuda_windows.h"
#include "nn/ops/attr.h"

extern "C" {
#include "nn/base/mem.h"
}

#include <stdlib.h>

enum { X, WEIGHT, BIAS };

// By the library or of windows.
typedef struct pass {
    nn_conv_pass which;
    nn_cuda_conv *library;
    nn_cuda_windows *windows;
    int64_t steps;  // of y as the library sees it
    size_t y_bytes; // of that y, in front of the library's scratch; 0: it is the node's own
} pass;

// Workspace: the packed weight or its gradient, parts of the bias gradient, a gradient that is to be added, the pass's.
typedef struct state {
    nn_cuda_conv_cfg cfg;
    pass forward, d_x, d_weight;
    size_t at_parts, at_made, at_scratch;
} state;

static char *place(const nn_call *c, size_t at)
{
    return (char *)c->work + at;
}

static const state *state_of(const nn_call *c)
{
    return (const state *)c->node->state;
}

// --- layout of the weight ----------------------------------------------------------------------------------------------
// (out, channels, kernel), as checkpoints have it, to (out, kernel, channels).
template <class Y, class W> __global__ static void pack(Y *y, const W *weight, int64_t n, int channels, int kernel)
{
    const int64_t i = nn_cuda_index();
    if (i >= n) return;
    const int64_t c = i % channels, k = i / channels % kernel, o = i / channels / kernel;
    y[i] = (Y)(float)weight[(o * channels + c) * kernel + k];
}

// And back, as y (+)= gradient.
template <class Y>
__global__ static void unpack(Y *y, const float *packed, int64_t n, int channels, int kernel, int acc)
{
    const int64_t i = nn_cuda_index();
    if (i >= n) return;
    const int64_t k = i % kernel, c = i / kernel % channels, o = i / kernel / channels;
    nn_cuda_put(y, i, packed[(o * kernel + k) * channels + c], acc);
}

static mn_err pack_weight(const nn_call *c)
{
    const nn_cuda_conv_cfg &v = state_of(c)->cfg;
    const nn_tensor *w = c->node->in[WEIGHT];
    const int64_t n = mn_count(w->shape);

    return NN_BY_TYPE(
        v.io, Y,
        NN_BY_TYPE(w->dtype, W,
                   NN_LAUNCH((pack<Y, W>), nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, c->stream,
                             (Y *)c->work, (const W *)c->in[WEIGHT], n, (int)(v.in / v.groups), (int)v.kernel)));
}

// The gradient of a parameter is f32, that of another tensor has the type of the tensor.
static mn_err unpack_gradient(const nn_call *c)
{
    const nn_cuda_conv_cfg &v = state_of(c)->cfg;
    const nn_tensor *w = c->node->in[WEIGHT];
    const int64_t n = mn_count(w->shape);

    return NN_BY_TYPE(w->param ? MN_F32 : w->dtype, Y,
                      NN_LAUNCH(unpack<Y>, nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, c->stream,
                                (Y *)c->din[WEIGHT], (const float *)c->work, n, (int)(v.in / v.groups), (int)v.kernel,
                                nn_cuda_acc(c, WEIGHT)));
}

// --- kernels -----------------------------------------------------------------------------------------------------------
// Rows of `to` elements from rows of `from`: cut off, or with zeros behind.
template <class T, int V> __global__ static void resize(T *y, const T *x, int64_t rows, int64_t to, int64_t from)
{
    const int64_t i = nn_cuda_index() * V, row = i / to, k = i % to;
    float v[V];

    if (row >= rows) return;
    nn_cuda_zero<V>(v);
    if (k < from) nn_cuda_read<V>(v, x + row * from + k);
    nn_cuda_write<V>(y + i, v, 0);
}

static mn_err resize_y(const nn_call *c, void *to, int64_t to_steps, const void *from, int64_t from_steps)
{
    const nn_cuda_conv_cfg &v = state_of(c)->cfg;
    const int64_t m = to_steps * v.out, n = from_steps * v.out;

    return NN_BY_TYPE(v.io, T,
                      NN_BY_WIDTH(nn_cuda_vector<T>(v.out, to, from, NULL), T, V,
                                  NN_LAUNCH((resize<T, V>), nn_cuda_blocks(v.rows * m, (int64_t)NN_CUDA_THREADS * V),
                                            NN_CUDA_THREADS, 0, c->stream, (T *)to, (const T *)from, v.rows, m, n)));
}

static mn_err run_padded(const nn_call *c, const pass *p, const void *first, const void *second, void *made)
{
    const int64_t steps = nn_cuda_conv_steps(state_of(c)->cfg);
    char *y = place(c, state_of(c)->at_scratch), *scratch = y + p->y_bytes;

    if (p->which == NN_CONV_FORWARD) {
        MN_TRY(nn_cuda_conv_run(p->library, first, second, y, scratch, c->stream));
        return resize_y(c, made, steps, y, p->steps);
    }
    MN_TRY(resize_y(c, y, p->steps, p->which == NN_CONV_D_X ? first : second, steps));
    return p->which == NN_CONV_D_X ? nn_cuda_conv_run(p->library, y, second, made, scratch, c->stream)
                                   : nn_cuda_conv_run(p->library, first, y, made, scratch, c->stream);
}

static mn_err run_pass(const nn_call *c, const pass *p, const void *first, const void *second, void *made)
{
    void *scratch = place(c, state_of(c)->at_scratch);

    if (p->y_bytes) return run_padded(c, p, first, second, made);
    return p->library ? nn_cuda_conv_run(p->library, first, second, made, scratch, c->stream)
                      : nn_cuda_windows_run(p->windows, first, second, made, scratch, c->stream);
}

static mn_err forward(const nn_call *c)
{
    const nn_tensor *y = c->node->out[0];
    const int64_t out = mn_last(y->shape);

    MN_TRY(pack_weight(c));
    MN_TRY(run_pass(c, &state_of(c)->forward, c->in[X], c->work, c->out[0]));
    if (!c->in[BIAS]) return MN_OK;
    return nn_cuda_add_bias(y->dtype, mn_rows(y->shape), out, out, (const float *)c->in[BIAS], c->out[0], c->stream);
}

static mn_err d_bias(const nn_call *c)
{
    const nn_tensor *y = c->node->out[0];
    const int64_t rows = mn_rows(y->shape), out = mn_last(y->shape);
    float *parts = (float *)place(c, state_of(c)->at_parts);

    MN_TRY(nn_cuda_columns(y->dtype, rows, out, out, c->dout[0], parts, c->stream));
    return nn_cuda_columns_finish(rows, out, parts, (float *)c->din[BIAS], nn_cuda_acc(c, BIAS), c->stream);
}

struct same {
    __device__ float operator()(float a, float) const { return a; }
};

// The pass overwrites: what is to be added is made in the workspace.
static mn_err d_x(const nn_call *c)
{
    const int acc = nn_cuda_acc(c, X);
    void *made = acc ? place(c, state_of(c)->at_made) : c->din[X];

    MN_TRY(pack_weight(c));
    MN_TRY(run_pass(c, &state_of(c)->d_x, c->dout[0], c->work, made));
    if (!acc) return MN_OK;
    return NN_BY_TYPE(c->node->in[X]->dtype, T,
                      nn_cuda_map((T *)c->din[X], (const T *)made, (const T *)NULL, same{},
                                  mn_count(c->node->in[X]->shape), 1, c->stream));
}

static mn_err backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    if (c->din[BIAS]) MN_TRY(d_bias(c));
    if (c->din[WEIGHT]) {
        MN_TRY(run_pass(c, &state_of(c)->d_weight, c->in[X], c->dout[0], c->work));
        MN_TRY(unpack_gradient(c));
    }
    return c->din[X] ? d_x(c) : MN_OK;
}

// --- plan time ---------------------------------------------------------------------------------------------------------
static void free_pass(pass *p)
{
    nn_cuda_conv_free(p->library);
    nn_cuda_windows_free(p->windows);
}

static void release(nn_node *n)
{
    state *s = (state *)n->state;

    if (!s) return;
    free_pass(&s->forward);
    free_pass(&s->d_x);
    free_pass(&s->d_weight);
    free(s);
    n->state = NULL;
}

static size_t align_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static mn_err make_padded(pass *p, nn_cuda_conv_cfg cfg)
{
    cfg.right = cfg.left;
    MN_TRY(nn_cuda_conv_new(&p->library, cfg));
    if (!p->library) return MN_OK;
    p->steps = nn_cuda_conv_steps(cfg);
    p->y_bytes = align_up((size_t)(cfg.rows * p->steps * cfg.out) * mn_dtype_size(cfg.io));
    return MN_OK;
}

static mn_err make_pass(state *s, pass *p, nn_conv_pass which, size_t *most)
{
    nn_cuda_conv_cfg cfg = s->cfg;
    size_t bytes;

    p->which = cfg.pass = which;
    MN_TRY(nn_cuda_conv_new(&p->library, cfg));
    if (!p->library && cfg.left > cfg.right) MN_TRY(make_padded(p, cfg));
    if (!p->library) MN_TRY(nn_cuda_windows_new(&p->windows, cfg, 0));
    bytes = p->y_bytes + nn_cuda_conv_work(p->library) + nn_cuda_windows_work(p->windows);
    if (bytes > *most) *most = bytes;
    return MN_OK;
}

static size_t reserve(size_t *used, size_t bytes)
{
    const size_t at = *used;

    *used += align_up(bytes);
    return at;
}

static mn_err prepare(nn_node *n)
{
    state *s = (state *)mn_calloc(1, sizeof *s);
    const conv_attr *a = (const conv_attr *)n->attr;
    const mn_shape x = n->in[X]->shape, y = n->out[0]->shape;
    size_t used = 0, most = 0;

    n->state = s;
    s->cfg = {.rows = x.d[0],
              .t = x.d[1],
              .in = x.d[2],
              .out = a->out,
              .kernel = a->kernel,
              .stride = a->stride,
              .left = a->pad,
              .right = a->pad - a->drop_last * a->stride,
              .groups = a->groups,
              .io = n->in[X]->dtype};
    (void)reserve(&used, (size_t)mn_count(n->in[WEIGHT]->shape) * sizeof(float));
    if (n->grad_in & 1u << BIAS) s->at_parts = reserve(&used, nn_cuda_columns_work(mn_rows(y), a->out));
    if (n->acc_in & 1u << X) s->at_made = reserve(&used, (size_t)mn_count(x) * mn_dtype_size(s->cfg.io));
    s->at_scratch = used;
    MN_TRY(make_pass(s, &s->forward, NN_CONV_FORWARD, &most));
    if (n->grad_in & 1u << X) MN_TRY(make_pass(s, &s->d_x, NN_CONV_D_X, &most));
    if (n->grad_in & 1u << WEIGHT) MN_TRY(make_pass(s, &s->d_weight, NN_CONV_D_WEIGHT, &most));
    n->work_bytes = used + most;
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_conv1d = {forward, backward, prepare, release};
