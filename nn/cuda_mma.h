// Small matrices in the registers of a warp and their product on the tensor cores; and copies to shared memory that run
// while the warp computes. Included by .cu files only.
//
//     nn_cuda_a<T> a;                                // 16 x 16
//     nn_cuda_b<T> b[2];                             // 16 x 8 each, neighbours
//     float c[2][4] = {};                            // 16 x 8 each
//     nn_cuda_load_a(a, q, row);                     // rows of shared memory, `row` elements apart
//     nn_cuda_load_b(b, k, row);                     // its transpose: column n of B is row n of k
//     nn_cuda_mma(c[0], a, b[0]);                    // c += a b
//
// Every lane of the warp calls. Lane l holds, with g = l / 4 and t = l % 4 (PTX ISA, fragments of mma.m16n8k16):
//     A (16 x 16):  v = A[g][2t], A[g][2t+1],  A[g+8][2t], [2t+1],  A[g][2t+8], [2t+9],  A[g+8][2t+8], [2t+9]
//     B (16 x 8):   v = B[2t][g], B[2t+1][g],  B[2t+8][g], B[2t+9][g]
//     C (16 x 8):   v = C[g][2t], C[g][2t+1],  C[g+8][2t], C[g+8][2t+1]                     (f32)
// so two neighbouring C are one A: what a product leaves can be multiplied again without leaving the registers.
// T = nn_bf16: two values a register, mma.sync (sm_80 and later). T = float: the same layout and fused multiply-adds in
// f32, operands by shuffle: exact where TF32 is not, about a fifth of the f32 peak.
// In the CPU port a lane reads the fragments of the other lanes where they lie, by the layout above.
// Shared memory: addresses and rows are multiples of 16 bytes; rows of 32 m + 16 bytes (m any) have no bank conflicts.
#ifndef NN_CUDA_MMA_H
#define NN_CUDA_MMA_H

#include "nn/cuda_kernel.h"

// Before a loop over registers: an index that is not a constant would move them to memory.
#ifdef __CUDACC__
#define NN_UNROLL _Pragma("unroll")
#define NN_ROLL _Pragma("unroll 1")
#else
#define NN_UNROLL
#define NN_ROLL
#endif

template <class T> struct nn_cuda_a {
    T v[8];
};
template <class T> struct nn_cuda_b {
    T v[4];
};
template <> struct alignas(16) nn_cuda_a<nn_bf16> {
    uint32_t v[4];
};
template <> struct alignas(8) nn_cuda_b<nn_bf16> {
    uint32_t v[2];
};

__device__ static inline int nn_cuda_lane()
{
    return (int)threadIdx.x % 32;
}

__device__ static inline uint32_t nn_cuda_pack(float x, float y)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// A from two neighbouring sums.
__device__ static inline void nn_cuda_a_of(nn_cuda_a<nn_bf16> &a, const float (&left)[4], const float (&right)[4])
{
    a.v[0] = nn_cuda_pack(left[0], left[1]);
    a.v[1] = nn_cuda_pack(left[2], left[3]);
    a.v[2] = nn_cuda_pack(right[0], right[1]);
    a.v[3] = nn_cuda_pack(right[2], right[3]);
}
__device__ static inline void nn_cuda_a_of(nn_cuda_a<float> &a, const float (&left)[4], const float (&right)[4])
{
    NN_UNROLL
    for (int i = 0; i < 4; i++) {
        a.v[i] = left[i];
        a.v[4 + i] = right[i];
    }
}

