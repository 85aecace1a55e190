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

// --- normalisation and residuals --------------------------------------------------------------------------------------
static nn_tensor *layernorm(nn_graph *g, nn_tensor **in)
{
    return nn_layernorm(g, in[0], 1e-5f, "norm");
}

static nn_tensor *residual(nn_graph *g, nn_tensor **in)
{
    return nn_residual(g, in[0], in[1], 0.4f, "drop_path");
}

static nn_tensor *residual_layernorm(nn_graph *g, nn_tensor **in)
{
    nn_tensor *sum, *y = nn_residual_layernorm(g, in[0], in[1], 0.4f, 1e-5f, &sum, "norm");
    return nn_add(g, y, 1, sum, 0.5f);
}

static nn_tensor *residual_layernorm_value(nn_graph *g, nn_tensor **in)
{
    nn_tensor *sum;
    return nn_residual_layernorm(g, in[0], in[1], 0, 1e-5f, &sum, "norm");
}

static nn_tensor *residual_layernorm_sum(nn_graph *g, nn_tensor **in)
{
    nn_tensor *sum;
    nn_residual_layernorm(g, in[0], in[1], 0.4f, 1e-5f, &sum, "norm");
    return sum;
}

static nn_tensor *add(nn_graph *g, nn_tensor **in)
{
    return nn_add(g, in[0], 0.7f, in[1], -0.3f);
}

static nn_tensor *add_itself(nn_graph *g, nn_tensor **in)
{
    return nn_add(g, in[0], 0.7f, in[0], 0.1f);
}

// --- elementwise ------------------------------------------------------------------------------------------------------
static nn_tensor *gelu(nn_graph *g, nn_tensor **in)
{
    return nn_gelu(g, in[0]);
}

static nn_tensor *tanh_op(nn_graph *g, nn_tensor **in)
{
    return nn_tanh(g, in[0]);
}

static nn_tensor *dropout(nn_graph *g, nn_tensor **in)
{
    return nn_dropout(g, in[0], 0.3f, "drop");
}

static nn_tensor *concat(nn_graph *g, nn_tensor **in)
{
    return nn_concat(g, in[0], in[1]);
}

// --- images and tokens ------------------------------------------------------------------------------------------------
static nn_tensor *patchify(nn_graph *g, nn_tensor **in)
{
    return nn_patchify(g, in[0], 3);
}

static nn_tensor *patchify_even(nn_graph *g, nn_tensor **in)
{
    return nn_patchify(g, in[0], 4);
}

static nn_tensor *patch_merge(nn_graph *g, nn_tensor **in)
{
    return nn_patch_merge(g, in[0], 4, 6);
}

static nn_tensor *mask_blend(nn_graph *g, nn_tensor **in)
{
    return nn_mask_blend(g, in[0], in[1], "mask_token");
}

static nn_tensor *token_mean(nn_graph *g, nn_tensor **in)
{
    return nn_token_mean(g, in[0], NULL);
}

static nn_tensor *token_mean_weighted(nn_graph *g, nn_tensor **in)
{
    return nn_token_mean(g, in[0], in[1]);
}

static nn_tensor *position(nn_graph *g, nn_tensor **in)
{
    return nn_position(g, in[0]);
}

// --- attention --------------------------------------------------------------------------------------------------------
static nn_tensor *window_attention(nn_graph *g, nn_tensor **in)
{
    const nn_window_cfg cfg = {.height = 6, .width = 9, .heads = 2, .window = 3, .shift = 1};
    return nn_window_attention(g, in[0], &cfg, "table");
}

static nn_tensor *window_attention_plain(nn_graph *g, nn_tensor **in)
{
    const nn_window_cfg cfg = {.height = 5, .width = 5, .heads = 1, .window = 5};
    return nn_window_attention(g, in[0], &cfg, "table");
}

// Heads that fill a vector, and windows that wrap on both axes at once.
static nn_tensor *window_attention_whole(nn_graph *g, nn_tensor **in)
{
    const nn_window_cfg cfg = {.height = 7, .width = 14, .heads = 2, .window = 7, .shift = 3};
    return nn_window_attention(g, in[0], &cfg, "table");
}

