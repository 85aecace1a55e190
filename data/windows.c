#include "data/windows.h"

#include "data/features.h"
#include "data/target.h"
#include "data/vector.h"
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

typedef struct stream { // what one of the two inputs is made of
    data_features *features;
    const char *dir;
    int is_sound; // interpolated in time; pictures hold the nearest
} stream;

typedef struct video {
    const char *name;     // in the shard
    data_track track[2];  // image and audio input
    int there[2];         // 0: nothing to see or hear in this video, its vectors are 0
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
    stream stream[2];
    int64_t targets, weights; // K, and values of weight per frame: 1 or K
    video *video;
    int n_videos;
    int64_t video_capacity;
    frame *frame;
    int64_t *record; // of each kept frame, in the folder: its labels are read from there; ~record of a neighbour
                     // where the frame has none
    int64_t n_frames, capacity, dropped;
    window *window;
} windows;

enum { FIELD_IMAGE, FIELD_AUDIO, FIELD_TARGET, FIELD_WEIGHT };

// --- opening ---

static data_invalid rule(const windows *w)
{
    return w->cfg.by_column ? DATA_INVALID_COLUMN : DATA_INVALID_FRAME;
}

static void add_frame(windows *w, int64_t t_us, int32_t number, int64_t record)
{
    if (w->n_frames == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 4096;
        w->frame = mn_realloc(w->frame, (size_t)w->capacity, sizeof *w->frame);
        w->record = mn_realloc(w->record, (size_t)w->capacity, sizeof *w->record);
    }
    w->frame[w->n_frames] = (frame){.t_us = t_us, .number = number};
    w->record[w->n_frames++] = record;
}

// Prediction covers frames that have neither a face nor a label, and so no record: those between the last one kept of
// this video and `number` (not included). Their times go evenly up to t_us, or by the frame rate where one end is open.
static void fill_gap(windows *w, const data_video *v, int64_t number, int64_t t_us, int64_t neighbour)
{
    const video *to = &w->video[w->n_videos - 1];
    int64_t has_before = w->n_frames > to->first, before = 0, began = 0;
    if (has_before) {
        before = w->frame[w->n_frames - 1].number;
        began = w->frame[w->n_frames - 1].t_us;
    }
    double step = v->fps_num > 0 && v->fps_den > 0 ? 1e6 * v->fps_den / v->fps_num : 40000;
    int has_after = t_us >= 0;
    if (has_before && has_after) step = (double)(t_us - began) / (double)(number - before);
    for (int64_t k = before + 1; k < number; k++) {
        double at =
            has_before ? (double)began + step * (double)(k - before) : (double)t_us - step * (double)(number - k);
        add_frame(w, at > 0 ? llround(at) : 0, (int32_t)k, ~neighbour);
    }
}

static void keep_frame(windows *w, const data_index *x, int64_t record, int64_t folder_record)
{
    int64_t t_us = x->t_us ? x->t_us[record] : 0;
    int32_t number = x->frame ? x->frame[record] : 0;
    if (w->cfg.all_frames)
        fill_gap(w, &x->videos[x->video[record]], number, t_us, folder_record);
    else if (!data_target_valid(x, record, w->cfg.task, rule(w))) {
        w->dropped++;
        return;
    }
    add_frame(w, t_us, number, folder_record);
}

static int has_picture(const data_index *x, const data_video *v)
{
    for (int64_t i = v->first_record; i < v->first_record + v->n_records; i++)
        if (x->offset[i + 1] > x->offset[i]) return 1;
    return 0;
}

// A stream may lack a video only where nothing could be extracted from it: no face in any frame, no sound.
static mn_err add_video(windows *w, const data_index *x, const data_video *v)
{
    w->video = mn_grow(w->video, w->n_videos, &w->video_capacity, sizeof *w->video);
    video *to = &w->video[w->n_videos++];
    *to = (video){.name = v->name, .first = w->n_frames};
    for (int k = 0; k < 2; k++) {
        const stream *s = &w->stream[k];
        int64_t i = data_features_find(s->features, v->name);
        if (i >= 0) {
            MN_TRY(data_features_track(s->features, i, &to->track[k]));
            to->there[k] = to->track[k].frames > 0;
        } else if (s->is_sound ? v->has_audio : has_picture(x, v)) {
            return mn_fail(MN_ENOINPUT, "%s has no features of video '%s'; run mien extract over this split too",
                           s->dir, v->name);
        }
    }
    return MN_OK;
}

// Records come video by video, in frame order.
static void end_video(windows *w, const data_video *v, int64_t last_record)
{
    video *to = &w->video[w->n_videos - 1];
    if (w->cfg.all_frames) fill_gap(w, v, v->frames + 1, -1, last_record);
    to->count = w->n_frames - to->first;
}

static mn_err collect(windows *w)
{
    int64_t n = data_folder_count(w->folder), seen = -1;
    const data_shard *last_shard = NULL;
    const data_video *open = NULL; // the video at hand, if it is taken
    int32_t last_video = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t record;
        const data_shard *s = data_folder_at(w->folder, i, &record);
        const data_index *x = data_shard_index(s);
        int32_t v = x->video ? x->video[record] : -1;
        if (v < 0)
            return mn_fail(MN_ECONFIG, "%s: its records belong to no video; sequences need videos", w->cfg.shards);
        if (s != last_shard || v != last_video) {
            if (open) end_video(w, open, i - 1);
            open = w->cfg.parts <= 1 || ++seen % w->cfg.parts == w->cfg.part ? &x->videos[v] : NULL;
            if (open) MN_TRY(add_video(w, x, open));
            last_shard = s;
            last_video = v;
        }
        if (open) keep_frame(w, x, record, i);
    }
    if (open) end_video(w, open, n - 1);
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
            w->window[w->set.count++] = (window){.first = first,
                                                 .id = w->record[first] < 0 ? ~w->record[first] : w->record[first],
                                                 .video = v,
                                                 .frames = (int32_t)(left < length ? left : length)};
        }
    }
}

