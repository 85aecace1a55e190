// Pixels (B, H, W, ch) to patches (B, H / p W / p, ch p p). A thread makes 8 neighbouring values of a patch; the channels
// of a pixel are picked up by threads of the same block, so that memory is read once and L1 gives the rest.
#include "nn/cuda_wide.h"
#include "nn/ops/attr.h"

typedef struct patches {
    int64_t count;          // patches of the batch
    unsigned across;        // patches in a row of an image
    int p, ch, size;        // pixels on a side, channels, elements of a patch
    int64_t width, per_row; // elements of a row of pixels; of a row of patches
} patches;

// First pixel of patch m, as an element of the image tensor.
__device__ static inline int64_t patch_at(const patches &s, int64_t m)
{
    unsigned row = (unsigned)m / s.across; // over the batch
    return row * s.per_row + (int64_t)((unsigned)m % s.across) * s.p * s.ch;
}

template <class I, class O, int V> __global__ static void pixels_to_patches(O *y, const I *x, patches s)
{
    int64_t m = nn_cuda_row();
    if (m >= s.count) return;
    const I *pixel = x + patch_at(s, m);

    for (int64_t k = nn_cuda_column<V>(); k < s.size; k += nn_cuda_column_step<V>()) {
        unsigned area = (unsigned)(s.p * s.p), at = (unsigned)k % area;
        int q = (int)((unsigned)k / area), i = (int)(at / (unsigned)s.p), j = (int)(at % (unsigned)s.p);
        float v[V];
        NN_UNROLL
        for (int e = 0; e < V; e++) {
            v[e] = (float)pixel[i * s.width + j * s.ch + q];
            if (++j < s.p) continue;
            j = 0;
            if (++i < s.p) continue;
            i = 0;
            q++;
        }
        nn_cuda_write<V>(y + m * s.size + k, v, 0);
    }
}

// One value a thread: images have no gradient in any of our networks.
template <class I, class O> __global__ static void patches_to_pixels(const O *dy, I *dx, patches s, int acc)
{
    int64_t m = nn_cuda_row();

    for (int64_t k = nn_cuda_column<1>(); m < s.count && k < s.size; k += nn_cuda_column_step<1>()) {
        int64_t q = k % s.ch, j = k / s.ch % s.p, i = k / s.ch / s.p;
        nn_cuda_put(dx, patch_at(s, m) + i * s.width + j * s.ch + q, (float)dy[m * s.size + (q * s.p + i) * s.p + j],
                    acc);
    }
}

static patches patches_of(const nn_node *n)
{
    mn_shape s = n->in[0]->shape; // (B, H, W, ch)
    int64_t p = ((const patchify_attr *)n->attr)->p;

    return {.count = s.d[0] * (s.d[1] / p) * (s.d[2] / p),
            .across = (unsigned)(s.d[2] / p),
            .p = (int)p,
            .ch = (int)s.d[3],
            .size = (int)(p * p * s.d[3]),
            .width = s.d[2] * s.d[3],
            .per_row = p * s.d[2] * s.d[3]};
}

template <class I, class O> static mn_err launch_forward(const nn_call *c)
{
    constexpr int V = 8;
    patches s = patches_of(c->node);
    int wide = s.size % V == 0;
    nn_cuda_shape g = nn_cuda_row_shape(s.count, wide ? s.size / V : s.size);

    if (wide)
        return NN_LAUNCH((pixels_to_patches<I, O, V>), g.grid, g.block, 0, c->stream, (O *)c->out[0],
                         (const I *)c->in[0], s);
    return NN_LAUNCH((pixels_to_patches<I, O, 1>), g.grid, g.block, 0, c->stream, (O *)c->out[0], (const I *)c->in[0],
                     s);
}

template <class I, class O> static mn_err launch_backward(const nn_call *c)
{
    patches s = patches_of(c->node);
    nn_cuda_shape g = nn_cuda_row_shape(s.count, s.size);

    return NN_LAUNCH((patches_to_pixels<I, O>), g.grid, g.block, 0, c->stream, (const O *)c->dout[0], (I *)c->din[0], s,
                     nn_cuda_acc(c, 0));
}

static mn_err forward(const nn_call *c)
{
    return NN_BY_TYPE(c->node->in[0]->dtype, I, NN_BY_TYPE(c->node->out_dtype[0], O, launch_forward<I, O>(c)));
}

static mn_err backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[0]->dtype, I, NN_BY_TYPE(c->node->out_dtype[0], O, launch_backward<I, O>(c)));
}

extern "C" const nn_kernels nn_cuda_patchify = {forward, backward};
