#include "parity_support.h"

#include "golden_support.h"
#include "nn/base/mem.h"
#include "nn/models.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parity_case {
    const char *name;
    int full;
    nn_tensor *(*build)(nn_graph *g, const parity_case *c); // -> loss, NULL: forward only
    mn_err (*feed)(nn_graph *g, const parity_case *c);
    int64_t batch, length; // length: samples or frames
    nn_swin_cfg swin;
    nn_wav2vec2_cfg wav;
    int64_t valid[3]; // samples of each row, 0: no padding mask
    nn_cca_cfg cca;
};

static float *input(nn_graph *g, const char *name)
{
    size_t bytes;
    return nn_graph_input(g, name, &bytes);
}

static void feed_closed_form(nn_graph *g, const char *name, mn_shape shape)
{
    char *key = mn_sprintf("input.%s", name);
    float *x = input(g, name);
    for (int64_t i = 0; i < mn_count(shape); i++)
        x[i] = golden_value(key, shape, i);
    free(key);
}

static void feed_ones(nn_graph *g, const char *name, int64_t count)
{
    float *x = input(g, name);
    for (int64_t i = 0; i < count; i++)
        x[i] = 1;
}

// --- Swin and SimMIM ---

static nn_tensor *swin_features(nn_graph *g, const parity_case *c, nn_tensor **image, nn_tensor *mask)
{
    *image = nn_input(g, "image", MN_F32, MN_SHAPE(c->batch, c->swin.image, c->swin.image, 3));
    nn_tensor *z = nn_swin(g, &c->swin, *image, mask);
    nn_output(g, "features", nn_cast(g, z, MN_F32));
    return z;
}

static nn_tensor *build_swin(nn_graph *g, const parity_case *c)
{
    nn_tensor *image;
    swin_features(g, c, &image, NULL);
    return NULL;
}

static nn_tensor *build_simmim(nn_graph *g, const parity_case *c)
{
    int64_t side = c->swin.image / c->swin.patch;
    nn_tensor *mask = nn_input(g, "mask", MN_U8, MN_SHAPE(c->batch, side * side)), *image;
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(c->batch));
    nn_tensor *z = swin_features(g, c, &image, mask);
    nn_tensor *pred = nn_simmim_decoder(g, &c->swin, z);
    return nn_l1_loss(g, pred, image, mask, weight, nn_swin_stride(&c->swin), c->swin.patch);
}

static mn_err feed_image(nn_graph *g, const parity_case *c)
{
    feed_closed_form(g, "image", MN_SHAPE(c->batch, c->swin.image, c->swin.image, 3));
    return MN_OK;
}

static mn_err feed_simmim(nn_graph *g, const parity_case *c)
{
    size_t bytes;
    unsigned char *mask = nn_graph_input(g, "mask", &bytes);
    int64_t side = c->swin.image / c->swin.patch, scale = nn_swin_stride(&c->swin) / c->swin.patch;
    int64_t cells = side / scale;
    for (int64_t i = 0; i < c->batch * side * side; i++) {
        int64_t b = i / (side * side), y = i / side % side / scale, x = i % side / scale;
        mask[i] = golden_uniform("input.mask", (b * cells + y) * cells + x) < 2 * 0.6 - 1;
    }
    feed_ones(g, "weight", c->batch);
    return feed_image(g, c);
}

// --- wav2vec2 ---

static nn_tensor *build_wav2vec2(nn_graph *g, const parity_case *c)
{
    int64_t n = nn_wav2vec2_frames(&c->wav, c->length);
    nn_tensor *wave = nn_input(g, "wave", MN_F32, MN_SHAPE(c->batch, c->length));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(c->batch, n));
    nn_tensor *target = nn_input(g, "target", MN_F32, MN_SHAPE(c->batch, n, c->wav.width));
    nn_tensor *x = nn_cast(g, nn_wav2vec2(g, &c->wav, wave, c->valid[0] ? weight : NULL), MN_F32);
    nn_output(g, "hidden", nn_row_scale(g, x, weight));
    return nn_bce_loss(g, x, target, weight);
}

static mn_err feed_wav2vec2(nn_graph *g, const parity_case *c)
{
    int64_t n = nn_wav2vec2_frames(&c->wav, c->length);
    float *wave = input(g, "wave"), *weight = input(g, "weight"), *target = input(g, "target");
    for (int64_t b = 0; b < c->batch; b++) {
        int64_t valid = c->valid[0] ? c->valid[b] : c->length;
        for (int64_t i = 0; i < c->length; i++)
            wave[b * c->length + i] =
                i < valid ? golden_value("input.wave", MN_SHAPE(c->batch, c->length), b * c->length + i) : 0;
        for (int64_t i = 0; i < n; i++)
            weight[b * n + i] = i < nn_wav2vec2_frames(&c->wav, valid);
    }
    for (int64_t i = 0; i < c->batch * n * c->wav.width; i++)
        target[i] = golden_uniform("input.target", i) > 0;
    return MN_OK;
}

