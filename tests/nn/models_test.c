// The networks: parameter counts, names and layer ids, refused sizes, and small sizes against the public reference
// implementations (published sizes: parity.c).
#include "nn/models.h"
#include "parity_support.h"

#include <criterion/criterion.h>
#include <string.h>

static nn_swin_cfg swin(int64_t image, int64_t window, char size)
{
    nn_swin_cfg c = {image, 4, window, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, 4, 0, 4};
    int64_t scale = size == 'B' ? 4 : size == 'L' ? 6 : 3;
    if (size != 'T') c.depths[2] = 18;
    c.embed = 32 * scale;
    for (int s = 0; s < 4; s++)
        c.heads[s] = scale << s;
    return c;
}

static int64_t count_swin(const nn_swin_cfg *cfg, int simmim)
{
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32, .seed = 1});
    int64_t side = cfg->image / cfg->patch;
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(1, cfg->image, cfg->image, 3));
    nn_tensor *z = nn_swin(g, cfg, image, simmim ? nn_input(g, "mask", MN_U8, MN_SHAPE(1, side * side)) : NULL);
    if (simmim) nn_simmim_decoder(g, cfg, z);
    int64_t n = nn_params_elements(ps);
    nn_graph_free(g);
    nn_params_free(ps);
    return n;
}

Test(models, swin_parameter_counts)
{
    // microsoft/SimMIM without its classification head; the mask token and the decoder come with SimMIM.
    static const struct {
        char size;
        int64_t window, features, simmim;
    } rows[] = {{'T', 6, 27519354, 29875194},
                {'S', 6, 48837258, 51186186},
                {'B', 6, 86743224, 89874104},
                {'L', 12, 194995476, 199881204}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nn_swin_cfg fine = swin(224, 7, rows[i].size), pre = swin(192, rows[i].window, rows[i].size);
        cr_expect_eq(count_swin(&fine, 0), rows[i].features, "Swin-%c", rows[i].size);
        cr_expect_eq(count_swin(&pre, 1), rows[i].simmim, "SimMIM Swin-%c", rows[i].size);
    }
}

static int64_t count_wav2vec2(const nn_wav2vec2_cfg *cfg)
{
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_EVAL, .dtype = MN_F32, .seed = 1});
    nn_wav2vec2(g, cfg, nn_input(g, "wave", MN_F32, MN_SHAPE(1, 800)), NULL);
    int64_t n = nn_params_elements(ps);
    nn_graph_free(g);
    nn_params_free(ps);
    return n;
}

Test(models, wav2vec2_parameter_counts)
{
    nn_wav2vec2_cfg base, xlsr;
    nn_wav2vec2_base(&base);
    nn_wav2vec2_xlsr(&xlsr);
    cr_expect_eq(count_wav2vec2(&base), 94371712);
    cr_expect_eq(count_wav2vec2(&xlsr), 315438720);
}

Test(models, wav2vec2_frames)
{
    static const int64_t rows[][2] = {{0, 0}, {399, 0}, {400, 1}, {719, 1}, {720, 2}, {16000, 49}, {160000, 499}};
    nn_wav2vec2_cfg cfg;
    nn_wav2vec2_base(&cfg);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(nn_wav2vec2_frames(&cfg, rows[i][0]), rows[i][1], "%lld samples", (long long)rows[i][0]);
}

Test(models, cca_parameter_counts)
{
    static const int64_t counts[] = {[NN_CCA_VA] = 49895170, [NN_CCA_EXPR] = 49621256, [NN_CCA_AU] = 49624332};
    for (int form = NN_CCA_PAPER; form <= NN_CCA_RELEASED; form++)
        for (int task = NN_CCA_VA; task <= NN_CCA_AU; task++) {
            nn_cca_cfg cfg = {768, 8, {256, 128, 64}, 4, .3f, .4f, .7f, (nn_cca_form)form, (nn_cca_task)task, 0, 0};
            nn_params *ps = nn_params_new(1);
            nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32, .seed = 1});
            nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(1, 4, 768));
            nn_tensor *audio = nn_input(g, "audio", MN_F32, MN_SHAPE(1, 4, 768));
            nn_cca(g, &cfg, image, audio, nn_input(g, "weight", MN_F32, MN_SHAPE(1, 4)));
            cr_expect_eq(nn_params_elements(ps), counts[task], "form %d task %d", form, task);
            nn_graph_free(g);
            nn_params_free(ps);
        }
}