// A large window before a small one, as the stages of a network have them.
static nn_tensor *window_attention_both(nn_graph *g, nn_tensor **in)
{
    const nn_window_cfg large = {.height = 6, .width = 6, .heads = 2, .window = 6},
                        small = {.height = 6, .width = 6, .heads = 2, .window = 3};
    nn_tensor *first = nn_window_attention(g, in[0], &large, "table");
    return nn_add(g, first, 1, nn_window_attention(g, in[1], &small, "table_small"), 1);
}

static nn_tensor *attention(nn_graph *g, nn_tensor **in)
{
    return nn_attention(g, in[0], NULL, NULL, &(nn_attention_cfg){.heads = 2}, "heads");
}

static nn_tensor *attention_cross(nn_graph *g, nn_tensor **in)
{
    return nn_attention(g, in[0], in[1], in[2], &(nn_attention_cfg){.heads = 3}, "heads");
}

static nn_tensor *attention_drop(nn_graph *g, nn_tensor **in)
{
    return nn_attention(g, in[0], NULL, NULL, &(nn_attention_cfg){.heads = 2, .drop = 0.3f}, "heads");
}

static nn_tensor *attention_wide(nn_graph *g, nn_tensor **in)
{
    return nn_attention(g, in[0], NULL, NULL, &(nn_attention_cfg){.heads = 1, .drop = 0.2f}, "heads");
}

// --- sequences --------------------------------------------------------------------------------------------------------
static nn_tensor *conv(nn_graph *g, nn_tensor **in)
{
    return nn_conv1d(g, in[0], &(nn_conv1d_cfg){.out = 6, .kernel = 3, .stride = 2, .init = NN_INIT_KAIMING_UNIFORM},
                     "conv");
}

// Wide enough for matrix products, with positions that no window reaches.
static nn_tensor *conv_wide(nn_graph *g, nn_tensor **in)
{
    return nn_conv1d(g, in[0], &(nn_conv1d_cfg){.out = 7, .kernel = 5, .stride = 2}, "conv");
}

