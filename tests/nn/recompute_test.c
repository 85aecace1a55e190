// Recomputation: the same bits out of less memory, and no call run again without need.
#include "recompute_support.h"

#include "nn/base/mem.h"
#include "nn/ops.h"

#include <criterion/criterion.h>

Test(recompute, same_bits_fp32)
{
    for (int i = 0; i < n_recompute_nets; i++)
        recompute_compare(&recompute_nets[i], MN_F32, NULL);
}

Test(recompute, same_bits_bf16)
{
    for (int i = 0; i < n_recompute_nets; i++)
        recompute_compare(&recompute_nets[i], MN_BF16, NULL);
}

Test(recompute, bytes_are_known_without_it)
{
    for (int i = 0; i < n_recompute_nets; i++) {
        const recompute_net *net = &recompute_nets[i];
        recompute_plan kept = recompute_plan_of(net, 0), again = recompute_plan_of(net, 1);
        cr_expect_eq(kept.other_bytes, again.bytes, "%s", net->name);
        cr_expect_eq(again.other_bytes, again.bytes, "%s", net->name);
        cr_expect_eq(kept.backward, again.backward, "%s", net->name);
    }
}

// Backward of `up` reads its second output, `down` what dropout made of the first; nothing reads what `down` makes.
static nn_tensor *blocks(nn_graph *g)
{
    nn_linear_cfg wide = {.out = 64, .init = NN_INIT_NORMAL, .init_scale = 0.2f, .act = NN_ACT_GELU}, narrow = wide;
    narrow.out = 8;
    narrow.act = NN_ACT_NONE;
    nn_tensor *x = nn_input(g, "image", MN_F32, MN_SHAPE(16, 8));
    for (int i = 0; i < 12; i++) {
        nn_scope_push(g, "blocks.%d", i);
        nn_segment_begin(g);
        x = nn_linear(g, nn_dropout(g, nn_linear(g, x, &wide, "up"), 0.5f, "drop"), &narrow, "down");
        nn_segment_end(g);
        nn_scope_pop(g);
    }
    nn_tensor *target = nn_input(g, "target", MN_F32, x->shape);
    return nn_ccc_loss(g, x, target, nn_input(g, "weight", MN_F32, MN_SHAPE(16)));
}

// Backward of tanh reads what tanh made, of the others nothing of what these make: for tanh, `up` has to be there again.
static nn_tensor *tanh_blocks(nn_graph *g)
{
    nn_linear_cfg same = {.out = 8, .init = NN_INIT_NORMAL, .init_scale = 0.2f};
    nn_tensor *x = nn_input(g, "image", MN_F32, MN_SHAPE(16, 8));
    for (int i = 0; i < 12; i++) {
        nn_scope_push(g, "blocks.%d", i);
        nn_segment_begin(g);
        x = nn_residual(g, x, nn_tanh(g, nn_linear(g, x, &same, "up")), 0.3f, "path");
        nn_segment_end(g);
        nn_scope_pop(g);
    }
    nn_tensor *target = nn_input(g, "target", MN_F32, x->shape);
    return nn_ccc_loss(g, x, target, nn_input(g, "weight", MN_F32, MN_SHAPE(16)));
}

Test(recompute, runs_again_what_backward_needs)
{
    static const recompute_net nets[] = {{"blocks", blocks}, {"tanh", tanh_blocks}};
    for (int i = 0; i < 2; i++) {
        recompute_plan kept = recompute_plan_of(&nets[i], 0), again = recompute_plan_of(&nets[i], 1);
        int calls = again.forward - kept.forward; // two of three in all blocks but the last
        cr_expect_eq(calls, 11 * 2, "%s: %d calls are run again", nets[i].name, calls);
        recompute_compare(&nets[i], MN_F32, NULL);
    }
    // Of `blocks` each keeps (16, 8 + 2 x 64); with recomputation 11 of 12 keep (16, 8).
    recompute_plan kept = recompute_plan_of(&nets[0], 0), again = recompute_plan_of(&nets[0], 1);
    size_t of_block = 16 * (64 + 64) * sizeof(float);
    cr_expect_geq(kept.bytes - again.bytes, 10 * of_block, "%zu, %zu bytes", kept.bytes, again.bytes);
}

// up, gelu (which backward does not need) and dropout; not the batch norm between them.
Test(recompute, runs_again_what_that_needs)
{
    const recompute_net *net = &recompute_nets[n_recompute_nets - 1];
    int calls = recompute_plan_of(net, 1).forward - recompute_plan_of(net, 0).forward;
    cr_expect_eq(calls, 3 * 3, "%s: %d calls are run again", net->name, calls);
}

// --- what may not be run twice, counted ---

static int state_runs, plain_runs;

static mn_err copy_shape(nn_node *n)
{
    nn_set_out(n, 0, n->in[0]->dtype, n->in[0]->shape);
    return MN_OK;
}

static void scale(const nn_call *c, const float *from, float *to, int acc)
{
    for (int64_t i = 0; i < mn_count(c->node->in[0]->shape); i++)
        to[i] = 0.5f * from[i] + (acc ? to[i] : 0);
}

static mn_err state_forward(const nn_call *c)
{
    state_runs++;
    scale(c, c->in[0], c->out[0], 0);
    return MN_OK;
}

static mn_err plain_forward(const nn_call *c)
{
    plain_runs++;
    scale(c, c->in[0], c->out[0], 0);
    return MN_OK;
}

static mn_err backward(const nn_call *c)
{
    if (c->din[0]) scale(c, c->dout[0], c->din[0], (int)c->acc & 1);
    return MN_OK;
}

// Both say that backward reads input and output.
static const nn_op state_op = {.name = "state",
                               .bwd_reads_in = 1,
                               .bwd_reads_out = 1,
                               .flags = NN_OP_STATE,
                               .shape = copy_shape,
                               .cpu = {.fwd = state_forward, .bwd = backward}};
static const nn_op plain_op = {.name = "plain",
                               .bwd_reads_in = 1,
                               .bwd_reads_out = 1,
                               .shape = copy_shape,
                               .cpu = {.fwd = plain_forward, .bwd = backward}};

static nn_tensor *stateful(nn_graph *g)
{
    nn_linear_cfg same = {.out = 8, .init = NN_INIT_NORMAL, .init_scale = 1};
    nn_tensor *x = nn_linear(g, nn_input(g, "image", MN_F32, MN_SHAPE(16, 8)), &same, "first");
    for (int i = 0; i < 3; i++) {
        nn_segment_begin(g);
        x = nn_emit(g, &plain_op, "a", 1, &x, NULL);
        x = nn_emit(g, &state_op, "b", 1, &x, NULL);
        x = nn_emit(g, &plain_op, "c", 1, &x, NULL);
        x = nn_emit(g, &plain_op, "d", 1, &x, NULL);
        nn_segment_end(g);
    }
    nn_tensor *target = nn_input(g, "target", MN_F32, x->shape);
    return nn_ccc_loss(g, x, target, nn_input(g, "weight", MN_F32, MN_SHAPE(16)));
}

Test(recompute, states_change_once)
{
    const recompute_net net = {"stateful", stateful};
    recompute_compare(&net, MN_F32, NULL); // three steps with and three without
    cr_expect_eq(state_runs, 2 * 3 * 3);
    // In each of two segments `a` and `c` are run again; `d` is read outside, so it is kept.
    cr_expect_eq(plain_runs, 2 * 3 * 9 + 3 * 2 * 2);
}
