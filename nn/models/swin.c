// Swin Transformer encoder and the decoder of SimMIM. Shapes, names and initial values: microsoft/SimMIM
// (models/swin_transformer.py, models/simmim.py).
#include "nn/models.h"

#include <string.h>

#define EPS 1e-5f

// A residual stream whose last branch has not been added yet: the addition is left to the next layer norm, which reads
// the sum anyway, so that both are one pass over memory.
typedef struct stream {
    nn_tensor *x;      // (B, T, C)
    nn_tensor *branch; // (B, T, C), or NULL: nothing to add
    float drop;        // drop path of the branch
} stream;

static nn_tensor *norm_stream(nn_graph *g, stream *s, const char *name)
{
    if (!s->branch) return nn_layernorm(g, s->x, EPS, name);
    nn_tensor *sum;
    nn_tensor *y = nn_residual_layernorm(g, s->x, s->branch, s->drop, EPS, &sum, name);
    *s = (stream){.x = sum};
    return y;
}

static void add_branch(nn_graph *g, stream *s, const char *name)
{
    if (s->branch) *s = (stream){.x = nn_residual(g, s->x, s->branch, s->drop, name)};
}

static int64_t grid_of(const nn_swin_cfg *cfg, int stage) // tokens a side
{
    return (cfg->image / cfg->patch) >> stage;
}

static int64_t width_of(const nn_swin_cfg *cfg, int stage)
{
    return cfg->embed << stage;
}

static int total_depth(const nn_swin_cfg *cfg)
{
    int64_t n = 0;
    for (int s = 0; s < cfg->stages; s++)
        n += cfg->depths[s];
    return (int)n;
}

// First stage whose grid cannot be cut into windows or merged, -1: none.
static int misfit(const nn_swin_cfg *cfg, int64_t image)
{
    if (image % cfg->patch) return 0;
    for (int s = 0; s < cfg->stages; s++) {
        int64_t side = (image / cfg->patch) >> s;
        if (side < 1 || (side > cfg->window && side % cfg->window)) return s;
        if (s + 1 < cfg->stages && side % 2) return s;
    }
    return -1;
}

static int64_t nearest_fitting_image(const nn_swin_cfg *cfg)
{
    for (int64_t d = 0; d < 4096; d++) {
        if (misfit(cfg, cfg->image + d) < 0) return cfg->image + d;
        if (cfg->image - d >= cfg->patch && misfit(cfg, cfg->image - d) < 0) return cfg->image - d;
    }
    return cfg->patch * cfg->window << (cfg->stages - 1); // far away, but always possible
}

static mn_err check_grid(const nn_swin_cfg *cfg)
{
    int stage = misfit(cfg, cfg->image);
    if (stage < 0) return MN_OK;
    long long image = cfg->image, patch = cfg->patch, window = cfg->window, near = nearest_fitting_image(cfg);
    if (image % patch)
        return mn_fail(MN_ECONFIG, "model.image=%lld is not a multiple of model.patch=%lld; model.image=%lld would fit",
                       image, patch, near);
    return mn_fail(
        MN_ECONFIG,
        "model.image=%lld with model.patch=%lld gives stage %d a grid of %lld tokens a side, which %d stages "
        "(model.depths) and model.window=%lld cannot divide; model.image=%lld would fit, or change "
        "model.window",
        image, patch, stage, (long long)grid_of(cfg, stage), cfg->stages, window, near);
}

mn_err nn_swin_check(const nn_swin_cfg *cfg)
{
    if (cfg->stages < 1 || cfg->stages > 4)
        return mn_fail(MN_ECONFIG, "model.depths has %d stages; 1 to 4 are possible", cfg->stages);
    if (cfg->image < 1 || cfg->patch < 1 || cfg->window < 1 || cfg->embed < 1 || !(cfg->mlp_ratio > 0))
        return mn_fail(MN_ECONFIG, "model.image, model.patch, model.window, model.embed and model.mlp_ratio must be "
                                   "positive");
    if (!(cfg->drop_path >= 0 && cfg->drop_path < 1))
        return mn_fail(MN_ECONFIG, "model.drop_path=%g must be in [0, 1)", (double)cfg->drop_path);
    for (int s = 0; s < cfg->stages; s++) {
        long long width = width_of(cfg, s), heads = cfg->heads[s];
        if (cfg->depths[s] < 1) return mn_fail(MN_ECONFIG, "model.depths[%d] must be at least 1", s);
        if (heads < 1 || width % heads)
            return mn_fail(
                MN_ECONFIG,
                "stage %d is %lld channels wide (model.embed=%lld doubled %d times), which model.heads[%d]=%lld "
                "does not divide; heads of 32 channels are usual",
                s, width, (long long)cfg->embed, s, s, heads);
    }
    return check_grid(cfg);
}

int nn_swin_layers(const nn_swin_cfg *cfg)
{
    return total_depth(cfg) + 1;
}

int64_t nn_swin_stride(const nn_swin_cfg *cfg)
{
    return cfg->patch << (cfg->stages - 1);
}

static nn_linear_cfg dense(int64_t out)
{
    return (nn_linear_cfg){.out = out, .init = NN_INIT_TRUNC_NORMAL, .init_scale = 0.02f};
}

