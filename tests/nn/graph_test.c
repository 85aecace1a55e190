// The plan, with two tiny ops of its own: y = a x + b w (w a parameter), and the f64 sum as loss.
#include "nn/op.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct affine_attr {
    float a, b;
} affine_attr;

static mn_err affine_shape(nn_node *n)
{
    if (!mn_shape_equal(n->in[0]->shape, n->in[1]->shape)) return nn_bad_shape(n, "shapes differ");
    nn_set_out(n, 0, MN_F32, n->in[0]->shape);
    return MN_OK;
}

static mn_err affine_forward(const nn_call *c)
{
    const affine_attr *k = c->node->attr;
    const float *x = c->in[0], *w = c->in[1];
    for (int64_t i = 0; i < mn_count(c->node->in[0]->shape); i++)
        ((float *)c->out[0])[i] = k->a * x[i] + k->b * w[i];
    return MN_OK;
}

static void back(const nn_call *c, int i, float k)
{
    const float *dy = c->dout[0];
    float *d = c->din[i];
    if (!d) return;
    for (int64_t j = 0; j < mn_count(c->node->in[i]->shape); j++)
        d[j] = k * dy[j] + (c->acc & 1u << i ? d[j] : 0);
}

static mn_err affine_backward(const nn_call *c)
{
    const affine_attr *k = c->node->attr;
    back(c, 0, k->a);
    back(c, 1, k->b);
    return MN_OK;
}

static const nn_op affine = {.name = "affine",
                             .attr_bytes = sizeof(affine_attr),
                             .shape = affine_shape,
                             .cpu = {.fwd = affine_forward, .bwd = affine_backward}};

static mn_err total_shape(nn_node *n)
{
    nn_set_out(n, 0, MN_F64, MN_SHAPE(1));
    return MN_OK;
}

static mn_err total_forward(const nn_call *c)
{
    double s = 0;
    for (int64_t i = 0; i < mn_count(c->node->in[0]->shape); i++)
        s += ((const float *)c->in[0])[i];
    *(double *)c->out[0] = s;
    return MN_OK;
}

static mn_err total_backward(const nn_call *c)
{
    double d = *(const double *)c->dout[0];
    float *dx = c->din[0];
    for (int64_t i = 0; i < mn_count(c->node->in[0]->shape); i++)
        dx[i] = (float)d + (c->acc & 1u ? dx[i] : 0);
    return MN_OK;
}

static const nn_op total = {
    .name = "total", .shape = total_shape, .cpu = {.fwd = total_forward, .bwd = total_backward}};

static nn_tensor *combine(nn_graph *g, nn_tensor *x, float a, float b, const char *name)
{
    nn_tensor *w = nn_param_get(g, name, &(nn_param_spec){.shape = x->shape, .init = NN_INIT_NORMAL, .init_scale = 1});
    nn_tensor *in[] = {x, w};
    return nn_emit(g, &affine, name, 2, in, &(affine_attr){a, b});
}

static nn_tensor *sum_of(nn_graph *g, nn_tensor *x)
{
    return nn_emit(g, &total, "total", 1, &x, NULL);
}

