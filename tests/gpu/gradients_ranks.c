// Gradients summed between GPUs while backward runs, over the port, on several ranks: what each rank has, what the sum
// may be off by with either wire, and that all ranks have the same bits; first call by call, then recorded, then twice
// from the recording.
#include "gpu_support.h"

#include "dist/gradients.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/graph.h"
#include "nn/ops.h"
#include "nn/params.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, WIDTH = 37, HIDDEN = 61, CLASSES = 5, STEPS = 4 };

typedef struct net {
    dist_comm *comm;
    const nn_device *device;
    dist_gradients *gradients; // NULL: this rank's own
    nn_params *params;
    nn_graph *graph;
    const nn_arenas *arenas;
} net;

static mn_err end_of_run(void *gradients)
{
    return dist_gradients_finish(gradients);
}

static void net_open(net *n, int summed, mn_dtype wire)
{
    nn_linear_cfg hidden = {.out = HIDDEN, .act = NN_ACT_GELU, .init = NN_INIT_FAN_IN_UNIFORM};
    nn_linear_cfg head = {.out = CLASSES, .init = NN_INIT_FAN_IN_UNIFORM};
    nn_layout_cfg layout = {.dtype = MN_F32, .device = n->device};
    n->params = nn_params_new(5);
    n->graph = nn_graph_new(n->params, &(nn_graph_cfg){.mode = NN_TRAIN, .seed = 5, .device = n->device});
    nn_tensor *x = nn_input(n->graph, "x", MN_F32, MN_SHAPE(ROWS, WIDTH));
    nn_tensor *target = nn_input(n->graph, "target", MN_F32, MN_SHAPE(ROWS, CLASSES));
    nn_tensor *weight = nn_input(n->graph, "weight", MN_F32, MN_SHAPE(ROWS));
    nn_tensor *h = nn_linear(n->graph, nn_linear(n->graph, x, &hidden, "in"), &hidden, "middle");
    nn_tensor *loss = nn_ce_loss(n->graph, nn_linear(n->graph, h, &head, "head"), target, weight, &(nn_ce_cfg){0});
    nn_output(n->graph, "loss", loss);
    if (summed) {
        cr_assert_eq(dist_gradients_new(&n->gradients, n->comm, n->device, wire), MN_OK, "%s", mn_errmsg());
        dist_gradients_layout(n->gradients, &layout);
    }
    cr_assert_eq(nn_params_layout(n->params, n->graph, &layout), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_plan(n->graph, loss), MN_OK, "%s", mn_errmsg());
    n->arenas = nn_params_arenas(n->params);
    if (!summed) return;
    cr_assert_eq(dist_gradients_plan(n->gradients, n->graph, n->params), MN_OK, "%s", mn_errmsg());
    nn_graph_on_end(n->graph, end_of_run, n->gradients);
}

static void net_close(net *n)
{
    nn_graph_forget(n->graph); // not attached (dist_gradients_sums): each rank's loss is its own
    dist_gradients_stop(n->gradients, MN_OK);
    nn_graph_free(n->graph);
    nn_params_free(n->params);
    dist_gradients_free(n->gradients);
    n->gradients = NULL;
}

