// Crops and videos of a generated Aff-Wild2. One video is one piece of work: each frame's faces are rendered once, saved
// as crops, and shown small in the video, whose sound is the voice of the people in it.
#include "data/synth/wild.h"

#include "data/media.h"
#include "data/synth/output.h"
#include "data/synth/voice.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCREEN_W = 128, SCREEN_H = 96 };

typedef struct filming {
    const char *root;
    const data_synth_videos *v;
    const data__wild_video *video;
    data__worker *worker;
    data__person person[DATA__WILD_MAX_SUBJECTS];
    uint8_t screen[SCREEN_W * SCREEN_H * 3];
    int quality; // of the crops
} filming;

// The crop into its half of the screen, every so many pixels: the video is small and nobody measures it.
static void show(filming *f, int k)
{
    int crop = f->v->cfg.size, side = f->video->subjects == 2 ? SCREEN_W / 2 - 4 : SCREEN_H - 8;
    int left = f->video->subjects == 2 ? 2 + k * SCREEN_W / 2 : (SCREEN_W - side) / 2, top = (SCREEN_H - side) / 2;
    for (int y = 0; y < side; y++) {
        const uint8_t *row = f->worker->rgb + (size_t)(y * crop / side) * (size_t)crop * 3;
        uint8_t *to = f->screen + ((size_t)(top + y) * SCREEN_W + (size_t)left) * 3;
        for (int x = 0; x < side; x++)
            memcpy(to + 3 * x, row + (size_t)(x * crop / side) * 3, 3);
    }
}

static const char *crop_root(const data__wild_video *w)
{
    return w->batch == 1 ? "cropped_aligned" : "cropped_aligned_new_50_vids";
}

static mn_err film_subject(filming *f, int k, int64_t frame)
{
    const data__wild_subject *s = &f->video->subject[k];
    int size = f->v->cfg.size;
    data__affect a;
    data__shot shot;
    if (data__wild_gap(f->v, s, frame)) return MN_OK; // nobody is found where nobody can be seen
    data__wild_affect(f->v, f->video, s, frame, &a);
    data__shot_make(f->v->shot_key, s->row, (double)data__wild_time(f->v, f->video, frame) * 1e-6, size, size, &shot);
    data__worker_face(f->worker, &f->person[k], &a, &shot);
    show(f, k);
    char *path = mn_sprintf("%s/%s/%s/%05lld.jpg", f->root, crop_root(f->video), s->name, (long long)frame);
    mn_err err = data__worker_save(f->worker, path, size, size, f->quality, 0);
    free(path);
    return err;
}

// What drives the voice: of two people the mean, since both are heard.
static float *shown_by_voice(const data_synth_videos *v, const data__wild_video *w, double seconds, int64_t *steps)
{
    *steps = (int64_t)(seconds * DATA__VOICE_STEPS) + 1;
    float *shown = mn_calloc((size_t)*steps * 2, sizeof *shown);
    for (int64_t i = 0; i < *steps; i++) {
        for (int k = 0; k < w->subjects; k++) {
            data__affect a;
            data__affect_at(v->affect_key, w->subject[k].row, (double)i / DATA__VOICE_STEPS, &a);
            for (int j = 0; j < 2; j++)
                shown[2 * i + j] += (float)a.voice[j] / (float)w->subjects;
        }
    }
    return shown;
}

static int16_t *speak(const filming *f, int64_t *samples)
{
    const data__wild_video *w = f->video;
    double seconds = (double)data__wild_time(f->v, w, w->frames + 1) * 1e-6, start = (double)w->audio_start_us * 1e-6;
    int64_t steps, whole = (int64_t)(seconds * DATA__VOICE_RATE), before = (int64_t)(start * DATA__VOICE_RATE);
    float *shown = shown_by_voice(f->v, w, seconds, &steps);
    int16_t *pcm = mn_calloc((size_t)whole, sizeof *pcm);
    data__voice_make(f->v->voice_key, w->subject[0].row, &f->person[0], shown, steps, pcm, whole);
    free(shown);
    // The recording's sound begins late, so its beginning is missing, or early, so there is some more before it.
    *samples = whole - before;
    int16_t *recorded = mn_calloc((size_t)*samples, sizeof *recorded);
    int64_t skip = before > 0 ? before : 0, lead = before < 0 ? -before : 0;
    memcpy(recorded + lead, pcm + skip, (size_t)(whole - skip) * sizeof *pcm);
    free(pcm);
    return recorded;
}

