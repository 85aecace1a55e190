// The passes of a convolution over time (nn/cuda_conv.h, nn/cuda_windows.h) against plain loops, on a GPU or on the CPU
// port: cuDNN's algorithm where it has one, and gathered windows all at once and in pieces. Prints what differs; exit
// status 0: all agree, 77: no GPU.
#include "nn/cuda_gemm.h"
#include "nn/cuda_windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

static int failures, by_library;
static cudaStream_t stream;

static void must(cudaError_t e)
{
    if (e == cudaSuccess) return;
    printf("CUDA: %s\n", cudaGetErrorString(e));
    exit(1);
}

static void fail(const char *how, const nn_cuda_conv_cfg &c, double off, double most)
{
    failures++;
    printf(
        "%s: pass %d, %lld x %lld x %lld to %lld, kernel %lld by %lld, %lld + %lld, %lld groups, %s: off by %g of %g: "
        "%s\n",
        how, (int)c.pass, (long long)c.rows, (long long)c.t, (long long)c.in, (long long)c.out, (long long)c.kernel,
        (long long)c.stride, (long long)c.left, (long long)c.right, (long long)c.groups, mn_dtype_name(c.io), off, most,
        mn_errmsg());
}

// Values between -1 and 1 that bf16 holds exactly.
static float element(uint64_t tensor, uint64_t i)
{
    uint64_t h = (i + tensor * 1000003u + 17) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return (float)((int)(h >> 40 & 255) - 128) / 128.0f;
}

struct tensor {
    mn_dtype type;
    std::vector<float> value;
    void *device = NULL;

    tensor(mn_dtype t, int64_t n, uint64_t seed) : type(t), value((size_t)n)
    {
        for (size_t i = 0; i < value.size(); i++)
            value[i] = element(seed, i);
        must(cudaMalloc(&device, value.size() * mn_dtype_size(t)));
        put();
    }
    void put()
    {
        std::vector<nn_bf16> narrow(value.begin(), value.end());
        const void *from = type == MN_BF16 ? (const void *)narrow.data() : (const void *)value.data();
        must(cudaMemcpy(device, from, value.size() * mn_dtype_size(type), cudaMemcpyHostToDevice));
        must(cudaStreamSynchronize(0)); // other streams do not wait for it
    }
    float at(size_t i) const { return value[i]; }
    void get()
    {
        std::vector<nn_bf16> narrow(value.size());
        void *to = type == MN_BF16 ? (void *)narrow.data() : (void *)value.data();
        must(cudaStreamSynchronize(stream));
        must(cudaMemcpy(to, device, value.size() * mn_dtype_size(type), cudaMemcpyDeviceToHost));
        for (size_t i = 0; type == MN_BF16 && i < value.size(); i++)
            value[i] = (float)narrow[i];
    }
    ~tensor() { (void)cudaFree(device); }
};

// What the pass makes, each product of x, weight and dy added where it belongs.
static std::vector<double> expected(const nn_cuda_conv_cfg &c, const tensor &first, const tensor &second, size_t count)
{
    const int64_t n = nn_cuda_conv_steps(c), in = c.in / c.groups, out = c.out / c.groups;
    std::vector<double> made(count, 0);

    for (int64_t row = 0; row < c.rows; row++)
        for (int64_t p = 0; p < n; p++)
            for (int64_t o = 0; o < c.out; o++)
                for (int64_t k = 0; k < c.kernel; k++) {
                    const int64_t step = p * c.stride - c.left + k;
                    for (int64_t q = 0; q < in && step >= 0 && step < c.t; q++) {
                        const size_t x = (size_t)((row * c.t + step) * c.in + o / out * in + q),
                                     y = (size_t)((row * n + p) * c.out + o), w = (size_t)((o * c.kernel + k) * in + q);
                        if (c.pass == NN_CONV_FORWARD)
                            made[y] += (double)first.at(x) * (double)second.at(w);
                        else if (c.pass == NN_CONV_D_X)
                            made[x] += (double)first.at(y) * (double)second.at(w);
                        else
                            made[w] += (double)first.at(x) * (double)second.at(y);
                    }
                }
    return made;
}

