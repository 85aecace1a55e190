// One video of Aff-Wild2: its frames with crops, labels and times; one media file: its sound.
#include "data/import/affwild2.h"
#include "data/import/find.h"
#include "data/video_name.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Media files

// Where the container does not say: from the times of the frames, else what nearly all of Aff-Wild2 has.
static void settle_rate(data_media *m)
{
    if (m->fps_num > 0 && m->fps_den > 0) return;
    int64_t span = m->frames > 1 ? m->t_us[m->frames - 1] : 0;
    m->fps_num = span > 0 ? (int)(((m->frames - 1) * 1000000000 + span / 2) / span) : DATA__AW_FPS * 1000;
    m->fps_den = 1000;
}

typedef enum media_state { SKIPPED, READ, UNUSABLE } media_state; // SKIPPED: by a dry run

// UNUSABLE: mn_errmsg() says why; what else is known of the video is worth having without it.
static mn_err read_file(data__import *im, const char *path, unsigned want, data_media *m, media_state *state)
{
    memset(m, 0, sizeof(*m));
    *state = SKIPPED;
    if (!data__import_media(im)) return MN_OK;
    mn_err err = data_media_read(path, want, NULL, m);
    data__import_media_done(im);
    *state = READ;
    if (err == MN_EDATA || err == MN_ERETRY) {
        *state = UNUSABLE;
        memset(m, 0, sizeof(*m));
        return MN_OK;
    }
    MN_TRY(err);
    if (m->damaged) data__import_note(im, DATA__NOTE_PACKETS, m->damaged);
    settle_rate(m);
    return MN_OK;
}

// One video

typedef struct crop {
    const char *name; // NULL: there is none
    int folder;
} crop;

typedef struct film {
    data__import *im;
    const data__aw_video *video;
    const char *list; // label file being read
    data__aw_labels labels[DATA_TASKS];
    int64_t frames;
    crop *crops;            // (frames + 1) by frame number
    data__entries *entries; // (video->n_crops)
    int *roots;             // (video->n_crops)
    data_media media;
} film;

static void bad_row(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    const film *f = ctx;
    data__import_reject(f->im, reason, f->list, line, detail);
}

static mn_err read_labels(film *f)
{
    for (int task = 0; task < DATA_TASKS; task++) {
        char *text;
        size_t size;
        f->list = f->video->labels[task];
        if (!f->list) continue;
        MN_TRY(mn_file_read(f->list, DATA__AW_LABELS_MOST, &text, &size));
        data__aw_read(text, size, task, bad_row, f, &f->labels[task]);
        free(text);
        f->im->tally->rows += f->labels[task].n;
        data__import_note(f->im, DATA__NOTE_IGNORED_LABELS, f->labels[task].invalid);
        if (f->labels[task].n > f->frames) f->frames = f->labels[task].n;
    }
    return MN_OK;
}

static void reject_crop(film *f, data__reason reason, const char *name, const char *detail)
{
    char *file = mn_sprintf("%s/%s", f->video->name, name);
    data__import_reject(f->im, reason, file, 0, detail);
    free(file);
}

static mn_err list_crops(film *f)
{
    f->entries = mn_calloc((size_t)f->video->n_crops + 1, sizeof(*f->entries));
    for (int k = 0; k < f->video->n_crops; k++) {
        data__entries *l = &f->entries[k];
        MN_TRY(data__entries_of(l, f->video->crops[k]));
        data__import_note(f->im, DATA__NOTE_HIDDEN, l->hidden);
        for (int64_t i = 0; i < l->n; i++) {
            int64_t frame = data__aw_frame(l->e[i].name);
            if (frame > f->frames) f->frames = frame;
        }
    }
    return MN_OK;
}

static void place_crop(film *f, int folder, const char *name)
{
    int64_t frame = data__aw_frame(name);
    crop *c = &f->crops[frame < 1 ? 0 : frame];
    if (frame < 1)
        reject_crop(f, DATA__REJECT_NAME, name, "");
    else if (!c->name)
        *c = (crop){name, folder};
    else if (c->folder == folder)
        reject_crop(f, DATA__REJECT_DUPLICATE, name, c->name);
    else
        data__import_note(f->im, DATA__NOTE_SECOND_CROP, 1);
}

// After the number of frames is known.
static void place_crops(film *f)
{
    f->crops = mn_calloc((size_t)f->frames + 2, sizeof(*f->crops));
    for (int k = 0; k < f->video->n_crops; k++)
        for (int64_t i = 0; i < f->entries[k].n; i++)
            place_crop(f, k, f->entries[k].e[i].name);
}

// A file is listed once, whoever of its videos and its sound cannot be had.
static int lists_media(const data__aw_state *s, const data__aw_video *v)
{
    for (const data__aw_video *before = s->tree.videos; before < v; before++)
        if (before->media == v->media) return 0;
    return 1;
}

