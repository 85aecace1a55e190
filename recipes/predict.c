// mien predict RECIPE.yaml [key=value ...] --weights RUN|CKPT_DIR|FILE.safetensors --out DIR [--format F] [--sample FILE]
#include "recipes/verbs.h"

#include "dist/proceed.h"
#include "dist/watchdog.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "recipes/arguments.h"
#include "recipes/inference.h"
#include "recipes/pictures.h"
#include "recipes/sources.h"
#include "recipes/submission.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_option options[] = {
    {"weights", 'w', "RUN|DIR|FILE", 0,
     "Weights: a run (its best checkpoint), a checkpoint folder, or a .safetensors file", 0},
    {"last", 'l', 0, 0, "Of a run, the newest checkpoint instead of the best", 0},
    {"out", 'o', "DIR", 0, "Where to write; made if need be", 0},
    {"format", 'f', "csv|abaw-video|abaw-image", 0,
     "csv (default): predictions.csv, every frame seen with probabilities and labels; abaw-video: one text per video; "
     "abaw-image: predictions.txt, one line per frame of all videos",
     0},
    {"sample", 'S', "FILE", 0, "abaw-image: the organisers' sample file, whose lines and order are kept", 0},
    {"split", 's', "NAME", 0, "train, validation, test (the default) or all", 0},
    {0},
};

static const char *const formats[] = {"csv", "abaw-video", "abaw-image"};
enum { CSV, ABAW_VIDEO, ABAW_IMAGE, FORMATS };

typedef struct predict_arguments {
    mien_arguments recipe; // first: shared parser
    const char *weights, *out, *sample, *split;
    int last, format;
} predict_arguments;

static int find(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    predict_arguments *a = state->input;
    switch (key) {
    case 'w':
        a->weights = arg;
        return 0;
    case 'l':
        a->last = 1;
        return 0;
    case 'o':
        a->out = arg;
        return 0;
    case 'f':
        a->format = find(formats, FORMATS, arg);
        return a->format >= 0 ? 0 : mien_usage(state, "--format %s: it is csv, abaw-video or abaw-image", arg);
    case 'S':
        a->sample = arg;
        return 0;
    case 's':
        a->split = arg;
        return 0;
    default:
        return mien_arguments_parse(key, arg, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE.yaml [key=value ...]",
    .doc = "Predicts the recipe's target for the frames of videos. The abaw formats have every frame: one in which no "
           "face "
           "was found gets the prediction of the nearest frame of its video that has one.\v"
           "Example:\n  mien predict recipes/cca/expr.yaml --weights cca-expr --out submission \\\n"
           "    --format abaw-image --sample CVPR_6th_ABAW_Expr_test_set_sample.txt"};

// --- this rank's share ---

typedef struct prediction {
    mien_job *job;
    const predict_arguments *arguments;
    char *parts; // folder for what ranks hand to rank 0
    data_folder *folder;
    mien_predictions all;
    int64_t capacity;
} prediction;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mien_clip *)a)->name, ((const mien_clip *)b)->name);
}

static int split_number(const char *name)
{
    static const char *const splits[] = {"all", "train", "validation", "test"};
    return find(splits, 4, name); // all is DATA_SPLIT_NONE
}

// The videos of the split, the same list on every rank.
static mn_err list_clips(prediction *p)
{
    const mien_job *j = p->job;
    const mien_part *part = j->common.data.v;
    int split = split_number(p->arguments->split);
    int64_t capacity = 0;
    char *dir = mien_data_path(j, part->set);
    mn_err err = data_folder_open(&p->folder, dir, mien_split(p->arguments->split), p->all.task, "image");
    free(dir);
    MN_TRY(err);
    for (int k = 0; k < data_folder_shards(p->folder); k++) {
        const data_index *x = data_shard_index(data_folder_shard(p->folder, k));
        for (int i = 0; i < x->n_videos; i++) {
            const data_video *v = &x->videos[i];
            if (split != DATA_SPLIT_NONE && v->split[p->all.task] != split) continue;
            p->all.clip = mn_grow(p->all.clip, p->all.n_clips, &capacity, sizeof *p->all.clip);
            p->all.clip[p->all.n_clips++] = (mien_clip){.name = v->name, .frames = v->frames};
        }
    }
    if (p->all.n_clips == 0)
        return mn_fail(MN_ENOINPUT, "%s: %s has no video in split %s (single pictures are scored by mien eval)",
                       j->path, part->set, p->arguments->split);
    qsort(p->all.clip, (size_t)p->all.n_clips, sizeof *p->all.clip, by_name);
    return MN_OK;
}

