#include "nn/cuda_wide.h"
#include "nn/ops/attr.h"

typedef struct merge {
    int64_t merged, n; // merged tokens of the batch; channels before merging
    unsigned width;    // merged tokens in a row of an image
} merge;

// First element, before merging, of quarter q of merged token m: quarters in the order (row, column) (0,0), (1,0), (0,1),
// (1,1).
__device__ static inline int64_t quarter_at(const merge &s, int64_t m, int q)
{
    unsigned row = (unsigned)m / s.width; // over the batch
    int64_t y = 2 * (int64_t)row + (q & 1), x = 2 * (int64_t)((unsigned)m % s.width) + (q >> 1);
    return (y * 2 * s.width + x) * s.n;
}

// The 4 n channels of a merged token, 16 bytes a thread, each read and written once. BACK: from the
// merged ones to (+)= the others.
template <class T, int V, int BACK> __global__ static void merge_tokens(T *to, const T *from, merge s, int acc)
{
    int64_t m = nn_cuda_row();

    for (int64_t k = nn_cuda_column<V>(); m < s.merged && k < 4 * s.n; k += nn_cuda_column_step<V>()) {
        float v[V];
        int q = (k >= s.n) + (k >= 2 * s.n) + (k >= 3 * s.n);
        int64_t apart = quarter_at(s, m, q) + (k - q * s.n), together = m * 4 * s.n + k;
        nn_cuda_read<V>(v, from + (BACK ? together : apart));
        nn_cuda_write<V>(to + (BACK ? apart : together), v, acc);
    }
}

template <class T, int V, int BACK> static mn_err launch(const nn_call *c, void *to, const void *from, int acc)
{
    const nn_node *n = c->node;
    const patch_merge_attr *attr = (const patch_merge_attr *)n->attr;
    merge s = {mn_rows(n->out_shape[0]), mn_last(n->in[0]->shape), (unsigned)(attr->width / 2)};
    nn_cuda_shape g = nn_cuda_row_shape(s.merged, 4 * s.n / V);

    return NN_LAUNCH((merge_tokens<T, V, BACK>), g.grid, g.block, 0, c->stream, (T *)to, (const T *)from, s, acc);
}

static mn_err forward(const nn_call *c)
{
    int64_t n = mn_last(c->node->in[0]->shape);

    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_BY_WIDTH(nn_cuda_vector<T>(n, c->in[0], c->out[0], c->out[0]), T, V,
                                  launch<T, V, 0>(c, c->out[0], c->in[0], 0)));
}

static mn_err backward(const nn_call *c)
{
    int64_t n = mn_last(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_BY_WIDTH(nn_cuda_vector<T>(n, c->dout[0], c->din[0], c->din[0]), T, V,
                                  launch<T, V, 1>(c, c->din[0], c->dout[0], nn_cuda_acc(c, 0))));
}

extern "C" const nn_kernels nn_cuda_patch_merge = {forward, backward};