static mn_err read_media(film *f, const data__aw_state *s)
{
    media_state state = SKIPPED;
    if (f->video->media >= 0) {
        const char *path = s->tree.media[f->video->media].path;
        MN_TRY(read_file(f->im, path, DATA_MEDIA_FRAMES, &f->media, &state));
        if (state == UNUSABLE && lists_media(s, f->video))
            data__import_reject(f->im, DATA__REJECT_MEDIA, path, 0, mn_errmsg());
    }
    if (state != READ) {
        f->media.fps_num = DATA__AW_FPS;
        f->media.fps_den = 1;
        return MN_OK;
    }
    for (int task = 0; task < DATA_TASKS; task++) {
        int64_t n = f->labels[task].n, difference = n - f->media.frames;
        if (n == 0 || difference == 0) continue;
        int by_one = difference == 1 || difference == -1;
        data__import_note(f->im, by_one ? DATA__NOTE_LENGTH_ONE : DATA__NOTE_LENGTH, 1);
    }
    if (f->media.frames > f->frames) f->frames = f->media.frames;
    return MN_OK;
}

// Time of a frame: as decoded; behind the last decoded one at the nominal rate.
static int64_t time_of(const data_media *c, int64_t frame)
{
    if (frame <= c->frames) return c->t_us[frame - 1];
    int64_t last = c->frames ? c->t_us[c->frames - 1] : 0, steps = frame - (c->frames ? c->frames : 1);
    return last + steps * 1000000 * c->fps_den / c->fps_num;
}

static void label_record(const film *f, int64_t frame, data_record *r)
{
    const data__aw_labels *e = &f->labels[DATA_EXPR], *a = &f->labels[DATA_AU], *v = &f->labels[DATA_VA];
    int64_t i = frame - 1;
    r->expr = i < e->n ? e->expr[i] : -1;
    if (r->expr >= 0) r->mask |= DATA_HAS_EXPR;
    for (int k = 0; k < DATA_AUS; k++) {
        r->au[k] = i < a->n ? a->au[i * DATA_AUS + k] : -1;
        if (r->au[k] >= 0) r->mask |= (uint32_t)DATA_HAS_AU0 << k;
    }
    for (int k = 0; k < 2; k++) {
        r->va[k] = i < v->n ? v->va[2 * i + k] : NAN;
        if (!isnan(r->va[k])) r->mask |= k ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE;
    }
}

static mn_err write_frame(film *f, int32_t video, int64_t frame, data_writer *w)
{
    char number[32];
    (void)snprintf(number, sizeof(number), "%05lld.jpg", (long long)frame);
    const crop *c = &f->crops[frame];
    const char *file = c->name ? c->name : number;
    char *name = mn_sprintf("%s/%s", f->video->name, file);
    data_record r = {.name = name, .video = video, .frame = (int32_t)frame, .source_row = (uint32_t)frame};
    int accepted = 0;
    mn_err err = MN_OK;
    r.t_us = time_of(&f->media, frame);
    label_record(f, frame, &r);
    if (c->name) err = data__import_picture(f->im, f->roots[c->folder], file, name, 0, &r, &accepted);
    if (!accepted) data__import_note(f->im, DATA__NOTE_NO_PICTURE, 1);
    if (err == MN_OK) err = data__import_add(f->im, w, &r);
    free(name);
    return err;
}

static mn_err write_frames(film *f, const data__aw_state *s, int64_t most, data_writer *w)
{
    const data__aw_video *v = f->video;
    char *source = v->media >= 0 ? mn_strdup(s->tree.media[v->media].stem)
                                 : mn_sprintf("%.*s", (int)data_video_stem(v->name, NULL), v->name);
    data_video row = {.name = v->name, .source = source, .has_audio = f->media.has_audio != 0};
    int subject;
    int32_t number;
    mn_err err = MN_OK;
    (void)data_video_stem(v->name, &subject);
    row.subject = (uint8_t)(strcmp(source, v->name) == 0 ? 0 : subject);
    row.decoded = f->media.frames;
    row.fps_num = f->media.fps_num;
    row.fps_den = f->media.fps_den;
    row.audio_offset_us = f->media.audio_offset_us;
    for (int task = 0; task < DATA_TASKS; task++) {
        row.split[task] = v->split[task];
        row.labels[task] = f->labels[task].n;
    }
    MN_TRY_OUT(err, data_writer_video(w, &row, &number));
    for (int k = 0; k < v->n_crops; k++)
        MN_TRY_OUT(err, data__open_folder(&f->roots[k], v->crops[k]));
    for (int64_t frame = 1; frame <= f->frames && frame <= most && err == MN_OK; frame++)
        err = write_frame(f, number, frame, w);
out:
    for (int k = 0; k < v->n_crops; k++) {
        if (f->roots[k] >= 0) (void)close(f->roots[k]);
        f->roots[k] = -1;
    }
    free(source);
    return err;
}