static void compare(const char *how, const nn_cuda_conv_cfg &c, tensor &made, const std::vector<double> &want)
{
    double most = 0, off = 0;

    made.get();
    for (size_t i = 0; i < want.size(); i++) {
        const double d = fabs((double)made.value[i] - want[i]);
        most = fabs(want[i]) > most ? fabs(want[i]) : most;
        off = d <= off ? off : d;
    }
    if (!(off <= (made.type == MN_BF16 ? 1e-2 : 5e-6) * most)) fail(how, c, off, most);
    for (float &v : made.value)
        v = NAN;
    made.put();
}

static void test(nn_cuda_conv_cfg c)
{
    const int64_t n_x = c.rows * c.t * c.in, n_y = c.rows * nn_cuda_conv_steps(c) * c.out,
                  n_w = c.out * c.kernel * (c.in / c.groups);
    tensor first(c.io, c.pass == NN_CONV_D_X ? n_y : n_x, 1), second(c.io, c.pass == NN_CONV_D_WEIGHT ? n_y : n_w, 2),
        made(c.pass == NN_CONV_D_WEIGHT ? MN_F32 : c.io,
             c.pass == NN_CONV_D_WEIGHT ? n_w
             : c.pass == NN_CONV_D_X    ? n_x
                                        : n_y,
             3);
    const std::vector<double> want = expected(c, first, second, made.value.size());
    nn_cuda_conv *library = NULL;
    nn_cuda_windows *windows = NULL;
    void *work;

    if (nn_cuda_conv_new(&library, c) != MN_OK) return fail("library", c, 0, 0);
    if (library) {
        by_library++;
        must(cudaMalloc(&work, nn_cuda_conv_work(library) + 1));
        if (nn_cuda_conv_run(library, first.device, second.device, made.device, work, stream) != MN_OK)
            fail("library", c, 0, 0);
        compare("library", c, made, want);
        must(cudaFree(work));
        nn_cuda_conv_free(library);
    }
    for (int pieces = 0; pieces < 2; pieces++) {
        if (nn_cuda_windows_new(&windows, c, pieces) != MN_OK) return fail("windows", c, 0, 0);
        must(cudaMalloc(&work, nn_cuda_windows_work(windows)));
        if (nn_cuda_windows_run(windows, first.device, second.device, made.device, work, stream) != MN_OK)
            fail("windows", c, 0, 0);
        compare(pieces ? "windows in pieces" : "windows", c, made, want);
        must(cudaFree(work));
        nn_cuda_windows_free(windows);
    }
}

int main()
{
    static const nn_cuda_conv_cfg shape[] = {
        {.rows = 2, .t = 81, .in = 16, .out = 8, .kernel = 3, .stride = 2, .groups = 1},
        {.rows = 3, .t = 40, .in = 8, .out = 24, .kernel = 2, .stride = 2, .groups = 1},
        {.rows = 2, .t = 200, .in = 1, .out = 16, .kernel = 10, .stride = 5, .groups = 1},
        {.rows = 2, .t = 50, .in = 32, .out = 32, .kernel = 8, .stride = 1, .left = 4, .right = 3, .groups = 4},
        {.rows = 1, .t = 75, .in = 6, .out = 10, .kernel = 5, .stride = 3, .left = 2, .right = 2, .groups = 2},
    };
    int devices;

    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices < 1) {
        printf("skipped: no GPU\n");
        return 77;
    }
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (nn_cuda_conv_cfg c : shape)
        for (int type = 0; type < 2; type++)
            for (int pass = 0; pass < 3; pass++) {
                c.io = type ? MN_BF16 : MN_F32;
                c.pass = (nn_conv_pass)pass;
                test(c);
            }
    must(cudaStreamDestroy(stream));
    nn_cuda_conv_shutdown();
    nn_cuda_gemm_shutdown();
    printf(failures ? "%d failures\n" : "all passes agree\n", failures);
    printf("%d passes by the library\n", by_library);
    return failures != 0;
}
