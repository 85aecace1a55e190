// Batches on their way to a GPU: when their memory may be used again, and that they need none but their own. And the end
// of a graph that still runs.
#include "gpu_support.h"

#include "nn/graph.h"
#include "nn/ops.h"
#include "nn/params.h"

#include <criterion/criterion.h>

enum { N = 1000 };

typedef struct net {
    nn_device device;
    nn_params *params;
    nn_graph *graph;
} net;

static const nn_device *gpu;
static size_t pinned;
static int waits, waits_at_release;
static int kernel_waits; // the kernel asks for what a recording does not allow

static mn_err counted_alloc(const nn_device *d, void **out, size_t bytes, const char *what)
{
    pinned += bytes;
    return gpu->host_alloc(d, out, bytes, what);
}

static mn_err counted_wait(const nn_device *d)
{
    (void)d;
    waits++;
    return gpu->wait(gpu);
}

static mn_err prepare(nn_node *n)
{
    n->state = &waits; // whatever is not NULL
    return MN_OK;
}

static void release(nn_node *n)
{
    (void)n;
    waits_at_release = waits;
}

static mn_err forward(const nn_call *c)
{
    if (kernel_waits) MN_TRY(gpu->wait(gpu));
    return gpu->kernels(gpu, &nn_op_add)->fwd(c);
}

// The module's, of an op with a state.
static const nn_kernels *kernels(const nn_device *d, const nn_op *op)
{
    static nn_kernels watched;
    (void)d;
    watched = *gpu->kernels(gpu, op);
    mn_assert(!watched.prepare);
    watched.fwd = forward;
    watched.prepare = prepare;
    watched.release = release;
    return &watched;
}

// y = 2 x + 1 x
static void net_open(net *n)
{
    n->device = *(gpu = gpu_open());
    n->device.host_alloc = counted_alloc;
    n->device.wait = counted_wait;
    n->device.kernels = kernels;
    n->params = nn_params_new(1);
    n->graph = nn_graph_new(n->params, &(nn_graph_cfg){.mode = NN_EVAL, .dtype = MN_F32, .device = &n->device});
    nn_tensor *x = nn_input(n->graph, "x", MN_F32, MN_SHAPE(N));
    nn_output(n->graph, "y", nn_add(n->graph, x, 2, x, 1));
    nn_layout_cfg cfg = {.dtype = MN_F32, .forward_only = 1, .device = &n->device};
    cr_assert_eq(nn_params_layout(n->params, n->graph, &cfg), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_plan(n->graph, NULL), MN_OK, "%s", mn_errmsg());
}

static void net_close(net *n)
{
    nn_graph_free(n->graph);
    nn_params_free(n->params);
    gpu_close(gpu);
}

static void fill(float *x, float value)
{
    for (int i = 0; i < N; i++)
        x[i] = value;
}

static float run(net *n, int64_t step)
{
    cr_assert_eq(nn_graph_run(n->graph, &(nn_tick){.step = (uint64_t)step, .rows = N}), MN_OK, "%s", mn_errmsg());
    const float *y = nn_graph_buffer(n->graph, "y", NULL, NULL);
    cr_assert_not_null(y, "%s", mn_errmsg());
    for (int i = 1; i < N; i++)
        cr_assert_eq(y[i], y[0]);
    return y[0];
}

// Also before a run takes it: a step that fails between the two gives its batch back to the loader.
Test(gpu_feed, memory_is_free_once_it_was_copied)
{
    net n;
    void *p;
    net_open(&n);
    cr_assert_eq(gpu->host_alloc(gpu, &p, N * sizeof(float), "a batch"), MN_OK);
    for (int step = 0; step < 4; step++) {
        fill(p, (float)step + 1);
        cr_assert_eq(nn_graph_feed(n.graph, "x", p, N * sizeof(float)), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(nn_graph_fed(n.graph), MN_OK, "%s", mn_errmsg());
        fill(p, -1);
        cr_expect_eq(run(&n, step), 3 * ((float)step + 1));
    }
    gpu->host_release(gpu, p, N * sizeof(float));
    net_close(&n);
}

Test(gpu_feed, asking_for_an_input_makes_no_copy_of_it)
{
    net n;
    net_open(&n);
    size_t before = pinned;
    cr_expect(nn_graph_has_input(n.graph, "x"));
    cr_expect(!nn_graph_has_input(n.graph, "y"));
    cr_expect(!nn_graph_has_input(n.graph, "target"));
    cr_expect_eq(pinned, before);
    size_t bytes;
    cr_expect_not_null(nn_graph_input(n.graph, "x", &bytes));
    cr_expect_geq(pinned, before + bytes);
    net_close(&n);
}

// What was put on the device may use the state of a node until it has run.
Test(gpu_feed, a_graph_waits_before_it_is_taken_apart)
{
    net n;
    float x[N];
    net_open(&n);
    fill(x, 1);
    cr_assert_eq(nn_graph_feed(n.graph, "x", x, sizeof x), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_run(n.graph, &(nn_tick){.rows = N}), MN_OK, "%s", mn_errmsg());
    int before = waits;
    net_close(&n);
    cr_expect_gt(waits_at_release, before);
}

// What has failed once must not be found by the next call.
Test(gpu_feed, a_step_that_cannot_be_recorded_is_put_there_call_by_call)
{
    net n;
    float x[N];
    net_open(&n);
    kernel_waits = 1;
    for (int step = 0; step < 4; step++) {
        fill(x, (float)step + 1);
        cr_assert_eq(nn_graph_feed(n.graph, "x", x, sizeof x), MN_OK, "%s", mn_errmsg());
        cr_expect_eq(run(&n, step), 3 * ((float)step + 1));
    }
    kernel_waits = 0;
    net_close(&n);
}
