// Fine-tuning on Aff-Wild2: one network (a Swin on faces, a wav2vec2 on sound, or a linear model on grey pixels as the
// yardstick), one task (expressions, action units, valence and arousal), per-frame predictions.
#include "data/chunks.h"
#include "data/label.h"
#include "data/sound.h"
#include "data/target.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "recipes/options.h"
#include "recipes/pictures.h"
#include "recipes/recipe.h"
#include "recipes/sampling.h"
#include "recipes/score.h"

#include <stdio.h>
#include <stdlib.h>

enum { SWIN, WAV2VEC2, GREY }; // model.name
enum { FORM_BASE, FORM_XLSR, FORM_OWN };

typedef struct conf {
    int model, target, class_weights, form;
    mien_swin swin;
    mien_augment augment;
    double smoothing, seconds;
    int64_t wav_width, wav_layers, wav_heads, wav_ffn, wav_channels, wav_pos_kernel, wav_pos_groups;
    mn_ints wav_kernels, wav_strides;
    float wav_drop;
    nn_swin_cfg net; // from the options
    nn_wav2vec2_cfg wav;
    nn_ce_cfg ce;
    int32_t *video; // of each sample of the scored set
} conf;

static const char *const models[] = {"swin", "wav2vec2", "grey_linear", NULL};
static const char *const targets[] = {"expr", "au", "va", NULL}; // order of DATA_EXPR, DATA_AU, DATA_VA
static const char *const weightings[] = {"none", "balanced", NULL};
static const char *const wav_forms[] = {"base", "xlsr", "own", NULL};

static const mn_option options[] = {
    MN_OPT_ENUM(conf, target, "target", NULL, targets, 0, "what is learned"),
    MN_OPT_ENUM(conf, model, "model.name", "swin", models, 0, "network; grey_linear: 16 x 16 grey pixels, one layer"),
    MIEN_SWIN_OPTIONS(conf, swin),
    MIEN_AUGMENT_OPTIONS(conf, augment, "0.67"),
    MN_OPT_ENUM(conf, form, "model.wav2vec2.form", "base", wav_forms, 0, "published sizes, or own: the keys below"),
    MN_OPT_INT(conf, wav_width, "model.wav2vec2.width", "64", 8, 4096, 0, "channels"),
    MN_OPT_INT(conf, wav_layers, "model.wav2vec2.layers", "2", 1, 100, 0, "transformer blocks"),
    MN_OPT_INT(conf, wav_heads, "model.wav2vec2.heads", "4", 1, 64, 0, "attention heads"),
    MN_OPT_INT(conf, wav_ffn, "model.wav2vec2.ffn", "128", 8, 16384, 0, "hidden channels"),
    MN_OPT_INT(conf, wav_channels, "model.wav2vec2.conv_channels", "64", 1, 4096, 0, "of the convolutions"),
    MN_OPT_INTS(conf, wav_kernels, "model.wav2vec2.conv_kernels", "[10, 3, 3, 3, 3, 2, 2]", 1, 64, 0,
                "of the convolutions"),
    MN_OPT_INTS(conf, wav_strides, "model.wav2vec2.conv_strides", "[5, 2, 2, 2, 2, 2, 2]", 1, 64, 0,
                "of the convolutions"),
    MN_OPT_INT(conf, wav_pos_kernel, "model.wav2vec2.pos_kernel", "16", 1, 1024, 0, "of the positional convolution"),
    MN_OPT_INT(conf, wav_pos_groups, "model.wav2vec2.pos_groups", "4", 1, 1024, 0, "of the positional convolution"),
    MN_OPT_FLOAT(conf, wav_drop, "model.wav2vec2.drop", "0", 0, 0.95, 0, "dropout while training"),
    MN_OPT_FLOAT(conf, seconds, "sound.seconds", "1", 0.05, 60, 0, "sound around a frame"),
    MN_OPT_FLOAT(conf, smoothing, "loss.smoothing", "0", 0, 1, MN_BELOW_HI, "label smoothing of expressions"),
    MN_OPT_ENUM(conf, class_weights, "loss.class_weights", "none", weightings, 0,
                "of expressions; balanced: N / (8 count), counts of the samples that an epoch shows"),
    {0},
};

// --- checks ---

