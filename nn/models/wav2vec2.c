// wav2vec 2.0, from the wave to the last hidden states. Structure, names and order of operations:
// huggingface/transformers modeling_wav2vec2.py.
#include "nn/models.h"

#define EPS 1e-5f

static const int64_t kernels[7] = {10, 3, 3, 3, 3, 2, 2}, strides[7] = {5, 2, 2, 2, 2, 2, 2};

static void common(nn_wav2vec2_cfg *cfg)
{
    *cfg = (nn_wav2vec2_cfg){.conv_channels = 512, .conv_layers = 7, .pos_kernel = 128, .pos_groups = 16, .drop = 0.1f};
    for (int i = 0; i < 7; i++) {
        cfg->conv_kernel[i] = kernels[i];
        cfg->conv_stride[i] = strides[i];
    }
}

void nn_wav2vec2_base(nn_wav2vec2_cfg *cfg)
{
    common(cfg);
    cfg->width = 768, cfg->layers = 12, cfg->heads = 12, cfg->ffn = 3072;
}

void nn_wav2vec2_xlsr(nn_wav2vec2_cfg *cfg)
{
    common(cfg);
    cfg->width = 1024, cfg->layers = 24, cfg->heads = 16, cfg->ffn = 4096;
    cfg->stable = 1;
}

mn_err nn_wav2vec2_check(const nn_wav2vec2_cfg *cfg)
{
    long long width = cfg->width, heads = cfg->heads, groups = cfg->pos_groups;
    if (width < 1 || cfg->layers < 1 || cfg->ffn < 1 || cfg->conv_channels < 1 || cfg->pos_kernel < 1)
        return mn_fail(MN_ECONFIG,
                       "model.width, model.layers, model.ffn, model.conv_channels and model.pos_kernel must "
                       "be positive");
    if (heads < 1 || width % heads)
        return mn_fail(MN_ECONFIG, "model.heads=%lld does not divide model.width=%lld", heads, width);
    if (groups < 1 || width % groups)
        return mn_fail(MN_ECONFIG, "model.pos_groups=%lld does not divide model.width=%lld", groups, width);
    if (cfg->conv_layers < 1 || cfg->conv_layers > 8)
        return mn_fail(MN_ECONFIG, "model.conv_layers=%lld: 1 to 8 are possible", (long long)cfg->conv_layers);
    for (int64_t i = 0; i < cfg->conv_layers; i++)
        if (cfg->conv_kernel[i] < 1 || cfg->conv_stride[i] < 1)
            return mn_fail(MN_ECONFIG, "model.conv_kernel[%lld] and model.conv_stride[%lld] must be positive",
                           (long long)i, (long long)i);
    if (!(cfg->drop >= 0 && cfg->drop < 1))
        return mn_fail(MN_ECONFIG, "model.drop=%g must be in [0, 1)", (double)cfg->drop);
    return MN_OK;
}

int64_t nn_wav2vec2_frames(const nn_wav2vec2_cfg *cfg, int64_t samples)
{
    for (int64_t i = 0; i < cfg->conv_layers; i++) {
        if (samples < cfg->conv_kernel[i]) return 0;
        samples = (samples - cfg->conv_kernel[i]) / cfg->conv_stride[i] + 1;
    }
    return samples;
}

int nn_wav2vec2_layers(const nn_wav2vec2_cfg *cfg)
{
    return (int)cfg->layers + 1;
}

static nn_linear_cfg dense(int64_t out)
{
    return (nn_linear_cfg){.out = out, .init = NN_INIT_NORMAL, .init_scale = 0.02f};
}

// The base form normalises each channel over time, after the first convolution only; the stable form normalises each
// frame over channels, after every one.
static nn_tensor *conv_layer(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x, int64_t i)
{
    nn_conv1d_cfg conv = {.out = cfg->conv_channels,
                          .kernel = cfg->conv_kernel[i],
                          .stride = cfg->conv_stride[i],
                          .no_bias = !cfg->stable,
                          .init = NN_INIT_KAIMING_UNIFORM};
    nn_scope_push(g, "conv_layers.%lld", (long long)i);
    x = nn_conv1d(g, x, &conv, "conv");
    if (cfg->stable)
        x = nn_layernorm(g, x, EPS, "layer_norm");
    else if (i == 0)
        x = nn_channel_norm(g, x, EPS, "layer_norm");
    x = nn_gelu(g, x);
    nn_scope_pop(g);
    return x; // (B, n, conv_channels)
}

static nn_tensor *extract(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *wave)
{
    nn_tensor *x = nn_reshape(g, nn_cast(g, wave, nn_graph_dtype(g)), MN_SHAPE(wave->shape.d[0], wave->shape.d[1], 1));
    nn_scope_push(g, "feature_extractor");
    for (int64_t i = 0; i < cfg->conv_layers; i++)
        x = conv_layer(g, cfg, x, i);
    nn_scope_pop(g);

    nn_linear_cfg projection = dense(cfg->width);
    nn_scope_push(g, "feature_projection");
    x = nn_layernorm(g, x, EPS, "layer_norm");
    x = nn_linear(g, x, &projection, "projection");
    nn_scope_pop(g);
    return x; // (B, n, width)
}

// An even kernel padded by half of it on both sides makes one output too many, which the reference drops.
static nn_tensor *positions(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x)
{
    mn_shape v = MN_SHAPE(cfg->width, cfg->width / cfg->pos_groups, cfg->pos_kernel);
    nn_scope_push(g, "pos_conv_embed");
    nn_conv1d_cfg conv = {.out = cfg->width,
                          .kernel = cfg->pos_kernel,
                          .stride = 1,
                          .pad = cfg->pos_kernel / 2,
                          .groups = cfg->pos_groups,
                          .drop_last = cfg->pos_kernel % 2 == 0,
                          .weight = nn_weight_norm(g, v, "conv")};
    x = nn_gelu(g, nn_conv1d(g, x, &conv, "conv"));
    nn_scope_pop(g);
    return x; // (B, n, width)
}