static void describe(windows *w)
{
    int64_t t = w->cfg.length, d = w->cfg.width;
    data_set_add_field(&w->set, "image", MN_F32, MN_SHAPE(t, d));
    data_set_add_field(&w->set, "audio", MN_F32, MN_SHAPE(t, d));
    data_set_add_field(&w->set, "target", MN_F32, MN_SHAPE(t, w->targets));
    data_set_add_field(&w->set, "weight", MN_F32, w->weights > 1 ? MN_SHAPE(t, w->weights) : MN_SHAPE(t));
    w->set.weight_field = FIELD_WEIGHT;
    struct {
        uint64_t folder, image, audio;
        int64_t length, width, frames;
        int64_t task, only, by_column, all, pads, part, parts;
    } all = {data_folder_digest(w->folder),
             data_features_digest(w->stream[0].features),
             data_features_digest(w->stream[1].features),
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
    for (int k = 0; k < 2; k++) {
        stream *to = &w->stream[k];
        to->is_sound = c->only == DATA_AUDIO_ONLY || (k == 1 && c->only != DATA_IMAGE_ONLY);
        to->dir = to->is_sound ? c->audio : c->image;
    }
    MN_TRY(data_folder_open(&w->folder, c->shards, c->split, c->task, "image"));
    for (int k = 0; k < 2; k++)
        MN_TRY(data_features_open(&w->stream[k].features, w->stream[k].dir));
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
    w->targets = data_target_columns(cfg->task);
    w->weights = data_target_weights(cfg->task, rule(w));
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
    data_features_close(w->stream[0].features);
    data_features_close(w->stream[1].features);
    data_folder_close(w->folder);
    free(w->video);
    free(w->frame);
    free(w->record);
    free(w->window);
    free(w);
}

// --- reading ---

static mn_err open_scratch(data_set *s, void **out)
{
    const windows *w = (const windows *)s;
    int64_t a = data_features_dim(w->stream[0].features), b = data_features_dim(w->stream[1].features);
    *out = mn_calloc((size_t)(a > b ? a : b) * 2 + 1, sizeof(float)); // two vectors of the wider stream
    return MN_OK;
}

static void close_scratch(data_set *s, void *scratch)
{
    (void)s;
    free(scratch);
}

// The frame's own features, or where it has none (no face) those nearest in time.
static int64_t nearest(const data_track *t, int64_t t_us)
{
    int64_t low = 0, high = t->frames - 1;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (t->t_us[middle] <= t_us)
            low = middle;
        else
            high = middle;
    }
    return t_us - t->t_us[low] <= t->t_us[high] - t_us ? low : high;
}

static void read_vector(const windows *w, const video *v, int k, int64_t t_us, float *vector, float *out)
{
    const data_track *t = &v->track[k];
    if (!v->there[k]) {
        memset(out, 0, (size_t)w->cfg.width * sizeof *out);
        return;
    }
    if (w->stream[k].is_sound)
        data_track_at(t, t_us, vector, vector + t->dim);
    else
        data_track_rows(t, nearest(t, t_us), 1, vector);
    data_vector_fit(vector, t->dim, out, w->cfg.width);
}

static void read_target(const windows *w, int64_t i, float *target, float *weight)
{
    int64_t record;
    if (w->record[i] < 0) {
        memset(target, 0, (size_t)w->targets * sizeof *target);
        memset(weight, 0, (size_t)w->weights * sizeof *weight);
        return;
    }
    const data_shard *s = data_folder_at(w->folder, w->record[i], &record);
    data_target_read(data_shard_index(s), record, w->cfg.task, rule(w), target, weight);
}

static mn_err read_window(data_set *s, void *scratch, int64_t index, data_draw draw, void *const *field)
{
    const windows *w = (const windows *)s;
    const window *x = &w->window[index];
    float *input[2] = {field[FIELD_IMAGE], field[FIELD_AUDIO]}, *target = field[FIELD_TARGET];
    float *weight = field[FIELD_WEIGHT];
    int64_t d = w->cfg.width;
    (void)draw;
    for (int64_t t = 0; t < w->cfg.length; t++) {
        int64_t i = x->first + (t < x->frames ? t : x->frames - 1);
        for (int k = 0; k < 2; k++) {
            float *to = input[k] + t * d;
            if (t < x->frames)
                read_vector(w, &w->video[x->video], k, w->frame[i].t_us, scratch, to);
            else
                memcpy(to, to - d, (size_t)d * sizeof *to);
        }
        read_target(w, i, target + t * w->targets, weight + t * w->weights);
        if (t >= x->frames && !w->cfg.pad_counts)
            memset(weight + t * w->weights, 0, (size_t)w->weights * sizeof *weight);
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

int64_t data_windows_us(const data_set *s, int64_t sample, int64_t t)
{
    const windows *w = (const windows *)s;
    const window *x = &w->window[sample];
    return w->frame[x->first + (t < x->frames ? t : x->frames - 1)].t_us;
}

int64_t data_windows_dropped(const data_set *s)
{
    return ((const windows *)s)->dropped;
}

const char *data_windows_image_weights(const data_set *s)
{
    return data_features_weights(((const windows *)s)->stream[0].features);
}

const char *data_windows_audio_weights(const data_set *s)
{
    return data_features_weights(((const windows *)s)->stream[1].features);
}