// Runs step `step` with samples of this rank's own; grad (trained) is what is in the arena then.
static void run(net *n, int step, float *grad)
{
    float *x = nn_graph_input(n->graph, "x", NULL), *t = nn_graph_input(n->graph, "target", NULL);
    float *w = nn_graph_input(n->graph, "weight", NULL);
    memset(t, 0, ROWS * CLASSES * sizeof *t);
    for (int r = 0; r < ROWS; r++) {
        uint64_t row = (uint64_t)(dist_rank(n->comm) * ROWS + r);
        w[r] = 1;
        t[r * CLASSES + row % CLASSES] = 1;
        for (int i = 0; i < WIDTH; i++)
            x[r * WIDTH + i] = mn_uniform(mn_rng_block(3, row, (uint64_t)step, (uint32_t)i).v[0]) - .5f;
    }
    dist_control sum, own = {.stop = dist_rank(n->comm) == 0, .user = {1001}}; // not a number of bf16
    if (n->gradients) cr_assert_eq(dist_gradients_begin(n->gradients, &own), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_run(n->graph, &(nn_tick){(uint64_t)step, 0, ROWS}), MN_OK, "%s", mn_errmsg());
    if (n->gradients) {
        cr_assert_eq(dist_gradients_post(n->gradients), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(dist_gradients_take(n->gradients, &sum), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(sum.stop, 1);
        cr_assert_eq(sum.user[0], 1001 * (float)dist_world(n->comm));
    }
    gpu_read(n->device, grad, n->arenas->grad, (size_t)n->arenas->trained * sizeof *grad);
}

// all (world, count): of every rank.
static float *gather(const net *n, const float *own, int64_t count)
{
    float *all = mn_calloc((size_t)(count * dist_world(n->comm)), sizeof *all);
    cr_assert_eq(dist_gather(n->comm, own, (size_t)count * sizeof *own, all), MN_OK, "%s", mn_errmsg());
    return all;
}

// Every parameter's elements: padding between them holds anything.
static void check_sum(const net *n, const float *own, const float *got, mn_dtype wire)
{
    int world = dist_world(n->comm);
    float *all = gather(n, own, n->arenas->trained);
    double unit = wire == MN_BF16 && world > 1 ? 0x1p-8 : 0x1p-24, rounded = 0;
    for (int p = 0; p < nn_params_count(n->params); p++) {
        const nn_param *q = nn_params_at(n->params, p);
        for (int64_t i = q->offset; i < q->offset + q->count; i++) {
            double sum = 0, size = 0;
            for (int r = 0; r < world; r++) {
                sum += all[r * n->arenas->trained + i];
                size += fabsf(all[r * n->arenas->trained + i]);
            }
            cr_assert(fabs(got[i] - sum) <= world * unit * size, "%s: %.9g, the sum is %.9g", q->name, (double)got[i],
                      sum);
            rounded += fabs(got[i] - sum);
            if (unit > 0x1p-24) cr_assert_eq(got[i], mn_bf16_to_f32(mn_f32_to_bf16(got[i])), "not a sum of bf16");
        }
    }
    cr_assert(unit < 0x1p-8 || rounded > 0, "nothing was rounded");
    free(all);
}

static void check_same_bits(const net *n, const float *got)
{
    float *all = gather(n, got, n->arenas->trained);
    for (int p = 0; p < nn_params_count(n->params); p++) {
        const nn_param *q = nn_params_at(n->params, p);
        for (int r = 1; r < dist_world(n->comm); r++)
            cr_assert_eq(
                memcmp(all + q->offset, all + r * n->arenas->trained + q->offset, (size_t)q->count * sizeof *all), 0,
                "rank %d has other gradients of %s", r, q->name);
    }
    free(all);
}

static void check_wire(net *alone, mn_dtype wire)
{
    net n = *alone;
    net_open(&n, 1, wire);
    cr_assert_eq(n.arenas->trained, alone->arenas->trained);
    float *own = mn_calloc((size_t)n.arenas->trained, sizeof *own),
          *got = mn_calloc((size_t)n.arenas->trained, sizeof *got);
    for (int step = 0; step < STEPS; step++) {
        run(alone, step, own);
        run(&n, step, got);
        check_sum(&n, own, got, wire);
        check_same_bits(&n, got);
    }
    free(own);
    free(got);
    net_close(&n);
}

Test(gradients, ranks)
{
    net alone = {0};
    cr_assert_eq(dist_open(&alone.comm), MN_OK, "%s", mn_errmsg());
    alone.device = gpu_open();
    net_open(&alone, 0, MN_F32);
    check_wire(&alone, MN_F32);
    check_wire(&alone, MN_BF16);
    net_close(&alone);
    gpu_close(alone.device);
    dist_close(alone.comm);
}
