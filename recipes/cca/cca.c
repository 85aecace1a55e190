// Fusion of image and sound by the CCA-Transformer: windows of features in, one prediction per frame out.
#include "data/shard.h"
#include "data/target.h"
#include "data/windows.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/models.h"
#include "recipes/recipe.h"
#include "recipes/pictures.h"
#include "recipes/score.h"

#include <stdlib.h>
#include <string.h>

typedef struct conf {
    int64_t width, heads, window;
    mn_ints head_hidden;
    float mlp_ratio, drop, drop_path, mix;
    int form, target, only, position, bn_local, pad_counts;
    const char *image, *audio;
    double smoothing;
    nn_cca_cfg cca; // from the options
} conf;

static const char *const forms[] = {"paper", "released", NULL};
static const char *const targets[] = {"expr", "au", "va", NULL}; // order of DATA_EXPR, DATA_AU, DATA_VA
static const char *const streams[] = {"both", "image", "audio", NULL};
static const char *const syncs[] = {"global", "local", NULL};

static const mn_option options[] = {
    MN_OPT_ENUM(conf, target, "target", NULL, targets, 0, "what is predicted"),
    MN_OPT_STRING(conf, image, "features.image", NULL, MN_FREE, "feature folder under paths.data"),
    MN_OPT_STRING(conf, audio, "features.audio", NULL, MN_FREE, "feature folder under paths.data"),
    MN_OPT_ENUM(conf, only, "features.only", "both", streams, 0, "one stream at both inputs, to see what it is worth"),
    MN_OPT_ENUM(conf, form, "model.form", "paper", forms, 0, "equations of the paper, or the published code"),
    MN_OPT_INT(conf, width, "model.width", "768", 8, 8192, 0, "channels"),
    MN_OPT_INT(conf, heads, "model.heads", "8", 1, 256, 0, "attention heads"),
    MN_OPT_INTS(conf, head_hidden, "model.head_hidden", "[256, 128, 64]", 1, 8192, 0, "layers of the VA heads"),
    MN_OPT_FLOAT(conf, mlp_ratio, "model.mlp_ratio", "4", 0.25, 16, 0, "hidden channels over channels"),
    MN_OPT_FLOAT(conf, drop, "model.drop", "0.3", 0, 0.95, 0, "dropout"),
    MN_OPT_FLOAT(conf, drop_path, "model.drop_path", "0.4", 0, 0.95, 0, "stochastic depth"),
    MN_OPT_FLOAT(conf, mix, "model.mix", "0.7", 0, 1, 0, "share of the image stream before the last block"),
    MN_OPT_BOOL(conf, position, "model.position", "false", 0, "sinusoidal positions"),
    MN_OPT_ENUM(conf, bn_local, "bn.sync", "global", syncs, 0, "batch statistics over all ranks, or of each"),
    MN_OPT_INT(conf, window, "train.window", "100", 2, 4096, 0, "frames in a window"),
    MN_OPT_BOOL(conf, pad_counts, "train.pad_counts", "false", 0,
                "repeated frames at the end of a video count (released code)"),
    MN_OPT_FLOAT(conf, smoothing, "loss.smoothing", "0", 0, 1, MN_BELOW_HI, "label smoothing of expressions"),
    {0},
};

static mn_err check(mien_job *j)
{
    conf *c = j->conf;
    static const nn_cca_task tasks[] = {NN_CCA_EXPR, NN_CCA_AU, NN_CCA_VA};
    if (c->head_hidden.n != 3)
        return mn_recipe_fail(j->recipe, "model.head_hidden", "%lld numbers; it takes 3", (long long)c->head_hidden.n);
    c->cca = (nn_cca_cfg){.width = c->width,
                          .heads = c->heads,
                          .mlp_ratio = c->mlp_ratio,
                          .drop = c->drop,
                          .drop_path = c->drop_path,
                          .mix = c->mix,
                          .form = c->form ? NN_CCA_RELEASED : NN_CCA_PAPER,
                          .task = tasks[c->target],
                          .position = c->position,
                          .bn_local = c->bn_local};
    for (int i = 0; i < 3; i++)
        c->cca.head_hidden[i] = c->head_hidden.v[i];
    if (nn_cca_check(&c->cca) != MN_OK) return mn_recipe_fail(j->recipe, "model.width", "%s", mn_errmsg());
    if (j->common.data.n != 1)
        return mn_recipe_fail(j->recipe, "data", "fusion takes exactly one dataset, here are %lld",
                              (long long)j->common.data.n);
    return MN_OK;
}

static mn_err open_set(mien_job *j, mien_use use, const char *split, data_set **out)
{
    const conf *c = j->conf;
    const mien_part *part = j->common.data.v;
    char *shards = mien_data_path(j, part->set), *image = mien_data_path(j, c->image),
         *audio = mien_data_path(j, c->audio);
    data_windows_cfg cfg = {.shards = shards,
                            .split = mien_split(split ? split : part->split),
                            .task = c->target,
                            .image = image,
                            .audio = audio,
                            .only = c->only,
                            .length = c->window,
                            .width = c->width,
                            .by_column = j->common.data_invalid == MIEN_INVALID_COLUMN,
                            .all_frames = use == MIEN_USE_FRAMES,
                            .pad_counts = use == MIEN_USE_TRAIN && c->pad_counts};
    if (use == MIEN_USE_FRAMES && j->comm) {
        cfg.part = dist_rank(j->comm);
        cfg.parts = dist_world(j->comm);
    }
    mn_err err = data_windows_open(out, &cfg);
    if (err == MN_OK && use != MIEN_USE_FRAMES && (!j->comm || dist_rank(j->comm) == 0))
        mn_info("%s, split %s: %lld windows of %lld frames from %d videos; %lld frames without a valid label left out",
                part->set, cfg.split, (long long)(*out)->count, (long long)c->window, data_windows_videos(*out),
                (long long)data_windows_dropped(*out));
    free(shards);
    free(image);
    free(audio);
    return err;
}

