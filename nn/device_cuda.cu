// The CUDA device: memory, copies, streams, recording. Three streams: kernels; copies of the next batch; and, made by
// the communicator, reductions. Everything is put there in the program's order and nothing waits but the functions that
// say so.
#include "nn/cuda_kernel.h"

extern "C" {
#include "nn/base/mem.h"
#include "nn/cuda_nccl.h"
#include "nn/device_cuda.h"
}
#include "nn/cuda_conv.h"
#include "nn/cuda_gemm.h"
#include "nn/cuda_optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct allocation {
    void *p;
    size_t bytes;
    const char *what;
} allocation;

typedef struct cuda_device {
    nn_device device;
    int index;
    const nn_op *const *ops; // of the program, in the order of nn/ops.def
    cudaStream_t compute, ahead, side;
    cudaEvent_t reached;       // what a wait is for
    cudaEvent_t copied, taken; // the batch is in its slot; the slot is free again
    cudaEvent_t forked, joined;
    mn_err (*idle)(void *ctx);
    void *idle_ctx;
    allocation *held;
    int n_held;
    int major, minor; // compute capability
    char name[128], id[32], text[256];
} cuda_device;

struct nn_recording {
    cudaGraphExec_t exec;
};
struct nn_mark {
    cudaEvent_t event;
};

static cuda_device *of(const nn_device *d)
{
    return (cuda_device *)d->state;
}

// --- memory ---

static mn_err alloc(const nn_device *d, void **out, size_t bytes, const char *what)
{
    size_t free_bytes = 0, total = 0;
    cuda_device *v = of(d);
    cudaError_t e = cudaMalloc(out, bytes ? bytes : 1);
    if (e != cudaErrorMemoryAllocation) {
        MN_TRY(nn_cuda_check(e, what));
        v->held = (allocation *)mn_realloc(v->held, (size_t)v->n_held + 1, sizeof *v->held);
        v->held[v->n_held++] = (allocation){*out, bytes ? bytes : 1, what};
        return MN_OK;
    }
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &total);
    return mn_fail(
        MN_EMEM,
        "%s: %.1f MiB do not fit into the GPU, %.1f of %.1f MiB are free; a smaller train.batch or more ranks "
        "would",
        what, (double)bytes / 1048576, (double)free_bytes / 1048576, (double)total / 1048576);
}

static void release(const nn_device *d, void *p, size_t bytes)
{
    cuda_device *v = of(d);
    (void)bytes;
    (void)cudaFree(p);
    for (int i = 0; i < v->n_held; i++) {
        if (v->held[i].p != p) continue;
        v->held[i] = v->held[--v->n_held];
        break;
    }
}

// Allocations of one purpose are one line, where the first of them stands.
static void tell_held(const cuda_device *v, void (*each)(void *ctx, const char *what, size_t bytes), void *ctx)
{
    for (int i = 0; i < v->n_held; i++) {
        size_t bytes = 0;
        int first = i;
        for (int k = v->n_held - 1; k >= 0; k--) {
            if (strcmp(v->held[k].what, v->held[i].what) != 0) continue;
            bytes += v->held[k].bytes;
            first = k;
        }
        if (first == i) each(ctx, v->held[i].what, bytes);
    }
}

static mn_err memory(const nn_device *d, nn_memory *out, void (*each)(void *ctx, const char *what, size_t bytes),
                     void *ctx)
{
    const cuda_device *v = of(d);
    *out = {};
    for (int i = 0; i < v->n_held; i++)
        out->held += v->held[i].bytes;
    if (each) tell_held(v, each, ctx);
    return nn_cuda_check(cudaMemGetInfo(&out->free, &out->total), "the memory of the GPU");
}

static mn_err host_alloc(const nn_device *d, void **out, size_t bytes, const char *what)
{
    (void)d;
    return nn_cuda_check(cudaHostAlloc(out, bytes ? bytes : 1, cudaHostAllocDefault), what);
}

static void host_release(const nn_device *d, void *p, size_t bytes)
{
    (void)d;
    (void)bytes;
    (void)cudaFreeHost(p);
}

static mn_err copy(const nn_device *d, void *to, const void *from, size_t bytes)
{
    return nn_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, of(d)->compute), "a copy");
}

static mn_err fill(const nn_device *d, void *p, int byte, size_t bytes)
{
    return nn_cuda_check(cudaMemsetAsync(p, byte, bytes, of(d)->compute), "filling memory");
}

// An event that the host waits for: asleep, because the driver would otherwise ask in a loop and take a core from the
// threads that make the next batch.
static mn_err make_awaited(cudaEvent_t *e)
{
    return nn_cuda_check(cudaEventCreateWithFlags(e, cudaEventDisableTiming | cudaEventBlockingSync),
                         "making an event");
}

