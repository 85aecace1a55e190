#include "data/windows.h"

#include "data/features.h"
#include "data/target.h"
#include "nn/base/mem.h"
#include "shard_support.h"
#include "videos_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { VIDEOS = 9, IMAGE_DIM = 12, AUDIO_DIM = 16, T = 10, MOST = 80 };
static const made_corpus corpus = {.shards = 3, .videos_each = 3, .frames = 33};

static float image_value(int video, int frame, int d)
{
    return sinf((float)(video * 7 + frame) * 0.37f + (float)d) * 3 + (float)(d % 3);
}

// Linear in time between the points of the grid, so that interpolation is a closed form.
static float audio_value(int file, double seconds, int d)
{
    return (float)((file + 1 + d % 5) * seconds * (d % 2 ? 1 : -2) + d * d % 7);
}

static char *add_image_features(const char *root, int leave_out)
{
    char *dir = mn_sprintf("%s/image", root);
    data_feature_source source = {.run = "test", .weights_digest = "abc", .model = "swin", .step = 1};
    data_feature_writer *w;
    must(data_feature_writer_open(&w, dir, 0, &source));
    for (int v = 0; v < VIDEOS; v++) {
        float x[MOST * IMAGE_DIM];
        int64_t t_us[MOST];
        char name[32];
        data_track t = {.video = name, .dim = IMAGE_DIM, .x = x, .t_us = t_us};
        made_name(v, name, sizeof name);
        for (int f = 1; f <= made_frames(&corpus, v); f++) {
            if (!made_has_picture(f)) continue;
            for (int d = 0; d < IMAGE_DIM; d++)
                x[t.frames * IMAGE_DIM + d] = image_value(v, f, d);
            t_us[t.frames++] = (int64_t)(f - 1) * MADE_FRAME_US;
        }
        if (v != leave_out) must(data_feature_writer_add(w, &t));
    }
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    return dir;
}

static char *add_audio_features(const char *root)
{
    enum { POINTS = 200 };
    char *dir = mn_sprintf("%s/audio", root);
    data_feature_source source = {.run = "test", .weights_digest = "def", .model = "wav2vec2", .step = 1};
    data_feature_writer *w;
    must(data_feature_writer_open(&w, dir, 0, &source));
    for (int v = 0; v < VIDEOS; v++) {
        static float x[POINTS * AUDIO_DIM];
        int64_t t_us[POINTS];
        char name[32];
        data_track t = {.video = name, .frames = POINTS, .dim = AUDIO_DIM, .x = x, .t_us = t_us};
        if (made_file(v) != v || !made_has_sound(v)) continue;
        snprintf(name, sizeof name, "v%02d", v);
        for (int k = 0; k < POINTS; k++) {
            t_us[k] = ((int64_t)320 * k + 200) * 1000000 / MADE_RATE;
            for (int d = 0; d < AUDIO_DIM; d++)
                x[k * AUDIO_DIM + d] = audio_value(v, 1e-6 * (double)t_us[k], d);
        }
        must(data_feature_writer_add(w, &t));
    }
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    return dir;
}

typedef struct place {
    char *root, *shards, *image, *audio;
} place;

static place make_place_of(const made_corpus *c, int leave_out)
{
    place p = {.root = support_folder()};
    p.shards = mn_sprintf("%s/made", p.root);
    cr_assert_eq(mkdir(p.shards, 0700), 0);
    made_write(p.shards, c);
    p.image = add_image_features(p.root, leave_out);
    p.audio = add_audio_features(p.root);
    return p;
}

static place make_place(int leave_out)
{
    return make_place_of(&corpus, leave_out);
}

static void remove_place(place *p)
{
    support_remove(p->root);
    free(p->shards);
    free(p->image);
    free(p->audio);
}

static data_windows_cfg config(const place *p, int task, int by_column)
{
    return (data_windows_cfg){.shards = p->shards,
                              .split = "train",
                              .task = task,
                              .image = p->image,
                              .audio = p->audio,
                              .length = T,
                              .width = IMAGE_DIM,
                              .by_column = by_column};
}

static int is_valid(int task, int by_column, int v, int f)
{
    int n = 0, all = task == DATA_AU ? 12 : task == DATA_VA ? 2 : 1;
    if (task == DATA_EXPR) n = made_expr(v, f) >= 0;
    for (int c = 0; task != DATA_EXPR && c < all; c++)
        n += task == DATA_AU ? made_au(v, f, c) >= 0 : !isnan(made_va(v, f, c));
    return by_column ? n > 0 : n == all;
}

static void standardise(double *x, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++)
        x[i] = (x[i] - mean) / (sqrt(square) + 1e-6);
}

static void check_vector(const float *have, const double *want, int n, const char *what, int v, int f)
{
    for (int i = 0; i < n; i++)
        cr_assert(fabs((double)have[i] - want[i]) < 2e-4, "%s of video %d frame %d, channel %d: %g, not %g", what, v, f,
                  i, (double)have[i], want[i]);
}

