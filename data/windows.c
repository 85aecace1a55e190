#include "data/windows.h"

#include "data/features.h"
#include "data/target.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct frame {
    int64_t t_us;
    int32_t number;
} frame;

typedef struct video {
    const char *name; // in the shard
    data_track image, sound;
    int has_sound;
    int64_t first, count; // frames kept
} video;

typedef struct window {
    int64_t first; // of the kept frames
    int64_t id;    // record of that frame in the folder
    int32_t video;
    int32_t frames; // real ones, <= T
} window;

typedef struct windows {
    data_set set;
    data_windows_cfg cfg;
    data_folder *folder;
    data_features *image, *audio;
    int64_t targets, weights; // K, and values of weight per frame: 1 or K
    video *video;
    int n_videos;
    frame *frame;
    float *target, *weight; // (frames, K), (frames, weights)
    int64_t *record;        // of each kept frame, in the folder
    int64_t n_frames, capacity, dropped;
    window *window;
} windows;

enum { FIELD_IMAGE, FIELD_AUDIO, FIELD_TARGET, FIELD_WEIGHT };

// --- opening ---

static void keep_frame(windows *w, const data_index *x, int64_t record, int64_t folder_record)
{
    float target[DATA_MAX_TARGETS], weight[DATA_MAX_TARGETS];
    int valid = data_target(x, record, w->cfg.task, w->cfg.by_column, target, weight);
    if (!valid && !w->cfg.all_frames) {
        w->dropped++;
        return;
    }
    if (w->n_frames == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 4096;
        size_t n = (size_t)w->capacity;
        w->frame = mn_realloc(w->frame, n, sizeof *w->frame);
        w->record = mn_realloc(w->record, n, sizeof *w->record);
        w->target = mn_realloc(w->target, n * (size_t)w->targets, sizeof(float));
        w->weight = mn_realloc(w->weight, n * (size_t)w->weights, sizeof(float));
    }
    int64_t i = w->n_frames++;
    w->frame[i] = (frame){.t_us = x->t_us ? x->t_us[record] : 0, .number = x->frame ? x->frame[record] : 0};
    w->record[i] = folder_record;
    memcpy(w->target + i * w->targets, target, (size_t)w->targets * sizeof(float));
    memcpy(w->weight + i * w->weights, weight, (size_t)w->weights * sizeof(float));
}

static mn_err find_track(const data_features *f, const char *dir, const char *name, data_track *out)
{
    int64_t i = data_features_find(f, name);
    if (i < 0)
        return mn_fail(MN_ENOINPUT, "%s has no features of video '%s'; run mien extract over this split too", dir,
                       name);
    return data_features_track(f, i, out);
}

static mn_err add_video(windows *w, const data_video *v)
{
    video *to = &w->video[w->n_videos];
    *to = (video){.name = v->name, .first = w->n_frames};
    MN_TRY(find_track(w->image, w->cfg.image, v->name, &to->image));
    to->has_sound = v->has_audio || data_features_find(w->audio, v->name) >= 0;
    if (to->has_sound) MN_TRY(find_track(w->audio, w->cfg.audio, v->name, &to->sound));
    w->n_videos++;
    return MN_OK;
}

// Records come video by video, in frame order.
static mn_err collect(windows *w)
{
    int64_t n = data_folder_count(w->folder), seen = -1;
    const data_shard *last_shard = NULL;
    int32_t last_video = -1;
    int taken = 0;
    w->video = mn_calloc((size_t)n + 1, sizeof *w->video);
    for (int64_t i = 0; i < n; i++) {
        int64_t record;
        const data_shard *s = data_folder_at(w->folder, i, &record);
        const data_index *x = data_shard_index(s);
        int32_t v = x->video ? x->video[record] : -1;
        if (v < 0)
            return mn_fail(MN_ECONFIG, "%s: its records belong to no video; sequences need videos", w->cfg.shards);
        if (s != last_shard || v != last_video) {
            seen++;
            taken = w->cfg.parts <= 1 || seen % w->cfg.parts == w->cfg.part;
            if (taken) MN_TRY(add_video(w, &x->videos[v]));
            last_shard = s;
            last_video = v;
        }
        if (!taken) continue;
        keep_frame(w, x, record, i);
        w->video[w->n_videos - 1].count = w->n_frames - w->video[w->n_videos - 1].first;
    }
    return MN_OK;
}