static mn_err check_wav(mien_job *j)
{
    conf *c = j->conf;
    int64_t most = sizeof c->wav.conv_kernel / sizeof *c->wav.conv_kernel;
    if (c->form == FORM_XLSR)
        nn_wav2vec2_xlsr(&c->wav);
    else
        nn_wav2vec2_base(&c->wav);
    c->wav.drop = c->wav_drop;
    if (c->form != FORM_OWN) return MN_OK;
    if (c->wav_kernels.n != c->wav_strides.n || c->wav_kernels.n < 1 || c->wav_kernels.n > most)
        return mn_recipe_fail(j->recipe, "model.wav2vec2.conv_kernels",
                              "%lld kernels and %lld strides; as many of one as of the other, 1 to %lld",
                              (long long)c->wav_kernels.n, (long long)c->wav_strides.n, (long long)most);
    c->wav.width = c->wav_width;
    c->wav.layers = c->wav_layers;
    c->wav.heads = c->wav_heads;
    c->wav.ffn = c->wav_ffn;
    c->wav.conv_channels = c->wav_channels;
    c->wav.conv_layers = c->wav_kernels.n;
    c->wav.pos_kernel = c->wav_pos_kernel;
    c->wav.pos_groups = c->wav_pos_groups;
    for (int64_t i = 0; i < c->wav_kernels.n; i++) {
        c->wav.conv_kernel[i] = c->wav_kernels.v[i];
        c->wav.conv_stride[i] = c->wav_strides.v[i];
    }
    if (nn_wav2vec2_check(&c->wav) != MN_OK) return mn_recipe_fail(j->recipe, "model.wav2vec2.form", "%s", mn_errmsg());
    return MN_OK;
}

static mn_err check(mien_job *j)
{
    conf *c = j->conf;
    c->ce.smoothing = (float)c->smoothing;
    if (c->class_weights && j->common.sampling_by == MIEN_SAMPLING_EXPRESSION)
        return mn_recipe_fail(j->recipe, "loss.class_weights",
                              "balances the expressions that sampling.by has balanced already; choose one");
    if (c->model == WAV2VEC2) return check_wav(j);
    if (c->model == GREY) c->net.image = 16;
    return c->model == SWIN ? mien_swin_config(j->recipe, &c->swin, &c->net) : MN_OK;
}

// --- data ---

static int keep_video(void *job, int64_t number, const data_video *video)
{
    return mien_is_mine(job, number, video->name);
}

static mn_err open_sound(mien_job *j, mien_use use, const char *split, data_set **out)
{
    const conf *c = j->conf;
    const mien_part *part = j->common.data.v;
    if (j->common.data.n != 1) return mn_recipe_fail(j->recipe, "data", "sound is read from exactly one dataset");
    char *dir = mien_data_path(j, part->set);
    data_sound_cfg cfg = {
        .select = {.dir = dir,
                   .split = split ? split : part->split,
                   .task = c->target,
                   .labelled = 1,
                   .invalid = j->common.data_invalid == MIEN_INVALID_COLUMN ? DATA_INVALID_COLUMN : DATA_INVALID_FRAME,
                   .stride = use == MIEN_USE_TRAIN ? j->common.data_stride : j->common.eval_stride,
                   .columns = use == MIEN_USE_TRAIN ? mien_sampling_columns(j) : 0},
        .seconds = c->seconds};
    if (use == MIEN_USE_FRAMES) {
        cfg.select.labelled = 0;
        cfg.select.split = mien_split(split);
        cfg.select.stride = 1;
        cfg.select.keep = keep_video;
        cfg.select.context = j;
    }
    mn_err err = data_sound_open(out, &cfg);
    if (err == MN_OK && use <= MIEN_USE_SCORE && (!j->comm || dist_rank(j->comm) == 0))
        mn_info("%s, split %s: %s", part->set, cfg.select.split, data_selection_text(data_sound_selection(*out)));
    free(dir);
    return err;
}

static int keep_track(void *job, int64_t number, const char *name)
{
    return mien_is_mine(job, number, name);
}

// Whole tracks in pieces of 20 s that overlap by 1 s: one token each `hop` samples.
static mn_err open_tracks(mien_job *j, const char *split, data_set **out)
{
    const conf *c = j->conf;
    const mien_part *part = j->common.data.v;
    if (j->common.data.n != 1) return mn_recipe_fail(j->recipe, "data", "sound is read from exactly one dataset");
    char *dir = mien_data_path(j, part->set);
    data_chunks_cfg cfg = {.dir = dir,
                           .split = mien_split(split),
                           .task = c->target,
                           .hop = 1,
                           .field = 1,
                           .keep = keep_track,
                           .context = j};
    for (int64_t i = c->wav.conv_layers - 1; i >= 0; i--)
        cfg.field = (cfg.field - 1) * c->wav.conv_stride[i] + c->wav.conv_kernel[i];
    for (int64_t i = 0; i < c->wav.conv_layers; i++)
        cfg.hop *= c->wav.conv_stride[i];
    mn_err err = data_chunks_open(out, &cfg);
    free(dir);
    return err;
}

