#include "nn/base/mem.h"
#include "nn/onednn.h"
#include "nn/onednn_prim.h"
#include "nn/ops/convert.h"

#include <stdlib.h>

struct nn__gemm {
    nn__gemm_cfg cfg;
    dnnl_engine_t engine;
    nn__prim prim;
    int widened; // bf16 operands are multiplied in fp32
    // Workspace: the library's scratchpad, then fp32 copies of bf16 operands when widened.
    size_t at_a, at_b, at_c, work_bytes;
};

// Rows of the matrix as they lie in memory.
static int64_t stored_rows(const nn__gemm_cfg *c, char matrix)
{
    if (matrix == 'a') return c->a_transposed ? c->k : c->m;
    if (matrix == 'b') return c->b_transposed ? c->n : c->k;
    return c->m;
}

static int64_t stored_columns(const nn__gemm_cfg *c, char matrix)
{
    if (matrix == 'a') return c->a_transposed ? c->m : c->k;
    if (matrix == 'b') return c->b_transposed ? c->k : c->n;
    return c->n;
}

static mn_err layout(nn__layout *l, mn_dtype t, int64_t rows, int64_t columns, int64_t gap, int transposed)
{
    const int64_t dims[2] = {rows, columns};
    const int64_t strides[2] = {transposed ? 1 : gap, transposed ? gap : 1};

    return nn__layout_make(l, t, 2, dims, strides);
}

static mn_err make(nn__gemm *g, mn_dtype in, mn_dtype out)
{
    static const int args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    const nn__gemm_cfg *c = &g->cfg;
    nn__layout a = {0}, b = {0}, d = {0}, bias = {0};
    dnnl_primitive_desc_t pd;
    mn_err err;

    MN_TRY_OUT(err, layout(&a, in, c->m, c->k, c->lda, c->a_transposed));
    MN_TRY_OUT(err, layout(&b, in, c->k, c->n, c->ldb, c->b_transposed));
    MN_TRY_OUT(err, layout(&d, out, c->m, c->n, c->ldc, 0));
    MN_TRY_OUT(err, layout(&bias, MN_F32, 1, c->n, c->n, 0));
    MN_TRY_OUT(err, nn__matmul_pd(&pd, g->engine, NN__LAYOUT_REF(a), NN__LAYOUT_REF(b),
                                  c->bias ? NN__LAYOUT_REF(bias) : NULL, NN__LAYOUT_REF(d), c->add));
    MN_TRY_OUT(err, nn__prim_make(&g->prim, g->engine, pd, c->bias ? 4 : 3, args));
out:
    nn__layout_free(&bias);
    nn__layout_free(&d);
    nn__layout_free(&b);
    nn__layout_free(&a);
    return err;
}

static size_t reserve(nn__gemm *g, int64_t count)
{
    size_t at = g->work_bytes;

    g->work_bytes += ((size_t)count * sizeof(float) + 63) / 64 * 64;
    return at;
}

mn_err nn__gemm_new(nn__gemm **out, const nn__gemm_cfg *cfg)
{
    nn__gemm *g = mn_calloc(1, sizeof *g);
    nn__gemm_cfg *c = &g->cfg;
    mn_err err;

    *c = *cfg;
    if (!c->lda) c->lda = stored_columns(c, 'a');
    if (!c->ldb) c->ldb = stored_columns(c, 'b');
    if (!c->ldc) c->ldc = stored_columns(c, 'c');
    MN_TRY_OUT(err, nn__engine_new(&g->engine));
    err = make(g, c->in, c->out);
    if (err == MN_EDEVICE && c->in == MN_BF16) {
        g->widened = 1;
        err = make(g, MN_F32, MN_F32);
    }
    if (err == MN_EDEVICE) (void)mn_fail(err, "oneDNN has no matrix product for this processor");
    if (err != MN_OK) goto out;
    g->work_bytes = (g->prim.scratch_bytes + 63) / 64 * 64;
    if (g->widened) {
        g->at_a = reserve(g, stored_rows(c, 'a') * c->lda);
        g->at_b = reserve(g, stored_rows(c, 'b') * c->ldb);
        g->at_c = reserve(g, c->out == MN_BF16 ? c->m * c->ldc : 0);
    }
    *out = g;
    return MN_OK;
out:
    nn__gemm_free(g);
    return err;
}

void nn__gemm_free(nn__gemm *g)
{
    if (!g) return;
    nn__prim_free(&g->prim);
    if (g->engine) (void)dnnl_engine_destroy(g->engine);
    free(g);
}

size_t nn__gemm_work(const nn__gemm *g)
{
    return g ? g->work_bytes : 0;
}

// Elements from the first to the last of a stored matrix, gaps included.
static int64_t span(const nn__gemm_cfg *c, char matrix, int64_t gap)
{
    return (stored_rows(c, matrix) - 1) * gap + stored_columns(c, matrix);
}

static mn_err run_widened(nn__gemm *g, const void *const *address, void *work)
{
    const nn__gemm_cfg *c = &g->cfg;
    float *a = (void *)((char *)work + g->at_a), *b = (void *)((char *)work + g->at_b);
    float *wide = (void *)((char *)work + g->at_c);
    union {
        const void *in;
        void *out;
    } d = {address[2]};
    const void *widened[4] = {a, b, c->out == MN_BF16 ? wide : d.out, address[3]};

    nn__widen(span(c, 'a', c->lda), address[0], a);
    nn__widen(span(c, 'b', c->ldb), address[1], b);
    if (c->out == MN_BF16 && c->add) nn__widen(span(c, 'c', c->ldc), d.in, wide);
    MN_TRY(nn__prim_run(&g->prim, widened, work));
    if (c->out == MN_BF16)
        for (int64_t i = 0; i < c->m; i++)
            nn__narrow(c->n, wide + i * c->ldc, (mn_bf16 *)d.out + i * c->ldc);
    return MN_OK;
}

mn_err nn__gemm_run(nn__gemm *g, const void *a, const void *b, const float *bias, void *c, void *work)
{
    const void *address[4] = {a, b, c, bias};

    return g->widened ? run_widened(g, address, work) : nn__prim_run(&g->prim, address, work);
}
