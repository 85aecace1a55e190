#include "ops_support.h"

#define ROWS(...) .shape = {(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}}
#define OUT(...) .out = {(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}}

// --- dense ------------------------------------------------------------------------------------------------------------
static nn_tensor *linear(nn_graph *g, nn_tensor **in)
{
    return nn_linear(g, in[0], &(nn_linear_cfg){.out = 9, .init = NN_INIT_XAVIER_UNIFORM}, "fc");
}

static nn_tensor *linear_gelu(nn_graph *g, nn_tensor **in)
{
    return nn_linear(g, in[0], &(nn_linear_cfg){.out = 35, .act = NN_ACT_GELU, .init = NN_INIT_FAN_IN_UNIFORM}, "fc");
}

static nn_tensor *linear_plain(nn_graph *g, nn_tensor **in)
{
    return nn_linear(
        g, in[0],
        &(nn_linear_cfg){.out = 5, .no_bias = 1, .init = NN_INIT_NORMAL, .weight_shape = MN_SHAPE(5, 3, 2, 2)}, "proj");
}

static nn_tensor *cast(nn_graph *g, nn_tensor **in)
{
    return nn_cast(g, nn_cast(g, in[0], MN_BF16), MN_F32);
}

// --- sequences --------------------------------------------------------------------------------------------------------
static nn_tensor *conv(nn_graph *g, nn_tensor **in)
{
    return nn_conv1d(g, in[0], &(nn_conv1d_cfg){.out = 6, .kernel = 3, .stride = 2, .init = NN_INIT_KAIMING_UNIFORM},
                     "conv");
}

static nn_tensor *conv_first(nn_graph *g, nn_tensor **in)
{
    return nn_conv1d(g, in[0], &(nn_conv1d_cfg){.out = 16, .kernel = 10, .stride = 5, .no_bias = 1}, "conv");
}

static nn_tensor *conv_grouped(nn_graph *g, nn_tensor **in)
{
    const nn_conv1d_cfg cfg = {.out = 8, .kernel = 6, .pad = 3, .groups = 4, .drop_last = 1};
    return nn_conv1d(g, in[0], &cfg, "conv");
}

static nn_tensor *conv_given(nn_graph *g, nn_tensor **in)
{
    const nn_conv1d_cfg cfg = {.out = 8, .kernel = 4, .pad = 2, .groups = 2, .drop_last = 1, .weight = in[1]};
    return nn_conv1d(g, in[0], &cfg, "conv");
}

static nn_tensor *weight_norm(nn_graph *g, nn_tensor **in)
{
    nn_conv1d_cfg cfg = {.out = 8, .kernel = 5, .pad = 2, .groups = 2};
    cfg.weight = nn_weight_norm(g, MN_SHAPE(8, 3, 5), "conv");
    return nn_conv1d(g, in[0], &cfg, "conv");
}

const ops_row ops_rows[] = {
    {.name = "linear", .build = linear, .in = {{ROWS(3, 5, 7), .grad = 1}}, OUT(3, 5, 9)},
    {.name = "linear, gelu", .build = linear_gelu, .in = {{ROWS(33, 19), .lo = -3, .hi = 3, .grad = 1}}, OUT(33, 35)},
    {.name = "linear, no bias", .build = linear_plain, .in = {{ROWS(1, 12), .grad = 1}}, OUT(1, 5)},
    {.name = "cast", .build = cast, .in = {{ROWS(2, 3), .grad = 1}}, OUT(2, 3), .step = 0.5f, .tol = 2e-2},
    {.name = "conv1d", .build = conv, .in = {{ROWS(2, 12, 5), .grad = 1}}, OUT(2, 5, 6)},
    // For the gradient of one input channel oneDNN nests serial regions in a parallel one, and libgomp makes a team for
    // each. No network asks for it: that channel is the sound itself.
    {.name = "conv1d, one channel",
     .build = conv_first,
     .in = {{ROWS(2, 57, 1), .grad = 1}},
     OUT(2, 10, 16),
     .may_allocate = 1},
    {.name = "conv1d, grouped", .build = conv_grouped, .in = {{ROWS(2, 9, 12), .grad = 1}}, OUT(2, 9, 8)},
    {.name = "conv1d, given weight",
     .build = conv_given,
     .in = {{ROWS(1, 9, 6), .grad = 1}, {ROWS(8, 3, 4), .grad = 1}},
     OUT(1, 9, 8)},
    {.name = "weight_norm", .build = weight_norm, .in = {{ROWS(2, 7, 6), .grad = 1}}, OUT(2, 7, 8)},
};

const int n_ops_rows = (int)(sizeof ops_rows / sizeof *ops_rows);