static mn_err open_faces(mien_job *j, mien_use use, const char *split, data_set **out)
{
    const conf *c = j->conf;
    data_frames_cfg cfg = {.select = {.task = c->target, .labelled = 1},
                           .augment = mien_augment_config(&c->augment, c->net.image, use == MIEN_USE_TRAIN)};
    // The network rounds its input to bf16 anyway: half the memory and half the copies. Mixing is done in f32.
    int mixed = use == MIEN_USE_TRAIN && (j->common.mixup > 0 || j->common.cutmix > 0);
    if (j->common.precision == MIEN_BF16 && !mixed) cfg.augment.dtype = MN_BF16;
    if (c->model == GREY) {
        // The yardstick sees the plain picture: a linear model gains nothing from crops.
        cfg.augment = data_augment_simmim(16, 0);
        cfg.augment.grey = 1;
    }
    return mien_open_pictures(j, use, split, &cfg, out);
}

static const data_selection *selection(const mien_job *j, const data_set *s)
{
    const conf *c = j->conf;
    return c->model == WAV2VEC2 ? data_sound_selection(s) : data_frames_selection(s);
}

// weight of class k = N / (8 count): the mean weight of a sample is 1. The counts are those of an epoch: a dataset that
// is mixed in with weight 3 shows each of its samples three times.
static void balance(const mien_job *j, const data_set *s)
{
    conf *c = j->conf;
    const mien_part *part = j->common.data.v;
    double shown[DATA_EXPRESSIONS] = {0}, n = 0;
    char text[256];
    size_t used = 0;
    for (int i = 0; i < j->common.data.n; i++) {
        int64_t count[DATA_EXPRESSIONS];
        data_selection_classes(selection(j, j->common.data.n == 1 ? s : data_mix_set(s, i)), count);
        for (int k = 0; k < DATA_EXPRESSIONS; k++) {
            shown[k] += part[i].weight * (double)count[k];
            n += part[i].weight * (double)count[k];
        }
    }
    for (int k = 0; k < DATA_EXPRESSIONS; k++) {
        c->ce.class_weight[k] = shown[k] > 0 ? (float)(n / (DATA_EXPRESSIONS * shown[k])) : 0;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s %.4g", k ? "," : "", data_expression[k],
                                 (double)c->ce.class_weight[k]);
    }
    if (!j->comm || dist_rank(j->comm) == 0) mn_info("weights of the expressions:%s", text);
}

static mn_err open_set(mien_job *j, mien_use use, const char *split, data_set **out)
{
    conf *c = j->conf;
    if (c->model == WAV2VEC2 && use == MIEN_USE_TRACKS) return open_tracks(j, split, out);
    MN_TRY(c->model == WAV2VEC2 ? open_sound(j, use, split, out) : open_faces(j, use, split, out));
    if (use == MIEN_USE_TRAIN && c->target == DATA_EXPR && c->class_weights) balance(j, *out);
    return MN_OK;
}

// --- network ---

static nn_tensor *features(const conf *c, nn_graph *g, const data_set *set, int64_t rows)
{
    if (c->model == SWIN) return nn_token_mean(g, nn_swin(g, &c->net, dist_input(g, set, rows, "image"), NULL), NULL);
    if (c->model == WAV2VEC2)
        return nn_token_mean(g, nn_wav2vec2(g, &c->wav, dist_input(g, set, rows, "wave"), NULL), NULL);
    return nn_cast(g, nn_reshape(g, dist_input(g, set, rows, "image"), MN_SHAPE(rows, -1)), nn_graph_dtype(g));
}

static nn_tensor *build(void *job, nn_graph *g, const data_set *set, int64_t rows)
{
    const mien_job *j = job;
    const conf *c = j->conf;
    const char *name = data_target_name(c->target);
    if (c->model == WAV2VEC2 && j->features_only) {
        nn_tensor *wave = dist_input(g, set, rows, "wave"), *valid = dist_input(g, set, rows, "valid");
        nn_output(g, "tokens", nn_cast(g, nn_wav2vec2(g, &c->wav, wave, valid), MN_F32)); // (B, T, C)
        return NULL;
    }
    nn_tensor *x = features(c, g, set, rows); // (B, C)
    if (j->features_only) {
        nn_output(g, "features", nn_cast(g, x, MN_F32));
        return NULL;
    }
    nn_tensor *y = nn_head(g, x, data_target_columns(c->target), name); // (B, K)
    if (c->target == DATA_VA) y = nn_tanh(g, y);
    nn_output(g, "prediction", y);
    if (data_set_field(set, name) < 0) return NULL; // extraction and prediction: there are no labels
    nn_tensor *target = dist_input(g, set, rows, name), *weight = dist_input(g, set, rows, "weight");
    nn_tensor *loss = c->target == DATA_VA   ? nn_ccc_loss(g, y, target, weight)
                      : c->target == DATA_AU ? nn_bce_loss(g, y, target, weight)
                                             : nn_ce_loss(g, y, target, weight, &c->ce);
    if (set == j->score_set) nn_output(g, "loss", loss);
    return loss;
}

