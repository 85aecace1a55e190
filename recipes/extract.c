// mien extract RECIPE.yaml [key=value ...] --weights RUN|CKPT_DIR|FILE.safetensors --out FEATURES_DIR [--split SPLIT]
#include "recipes/verbs.h"

#include "data/chunks.h"
#include "data/features.h"
#include "data/frames.h"
#include "dist/proceed.h"
#include "dist/watchdog.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "recipes/arguments.h"
#include "recipes/inference.h"
#include "recipes/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct argp_option options[] = {
    {"weights", 'w', "RUN|DIR|FILE", 0,
     "Weights: a run (its best checkpoint), a checkpoint folder, or a .safetensors file", 0},
    {"last", 'l', 0, 0, "Of a run, the newest checkpoint instead of the best", 0},
    {"out", 'o', "DIR", 0, "Feature folder; a relative name is under paths.data, as in features.image of a recipe", 0},
    {"split", 's', "NAME", 0, "train, validation, test or all (the default)", 0},
    {0},
};

typedef struct extract_arguments {
    mien_arguments recipe; // first: shared parser
    const char *weights, *out, *split;
    int last;
} extract_arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    extract_arguments *a = state->input;
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
    .doc =
        "Writes what a network sees or hears: one vector a frame of each video (swin: the pooled cells; frames without "
        "a "
        "picture have none), or one each 20 ms of each sound track (wav2vec2: the last hidden states). Recipes of task "
        "sound write log-mel spectra or MFCC of the tracks, without weights. Videos that the "
        "folder already holds are left alone, so the same command goes on where it was stopped, on any number of "
        "ranks.\v"
        "Example:\n  mpirun -n 2 mien extract recipes/affwild2/va.yaml \\\n"
        "    --weights affwild2-va --out features/affwild2-va\n\n"
        "The folder is HDF5 with a manifest; data/README.md has a reader in Python."};

// --- one video at a time ---

typedef struct extraction {
    mien_job *job;
    data_set *set;
    int is_sound;
    data_feature_writer *writer;
    char video[256]; // at hand, "" none
    float *x;        // (capacity, dim)
    int64_t *t_us;   // (capacity)
    int64_t n, capacity, dim;
    int64_t videos, vectors, skipped; // written; found in the folder
    dist_share share;                 // while tracks are worked on without a network
} extraction;

static mn_err write_video(extraction *e)
{
    if (e->n == 0) return MN_OK;
    data_track t = {.video = e->video, .frames = e->n, .dim = e->dim, .x = e->x, .t_us = e->t_us};
    MN_TRY(data_feature_writer_add(e->writer, &t));
    e->videos++;
    e->vectors += e->n;
    e->n = 0;
    return MN_OK;
}

static void append(extraction *e, const float *x, int64_t t_us)
{
    if (e->n == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 1024;
        e->x = mn_realloc(e->x, (size_t)e->capacity, (size_t)e->dim * sizeof *e->x);
        e->t_us = mn_realloc(e->t_us, (size_t)e->capacity, sizeof *e->t_us);
    }
    memcpy(e->x + e->n * e->dim, x, (size_t)e->dim * sizeof *x);
    e->t_us[e->n++] = t_us;
}

static mn_err enter_video(extraction *e, const char *name)
{
    if (strcmp(e->video, name) == 0) return MN_OK;
    MN_TRY(write_video(e));
    snprintf(e->video, sizeof e->video, "%s", name);
    return MN_OK;
}

static mn_err add_frames(void *context, nn_graph *g, const data_batch *b)
{
    extraction *e = context;
    mn_shape shape;
    const float *x = nn_graph_buffer(g, "features", &shape, NULL); // (B, D)
    e->dim = shape.d[1];
    for (int64_t r = 0; r < b->rows; r++) {
        data_frame f;
        data_selection_at(data_frames_selection(e->set), b->index[r], &f);
        if (!f.video)
            return mn_fail(MN_ECONFIG, "%s: record %lld belongs to no video; features are extracted from videos",
                           e->job->path, (long long)f.record);
        MN_TRY(enter_video(e, f.video->name));
        append(e, x + r * e->dim, f.t_us);
    }
    return MN_OK;
}

static mn_err add_tokens(void *context, nn_graph *g, const data_batch *b)
{
    extraction *e = context;
    mn_shape shape;
    const float *x = nn_graph_buffer(g, "tokens", &shape, NULL); // (B, T, D)
    int64_t tokens = shape.d[1];
    e->dim = shape.d[2];
    for (int64_t r = 0; r < b->rows; r++) {
        data_chunk c;
        data_chunks_at(e->set, b->index[r], &c);
        MN_TRY(enter_video(e, c.name));
        for (int64_t k = 0; k < c.tokens; k++)
            append(e, x + (r * tokens + c.from + k) * e->dim, data_chunks_us(e->set, c.first + k));
    }
    return MN_OK;
}

// --- the verb ---

static int has_video(void *context, const char *name)
{
    extraction *e = context;
    int has = data_feature_writer_has(e->writer, name);
    e->skipped += has;
    return has;
}

static mn_err open_share(extraction *e, const extract_arguments *a, mien_inference **m, int64_t *rows)
{
    mien_job *j = e->job;
    MN_TRY(j->task->open(j, MIEN_USE_TRACKS, a->split, &e->set));
    e->is_sound = data_set_field(e->set, "valid") >= 0;
    // A piece of 20 s is a batch of its own.
    *rows = e->is_sound ? 1 : data_loader_plan_rows(j->common.eval_batch, dist_world(j->comm), 0);
    return mien_inference_open(m, j, e->set, *rows, a->weights, a->last ? MIEN_LAST : MIEN_BEST);
}

