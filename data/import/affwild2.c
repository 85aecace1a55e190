// Aff-Wild2: one record a frame, with or without a crop, with the labels of all three tasks; and the sound of each media
// file. The i-th label row, the crop %05d and the i-th decoded picture of the video are frame i. A video's frames are as
// many as the largest of these says.
#include "data/import/affwild2.h"
#include "data/import/find.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SAMPLE_CROPS = 8,
    PUBLISHED_FOLDERS = 594,
    PUBLISHED_MEDIA = 598,
    PUBLISHED_VA_TRAIN = 356,
    PUBLISHED_VA_VALIDATION = 76
};

static void no_complaint(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    (void)ctx;
    (void)line;
    (void)reason;
    (void)detail;
}

// In any order: the sum over names and files.
static void mix(data__aw_survey *s, XXH64_hash_t hash)
{
    s->digest = (int64_t)((uint64_t)s->digest + hash);
}

static mn_err survey_folder(const data__aw_video *v, int folder, data__aw_survey *s)
{
    data__entries l;
    int64_t sampled = 0, bytes = 0, crops = 0;
    MN_TRY(data__entries_of(&l, v->crops[folder]));
    for (int64_t i = 0; i < l.n; i++) {
        int64_t frame = data__aw_frame(l.e[i].name);
        mix(s, XXH3_64bits_withSeed(l.e[i].name, strlen(l.e[i].name), (XXH64_hash_t)folder));
        if (frame < 1) continue;
        crops++;
        if (frame > s->last_frame) s->last_frame = frame;
        if (i % (l.n / SAMPLE_CROPS + 1) == 0) {
            char *path = mn_sprintf("%s/%s", v->crops[folder], l.e[i].name);
            struct stat st;
            if (stat(path, &st) == 0) {
                bytes += st.st_size;
                sampled++;
            }
            free(path);
        }
    }
    s->crops += crops;
    s->crop_bytes += sampled ? bytes / sampled * crops : 0;
    data__entries_free(&l);
    return MN_OK;
}

static mn_err survey_crops(const data__aw_video *v, data__aw_survey *s)
{
    for (int k = 0; k < v->n_crops; k++)
        MN_TRY(survey_folder(v, k, s));
    return MN_OK;
}

static mn_err survey_labels(const data__aw_video *v, data__aw_survey *s)
{
    for (int task = 0; task < DATA_TASKS; task++) {
        char *text;
        size_t size;
        data__aw_labels l;
        if (!v->labels[task]) continue;
        MN_TRY(mn_file_read(v->labels[task], DATA__AW_LABELS_MOST, &text, &size));
        data__aw_read(text, size, task, no_complaint, NULL, &l);
        mix(s, XXH3_64bits_withSeed(text, size, (XXH64_hash_t)(task + 1)));
        if (l.n > s->rows) s->rows = l.n;
        data__aw_free(&l);
        free(text);
    }
    return MN_OK;
}

// Listing millions of crops is shared by the ranks.
static mn_err survey_videos(data__import *im, data__aw_state *s)
{
    const data_ranks *r = &im->cfg->ranks;
    int world = r->world > 0 ? r->world : 1;
    mn_err err = MN_OK;
    s->surveys = mn_calloc((size_t)s->tree.n_videos + 1, sizeof(*s->surveys));
    for (int64_t i = r->rank; i < s->tree.n_videos && err == MN_OK; i += world) {
        err = survey_crops(&s->tree.videos[i], &s->surveys[i]);
        if (err == MN_OK) err = survey_labels(&s->tree.videos[i], &s->surveys[i]);
        if (err == MN_OK) err = data__import_proceed(im);
    }
    MN_TRY(data__import_end_share(im, err));
    return r->sum ? r->sum(r->ctx, &s->surveys->crops,
                           s->tree.n_videos * (int64_t)(sizeof(data__aw_survey) / sizeof(int64_t)))
                  : MN_OK;
}

static int64_t frames_of(const data__aw_survey *s)
{
    return s->rows > s->last_frame ? s->rows : s->last_frame;
}

