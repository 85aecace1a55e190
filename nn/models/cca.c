// CCA-Transformer: cascaded cross attention between image and sound features. `paper`: Eqs. 1-7 with projections,
// several heads and output-norm residual blocks; `released`: what the authors' code computes
// (namho-96/ABAW2024, models/custom_transformer/dma3.py), parity target. Both have the parameters and names of that
// code: layers 0, 1 self attention of image and sound, 2, 3 first cross attention, 4, 5 second, 6 neck, 7 head.
#include "nn/models.h"

#define EPS 1e-5f

static const int64_t outputs[] = {[NN_CCA_VA] = 2, [NN_CCA_EXPR] = 8, [NN_CCA_AU] = 12};

static nn_linear_cfg dense(int64_t out)
{
    return (nn_linear_cfg){.out = out, .init = NN_INIT_XAVIER_UNIFORM, .init_scale = 1};
}

mn_err nn_cca_check(const nn_cca_cfg *cfg)
{
    if (cfg->width < 1 || cfg->heads < 1 || cfg->width % cfg->heads)
        return mn_fail(MN_ECONFIG, "model.heads=%lld does not divide model.width=%lld", (long long)cfg->heads,
                       (long long)cfg->width);
    if (!(cfg->mlp_ratio > 0)) return mn_fail(MN_ECONFIG, "model.mlp_ratio must be positive");
    if (!(cfg->drop >= 0 && cfg->drop < 1 && cfg->drop_path >= 0 && cfg->drop_path < 1))
        return mn_fail(MN_ECONFIG, "model.drop=%g and model.drop_path=%g must be in [0, 1)", (double)cfg->drop,
                       (double)cfg->drop_path);
    for (int i = 0; i < 3; i++)
        if (cfg->task == NN_CCA_VA && cfg->head_hidden[i] < 1)
            return mn_fail(MN_ECONFIG, "model.head_hidden[%d] must be positive", i);
    return MN_OK;
}

// Attention of q's frames over kv's; kv NULL: over its own.
static nn_tensor *attend(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *q, nn_tensor *kv)
{
    nn_attention_cfg heads = {.heads = cfg->heads, .drop = cfg->drop};
    nn_linear_cfg one = dense(cfg->width), two = dense(2 * cfg->width), three = dense(3 * cfg->width);
    nn_scope_push(g, "attn");
    q = nn_linear(g, q, kv ? &one : &three, kv ? "q" : "qkv");
    if (kv) kv = nn_linear(g, kv, &two, "kv");
    nn_tensor *y = nn_attention(g, q, kv, NULL, &heads, "heads");
    y = nn_dropout(g, nn_linear(g, y, &one, "proj"), cfg->drop, "proj_drop");
    nn_scope_pop(g);
    return y; // (B, T, width)
}

static nn_tensor *mlp(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *x)
{
    nn_linear_cfg fc1 = dense((int64_t)((double)cfg->width * (double)cfg->mlp_ratio)), fc2 = dense(cfg->width);
    fc1.act = NN_ACT_GELU;
    nn_scope_push(g, "mlp");
    x = nn_dropout(g, nn_linear(g, x, &fc1, "fc1"), cfg->drop, "drop1");
    x = nn_dropout(g, nn_linear(g, x, &fc2, "fc2"), cfg->drop, "drop2");
    nn_scope_pop(g);
    return x; // (B, T, width)
}

// Each branch is normalised at its output, then added to what `skip` says the form adds it to.
static nn_tensor *block(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *q, nn_tensor *kv)
{
    int released = cfg->form == NN_CCA_RELEASED;
    nn_segment_begin(g);
    nn_tensor *a = attend(g, cfg, q, kv);
    // The released self attention block adds the attention's output to its own norm, never the input.
    nn_tensor *skip = released && !kv ? a : q;
    a = nn_residual(g, skip, nn_layernorm(g, a, EPS, "norm1"), cfg->drop_path, "drop_path1");
    // Its cross attention block starts the second addition from the query again.
    skip = released && kv ? q : a;
    a = nn_residual(g, skip, nn_layernorm(g, mlp(g, cfg, a), EPS, "norm2"), cfg->drop_path, "drop_path2");
    nn_segment_end(g);
    return a;
}

