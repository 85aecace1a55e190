#include "nn/cuda_gemm.h"

#include "nn/cuda_epilogue.h"

extern "C" {
#include "nn/base/cache.h"
#include "nn/base/mem.h"
}

#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CANDIDATES = 16, ALIGNMENT = 16, TIMED_RUNS = 3, TIMINGS = 3 };
static const size_t most_workspace = (size_t)32 << 20; // what the library's documentation advises for Hopper

// How the bias is added, or the sums are made. The library documents a bias of the type of the result and no other: for a
// bf16 result it is rounded first.
typedef enum vector_way { NO_VECTOR, IN_PRODUCT, IN_PRODUCT_BF16, OWN_PASS } vector_way;

// What is chosen, and kept as it is here.
typedef struct choice {
    int64_t way; // vector_way
    uint64_t work_bytes;
    cublasLtMatmulAlgo_t algorithm;
} choice;

// The library is column-major: it sees transposed matrices, and C' = B' A'. Its A is our B and the other way round.
struct nn_cuda_gemm {
    nn_cuda_gemm_cfg cfg;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c; // of our A, B and C
    choice chosen;
};

// State of the process: one device, one thread.
static cublasLtHandle_t handle;
static struct cudaDeviceProp device; // no multiprocessors: not asked for yet
static int tuned_candidates = 4;