static mn_err add_track(void *context, const data_track *t)
{
    extraction *e = context;
    MN_TRY(data_feature_writer_add(e->writer, t));
    e->videos++;
    e->vectors += t->frames;
    return dist_share_proceed(&e->share);
}

static mn_err extract_tracks(extraction *e, const char *split)
{
    mien_job *j = e->job;
    e->is_sound = 1;
    dist_watchdog_phase(dist_watchdog_of(j->comm), DIST_PHASE_EVAL, 0);
    dist_share_begin(&e->share, j->comm);
    return dist_share_end(&e->share, j->task->tracks(j, split, add_track, e));
}

static mn_err extract_share(extraction *e, const extract_arguments *a, const char *dir, const data_feature_source *from)
{
    mien_job *j = e->job;
    mien_inference *m = NULL;
    int64_t rows = 1;
    mn_err err;
    // No rank starts before every rank has seen what the folder held.
    MN_TRY(dist_agree(j->comm, data_feature_writer_open(&e->writer, dir, dist_rank(j->comm), from)));
    j->skip = has_video;
    j->skip_context = e;
    if (j->task->tracks) return extract_tracks(e, a->split);
    MN_TRY_OUT(err, dist_proceed(j->comm, open_share(e, a, &m, &rows)));
    MN_TRY_OUT(err, mien_inference_run(m, e->set, rows, e->is_sound ? add_tokens : add_frames, e));
    MN_TRY_OUT(err, dist_agree(j->comm, write_video(e)));
out:
    mien_inference_close(m);
    data_set_close(e->set);
    return err;
}

static mn_err extract_to(extraction *e, const extract_arguments *a, const char *dir, const data_feature_source *from)
{
    dist_comm *comm = e->job->comm;
    mn_err err = extract_share(e, a, dir, from);
    dist_watchdog_phase(dist_watchdog_of(comm), DIST_PHASE_SAVE, 0);
    // The part is closed in any case, so that what was written is kept.
    if (e->writer && err == MN_OK)
        err = dist_agree(comm, data_feature_writer_close(e->writer));
    else if (e->writer && data_feature_writer_close(e->writer) != MN_OK)
        mn_warn("%s", mn_errmsg());
    free(e->x);
    free(e->t_us);
    MN_TRY(err);
    int64_t written[] = {e->videos, e->vectors};
    MN_TRY(dist_sum_int(comm, written, 2));
    if (written[0] == 0 && e->skipped == 0)
        return mn_fail(MN_ENOINPUT, "%s: its dataset has no %s in split %s", e->job->path,
                       e->is_sound ? "sound" : "videos with pictures", a->split);
    err = dist_rank(comm) == 0 ? data_features_finish(dir, from) : MN_OK;
    MN_TRY(dist_agree(comm, err));
    if (dist_rank(comm) == 0)
        printf("%s: %lld vectors of %lld videos written, %s %s\n", dir, (long long)written[1], (long long)written[0],
               *from->run ? "weights" : "definition", from->weights_digest);
    return MN_OK;
}

// Features without weights are told apart by the digest of what defines them.
static mn_err find_source(mien_job *j, const extract_arguments *a, const char *model, mien_weights_file *file)
{
    if (!j->task->tracks) {
        if (!a->weights) return mn_fail(MN_EUSAGE, "--weights is missing; see mien extract --help");
        return mien_weights_find(j, a->weights, a->last ? MIEN_LAST : MIEN_BEST, file);
    }
    if (a->weights) return mn_fail(MN_EUSAGE, "--weights: task %s has none", j->task->name);
    *file = (mien_weights_file){.step = -1};
    mn_digest(model, strlen(model), file->digest);
    return MN_OK;
}

static mn_err extract(mien_job *j, const void *arguments)
{
    const extract_arguments *a = arguments;
    if (!j->task->features)
        return mn_fail(MN_ECONFIG, "%s: task %s has no features to extract; task finetune has", a->recipe.path,
                       j->task->name);
    mien_weights_file file;
    char model[256];
    extraction *e = mn_calloc(1, sizeof *e);
    char *dir = mien_data_path(j, a->out);
    mn_err err;
    j->task->features(j, model, sizeof model);
    MN_TRY_OUT(err, dist_agree(j->comm, find_source(j, a, model, &file)));
    j->features_only = j->alone = 1;
    e->job = j;
    data_feature_source from = {.run = file.run,
                                .weights_digest = file.digest,
                                .model = model,
                                .step = file.step < 0 ? 0 : file.step,
                                .store = (data_store)j->common.feature_store};
    err = extract_to(e, a, dir, &from);
    if (err != MN_OK && dist_rank(j->comm) == 0) (void)rmdir(dir); // only if nothing was written: it is then empty
out:
    free(dir);
    free(e);
    return err;
}

static mn_err check_arguments(const extract_arguments *a)
{
    static const char *const splits[] = {"train", "validation", "test", "all"};
    if (!a->out) return mn_fail(MN_EUSAGE, "--out is missing; see mien extract --help");
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        if (strcmp(a->split, splits[i]) == 0) return MN_OK;
    return mn_fail(MN_EUSAGE, "--split %s: it is train, validation, test or all", a->split);
}

mn_err mien_extract(int argc, char **argv)
{
    extract_arguments a = {.split = "all"};
    MN_TRY(mien_arguments_read(&parser, argc, argv, &a.recipe));
    if (a.recipe.help_keys) return mien_print_keys(a.recipe.help_task);
    MN_TRY(check_arguments(&a));
    return mien_with_job(&a.recipe, extract);
}
