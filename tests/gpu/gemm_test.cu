// Matrix products of nn/cuda_gemm.h against plain loops, on a GPU or on the CPU port: transposes, gaps between rows,
// batches, added results, bias, sums; refused configurations; a recorded product replayed with new contents; and the
// same bits every time. Prints what differs; exit status 0: all agree, 77: no GPU.
#include "nn/cuda_epilogue.h"
#include "nn/cuda_gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

static int failures;
static cudaStream_t stream;

static void fail(const char *what, const nn_cuda_gemm_cfg &c, double off, double most)
{
    failures++;
    printf("%s: m %lld n %lld k %lld, %s to %s, a %d b %d, batch %lld, bias %d sums %d add %d: off by %g of %g: %s\n",
           what, (long long)c.m, (long long)c.n, (long long)c.k, mn_dtype_name(c.in), mn_dtype_name(c.out),
           c.a_transposed, c.b_transposed, (long long)c.batch, c.bias, c.sums, c.add, off, most, mn_errmsg());
}

static void must(cudaError_t e)
{
    if (e == cudaSuccess) return;
    printf("CUDA: %s\n", cudaGetErrorString(e));
    exit(1);
}

// Values between -1 and 1 that bf16 holds exactly.
static float element(uint64_t tensor, uint64_t i)
{
    uint64_t h = (i + tensor * 1000003u + 17) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return (float)((int)(h >> 40 & 255) - 128) / 128.0f;
}

// A matrix in the memory of the device, and its values.
struct matrix {
    mn_dtype type = MN_F32;
    std::vector<float> value;
    void *device = NULL;

    void make(mn_dtype t, int64_t n, uint64_t tensor)
    {
        type = t;
        value.resize((size_t)n);
        for (size_t i = 0; i < value.size(); i++)
            value[i] = element(tensor, i);
        if (!device) must(cudaMalloc(&device, value.size() * 4 + 16));
        put();
    }
    void put()
    {
        std::vector<nn_bf16> narrow(value.begin(), value.end());
        const void *from = type == MN_BF16 ? (const void *)narrow.data() : (const void *)value.data();
        must(cudaMemcpy(device, from, value.size() * mn_dtype_size(type), cudaMemcpyHostToDevice));
        must(cudaStreamSynchronize(0)); // other streams do not wait for it
    }
    std::vector<float> get() const
    {
        std::vector<nn_bf16> narrow(value.size());
        std::vector<float> result(value.size());
        void *to = type == MN_BF16 ? (void *)narrow.data() : (void *)result.data();
        must(cudaStreamSynchronize(stream));
        must(cudaMemcpy(to, device, value.size() * mn_dtype_size(type), cudaMemcpyDeviceToHost));
        if (type == MN_BF16)
            for (size_t i = 0; i < value.size(); i++)
                result[i] = (float)narrow[i];
        return result;
    }
    ~matrix() { (void)cudaFree(device); }
};

struct problem {
    nn_cuda_gemm_cfg c; // as checked: nothing is 0 that has a default
    matrix a, b, bias, result, sums;
    std::vector<double> want, want_sums;
    void *work = NULL;

    void make(uint64_t round)
    {
        a.make(c.in, (c.batch - 1) * c.stride_a + (c.a_transposed ? c.k : c.m) * c.lda, 1 + round);
        b.make(c.in, (c.batch - 1) * c.stride_b + (c.b_transposed ? c.n : c.k) * c.ldb, 2 + round);
        result.make(c.out, (c.batch - 1) * c.stride_c + c.m * c.ldc, 3 + round);
        bias.make(MN_F32, c.n, 4 + round);
        sums.make(MN_F32, c.m, 5 + round);
        expect();
    }
    void expect()
    {
        want.assign(result.value.begin(), result.value.end());
        want_sums.assign((size_t)c.m, 0);
        for (int64_t q = 0; q < c.batch; q++)
            for (int64_t i = 0; i < c.m; i++)
                for (int64_t j = 0; j < c.n; j++) {
                    double &w = want[(size_t)(q * c.stride_c + i * c.ldc + j)];
                    w = (c.add ? w : 0) + (c.bias ? (double)bias.value[(size_t)j] : 0);
                    for (int64_t p = 0; p < c.k; p++)
                        w += (double)a.value[at_a(q, i, p)] * (double)b.value[at_b(q, p, j)];
                }
        for (int64_t i = 0; i < c.m && c.sums; i++)
            for (int64_t p = 0; p < c.k; p++)
                want_sums[(size_t)i] += (double)a.value[at_a(0, i, p)];
    }
    size_t at_a(int64_t q, int64_t i, int64_t p) const
    {
        return (size_t)(q * c.stride_a + (c.a_transposed ? p * c.lda + i : i * c.lda + p));
    }
    size_t at_b(int64_t q, int64_t p, int64_t j) const
    {
        return (size_t)(q * c.stride_b + (c.b_transposed ? j * c.ldb + p : p * c.ldb + j));
    }
    nn_cuda_gemm_args args() const
    {
        return {.a = a.device,
                .b = b.device,
                .bias = c.bias ? (const float *)bias.device : NULL,
                .c = result.device,
                .sums = c.sums ? (float *)sums.device : NULL,
                .work = work};
    }
    ~problem() { (void)cudaFree(work); }
};

