// Blocks of a kernel as fibers (ucontext). See cuda_runtime.h.
#include <cuda_runtime.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ENTER(save, stack) __sanitizer_start_switch_fiber(save, (stack).data(), (stack).size())
#define ENTERED(save) __sanitizer_finish_switch_fiber(save, NULL, NULL)
#else
#define ENTER(save, stack) (void)(save)
#define ENTERED(save) (void)(save)
#endif

enum { MAX_THREADS = 1024, STACK_BYTES = 128 * 1024, LANE_BYTES = 16, WARP = 32 };

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Where a thread stands: how many barriers and warp exchanges it has reached. All must agree when a round ends.
enum wait_kind { RUNNING, AT_BARRIER, AT_WARP, DONE };

static struct block {
    const char *name;
    const std::function<void()> *kernel;
    std::vector<char> shared;
    ucontext_t scheduler;
    std::vector<ucontext_t> fiber;
    std::vector<std::vector<char>> stack;
    std::vector<wait_kind> at;
    std::vector<void *> fake; // of the sanitizer
    void *scheduler_fake;
    const void *scheduler_stack;
    size_t scheduler_size;
    unsigned current, count;
    char lane[MAX_THREADS][LANE_BYTES];
} b;

static void leave(wait_kind why)
{
    b.at[b.current] = why;
#if defined(__SANITIZE_ADDRESS__)
    unsigned me = b.current;
    __sanitizer_start_switch_fiber(why == DONE ? NULL : &b.fake[me], b.scheduler_stack, b.scheduler_size);
    swapcontext(&b.fiber[me], &b.scheduler);
    __sanitizer_finish_switch_fiber(b.fake[me], &b.scheduler_stack, &b.scheduler_size);
#else
    swapcontext(&b.fiber[b.current], &b.scheduler);
#endif
}

static void thread_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &b.scheduler_stack, &b.scheduler_size);
#endif
    (*b.kernel)();
    leave(DONE);
}

static void start_thread(unsigned t)
{
    getcontext(&b.fiber[t]);
    b.fiber[t].uc_stack.ss_sp = b.stack[t].data();
    b.fiber[t].uc_stack.ss_size = b.stack[t].size();
    b.fiber[t].uc_link = NULL;
    makecontext(&b.fiber[t], thread_main, 0);
}

static void resume(unsigned t)
{
    b.current = t;
    b.at[t] = RUNNING;
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
    ENTER(&b.scheduler_fake, b.stack[t]);
    swapcontext(&b.scheduler, &b.fiber[t]);
    ENTERED(b.scheduler_fake);
}

static void diverged(const char *what, unsigned t)
{
    fprintf(stderr, "kernel %s, block (%u, %u, %u): thread %u does not reach the %s that others wait at\n", b.name,
            blockIdx.x, blockIdx.y, blockIdx.z, t, what);
    abort();
}

// Runs the warp until all its threads wait at a barrier or are done. Returns whether any is left.
static bool run_warp(unsigned first, unsigned end)
{
    for (;;) {
        unsigned waiting = 0, barrier = 0, done = 0, last_done = 0;
        for (unsigned t = first; t < end; t++)
            if (b.at[t] == RUNNING || b.at[t] == AT_WARP) resume(t);
        for (unsigned t = first; t < end; t++) {
            waiting += b.at[t] == AT_WARP;
            barrier += b.at[t] == AT_BARRIER;
            if (b.at[t] == DONE) {
                done++;
                last_done = t;
            }
        }
        if (waiting && barrier) diverged("shuffle", first);
        if (waiting && done) diverged("shuffle", last_done);
        if (!waiting) return barrier > 0;
    }
}

static void run_block()
{
    for (unsigned t = 0; t < b.count; t++) {
        start_thread(t);
        b.at[t] = RUNNING;
    }
    // Bytes that are never zero by luck: NaN as float, bf16 and double.
    if (!b.shared.empty()) memset(b.shared.data(), 0xff, b.shared.size());
    for (bool left = true; left;) {
        left = false;
        for (unsigned first = 0; first < b.count; first += WARP) {
            unsigned end = first + WARP < b.count ? first + WARP : b.count;
            if (run_warp(first, end)) left = true;
        }
        // A thread that has ended counts as arrived, as on the device.
        for (unsigned t = 0; t < b.count && left; t++)
            if (b.at[t] == AT_BARRIER) b.at[t] = RUNNING;
    }
}

static void run_kernel(dim3 grid, dim3 block, size_t shared_bytes, const char *name,
                       const std::function<void()> &kernel)
{
    gridDim = grid;
    blockDim = block;
    b.name = name;
    b.kernel = &kernel;
    b.count = block.x * block.y * block.z;
    if (b.count > MAX_THREADS || b.count == 0 || shared_bytes > 227 * 1024) {
        fprintf(stderr, "kernel %s: %u threads, %zu bytes of shared memory\n", name, b.count, shared_bytes);
        abort();
    }
    b.shared.assign(shared_bytes, 0);
    while (b.stack.size() < b.count)
        b.stack.push_back(std::vector<char>(STACK_BYTES));
    b.fiber.resize(b.count);
    b.at.assign(b.count, RUNNING);
    b.fake.assign(b.count, NULL);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                run_block();
            }
}

void cuda_port_launch(dim3 grid, dim3 block, size_t shared_bytes, void *stream, const char *name,
                      std::function<void()> kernel)
{
    cuda_port_enqueue((cudaStream_t)stream, name, [=] { run_kernel(grid, block, shared_bytes, name, kernel); });
}

void *cuda_port_shared()
{
    return b.shared.data();
}

int cuda_port_lane()
{
    return (int)(b.current % WARP);
}

void __syncthreads()
{
    leave(AT_BARRIER);
}

void __syncwarp(unsigned)
{
    leave(AT_WARP);
}

void cuda_port_exchange(const void *mine, void *theirs, size_t bytes, int from)
{
    unsigned first = b.current / WARP * WARP;
    if (bytes > LANE_BYTES) abort();
    memcpy(b.lane[b.current], mine, bytes);
    leave(AT_WARP);
    if (from < 0 || from >= WARP || first + (unsigned)from >= b.count) from = cuda_port_lane();
    memcpy(theirs, b.lane[first + (unsigned)from], bytes);
    leave(AT_WARP); // nobody puts up the next value before all have read this one
}

void cuda_port_gather(const void *mine, const void **all)
{
    unsigned first = b.current / WARP * WARP;
    memcpy(b.lane[b.current], &mine, sizeof mine);
    leave(AT_WARP);
    for (unsigned i = 0; i < WARP; i++) {
        all[i] = NULL;
        if (first + i < b.count) memcpy(&all[i], b.lane[first + i], sizeof mine);
    }
    // The addresses have been read when the next exchange starts: the caller's __syncwarp() comes before it.
}
