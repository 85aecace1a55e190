#include "data/synth/wild.h"

#include "data/media.h"
#include "data/synth/output.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY_TASK = 1 << DATA_EXPR | 1 << DATA_AU | 1 << DATA_VA };
enum { GAP_SLOT = 12, INVALID_SLOT = 40 }; // frames that are missing or marked invalid together

// What decides names while videos are laid out one after another.
typedef struct planner {
    data_synth_videos *v;
    mn_stream_rng rng;
    int64_t numbers[3]; // taken from each family of names
    int64_t pool;       // numbers of a family
    int parts;          // parts of "videoN_k" still to come
    char part_stem[32];
    uint64_t part_person;
    int64_t in_split[4]; // videos laid out, by split
} planner;

static int chance(planner *p, double probability)
{
    return (double)mn_rng_uniform(&p->rng) < probability;
}

// The next unused number of a family, in an order that tells nothing.
static int64_t next_number(planner *p, int family)
{
    uint64_t key = p->v->plan_key + (uint64_t)family;
    mn_assert(p->numbers[family] < p->pool);
    return 1 + mn_rng_permute(key, p->pool, p->numbers[family]++);
}

// The three families of names that the real videos have; "videoN_k" are parts of one recording, so of one person.
static void name_video(planner *p, data__wild_video *w)
{
    static const char *const sizes[] = {"1920x1080", "1280x720", "640x360", "854x480"};
    if (p->parts > 0) {
        snprintf(w->name, sizeof w->name, "%s_%d", p->part_stem, 4 - p->parts);
        p->parts--;
        w->subject[0].person = p->part_person;
        return;
    }
    double family = (double)mn_rng_uniform(&p->rng);
    if (family < 0.58) {
        int64_t number = next_number(p, 0);
        snprintf(w->name, sizeof w->name, "%lld", (long long)number);
    } else if (family < 0.83) {
        int64_t fps = mn_rng_below(&p->rng, 3) ? 30 : 24, number = next_number(p, 1);
        int take = chance(p, 0.2) ? 1 + (int)mn_rng_below(&p->rng, 3) : 0;
        char suffix[16] = "";
        if (take) snprintf(suffix, sizeof suffix, "-%d", take);
        snprintf(w->name, sizeof w->name, "%lld-%lld-%s%s", (long long)number, (long long)fps,
                 sizes[mn_rng_below(&p->rng, 4)], suffix);
    } else {
        int64_t number = next_number(p, 2);
        snprintf(p->part_stem, sizeof p->part_stem, "video%lld", (long long)number);
        snprintf(w->name, sizeof w->name, "%s", p->part_stem);
        if (chance(p, 0.3)) {
            p->parts = 2;
            p->part_person = w->subject[0].person;
            snprintf(w->name, sizeof w->name, "%s_1", p->part_stem);
        }
    }
}

static void choose_media(planner *p, data__wild_video *w)
{
    static const int rates[][2] = {{30, 1}, {30, 1}, {30, 1}, {30000, 1001}, {25, 1}, {24000, 1001}, {24, 1}, {15, 1}};
    int64_t k = mn_rng_below(&p->rng, chance(p, 0.5) ? 3 : (int64_t)(sizeof rates / sizeof *rates));
    w->fps_num = rates[k][0];
    w->fps_den = rates[k][1];
    w->video_codec = chance(p, 0.25) ? "h264" : "mpeg4";
    w->audio_codec = "aac";
    w->audio_rate = DATA_MEDIA_RATE;
    w->audio_channels = 1;
    w->has_audio = 1;
    w->extension = chance(p, 0.21) && p->in_split[w->split] > 4 ? "avi" : "mp4";
    if (w->split == DATA_SPLIT_TRAIN && p->in_split[w->split] == 0) w->extension = "avi";
    if (strcmp(w->extension, "avi") == 0) {
        w->audio_codec = "pcm";
        w->video_codec = "mpeg4";
        return;
    }
    if (chance(p, 0.25)) {
        w->audio_rate = chance(p, 0.5) ? 44100 : 48000;
        w->audio_channels = 2;
    }
    // Each of these happens in a corpus of ten videos already, and now and then in a larger one.
    int64_t place = w->split == DATA_SPLIT_TRAIN ? p->in_split[w->split] : -1;
    w->vfr = chance(p, 0.05) || place == 2;
    if (chance(p, 0.08) || place == 3) w->audio_start_us = chance(p, 0.5) ? 240000 : -120000;
    w->has_audio = !(chance(p, 0.01) || place == 4);
}

// Sixteen of the real videos have two subjects; three of those have one crop folder without a suffix.
static void name_subjects(planner *p, data__wild_video *w)
{
    static const char *const pairs[3][2] = {{"_left", "_right"}, {"", "_right"}, {"_left", ""}};
    const char *const *suffix = pairs[chance(p, 0.25) ? 1 + mn_rng_below(&p->rng, 2) : 0];
    char name[sizeof w->name]; // a copy: the compiler cannot see that the members do not overlap
    memcpy(name, w->name, sizeof name);
    for (int k = 0; k < w->subjects; k++)
        snprintf(w->subject[k].name, sizeof w->subject[k].name, "%.60s%s", name, w->subjects == 2 ? suffix[k] : "");
}

static void choose_subject(planner *p, const data__wild_video *w, int k, data__wild_subject *s)
{
    int64_t in_split = p->in_split[w->split];
    s->row = (uint64_t)(4 * k + w->split) << 32 | (uint64_t)in_split;
    s->first_crop = chance(p, 0.15) ? 2 + mn_rng_below(&p->rng, 6) : 1;
    s->tasks = 0;
    for (int task = 0; task < DATA_TASKS; task++) {
        s->label_rows[task] = w->frames;
        double u = (double)mn_rng_uniform(&p->rng);
        if (u < 0.12) s->label_rows[task] += u < 0.06 ? 1 : -1;
        if (chance(p, 0.92) || in_split == 0) s->tasks |= 1u << task;
    }
    if (!s->tasks) s->tasks = EVERY_TASK;
}

