#include "nn/cuda_kernel.h"
#include "nn/ops/attr.h"

template <class T> __global__ static void add(T *z, const T *x, const T *y, float a, float b, int64_t n)
{
    int64_t i = nn_cuda_index() * nn_cuda_vec<T>::N;
    if (i + nn_cuda_vec<T>::N <= n) {
        nn_cuda_vec<T> u = nn_cuda_load(x + i), v = nn_cuda_load(y + i), w;
        for (int k = 0; k < nn_cuda_vec<T>::N; k++)
            w.v[k] = (T)(a * (float)u.v[k] + b * (float)v.v[k]);
        nn_cuda_store(z + i, w);
    } else {
        for (; i < n; i++)
            z[i] = (T)(a * (float)x[i] + b * (float)y[i]);
    }
}

template <class T> __global__ static void scale(T *dx, const T *dz, float s, int64_t n, int acc)
{
    int64_t i = nn_cuda_index() * nn_cuda_vec<T>::N;
    if (i + nn_cuda_vec<T>::N <= n) {
        nn_cuda_vec<T> d = nn_cuda_load(dz + i), r = acc ? nn_cuda_load(dx + i) : d;
        for (int k = 0; k < nn_cuda_vec<T>::N; k++)
            r.v[k] = (T)(s * (float)d.v[k] + (acc ? (float)r.v[k] : 0));
        nn_cuda_store(dx + i, r);
    } else {
        for (; i < n; i++)
            nn_cuda_put(dx, i, s * (float)dz[i], acc);
    }
}

// Threads of 16 bytes each; tensors start at multiples of 64 bytes.
static unsigned blocks_of(const nn_call *c, int64_t n)
{
    return nn_cuda_blocks(n, NN_CUDA_THREADS * (c->node->in[0]->dtype == MN_BF16 ? 8 : 4));
}

static mn_err forward(const nn_call *c)
{
    const add_attr *attr = (const add_attr *)c->node->attr;
    int64_t n = mn_count(c->node->in[0]->shape);

    return NN_BY_TYPE(c->node->in[0]->dtype, T,
                      NN_LAUNCH(add<T>, blocks_of(c, n), NN_CUDA_THREADS, 0, c->stream, (T *)c->out[0],
                                (const T *)c->in[0], (const T *)c->in[1], attr->a, attr->b, n));
}

static mn_err backward(const nn_call *c)
{
    const add_attr *attr = (const add_attr *)c->node->attr;
    int64_t n = mn_count(c->node->in[0]->shape);
    int none;

    MN_TRY(nn_cuda_no_gradient(c, &none));
    for (int k = 0; k < 2 && !none; k++)
        if (c->din[k])
            MN_TRY(NN_BY_TYPE(c->node->in[0]->dtype, T,
                              NN_LAUNCH(scale<T>, blocks_of(c, n), NN_CUDA_THREADS, 0, c->stream, (T *)c->din[k],
                                        (const T *)c->dout[0], k ? attr->b : attr->a, n, nn_cuda_acc(c, k))));
    return MN_OK;
}

extern "C" const nn_kernels nn_cuda_add = {forward, backward};