// The released code divides by N - 1.
static nn_tensor *va_loss(const conf *c, nn_graph *g, nn_tensor *y, nn_tensor *target, nn_tensor *weight)
{
    return c->cca.form == NN_CCA_RELEASED ? nn_ccc_sample_loss(g, y, target, weight)
                                          : nn_ccc_loss(g, y, target, weight);
}

static nn_tensor *build(void *job, nn_graph *g, const data_set *set, int64_t rows)
{
    const mien_job *j = job;
    const conf *c = j->conf;
    mn_dtype t = nn_graph_dtype(g);
    nn_tensor *image = nn_cast(g, dist_input(g, set, rows, "image"), t);
    nn_tensor *audio = nn_cast(g, dist_input(g, set, rows, "audio"), t);
    nn_tensor *target = dist_input(g, set, rows, "target"), *weight = dist_input(g, set, rows, "weight");
    // With weights per column a frame counts in the batch statistics when the loader kept it: column 0 stands for it.
    nn_tensor *y = nn_cca(g, &c->cca, image, audio, weight->shape.n == 2 ? weight : NULL); // (B, T, K)
    nn_output(g, "prediction", y);
    nn_tensor *loss = c->target == DATA_VA ? va_loss(c, g, y, target, weight)
                      : c->target == DATA_AU
                          ? nn_bce_loss(g, y, target, weight)
                          : nn_ce_loss(g, y, target, weight, &(nn_ce_cfg){.smoothing = (float)c->smoothing});
    if (set == j->score_set) nn_output(g, "loss", loss);
    return loss;
}

static mn_err score_begin(void *job)
{
    mien_job *j = job;
    j->score_videos = data_windows_videos(j->score_set);
    return mien_score_begin(j);
}

static mn_err score_add(void *job, nn_graph *g, const data_batch *b)
{
    mien_job *j = job;
    const conf *c = j->conf;
    const float *y = nn_graph_buffer(g, "prediction", NULL, NULL), *target = nn_graph_buffer(g, "target", NULL, NULL);
    mn_shape shape;
    const float *weight = nn_graph_buffer(g, "weight", &shape, NULL);
    int64_t k = data_target_columns(c->target), columns = shape.n == 3 ? k : 1;
    mien_score_loss(j->score, g, b);
    for (int64_t row = 0; row < b->rows; row++) {
        int video = data_windows_video(j->score_set, b->index[row], NULL);
        for (int64_t t = 0; t < c->window; t++) {
            int64_t i = row * c->window + t;
            mien_score_add(j->score, video, y + i * k, target + i * k, weight + i * columns, columns > 1);
        }
    }
    return MN_OK;
}

static mn_err each_frame(mien_job *j, nn_graph *g, const data_set *set, const data_batch *b, mien_each_frame *each,
                         void *context)
{
    const conf *c = j->conf;
    const float *y = nn_graph_buffer(g, "prediction", NULL, NULL), *truth = nn_graph_buffer(g, "target", NULL, NULL);
    mn_shape shape;
    const float *weight = nn_graph_buffer(g, "weight", &shape, NULL);
    int64_t k = data_target_columns(c->target), columns = shape.n == 3 ? k : 1;
    for (int64_t row = 0; row < b->rows; row++) {
        int video = data_windows_video(set, b->index[row], NULL);
        for (int64_t t = 0; t < c->window; t++) {
            int64_t i = row * c->window + t;
            mien_frame one = {data_windows_video_name(set, video),
                              data_windows_frame(set, b->index[row], t),
                              data_windows_us(set, b->index[row], t),
                              y + i * k,
                              truth + i * k,
                              weight + i * columns,
                              columns > 1};
            if (one.number > 0) MN_TRY(each(context, &one)); // 0: a repeat that fills the last window
        }
    }
    return MN_OK;
}

static char *sources(const mien_job *j, const data_set *set)
{
    (void)j;
    return mn_sprintf("\"image\": \"%s\", \"audio\": \"%s\"", data_windows_image_weights(set),
                      data_windows_audio_weights(set));
}

static int target(const mien_job *j)
{
    return ((const conf *)j->conf)->target;
}

static unsigned mixup_fields(const data_set *set)
{
    return 1u << data_set_field(set, "image") | 1u << data_set_field(set, "audio") |
           1u << data_set_field(set, "target");
}

const mien_task mien_task_cca = {.name = "cca",
                                 .options = options,
                                 .conf_bytes = sizeof(conf),
                                 .check = check,
                                 .open = open_set,
                                 .build = build,
                                 .target = target,
                                 .score_begin = score_begin,
                                 .score_add = score_add,
                                 .score_end = mien_score_finish,
                                 .mixup_fields = mixup_fields,
                                 .frames = each_frame,
                                 .sources = sources};
