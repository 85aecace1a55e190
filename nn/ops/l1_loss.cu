// SimMIM's loss over the masked patches, with the pixel shuffle in the addresses. What is computed: nn/ops/l1_loss.c.
// A thread takes V neighbouring pixels of a cell in all three channels: three accesses of pred, 3 V floats of the image
// in whole accesses. What is not masked is not read; backward writes zeros there.
#include "nn/cuda_loss.h"
#include "nn/ops/attr.h"

enum { PRED, IMAGE, MASK, WEIGHT, GLOBAL };
enum { L1_RESIDENT = 3, L1_BLOCKS = L1_RESIDENT * 132 }; // blocks of the sums, all there at once

template <class T> struct l1_pixels {
    const T *pred;       // (B, cells, 3, cell, cell)
    const float *image;  // (B, H, W, 3)
    const uint8_t *mask; // (B, H / patch, W / patch)
    const float *weight; // (B) or NULL
    int64_t rows;        // B cells
    unsigned cells, across, cell, patch, height, width;
};

// Pixels k .. k + V of cell r: where they are.
struct l1_site {
    int64_t pred, image; // of the first pixel, channel 0
    unsigned masked;     // bit g: group g of pixels
};

// Groups of pixels that share a patch.
template <int V> struct l1_group {
    static constexpr int N = V < 4 ? V : 4;
};

template <int V, class T> __device__ static inline l1_site site_of(const l1_pixels<T> &a, int64_t r, unsigned k)
{
    constexpr unsigned G = l1_group<V>::N;
    unsigned b = (unsigned)r / a.cells, cell = (unsigned)r % a.cells;
    unsigned y = cell / a.across * a.cell + k / a.cell, x = cell % a.across * a.cell + k % a.cell;
    int64_t patches = a.width / a.patch, row = ((int64_t)b * (a.height / a.patch) + y / a.patch) * patches;
    l1_site s = {r * 3 * a.cell * a.cell + k, (((int64_t)b * a.height + y) * a.width + x) * 3, 0};

    NN_UNROLL
    for (unsigned g = 0; g < V / G; g++)
        s.masked |= a.mask[row + (x + g * G) / a.patch] ? 1u << g : 0;
    return s;
}

template <class T> __device__ static inline float row_weight(const l1_pixels<T> &a, int64_t r)
{
    return a.weight ? a.weight[(unsigned)r / a.cells] : 1;
}

// Sum of |pred - image| over the masked pixels of a site, and their number.
template <int V, class T>
__device__ static inline void add_site(const l1_pixels<T> &a, l1_site s, float *sum, int *count)
{
    constexpr int G = l1_group<V>::N;
    float image[3 * V], pred[V];

    nn_cuda_read<3 * V>(image, a.image + s.image);
    NN_UNROLL
    for (int ch = 0; ch < 3; ch++) {
        nn_cuda_read<V>(pred, a.pred + s.pred + ch * a.cell * a.cell);
        NN_UNROLL
        for (int i = 0; i < V; i++)
            if (s.masked >> (i / G) & 1) *sum += fabsf(pred[i] - image[3 * i + ch]);
    }
    NN_UNROLL
    for (int i = 0; i < V; i++)
        *count += (int)(s.masked >> (i / G) & 1);
}

template <class T, int V>
__global__ __launch_bounds__(NN_CUDA_THREADS, L1_RESIDENT) static void l1_sum(double *part, l1_pixels<T> a)
{
    double sums[2] = {0, 0};

    for (int64_t r = nn_cuda_row(); r < a.rows; r += (int64_t)gridDim.x * blockDim.y) {
        double w = (double)row_weight(a, r);
        for (unsigned k = threadIdx.x * V; k < a.cell * a.cell && w != 0; k += blockDim.x * V) {
            l1_site s = site_of<V>(a, r, k);
            float sum = 0;
            int count = 0;
            if (!s.masked) continue;
            add_site<V>(a, s, &sum, &count);
            sums[0] += w * (double)sum;
            sums[1] += w * (double)count;
        }
    }
    nn_cuda_put_sums<2>(part + blockIdx.x * 2, sums);
}

// Gradient of the absolute difference e; NaN stays visible.
__device__ static inline float sign_of(float e, float size)
{
    return e > 0 ? size : e < 0 ? -size : e * 0.0f;
}