Test(models, swin_layer_ids)
{
    static const struct {
        const char *name;
        int layer;
    } rows[] = {{"swin.mask_token", 0},
                {"swin.patch_embed.proj.weight", 0},
                {"swin.layers.0.blocks.0.attn.qkv.weight", 1},
                {"swin.layers.0.blocks.1.norm2.bias", 2},
                {"swin.layers.0.downsample.reduction.weight", 2},
                {"swin.layers.1.blocks.0.attn.relative_position_bias_table", 3},
                {"swin.layers.2.downsample.norm.weight", 10},
                {"swin.layers.3.blocks.1.mlp.fc2.weight", 12},
                {"swin.norm.weight", 13},
                {"head.expr.weight", 13}};
    nn_swin_cfg cfg = swin(192, 6, 'T');
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32, .seed = 1});
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(1, 192, 192, 3));
    nn_tensor *z = nn_swin(g, &cfg, image, nn_input(g, "mask", MN_U8, MN_SHAPE(1, 48 * 48)));
    nn_head(g, nn_token_mean(g, z, NULL), 8, "expr");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const nn_param *p = nn_params_find(ps, rows[i].name);
        cr_assert_not_null(p, "%s", rows[i].name);
        cr_expect_eq(p->spec.layer, rows[i].layer, "%s: %d", rows[i].name, p->spec.layer);
    }
    cr_expect_eq(nn_swin_layers(&cfg), 13);
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(models, impossible_sizes_name_the_keys)
{
    nn_swin_cfg image = swin(200, 6, 'T'), patch = swin(194, 6, 'T'), heads = swin(192, 6, 'T');
    cr_expect_eq(nn_swin_check(&image), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "model.image=192 would fit"), "%s", mn_errmsg());
    cr_expect_eq(nn_swin_check(&patch), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "model.patch=4"), "%s", mn_errmsg());
    heads.heads[1] = 5;
    cr_expect_eq(nn_swin_check(&heads), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "model.heads[1]=5"), "%s", mn_errmsg());

    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_EVAL, .dtype = MN_F32, .seed = 1});
    nn_output(g, "z", nn_swin(g, &image, nn_input(g, "image", MN_F32, MN_SHAPE(1, 200, 200, 3)), NULL));
    cr_expect_neq(nn_graph_plan(g, NULL), MN_OK);
    cr_expect(strstr(mn_errmsg(), "model.image=192 would fit"), "%s", mn_errmsg());
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(models, fp32_parity)
{
    for (int i = 0; i < parity_count(); i++) {
        parity_result r;
        if (parity_full(i)) continue;
        cr_assert_eq(parity_run(i, MN_F32, &r), MN_OK, "%s: %s", parity_name(i), mn_errmsg());
        cr_expect_str_empty(r.missing, "%s: %s", parity_name(i), r.missing);
        cr_expect_gt(r.outputs, 0, "%s", parity_name(i));
        cr_expect_leq(r.output, 1e-4, "%s: %s off by %.2e", parity_name(i), r.worst_output, r.output);
        cr_expect_leq(r.gradient, 1e-3, "%s: gradient of %s off by %.2e", parity_name(i), r.worst_gradient, r.gradient);
    }
}

Test(models, bf16_is_as_near_as_autocast)
{
    for (int i = 0; i < parity_count(); i++) {
        parity_result r;
        if (parity_full(i)) continue;
        cr_assert_eq(parity_run(i, MN_BF16, &r), MN_OK, "%s: %s", parity_name(i), mn_errmsg());
        cr_expect_leq(r.output, 1.5, "%s: %s %.2f times autocast", parity_name(i), r.worst_output, r.output);
        cr_expect_leq(r.gradient, 1.5, "%s: gradients %.2f times autocast", parity_name(i), r.gradient);
    }
}