// With an idle function the host asks instead, because what it waits for may need a peer that is gone.
static mn_err wait_event(cuda_device *v, cudaEvent_t event)
{
    if (!v->idle) return nn_cuda_check(cudaEventSynchronize(event), "waiting for the GPU");
    for (;;) {
        cudaError_t e = cudaEventQuery(event);
        if (e != cudaErrorNotReady) return nn_cuda_check(e, "waiting for the GPU");
        (void)cudaGetLastError();
        MN_TRY(v->idle(v->idle_ctx));
    }
}

static mn_err wait(const nn_device *d)
{
    cuda_device *v = of(d);
    MN_TRY(nn_cuda_check(cudaEventRecord(v->reached, v->compute), "waiting for the GPU"));
    return wait_event(v, v->reached);
}

// --- the next batch ---

// The event is that of the last copy: whoever waits for it then waits for all of them, whether a run takes them or not.
static mn_err copy_ahead(const nn_device *d, void *to, const void *from, size_t bytes)
{
    cuda_device *v = of(d);
    cudaError_t e = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, v->ahead);
    MN_TRY(nn_cuda_check(e, "a copy of the next batch"));
    return nn_cuda_check(cudaEventRecord(v->copied, v->ahead), "an event");
}

static mn_err join_ahead(const nn_device *d)
{
    cuda_device *v = of(d);
    return nn_cuda_check(cudaStreamWaitEvent(v->compute, v->copied, 0), "an event");
}

static mn_err free_ahead(const nn_device *d)
{
    cuda_device *v = of(d);
    MN_TRY(nn_cuda_check(cudaEventRecord(v->taken, v->compute), "an event"));
    return nn_cuda_check(cudaStreamWaitEvent(v->ahead, v->taken, 0), "an event");
}

static mn_err wait_ahead(const nn_device *d)
{
    return wait_event(of(d), of(d)->copied);
}

// --- sums over ranks ---

static mn_err fork_side(const nn_device *d)
{
    cuda_device *v = of(d);
    MN_TRY(nn_cuda_check(cudaEventRecord(v->forked, v->compute), "an event"));
    return nn_cuda_check(cudaStreamWaitEvent(v->side, v->forked, 0), "an event");
}

static mn_err join_side(const nn_device *d)
{
    cuda_device *v = of(d);
    MN_TRY(nn_cuda_check(cudaEventRecord(v->joined, v->side), "an event"));
    return nn_cuda_check(cudaStreamWaitEvent(v->compute, v->joined, 0), "an event");
}

static void set_idle(const nn_device *d, mn_err (*idle)(void *ctx), void *ctx)
{
    of(d)->idle = idle;
    of(d)->idle_ctx = ctx;
}

static mn_err nccl(const nn_device *d, const nn_nccl **out)
{
    (void)d;
    return nn_cuda_nccl(out);
}

// --- recording ---

static mn_err record_begin(const nn_device *d)
{
    return nn_cuda_check(cudaStreamBeginCapture(of(d)->compute, cudaStreamCaptureModeThreadLocal), "recording a step");
}

static mn_err record_end(const nn_device *d, nn_recording **out)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    *out = NULL;
    MN_TRY(nn_cuda_check(cudaStreamEndCapture(of(d)->compute, &graph), "recording a step"));
    mn_err err = nn_cuda_check(cudaGraphInstantiate(&exec, graph, 0), "making the recorded step");
    (void)cudaGraphDestroy(graph);
    MN_TRY(err);
    *out = (nn_recording *)mn_calloc(1, sizeof **out);
    (*out)->exec = exec;
    return MN_OK;
}

static mn_err replay(const nn_device *d, nn_recording *r)
{
    return nn_cuda_check(cudaGraphLaunch(r->exec, of(d)->compute), "a recorded step");
}

static void forget(const nn_device *d, nn_recording *r)
{
    (void)d;
    (void)cudaGraphExecDestroy(r->exec);
    free(r);
}

static mn_err mark(const nn_device *d, nn_mark **m)
{
    if (!*m) {
        cudaEvent_t event;
        MN_TRY(make_awaited(&event));
        *m = (nn_mark *)mn_calloc(1, sizeof **m);
        (*m)->event = event;
    }
    return nn_cuda_check(cudaEventRecord((*m)->event, of(d)->compute), "an event");
}

static mn_err mark_wait(const nn_device *d, nn_mark *m)
{
    return wait_event(of(d), m->event);
}

static void mark_free(const nn_device *d, nn_mark *m)
{
    (void)d;
    (void)cudaEventDestroy(m->event);
    free(m);
}

