// Faults that are planted in small kernels, each as a process of its own: the port has to find them all, and nothing in
// the same kernels without the fault. Exit status 0: it does.
#include "nn/cuda_kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 2, THREADS = 96, N = BLOCKS * THREADS };

// Every thread hands its number to its neighbour: the next one, or the one before.
__global__ static void hand_over(int *y, int next, int barrier)
{
    __shared__ int mine[THREADS];
    int t = (int)threadIdx.x;
    mine[t] = t;
    if (barrier) __syncthreads();
    y[nn_cuda_index()] = mine[(t + next + THREADS) % THREADS];
}

// The same, and the number is replaced when the neighbour has it.
__global__ static void replace(int *y, int next, int barrier)
{
    __shared__ int mine[THREADS];
    int t = (int)threadIdx.x;
    mine[t] = t;
    __syncthreads();
    y[nn_cuda_index()] = mine[(t + next + THREADS) % THREADS];
    if (barrier) __syncthreads();
    mine[t] = -1;
}

// Among the lanes of a warp.
__global__ static void hand_over_in_warp(int *y, int next, int barrier)
{
    __shared__ int mine[THREADS];
    int t = (int)threadIdx.x, from = t / 32 * 32 + (t + next + 32) % 32;
    mine[t] = t;
    if (barrier) __syncwarp();
    y[nn_cuda_index()] = mine[from];
}

// Adds what other blocks have left in y.
__global__ static void rely_on_blocks(int *y, int, int only_own)
{
    int64_t i = nn_cuda_index();
    y[i] = only_own ? (int)threadIdx.x : y[(i + THREADS) % N] + 1;
}

__global__ static void fill(int *y, int beyond, int bounds)
{
    int64_t i = nn_cuda_index() + beyond;
    if (!bounds || i < N) y[i] = (int)i;
}

__global__ static void leave_early(int *y, int, int all_stay)
{
    if (threadIdx.x % 2 && !all_stay) return;
    y[nn_cuda_index()] = __shfl_xor_sync(~0u, (int)threadIdx.x, 1);
}

__global__ static void read_unwritten(int *y, int, int written)
{
    NN_SHARED(int, shared);
    if (written) shared[threadIdx.x] = (int)threadIdx.x;
    y[nn_cuda_index()] = shared[threadIdx.x];
}

typedef void kernel(int *, int, int);

// What the kernel makes, as one number.
static int result_of(kernel *k, int argument, int right)
{
    int host[N], sum = 0, *y;
    if (cudaMalloc((void **)&y, sizeof host) != cudaSuccess || cudaMemset(y, 0, sizeof host) != cudaSuccess) exit(3);
    if (NN_LAUNCH(k, BLOCKS, THREADS, THREADS * sizeof(int), NULL, y, argument, right) != MN_OK) exit(3);
    if (cudaMemcpy(host, y, sizeof host, cudaMemcpyDeviceToHost) != cudaSuccess) exit(3);
    for (int i = 0; i < N; i++)
        sum = (int)((unsigned)sum * 31u + (unsigned)host[i]);
    return sum;
}

// The same from a process of its own: static shared memory is new. -1 if that was stopped.
static int64_t run(const char *order, kernel *k, int argument, int right)
{
    static int *const result =
        (int *)mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    if (result == MAP_FAILED) exit(3);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("CUDA_PORT_ORDER", order, 1);
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        *result = result_of(k, argument, right);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) exit(3);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? (int64_t)(unsigned)*result : -1;
}

static int failures;

static void planted(const char *what, kernel *k, int argument)
{
    static const char *const orders[] = {"forward", "reversed", "shuffled"};
    const int64_t expected = run("forward", k, argument, 1);
    int found = 0;

    for (const char *order : orders) {
        int64_t right = run(order, k, argument, 1), wrong = run(order, k, argument, 0);
        if (right < 0 || right != expected) {
            printf("%s: found where it is not (%s)\n", what, order);
            failures++;
        }
        found += wrong != expected;
    }
    if (!found) {
        printf("%s: not found\n", what);
        failures++;
    }
}

int main()
{
    planted("a missing barrier, read ahead", hand_over, 1);
    planted("a missing barrier, read behind", hand_over, -1);
    planted("a missing barrier, overwritten ahead", replace, 1);
    planted("a missing barrier, overwritten behind", replace, -1);
    planted("a missing warp barrier, read ahead", hand_over_in_warp, 1);
    planted("a missing warp barrier, read behind", hand_over_in_warp, -1);
    planted("blocks that rely on their order", rely_on_blocks, 0);
    planted("a missing bounds check", fill, 1);
    planted("a thread that leaves before a shuffle", leave_early, 0);
    planted("shared memory that nobody wrote", read_unwritten, 0);
    if (!failures) printf("all found\n");
    return failures > 0;
}