static nn_tensor *self_attention(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x, nn_tensor *valid)
{
    nn_linear_cfg qkv = dense(3 * cfg->width), out = dense(cfg->width);
    nn_attention_cfg attention = {.heads = cfg->heads, .drop = cfg->drop};
    nn_scope_push(g, "attention");
    x = nn_linear(g, x, &qkv, "qkv");
    x = nn_attention(g, x, NULL, valid, &attention, "heads");
    x = nn_linear(g, x, &out, "out_proj");
    nn_scope_pop(g);
    return nn_dropout(g, x, cfg->drop, "dropout");
}

static nn_tensor *feed_forward(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x)
{
    nn_linear_cfg up = dense(cfg->ffn), down = dense(cfg->width);
    up.act = NN_ACT_GELU;
    nn_scope_push(g, "feed_forward");
    x = nn_linear(g, x, &up, "intermediate_dense");
    x = nn_dropout(g, x, cfg->drop, "intermediate_dropout");
    x = nn_linear(g, x, &down, "output_dense");
    x = nn_dropout(g, x, cfg->drop, "output_dropout");
    nn_scope_pop(g);
    return x;
}

// x = LN(x + attention(x)); x = LN(x + ffn(x)). The sum itself is not needed again.
static nn_tensor *post_norm_layer(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x, nn_tensor *valid)
{
    nn_tensor *sum;
    x = nn_residual_layernorm(g, x, self_attention(g, cfg, x, valid), 0, EPS, &sum, "layer_norm");
    return nn_residual_layernorm(g, x, feed_forward(g, cfg, x), 0, EPS, &sum, "final_layer_norm");
}

// x += attention(LN(x)); x += ffn(LN(x)). *branch is what the layer before left to be added to x, and what this one
// leaves: its sum is taken by the next norm.
static nn_tensor *pre_norm_layer(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x, nn_tensor **branch,
                                 nn_tensor *valid)
{
    nn_tensor *h = *branch ? nn_residual_layernorm(g, x, *branch, 0, EPS, &x, "layer_norm")
                           : nn_layernorm(g, x, EPS, "layer_norm");
    h = self_attention(g, cfg, h, valid);
    h = nn_residual_layernorm(g, x, h, 0, EPS, &x, "final_layer_norm");
    *branch = feed_forward(g, cfg, h);
    return x;
}

// Layer ids: convolutions, projection and positions 0, layer i: i + 1.
static nn_tensor *encode(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *x, nn_tensor *valid)
{
    nn_tensor *branch = NULL;
    if (valid) x = nn_row_scale(g, x, valid); // padding must not leak through the positional convolution
    nn_tensor *position = positions(g, cfg, x);
    if (cfg->stable) {
        x = nn_dropout(g, nn_add(g, x, 1, position, 1), cfg->drop, "dropout");
    } else {
        nn_tensor *sum;
        x = nn_residual_layernorm(g, x, position, 0, EPS, &sum, "layer_norm");
        x = nn_dropout(g, x, cfg->drop, "dropout");
    }
    for (int64_t i = 0; i < cfg->layers; i++) {
        nn_scope_push(g, "layers.%lld", (long long)i);
        nn_params_layer(nn_graph_params(g), (int)i + 1);
        nn_segment_begin(g);
        x = cfg->stable ? pre_norm_layer(g, cfg, x, &branch, valid) : post_norm_layer(g, cfg, x, valid);
        nn_segment_end(g);
        nn_scope_pop(g);
    }
    nn_params_layer(nn_graph_params(g), nn_wav2vec2_layers(cfg));
    return cfg->stable ? nn_residual_layernorm(g, x, branch, 0, EPS, &x, "layer_norm") : x;
}

// Only SpecAugment reads it, which is not offered: kept, never trained, so that parameter counts and checkpoints are
// those of the reference.
static void keep_masked_spec_embed(nn_graph *g, const nn_wav2vec2_cfg *cfg)
{
    nn_param_spec spec = {.shape = MN_SHAPE(cfg->width), .init = NN_INIT_NORMAL, .f32 = 1, .no_decay = 1};
    nn_tensor *t = nn_param_get(g, "masked_spec_embed", &spec);
    if (t->param) t->param->frozen = 1;
}

nn_tensor *nn_wav2vec2(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *wave, nn_tensor *valid)
{
    if (nn_wav2vec2_check(cfg) != MN_OK) return nn_graph_bad(g, "wav2vec2: %s", mn_errmsg());
    if (wave->shape.n != 2) return nn_graph_bad(g, "wav2vec2: a wave is (B, samples)");
    if (nn_wav2vec2_frames(cfg, wave->shape.d[1]) < 1)
        return nn_graph_bad(g, "wav2vec2: %lld samples are shorter than the receptive field of one frame",
                            (long long)wave->shape.d[1]);
    nn_scope_push(g, "wav2vec2");
    nn_params_layer(nn_graph_params(g), 0);
    keep_masked_spec_embed(g, cfg);
    nn_tensor *x = extract(g, cfg, wave);
    nn_scope_push(g, "encoder");
    x = encode(g, cfg, x, valid);
    nn_scope_pop(g);
    nn_scope_pop(g);
    return x; // (B, n, width)
}