// last: of its split; a recording in parts must not go on in the next one.
static void plan_video(planner *p, data__wild_video *w, int split, int batch, int last)
{
    const data_synth_cfg *cfg = &p->v->cfg;
    w->split = split;
    w->batch = batch;
    double u = (double)mn_rng_uniform(&p->rng);
    w->frames = (int64_t)((double)cfg->frames * (0.6 + 0.8 * u));
    choose_media(p, w);
    w->subject[0].person = (uint64_t)split << 28 | (uint64_t)p->in_split[split] * 2;
    name_video(p, w);
    if (last) p->parts = 0;
    w->subjects = chance(p, 0.06) || (p->in_split[split] == 1 && split != DATA_SPLIT_TEST) ? 2 : 1;
    w->subject[1].person = (uint64_t)split << 28 | ((uint64_t)p->in_split[split] * 2 + 1);
    name_subjects(p, w);
    for (int k = 0; k < w->subjects; k++)
        choose_subject(p, w, k, &w->subject[k]);
    p->in_split[split]++;
}

mn_err data_synth_videos_open(data_synth_videos **out, const data_synth_cfg *cfg)
{
    data_synth_videos *v = mn_calloc(1, sizeof *v);
    mn_err err = data__synth_defaults(cfg, &v->cfg);
    if (err != MN_OK) {
        free(v);
        return err;
    }
    v->n = v->cfg.videos;
    v->video = mn_calloc((size_t)v->n, sizeof *v->video);
    v->affect_key = mn_rng_key(v->cfg.seed, "synth.wild.affect");
    v->shot_key = mn_rng_key(v->cfg.seed, "synth.wild.shot");
    v->voice_key = mn_rng_key(v->cfg.seed, "synth.wild.voice");
    v->plan_key = mn_rng_key(v->cfg.seed, "synth.wild.plan");
    planner p = {.v = v, .rng = mn_rng_open(v->plan_key, 0, 0)};
    p.pool = 2 * v->n + 40; // small: "102" and "102-30-640x360" are two videos, as in the real set
    // The proportions of the valence-arousal challenge: 356, 76 and 162 videos; a little more to validate on.
    int64_t validation = v->n / 5 > 1 ? v->n / 5 : 1, test = v->n * 4 / 25 > 1 ? v->n * 4 / 25 : 1;
    int64_t train = v->n - validation - test;
    for (int64_t i = 0; i < v->n; i++) {
        int split = i < train ? DATA_SPLIT_TRAIN : i < train + validation ? DATA_SPLIT_VALIDATION : DATA_SPLIT_TEST;
        int last = i + 1 == train || i + 1 == train + validation || i + 1 == v->n;
        plan_video(&p, &v->video[i], split, i % 19 == 2 ? 2 : 1, last);
    }
    *out = v;
    return MN_OK;
}

void data_synth_videos_close(data_synth_videos *v)
{
    if (!v) return;
    free(v->video);
    free(v);
}

int64_t data__wild_time(const data_synth_videos *v, const data__wild_video *w, int64_t frame)
{
    int64_t i = frame - 1;
    double t = (double)i * 1e6 * w->fps_den / w->fps_num;
    if (w->vfr && i > 0) { // as a telephone records: a few milliseconds early or late, in steps of 100 us
        mn_rng4 u = mn_rng_block(v->plan_key + 10, w->subject[0].row, (uint64_t)i, 0);
        t += ((double)mn_uniform(u.v[0]) - 0.5) * 0.5e6 * w->fps_den / w->fps_num;
        return (int64_t)(t / 100 + 0.5) * 100;
    }
    return (int64_t)(t + 0.5);
}

static float slot_draw(const data_synth_videos *v, const data__wild_subject *s, uint64_t purpose, int64_t slot,
                       int which)
{
    return mn_uniform(mn_rng_block(v->plan_key + 20 + purpose, s->row, (uint64_t)slot, 0).v[which]);
}

int data__wild_gap(const data_synth_videos *v, const data__wild_subject *s, int64_t frame)
{
    if (frame < s->first_crop) return 1;
    for (int task = 0; task < DATA_TASKS; task++)
        if (frame > s->label_rows[task]) return 1;        // never more crops than label rows
    int whole = slot_draw(v, s, 0, INT32_MAX, 0) < 0.15f; // a video without gaps
    return !whole && frame != s->first_crop && slot_draw(v, s, 0, frame / GAP_SLOT, 1) < 0.05f;
}

unsigned data__wild_invalid(const data_synth_videos *v, const data__wild_subject *s, int task, int64_t frame)
{
    static const unsigned all[DATA_TASKS] = {1, (1u << DATA_AUS) - 1, 3};
    int64_t slot = frame / INVALID_SLOT;
    uint64_t purpose = 1 + (uint64_t)task;
    if (slot_draw(v, s, purpose, slot, 0) >= 0.04f) return 0;
    if (task == DATA_EXPR || slot_draw(v, s, purpose, slot, 1) < 0.75f) return all[task];
    unsigned column = (unsigned)(slot_draw(v, s, purpose, slot, 2) * (task == DATA_AU ? DATA_AUS : 2));
    return 1u << column; // one column alone
}

void data__wild_affect(const data_synth_videos *v, const data__wild_video *w, const data__wild_subject *s,
                       int64_t frame, data__affect *out)
{
    data__affect_at(v->affect_key, s->row, (double)data__wild_time(v, w, frame) * 1e-6, out);
}
