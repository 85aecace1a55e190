// A small CUDA for the CPU, so that our own kernels and the code around them run where there is no GPU: this folder
// stands before CUDA's headers in the include path, and the .cu files are compiled as C++.
//
// Every CUDA thread of a block is a fiber with a stack of its own; blocks run one after another; a barrier or shuffle
// hands over to the next fiber, so all threads of a block get there before any goes on. Sanitizers and debuggers see a
// kernel as ordinary code. CUDA_PORT_ORDER says in which order threads and blocks get their turns. Streams are lists of
// work that is put off as long as something does not wait for it, and run in the least convenient order (streams.cpp): a
// missing event shows as a wrong result. Captured graphs replay the recorded calls with the arguments of their recording,
// as the real ones do.
//
// Limits: threads that diverge around a barrier or shuffle stop the program; static shared memory keeps what the block
// before has left there; shuffled values are at most 16 bytes; no cooperative groups; tensor cores only through what
// nn/cuda_*.h wraps; slow.
#ifndef CUDA_PORT_RUNTIME_H
#define CUDA_PORT_RUNTIME_H

#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static // of one block at a time

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

// --- kernels (fibers.cpp) ---
void cuda_port_launch(dim3 grid, dim3 block, size_t shared_bytes, void *stream, const char *name,
                      std::function<void()> kernel);
// Is this much dynamic shared memory allowed to the kernel? If not, that is the last error, as of a refused launch.
bool cuda_port_allowed(const void *kernel, size_t shared_bytes);
// Most blocks of a grid that is made for a GPU with room for `blocks` (CUDA_PORT_ORDER).
int cuda_port_grid(int blocks);
void *cuda_port_shared(); // dynamic shared memory of the block, filled with NaN before each block
#define CUDA_PORT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                               \
    (cuda_port_allowed(cuda_port_address(kernel), shared_bytes)                                                        \
         ? cuda_port_launch(grid, block, shared_bytes, (void *)(stream), #kernel, cuda_port_bind(kernel, __VA_ARGS__)) \
         : (void)0)
template <class... P> static inline const void *cuda_port_address(void (*kernel)(P...))
{
    return (const void *)kernel;
}
// The arguments as they are now, as a launch takes them.
template <class K, class... A> static inline std::function<void()> cuda_port_bind(K kernel, A... a)
{
    return [=] { kernel(a...); };
}

void __syncthreads();
void __syncwarp(unsigned mask = ~0u);
// Puts up `bytes` of this lane and reads those of lane `from` of the warp (its own where there is no such lane).
void cuda_port_exchange(const void *mine, void *theirs, size_t bytes, int from);
// Puts up an address and fills in those of all 32 lanes. What lies there may be read until the caller's __syncwarp().
void cuda_port_gather(const void *mine, const void **all);
int cuda_port_lane();

template <class T> static inline T cuda_port_shuffle(T value, int from)
{
    T result;
    cuda_port_exchange(&value, &result, sizeof value, from);
    return result;
}
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int lanes, int width = 32)
{
    (void)width;
    return cuda_port_shuffle(value, cuda_port_lane() ^ lanes);
}
template <class T> static inline T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32)
{
    int lane = cuda_port_lane(), from = lane + (int)delta;
    return cuda_port_shuffle(value, lane / width == from / width ? from : lane);
}
template <class T> static inline T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32)
{
    int lane = cuda_port_lane(), from = lane - (int)delta;
    return cuda_port_shuffle(value, from >= lane / width * width ? from : lane);
}
template <class T> static inline T __shfl_sync(unsigned, T value, int from, int width = 32)
{
    int lane = cuda_port_lane();
    return cuda_port_shuffle(value, lane / width * width + from % width);
}
static inline unsigned __ballot_sync(unsigned, int predicate)
{
    unsigned bits = 0;
    for (int lane = 0; lane < 32; lane++) // an exchange with each lane in turn
        bits |= (unsigned)(cuda_port_shuffle(predicate != 0, lane) ? 1 : 0) << lane;
    return bits;
}
static inline int atomicAdd(int *p, int v)
{
    int old = *p;
    *p = old + v; // fibers change only where they yield
    return old;
}
static inline unsigned atomicAdd(unsigned *p, unsigned v)
{
    unsigned old = *p;
    *p = old + v;
    return old;
}
static inline unsigned atomicInc(unsigned *p, unsigned last)
{
    unsigned old = *p;
    *p = old >= last ? 0 : old + 1;
    return old;
}
static inline void __threadfence() {}
#define __expf expf
#define __logf logf
#define __fdividef(a, b) ((a) / (b))
#define rsqrtf(x) (1.0f / sqrtf(x))
#define __ldg(p) (*(p))
static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

// --- runtime (streams.cpp) ---
typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureUnsupported = 900
} cudaError_t;
typedef struct cuda_port_stream *cudaStream_t;
typedef struct cuda_port_event *cudaEvent_t;
typedef struct cuda_port_graph *cudaGraph_t;
typedef struct cuda_port_graph *cudaGraphExec_t;
typedef enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
} cudaMemcpyKind;
typedef enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
} cudaStreamCaptureMode;
enum { cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0 };
enum { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
enum { cudaEventRecordDefault = 0, cudaEventWaitDefault = 0 };
typedef enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef struct cudaFuncAttributes {
    int maxDynamicSharedSizeBytes;
} cudaFuncAttributes;
typedef struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount, l2CacheSize;
} cudaDeviceProp;

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer);
cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemset(void *p, int byte, size_t bytes);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
// Of one kernel, whoever launches it: the last value set counts for all.
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute a, int value);
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel);

// Work of other libraries, put into a stream like a kernel (the stand-ins of cuBLASLt, cuDNN and NCCL).
void cuda_port_enqueue(cudaStream_t s, const char *name, std::function<void()> work);
// Work that may have to be called again: until it returns true.
void cuda_port_enqueue_poll(cudaStream_t s, const char *name, std::function<bool()> work);

#endif