// --- CCA ---

static nn_tensor *build_cca(nn_graph *g, const parity_case *c)
{
    static const int64_t outputs[] = {[NN_CCA_VA] = 2, [NN_CCA_EXPR] = 8, [NN_CCA_AU] = 12};
    mn_shape features = MN_SHAPE(c->batch, c->length, c->cca.width);
    nn_tensor *image = nn_input(g, "image", MN_F32, features), *audio = nn_input(g, "audio", MN_F32, features);
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(c->batch, c->length));
    nn_tensor *target = nn_input(g, "target", MN_F32, MN_SHAPE(c->batch, c->length, outputs[c->cca.task]));
    image = nn_cast(g, image, nn_graph_dtype(g));
    audio = nn_cast(g, audio, nn_graph_dtype(g));
    nn_tensor *y = nn_cca(g, &c->cca, image, audio, weight);
    nn_output(g, "y", y);
    if (c->cca.task == NN_CCA_VA) return nn_ccc_sample_loss(g, y, target, weight);
    if (c->cca.task == NN_CCA_AU) return nn_bce_loss(g, y, target, weight);
    return nn_ce_loss(g, y, target, weight, &(nn_ce_cfg){0});
}

static void feed_distributions(float *target, const char *key, int64_t rows, int64_t classes)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t k = 0; k < classes; k++)
            sum += golden_uniform(key, r * classes + k) + 1;
        for (int64_t k = 0; k < classes; k++)
            target[r * classes + k] = (float)((golden_uniform(key, r * classes + k) + 1) / sum);
    }
}

static mn_err feed_cca(nn_graph *g, const parity_case *c)
{
    int64_t rows = c->batch * c->length;
    feed_closed_form(g, "image", MN_SHAPE(c->batch, c->length, c->cca.width));
    feed_closed_form(g, "audio", MN_SHAPE(c->batch, c->length, c->cca.width));
    feed_ones(g, "weight", rows);
    float *target = input(g, "target");
    if (c->cca.task == NN_CCA_EXPR) feed_distributions(target, "input.expr", rows, 8);
    for (int64_t i = 0; c->cca.task == NN_CCA_VA && i < rows * 2; i++)
        target[i] = (float)golden_uniform("input.va", i);
    for (int64_t i = 0; c->cca.task == NN_CCA_AU && i < rows * 12; i++)
        target[i] = golden_uniform("input.au", i) < 2 * 0.3 - 1;
    return MN_OK;
}

// --- the cases ---

#define SWIN_TINY .batch = 16, .swin = {32, 2, 4, 16, {2, 2}, {1, 2}, 2, 0, 4}
#define SWIN_CLIP .batch = 256, .swin = {16, 2, 4, 8, {2, 2, 2}, {1, 2, 4}, 3, 0, 4}
#define SWIN_T .full = 1, .batch = 2, .swin = {192, 4, 6, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, 4, 0, 4}
#define SWIN_B .full = 1, .batch = 1, .swin = {192, 4, 6, 128, {2, 2, 18, 2}, {4, 8, 16, 32}, 4, 0, 4}
#define SIMMIM .build = build_simmim, .feed = feed_simmim
#define SWIN .build = build_swin, .feed = feed_image
#define CONVS                                                                                                          \
    7, {10, 3, 3, 3, 3, 2, 2},                                                                                         \
    {                                                                                                                  \
        5, 2, 2, 2, 2, 2, 2                                                                                            \
    }
#define WAV_SMALL(stable) .wav = {32, 2, 2, 64, 16, CONVS, 16, 4, stable, 0}
#define WAV .build = build_wav2vec2, .feed = feed_wav2vec2
#define CCA(form, task)                                                                                                \
    .build = build_cca, .feed = feed_cca, .batch = 8, .length = 100,                                                   \
    .cca = {16, 2, {12, 8, 6}, 4, 0, 0, 0.7f, form, task, 0, 0}
#define CCA_FULL(form, task)                                                                                           \
    .full = 1, .build = build_cca, .feed = feed_cca, .batch = 8, .length = 100,                                        \
    .cca = {768, 8, {256, 128, 64}, 4, 0, 0, 0.7f, form, task, 0, 0}