static mien_row *add_row(prediction *p)
{
    p->all.row = mn_grow(p->all.row, p->all.n_rows, &p->capacity, sizeof *p->all.row);
    mien_row *r = &p->all.row[p->all.n_rows++];
    *r = (mien_row){0};
    return r;
}

static mn_err keep_frame(void *context, const mien_frame *f)
{
    prediction *p = context;
    int64_t k = data_target_columns(p->all.task);
    int clip = mien_clip_find(&p->all, f->video, strlen(f->video));
    if (clip < 0) return mn_fail(MN_EINTERNAL, "video %s is in no split", f->video);
    mien_row *r = add_row(p);
    r->video = clip;
    r->frame = f->number;
    r->t_us = f->t_us;
    for (int64_t i = 0; i < k; i++) {
        if (!isfinite(f->prediction[i]))
            return mn_fail(MN_EDATA, "video %s, frame %d: the prediction is not finite: these weights are spoilt",
                           f->video, (int)f->number);
        r->prediction[i] = f->prediction[i];
        r->target[i] = f->weight && f->weight[f->by_column ? i : 0] > 0 ? f->target[i] : NAN;
    }
    return MN_OK;
}

static mn_err each_batch(void *context, nn_graph *g, const data_batch *b)
{
    prediction *p = context;
    return p->job->task->frames(p->job, g, p->job->score_set, b, keep_frame, p);
}

static mn_err open_share(prediction *p, data_set **set, mien_inference **m, int64_t rows)
{
    mien_job *j = p->job;
    const predict_arguments *a = p->arguments;
    MN_TRY(list_clips(p));
    if (a->sample) MN_TRY(mien_sample_check(&p->all, a->sample)); // before the work, not after it
    MN_TRY(j->task->open(j, MIEN_USE_FRAMES, a->split, set));
    MN_TRY(mien_inference_open(m, j, *set, rows, a->weights, a->last ? MIEN_LAST : MIEN_BEST));
    return mien_sources_check(j, *set, (*m)->from.path);
}

static mn_err predict_share(prediction *p)
{
    mien_job *j = p->job;
    data_set *set = NULL;
    mien_inference *m = NULL;
    mn_err err;
    int64_t rows = data_loader_plan_rows(j->common.eval_batch, dist_world(j->comm), 0);
    MN_TRY_OUT(err, dist_proceed(j->comm, open_share(p, &set, &m, rows)));
    j->score_set = set;
    MN_TRY_OUT(err, mien_inference_run(m, set, rows, each_batch, p));
out:
    j->score_set = NULL;
    mien_inference_close(m);
    data_set_close(set);
    return err;
}

// --- over ranks ---

static char *part_path(const prediction *p, int rank)
{
    return mn_sprintf("%s/rank-%05d", p->parts, rank);
}

static mn_err make_folders(const prediction *p)
{
    mn_err err = mn_dir_make(p->arguments->out);
    if (err == MN_OK && dist_world(p->job->comm) > 1) {
        // What a killed job has left.
        char **names;
        int64_t n;
        if (mn_dir_list(p->parts, &names, &n) == MN_OK) {
            mn_names_free(names, n);
            err = mn_dir_remove(p->parts);
        }
        if (err == MN_OK) err = mn_dir_make(p->parts);
    }
    return err;
}

static mn_err hand_over(const prediction *p)
{
    char *path = part_path(p, dist_rank(p->job->comm));
    mn_err err = mn_file_replace(path, p->all.row, (size_t)p->all.n_rows * sizeof *p->all.row);
    free(path);
    return err;
}

