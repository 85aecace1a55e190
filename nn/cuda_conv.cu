// cuDNN's graph interface (its older one is deprecated, and knows no padding that differs at the two ends): a graph of
// one operation, the library's proposals for it, and of these the first that keeps our rules.
#include "nn/cuda_conv.h"

extern "C" {
#include "nn/base/log.h"
#include "nn/base/mem.h"
}

#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>

typedef cudnnBackendDescriptor_t descriptor;

enum { OPERANDS = 3, MOST_DESCRIPTORS = 12, MOST_PROPOSALS = 64, ALIGNMENT = 16 };
static const int64_t most_workspace = (int64_t)256 << 20;

struct nn_cuda_conv {
    nn_cuda_conv_cfg cfg;
    descriptor owned[MOST_DESCRIPTORS]; // in the order of creation
    int n_owned;
    descriptor plan;
    mn_dtype made;    // type of what the library makes
    int64_t scratch;  // bytes for the library
    size_t made_size; // of a result that is made in the workspace, as it has another type; else 0
};

// State of the process: one device, one thread.
static cudnnHandle_t handle;
static int opened;

// A failure is one warning: there is another way to convolve.
static int open_library()
{
    cudnnStatus_t status;

    if (opened) return handle != NULL;
    opened = 1;
    status = cudnnCreate(&handle);
    if (status == CUDNN_STATUS_SUCCESS) return 1;
    handle = NULL;
    mn_warn("cuDNN cannot be used (%s): convolutions go the slower way of plain products", cudnnGetErrorString(status));
    return 0;
}

void nn_cuda_conv_shutdown()
{
    if (handle) (void)cudnnDestroy(handle);
    handle = NULL;
    opened = 0;
}