static void cut(windows *w)
{
    int64_t length = w->cfg.length, n = 0;
    for (int v = 0; v < w->n_videos; v++)
        n += (w->video[v].count + length - 1) / length;
    w->window = mn_calloc((size_t)n + 1, sizeof *w->window);
    for (int v = 0; v < w->n_videos; v++) {
        const video *from = &w->video[v];
        for (int64_t at = 0; at < from->count; at += length) {
            int64_t left = from->count - at, first = from->first + at;
            w->window[w->set.count++] = (window){
                .first = first, .id = w->record[first], .video = v, .frames = (int32_t)(left < length ? left : length)};
        }
    }
}

static void add_field(data_set *s, const char *name, mn_shape shape)
{
    data_field *f = &s->field[s->n_fields++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->dtype = MN_F32;
    f->shape = shape;
}

static void describe(windows *w)
{
    int64_t t = w->cfg.length, d = w->cfg.width;
    add_field(&w->set, "image", MN_SHAPE(t, d));
    add_field(&w->set, "audio", MN_SHAPE(t, d));
    add_field(&w->set, "target", MN_SHAPE(t, w->targets));
    add_field(&w->set, "weight", w->weights > 1 ? MN_SHAPE(t, w->weights) : MN_SHAPE(t));
    w->set.weight_field = FIELD_WEIGHT;
    struct {
        uint64_t folder, image, audio;
        int64_t length, width, frames;
        int64_t task, only, by_column, all, pads, part, parts;
    } all = {data_folder_digest(w->folder),
             data_features_digest(w->image),
             data_features_digest(w->audio),
             t,
             d,
             w->n_frames,
             w->cfg.task,
             w->cfg.only,
             w->cfg.by_column,
             w->cfg.all_frames,
             w->cfg.pad_counts,
             w->cfg.part,
             w->cfg.parts};
    w->set.digest = XXH3_64bits(&all, sizeof all);
}

static const data_set_ops ops;

static mn_err open_all(windows *w)
{
    const data_windows_cfg *c = &w->cfg;
    const char *image = c->only == DATA_AUDIO_ONLY ? c->audio : c->image;
    const char *audio = c->only == DATA_IMAGE_ONLY ? c->image : c->audio;
    w->cfg.image = image;
    w->cfg.audio = audio;
    MN_TRY(data_folder_open(&w->folder, c->shards, c->split, c->task, "image"));
    MN_TRY(data_features_open(&w->image, image));
    MN_TRY(data_features_open(&w->audio, audio));
    MN_TRY(collect(w));
    cut(w);
    if (w->set.count == 0 && c->parts <= 1)
        return mn_fail(MN_ECONFIG, "%s: split %s has no frame with a label for this task", c->shards,
                       c->split ? c->split : "all");
    describe(w);
    return MN_OK;
}

mn_err data_windows_open(data_set **out, const data_windows_cfg *cfg)
{
    windows *w = mn_calloc(1, sizeof *w);
    w->cfg = *cfg;
    w->set.ops = &ops;
    w->targets = data_target_count(cfg->task);
    w->weights = cfg->by_column ? w->targets : 1;
    mn_err err = open_all(w);
    if (err != MN_OK) {
        data_set_close(&w->set);
        return err;
    }
    *out = &w->set;
    return MN_OK;
}

static void close_windows(data_set *s)
{
    windows *w = (windows *)s;
    data_features_close(w->audio);
    data_features_close(w->image);
    data_folder_close(w->folder);
    free(w->video);
    free(w->frame);
    free(w->record);
    free(w->target);
    free(w->weight);
    free(w->window);
    free(w);
}

// --- reading ---

typedef struct scratch {
    float *vector; // of the wider stream
} scratch;

static mn_err open_scratch(data_set *s, void **out)
{
    const windows *w = (const windows *)s;
    int64_t a = data_features_dim(w->image), b = data_features_dim(w->audio);
    scratch *x = mn_calloc(1, sizeof *x);
    x->vector = mn_calloc((size_t)(a > b ? a : b), sizeof(float));
    *out = x;
    return MN_OK;
}

static void close_scratch(data_set *s, void *p)
{
    (void)s;
    scratch *x = p;
    if (x) free(x->vector);
    free(x);
}

static void standardise(float *x, int64_t n)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    float scale = (float)(1 / (sqrt(square / (double)n) + 1e-6)), shift = (float)mean;
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] - shift) * scale;
}

// Linear interpolation along channels, align_corners false: src = max(0, (i + 0.5) n / m - 0.5) (models.md 3.1).
static void stretch(const float *x, int64_t n, float *y, int64_t m)
{
    for (int64_t i = 0; i < m; i++) {
        double at = ((double)i + 0.5) * (double)n / (double)m - 0.5;
        if (at < 0) at = 0;
        int64_t k = (int64_t)at;
        double part = at - (double)k;
        int64_t next = k + 1 < n ? k + 1 : k;
        y[i] = (float)((1 - part) * x[k] + part * x[next]);
    }
}