static mn_err take_over(prediction *p, int rank)
{
    char *path = part_path(p, rank), *data = NULL;
    size_t size = 0, bytes = sizeof(mien_row);
    mn_err err = mn_file_read(path, SIZE_MAX / 4, &data, &size);
    if (err == MN_OK && size % bytes) err = mn_fail(MN_EIO, "%s: cut short", path);
    for (size_t at = 0; err == MN_OK && at < size; at += bytes)
        memcpy(add_row(p), data + at, bytes);
    free(data);
    free(path);
    return err;
}

static mn_err write_all(prediction *p)
{
    const predict_arguments *a = p->arguments;
    char *path = mn_sprintf(a->format == CSV          ? "%s/predictions.csv"
                            : a->format == ABAW_IMAGE ? "%s/predictions.txt"
                                                      : "%s",
                            a->out);
    mn_err err;
    mien_predictions_sort(&p->all);
    if (mien_clips_empty(&p->all) > 0)
        mn_warn("%d of %d videos have no frame that could be predicted: %s", mien_clips_empty(&p->all), p->all.n_clips,
                a->format == CSV ? "they are not in the table" : "their rows are all zero");
    if (a->format == CSV)
        err = mien_write_csv(&p->all, path);
    else if (a->format == ABAW_VIDEO)
        err = mien_write_videos(&p->all, path);
    else
        err = mien_write_images(&p->all, path, a->sample);
    if (err == MN_OK)
        printf("%s: %lld frames of %d videos predicted\n", path, (long long)p->all.n_rows, p->all.n_clips);
    free(path);
    return err;
}

static mn_err collect(prediction *p)
{
    int world = dist_world(p->job->comm);
    mn_err err = MN_OK;
    for (int r = 1; r < world && err == MN_OK; r++)
        err = take_over(p, r);
    if (err == MN_OK) err = write_all(p);
    if (err == MN_OK && world > 1) err = mn_dir_remove(p->parts);
    return err;
}

static mn_err predict(mien_job *j, const void *arguments)
{
    const predict_arguments *a = arguments;
    if (!j->task->frames)
        return mn_fail(MN_ECONFIG, "%s: task %s predicts nothing for frames; finetune and cca do", a->recipe.path,
                       j->task->name);
    prediction *p = mn_calloc(1, sizeof *p);
    int rank = dist_rank(j->comm);
    mn_err err;
    p->job = j;
    p->arguments = a;
    p->all.task = j->task->target(j);
    p->parts = mn_sprintf("%s/.parts", a->out);
    j->alone = 1;
    MN_TRY_OUT(err, predict_share(p));
    dist_watchdog_phase(dist_watchdog_of(j->comm), DIST_PHASE_SAVE, 0);
    MN_TRY_OUT(err, dist_agree(j->comm, rank == 0 ? make_folders(p) : MN_OK));
    MN_TRY_OUT(err, dist_agree(j->comm, rank == 0 ? MN_OK : hand_over(p)));
    MN_TRY_OUT(err, dist_agree(j->comm, rank == 0 ? collect(p) : MN_OK));
out:
    data_folder_close(p->folder);
    free(p->all.clip);
    free(p->all.row);
    free(p->parts);
    free(p);
    return err;
}

static mn_err check_arguments(const predict_arguments *a)
{
    if (!a->weights) return mn_fail(MN_EUSAGE, "--weights is missing; see mien predict --help");
    if (!a->out) return mn_fail(MN_EUSAGE, "--out is missing; see mien predict --help");
    if (split_number(a->split) < 0)
        return mn_fail(MN_EUSAGE, "--split %s: it is train, validation, test or all", a->split);
    if (a->sample && a->format != ABAW_IMAGE)
        return mn_fail(MN_EUSAGE, "--sample is for --format abaw-image, not %s", formats[a->format]);
    return MN_OK;
}

mn_err mien_predict(int argc, char **argv)
{
    predict_arguments a = {.split = "test"};
    MN_TRY(mien_arguments_read(&parser, argc, argv, &a.recipe));
    if (a.recipe.help_keys) return mien_print_keys(a.recipe.help_task);
    MN_TRY(check_arguments(&a));
    return mien_with_job(&a.recipe, predict);
}