const char *nn_cuda_conv_version(char *text, size_t size)
{
    const size_t version = cudnnGetVersion();

    snprintf(text, size, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    return text;
}

// --- descriptors -------------------------------------------------------------------------------------------------------
// Makes descriptors one after another; after the first failure nothing more happens.
struct builder {
    nn_cuda_conv *v;
    cudnnStatus_t status;
};

static descriptor begin(builder *b, cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;

    if (b->status == CUDNN_STATUS_SUCCESS) b->status = cudnnBackendCreateDescriptor(type, &d);
    if (b->status != CUDNN_STATUS_SUCCESS) return NULL;
    mn_assert(b->v->n_owned < MOST_DESCRIPTORS);
    return b->v->owned[b->v->n_owned++] = d;
}

static void set(builder *b, descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
                const void *value)
{
    if (b->status == CUDNN_STATUS_SUCCESS) b->status = cudnnBackendSetAttribute(d, name, type, n, value);
}

static void set_descriptor(builder *b, descriptor d, cudnnBackendAttributeName_t name, descriptor value)
{
    set(b, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static descriptor end(builder *b, descriptor d)
{
    if (b->status == CUDNN_STATUS_SUCCESS) b->status = cudnnBackendFinalize(d);
    return d;
}

static void release(nn_cuda_conv *v)
{
    while (v->n_owned > 0)
        (void)cudnnBackendDestroyDescriptor(v->owned[--v->n_owned]);
    v->plan = NULL;
}

// An image of height 1 with its channels last: (n, channels, 1, width).
static descriptor tensor(builder *b, int operand, mn_dtype t, int64_t n, int64_t channels, int64_t width)
{
    const int64_t dims[4] = {n, channels, 1, width}, strides[4] = {width * channels, 1, width * channels, channels},
                  alignment = ALIGNMENT, id = operand + 1;
    const cudnnDataType_t type = t == MN_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    descriptor d = begin(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

    set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    return end(b, d);
}

static descriptor convolution(builder *b, const nn_cuda_conv_cfg *c)
{
    const int64_t dims = 2, before[2] = {0, c->left}, after[2] = {0, c->right}, dilation[2] = {1, 1},
                  stride[2] = {1, c->stride};
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    descriptor d = begin(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);

    set(b, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    set(b, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    set(b, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(b, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    set(b, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
    set(b, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    set(b, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    return end(b, d);
}

// What each pass is called, and where its first operand, its second and its result go; in the order of nn_conv_pass.
static const struct pass_names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t convolution, alpha, beta, operand[OPERANDS];
} names[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX}},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
     {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW}},
};

// Operands are numbered in the order of nn_cuda_conv_run.
static descriptor graph(builder *b, const nn_cuda_conv_cfg *c, mn_dtype made)
{
    const pass_names &n = names[c->pass];
    const float alpha = 1, beta = 0;
    static const int place[][OPERANDS] = {{0, 2, 1}, {2, 0, 1}, {0, 1, 2}}; // of x, y and weight
    const int x = place[c->pass][0], y = place[c->pass][1], weight = place[c->pass][2];
    descriptor operand[OPERANDS], operation, d;

    operand[x] = tensor(b, x, x == 2 ? made : c->io, c->rows, c->in, c->t);
    operand[y] = tensor(b, y, y == 2 ? made : c->io, c->rows, c->out, nn_cuda_conv_steps(*c));
    operand[weight] = tensor(b, weight, weight == 2 ? made : c->io, c->out, c->in / c->groups, c->kernel);
    descriptor how = convolution(b, c);
    operation = begin(b, n.operation);
    set_descriptor(b, operation, n.convolution, how);
    set(b, operation, n.alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    set(b, operation, n.beta, CUDNN_TYPE_FLOAT, 1, &beta);
    for (int i = 0; i < OPERANDS; i++)
        set_descriptor(b, operation, n.operand[i], operand[i]);
    (void)end(b, operation);
    d = begin(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set_descriptor(b, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    return end(b, d);
}

// --- choice ------------------------------------------------------------------------------------------------------------
// Sums in fp32 in a fixed order, operands as they are (tensor cores round f32 to TF32), code that is there already.
static int numerics_allowed(const cudnnBackendNumericalNote_t *note, int64_t n, mn_dtype io)
{
    for (int64_t i = 0; i < n; i++)
        switch (note[i]) {
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
            if (io == MN_F32) return 0;
            break;
#if CUDNN_VERSION >= 90100
        case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
            break;
#endif
        default:
            return 0; // not deterministic, reduced precision, FFT, Winograd
        }
    return 1;
}

static int engine_allowed(descriptor configuration, mn_dtype io)
{
    cudnnBackendNumericalNote_t numerics[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behaviour[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t n = 0, n_numerics = 0, n_behaviour = 0;
    descriptor engine;
    int allowed;

    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS) return 0;
    allowed =
        cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                                 &engine) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                 CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n_numerics, numerics) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                                 CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &n_behaviour, behaviour) == CUDNN_STATUS_SUCCESS &&
        // A later library may know of more than there is room for here.
        n_numerics <= CUDNN_NUMERICAL_NOTE_TYPE_COUNT && n_behaviour <= CUDNN_BEHAVIOR_NOTE_TYPE_COUNT &&
        numerics_allowed(numerics, n_numerics, io);
    for (int64_t i = 0; i < n_behaviour && allowed; i++)
        allowed = behaviour[i] != CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    (void)cudnnBackendDestroyDescriptor(engine);
    return allowed;
}

// Tries to make a plan of a proposal; 0: not this one.
static int plan_of(nn_cuda_conv *v, descriptor configuration)
{
    builder b = {v, CUDNN_STATUS_SUCCESS};
    const int before = v->n_owned;
    int64_t n;
    descriptor d = begin(&b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);

    set(&b, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set_descriptor(&b, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    (void)end(&b, d);
    if (b.status == CUDNN_STATUS_SUCCESS)
        b.status =
            cudnnBackendGetAttribute(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &v->scratch);
    if (b.status == CUDNN_STATUS_SUCCESS && v->scratch <= most_workspace) {
        v->plan = d;
        return 1;
    }
    while (v->n_owned > before)
        (void)cudnnBackendDestroyDescriptor(v->owned[--v->n_owned]);
    return 0;
}

// The first of the library's proposals, best first, that keeps the rules and can be made; v->plan stays NULL without one.
static void choose(nn_cuda_conv *v, descriptor of, cudnnBackendHeurMode_t mode)
{
    descriptor proposal[MOST_PROPOSALS];
    builder b = {v, CUDNN_STATUS_SUCCESS};
    descriptor heuristics = begin(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    int64_t made = 0, n = 0;

    set_descriptor(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, of);
    set(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    (void)end(&b, heuristics);
    if (b.status != CUDNN_STATUS_SUCCESS) return;
    while (made < MOST_PROPOSALS &&
           cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &proposal[made]) == CUDNN_STATUS_SUCCESS)
        made++;
    if (cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, made, &n,
                                 proposal) != CUDNN_STATUS_SUCCESS)
        n = 0;
    for (int64_t i = 0; i < n && i < made && !v->plan; i++)
        if (engine_allowed(proposal[i], v->cfg.io) && plan_of(v, proposal[i])) {
            mn_assert(v->n_owned < MOST_DESCRIPTORS);
            v->owned[v->n_owned++] = proposal[i]; // lives as long as its plan
            proposal[i] = NULL;
        }
    for (int64_t i = 0; i < made; i++)
        if (proposal[i]) (void)cudnnBackendDestroyDescriptor(proposal[i]);
}

static int try_type(nn_cuda_conv *v, mn_dtype made)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};

    for (int i = 0; i < 2 && !v->plan; i++) {
        builder b = {v, CUDNN_STATUS_SUCCESS};
        descriptor of;
        release(v);
        of = graph(&b, &v->cfg, made);
        if (b.status == CUDNN_STATUS_SUCCESS) choose(v, of, modes[i]);
    }
    v->made = made;
    return v->plan != NULL;
}

static size_t align_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

mn_err nn_cuda_conv_new(nn_cuda_conv **out, const nn_cuda_conv_cfg &cfg)
{
    nn_cuda_conv *v;

    *out = NULL;
    if (!open_library()) return MN_OK;
    v = (nn_cuda_conv *)mn_calloc(1, sizeof *v);
    v->cfg = cfg;
    if (try_type(v, cfg.pass == NN_CONV_D_WEIGHT ? MN_F32 : cfg.io) ||
        (cfg.pass == NN_CONV_D_WEIGHT && cfg.io != MN_F32 && try_type(v, cfg.io))) {
        if (cfg.pass == NN_CONV_D_WEIGHT && v->made != MN_F32)
            v->made_size = align_up((size_t)(cfg.out * cfg.kernel * (cfg.in / cfg.groups)) * mn_dtype_size(v->made));
        *out = v;
    } else {
        nn_cuda_conv_free(v);
    }
    return MN_OK;
}

void nn_cuda_conv_free(nn_cuda_conv *v)
{
    if (!v) return;
    release(v);
    free(v);
}

size_t nn_cuda_conv_work(const nn_cuda_conv *v)
{
    return v ? v->made_size + (size_t)v->scratch : 0;
}

// --- running -----------------------------------------------------------------------------------------------------------
__global__ static void widen(float *to, const nn_bf16 *from, int64_t n)
{
    const int64_t i = nn_cuda_index();
    if (i < n) to[i] = (float)from[i];
}

static cudnnStatus_t execute(nn_cuda_conv *v, void *const pointer[OPERANDS], void *scratch)
{
    static const int64_t id[OPERANDS] = {1, 2, 3};
    const int before = v->n_owned;
    builder b = {v, CUDNN_STATUS_SUCCESS};
    descriptor pack = begin(&b, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);

    set(&b, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, OPERANDS, id);
    set(&b, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, OPERANDS, pointer);
    set(&b, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch);
    (void)end(&b, pack);
    if (b.status == CUDNN_STATUS_SUCCESS) b.status = cudnnBackendExecute(handle, v->plan, pack);
    while (v->n_owned > before)
        (void)cudnnBackendDestroyDescriptor(v->owned[--v->n_owned]);
    return b.status;
}

mn_err nn_cuda_conv_run(nn_cuda_conv *v, const void *first, const void *second, void *made, void *work, void *stream)
{
    const int64_t n = v->cfg.out * v->cfg.kernel * (v->cfg.in / v->cfg.groups);
    void *const pointer[OPERANDS] = {(void *)first, (void *)second, v->made_size ? work : made};
    cudnnStatus_t status = cudnnSetStream(handle, (cudaStream_t)stream);

    if (status == CUDNN_STATUS_SUCCESS) status = execute(v, pointer, (char *)work + v->made_size);
    if (status != CUDNN_STATUS_SUCCESS)
        return mn_fail(MN_EDEVICE, "cuDNN: a convolution with %lld taps: %s", (long long)v->cfg.kernel,
                       cudnnGetErrorString(status));
    if (!v->made_size) return MN_OK;
    return NN_LAUNCH(widen, nn_cuda_blocks(n, NN_CUDA_THREADS), NN_CUDA_THREADS, 0, stream, (float *)made,
                     (const nn_bf16 *)work, n);
}