static mn_err check(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS) return MN_OK;
    return mn_fail(MN_EDEVICE, "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

#define LT_TRY(call) MN_TRY(check(call, #call))

void *nn_cuda_lt()
{
    if (!handle && check(cublasLtCreate(&handle), "cublasLtCreate") != MN_OK) handle = NULL;
    return handle;
}

void nn_cuda_gemm_shutdown()
{
    if (handle) (void)cublasLtDestroy(handle);
    handle = NULL;
    device.multiProcessorCount = 0;
}

void nn_cuda_gemm_tune(int candidates)
{
    tuned_candidates = candidates < MOST_CANDIDATES ? candidates : MOST_CANDIDATES;
}

const char *nn_cuda_gemm_version(char *text, size_t size)
{
    const size_t version = cublasLtGetVersion();

    snprintf(text, size, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    return text;
}

// --- descriptors -------------------------------------------------------------------------------------------------------
static cudaDataType type_of(mn_dtype t)
{
    return t == MN_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

// A matrix stored in `rows` rows of `columns` elements.
static mn_err make_layout(cublasLtMatrixLayout_t *l, mn_dtype t, int64_t rows, int64_t columns, int64_t apart,
                          int64_t batch, int64_t stride)
{
    const int32_t count = (int32_t)batch;

    LT_TRY(cublasLtMatrixLayoutCreate(l, type_of(t), (uint64_t)columns, (uint64_t)rows, apart));
    if (batch == 1) return MN_OK;
    LT_TRY(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    LT_TRY(cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return MN_OK;
}

static mn_err make_descriptors(nn_cuda_gemm *g)
{
    const nn_cuda_gemm_cfg *c = &g->cfg;
    const cublasOperation_t first = c->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = c->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int64_t a_rows = c->a_transposed ? c->k : c->m, b_rows = c->b_transposed ? c->n : c->k;

    // Not one of the FAST kinds: f32 operands are not rounded to TF32.
    LT_TRY(cublasLtMatmulDescCreate(&g->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    LT_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    MN_TRY(make_layout(&g->a, c->in, a_rows, c->a_transposed ? c->m : c->k, c->lda, c->batch, c->stride_a));
    MN_TRY(make_layout(&g->b, c->in, b_rows, c->b_transposed ? c->k : c->n, c->ldb, c->batch, c->stride_b));
    return make_layout(&g->c, c->out, c->m, c->n, c->ldc, c->batch, c->stride_c);
}

static mn_err set_vector(nn_cuda_gemm *g, const void *vector)
{
    LT_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector));
    return MN_OK;
}

// The sums over k of the library's B, which is our A, are its "bias gradient of B".
static mn_err set_way(nn_cuda_gemm *g, vector_way way)
{
    const int inside = way == IN_PRODUCT || way == IN_PRODUCT_BF16;
    const cublasLtEpilogue_t epilogue = !inside       ? CUBLASLT_EPILOGUE_DEFAULT
                                        : g->cfg.bias ? CUBLASLT_EPILOGUE_BIAS
                                                      : CUBLASLT_EPILOGUE_BGRADB;
    const int32_t type = way == IN_PRODUCT_BF16 ? CUDA_R_16BF : CUDA_R_32F;

    LT_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (!inside) return MN_OK;
    LT_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type));
    return set_vector(g, (const void *)(uintptr_t)ALIGNMENT); // at plan time only its alignment is looked at
}

// --- choice ------------------------------------------------------------------------------------------------------------
static mn_err set_preference(cublasLtMatmulPreference_t p)
{
    const uint64_t bytes = most_workspace;
    const uint32_t alignment = ALIGNMENT;
    // Parts of a split sum apart in fp32, or no split: added in a fixed order and not rounded to bf16 in between.
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};

    LT_TRY(cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
    LT_TRY(
        cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes));
    for (int i = 0; i < 4; i++)
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(p, aligned[i], &alignment, sizeof alignment));
    return MN_OK;
}

// The library's proposals for one way, best first; 0 when it has none for it.
static mn_err propose(nn_cuda_gemm *g, vector_way way, int most, choice *out, int *n)
{
    cublasLtMatmulHeuristicResult_t result[MOST_CANDIDATES];
    cublasLtMatmulPreference_t preference;
    int returned = 0;
    mn_err err;

    *n = 0;
    MN_TRY(set_way(g, way));
    LT_TRY(cublasLtMatmulPreferenceCreate(&preference));
    err = set_preference(preference);
    if (err == MN_OK && cublasLtMatmulAlgoGetHeuristic(handle, g->op, g->b, g->a, g->c, g->c, preference, most, result,
                                                       &returned) != CUBLAS_STATUS_SUCCESS)
        returned = 0; // "not supported" says no more than that there is none
    (void)cublasLtMatmulPreferenceDestroy(preference);
    for (int i = 0; i < returned; i++)
        if (result[i].state == CUBLAS_STATUS_SUCCESS)
            out[(*n)++] = {.way = way, .work_bytes = result[i].workspaceSize, .algorithm = result[i].algo};
    return err;
}

// Asked once: it takes up to milliseconds, and a network has hundreds of products.
static mn_err know_device()
{
    int id;

    if (device.multiProcessorCount > 0) return MN_OK;
    MN_TRY(nn_cuda_check(cudaGetDevice(&id), "cudaGetDevice"));
    return nn_cuda_check(cudaGetDeviceProperties(&device, id), "cudaGetDeviceProperties");
}

// Sums beside a result too small to busy every multiprocessor, as a weight gradient often is: then k has to be split,
// which the library rarely does where it has an epilogue to run.
static int sums_apart(const nn_cuda_gemm_cfg *c)
{
    enum { TILE = 128 };
    const int64_t tiles = (c->m + TILE - 1) / TILE * ((c->n + TILE - 1) / TILE);

    return c->sums && tiles < device.multiProcessorCount;
}

// Ways in the order of preference, ended by NO_VECTOR, which is also the only one where there is no vector.
static void ways_of(const nn_cuda_gemm_cfg *c, vector_way way[3])
{
    const vector_way inside = c->bias && c->out == MN_BF16 ? IN_PRODUCT_BF16 : IN_PRODUCT;
    const int apart = sums_apart(c);

    way[0] = way[1] = way[2] = NO_VECTOR;
    if (!c->bias && !c->sums) return;
    way[0] = apart ? OWN_PASS : inside;
    way[1] = apart ? inside : OWN_PASS;
}

// Everything the choice depends on.
static void key_of(const nn_cuda_gemm_cfg *c, char *text, size_t size)
{
    snprintf(text, size,
             "gemm 2: %s, %d.%d, %d SM; cuBLASLt %zu; m %lld n %lld k %lld %s%s to %s%s, ld %lld %lld %lld, batch %lld "
             "by %lld %lld %lld, %s%s",
             device.name, device.major, device.minor, device.multiProcessorCount, cublasLtGetVersion(), (long long)c->m,
             (long long)c->n, (long long)c->k, mn_dtype_name(c->in),
             c->a_transposed ? (c->b_transposed ? " TT" : " TN") : (c->b_transposed ? " NT" : " NN"),
             mn_dtype_name(c->out), c->add ? " added" : "", (long long)c->lda, (long long)c->ldb, (long long)c->ldc,
             (long long)c->batch, (long long)c->stride_a, (long long)c->stride_b, (long long)c->stride_c,
             c->bias ? "bias" : "", c->sums ? "sums" : "");
}

// Does the library accept what was kept?
static int still_valid(nn_cuda_gemm *g, const choice *kept)
{
    cublasLtMatmulHeuristicResult_t result;
    vector_way way[3];

    ways_of(&g->cfg, way);
    for (int i = 0; i < 3; i++) {
        if (way[i] == kept->way)
            return set_way(g, way[i]) == MN_OK &&
                   cublasLtMatmulAlgoCheck(handle, g->op, g->b, g->a, g->c, g->c, &kept->algorithm, &result) ==
                       CUBLAS_STATUS_SUCCESS &&
                   result.workspaceSize <= kept->work_bytes && kept->work_bytes <= most_workspace;
        if (way[i] == NO_VECTOR) break;
    }
    return 0;
}

// --- timing ------------------------------------------------------------------------------------------------------------
// Operands to measure with, as large as those of the plan.
typedef struct trial {
    cudaStream_t stream;
    cudaEvent_t from, to;
    void *memory[4]; // A, B, C, and the vector and the workspace
    nn_cuda_gemm_args args;
} trial;

static size_t matrix_bytes(mn_dtype t, int64_t rows, int64_t apart, int64_t batch, int64_t stride)
{
    return (size_t)(rows * apart + (batch - 1) * stride) * mn_dtype_size(t);
}

static size_t align_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

// The largest workspace of any choice, without the library's own part.
static size_t own_work(const nn_cuda_gemm_cfg *c, int64_t way)
{
    if (way == IN_PRODUCT_BF16) return align_up((size_t)c->n * 2);
    return way == OWN_PASS && c->sums ? align_up(nn_cuda_columns_work(c->k, c->m)) : 0;
}

static cudaError_t trial_memory(trial *t, const nn_cuda_gemm_cfg *c)
{
    const size_t vector = align_up((size_t)(c->bias ? c->n : c->m) * sizeof(float));
    const size_t own = own_work(c, IN_PRODUCT_BF16) + own_work(c, OWN_PASS);
    const size_t bytes[4] = {matrix_bytes(c->in, c->a_transposed ? c->k : c->m, c->lda, c->batch, c->stride_a),
                             matrix_bytes(c->in, c->b_transposed ? c->n : c->k, c->ldb, c->batch, c->stride_b),
                             matrix_bytes(c->out, c->m, c->ldc, c->batch, c->stride_c), vector + own + most_workspace};

    for (int i = 0; i < 4; i++) {
        cudaError_t e = cudaMalloc(&t->memory[i], bytes[i]);
        // About 0.01 in either type: zeros draw less power and would let the clock rise.
        if (e == cudaSuccess) e = cudaMemsetAsync(t->memory[i], 0x3c, bytes[i], t->stream);
        if (e != cudaSuccess) return e;
    }
    t->args = {.a = t->memory[0],
               .b = t->memory[1],
               .bias = (const float *)t->memory[3],
               .c = t->memory[2],
               .sums = (float *)t->memory[3],
               .work = (char *)t->memory[3] + vector};
    return cudaSuccess;
}

static int trial_open(trial *t, const nn_cuda_gemm_cfg *c)
{
    memset(t, 0, sizeof *t);
    return cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking) == cudaSuccess &&
           cudaEventCreateWithFlags(&t->from, cudaEventDefault) == cudaSuccess &&
           cudaEventCreateWithFlags(&t->to, cudaEventDefault) == cudaSuccess && trial_memory(t, c) == cudaSuccess;
}