static nn_tensor *attention(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *x, int stage, int64_t index)
{
    int64_t side = grid_of(cfg, stage), width = width_of(cfg, stage);
    // One window covers a small grid: nothing to shift.
    int whole = side <= cfg->window;
    nn_window_cfg window = {.height = side,
                            .width = side,
                            .heads = cfg->heads[stage],
                            .window = whole ? side : cfg->window,
                            .shift = whole || index % 2 == 0 ? 0 : cfg->window / 2};
    nn_linear_cfg qkv = dense(3 * width), proj = dense(width);

    nn_scope_push(g, "attn");
    x = nn_linear(g, x, &qkv, "qkv");
    x = nn_window_attention(g, x, &window, "relative_position_bias_table");
    x = nn_linear(g, x, &proj, "proj");
    nn_scope_pop(g);
    return x; // (B, T, C)
}

static nn_tensor *mlp(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *x, int stage)
{
    int64_t width = width_of(cfg, stage);
    nn_linear_cfg fc1 = dense((int64_t)((double)width * (double)cfg->mlp_ratio)), fc2 = dense(width);
    fc1.act = NN_ACT_GELU;

    nn_scope_push(g, "mlp");
    x = nn_linear(g, x, &fc1, "fc1");
    x = nn_linear(g, x, &fc2, "fc2");
    nn_scope_pop(g);
    return x; // (B, T, C)
}

static void block(nn_graph *g, const nn_swin_cfg *cfg, stream *s, int stage, int64_t index, float drop)
{
    nn_scope_push(g, "blocks.%lld", (long long)index);
    nn_segment_begin(g);
    s->branch = attention(g, cfg, norm_stream(g, s, "norm1"), stage, index);
    s->drop = drop;
    s->branch = mlp(g, cfg, norm_stream(g, s, "norm2"), stage);
    s->drop = drop;
    nn_segment_end(g);
    nn_scope_pop(g);
}

static void downsample(nn_graph *g, const nn_swin_cfg *cfg, stream *s, int stage)
{
    int64_t side = grid_of(cfg, stage);
    nn_linear_cfg reduction = dense(2 * width_of(cfg, stage));
    reduction.no_bias = 1;

    nn_scope_push(g, "downsample");
    add_branch(g, s, "residual");
    nn_tensor *x = nn_patch_merge(g, s->x, side, side);
    x = nn_layernorm(g, x, EPS, "norm");
    *s = (stream){.x = nn_linear(g, x, &reduction, "reduction")}; // (B, T/4, 2C)
    nn_scope_pop(g);
}

static nn_tensor *patch_embed(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *image)
{
    nn_linear_cfg proj = {.out = cfg->embed,
                          .init = NN_INIT_FAN_IN_UNIFORM,
                          .weight_shape = MN_SHAPE(cfg->embed, 3, cfg->patch, cfg->patch)};
    nn_scope_push(g, "patch_embed");
    nn_tensor *x = nn_linear(g, nn_patchify(g, image, cfg->patch), &proj, "proj");
    x = nn_layernorm(g, x, EPS, "norm");
    nn_scope_pop(g);
    return x; // (B, T, C)
}

// Layer ids: patch embedding and mask token 0, block k (counted through all stages) k + 1, a merging that of the block
// before it, final norm and head one more than the last block.
static void stages(nn_graph *g, const nn_swin_cfg *cfg, stream *s)
{
    nn_params *params = nn_graph_params(g);
    int blocks = total_depth(cfg), k = 0;
    for (int stage = 0; stage < cfg->stages; stage++) {
        nn_scope_push(g, "layers.%d", stage);
        for (int64_t i = 0; i < cfg->depths[stage]; i++, k++) {
            nn_params_layer(params, k + 1);
            block(g, cfg, s, stage, i, blocks > 1 ? cfg->drop_path * (float)k / (float)(blocks - 1) : 0);
        }
        if (stage + 1 < cfg->stages) downsample(g, cfg, s, stage);
        nn_scope_pop(g);
    }
}

nn_tensor *nn_swin(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *image, nn_tensor *mask)
{
    if (nn_swin_check(cfg) != MN_OK) return nn_graph_bad(g, "swin: %s", mn_errmsg());
    if (image->shape.n != 4 || image->shape.d[1] != cfg->image || image->shape.d[2] != cfg->image)
        return nn_graph_bad(g, "swin: images must be (B, %lld, %lld, 3) to fit model.image", (long long)cfg->image,
                            (long long)cfg->image);
    nn_scope_push(g, "swin");
    nn_params_layer(nn_graph_params(g), 0);
    stream s = {.x = patch_embed(g, cfg, image)};
    if (mask) s.x = nn_mask_blend(g, s.x, mask, "mask_token");
    stages(g, cfg, &s);
    nn_params_layer(nn_graph_params(g), nn_swin_layers(cfg));
    nn_tensor *y = norm_stream(g, &s, "norm");
    nn_scope_pop(g);
    return y; // (B, cells, C of the last stage)
}

nn_tensor *nn_simmim_decoder(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *features)
{
    int64_t stride = nn_swin_stride(cfg), out = 3 * stride * stride;
    nn_linear_cfg conv = {.out = out,
                          .init = NN_INIT_FAN_IN_UNIFORM,
                          .weight_shape = MN_SHAPE(out, width_of(cfg, cfg->stages - 1), 1, 1)};
    return nn_linear(g, features, &conv, "decoder.0"); // (B, cells, 3 stride^2)
}
