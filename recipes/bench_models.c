#include "recipes/bench_models.h"

#include "nn/base/rng.h"
#include "nn/models.h"

#include <string.h>

// --- networks ---

static nn_tensor *simmim(nn_graph *g, const nn_swin_cfg *cfg, int64_t batch)
{
    int64_t tokens = cfg->image / cfg->patch * (cfg->image / cfg->patch);
    nn_tensor *image = nn_input(g, "image", MN_F32, MN_SHAPE(batch, cfg->image, cfg->image, 3));
    nn_tensor *mask = nn_input(g, "mask", MN_U8, MN_SHAPE(batch, tokens));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(batch));
    nn_tensor *pred = nn_simmim_decoder(g, cfg, nn_swin(g, cfg, image, mask));
    return nn_l1_loss(g, pred, image, mask, weight, nn_swin_stride(cfg), cfg->patch);
}

static nn_tensor *simmim_t(nn_graph *g, int64_t batch)
{
    nn_swin_cfg cfg = {.image = 192,
                       .patch = 4,
                       .window = 6,
                       .embed = 96,
                       .stages = 4,
                       .mlp_ratio = 4,
                       .depths = {2, 2, 6, 2},
                       .heads = {3, 6, 12, 24}};
    return simmim(g, &cfg, batch);
}

static nn_tensor *simmim_b(nn_graph *g, int64_t batch)
{
    nn_swin_cfg cfg = {.image = 192,
                       .patch = 4,
                       .window = 6,
                       .embed = 128,
                       .stages = 4,
                       .mlp_ratio = 4,
                       .depths = {2, 2, 18, 2},
                       .heads = {4, 8, 16, 32}};
    return simmim(g, &cfg, batch);
}

// To try the command itself.
static nn_tensor *simmim_tiny(nn_graph *g, int64_t batch)
{
    nn_swin_cfg cfg = {.image = 48,
                       .patch = 4,
                       .window = 6,
                       .embed = 16,
                       .stages = 2,
                       .mlp_ratio = 2,
                       .depths = {1, 1},
                       .heads = {1, 2}};
    return simmim(g, &cfg, batch);
}

static nn_tensor *wav2vec2(nn_graph *g, int64_t batch)
{
    nn_wav2vec2_cfg cfg;
    nn_wav2vec2_base(&cfg);
    nn_output(g, "hidden", nn_wav2vec2(g, &cfg, nn_input(g, "wave", MN_F32, MN_SHAPE(batch, 160000)), NULL));
    return NULL;
}

static nn_tensor *cca(nn_graph *g, int64_t batch)
{
    nn_cca_cfg cfg = {.width = 768,
                      .heads = 8,
                      .head_hidden = {256, 128, 64},
                      .mlp_ratio = 4,
                      .drop = 0.3f,
                      .mix = 0.7f,
                      .form = NN_CCA_PAPER,
                      .task = NN_CCA_EXPR};
    mn_dtype t = nn_graph_dtype(g);
    nn_tensor *image = nn_cast(g, nn_input(g, "image", MN_F32, MN_SHAPE(batch, 100, 768)), t);
    nn_tensor *audio = nn_cast(g, nn_input(g, "audio", MN_F32, MN_SHAPE(batch, 100, 768)), t);
    nn_tensor *target = nn_input(g, "target", MN_F32, MN_SHAPE(batch, 100, 8));
    nn_tensor *weight = nn_input(g, "weight", MN_F32, MN_SHAPE(batch, 100));
    return nn_ce_loss(g, nn_cca(g, &cfg, image, audio, weight), target, weight, &(nn_ce_cfg){0});
}

// Forward: Swin-T 6.71, Swin-B 22.8 GF a picture, wav2vec2 14.8 a second of sound, CCA 0.101 a frame; a step that trains
// is three of them.
static const mien_bench_model models[] = {
    {.name = "simmim", .build = simmim_t, .batch = 8, .side = 48, .gigaflop = 20.1},
    {.name = "simmim_b", .build = simmim_b, .batch = 8, .side = 48, .gigaflop = 68.3},
    {.name = "tiny", .build = simmim_tiny, .batch = 8, .side = 12},
    {.name = "wav2vec2", .build = wav2vec2, .infer = 1, .batch = 1, .gigaflop = 148},
    {.name = "cca", .build = cca, .batch = 8, .gigaflop = 30.4},
};

const mien_bench_model *mien_bench_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    return NULL;
}

// --- inputs ---

// Side by side, as this is part of the time to the first step.
static void fill_f32(const mien_bench_input *in, int ones)
{
    enum { PART = 4096 };
    float *x = in->host;
    const int64_t n = (int64_t)(in->bytes / sizeof *x);
    const uint64_t key = mn_rng_key(1, in->name);
#pragma omp parallel for schedule(static)
    for (int64_t part = 0; part < (n + PART - 1) / PART; part++) {
        mn_stream_rng r = mn_rng_open(key, (uint64_t)part, 0);
        for (int64_t i = part * PART; i < (part + 1) * PART && i < n; i++)
            x[i] = ones ? 1 : mn_rng_normal(&r);
    }
}

// 22 of the 36 cells of each picture.
static void fill_mask(const mien_bench_input *in, size_t side)
{
    uint8_t *m = in->host;
    for (size_t i = 0; i < in->bytes; i++) {
        size_t picture = i / (side * side), row = i / side % side, column = i % side;
        m[i] = mn_rng_permute(picture, 36, (int64_t)(row * 6 / side * 6 + column * 6 / side)) < 22;
    }
}

// One of 8 classes for each frame.
static void fill_target(const mien_bench_input *in)
{
    float *x = in->host;
    for (size_t i = 0; i < in->bytes / sizeof *x; i += 8)
        x[i + i / 8 % 8] = 1;
}

int mien_bench_fill(nn_graph *g, const mien_bench_model *m, mien_bench_input in[MIEN_BENCH_INPUTS])
{
    static const char *const names[MIEN_BENCH_INPUTS] = {"image", "wave", "audio", "weight", "mask", "target"};
    int n = 0;
    for (int i = 0; i < MIEN_BENCH_INPUTS; i++) {
        mien_bench_input *at = &in[n];
        *at = (mien_bench_input){.name = names[i]};
        at->host = nn_graph_input(g, names[i], &at->bytes);
        if (!at->host) continue;
        n++;
        if (strcmp(at->name, "mask") == 0)
            fill_mask(at, (size_t)m->side);
        else if (strcmp(at->name, "target") == 0)
            fill_target(at);
        else
            fill_f32(at, strcmp(at->name, "weight") == 0);
    }
    return n;
}