// Frames without a picture (every sixth) lie in the middle of two that have one; the earlier counts as nearest.
static void check_image(const float *have, int v, int f)
{
    double want[IMAGE_DIM];
    for (int d = 0; d < IMAGE_DIM; d++)
        want[d] = (double)image_value(v, made_has_picture(f) ? f : f - 1, d);
    standardise(want, IMAGE_DIM);
    check_vector(have, want, IMAGE_DIM, "image", v, f);
}

// Channels are stretched from 16 to 12 after they were standardised; times before the first point hold it.
static void check_audio(const float *have, int v, int f)
{
    double x[AUDIO_DIM], want[IMAGE_DIM] = {0}, at = fmax((f - 1) * MADE_FRAME_US * 1e-6, 200.0 / MADE_RATE);
    for (int d = 0; d < AUDIO_DIM; d++)
        x[d] = (double)audio_value(made_file(v), at, d);
    standardise(x, AUDIO_DIM);
    for (int i = 0; i < IMAGE_DIM && made_has_sound(v); i++) {
        double source = fmax((i + 0.5) * AUDIO_DIM / IMAGE_DIM - 0.5, 0), part = source - floor(source);
        int k = (int)source, next = k + 1 < AUDIO_DIM ? k + 1 : k;
        want[i] = (1 - part) * x[k] + part * x[next];
    }
    check_vector(have, want, IMAGE_DIM, "audio", v, f);
}

static void check_target(const float *target, const float *weight, int task, int by_column, int v, int f)
{
    int64_t columns = data_target_columns(task), weights = by_column && task != DATA_EXPR ? columns : 1;
    for (int c = 0; c < columns; c++) {
        float value = task == DATA_EXPR ? (float)(made_expr(v, f) == c)
                      : task == DATA_AU ? (float)made_au(v, f, c)
                                        : made_va(v, f, c);
        int valid = task == DATA_EXPR || (task == DATA_AU ? made_au(v, f, c) >= 0 : !isnan(value));
        cr_assert_eq(target[c], valid ? value : 0);
        if (weights > 1) cr_assert_eq(weight[c], (float)valid);
    }
    if (weights == 1) cr_assert_eq(weight[0], 1);
}

typedef struct row { // of one window
    float image[T * IMAGE_DIM], audio[T * IMAGE_DIM], target[T * 12], weight[T * 12];
} row;

static void read_row(data_set *s, int64_t index, row *r)
{
    void *scratch;
    must(s->ops->scratch_open(s, &scratch));
    must(s->ops->read(s, scratch, index, (data_draw){0}, (void *[]){r->image, r->audio, r->target, r->weight}));
    s->ops->scratch_close(s, scratch);
}

// Walks the windows beside the list of valid frames.
static void check_windows(const place *p, int task, int by_column, int pad_counts)
{
    data_windows_cfg cfg = config(p, task, by_column);
    data_set *s;
    cfg.pad_counts = pad_counts;
    must(data_windows_open(&s, &cfg));
    int64_t columns = data_target_columns(task), weights = by_column && task != DATA_EXPR ? columns : 1, index = 0;
    cr_assert_eq(mn_count(s->field[s->weight_field].shape), T * weights);
    row *r = mn_calloc(1, sizeof *r);
    for (int v = 0; v < VIDEOS; v++) {
        int frame[MOST], n = 0;
        if (made_split(v, task) != DATA_SPLIT_TRAIN) continue;
        for (int f = 1; f <= made_frames(&corpus, v); f++)
            if (is_valid(task, by_column, v, f)) frame[n++] = f;
        for (int at = 0; at < n; at += T, index++) {
            const char *name;
            char want[32];
            read_row(s, index, r);
            data_windows_video(s, index, &name);
            made_name(v, want, sizeof want);
            cr_assert_str_eq(name, want);
            for (int t = 0; t < T; t++) {
                int pad = at + t >= n, f = frame[pad ? n - 1 : at + t];
                cr_assert_eq(data_windows_frame(s, index, t), pad ? 0 : f);
                check_image(r->image + t * IMAGE_DIM, v, f);
                check_audio(r->audio + t * IMAGE_DIM, v, f);
                if (!pad || pad_counts)
                    check_target(r->target + t * columns, r->weight + t * weights, task, by_column, v, f);
                for (int64_t k = 0; k < weights && pad && !pad_counts; k++)
                    cr_assert_eq(r->weight[t * weights + k], 0);
            }
        }
    }
    cr_assert_eq(index, s->count);
    free(r);
    data_set_close(s);
}

Test(windows, valid_frames_are_cut_joined_and_standardised)
{
    place p = make_place(-1);
    for (int task = 0; task < DATA_TASKS; task++)
        for (int by_column = 0; by_column < 2; by_column++)
            check_windows(&p, task, by_column, by_column);
    remove_place(&p);
}