static nn_tensor *conv_sparse(nn_graph *g, nn_tensor **in)
{
    return nn_conv1d(g, in[0], &(nn_conv1d_cfg){.out = 5, .kernel = 2, .stride = 3, .no_bias = 1}, "conv");
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

static nn_tensor *channel_norm(nn_graph *g, nn_tensor **in)
{
    return nn_channel_norm(g, in[0], 1e-5f, "norm");
}

static nn_tensor *row_scale(nn_graph *g, nn_tensor **in)
{
    return nn_row_scale(g, in[0], in[1]);
}

// --- batch statistics and losses --------------------------------------------------------------------------------------
static nn_tensor *batch_norm(nn_graph *g, nn_tensor **in)
{
    return nn_batch_norm(g, in[0], NULL, &(nn_batch_norm_cfg){.eps = 1e-5f, .momentum = 0.1f}, "bn");
}

static nn_tensor *batch_norm_weighted(nn_graph *g, nn_tensor **in)
{
    const nn_batch_norm_cfg cfg = {.eps = 1e-5f, .momentum = 0.1f, .local = 1};
    return nn_batch_norm(g, in[0], in[1], &cfg, "bn");
}

static nn_tensor *l1_loss(nn_graph *g, nn_tensor **in)
{
    return nn_l1_loss(g, in[0], in[1], in[2], in[3], 4, 2);
}

static nn_tensor *l1_loss_even(nn_graph *g, nn_tensor **in)
{
    return nn_l1_loss(g, in[0], in[1], in[2], in[3], 8, 4);
}

static nn_tensor *ce_loss(nn_graph *g, nn_tensor **in)
{
    const nn_ce_cfg cfg = {.smoothing = 0.1f, .class_weight = {1, 2, 0.5f, 0.7f, 3}};
    return nn_ce_loss(g, in[0], in[1], in[2], &cfg);
}

static nn_tensor *bce_loss(nn_graph *g, nn_tensor **in)
{
    return nn_bce_loss(g, in[0], in[1], in[2]);
}

static nn_tensor *ccc_loss(nn_graph *g, nn_tensor **in)
{
    return nn_ccc_loss(g, in[0], in[1], in[2]);
}

static nn_tensor *ccc_sample_loss(nn_graph *g, nn_tensor **in)
{
    return nn_ccc_sample_loss(g, in[0], in[1], in[2]);
}

const ops_row ops_rows[] = {
    {.name = "linear", .build = linear, .in = {{ROWS(3, 5, 7), .grad = 1}}, OUT(3, 5, 9), .product = 1},
    {.name = "linear, gelu",
     .build = linear_gelu,
     .in = {{ROWS(33, 19), .lo = -3, .hi = 3, .grad = 1}},
     OUT(33, 35),
     .product = 1},
    {.name = "linear, no bias", .build = linear_plain, .in = {{ROWS(1, 12), .grad = 1}}, OUT(1, 5), .product = 1},
    {.name = "cast", .build = cast, .in = {{ROWS(2, 3), .grad = 1}}, OUT(2, 3), .step = 0.5f, .tol = 2e-2},
    {.name = "window_attention, shifted",
     .build = window_attention,
     .in = {{ROWS(2, 54, 30), .grad = 1}},
     OUT(2, 54, 10)},
    {.name = "window_attention", .build = window_attention_plain, .in = {{ROWS(3, 25, 51), .grad = 1}}, OUT(3, 25, 17)},
    {.name = "window_attention, of 7",
     .build = window_attention_whole,
     .in = {{ROWS(1, 98, 192), .grad = 1}},
     OUT(1, 98, 64)},
    {.name = "window_attention, of 6 and 3",
     .build = window_attention_both,
     .in = {{ROWS(5, 36, 48), .grad = 1}, {ROWS(5, 36, 48), .grad = 1}},
     OUT(5, 36, 16)},
    {.name = "attention", .build = attention, .in = {{ROWS(2, 53, 30), .grad = 1}}, OUT(2, 53, 10)},
    {.name = "attention, two inputs",
     .build = attention_cross,
     .in = {{ROWS(2, 5, 21), .grad = 1},
            {ROWS(2, 19, 42), .grad = 1, .by_weight = 1},
            {ROWS(2, 19), .kind = OPS_ROW_WEIGHT}},
     OUT(2, 5, 21)},
    {.name = "attention, dropout",
     .build = attention_drop,
     .in = {{ROWS(2, 53, 36), .grad = 1}},
     OUT(2, 53, 12),
     .differs_in_eval = 1},
    {.name = "attention, wide heads, dropout",
     .build = attention_wide,
     .in = {{ROWS(1, 70, 192), .grad = 1}},
     OUT(1, 70, 64),
     .differs_in_eval = 1},
    {.name = "attention, many keys",
     .build = attention_cross,
     .in = {{ROWS(2, 17, 24), .grad = 1},
            {ROWS(2, 129, 48), .grad = 1, .by_weight = 1},
            {ROWS(2, 129), .kind = OPS_ROW_WEIGHT}},
     OUT(2, 17, 24)},
    {.name = "conv1d", .build = conv, .product = 1, .in = {{ROWS(2, 12, 5), .grad = 1}}, OUT(2, 5, 6)},
    {.name = "conv1d, wide", .build = conv_wide, .product = 1, .in = {{ROWS(2, 12, 33), .grad = 1}}, OUT(2, 4, 7)},
    {.name = "conv1d, sparse", .build = conv_sparse, .product = 1, .in = {{ROWS(2, 10, 22), .grad = 1}}, OUT(2, 3, 5)},
    // For the gradient of one input channel oneDNN nests serial regions in a parallel one, and libgomp makes a team for
    // each. No network asks for it: that channel is the sound itself.
    {.name = "conv1d, one channel",
     .build = conv_first,
     .product = 1,
     .in = {{ROWS(2, 57, 1), .grad = 1}},
     OUT(2, 10, 16),
     .may_allocate = 1},
    {.name = "conv1d, grouped", .build = conv_grouped, .product = 1, .in = {{ROWS(2, 9, 12), .grad = 1}}, OUT(2, 9, 8)},
    {.name = "conv1d, given weight",
     .build = conv_given,
     .product = 1,
     .in = {{ROWS(1, 9, 6), .grad = 1}, {ROWS(8, 3, 4), .grad = 1}},
     OUT(1, 9, 8)},
    {.name = "weight_norm", .build = weight_norm, .in = {{ROWS(2, 7, 6), .grad = 1}}, OUT(2, 7, 8)},
    {.name = "layernorm", .build = layernorm, .in = {{ROWS(3, 25, 19), .grad = 1}}, OUT(3, 25, 19)},
    {.name = "residual",
     .build = residual,
     .in = {{ROWS(5, 3, 411), .grad = 1}, {ROWS(5, 3, 411), .grad = 1}},
     OUT(5, 3, 411),
     .differs_in_eval = 1},
    {.name = "residual_layernorm",
     .build = residual_layernorm,
     .in = {{ROWS(5, 17, 11), .grad = 1}, {ROWS(5, 17, 11), .grad = 1}},
     OUT(5, 17, 11),
     .differs_in_eval = 1},
    {.name = "residual_layernorm, value only",
     .build = residual_layernorm_value,
     .in = {{ROWS(2, 3, 33), .grad = 1}, {ROWS(2, 3, 33), .grad = 1}},
     OUT(2, 3, 33)},
    {.name = "residual_layernorm, sum only",
     .build = residual_layernorm_sum,
     .in = {{ROWS(5, 2, 7), .grad = 1}, {ROWS(5, 2, 7), .grad = 1}},
     OUT(5, 2, 7),
     .differs_in_eval = 1},
    {.name = "add", .build = add, .in = {{ROWS(3, 5), .grad = 1}, {ROWS(3, 5), .grad = 1}}, OUT(3, 5)},
    {.name = "add, to itself", .build = add_itself, .in = {{ROWS(1, 1), .grad = 1}}, OUT(1, 1)},
    {.name = "gelu", .build = gelu, .in = {{ROWS(3, 1027), .lo = -5, .hi = 5, .grad = 1}}, OUT(3, 1027)},
    {.name = "tanh", .build = tanh_op, .in = {{ROWS(3, 257), .lo = -3, .hi = 3, .grad = 1}}, OUT(3, 257)},
    {.name = "dropout", .build = dropout, .in = {{ROWS(3, 1031), .grad = 1}}, OUT(3, 1031), .differs_in_eval = 1},
    {.name = "concat", .build = concat, .in = {{ROWS(3, 5), .grad = 1}, {ROWS(3, 7), .grad = 1}}, OUT(3, 12)},
    {.name = "patchify", .build = patchify, .in = {{ROWS(2, 6, 9, 2), .grad = 1}}, OUT(2, 6, 18)},
    {.name = "patchify, images", .build = patchify, .in = {{ROWS(2, 6, 9, 2), OPS_F32}}, OUT(2, 6, 18)},
    {.name = "patch_merge", .build = patch_merge, .in = {{ROWS(2, 24, 5), .grad = 1}}, OUT(2, 6, 20)},
    {.name = "mask_blend",
     .build = mask_blend,
     .in = {{ROWS(3, 29, 5), .grad = 1}, {ROWS(3, 29), OPS_MASK}},
     OUT(3, 29, 5)},
    {.name = "token_mean", .build = token_mean, .in = {{ROWS(2, 9, 1029), .grad = 1}}, OUT(2, 1029)},
    {.name = "token_mean, weighted",
     .build = token_mean_weighted,
     .in = {{ROWS(2, 9, 5), .grad = 1, .by_weight = 1}, {ROWS(2, 9), OPS_ROW_WEIGHT}},
     OUT(2, 5)},
    {.name = "position", .build = position, .in = {{ROWS(2, 9, 5), .grad = 1}}, OUT(2, 9, 5)},
    {.name = "channel_norm", .build = channel_norm, .in = {{ROWS(2, 211, 5), .grad = 1}}, OUT(2, 211, 5)},
    // The differences are of sums over 16,413 rounded outputs.
    {.name = "channel_norm, long",
     .build = channel_norm,
     .in = {{ROWS(1, 5471, 3), .lo = 3, .hi = 4, .grad = 1}},
     OUT(1, 5471, 3),
     .tol = 1e-3},
    {.name = "row_scale",
     .build = row_scale,
     .in = {{ROWS(2, 9, 5), .grad = 1, .by_weight = 1}, {ROWS(2, 9), OPS_ROW_WEIGHT}},
     OUT(2, 9, 5)},
    {.name = "batch_norm",
     .build = batch_norm,
     .in = {{ROWS(3, 35, 5), .grad = 1}},
     OUT(3, 35, 5),
     .differs_in_eval = 1,
     .couples_rows = 1},
    {.name = "batch_norm, weighted",
     .build = batch_norm_weighted,
     .in = {{ROWS(3, 35, 5), .grad = 1, .by_weight = 1}, {ROWS(3, 35), OPS_ROW_WEIGHT}},
     OUT(3, 35, 5),
     .differs_in_eval = 1,
     .couples_rows = 1},
    // Predictions above every pixel: |x - x_hat| has no corner there. tests/nn/losses_test.c has both sides.
    {.name = "l1_loss",
     .build = l1_loss,
     .in = {{ROWS(3, 2, 48), .lo = 2, .hi = 3, .grad = 1, .by_weight = 1},
            {ROWS(3, 4, 8, 3), OPS_F32, .by_weight = 1},
            {ROWS(3, 8), OPS_MASK},
            {ROWS(3), OPS_ROW_WEIGHT}},
     .scalar = 1},
    {.name = "ce_loss",
     .build = ce_loss,
     .in = {{ROWS(3, 29, 5), .lo = -2, .hi = 2, .grad = 1, .by_weight = 1},
            {ROWS(3, 29, 5), OPS_ONE_HOT},
            {ROWS(3, 29), OPS_ROW_WEIGHT}},
     .scalar = 1},
    {.name = "bce_loss",
     .build = bce_loss,
     .in = {{ROWS(3, 29, 5), .lo = -2, .hi = 2, .grad = 1, .by_weight = 1},
            {ROWS(3, 29, 5), OPS_ZERO_ONE},
            {ROWS(3, 29, 5), OPS_ROW_WEIGHT}},
     .scalar = 1},
    {.name = "bce_loss, row weights",
     .build = bce_loss,
     .in = {{ROWS(3, 29, 5), .lo = -2, .hi = 2, .grad = 1, .by_weight = 1},
            {ROWS(3, 29, 5), OPS_ZERO_ONE},
            {ROWS(3, 29), OPS_ROW_WEIGHT}},
     .scalar = 1},
    {.name = "ccc_loss",
     .build = ccc_loss,
     .in = {{ROWS(3, 29, 2), .grad = 1, .by_weight = 1},
            {ROWS(3, 29, 2), OPS_F32, .by_weight = 1},
            {ROWS(3, 29), OPS_ROW_WEIGHT}},
     .scalar = 1},
    {.name = "ccc_loss, sample",
     .build = ccc_sample_loss,
     .in = {{ROWS(3, 29, 2), .grad = 1, .by_weight = 1},
            {ROWS(3, 29, 2), OPS_F32, .by_weight = 1},
            {ROWS(3, 29), OPS_ROW_WEIGHT}},
     .scalar = 1},
    // Rows of whole accesses of 16 bytes, which GPUs take as such; a layer norm of each width that has a form of its own.
    {.name = "layernorm, 128", .build = layernorm, .in = {{ROWS(5, 7, 128), .grad = 1}}, OUT(5, 7, 128)},
    {.name = "layernorm, 200", .build = layernorm, .in = {{ROWS(2, 13, 200), .grad = 1}}, OUT(2, 13, 200)},
    {.name = "layernorm, 512", .build = layernorm, .in = {{ROWS(2, 5, 512), .grad = 1}}, OUT(2, 5, 512)},
    {.name = "layernorm, 1024", .build = layernorm, .in = {{ROWS(1, 5, 1024), .grad = 1}}, OUT(1, 5, 1024)},
    // 1.2e-4 with vector code; 9.3e-4 under the sanitizers, where the 2048 values of a row are added one after the other.
    {.name = "layernorm, 2048",
     .build = layernorm,
     .in = {{ROWS(1, 3, 2048), .grad = 1}},
     OUT(1, 3, 2048),
     .tol = 2e-3},
    {.name = "residual_layernorm, 256",
     .build = residual_layernorm,
     .in = {{ROWS(5, 17, 256), .grad = 1}, {ROWS(5, 17, 256), .grad = 1}},
     OUT(5, 17, 256),
     .differs_in_eval = 1},
    {.name = "residual_layernorm, sum only, 16",
     .build = residual_layernorm_sum,
     .in = {{ROWS(5, 2, 16), .grad = 1}, {ROWS(5, 2, 16), .grad = 1}},
     OUT(5, 2, 16),
     .differs_in_eval = 1},
    {.name = "residual, even",
     .build = residual,
     .in = {{ROWS(5, 3, 72), .grad = 1}, {ROWS(5, 3, 72), .grad = 1}},
     OUT(5, 3, 72),
     .differs_in_eval = 1},
    {.name = "dropout, even", .build = dropout, .in = {{ROWS(3, 1032), .grad = 1}}, OUT(3, 1032), .differs_in_eval = 1},
    {.name = "concat, even", .build = concat, .in = {{ROWS(3, 8), .grad = 1}, {ROWS(3, 24), .grad = 1}}, OUT(3, 32)},
    {.name = "patchify, even", .build = patchify_even, .in = {{ROWS(2, 8, 12, 3), OPS_F32}}, OUT(2, 6, 48)},
    {.name = "patch_merge, even", .build = patch_merge, .in = {{ROWS(2, 24, 24), .grad = 1}}, OUT(2, 6, 96)},
    {.name = "mask_blend, even",
     .build = mask_blend,
     .in = {{ROWS(3, 29, 136), .grad = 1}, {ROWS(3, 29), OPS_MASK}},
     OUT(3, 29, 136)},
    {.name = "token_mean, even",
     .build = token_mean_weighted,
     .in = {{ROWS(2, 39, 264), .grad = 1, .by_weight = 1}, {ROWS(2, 39), OPS_ROW_WEIGHT}},
     OUT(2, 264)},
    {.name = "position, even", .build = position, .in = {{ROWS(2, 9, 8), .grad = 1}}, OUT(2, 9, 8)},
    {.name = "channel_norm, even", .build = channel_norm, .in = {{ROWS(2, 211, 16), .grad = 1}}, OUT(2, 211, 16)},
    {.name = "row_scale, even",
     .build = row_scale,
     .in = {{ROWS(2, 9, 16), .grad = 1, .by_weight = 1}, {ROWS(2, 9), OPS_ROW_WEIGHT}},
     OUT(2, 9, 16)},
    {.name = "batch_norm, even",
     .build = batch_norm_weighted,
     .in = {{ROWS(3, 35, 16), .grad = 1, .by_weight = 1}, {ROWS(3, 35), OPS_ROW_WEIGHT}},
     OUT(3, 35, 16),
     .differs_in_eval = 1,
     .couples_rows = 1},
    {.name = "l1_loss, even",
     .build = l1_loss_even,
     .in = {{ROWS(3, 6, 192), .lo = 2, .hi = 3, .grad = 1, .by_weight = 1},
            {ROWS(3, 16, 24, 3), OPS_F32, .by_weight = 1},
            {ROWS(3, 24), OPS_MASK},
            {ROWS(3), OPS_ROW_WEIGHT}},
     .scalar = 1},
};

const int n_ops_rows = (int)(sizeof ops_rows / sizeof *ops_rows);
