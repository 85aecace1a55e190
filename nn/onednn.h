// Matrix products and convolutions of oneDNN, made at plan time and run many times: the only place that knows the
// library and the difference between its versions 2 and 3.
//
//     MN_TRY(nn__gemm_new(&s->forward, &(nn__gemm_cfg){.m = rows, .n = out, .k = in, .in = MN_BF16, .out = MN_BF16,
//                                                      .b_transposed = 1, .bias = 1}));
//     n->work_bytes = nn__gemm_work(s->forward);
//     ...
//     MN_TRY(nn__gemm_run(s->forward, x, weight, bias, y, c->work));
//
// bf16 operands are multiplied into fp32 sums. Where the library has no bf16 kernel for the processor, the operands
// are widened into the workspace and multiplied in fp32.
// Threading: an object serves one thread at a time, outside parallel regions; it uses the OpenMP threads it was made
// with.
#ifndef NN_ONEDNN_H
#define NN_ONEDNN_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

// C (m, n) = [C +] A (m, k) B (k, n) [+ bias (n)].
typedef struct nn__gemm_cfg {
    int64_t m, n, k;
    mn_dtype in, out;               // of A and B; of C: MN_F32 or MN_BF16
    int a_transposed, b_transposed; // A is stored (k, m), B is stored (n, k)
    int64_t lda, ldb, ldc;          // elements between stored rows; 0: no gap
    int bias;                       // f32
    int add;                        // C += instead of C =
} nn__gemm_cfg;

typedef struct nn__gemm nn__gemm;
MN_MUST_CHECK mn_err nn__gemm_new(nn__gemm **out, const nn__gemm_cfg *cfg);
void nn__gemm_free(nn__gemm *g);
size_t nn__gemm_work(const nn__gemm *g); // bytes of workspace that run wants, 64-byte aligned; 0: none
// bias is ignored when the configuration has none.
MN_MUST_CHECK mn_err nn__gemm_run(nn__gemm *g, const void *a, const void *b, const float *bias, void *c, void *work);

// Convolution over time, channels last: x (rows, t, in), y (rows, n, out), weight (out, in / groups, kernel).
// n = (t + left + right - kernel) / stride + 1.
typedef struct nn__conv_cfg {
    int64_t rows, t, in, out, kernel, stride, left, right, groups;
    mn_dtype io;     // of x, y and their gradients
    mn_dtype weight; // of the weight as it is given
    int bias;
    int d_x, d_weight; // which backward passes will be run
} nn__conv_cfg;

typedef struct nn__conv nn__conv;
MN_MUST_CHECK mn_err nn__conv_new(nn__conv **out, const nn__conv_cfg *cfg);
void nn__conv_free(nn__conv *v);
size_t nn__conv_work(const nn__conv *v);
MN_MUST_CHECK mn_err nn__conv_forward(nn__conv *v, const void *x, const void *weight, const float *bias, void *y,
                                      void *work);
MN_MUST_CHECK mn_err nn__conv_d_x(nn__conv *v, const void *dy, const void *weight, void *dx, void *work);
// d_weight f32 (out, in / groups, kernel), d_bias f32 (out) or NULL; both are overwritten.
MN_MUST_CHECK mn_err nn__conv_d_weight(nn__conv *v, const void *x, const void *dy, float *d_weight, float *d_bias,
                                       void *work);

// "2.6.3": belongs to what a bit-equal resume depends on.
const char *nn_onednn_version(char *text, size_t size);
// The strongest vector extension it uses here (DNNL_MAX_CPU_ISA limits it): "AVX-512 with bf16".
const char *nn_onednn_isa(void);
// Whether the processor multiplies bf16 itself; else bf16 is stored only, and slower than f32.
int nn_cpu_has_bf16(void);

#endif