// --- score ---

static mn_err score_begin(void *job)
{
    mien_job *j = job;
    conf *c = j->conf;
    if (!c->video) c->video = mien_number_videos(selection(j, j->score_set), &j->score_videos);
    return mien_score_begin(j);
}

static mn_err score_add(void *job, nn_graph *g, const data_batch *b)
{
    mien_job *j = job;
    const conf *c = j->conf;
    mn_shape shape;
    const float *y = nn_graph_buffer(g, "prediction", NULL, NULL);
    const float *target = nn_graph_buffer(g, data_target_name(c->target), NULL, NULL);
    const float *weight = nn_graph_buffer(g, "weight", &shape, NULL);
    int64_t k = data_target_columns(c->target), columns = mn_count(shape) / shape.d[0];
    mien_score_loss(j->score, g, b);
    for (int64_t r = 0; r < b->rows; r++)
        mien_score_add(j->score, c->video[b->index[r]], y + r * k, target + r * k, weight + r * columns, columns > 1);
    return MN_OK;
}

static void close_conf(mien_job *j)
{
    free(((conf *)j->conf)->video);
}

static int target_of(const mien_job *j)
{
    return ((const conf *)j->conf)->target;
}

static unsigned mixup_fields(const data_set *set)
{
    unsigned fields = 0;
    for (int i = 0; i < set->n_fields; i++)
        if (set->field[i].dtype == MN_F32 && i != set->weight_field) fields |= 1u << i;
    return fields;
}

static int layers(const mien_job *j)
{
    const conf *c = j->conf;
    return c->model == SWIN ? nn_swin_layers(&c->net) : 0;
}

static mn_err each_frame(mien_job *j, nn_graph *g, const data_set *set, const data_batch *b, mien_each_frame *each,
                         void *context)
{
    const conf *c = j->conf;
    const float *y = nn_graph_buffer(g, "prediction", NULL, NULL);
    const data_selection *s = selection(j, set);
    int64_t k = data_target_columns(c->target);
    int by_column = j->common.data_invalid == MIEN_INVALID_COLUMN && c->target != DATA_EXPR;
    for (int64_t r = 0; r < b->rows; r++) {
        float target[DATA_MAX_TARGETS], weight[DATA_MAX_TARGETS];
        data_frame f;
        data_selection_at(s, b->index[r], &f);
        data_selection_target(s, b->index[r], target, weight);
        if (!f.video)
            return mn_fail(MN_ECONFIG, "%s: record %lld belongs to no video; predictions are for frames of videos",
                           j->path, (long long)f.record);
        mien_frame one = {f.video->name, f.frame, f.t_us, y + r * k, target, weight, by_column};
        MN_TRY(each(context, &one));
    }
    return MN_OK;
}

static void features_of(const mien_job *j, char *text, size_t size)
{
    const conf *c = j->conf;
    const char *precision = j->common.precision == MIEN_BF16 ? "bf16" : "fp32";
    if (c->model == WAV2VEC2)
        snprintf(text, size, "wav2vec2 width %lld, %lld layers, last hidden states, %s", (long long)c->wav.width,
                 (long long)c->wav.layers, precision);
    else
        snprintf(text, size, "%s %lld px, window %lld, centre %g, %s, pooled, %s", models[c->model],
                 (long long)c->net.image, (long long)c->net.window, c->augment.centre,
                 c->augment.cubic ? "bicubic" : "bilinear", precision);
}

const mien_task mien_task_finetune = {.name = "finetune",
                                      .options = options,
                                      .conf_bytes = sizeof(conf),
                                      .check = check,
                                      .open = open_set,
                                      .build = build,
                                      .score_begin = score_begin,
                                      .score_add = score_add,
                                      .score_end = mien_score_finish,
                                      .selection = selection,
                                      .close = close_conf,
                                      .target = target_of,
                                      .mixup_fields = mixup_fields,
                                      .layers = layers,
                                      .features = features_of,
                                      .frames = each_frame};