static void trial_close(trial *t)
{
    if (t->stream) (void)cudaStreamSynchronize(t->stream);
    for (int i = 0; i < 4; i++)
        (void)cudaFree(t->memory[i]);
    if (t->from) (void)cudaEventDestroy(t->from);
    if (t->to) (void)cudaEventDestroy(t->to);
    if (t->stream) (void)cudaStreamDestroy(t->stream);
    (void)cudaGetLastError(); // of an allocation that failed
}

static int time_once(nn_cuda_gemm *g, trial *t, float *ms)
{
    if (cudaEventRecord(t->from, t->stream) != cudaSuccess) return 0;
    for (int i = 0; i < TIMED_RUNS; i++)
        if (nn_cuda_gemm_run(g, t->args, t->stream) != MN_OK) return 0;
    return cudaEventRecord(t->to, t->stream) == cudaSuccess && cudaEventSynchronize(t->to) == cudaSuccess &&
           cudaEventElapsedTime(ms, t->from, t->to) == cudaSuccess;
}

// Best of a few after one for warming up; infinity when it fails or is far from the best so far. Long runs need no
// repetition.
static float milliseconds(nn_cuda_gemm *g, trial *t, const choice *of, float best_so_far)
{
    float best = INFINITY, ms = 0;

    g->chosen = *of;
    if (set_way(g, (vector_way)of->way) != MN_OK) return INFINITY;
    for (int i = 0; i <= TIMINGS && (i < 2 || ms < 5); i++) {
        if (!time_once(g, t, &ms)) return INFINITY;
        if (i > 0 && ms > 2 * best_so_far) return INFINITY;
        if (i > 0 && ms < best) best = ms;
    }
    return best;
}

