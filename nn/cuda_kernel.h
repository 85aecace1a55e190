// What the CUDA side of an op is written with; included by .cu files only.
//
//     #include "nn/cuda_kernel.h"
//     #include "nn/ops/attr.h"
//
//     template <class T> __global__ static void scale(T *y, const T *x, float s, int64_t n, int acc)
//     {
//         int64_t i = nn_cuda_index();
//         if (i < n) nn_cuda_put(y, i, s * nn_cuda_get(x, i), acc);
//     }
//
//     static mn_err forward(const nn_call *c)
//     {
//         int64_t n = mn_count(c->node->in[0]->shape);
//         return NN_BY_TYPE(c->node->in[0]->dtype, T,
//                           NN_LAUNCH(scale<T>, nn_cuda_blocks(n, 256), 256, 0, c->stream, (T *)c->out[0],
//                                     (const T *)c->in[0], 2.0f, n, 0));
//     }
//     extern "C" const nn_kernels nn_cuda_scale = {forward, backward};
//
// Rules. The same source is also compiled as C++ for the CPU (tests/gpu/port: one fiber per thread), so launches and
// dynamic shared memory go through the macros here, and every thread of a block that still runs must reach the same
// barriers and shuffles. A kernel call is recorded once into a CUDA graph and replayed for every step: whatever changes
// from step to step (the tick, the learning rate) is read from device memory, never passed by value. The host side may
// not allocate, copy to the host or wait. No float atomics: partial sums are written and added in index order, so that
// a run repeats bit for bit. Sums in fp32 at least; statistics and losses as the CPU kernel of the op has them.
// Threading: as nn/op.h; one stream.
#ifndef NN_CUDA_KERNEL_H
#define NN_CUDA_KERNEL_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "nn/op.h"
}

#include <math.h>
#include <type_traits>

typedef __nv_bfloat16 nn_bf16;