static mn_err open_video(const filming *f, const char *path, data_media_writer **out)
{
    const data__wild_video *w = f->video;
    int64_t samples = 0;
    int16_t *pcm = w->has_audio ? speak(f, &samples) : NULL;
    mn_err err = data_media_create(out, &(data_media_spec){.path = path,
                                                           .video = w->video_codec,
                                                           .audio = w->audio_codec,
                                                           .width = SCREEN_W,
                                                           .height = SCREEN_H,
                                                           .fps_num = w->fps_num,
                                                           .fps_den = w->fps_den,
                                                           .vfr = w->vfr,
                                                           .frames = w->frames,
                                                           .pcm = pcm,
                                                           .samples = samples,
                                                           .rate = w->audio_rate,
                                                           .channels = w->audio_channels,
                                                           .audio_start_us = w->has_audio ? w->audio_start_us : 0});
    free(pcm);
    return err;
}

// The frame count in the header of an AVI is often one too high: readers must count.
static mn_err spoil_avi_count(const char *path)
{
    enum { TOTAL_FRAMES = 48 }; // RIFF, LIST hdrl, avih and four of its numbers before it
    uint32_t count;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return mn_fail(MN_EIO, "%s: cannot be opened again", path);
    int ok = pread(fd, &count, sizeof count, TOTAL_FRAMES) == sizeof count;
    count++;
    ok = ok && pwrite(fd, &count, sizeof count, TOTAL_FRAMES) == sizeof count;
    ok = close(fd) == 0 && ok;
    return ok ? MN_OK : mn_fail(MN_EIO, "%s: cannot be changed", path);
}

static mn_err film(filming *f, const char *path)
{
    const data__wild_video *w = f->video;
    data_media_writer *out;
    MN_TRY(open_video(f, path, &out));
    for (int64_t frame = 1; frame <= w->frames; frame++) {
        memset(f->screen, (int)(40 + w->subject[0].person % 90), sizeof f->screen);
        mn_err err = MN_OK;
        for (int k = 0; k < w->subjects && err == MN_OK; k++)
            err = film_subject(f, k, frame);
        if (err == MN_OK) err = data_media_frame(out, data__wild_time(f->v, w, frame), f->screen);
        if (err != MN_OK) {
            data_media_abort(out);
            return err;
        }
    }
    MN_TRY(data_media_finish(out));
    return strcmp(w->extension, "avi") == 0 ? spoil_avi_count(path) : MN_OK;
}

typedef struct wild_ctx {
    const char *root;
    const data_synth_videos *v;
} wild_ctx;

static mn_err make_video(void *ctx, data__worker *worker, int64_t index)
{
    const wild_ctx *c = ctx;
    const data__wild_video *w = &c->v->video[index];
    filming *f = mn_calloc(1, sizeof *f);
    f->root = c->root;
    f->v = c->v;
    f->video = w;
    f->worker = worker;
    f->quality = 88 + (int)(mn_rng_block(c->v->plan_key + 1, (uint64_t)index, 0, 0).v[0] % 8);
    mn_err err = MN_OK;
    for (int k = 0; k < w->subjects && err == MN_OK; k++) {
        data__person_make(mn_rng_key(c->v->cfg.seed, "synth.wild"), w->subject[k].person, &f->person[k]);
        char *folder = mn_sprintf("%s/%s/%s", c->root, crop_root(w), w->subject[k].name);
        err = mn_dir_make(folder);
        free(folder);
    }
    char *path = mn_sprintf("%s/batch%d/%s.%s", c->root, w->batch, w->name, w->extension);
    if (err == MN_OK) err = film(f, path);
    free(path);
    free(f);
    return err;
}

static mn_err make_roots(const char *root, int two_batches)
{
    static const char *const names[] = {"batch1", "cropped_aligned", "batch2", "cropped_aligned_new_50_vids"};
    for (int i = 0; i < (two_batches ? 4 : 2); i++) {
        char *path = mn_sprintf("%s/%s", root, names[i]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    char *store = mn_sprintf("%s/cropped_aligned/.DS_Store", root);
    mn_err err = data__file_write(store, "\0\0\0\1Bud1", 8);
    free(store);
    return err;
}

mn_err data__make_affwild2(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    data_synth_videos *v;
    MN_TRY(data_synth_videos_open(&v, cfg));
    wild_ctx ctx = {root, v};
    mn_err err = make_roots(root, v->n > 2);
    if (err == MN_OK) err = data__wild_write_labels(root, v);
    if (err == MN_OK) err = data__spread(v->n, cfg->threads, make_video, &ctx, report);
    if (err == MN_OK) report->videos += v->n;
    data_synth_videos_close(v);
    return err;
}
