// The name tables: single rows of both directions, and how forms are found out.
#include "nn/weights_names.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
    nn_weights_form form;
    const char *theirs, *ours;
    int part, parts;
} rows[] = {
    {NN_WEIGHTS_SIMMIM, "encoder.layers.3.blocks.1.attn.qkv.weight", "swin.layers.3.blocks.1.attn.qkv.weight", 0, 1},
    {NN_WEIGHTS_SIMMIM, "encoder.mask_token", "swin.mask_token", 0, 1},
    {NN_WEIGHTS_SIMMIM, "decoder.0.bias", "decoder.0.bias", 0, 1},
    {NN_WEIGHTS_SWIN, "layers.0.downsample.norm.bias", "swin.layers.0.downsample.norm.bias", 0, 1},
    {NN_WEIGHTS_TIMM_SWIN, "layers.3.downsample.reduction.weight", "swin.layers.2.downsample.reduction.weight", 0, 1},
    {NN_WEIGHTS_TIMM_SWIN, "layers.10.blocks.17.mlp.fc1.bias", "swin.layers.10.blocks.17.mlp.fc1.bias", 0, 1},
    {NN_WEIGHTS_HF_SWIN, "swin.encoder.layers.1.blocks.0.attention.self.value.bias",
     "swin.layers.1.blocks.0.attn.qkv.bias", 2, 3},
    {NN_WEIGHTS_HF_SWIN, "swin.layernorm.weight", "swin.norm.weight", 0, 1},
    {NN_WEIGHTS_HF_WAV2VEC2, "wav2vec2.encoder.layers.11.attention.k_proj.weight",
     "wav2vec2.encoder.layers.11.attention.qkv.weight", 1, 3},
    {NN_WEIGHTS_HF_WAV2VEC2, "wav2vec2.encoder.pos_conv_embed.conv.weight_g",
     "wav2vec2.encoder.pos_conv_embed.conv.weight_g", 0, 1},
    {NN_WEIGHTS_ABAW2024, "layers.7.vhead.1.running_var", "cca.layers.7.vhead.1.running_var", 0, 1},
    {NN_WEIGHTS_MIEN, "head.expr.weight", "head.expr.weight", 0, 1},
};

Test(weights_names, both_directions)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nn_rename_match m, parts[3];
        cr_assert(nn_rename_import(rows[i].form, rows[i].theirs, &m), "%s", rows[i].theirs);
        cr_expect_str_eq(m.name, rows[i].ours);
        cr_expect_eq(m.part, rows[i].part, "%s", rows[i].theirs);
        cr_expect_eq(m.parts, rows[i].parts, "%s", rows[i].theirs);
        cr_assert_eq(nn_rename_export(rows[i].form, rows[i].ours, parts, 3), rows[i].parts, "%s", rows[i].ours);
        cr_expect_str_eq(parts[rows[i].part].name, rows[i].theirs);
        cr_expect_eq(parts[rows[i].part].part, rows[i].part);
    }
}

Test(weights_names, prefixes_may_be_absent_or_doubled)
{
    nn_rename_match m;
    cr_assert(nn_rename_import(NN_WEIGHTS_HF_WAV2VEC2, "feature_projection.layer_norm.weight", &m));
    cr_expect_str_eq(m.name, "wav2vec2.feature_projection.layer_norm.weight");
    cr_assert(nn_rename_import(NN_WEIGHTS_SIMMIM, "module.encoder.norm.weight", &m));
    cr_expect_str_eq(m.name, "swin.norm.weight");
}

Test(weights_names, what_has_no_place_says_why)
{
    nn_rename_match m;
    cr_assert(nn_rename_import(NN_WEIGHTS_SIMMIM, "encoder.layers.0.blocks.1.attn_mask", &m));
    cr_expect_not_null(m.drop);
    cr_assert(nn_rename_import(NN_WEIGHTS_TIMM_SWIN, "head.fc.weight", &m));
    cr_expect_not_null(m.drop);
    cr_expect_not(nn_rename_import(NN_WEIGHTS_TIMM_SWIN, "layers.0.downsample.norm.weight", &m), "%s", m.name);
    cr_expect_not(nn_rename_import(NN_WEIGHTS_SWIN, "conv1.weight", &m));
    cr_expect_eq(nn_rename_export(NN_WEIGHTS_TIMM_SWIN, "decoder.0.weight", &m, 1), 0);
}

Test(weights_names, long_names_do_not_overflow)
{
    char name[400];
    nn_rename_match m;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    memcpy(name, "encoder.", 8);
    cr_expect_not(nn_rename_import(NN_WEIGHTS_SIMMIM, name, &m));
    cr_expect_not(nn_rename_import(NN_WEIGHTS_HF_WAV2VEC2, name, &m));
    cr_expect_not(nn_rename_import(NN_WEIGHTS_TIMM_SWIN, "layers.99999999999999999999.blocks.0", &m));
}

Test(weights_names, forms_are_found_out)
{
    static const struct {
        const char *name;
        nn_weights_form form;
    } signs[] = {{"swin.layers.0.blocks.0.attn.qkv.weight", NN_WEIGHTS_MIEN},
                 {"cca.layers.0.attn.qkv.weight", NN_WEIGHTS_MIEN},
                 {"wav2vec2.encoder.layers.0.attention.qkv.weight", NN_WEIGHTS_MIEN},
                 {"head.expr.weight", NN_WEIGHTS_MIEN},
                 {"encoder.patch_embed.proj.weight", NN_WEIGHTS_SIMMIM},
                 {"module.encoder.patch_embed.proj.weight", NN_WEIGHTS_SIMMIM},
                 {"layers.0.downsample.reduction.weight", NN_WEIGHTS_SWIN},
                 {"layers.0.blocks.1.attn.qkv.weight", NN_WEIGHTS_TIMM_SWIN},
                 {"swin.encoder.layers.0.blocks.0.layernorm_before.weight", NN_WEIGHTS_HF_SWIN},
                 {"encoder.layers.0.blocks.0.layernorm_before.weight", NN_WEIGHTS_HF_SWIN},
                 {"encoder.layers.5.attention.q_proj.weight", NN_WEIGHTS_HF_WAV2VEC2},
                 {"layers.6.transformer.attn.qkv.weight", NN_WEIGHTS_ABAW2024},
                 {"conv1.weight", NN_WEIGHTS_AUTO}};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        const char *names[] = {"something.else", signs[i].name};
        cr_expect_eq(nn_weights_detect(names, 2), signs[i].form, "%s", signs[i].name);
    }
    for (int f = NN_WEIGHTS_MIEN; f < NN_WEIGHTS_FORMS; f++)
        cr_expect_eq(nn_weights_form_parse(nn_weights_form_name((nn_weights_form)f)), f);
    cr_expect_eq(nn_weights_form_parse("nonsense"), NN_WEIGHTS_FORMS);
}