#ifdef __CUDACC__
#define NN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
    (kernel<<<(grid), (block), (shared_bytes), (cudaStream_t)(stream)>>>(__VA_ARGS__),                                 \
     nn_cuda_check(cudaGetLastError(), #kernel))
// Dynamic shared memory of a kernel; of one type per file, which is aligned to 16 bytes.
#define NN_SHARED(type, name)                                                                                          \
    extern __shared__ uint4 nn_cuda_shared[];                                                                          \
    type *name = (type *)nn_cuda_shared
#else
#define NN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
    (CUDA_PORT_LAUNCH(kernel, grid, block, shared_bytes, stream, __VA_ARGS__),                                         \
     nn_cuda_check(cudaGetLastError(), #kernel))
#define NN_SHARED(type, name) type *name = (type *)cuda_port_shared()
#endif

// The expression with T = float or nn_bf16, as the type of the activations says.
#define NN_BY_TYPE(dtype, T, ...)                                                                                      \
    ((dtype) == MN_BF16 ? [&] { typedef nn_bf16 T; return __VA_ARGS__; }()                                             \
                        : [&] { typedef float T; return __VA_ARGS__; }())

// MN_EDEVICE with CUDA's own words, unless e is success. what: the kernel or call.
mn_err nn_cuda_check(cudaError_t e, const char *what);

// Allows launches of the kernel with this much dynamic shared memory. The limit belongs to the kernel, not to a node: it
// is raised, never lowered, as another node of the graph may need what was there.
mn_err nn_cuda_allow_shared(const void *kernel, size_t bytes, const char *what);

enum { NN_CUDA_THREADS = 256, NN_CUDA_MAX_BLOCKS = 1 << 30 };

// Blocks of a grid that is made for the GPU's size and whose blocks take turns over larger tensors. The CPU port has few
// for some of its runs, so that they take turns over small tensors, too.
static inline int nn_cuda_grid(int blocks)
{
#ifdef __CUDACC__
    return blocks;
#else
    return cuda_port_grid(blocks);
#endif
}

static inline unsigned nn_cuda_blocks(int64_t n, int64_t per_block)
{
    return (unsigned)(n <= 0 ? 1 : (n + per_block - 1) / per_block);
}

// Does the backward of input i add to what is there?
static inline int nn_cuda_acc(const nn_call *c, int i)
{
    return (int)(c->acc >> i & 1u);
}

// Before anything else in a backward kernel of an op with one output: *none is 1 when that output has no gradient; then
// every wanted gradient that is not added to has been set to 0.
mn_err nn_cuda_no_gradient(const nn_call *c, int *none);

// --- on the device ---------------------------------------------------------------------------------------------------

__device__ static inline int64_t nn_cuda_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

template <class T> __device__ static inline float nn_cuda_get(const T *x, int64_t i)
{
    return (float)x[i];
}

template <class T> __device__ static inline void nn_cuda_put(T *y, int64_t i, float v, int acc)
{
    if (acc) v += (float)y[i];
    y[i] = (T)v;
}

// 16 bytes at a time: 4 floats or 8 bf16. The address must be a multiple of 16 (arenas and rows of even models are;
// check with nn_cuda_vector on the host and keep a scalar form).
template <class T> struct nn_cuda_vec {
    static constexpr int N = 16 / sizeof(T);
    alignas(16) T v[N];
};
template <class T> __device__ static inline nn_cuda_vec<T> nn_cuda_load(const T *x)
{
    nn_cuda_vec<T> r;
    *(uint4 *)r.v = *(const uint4 *)x;
    return r;
}
template <class T> __device__ static inline void nn_cuda_store(T *y, const nn_cuda_vec<T> &r)
{
    *(uint4 *)y = *(const uint4 *)r.v;
}
// May rows of n elements starting at these addresses be read 16 bytes at a time?
template <class T> static inline int nn_cuda_vector(int64_t n, const void *a, const void *b, const void *c)
{
    return n % (int64_t)(16 / sizeof(T)) == 0 && ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

// Sums and maxima over a warp, the same in every lane.
template <class T> __device__ static inline T nn_cuda_warp_sum(T v)
{
    for (int lanes = 16; lanes > 0; lanes /= 2)
        v += __shfl_xor_sync(~0u, v, lanes);
    return v;
}
__device__ static inline float nn_cuda_warp_max(float v)
{
    for (int lanes = 16; lanes > 0; lanes /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, lanes));
    return v;
}
// Sum over a block of whole warps (at most 1024 threads), the same in every thread; tmp: 32 values of shared memory.
// Ends with a barrier, so tmp may be used again at once.
template <class T> __device__ static inline T nn_cuda_block_sum(T v, T *tmp)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = ((int)blockDim.x + 31) / 32;
    v = nn_cuda_warp_sum(v);
    if (lane == 0) tmp[warp] = v;
    __syncthreads();
    v = nn_cuda_warp_sum(lane < warps ? tmp[lane] : (T)0);
    __syncthreads();
    return v;
}

// mn_rng_block on the device: the same numbers.
struct nn_cuda_rng4 {
    uint32_t v[4];
};
__device__ static inline nn_cuda_rng4 nn_cuda_rng(uint64_t key, uint64_t row, uint64_t tick, uint32_t block)
{
    uint32_t a = (uint32_t)row, b = (uint32_t)(row >> 32 & 0xffff) | (uint32_t)(tick >> 32) << 16, c = (uint32_t)tick,
             d = block, k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xD2511F53u * a, q = (uint64_t)0xCD9E8D57u * c;
        a = (uint32_t)(q >> 32) ^ b ^ k0;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ k1;
        d = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}
__device__ static inline float nn_cuda_uniform(uint32_t u)
{
    return (float)(u >> 8) * 0x1p-24f;
}

// Scale of a branch for row b of the batch (nn/ops/residual.h).
__device__ static inline float nn_cuda_drop_path(float drop, uint64_t key, const nn_tick *tick, int64_t b)
{
    if (drop <= 0) return 1;
    nn_cuda_rng4 u = nn_cuda_rng(key, (uint64_t)(tick->first_row + b), tick->step, 0);
    return nn_cuda_uniform(u.v[0]) < drop ? 0 : 1 / (1 - drop);
}

// y[i] (+)= part[i] + part[stride + i] + ... of `blocks` rows, in a fixed order, in f64 (nn/cuda_columns.h).
mn_err nn_cuda_add_blocks(float *y, const float *part, int64_t blocks, int64_t stride, int64_t n, int acc,
                          void *stream);

// The table that the module exports: nn_cuda_<op> for every line of nn/ops.def. An op without one fails to link.
extern "C" {
#define NN_OP(name) extern const nn_kernels nn_cuda_##name;
#include "nn/ops.def"
#undef NN_OP
}

#endif