Test(graph, chain_gradients_and_reuse)
{
    nn_params *ps = nn_params_new(3);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .seed = 1});
    nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(1000)), *y = x;
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        y = combine(g, y, 0.5f, 2, name);
    }
    nn_want_grad(g, x);
    nn_tensor *loss = sum_of(g, nn_reshape(g, y, MN_SHAPE(10, -1)));
    nn_output(g, "loss", loss);
    cr_assert_eq(nn_params_layout(ps, g, &(nn_layout_cfg){0}), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_graph_plan(g, loss), MN_OK, "%s", mn_errmsg());
    // Nothing reads activations in backward: two values and two gradients are enough at any time.
    cr_expect_leq(nn_graph_bytes(g), 7 * 4096u);
    nn_graph_poison(g, 1);
    for (int run = 0; run < 2; run++) {
        float *in = nn_graph_input(g, "x", NULL);
        for (int i = 0; i < 1000; i++)
            in[i] = (float)i;
        cr_assert_eq(nn_graph_run(g, &(nn_tick){.rows = 1}), MN_OK);
        for (int i = 0; i < 20; i++) {
            const nn_param *p = nn_params_at(ps, i); // arena order: the last layer's gradient is final first
            char name[16];
            snprintf(name, sizeof name, "w%d", 19 - i);
            cr_expect_str_eq(p->name, name);
            cr_expect_float_eq(nn_param_grad(ps, p)[999], 2 * powf(0.5f, (float)i), 1e-6f);
            cr_expect_eq(nn_graph_ready_step(g, p), 22 + i);
        }
        cr_expect_float_eq(((const float *)nn_graph_grad(g, x))[0], powf(0.5f, 20), 1e-9f);
        double *value = nn_graph_buffer(g, "loss", NULL, NULL);
        cr_expect(isfinite(*value));
    }
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(graph, shared_parameter_and_tensor_add_up)
{
    nn_params *ps = nn_params_new(3);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN});
    nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(7));
    nn_tensor *a = combine(g, x, 1, 3, "w");
    nn_tensor *b = combine(g, a, 1, 5, "w"); // the same parameter, the same scope
    nn_tensor *in[] = {a, b};
    nn_tensor *c = nn_emit(g, &affine, "sum", 2, in, &(affine_attr){1, 1});
    nn_tensor *loss = sum_of(g, c);
    combine(g, x, 1, 1, "unused"); // feeds nothing: not run, not trained
    cr_assert_eq(nn_params_layout(ps, g, &(nn_layout_cfg){0}), MN_OK);
    cr_assert_eq(nn_graph_plan(g, loss), MN_OK, "%s", mn_errmsg());
    nn_graph_poison(g, 1);
    cr_assert_eq(nn_graph_run(g, &(nn_tick){.rows = 1}), MN_OK);
    cr_expect_eq(nn_graph_steps(g), 8);
    const nn_param *w = nn_params_find(ps, "w"), *unused = nn_params_find(ps, "unused");
    for (int i = 0; i < 7; i++)
        cr_expect_float_eq(nn_param_grad(ps, w)[i], 3 + 3 + 5, 1e-6f);
    cr_expect_float_eq(nn_param_grad(ps, unused)[0], 0, 0);
    cr_expect_eq(nn_graph_ready_step(g, unused), -1);
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(graph, frozen_parameters_stop_the_backward)
{
    nn_params *ps = nn_params_new(3);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN});
    nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(7));
    nn_tensor *loss = sum_of(g, combine(g, combine(g, x, 1, 1, "below"), 1, 1, "above"));
    nn_params_freeze(ps, "below");
    cr_assert_eq(nn_params_layout(ps, g, &(nn_layout_cfg){0}), MN_OK);
    cr_assert_eq(nn_graph_plan(g, loss), MN_OK);
    cr_expect_eq(nn_graph_steps(g), 5); // three forward, two backward
    cr_expect_null(nn_param_grad(ps, nn_params_find(ps, "below")));
    cr_expect_str_eq(nn_params_at(ps, 0)->name, "above");
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(graph, first_error_is_kept_and_told_at_plan)
{
    nn_params *ps = nn_params_new(3);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN});
    nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(7)), *y = nn_input(g, "y", MN_F32, MN_SHAPE(8));
    nn_scope_push(g, "stages.%d", 1);
    nn_tensor *in[] = {x, y};
    nn_tensor *bad = nn_emit(g, &affine, "first", 2, in, &(affine_attr){1, 1});
    nn_scope_pop(g);
    bad = nn_reshape(g, bad, MN_SHAPE(3, 3));
    cr_expect_eq(nn_graph_plan(g, bad), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "stages.1.first: affine: shapes differ (inputs: (7), (8))"), "%s", mn_errmsg());
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(graph, initial_values_depend_on_name_and_seed_only)
{
    float first[3];
    for (int order = 0; order < 3; order++) {
        nn_params *ps = nn_params_new(order < 2 ? 3 : 4);
        nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN});
        nn_tensor *x = nn_input(g, "x", MN_F32, MN_SHAPE(7));
        if (order == 1) x = combine(g, x, 1, 1, "other");
        x = combine(g, x, 1, 1, "w");
        cr_assert_eq(nn_params_layout(ps, g, &(nn_layout_cfg){.forward_only = 1}), MN_OK);
        first[order] = nn_param_master(ps, nn_params_find(ps, "w"))[6];
        nn_graph_free(g);
        nn_params_free(ps);
    }
    cr_expect_eq(first[0], first[1]);
    cr_expect_neq(first[0], first[2]);
}