Test(windows, prediction_covers_every_frame)
{
    place p = make_place(-1);
    data_windows_cfg cfg = config(&p, DATA_VA, 0);
    data_set *s;
    cfg.split = NULL;
    cfg.all_frames = 1;
    must(data_windows_open(&s, &cfg));
    cr_assert_eq(data_windows_videos(s), VIDEOS);
    row *r = mn_calloc(1, sizeof *r);
    int64_t index = 0;
    for (int v = 0; v < VIDEOS; v++)
        for (int f = 1; f <= made_frames(&corpus, v); f += T, index++) {
            read_row(s, index, r);
            for (int t = 0; t < T && f + t <= made_frames(&corpus, v); t++) {
                cr_assert_eq(data_windows_frame(s, index, t), f + t);
                check_image(r->image + t * IMAGE_DIM, v, f + t);
                check_audio(r->audio + t * IMAGE_DIM, v, f + t);
                cr_assert_eq(r->weight[t], (float)is_valid(DATA_VA, 0, v, f + t));
            }
        }
    cr_assert_eq(index, s->count);
    free(r);
    data_set_close(s);
    remove_place(&p);
}

// Frames without a record are predicted too: from the features of their own time, without a target.
Test(windows, prediction_fills_gaps_in_the_records)
{
    made_corpus gaps = corpus;
    gaps.gaps = 1;
    place p = make_place_of(&gaps, -1);
    data_windows_cfg cfg = config(&p, DATA_AU, 0);
    data_set *s;
    cfg.split = NULL;
    cfg.all_frames = 1;
    must(data_windows_open(&s, &cfg));
    row *r = mn_calloc(1, sizeof *r);
    int64_t index = 0;
    for (int v = 0; v < VIDEOS; v++)
        for (int f = 1; f <= made_frames(&corpus, v); f += T, index++) {
            read_row(s, index, r);
            for (int t = 0; t < T && f + t <= made_frames(&corpus, v); t++) {
                int there = made_has_record(&gaps, v, f + t);
                cr_assert_eq(data_windows_frame(s, index, t), f + t);
                check_image(r->image + t * IMAGE_DIM, v, f + t);
                check_audio(r->audio + t * IMAGE_DIM, v, f + t);
                cr_assert_eq(r->weight[t], (float)(there && is_valid(DATA_AU, 0, v, f + t)));
            }
        }
    cr_assert_eq(index, s->count);
    free(r);
    data_set_close(s);
    remove_place(&p);
}

Test(windows, one_stream_may_feed_both_inputs)
{
    place p = make_place(-1);
    data_windows_cfg cfg = config(&p, DATA_EXPR, 0);
    row *r = mn_calloc(1, sizeof *r);
    for (int only = DATA_IMAGE_ONLY; only <= DATA_AUDIO_ONLY; only++) {
        data_set *s;
        cfg.only = only;
        cfg.split = NULL;
        cfg.all_frames = 1;
        must(data_windows_open(&s, &cfg));
        for (int64_t i = 0, v = 0, f = 1; i < s->count; i++) {
            read_row(s, i, r);
            cr_assert_eq(memcmp(r->image, r->audio, sizeof r->image), 0);
            for (int t = 0; t < T && data_windows_frame(s, i, t); t++) {
                if (only == DATA_IMAGE_ONLY)
                    check_image(r->image + t * IMAGE_DIM, (int)v, (int)f + t);
                else
                    check_audio(r->image + t * IMAGE_DIM, (int)v, (int)f + t);
            }
            f += T;
            if (f > made_frames(&corpus, (int)v)) {
                v++;
                f = 1;
            }
        }
        data_set_close(s);
    }
    free(r);
    remove_place(&p);
}

Test(windows, a_video_without_features_is_an_error_that_names_it)
{
    place p = make_place(4);
    char name[32];
    data_windows_cfg cfg = config(&p, DATA_EXPR, 0);
    data_set *s;
    made_name(4, name, sizeof name);
    cfg.split = NULL;
    cr_assert_eq(data_windows_open(&s, &cfg), MN_ENOINPUT);
    cr_assert(strstr(mn_errmsg(), name) != NULL, "%s", mn_errmsg());
    remove_place(&p);
}

Test(windows, parts_share_whole_videos)
{
    place p = make_place(-1);
    data_windows_cfg cfg = config(&p, DATA_EXPR, 0);
    int videos = 0;
    cfg.split = NULL;
    cfg.parts = 4;
    for (cfg.part = 0; cfg.part < cfg.parts; cfg.part++) {
        data_set *s;
        must(data_windows_open(&s, &cfg));
        for (int i = 0; i < data_windows_videos(s); i++) {
            char want[32];
            made_name(i * 4 + cfg.part, want, sizeof want);
            cr_assert_str_eq(data_windows_video_name(s, i), want);
        }
        videos += data_windows_videos(s);
        data_set_close(s);
    }
    cr_assert_eq(videos, VIDEOS);
    remove_place(&p);
}