static const parity_case cases[] = {
    {"simmim_tiny", SIMMIM, SWIN_TINY},
    {"simmim_clip", SIMMIM, SWIN_CLIP},
    {"timm_tiny", SWIN, SWIN_TINY},
    {"timm_clip", SWIN, SWIN_CLIP},
    {"wav2vec2_base", WAV, .batch = 2, .length = 5000, WAV_SMALL(0)},
    {"wav2vec2_base_padded", WAV, .batch = 3, .length = 5000, .valid = {5000, 3210, 1300}, WAV_SMALL(0)},
    {"wav2vec2_stable_padded", WAV, .batch = 3, .length = 5000, .valid = {5000, 3210, 1300}, WAV_SMALL(1)},
    {"cca_small_released_va", CCA(NN_CCA_RELEASED, NN_CCA_VA)},
    {"cca_small_released_expr", CCA(NN_CCA_RELEASED, NN_CCA_EXPR)},
    {"cca_small_released_au", CCA(NN_CCA_RELEASED, NN_CCA_AU)},
    {"cca_small_paper_va", CCA(NN_CCA_PAPER, NN_CCA_VA)},
    {"cca_small_paper_expr", CCA(NN_CCA_PAPER, NN_CCA_EXPR)},
    {"cca_small_paper_au", CCA(NN_CCA_PAPER, NN_CCA_AU)},
    {"simmim_swin_t", SIMMIM, SWIN_T},
    {"simmim_swin_b", SIMMIM, SWIN_B},
    {"timm_swin_t", SWIN, SWIN_T},
    {"timm_swin_b", SWIN, SWIN_B},
    {"wav2vec2_full_base", WAV, .full = 1, .batch = 1, .length = 160000,
     .wav = {768, 12, 12, 3072, 512, CONVS, 128, 16, 0, 0}},
    {"wav2vec2_full_xlsr", WAV, .full = 1, .batch = 1, .length = 16000,
     .wav = {1024, 24, 16, 4096, 512, CONVS, 128, 16, 1, 0}},
    {"cca_full_released_va", CCA_FULL(NN_CCA_RELEASED, NN_CCA_VA)},
    {"cca_full_released_expr", CCA_FULL(NN_CCA_RELEASED, NN_CCA_EXPR)},
    {"cca_full_released_au", CCA_FULL(NN_CCA_RELEASED, NN_CCA_AU)},
    {"cca_full_paper_va", CCA_FULL(NN_CCA_PAPER, NN_CCA_VA)},
    {"cca_full_paper_expr", CCA_FULL(NN_CCA_PAPER, NN_CCA_EXPR)},
    {"cca_full_paper_au", CCA_FULL(NN_CCA_PAPER, NN_CCA_AU)},
};

int parity_count(void)
{
    return (int)(sizeof cases / sizeof cases[0]);
}

const char *parity_name(int i)
{
    return cases[i].name;
}

int parity_full(int i)
{
    return cases[i].full;
}

// --- comparing ---

static double autocast(const golden *gold, const char *name)
{
    int64_t n;
    char *key = mn_sprintf("autocast.%s", name);
    const float *v = golden_get(gold, key, &n);
    free(key);
    return v ? (double)*v : NAN;
}

static int worse(double error, double than) // NaN is worst
{
    return !isnan(than) && !(error <= than);
}

static void note_output(parity_result *r, const char *name, double error)
{
    r->outputs++;
    if (!worse(error, r->output)) return;
    r->output = error;
    snprintf(r->worst_output, sizeof r->worst_output, "%s", name);
}

static void note_missing(parity_result *r, const char *name)
{
    snprintf(r->missing, sizeof r->missing, "%s", name);
}

// Our value under a stored name, fp32, to be freed; NULL: we have none.
static float *our_output(const nn_graph *g, const nn_params *ps, const parity_case *c, const char *name, int64_t *count)
{
    mn_shape shape = {0};
    mn_dtype dtype = MN_F32;
    const nn_param *p = nn_params_find(ps, name);
    const void *x = p ? nn_param_master(ps, p) : nn_graph_buffer(g, name, &shape, &dtype);
    if (!x) return NULL;
    *count = p ? p->count : mn_count(shape);
    float *y = mn_calloc((size_t)*count, sizeof *y);
    for (int64_t i = 0; i < *count; i++)
        y[i] = dtype == MN_F64 ? (float)((const double *)x)[i] : ((const float *)x)[i];
    // The released code puts the sigmoid into the network.
    for (int64_t i = 0; c->build == build_cca && c->cca.task == NN_CCA_AU && strcmp(name, "y") == 0 && i < *count; i++)
        y[i] = 1 / (1 + expf(-y[i]));
    return y;
}