static void compare(const char *what, const problem &p, const std::vector<float> &got, const std::vector<double> &want,
                    double tolerance)
{
    double most = 0, off = 0;

    for (size_t i = 0; i < want.size(); i++) {
        const double d = fabs((double)got[i] - want[i]);
        most = fabs(want[i]) > most ? fabs(want[i]) : most;
        off = d <= off ? off : d; // a NaN stays
    }
    if (!(off <= tolerance * most)) fail(what, p.c, off, most);
}

static void check(const char *what, const problem &p)
{
    compare(what, p, p.result.get(), p.want, p.c.out == MN_BF16 ? 1e-2 : 2e-6);
    if (p.c.sums) compare("sums", p, p.sums.get(), p.want_sums, 2e-6);
}

// Run, run again on the same operands for the same bits, and replay a recording with other contents.
static void run_all(problem &p, nn_cuda_gemm *g)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    std::vector<float> first;

    if (nn_cuda_gemm_run(g, p.args(), stream) != MN_OK) return fail("run", p.c, 0, 0);
    check("once", p);
    first = p.result.get();
    p.result.put();
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    if (nn_cuda_gemm_run(g, p.args(), stream) != MN_OK) fail("capture", p.c, 0, 0);
    must(cudaStreamEndCapture(stream, &graph));
    must(cudaGraphInstantiate(&exec, graph, 0));
    must(cudaGraphLaunch(exec, stream));
    if (p.result.get() != first) fail("other bits the second time", p.c, 0, 0);
    p.make(50);
    must(cudaGraphLaunch(exec, stream));
    check("replayed", p);
    must(cudaGraphExecDestroy(exec));
    must(cudaGraphDestroy(graph));
}

static void test(const nn_cuda_gemm_cfg &cfg)
{
    problem p;
    nn_cuda_gemm *g = NULL;

    p.c = cfg;
    if (nn_cuda_gemm_check(&p.c) != MN_OK || nn_cuda_gemm_new(&g, cfg) != MN_OK) return fail("new", p.c, 0, 0);
    must(cudaMalloc(&p.work, nn_cuda_gemm_work(g) + 1));
    p.make(0);
    run_all(p, g);
    nn_cuda_gemm_free(g);
}

static void refuse(const char *what, const nn_cuda_gemm_cfg &cfg)
{
    nn_cuda_gemm *g = NULL;

    if (nn_cuda_gemm_new(&g, cfg) == MN_EINTERNAL && !g) return;
    failures++;
    printf("not refused: %s\n", what);
    nn_cuda_gemm_free(g);
}

static void test_products(mn_dtype in, mn_dtype out)
{
    static const int64_t size[][3] = {{1, 1, 1}, {7, 5, 3}, {64, 48, 32}, {33, 129, 65}, {300, 17, 40}, {16, 8, 500}};

    for (const auto &s : size)
        for (int way = 0; way < 4; way++) {
            nn_cuda_gemm_cfg c = {.m = s[0], .n = s[1], .k = s[2], .in = in, .out = out};
            c.a_transposed = way & 1;
            c.b_transposed = way >> 1;
            test(c);
            c.bias = c.add = 1;
            test(c);
            c.bias = 0;
            c.sums = c.a_transposed;
            c.lda = (c.a_transposed ? c.m : c.k) + 8;
            c.ldb = (c.b_transposed ? c.k : c.n) + 16;
            c.ldc = c.n + 24;
            test(c);
            c.sums = c.add = 0;
            c.bias = 1;
            c.batch = 3;
            c.stride_a = (c.a_transposed ? c.k : c.m) * c.lda;
            c.stride_b = way & 1 ? 0 : (c.b_transposed ? c.n : c.k) * c.ldb + 8;
            c.stride_c = c.m * c.ldc + 8;
            test(c);
        }
}

static void test_refusals()
{
    const nn_cuda_gemm_cfg good = {.m = 4, .n = 4, .k = 4};
    nn_cuda_gemm_cfg c;

    c = good, c.m = 0, refuse("no rows", c);
    c = good, c.k = -1, refuse("negative k", c);
    c = good, c.lda = 3, refuse("overlapping rows of A", c);
    c = good, c.ldc = 3, refuse("overlapping rows of C", c);
    c = good, c.out = MN_BF16, refuse("f32 into bf16", c);
    c = good, c.in = MN_F64, refuse("f64", c);
    c = good, c.batch = 2, refuse("results of a batch in one place", c);
    c = good, c.sums = 1, refuse("sums of an A that is not transposed", c);
    c = good, c.sums = c.bias = c.a_transposed = 1, refuse("sums and a bias", c);
}

int main()
{
    int devices;

    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices < 1) {
        printf("skipped: no GPU\n");
        return 77;
    }
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    test_products(MN_F32, MN_F32);
    test_products(MN_BF16, MN_BF16);
    test_products(MN_BF16, MN_F32);
    test_refusals();
    must(cudaStreamDestroy(stream));
    nn_cuda_gemm_shutdown();
    printf(failures ? "%d failures\n" : "all products agree\n", failures);
    return failures != 0;
}