// --- kernels ---

static const nn_kernels *const table[] = {
#define NN_OP(name) &nn_cuda_##name,
#include "nn/ops.def"
#undef NN_OP
};

static const nn_kernels *kernels(const nn_device *d, const nn_op *op)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (of(d)->ops[i] == op) return table[i];
    return NULL;
}

static mn_err adamw(const nn_device *d, const nn_adamw *a)
{
    return nn_cuda_adamw(a, d->stream);
}

static mn_err narrow(const nn_device *d, mn_bf16 *to, const float *from, int64_t n)
{
    return nn_cuda_narrow(to, from, n, d->stream);
}

static mn_err side_narrow(const nn_device *d, mn_bf16 *to, const float *from, int64_t n)
{
    return nn_cuda_narrow(to, from, n, d->side);
}

static mn_err side_widen(const nn_device *d, float *to, const mn_bf16 *from, int64_t n)
{
    return nn_cuda_widen(to, from, n, d->side);
}

// --- open, close, information ---

static mn_err count_devices(int *n)
{
    *n = 0;
    cudaError_t e = cudaGetDeviceCount(n);
    int driver = 0;
    (void)cudaDriverGetVersion(&driver);
    if (e != cudaSuccess) {
        *n = 0;
        (void)cudaGetLastError();
        if (driver == 0) return mn_fail(MN_EDEVICE, "this host has no NVIDIA driver");
        return mn_fail(MN_EDEVICE, "CUDA finds no GPU: %s", cudaGetErrorString(e));
    }
    return *n > 0 ? MN_OK : mn_fail(MN_EDEVICE, "this host has no NVIDIA GPU (or CUDA_VISIBLE_DEVICES hides it)");
}

static void close_device(const nn_device *d)
{
    cuda_device *v = of(d);
    (void)cudaDeviceSynchronize();
    nn_cuda_conv_shutdown();
    nn_cuda_gemm_shutdown();
    if (v->forked) (void)cudaEventDestroy(v->forked);
    if (v->joined) (void)cudaEventDestroy(v->joined);
    if (v->side) (void)cudaStreamDestroy(v->side);
    if (v->reached) (void)cudaEventDestroy(v->reached);
    if (v->copied) (void)cudaEventDestroy(v->copied);
    if (v->taken) (void)cudaEventDestroy(v->taken);
    if (v->ahead) (void)cudaStreamDestroy(v->ahead);
    if (v->compute) (void)cudaStreamDestroy(v->compute);
    (void)cudaGetLastError();
    free(v->held);
    free(v);
}

static mn_err make_streams(cuda_device *v)
{
    MN_TRY(nn_cuda_check(cudaSetDevice(v->index), "choosing the GPU"));
    MN_TRY(nn_cuda_check(cudaStreamCreateWithFlags(&v->compute, cudaStreamNonBlocking), "making a stream"));
    MN_TRY(nn_cuda_check(cudaStreamCreateWithFlags(&v->ahead, cudaStreamNonBlocking), "making a stream"));
    MN_TRY(nn_cuda_check(cudaStreamCreateWithFlags(&v->side, cudaStreamNonBlocking), "making a stream"));
    MN_TRY(nn_cuda_check(cudaEventCreateWithFlags(&v->forked, cudaEventDisableTiming), "making an event"));
    MN_TRY(nn_cuda_check(cudaEventCreateWithFlags(&v->joined, cudaEventDisableTiming), "making an event"));
    MN_TRY(nn_cuda_check(cudaEventCreateWithFlags(&v->taken, cudaEventDisableTiming), "making an event"));
    MN_TRY(make_awaited(&v->reached));
    return make_awaited(&v->copied);
}

static void name_device(cuda_device *v)
{
    cudaDeviceProp p;
    int runtime = 0;
    char cublaslt[32], cudnn[32];
    memset(&p, 0, sizeof p);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetDeviceProperties(&p, v->index);
    (void)cudaDeviceGetPCIBusId(v->id, sizeof v->id, v->index);
    (void)nn_cuda_gemm_version(cublaslt, sizeof cublaslt);
    (void)nn_cuda_conv_version(cudnn, sizeof cudnn);
    (void)cudaGetLastError(); // a name that is not known is no error
    v->major = p.major;
    v->minor = p.minor;
    snprintf(v->name, sizeof v->name, "%.127s", p.name);
    snprintf(v->text, sizeof v->text, "%.99s, CUDA %d.%d, cuBLASLt %s, cuDNN %s", p.name, runtime / 1000,
             runtime % 1000 / 10, cublaslt, cudnn);
}