// The fastest of n; 0: none could be measured.
static int fastest(nn_cuda_gemm *g, const choice *candidate, int n, choice *out)
{
    trial t;
    float best_ms = INFINITY;

    if (trial_open(&t, &g->cfg)) {
        for (int i = 0; i < n; i++) {
            const float ms = milliseconds(g, &t, &candidate[i], best_ms);
            if (ms < best_ms) {
                best_ms = ms;
                *out = candidate[i];
            }
        }
    }
    trial_close(&t);
    return best_ms < INFINITY;
}

// --- making ------------------------------------------------------------------------------------------------------------
// Proposals of every way when they are to be measured, else the first of the first way that there is.
static mn_err propose_all(nn_cuda_gemm *g, int tune, choice *candidate, int *n)
{
    const int most = tune ? tuned_candidates : 1;
    vector_way way[3];

    *n = 0;
    ways_of(&g->cfg, way);
    for (int i = 0; i < 3 && (i == 0 || way[i] != NO_VECTOR); i++) {
        int found;
        MN_TRY(propose(g, way[i], most, candidate + *n, &found));
        *n += found;
        if (*n && !tune) return MN_OK;
    }
    return MN_OK;
}

static mn_err choose(nn_cuda_gemm *g)
{
    const int tune = tuned_candidates > 1 && mn_cache_usable();
    choice candidate[2 * MOST_CANDIDATES];
    choice best;
    char key[512];
    int n;

    MN_TRY(know_device());
    key_of(&g->cfg, key, sizeof key);
    if (tune && mn_cache_get(key, &g->chosen, sizeof g->chosen) && still_valid(g, &g->chosen)) return MN_OK;
    MN_TRY(propose_all(g, tune, candidate, &n));
    if (n == 0) return mn_fail(MN_EDEVICE, "cuBLASLt has no algorithm for this device: %s", key);
    // Only what was measured is kept, and only what is kept is used: else it would be another one next time.
    if (tune && n > 1 && fastest(g, candidate, n, &best) && mn_cache_put(key, &best, sizeof best) &&
        still_valid(g, &best))
        g->chosen = best;
    else
        g->chosen = candidate[0];
    return set_way(g, (vector_way)g->chosen.way);
}

