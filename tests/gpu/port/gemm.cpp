// nn/cuda_gemm.h for the CPU port: plain loops with fp32 sums, put into the stream like a kernel. The bias and the sums
// take the passes of their own that the real one has for what the library cannot do, so that these run in every test.
#include "nn/cuda_gemm.h"

#include "nn/cuda_epilogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

extern "C" {
#include "nn/base/mem.h"
}

enum { WORKSPACE = 512 }; // of the "library": overwritten by every run, as the real one's is

struct nn_cuda_gemm {
    nn_cuda_gemm_cfg cfg;
    size_t at_own;
};

static float value(const void *p, mn_dtype t, int64_t i)
{
    return t == MN_BF16 ? (float)((const nn_bf16 *)p)[i] : ((const float *)p)[i];
}

static void multiply(const nn_cuda_gemm_cfg &g, const void *a, int64_t at_a, const void *b, int64_t at_b, void *c,
                     int64_t at_c)
{
    std::vector<float> row((size_t)g.n);

    for (int64_t i = 0; i < g.m; i++) {
        for (float &v : row)
            v = 0;
        for (int64_t p = 0; p < g.k; p++) {
            const float x = value(a, g.in, at_a + (g.a_transposed ? p * g.lda + i : i * g.lda + p));
            for (int64_t j = 0; j < g.n; j++)
                row[(size_t)j] += x * value(b, g.in, at_b + (g.b_transposed ? j * g.ldb + p : p * g.ldb + j));
        }
        for (int64_t j = 0; j < g.n; j++) {
            const int64_t at = at_c + i * g.ldc + j;
            const float sum = row[(size_t)j] + (g.add ? value(c, g.out, at) : 0);
            if (g.out == MN_BF16)
                ((nn_bf16 *)c)[at] = (nn_bf16)sum;
            else
                ((float *)c)[at] = sum;
        }
    }
}

mn_err nn_cuda_gemm_new(nn_cuda_gemm **out, const nn_cuda_gemm_cfg &cfg)
{
    nn_cuda_gemm_cfg full = cfg;

    MN_TRY(nn_cuda_gemm_check(&full));
    *out = (nn_cuda_gemm *)mn_calloc(1, sizeof **out);
    (*out)->cfg = full;
    (*out)->at_own = full.sums ? (nn_cuda_columns_work(full.k, full.m) + 255) / 256 * 256 : 0;
    return MN_OK;
}

void nn_cuda_gemm_free(nn_cuda_gemm *g)
{
    free(g);
}

size_t nn_cuda_gemm_work(const nn_cuda_gemm *g)
{
    return g ? g->at_own + WORKSPACE : 0;
}

mn_err nn_cuda_gemm_run(nn_cuda_gemm *g, const nn_cuda_gemm_args &args, void *stream)
{
    const nn_cuda_gemm_cfg c = g->cfg;
    const nn_cuda_gemm_args p = args;
    char *scratch = (char *)args.work + g->at_own;

    MN_TRY(nn_cuda_gemm_check_args(&c, args));
    if (!args.work) return mn_fail(MN_EINTERNAL, "matrix product without its workspace");
    cuda_port_enqueue((cudaStream_t)stream, "gemm", [=] {
        memset(scratch, 0xff, WORKSPACE);
        for (int64_t i = 0; i < c.batch; i++)
            multiply(c, p.a, i * c.stride_a, p.b, i * c.stride_b, p.c, i * c.stride_c);
    });
    for (int64_t i = 0; c.bias && i < c.batch; i++)
        MN_TRY(nn_cuda_add_bias(c.out, c.m, c.n, c.ldc, p.bias,
                                (char *)p.c + (size_t)(i * c.stride_c) * mn_dtype_size(c.out), stream));
    if (!c.sums) return MN_OK;
    MN_TRY(nn_cuda_columns(c.in, c.k, c.m, c.lda, p.a, (float *)p.work, stream));
    return nn_cuda_columns_finish(c.k, c.m, (const float *)p.work, p.sums, 0, stream);
}

void nn_cuda_gemm_tune(int) {}

void *nn_cuda_lt()
{
    static int handle;
    return &handle;
}

void nn_cuda_gemm_shutdown() {}

const char *nn_cuda_gemm_version(char *text, size_t size)
{
    snprintf(text, size, "CPU port");
    return text;
}