mn_err data__aw_write_video(data__import *im, const data__unit *u, data_writer *w)
{
    const data__aw_state *s = im->state;
    film f = {.im = im, .video = &s->tree.videos[u->item]};
    mn_err err = MN_OK;
    f.roots = mn_calloc((size_t)f.video->n_crops + 1, sizeof(*f.roots));
    for (int k = 0; k < f.video->n_crops; k++)
        f.roots[k] = -1;
    MN_TRY_OUT(err, read_labels(&f));
    MN_TRY_OUT(err, list_crops(&f));
    MN_TRY_OUT(err, read_media(&f, s));
    place_crops(&f);
    if (f.frames > INT32_MAX) {
        err = mn_fail(MN_EDATA, "video %s: %lld frames are too many", f.video->name, (long long)f.frames);
        goto out;
    }
    MN_TRY_OUT(err, write_frames(&f, s, im->cfg->limit ? u->records : INT64_MAX, w));
out:
    for (int task = 0; task < DATA_TASKS; task++)
        data__aw_free(&f.labels[task]);
    for (int k = 0; f.entries && k < f.video->n_crops; k++)
        data__entries_free(&f.entries[k]);
    free(f.entries);
    free(f.roots);
    data_media_free(&f.media);
    free(f.crops);
    return err;
}

// One sound

// Silence as long as the pictures, where the file has no sound.
static mn_err be_silent(data__import *im, const char *path, data_media *m)
{
    media_state state;
    data_media_free(m);
    MN_TRY(read_file(im, path, DATA_MEDIA_FRAMES, m, &state));
    data__import_note(im, DATA__NOTE_NO_SOUND, 1);
    if (m->frames == 0) return MN_OK;
    m->samples = (m->t_us[m->frames - 1] + 1000000 * (int64_t)m->fps_den / m->fps_num) * DATA_MEDIA_RATE / 1000000;
    m->pcm = mn_calloc((size_t)m->samples, sizeof(*m->pcm));
    return MN_OK;
}

static mn_err add_sound(data__import *im, const data__unit *u, const data_media *m, data_writer *w)
{
    const data__aw_state *s = im->state;
    const char *stem = s->tree.media[u->item].stem;
    data_video row = {.name = stem, .source = stem, .has_audio = m->has_audio != 0, .decoded = m->frames};
    int32_t number;
    row.fps_num = m->fps_num;
    row.fps_den = m->fps_den;
    row.audio_offset_us = m->audio_offset_us;
    for (int64_t i = 0; i < s->tree.n_videos; i++) // of two subjects, the stricter split
        for (int task = 0; task < DATA_TASKS; task++)
            if (s->tree.videos[i].media == u->item && s->tree.videos[i].split[task] > row.split[task])
                row.split[task] = s->tree.videos[i].split[task];
    MN_TRY(data_writer_video(w, &row, &number));
    data_record r = {.name = stem, .channels = 1, .expr = -1, .video = number, .frame = 1, .payload = m->pcm};
    r.size = (size_t)m->samples * sizeof(*m->pcm);
    r.codec = r.size ? DATA_CODEC_PCM16K : DATA_CODEC_NONE;
    return data__import_add(im, w, &r);
}

// A file of which the sound is no use; where its pictures are none either, its first video lists it.
static mn_err list_sound(data__import *im, const char *path)
{
    char *why = mn_strdup(mn_errmsg());
    data_media m;
    mn_err err = data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m);
    if (err == MN_OK) {
        data__import_reject(im, DATA__REJECT_MEDIA, path, 0, why);
        data_media_free(&m);
    }
    free(why);
    return err == MN_EDATA || err == MN_ERETRY ? MN_OK : err;
}

mn_err data__aw_write_sound(data__import *im, const data__unit *u, data_writer *w)
{
    const data__aw_state *s = im->state;
    const char *path = s->tree.media[u->item].path;
    data_media m;
    media_state state;
    MN_TRY(read_file(im, path, DATA_MEDIA_SOUND, &m, &state));
    if (state == SKIPPED) { // as long as the list says
        m = (data_media){.has_audio = 1, .fps_num = DATA__AW_FPS, .fps_den = 1};
        m.samples = u->bytes / (int64_t)sizeof(*m.pcm);
        return add_sound(im, u, &m, w);
    }
    if (state == UNUSABLE) return list_sound(im, path);
    mn_err err = m.has_audio ? MN_OK : be_silent(im, path, &m);
    if (err == MN_OK) err = add_sound(im, u, &m, w);
    data_media_free(&m);
    return err;
}