static void put_vector(float *vector, int64_t dim, float *out, int64_t width)
{
    standardise(vector, dim);
    if (dim == width)
        memcpy(out, vector, (size_t)width * sizeof *out);
    else
        stretch(vector, dim, out, width);
}

// The frame's own features, or where it has none (no face) those nearest in time.
static const float *nearest(const data_track *t, int64_t t_us)
{
    int64_t low = 0, high = t->frames - 1;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (t->t_us[middle] <= t_us)
            low = middle;
        else
            high = middle;
    }
    return t->x + (t_us - t->t_us[low] <= t->t_us[high] - t_us ? low : high) * t->dim;
}

static void read_image(const windows *w, const data_track *t, int64_t t_us, float *vector, float *out)
{
    memcpy(vector, nearest(t, t_us), (size_t)t->dim * sizeof *vector);
    put_vector(vector, t->dim, out, w->cfg.width);
}

static void read_sound(const windows *w, const data_track *t, int64_t t_us, float *vector, float *out)
{
    data_track_at(t, t_us, vector);
    put_vector(vector, t->dim, out, w->cfg.width);
}

static void read_frame(const windows *w, const video *v, int64_t i, float *vector, float *image, float *audio)
{
    int64_t t_us = w->frame[i].t_us;
    if (w->cfg.only == DATA_AUDIO_ONLY && v->has_sound)
        read_sound(w, &v->image, t_us, vector, image);
    else
        read_image(w, &v->image, t_us, vector, image);
    if (w->cfg.only == DATA_IMAGE_ONLY)
        read_image(w, &v->sound, t_us, vector, audio);
    else if (v->has_sound)
        read_sound(w, &v->sound, t_us, vector, audio);
    else
        memset(audio, 0, (size_t)w->cfg.width * sizeof *audio);
}

static mn_err read_window(data_set *s, void *p, int64_t index, data_draw draw, void *const *field)
{
    const windows *w = (const windows *)s;
    const window *x = &w->window[index];
    float *image = field[FIELD_IMAGE], *audio = field[FIELD_AUDIO], *target = field[FIELD_TARGET];
    float *weight = field[FIELD_WEIGHT];
    int64_t d = w->cfg.width;
    (void)draw;
    for (int64_t t = 0; t < w->cfg.length; t++) {
        int64_t i = x->first + (t < x->frames ? t : x->frames - 1);
        if (t < x->frames) {
            read_frame(w, &w->video[x->video], i, ((scratch *)p)->vector, image + t * d, audio + t * d);
        } else {
            memcpy(image + t * d, image + (t - 1) * d, (size_t)d * sizeof *image);
            memcpy(audio + t * d, audio + (t - 1) * d, (size_t)d * sizeof *audio);
        }
        memcpy(target + t * w->targets, w->target + i * w->targets, (size_t)w->targets * sizeof *target);
        for (int64_t k = 0; k < w->weights; k++)
            weight[t * w->weights + k] = t < x->frames || w->cfg.pad_counts ? w->weight[i * w->weights + k] : 0;
    }
    return MN_OK;
}

static uint64_t id_of(const data_set *s, int64_t index)
{
    return (uint64_t)((const windows *)s)->window[index].id;
}

static const data_set_ops ops = {.name = "windows",
                                 .read = read_window,
                                 .id = id_of,
                                 .scratch_open = open_scratch,
                                 .scratch_close = close_scratch,
                                 .close = close_windows};

// --- questions ---

int data_windows_video(const data_set *s, int64_t sample, const char **name)
{
    const windows *w = (const windows *)s;
    if (name) *name = w->video[w->window[sample].video].name;
    return w->window[sample].video;
}

int data_windows_videos(const data_set *s)
{
    return ((const windows *)s)->n_videos;
}

const char *data_windows_video_name(const data_set *s, int v)
{
    return ((const windows *)s)->video[v].name;
}

int32_t data_windows_frame(const data_set *s, int64_t sample, int64_t t)
{
    const windows *w = (const windows *)s;
    const window *x = &w->window[sample];
    return t < x->frames ? w->frame[x->first + t].number : 0;
}

int64_t data_windows_dropped(const data_set *s)
{
    return ((const windows *)s)->dropped;
}

const char *data_windows_image_weights(const data_set *s)
{
    return data_features_weights(((const windows *)s)->image);
}