// Videos in order of their names, until the limit; the sounds of those.
static void plan_units(data__import *im, data__aw_state *s)
{
    const data__aw_tree *t = &s->tree;
    int64_t left = im->cfg->limit ? im->cfg->limit : INT64_MAX,
            *sound = mn_calloc((size_t)t->n_media + 1, sizeof(*sound));
    for (int64_t i = 0; i < t->n_videos && left > 0; i++) {
        const data__aw_video *v = &t->videos[i];
        int64_t frames = frames_of(&s->surveys[i]);
        if (frames == 0 && v->media < 0) continue; // a name in a list, of which nothing is here
        int64_t taken = frames < left ? frames : left;
        data__import_unit(data__import_group(im, "all", "image"), i, taken, s->surveys[i].crop_bytes + 1);
        left -= taken;
        if (v->media >= 0 && sound[v->media] < taken) sound[v->media] = taken > 0 ? taken : 1;
    }
    for (int64_t m = 0; m < t->n_media; m++)
        if (sound[m] > 0)
            data__import_unit(data__import_group(im, "all", "audio"), m, 1,
                              sound[m] * (2 * DATA_MEDIA_RATE) / DATA__AW_FPS);
    free(sound);
}

static void digest_videos(data__import *im, const data__aw_state *s)
{
    for (int64_t i = 0; i < s->tree.n_videos; i++) {
        const data__aw_video *v = &s->tree.videos[i];
        data__import_digest(im, v->name, strlen(v->name) + 1);
        data__import_digest(im, v->split, sizeof(v->split));
        data__import_digest(im, &s->surveys[i], sizeof(s->surveys[i]));
        if (v->media >= 0)
            data__import_digest(im, s->tree.media[v->media].stem, strlen(s->tree.media[v->media].stem) + 1);
    }
}

static void note_videos(data__import *im, const data__aw_state *s)
{
    const data__aw_tree *t = &s->tree;
    char *used = mn_calloc((size_t)t->n_media + 1, 1);
    for (int64_t i = 0; i < t->n_videos; i++) {
        const data__aw_video *v = &t->videos[i];
        if (v->media >= 0) used[v->media] = 1;
        int labelled = v->labels[0] || v->labels[1] || v->labels[2];
        if (!v->n_crops && !labelled && v->media < 0) data__import_note(im, DATA__NOTE_NOTHING, 1);
        if (!labelled) data__import_note(im, DATA__NOTE_NO_LABEL_FILE, 1);
        if (v->media < 0) data__import_note(im, DATA__NOTE_NO_MEDIA, 1);
    }
    for (int64_t m = 0; m < t->n_media; m++)
        if (!used[m]) data__import_note(im, DATA__NOTE_NO_VIDEO, 1);
    free(used);
    data__import_compare(im, "folders of crops", t->n_crop_folders, PUBLISHED_FOLDERS);
    data__import_compare(im, "media files", t->n_media, PUBLISHED_MEDIA);
    data__import_compare(im, "VA label files for training", t->n_labels[DATA_VA][0], PUBLISHED_VA_TRAIN);
    data__import_compare(im, "VA label files for validation", t->n_labels[DATA_VA][1], PUBLISHED_VA_VALIDATION);
}

static mn_err scan(data__import *im)
{
    data__aw_state *s = im->state = mn_calloc(1, sizeof(*s));
    const data_ranks *r = &im->cfg->ranks;
    mn_err err = data__aw_tree_read(im, &s->tree);
    if (r->agree) err = r->agree(r->ctx, err); // the next step has collectives: all ranks take it, or none
    MN_TRY(err);
    if (s->tree.n_videos == 0)
        return mn_fail(MN_ENOINPUT,
                       "%s: there are neither crops (cropped_aligned) nor labels (VA_Estimation_Challenge, ...) of "
                       "Aff-Wild2 in it",
                       im->cfg->src);
    MN_TRY(survey_videos(im, s));
    note_videos(im, s);
    digest_videos(im, s);
    plan_units(im, s);
    return MN_OK;
}

static mn_err write_unit(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    return strcmp(g->stream, "audio") == 0 ? data__aw_write_sound(im, u, w) : data__aw_write_video(im, u, w);
}

static void close_state(void *state)
{
    data__aw_state *s = state;
    data__aw_tree_free(&s->tree);
    free(s->surveys);
    free(s);
}

const data__importer data__import_affwild2 = {.scan = scan,
                                              .write = write_unit,
                                              .close = close_state,
                                              .columns = {.has_expr = 1, .has_au = 1, .has_va = 1, .has_video = 1},
                                              .threads = 1};
