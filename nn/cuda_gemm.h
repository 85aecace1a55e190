// Matrix products of cuBLASLt, made at plan time and run many times: descriptors, layouts and the algorithm are chosen
// once. Row-major, with the meaning of nn__gemm_cfg (nn/onednn.h); bf16 or f32 operands, fp32 sums, TF32 off.
//
//     MN_TRY(nn_cuda_gemm_new(&s->forward, {.m = rows, .n = out, .k = in, .in = MN_BF16, .out = MN_BF16,
//                                           .b_transposed = 1, .bias = 1}));
//     n->work_bytes = nn_cuda_gemm_work(s->forward);
//     ...
//     MN_TRY(nn_cuda_gemm_run(s->forward, {.a = x, .b = weight, .bias = bias, .c = y, .work = c->work}, c->stream));
//
// Only algorithms that repeat bit for bit: parts of a sum that are made apart lie in the workspace as fp32 and are added
// in a fixed order. Which algorithm is chosen changes the last bits, so a measured choice counts only where it can be
// kept (nn/base/cache.h): then every rank and every later start makes the same one. Without a place to keep it, the
// library's own first proposal is taken, which is the same every time.
// The library's GELU epilogue is the tanh form; ours is exact, so GELU is a pass of its own (nn/cuda_epilogue.h).
// Threading: the thread of the device. new may allocate and wait; run only puts work into the stream, and may be
// captured.
#ifndef NN_CUDA_GEMM_H
#define NN_CUDA_GEMM_H

#include "nn/cuda_kernel.h"

// C (m, n) = [C +] A (m, k) B (k, n) [+ bias (n)], for each of `batch` matrices.
typedef struct nn_cuda_gemm_cfg {
    int64_t m, n, k;
    mn_dtype in, out;                     // of A and B; of C: MN_F32 or MN_BF16; out f32 where in is f32
    int a_transposed, b_transposed;       // A is stored (k, m), B is stored (n, k)
    int64_t lda, ldb, ldc;                // elements between stored rows, at least their length; 0: no gap
    int64_t batch;                        // 0: one
    int64_t stride_a, stride_b, stride_c; // elements between the matrices of a batch; 0 of A or B: the same one
    int bias;                             // f32
    int sums; // f32 (m): sums of the columns of A as it is stored, made on the way; A transposed, no batch. With A = dz
              // stored (rows, out) that is the gradient of the bias, in the product that makes the weight's
    int add;  // C += instead of C =; the sums are overwritten all the same
} nn_cuda_gemm_cfg;

// Addresses are multiples of 16 bytes.
typedef struct nn_cuda_gemm_args {
    const void *a, *b;
    const float *bias; // when the configuration has it
    void *c;
    float *sums; // likewise
    void *work;
} nn_cuda_gemm_args;

typedef struct nn_cuda_gemm nn_cuda_gemm;
MN_MUST_CHECK mn_err nn_cuda_gemm_new(nn_cuda_gemm **out, const nn_cuda_gemm_cfg &cfg); // MN_EINTERNAL: bad cfg
void nn_cuda_gemm_free(nn_cuda_gemm *g);
size_t nn_cuda_gemm_work(const nn_cuda_gemm *g); // bytes of workspace that run wants; 0 for NULL
MN_MUST_CHECK mn_err nn_cuda_gemm_run(nn_cuda_gemm *g, const nn_cuda_gemm_args &args, void *stream);

// How many algorithms are timed for a product whose choice is not kept yet; below 2: none, and what is kept is not
// looked at. 4 until it is set.
void nn_cuda_gemm_tune(int candidates);
// cublasLtHandle_t of the current device, made on first use; NULL and a message when that fails.
void *nn_cuda_lt();
void nn_cuda_gemm_shutdown(); // frees it; all products must have been freed
// "13.1.0": belongs to what a bit-equal resume depends on.
const char *nn_cuda_gemm_version(char *text, size_t size);

// What both implementations (the library's, and the one of the CPU port) refuse and fill in.
static inline mn_err nn_cuda_gemm_check(nn_cuda_gemm_cfg *g)
{
    const int64_t a = g->a_transposed ? g->m : g->k, b = g->b_transposed ? g->k : g->n;

    if (g->batch == 0) g->batch = 1;
    if (g->lda == 0) g->lda = a;
    if (g->ldb == 0) g->ldb = b;
    if (g->ldc == 0) g->ldc = g->n;
    if (g->m < 1 || g->n < 1 || g->k < 1 || g->batch < 1)
        return mn_fail(MN_EINTERNAL, "matrix product of %lld x %lld x %lld, %lld times", (long long)g->m,
                       (long long)g->n, (long long)g->k, (long long)g->batch);
    if (g->lda < a || g->ldb < b || g->ldc < g->n)
        return mn_fail(
            MN_EINTERNAL, "matrix product: stored rows of %lld, %lld, %lld elements lie %lld, %lld, %lld apart",
            (long long)a, (long long)b, (long long)g->n, (long long)g->lda, (long long)g->ldb, (long long)g->ldc);
    if ((g->in != MN_F32 && g->in != MN_BF16) || (g->out != MN_F32 && g->out != MN_BF16) ||
        (g->in == MN_F32 && g->out == MN_BF16))
        return mn_fail(MN_EINTERNAL, "matrix product of %s into %s", mn_dtype_name(g->in), mn_dtype_name(g->out));
    if (g->batch > 1 && (g->sums || g->stride_c < g->n))
        return mn_fail(MN_EINTERNAL, "matrix products in a batch overlap, or want sums");
    if (g->sums && (g->bias || !g->a_transposed))
        return mn_fail(MN_EINTERNAL, "matrix product with sums of an operand that is not transposed, or with a bias");
    return MN_OK;
}
static inline mn_err nn_cuda_gemm_check_args(const nn_cuda_gemm_cfg *g, const nn_cuda_gemm_args &p)
{
    if (!p.a || !p.b || !p.c || (g->bias && !p.bias) || (g->sums && !p.sums))
        return mn_fail(MN_EINTERNAL, "matrix product without one of its operands");
    if (((uintptr_t)p.a | (uintptr_t)p.b | (uintptr_t)p.c | (g->bias ? (uintptr_t)p.bias : 0) |
         (g->sums ? (uintptr_t)p.sums : 0) | (uintptr_t)p.work) %
        16)
        return mn_fail(MN_EINTERNAL, "an operand of a matrix product does not start at a multiple of 16 bytes");
    return MN_OK;
}

#endif