static nn_tensor *layer(nn_graph *g, const nn_cca_cfg *cfg, int index, nn_tensor *q, nn_tensor *kv)
{
    nn_scope_push(g, "layers.%d", index);
    nn_tensor *y = block(g, cfg, q, kv);
    nn_scope_pop(g);
    return y;
}

// 256 -> 128 -> 64 -> 1 with batch norm over all frames, then tanh. Indices are those of the reference's Sequential.
static nn_tensor *va_branch(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *x, nn_tensor *weight, const char *name)
{
    nn_batch_norm_cfg norm = {.eps = EPS, .momentum = 0.1f, .local = cfg->bn_local};
    nn_linear_cfg first = dense(cfg->head_hidden[1]), second = dense(cfg->head_hidden[2]), last = dense(1);
    nn_scope_push(g, "%s", name);
    x = nn_batch_norm(g, nn_linear(g, x, &first, "0"), weight, &norm, "1");
    x = nn_dropout(g, nn_gelu(g, x), cfg->drop, "3");
    x = nn_batch_norm(g, nn_linear(g, x, &second, "4"), weight, &norm, "5");
    x = nn_dropout(g, nn_gelu(g, x), cfg->drop, "7");
    x = nn_cast(g, nn_linear(g, x, &last, "8"), MN_F32);
    nn_scope_pop(g);
    return nn_tanh(g, x); // (B, T, 1)
}

static nn_tensor *va_head(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *x, nn_tensor *weight)
{
    nn_linear_cfg conv = {.out = cfg->head_hidden[0],
                          .init = NN_INIT_KAIMING_UNIFORM,
                          .init_scale = 1,
                          .weight_shape = MN_SHAPE(cfg->head_hidden[0], cfg->width, 1)};
    if (weight) weight = nn_reshape(g, weight, MN_SHAPE(mn_count(weight->shape)));
    x = nn_linear(g, x, &conv, "conv1d");
    nn_tensor *valence = va_branch(g, cfg, x, weight, "vhead");
    nn_tensor *arousal = va_branch(g, cfg, x, weight, "ahead");
    return nn_concat(g, valence, arousal);
}

static nn_tensor *head(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *x, nn_tensor *weight)
{
    nn_linear_cfg out = dense(outputs[cfg->task]);
    nn_scope_push(g, "layers.7");
    if (cfg->task == NN_CCA_VA)
        x = va_head(g, cfg, x, weight);
    else
        x = nn_cast(g, nn_linear(g, x, &out, cfg->task == NN_CCA_AU ? "head.0" : "head"), MN_F32);
    nn_scope_pop(g);
    return x; // (B, T, 2 | 8 | 12)
}

nn_tensor *nn_cca(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *image, nn_tensor *audio, nn_tensor *weight)
{
    int paper = cfg->form == NN_CCA_PAPER;
    if (nn_cca_check(cfg) != MN_OK) return nn_graph_bad(g, "cca: %s", mn_errmsg());
    if (mn_last(image->shape) != cfg->width || !mn_shape_equal(image->shape, audio->shape))
        return nn_graph_bad(g, "cca: image and audio features must both be (B, T, %lld)", (long long)cfg->width);

    nn_scope_push(g, "cca");
    if (cfg->position) {
        image = nn_position(g, image);
        audio = nn_position(g, audio);
    }
    nn_tensor *self_image = layer(g, cfg, 0, image, NULL);
    nn_tensor *self_audio = layer(g, cfg, 1, audio, NULL);
    // First cross attention. Paper: cI1 asks with sound, cA1 with the image; the released code swaps them.
    nn_tensor *cross_image = paper ? layer(g, cfg, 2, audio, image) : layer(g, cfg, 2, image, audio);
    nn_tensor *cross_audio = paper ? layer(g, cfg, 3, image, audio) : layer(g, cfg, 3, audio, image);
    // Second. Paper: the self attended stream asks; released: it answers.
    cross_image = paper ? layer(g, cfg, 4, self_image, cross_image) : layer(g, cfg, 4, cross_image, self_image);
    cross_audio = paper ? layer(g, cfg, 5, self_audio, cross_audio) : layer(g, cfg, 5, cross_audio, self_audio);
    nn_scope_push(g, "layers.6.transformer");
    nn_tensor *y = block(g, cfg, nn_add(g, cross_image, cfg->mix, cross_audio, 1 - cfg->mix), NULL);
    nn_scope_pop(g);
    y = head(g, cfg, y, weight);
    nn_scope_pop(g);
    return y;
}