// --- from shared memory ----------------------------------------------------------------------------------------------
// Four matrices of 8 x 8 bf16: lane l gives the address of row l % 8 of matrix l / 8; r[i] is, of matrix i, row g at
// columns 2t and 2t + 1, or with `down` column g at rows 2t and 2t + 1.
template <bool down> __device__ static inline void nn_cuda_ldmatrix(uint32_t (&r)[4], const nn_bf16 *row)
{
#ifdef __CUDACC__
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if (down)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
#else
    const void *rows[32];
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    if ((uintptr_t)row % 16) __builtin_trap();
    cuda_port_gather(row, rows);
    for (int i = 0; i < 4; i++) {
        const nn_bf16 *const *m = (const nn_bf16 *const *)rows + 8 * i;
        r[i] = down ? nn_cuda_pack(m[2 * t][g], m[2 * t + 1][g]) : nn_cuda_pack(m[g][2 * t], m[g][2 * t + 1]);
    }
    __syncwarp();
#endif
}

// A[i][k] = x[i * row + k].
__device__ static inline void nn_cuda_load_a(nn_cuda_a<nn_bf16> &a, const nn_bf16 *x, int row)
{
    int l = nn_cuda_lane();
    nn_cuda_ldmatrix<false>(a.v, x + l % 16 * row + l / 16 * 8);
}
// A[i][k] = x[k * row + i].
__device__ static inline void nn_cuda_load_a_down(nn_cuda_a<nn_bf16> &a, const nn_bf16 *x, int row)
{
    int l = nn_cuda_lane();
    nn_cuda_ldmatrix<true>(a.v, x + (l % 8 + l / 16 * 8) * row + l / 8 % 2 * 8);
}
// B[k][n] = x[n * row + k], n in [0, 16).
__device__ static inline void nn_cuda_load_b(nn_cuda_b<nn_bf16> (&b)[2], const nn_bf16 *x, int row)
{
    int l = nn_cuda_lane();
    uint32_t r[4];
    nn_cuda_ldmatrix<false>(r, x + (l % 8 + l / 16 * 8) * row + l / 8 % 2 * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
}
// B[k][n] = x[k * row + n], n in [0, 16).
__device__ static inline void nn_cuda_load_b_down(nn_cuda_b<nn_bf16> (&b)[2], const nn_bf16 *x, int row)
{
    int l = nn_cuda_lane();
    uint32_t r[4];
    nn_cuda_ldmatrix<true>(r, x + l % 16 * row + l / 16 * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
}

__device__ static inline void nn_cuda_load_a(nn_cuda_a<float> &a, const float *x, int row)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    NN_UNROLL
    for (int i = 0; i < 8; i++)
        a.v[i] = x[(g + i / 2 % 2 * 8) * row + 2 * t + i % 2 + i / 4 * 8];
}
__device__ static inline void nn_cuda_load_a_down(nn_cuda_a<float> &a, const float *x, int row)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    NN_UNROLL
    for (int i = 0; i < 8; i++)
        a.v[i] = x[(2 * t + i % 2 + i / 4 * 8) * row + g + i / 2 % 2 * 8];
}
__device__ static inline void nn_cuda_load_b(nn_cuda_b<float> (&b)[2], const float *x, int row)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    NN_UNROLL
    for (int i = 0; i < 8; i++)
        b[i / 4].v[i % 4] = x[(g + i / 4 * 8) * row + 2 * t + i % 2 + i / 2 % 2 * 8];
}
__device__ static inline void nn_cuda_load_b_down(nn_cuda_b<float> (&b)[2], const float *x, int row)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    NN_UNROLL
    for (int i = 0; i < 8; i++)
        b[i / 4].v[i % 4] = x[(2 * t + i % 2 + i / 2 % 2 * 8) * row + g + i / 4 * 8];
}

