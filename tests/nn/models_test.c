// The networks: parameter counts, names and layer ids, refused sizes, and small sizes against the public reference
// implementations (published sizes: parity.c).
#include "nn/models.h"
#include "golden_support.h"
#include "parity_support.h"

#include <criterion/criterion.h>
#include <math.h>
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

// --- what holds whatever the weights are ---

typedef struct net {
    nn_params *ps;
    nn_graph *g;
} net;

typedef nn_tensor *build_net(nn_graph *g, int64_t rows);

static net open_net(build_net *build, int64_t rows, nn_mode mode)
{
    net n = {.ps = nn_params_new(1)};
    n.g = nn_graph_new(n.ps, &(nn_graph_cfg){.mode = mode, .dtype = MN_F32, .seed = 5});
    nn_output(n.g, "y", build(n.g, rows));
    cr_assert_eq(nn_params_layout(n.ps, n.g, &(nn_layout_cfg){.dtype = MN_F32, .forward_only = 1}), MN_OK);
    golden_fill(n.ps);
    cr_assert_eq(nn_graph_plan(n.g, NULL), MN_OK, "%s", mn_errmsg());
    return n;
}

static void close_net(net *n)
{
    nn_graph_free(n->g);
    nn_params_free(n->ps);
}

// Feeds rows `first` to `first` + rows of the closed form, and returns the output.
static const float *run_net(net *n, int64_t first, int64_t rows, int64_t *per_row)
{
    static const char *const names[] = {"image", "audio", "wave", "weight"};
    for (int k = 0; k < 4; k++) {
        size_t bytes;
        float *x = nn_graph_input(n->g, names[k], &bytes);
        int64_t count = x ? (int64_t)(bytes / sizeof *x) / rows : 0;
        for (int64_t i = 0; i < count * rows; i++)
            x[i] = k == 3 ? 1 : (float)golden_uniform(names[k], first * count + i);
    }
    mn_shape shape;
    mn_dtype dtype;
    cr_assert_eq(nn_graph_run(n->g, &(nn_tick){.step = 3, .first_row = first, .rows = rows}), MN_OK, "%s", mn_errmsg());
    const float *y = nn_graph_buffer(n->g, "y", &shape, &dtype);
    *per_row = mn_count(shape) / rows;
    return y;
}

static nn_tensor *small_cca(nn_graph *g, int64_t rows, int position)
{
    nn_cca_cfg cfg = {16, 2, {12, 8, 6}, 4, .3f, .4f, .7f, NN_CCA_PAPER, NN_CCA_EXPR, position, 0};
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(rows, 10, 16));
    nn_tensor *audio = nn_input(g, "audio", MN_F32, MN_SHAPE(rows, 10, 16));
    return nn_cca(g, &cfg, image, audio, nn_input(g, "weight", MN_F32, MN_SHAPE(rows, 10)));
}
static nn_tensor *cca_plain(nn_graph *g, int64_t rows)
{
    return small_cca(g, rows, 0);
}
static nn_tensor *cca_positions(nn_graph *g, int64_t rows)
{
    return small_cca(g, rows, 1);
}
static nn_tensor *small_swin(nn_graph *g, int64_t rows)
{
    nn_swin_cfg cfg = {16, 2, 4, 8, {2, 2}, {1, 2}, 2, .5f, 4};
    return nn_swin(g, &cfg, nn_input(g, "image", MN_F32, MN_SHAPE(rows, 16, 16, 3)), NULL);
}
static nn_tensor *small_wav2vec2(nn_graph *g, int64_t rows)
{
    nn_wav2vec2_cfg cfg;
    nn_wav2vec2_base(&cfg);
    cfg.width = 32, cfg.layers = 2, cfg.heads = 2, cfg.ffn = 64, cfg.conv_channels = 16;
    cfg.pos_kernel = 16, cfg.pos_groups = 4;
    return nn_wav2vec2(g, &cfg, nn_input(g, "wave", MN_F32, MN_SHAPE(rows, 2000)), NULL);
}

// Four rows on one rank, or two on each of two: the same numbers, dropout and drop path included.
Test(models, random_numbers_belong_to_rows)
{
    static build_net *const builds[] = {small_swin, small_wav2vec2, cca_plain};
    for (int b = 0; b < 3; b++) {
        net whole = open_net(builds[b], 4, NN_TRAIN), half = open_net(builds[b], 2, NN_TRAIN);
        net quiet = open_net(builds[b], 4, NN_EVAL);
        int64_t n, m;
        const float *y = run_net(&whole, 0, 4, &n), *z = run_net(&quiet, 0, 4, &m);
        int same = 1;
        for (int64_t i = 0; i < 4 * n; i++)
            same &= y[i] == z[i];
        cr_expect_not(same, "%d: nothing was dropped", b);
        for (int64_t first = 0; first < 4; first += 2) {
            const float *x = run_net(&half, first, 2, &m);
            for (int64_t i = 0; i < 2 * n; i++)
                if (!(fabsf(x[i] - y[first * n + i]) <= 1e-5f * (1 + fabsf(x[i])))) {
                    cr_expect(0, "%d: row %lld differs", b, (long long)(first + i / n));
                    break;
                }
        }
        close_net(&whole);
        close_net(&half);
        close_net(&quiet);
    }
}

// Without positions CCA has no sense of order: frames in another order give the outputs in that order.
Test(models, cca_is_permutation_equivariant_without_positions)
{
    static build_net *const builds[] = {cca_plain, cca_positions};
    for (int b = 0; b < 2; b++) {
        net n = open_net(builds[b], 1, NN_EVAL);
        float before[10 * 8], worst = 0;
        int64_t per_row;
        size_t bytes;
        memcpy(before, run_net(&n, 0, 1, &per_row), sizeof before);
        for (int s = 0; s < 2; s++) {
            float *x = nn_graph_input(n.g, s ? "audio" : "image", &bytes), first[16];
            memcpy(first, x, sizeof first);
            memmove(x, x + 16, 9 * sizeof first);
            memcpy(x + 9 * 16, first, sizeof first);
        }
        mn_shape shape;
        mn_dtype dtype;
        cr_assert_eq(nn_graph_run(n.g, &(nn_tick){.rows = 1}), MN_OK);
        const float *y = nn_graph_buffer(n.g, "y", &shape, &dtype);
        for (int i = 0; i < 80; i++)
            worst = fmaxf(worst, fabsf(y[i] - before[(i + 8) % 80]));
        cr_expect(b ? worst > 1e-2f : worst < 1e-5f, "positions %d: %g", b, (double)worst);
        close_net(&n);
    }
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