static int is_output(const char *name)
{
    return strncmp(name, "grad.", 5) != 0 && strncmp(name, "autocast.", 9) != 0;
}

static void compare_outputs(const golden *gold, const nn_graph *g, const nn_params *ps, const parity_case *c, int bf16,
                            parity_result *r)
{
    for (int i = 0; i < golden_count(gold); i++) {
        const char *name = golden_name(gold, i);
        if (strncmp(name, "project.", 8) == 0) name += 8;
        if (!is_output(name)) continue;
        int64_t count = 0;
        double norm = 1;
        float *x = our_output(g, ps, c, name, &count);
        double distance = x ? golden_distance(gold, name, x, count, &norm) : -1;
        free(x);
        if (distance < 0) {
            note_missing(r, name);
            continue;
        }
        // One number, and running statistics of few: their autocast error is a matter of luck, not a yardstick.
        if (bf16 && (count == 1 || strstr(name, ".running_"))) continue;
        note_output(r, name, distance / norm / (bf16 ? autocast(gold, name) : 1));
    }
}

static double gradient_norm(const golden *gold)
{
    double square = 0;
    for (int i = 0; i < golden_count(gold); i++) {
        int64_t n;
        const char *name = golden_name(gold, i);
        const float *v = golden_get(gold, name, &n);
        int projected = strncmp(name, "project.grad.", 13) == 0;
        if (!projected && strncmp(name, "grad.", 5) != 0) continue;
        for (int64_t k = 0; k < (projected ? 1 : n); k++)
            square += (double)v[k] * (double)v[k];
    }
    return sqrt(square);
}

static int stored_gradients(const golden *gold)
{
    int n = 0;
    for (int i = 0; i < golden_count(gold); i++)
        n += strncmp(golden_name(gold, i), "grad.", 5) == 0 || strncmp(golden_name(gold, i), "project.grad.", 13) == 0;
    return n;
}

// fp32: the largest |a - b| / (|b| + 1e-4 |all|) over parameters, which with a tolerance of 1e-3 is the rule of
// tests/golden/README.md. bf16: the error of all gradients together, against autocast's.
static void compare_gradients(const golden *gold, const nn_params *ps, int bf16, parity_result *r)
{
    double all = gradient_norm(gold), square = 0;
    for (int i = 0; i < nn_params_count(ps); i++) {
        const nn_param *p = nn_params_at(ps, i);
        const float *dx = nn_param_grad(ps, p);
        if (!dx) continue;
        char *name = mn_sprintf("grad.%s", p->name);
        double norm = 0, distance = golden_distance(gold, name, dx, p->count, &norm);
        free(name);
        if (distance < 0) {
            note_missing(r, p->name);
            continue;
        }
        double error = distance / (norm + 1e-4 * all);
        r->gradients++;
        square += distance * distance;
        if (!bf16 && worse(error, r->gradient)) {
            r->gradient = error;
            snprintf(r->worst_gradient, sizeof r->worst_gradient, "%s", p->name);
        }
    }
    if (r->gradients != stored_gradients(gold)) note_missing(r, "a stored gradient has no parameter");
    if (bf16 && r->gradients) {
        r->gradient = sqrt(square) / all / autocast(gold, "grad");
        snprintf(r->worst_gradient, sizeof r->worst_gradient, "all together");
    }
}

mn_err parity_run(int i, mn_dtype dtype, parity_result *r)
{
    const parity_case *c = &cases[i];
    mn_err err = MN_OK;
    char *file = mn_sprintf("%s.safetensors", c->name);
    golden *gold = golden_open(file);
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = dtype, .seed = 1});
    nn_tensor *loss = c->build(g, c);

    *r = (parity_result){0};
    if (loss) nn_output(g, "loss", loss);
    MN_TRY_OUT(err, nn_params_layout(ps, g, &(nn_layout_cfg){.dtype = dtype, .forward_only = !loss}));
    golden_fill(ps);
    MN_TRY_OUT(err, nn_graph_plan(g, loss));
    nn_graph_poison(g, 1);
    MN_TRY_OUT(err, c->feed(g, c));
    MN_TRY_OUT(err, nn_graph_run(g, &(nn_tick){.step = 0, .first_row = 0, .rows = c->batch}));
    compare_outputs(gold, g, ps, c, dtype == MN_BF16, r);
    if (loss) compare_gradients(gold, ps, dtype == MN_BF16, r);
out:
    nn_graph_free(g);
    nn_params_free(ps);
    golden_close(gold);
    free(file);
    return err;
}