// --- products --------------------------------------------------------------------------------------------------------
// c += a b by shuffles: lane q of a row holds 4 of its 16 columns, and as many of the rows of B.
__device__ static inline void nn_cuda_mma_shuffled(float (&c)[4], const nn_cuda_a<float> &a, const nn_cuda_b<float> &b)
{
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    NN_ROLL
    for (int q = 0; q < 4; q++) {
        NN_UNROLL
        for (int i = 0; i < 4; i++) { // k = 2q + i % 2 + i / 2 * 8
            float up = __shfl_sync(~0u, a.v[i % 2 + i / 2 * 4], 4 * g + q);
            float low = __shfl_sync(~0u, a.v[i % 2 + i / 2 * 4 + 2], 4 * g + q);
            float left = __shfl_sync(~0u, b.v[i], 8 * t + q), right = __shfl_sync(~0u, b.v[i], 8 * t + 4 + q);
            c[0] = fmaf(up, left, c[0]);
            c[1] = fmaf(up, right, c[1]);
            c[2] = fmaf(low, left, c[2]);
            c[3] = fmaf(low, right, c[3]);
        }
    }
}

#ifdef __CUDACC__
__device__ static inline void nn_cuda_mma(float (&c)[4], const nn_cuda_a<nn_bf16> &a, const nn_cuda_b<nn_bf16> &b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
}
__device__ static inline void nn_cuda_mma(float (&c)[4], const nn_cuda_a<float> &a, const nn_cuda_b<float> &b)
{
    nn_cuda_mma_shuffled(c, a, b);
}
#else
static inline float nn_cuda_half(const uint32_t *v, int i)
{
    return __uint_as_float(i % 2 ? v[i / 2] & 0xffff0000u : v[i / 2] << 16);
}
static inline float nn_cuda_half(const float *v, int i)
{
    return v[i];
}
template <class T> static inline void nn_cuda_mma(float (&c)[4], const nn_cuda_a<T> &a, const nn_cuda_b<T> &b)
{
    struct operands {
        const nn_cuda_a<T> *a;
        const nn_cuda_b<T> *b;
    } mine = {&a, &b};
    const void *lanes[32];
    int g = nn_cuda_lane() / 4, t = nn_cuda_lane() % 4;
    cuda_port_gather(&mine, lanes);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 16; k++) {
            int holds = k % 8 / 2, n = 2 * t + i % 2, at = k % 2 + k / 8 * 4 + i / 2 * 2;
            const operands *left = (const operands *)lanes[4 * g + holds];
            const operands *right = (const operands *)lanes[4 * n + holds];
            c[i] += nn_cuda_half(left->a->v, at) * nn_cuda_half(right->b->v, k % 2 + k / 8 * 2);
        }
    __syncwarp();
}
#endif

// --- copies that are not waited for ----------------------------------------------------------------------------------
// Copies are put into groups; a thread waits for its own groups, a barrier makes them seen by the others. The port
// copies only when it is waited for.
struct nn_cuda_copies {
#ifndef __CUDACC__
    struct {
        void *to;
        const void *from;
        int group;
    } pending[1024];
    int n = 0, group = 0;
#endif
};

// 16 bytes, zeros unless ok (then nothing is read).
__device__ static inline void nn_cuda_copy16(nn_cuda_copies &q, void *shared, const void *from, bool ok)
{
#ifdef __CUDACC__
    (void)q;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
                 "l"(from), "r"(ok ? 16 : 0)
                 : "memory");
#else
    if (q.n == 1024 || (uintptr_t)shared % 16 || (ok && (uintptr_t)from % 16)) __builtin_trap();
    q.pending[q.n++] = {shared, ok ? from : NULL, q.group};
#endif
}
__device__ static inline void nn_cuda_copy_group(nn_cuda_copies &q)
{
#ifdef __CUDACC__
    (void)q;
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    q.group++;
#endif
}
// All groups but the last `left`.
template <int left> __device__ static inline void nn_cuda_copy_wait(nn_cuda_copies &q)
{
#ifdef __CUDACC__
    (void)q;
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
    int kept = 0;
    for (int i = 0; i < q.n; i++) {
        if (q.pending[i].group >= q.group - left)
            q.pending[kept++] = q.pending[i];
        else if (q.pending[i].from)
            memcpy(q.pending[i].to, q.pending[i].from, 16);
        else
            memset(q.pending[i].to, 0, 16);
    }
    q.n = kept;
#endif
}

#endif