mn_err nn_cuda_gemm_new(nn_cuda_gemm **out, const nn_cuda_gemm_cfg &cfg)
{
    nn_cuda_gemm *g = (nn_cuda_gemm *)mn_calloc(1, sizeof *g);
    mn_err err;

    g->cfg = cfg;
    MN_TRY_OUT(err, nn_cuda_gemm_check(&g->cfg));
    err = nn_cuda_lt() ? MN_OK : MN_EDEVICE;
    if (err == MN_OK) err = make_descriptors(g);
    if (err == MN_OK) err = choose(g);
    if (err != MN_OK) goto out;
    *out = g;
    return MN_OK;
out:
    nn_cuda_gemm_free(g);
    return err;
}

void nn_cuda_gemm_free(nn_cuda_gemm *g)
{
    if (!g) return;
    if (g->a) (void)cublasLtMatrixLayoutDestroy(g->a);
    if (g->b) (void)cublasLtMatrixLayoutDestroy(g->b);
    if (g->c) (void)cublasLtMatrixLayoutDestroy(g->c);
    if (g->op) (void)cublasLtMatmulDescDestroy(g->op);
    free(g);
}

size_t nn_cuda_gemm_work(const nn_cuda_gemm *g)
{
    return g ? own_work(&g->cfg, g->chosen.way) + g->chosen.work_bytes : 0;
}

// --- running -----------------------------------------------------------------------------------------------------------
__global__ static void round_bias(nn_bf16 *to, const float *from, int64_t n)
{
    const int64_t i = nn_cuda_index();
    if (i < n) to[i] = (nn_bf16)from[i];
}

// What comes before the product: the vector it reads or writes, in the type it wants.
static mn_err before(nn_cuda_gemm *g, const nn_cuda_gemm_args &args, void *stream)
{
    switch ((vector_way)g->chosen.way) {
    case IN_PRODUCT:
        return set_vector(g, g->cfg.bias ? (const void *)args.bias : args.sums);
    case IN_PRODUCT_BF16:
        MN_TRY(NN_LAUNCH(round_bias, nn_cuda_blocks(g->cfg.n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream,
                         (nn_bf16 *)args.work, args.bias, g->cfg.n));
        return set_vector(g, args.work);
    default:
        return MN_OK;
    }
}

// And after it, where the library has no epilogue for it.
static mn_err after(const nn_cuda_gemm *g, const nn_cuda_gemm_args &args, void *stream)
{
    const nn_cuda_gemm_cfg *c = &g->cfg;
    const size_t element = mn_dtype_size(c->out);

    if (g->chosen.way != OWN_PASS) return MN_OK;
    if (c->sums) {
        MN_TRY(nn_cuda_columns(c->in, c->k, c->m, c->lda, args.a, (float *)args.work, stream));
        return nn_cuda_columns_finish(c->k, c->m, (const float *)args.work, args.sums, 0, stream);
    }
    for (int64_t i = 0; i < c->batch; i++)
        MN_TRY(nn_cuda_add_bias(c->out, c->m, c->n, c->ldc, args.bias,
                                (char *)args.c + (size_t)(i * c->stride_c) * element, stream));
    return MN_OK;
}

mn_err nn_cuda_gemm_run(nn_cuda_gemm *g, const nn_cuda_gemm_args &args, void *stream)
{
    const float one = 1, beta = g->cfg.add ? 1 : 0;
    void *work = (char *)args.work + own_work(&g->cfg, g->chosen.way);

    MN_TRY(nn_cuda_gemm_check_args(&g->cfg, args));
    MN_TRY(before(g, args, stream));
    LT_TRY(cublasLtMatmul(handle, g->op, &one, args.b, g->b, args.a, g->a, &beta, args.c, g->c, args.c, g->c,
                          &g->chosen.algorithm, work, g->chosen.work_bytes, (cudaStream_t)stream));
    return after(g, args, stream);
}