// The module holds code for some GPUs only. Asked before anything is made for one, with a kernel that has nothing to do.
static mn_err check_code(const cuda_device *v)
{
    char why[128];
    if (nn_cuda_narrow(NULL, NULL, 0, v->compute) == MN_OK) return MN_OK;
    snprintf(why, sizeof why, "%s", mn_errmsg());
    return mn_fail(MN_EDEVICE,
                   "kernels do not run on %s, compute capability %d.%d (%s): 8.0 is needed, and a build for it",
                   v->name, v->major, v->minor, why);
}

static mn_err open_device(const nn_device **out, int index, const nn_op *const *ops)
{
    int n;
    MN_TRY(count_devices(&n));
    if (index < 0 || index >= n)
        return mn_fail(MN_EDEVICE, "there is no GPU number %d: this host shows %d; start one rank per GPU", index, n);
    cuda_device *v = (cuda_device *)mn_calloc(1, sizeof *v);
    v->index = index;
    v->ops = ops;
    mn_err err = make_streams(v);
    name_device(v);
    if (err == MN_OK) err = check_code(v);
    v->device = (nn_device){.name = "cuda",
                            .id = v->id,
                            .text = v->text,
                            .state = v,
                            .stream = v->compute,
                            .on_host = 0,
                            .alloc = alloc,
                            .release = release,
                            .host_alloc = host_alloc,
                            .host_release = host_release,
                            .copy = copy,
                            .fill = fill,
                            .wait = wait,
                            .kernels = kernels,
                            .adamw = adamw,
                            .narrow = narrow,
                            .memory = memory,
                            .copy_ahead = copy_ahead,
                            .join_ahead = join_ahead,
                            .free_ahead = free_ahead,
                            .wait_ahead = wait_ahead,
                            .side = v->side,
                            .fork = fork_side,
                            .join = join_side,
                            .side_narrow = side_narrow,
                            .side_widen = side_widen,
                            .set_idle = set_idle,
                            .nccl = nccl,
                            .record_begin = record_begin,
                            .record_end = record_end,
                            .replay = replay,
                            .forget = forget,
                            .mark = mark,
                            .mark_wait = mark_wait,
                            .mark_free = mark_free};
    if (err != MN_OK) {
        close_device(&v->device);
        return err;
    }
    *out = &v->device;
    return MN_OK;
}

static void describe(nn_cuda_info *info, int i)
{
    cudaDeviceProp p;
    size_t total = 0;
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) return;
    snprintf(info->device[i].name, sizeof info->device[i].name, "%.127s", p.name);
    info->device[i].major = p.major;
    info->device[i].minor = p.minor;
    info->device[i].multiprocessors = p.multiProcessorCount;
    info->device[i].memory = p.totalGlobalMem;
    if (cudaSetDevice(i) == cudaSuccess) (void)cudaMemGetInfo(&info->device[i].free, &total);
    (void)cudaDeviceGetPCIBusId(info->device[i].bus, sizeof info->device[i].bus, i);
    for (int k = 0; k < info->devices; k++) {
        int can = 0;
        if (k != i && cudaDeviceCanAccessPeer(&can, i, k) == cudaSuccess && can) info->device[i].peers |= 1u << k;
    }
}

static void describe_nccl(nn_cuda_info *out)
{
    const nn_nccl *library;
    int v = 0;
    out->has_nccl = nn_cuda_nccl(&library) == MN_OK && library->version(&v) == NN_NCCL_OK;
    if (out->has_nccl)
        snprintf(out->nccl, sizeof out->nccl, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    else
        snprintf(out->nccl, sizeof out->nccl, "%.255s", mn_errmsg());
}

static mn_err information(nn_cuda_info *out)
{
    int n;
    memset(out, 0, sizeof *out);
    (void)cudaDriverGetVersion(&out->driver);
    (void)cudaRuntimeGetVersion(&out->runtime);
    (void)nn_cuda_gemm_version(out->cublaslt, sizeof out->cublaslt);
    (void)nn_cuda_conv_version(out->cudnn, sizeof out->cudnn);
    describe_nccl(out);
    MN_TRY(count_devices(&n));
    out->devices = n < NN_CUDA_MAX_DEVICES ? n : NN_CUDA_MAX_DEVICES;
    int current = 0;
    (void)cudaGetDevice(&current);
    for (int i = 0; i < out->devices; i++)
        describe(out, i);
    (void)cudaSetDevice(current);
    (void)cudaGetLastError();
    return MN_OK;
}

extern "C" const nn_cuda_api nn_cuda_module;
extern "C" const nn_cuda_api nn_cuda_module = {NN_CUDA_ABI,   MIEN_VERSION, information,
                                               count_devices, open_device,  close_device};
