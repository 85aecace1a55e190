// Blocks of a kernel as fibers. See cuda_runtime.h.
//
// A fiber is entered by ucontext and then switched by longjmp, which makes no system call; under the address sanitizer,
// which has to be told of every switch, by ucontext alone. A thread that ends without waiting for others leaves its
// fiber to the next one, so a kernel without barriers runs in one.
//
// Between two barriers a thread runs as a whole, so of two threads that touch the same memory there one is always first.
// In the reversed order it is the other one: whoever relies on an order that no barrier makes is wrong in one of them.
// A grid that is made for the size of the GPU has one block then, so that it walks over all there is.
#include <cuda_runtime.h>

#include <algorithm>
#include <math.h>
#include <numeric>
#include <random>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

enum { MAX_THREADS = 1024, STACK_BYTES = 128 * 1024, LANE_BYTES = 16, WARP = 32 };

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

typedef enum order { FORWARD, REVERSED, SHUFFLED } order;

// Where a thread stands. All of a warp must agree when a round ends.
enum wait_kind { RUNNING, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    std::vector<char> stack;
    ucontext_t context;
    jmp_buf jump;
    bool begun = false;
    void *fake = NULL; // of the sanitizer
};

struct block {
    const char *name;
    order how;
    const std::function<void()> *kernel;
    std::vector<char> shared;
    ucontext_t scheduler;
    jmp_buf scheduler_jump;
    void *scheduler_fake;
    const void *scheduler_stack;
    size_t scheduler_size;
    std::vector<fiber *> idle;
    std::vector<fiber *> of;    // by thread: the fiber that it is in, NULL before it starts and after it ends
    std::vector<wait_kind> at;  // by thread
    std::vector<unsigned> turn; // the threads of the warp that runs, in order
    unsigned current, count;
    unsigned place; // of the current thread in its turn; those behind it may follow in the same fiber
    char lane[MAX_THREADS][LANE_BYTES];
};

// Never taken apart, so that fibers are still held when the leak check looks.
static block &b = *new block();

// --- order ------------------------------------------------------------------------------------------------------------
static order order_of_run()
{
    const char *name = getenv("CUDA_PORT_ORDER");
    if (!name || strcmp(name, "forward") == 0) return FORWARD;
    if (strcmp(name, "reversed") == 0) return REVERSED;
    if (strcmp(name, "shuffled") == 0) return SHUFFLED;
    fprintf(stderr, "CUDA_PORT_ORDER=%s: forward, reversed or shuffled\n", name);
    abort();
}

int cuda_port_grid(int blocks)
{
    static const int most_of[] = {1 << 30, 1, 3};
    int most = most_of[order_of_run()];
    return blocks < most ? blocks : most;
}

// The numbers [first, end) in the order that they get their turn in.
static void put_in_order(std::vector<unsigned> &turn, unsigned first, unsigned end)
{
    static std::minstd_rand random;
    const order how = b.how;
    turn.resize(end - first);
    std::iota(turn.begin(), turn.end(), first);
    if (how == REVERSED) std::reverse(turn.begin(), turn.end());
    if (how == SHUFFLED) std::shuffle(turn.begin(), turn.end(), random);
}

static void become(unsigned t)
{
    b.current = t;
    b.at[t] = RUNNING;
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

// From a fiber to the scheduler.
__attribute__((noinline)) static void leave_fiber(fiber *f)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&f->fake, b.scheduler_stack, b.scheduler_size);
    swapcontext(&f->context, &b.scheduler);
    __sanitizer_finish_switch_fiber(f->fake, &b.scheduler_stack, &b.scheduler_size);
#else
    if (_setjmp(f->jump) == 0) _longjmp(b.scheduler_jump, 1);
#endif
}

static void fiber_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &b.scheduler_stack, &b.scheduler_size);
#endif
    for (;;) {
        (*b.kernel)();
        unsigned t = b.current;
        fiber *f = b.of[t];
        b.at[t] = DONE;
        b.of[t] = NULL;
        if (b.place + 1 < b.turn.size()) {
            unsigned next = b.turn[b.place + 1];
            if (b.at[next] == RUNNING && !b.of[next]) {
                b.of[next] = f;
                b.place++;
                become(next);
                continue;
            }
        }
        b.idle.push_back(f);
        leave_fiber(f);
    }
}

static fiber *idle_fiber()
{
    if (!b.idle.empty()) {
        fiber *f = b.idle.back();
        b.idle.pop_back();
        return f;
    }
    fiber *f = new fiber;
    f->stack.resize(STACK_BYTES);
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack.data();
    f->context.uc_stack.ss_size = f->stack.size();
    f->context.uc_link = NULL;
    makecontext(&f->context, fiber_main, 0);
    return f;
}

#if !defined(__SANITIZE_ADDRESS__)
static void enter(fiber *f)
{
    if (f->begun) _longjmp(f->jump, 1);
    f->begun = true;
    setcontext(&f->context);
}
#endif

static void resume(unsigned t)
{
    if (!b.of[t]) b.of[t] = idle_fiber();
    become(t);
    fiber *f = b.of[t];
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&b.scheduler_fake, f->stack.data(), f->stack.size());
    swapcontext(&b.scheduler, &f->context);
    __sanitizer_finish_switch_fiber(b.scheduler_fake, NULL, NULL);
#else
    if (_setjmp(b.scheduler_jump) == 0) enter(f);
#endif
}

static void leave(wait_kind why)
{
    b.at[b.current] = why;
    leave_fiber(b.of[b.current]);
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
    put_in_order(b.turn, first, end);
    for (;;) {
        unsigned waiting = 0, barrier = 0, done = 0, last_done = 0;
        for (b.place = 0; b.place < b.turn.size(); b.place++) { // resuming may move on, too
            unsigned t = b.turn[b.place];
            if (b.at[t] == RUNNING || b.at[t] == AT_WARP) resume(t);
        }
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
    std::vector<unsigned> warps;
    b.at.assign(b.count, RUNNING);
    b.of.assign(b.count, NULL);
    // Bytes that are never zero by luck: NaN as float, bf16 and double.
    if (!b.shared.empty()) memset(b.shared.data(), 0xff, b.shared.size());
    for (bool left = true; left;) {
        left = false;
        put_in_order(warps, 0, (b.count + WARP - 1) / WARP);
        for (unsigned w : warps) {
            unsigned end = (w + 1) * WARP < b.count ? (w + 1) * WARP : b.count;
            if (run_warp(w * WARP, end)) left = true;
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
    b.how = order_of_run();
    b.kernel = &kernel;
    b.count = block.x * block.y * block.z;
    if (b.count > MAX_THREADS || b.count == 0) {
        fprintf(stderr, "kernel %s: %u threads\n", name, b.count);
        abort();
    }
    b.shared.assign(shared_bytes, 0);
    std::vector<unsigned> blocks;
    put_in_order(blocks, 0, grid.x * grid.y * grid.z);
    for (unsigned i : blocks) {
        blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
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
