// The fragments and products of nn/cuda_mma.h against plain loops, on a GPU or on the CPU port: every way to load an
// operand, two products in a row that do not leave the registers, f32 by shuffles, copies that have to be waited for.
// Values are small whole numbers, so everything is exact and must be equal. Exit status 0: all agree, 77: no GPU.
#include "nn/cuda_mma.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 16, A_DOWN = 1, B_DOWN = 2, AGAIN = 4, SHUFFLED = 8, WAYS = 16 };

__device__ static void multiply(float (&c)[4], const nn_cuda_a<float> &a, const nn_cuda_b<float> &b, int way)
{
    if (way & SHUFFLED)
        nn_cuda_mma_shuffled(c, a, b);
    else
        nn_cuda_mma(c, a, b);
}
__device__ static void multiply(float (&c)[4], const nn_cuda_a<nn_bf16> &a, const nn_cuda_b<nn_bf16> &b, int)
{
    nn_cuda_mma(c, a, b);
}

// c = a b, or (a b) b; an operand that lies `down` is the transpose of the matrix given.
template <class T> __global__ static void product(float *c, const T *a, const T *b, int way)
{
    constexpr int ROW = N + 16 / sizeof(T), WIDE = 16 / sizeof(T);
    NN_SHARED(T, shared);
    T *tile_a = shared, *tile_b = shared + N * ROW;
    int lane = nn_cuda_lane(), g = lane / 4, t = lane % 4;
    nn_cuda_copies q;
    nn_cuda_a<T> left;
    nn_cuda_b<T> right[2];
    float s[2][4] = {}, twice[2][4] = {};

    for (int i = lane; i < N * N / WIDE; i += 32)
        nn_cuda_copy16(q, tile_a + i * WIDE / N * ROW + i * WIDE % N, a + i * WIDE, true);
    nn_cuda_copy_group(q);
    for (int i = lane; i < N * N / WIDE; i += 32)
        nn_cuda_copy16(q, tile_b + i * WIDE / N * ROW + i * WIDE % N, b + i * WIDE, true);
    nn_cuda_copy_group(q);
    nn_cuda_copy_wait<1>(q);
    __syncthreads();
    if (way & A_DOWN)
        nn_cuda_load_a_down(left, tile_a, ROW);
    else
        nn_cuda_load_a(left, tile_a, ROW);
    nn_cuda_copy_wait<0>(q);
    __syncthreads();
    if (way & B_DOWN)
        nn_cuda_load_b_down(right, tile_b, ROW);
    else
        nn_cuda_load_b(right, tile_b, ROW);
    for (int n = 0; n < 2; n++)
        multiply(s[n], left, right[n], way);
    nn_cuda_a_of(left, s[0], s[1]);
    for (int n = 0; n < 2; n++)
        multiply(twice[n], left, right[n], way);
    for (int e = 0; e < 8; e++)
        c[(g + e / 2 % 2 * 8) * N + e / 4 * 8 + 2 * t + e % 2] = way & AGAIN ? twice[e / 4][e % 4] : s[e / 4][e % 4];
}

// 32 copies of which every third is of nothing.
__global__ static void copies(float *y, const float *x)
{
    NN_SHARED(float, shared);
    nn_cuda_copies q;
    int lane = nn_cuda_lane();
    nn_cuda_copy16(q, shared + 4 * lane, x + 4 * lane, lane % 3 != 0);
    nn_cuda_copy_group(q);
    nn_cuda_copy_wait<0>(q);
    __syncthreads();
    for (int k = 0; k < 4; k++)
        y[4 * lane + k] = shared[4 * ((lane + 1) % 32) + k];
}

static int failures;

static void must(cudaError_t e)
{
    if (e == cudaSuccess) return;
    printf("CUDA: %s\n", cudaGetErrorString(e));
    exit(1);
}

static void expected(float *c, const float *a, const float *b, int way)
{
    float s[N * N] = {};
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < N; k++)
                s[i * N + j] += a[way & A_DOWN ? k * N + i : i * N + k] * b[way & B_DOWN ? k * N + j : j * N + k];
    for (int i = 0; i < N * N; i++)
        c[i] = way & AGAIN ? 0 : s[i];
    for (int i = 0; i < N && way & AGAIN; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < N; k++)
                c[i * N + j] += s[i * N + k] * b[way & B_DOWN ? k * N + j : j * N + k];
}

template <class T> static void test_product(const char *type, int way)
{
    float a[N * N], b[N * N], want[N * N], have[N * N];
    T narrow[2][N * N], *operands;
    float *result;
    int wrong = 0;

    for (int i = 0; i < N * N; i++) {
        a[i] = (float)(i * 7 % 11 % 5 - 2);
        b[i] = (float)(i * 5 % 13 % 5 - 2);
        narrow[0][i] = (T)a[i];
        narrow[1][i] = (T)b[i];
    }
    expected(want, a, b, way);
    must(cudaMalloc((void **)&operands, sizeof narrow));
    must(cudaMalloc((void **)&result, sizeof have));
    must(cudaMemcpy(operands, narrow, sizeof narrow, cudaMemcpyHostToDevice));
    must(cudaStreamSynchronize(0)); // other streams do not wait for it
    if (NN_LAUNCH(product<T>, 1, 32, 2 * N * (N + 16 / sizeof(T)) * sizeof(T), 0, result, operands, operands + N * N,
                  way) != MN_OK)
        exit(1);
    must(cudaMemcpy(have, result, sizeof have, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N * N; i++)
        wrong += have[i] != want[i];
    if (wrong) printf("%s, way %d: %d of %d values differ\n", type, way, wrong, N * N);
    failures += wrong > 0;
    must(cudaFree(operands));
    must(cudaFree(result));
}

static void test_copies()
{
    float x[128], y[128], *from, *to;
    int wrong = 0;

    for (int i = 0; i < 128; i++)
        x[i] = (float)(i + 1);
    must(cudaMalloc((void **)&from, sizeof x));
    must(cudaMalloc((void **)&to, sizeof y));
    must(cudaMemcpy(from, x, sizeof x, cudaMemcpyHostToDevice));
    must(cudaStreamSynchronize(0)); // other streams do not wait for it
    if (NN_LAUNCH(copies, 1, 32, sizeof x, 0, to, from) != MN_OK) exit(1);
    must(cudaMemcpy(y, to, sizeof y, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 128; i++) {
        int lane = (i / 4 + 1) % 32;
        wrong += y[i] != (lane % 3 ? x[4 * lane + i % 4] : 0);
    }
    if (wrong) printf("copies: %d of 128 values differ\n", wrong);
    failures += wrong > 0;
    must(cudaFree(from));
    must(cudaFree(to));
}

int main()
{
    int devices;

    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices < 1) {
        printf("skipped: no GPU\n");
        return 77;
    }
    for (int way = 0; way < WAYS; way++)
        test_product<float>("f32", way);
    for (int way = 0; way < SHUFFLED; way++)
        test_product<nn_bf16>("bf16", way);
    test_copies();
    printf(failures ? "%d failures\n" : "all agree\n", failures);
    return failures != 0;
}