template <class T, int V>
__global__ static void l1_grad(T *dpred, l1_pixels<T> a, const double *sums, const double *dout, int acc)
{
    constexpr int G = l1_group<V>::N;
    int64_t r = nn_cuda_row();
    if (r >= a.rows) return;
    double w = (double)row_weight(a, r);
    float size = w != 0 ? (float)(*dout * w / (3 * (sums[1] + 1e-5))) : 0;

    for (int64_t k = nn_cuda_column<V>(); k < a.cell * a.cell; k += nn_cuda_column_step<V>()) {
        l1_site s = site_of<V>(a, r, (unsigned)k);
        float image[3 * V], pred[V];
        int read = s.masked && w != 0;
        if (read) nn_cuda_read<3 * V>(image, a.image + s.image);
        NN_UNROLL
        for (int ch = 0; ch < 3; ch++) {
            int64_t at = s.pred + ch * a.cell * a.cell;
            if (read) nn_cuda_read<V>(pred, a.pred + at);
            NN_UNROLL
            for (int i = 0; i < V; i++)
                pred[i] = read && (s.masked >> (i / G) & 1) ? sign_of(pred[i] - image[3 * i + ch], size) : 0;
            nn_cuda_write<V>(dpred + at, pred, acc);
        }
    }
}

template <class T> static l1_pixels<T> pixels_of(const nn_call *c)
{
    const l1_attr *attr = (const l1_attr *)c->node->attr;
    mn_shape image = c->node->in[IMAGE]->shape;
    unsigned height = (unsigned)image.d[1], width = (unsigned)image.d[2], cell = (unsigned)attr->cell;

    return {(const T *)c->in[PRED],
            (const float *)c->in[IMAGE],
            (const uint8_t *)c->in[MASK],
            (const float *)c->in[WEIGHT],
            mn_rows(c->node->in[PRED]->shape),
            height / cell * (width / cell),
            width / cell,
            cell,
            (unsigned)attr->patch,
            height,
            width};
}

// Whole accesses lie in a row of a cell, and four pixels in a patch.
static int is_wide(const nn_node *n)
{
    const l1_attr *attr = (const l1_attr *)n->attr;
    return attr->cell % (n->in[PRED]->dtype == MN_BF16 ? 8 : 4) == 0 && attr->patch % 4 == 0;
}

static nn_cuda_shape shape_of(const nn_node *n, int V)
{
    int64_t cell = ((const l1_attr *)n->attr)->cell;
    return nn_cuda_row_shape(mn_rows(n->in[PRED]->shape), cell * cell / V);
}

// One row of blocks, each over many cells.
static nn_cuda_shape sum_shape_of(const nn_node *n, int V)
{
    nn_cuda_shape s = shape_of(n, V);
    unsigned most = (unsigned)nn_cuda_grid(L1_BLOCKS);
    s.grid = dim3(s.grid.x < most ? s.grid.x : most);
    return s;
}

template <class T, int V> static mn_err launch_sums(const nn_call *c)
{
    nn_cuda_shape s = sum_shape_of(c->node, V);

    MN_TRY(NN_LAUNCH((l1_sum<T, V>), s.grid, s.block, 0, c->stream, (double *)c->work, pixels_of<T>(c)));
    return nn_cuda_finish_sums(c, s.grid.x, 2);
}

static mn_err sums_forward(const nn_call *c)
{
    return NN_BY_TYPE(c->node->in[PRED]->dtype, T, NN_BY_WIDTH(is_wide(c->node), T, V, launch_sums<T, V>(c)));
}

static mn_err sums_prepare(nn_node *n)
{
    n->work_bytes = (size_t)L1_BLOCKS * 2 * sizeof(double);
    return MN_OK;
}

__global__ static void l1_value(double *out, const double *sums)
{
    *out = sums[0] / (sums[1] + 1e-5) / 3;
}

static mn_err loss_forward(const nn_call *c)
{
    return NN_LAUNCH(l1_value, 1, 1, 0, c->stream, (double *)c->out[0], (const double *)c->in[GLOBAL]);
}

template <class T, int V> static mn_err launch_grad(const nn_call *c)
{
    nn_cuda_shape s = shape_of(c->node, V);
    return NN_LAUNCH((l1_grad<T, V>), s.grid, s.block, 0, c->stream, (T *)c->din[PRED], pixels_of<T>(c),
                     (const double *)c->in[GLOBAL], (const double *)c->dout[0], nn_cuda_acc(c, PRED));
}

static mn_err loss_backward(const nn_call *c)
{
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    if (none) return MN_OK;
    return NN_BY_TYPE(c->node->in[PRED]->dtype, T, NN_BY_WIDTH(is_wide(c->node), T, V, launch_grad<T, V>(c)));
}

extern "C" const nn_kernels nn_cuda_l1_sums = {sums_forward, NULL, sums_prepare};
extern "C" const nn_kernels nn_cuda_l1_loss = {loss_forward, loss_backward};
