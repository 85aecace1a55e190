// mien train RECIPE.yaml [key=value ...] [--resume auto|never|CKPT_DIR] [--dry-run]
#include "recipes/verbs.h"

#include "dist/proceed.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "recipes/arguments.h"
#include "recipes/recipe.h"
#include "recipes/sampling.h"
#include "recipes/sources.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct argp_option options[] = {
    {"resume", 'r', "auto|never|DIR", 0,
     "Go on from the newest checkpoint (auto, the default), never, or from this one", 0},
    {"dry-run", 'n', 0, 0, "Build everything, run two steps, print memory, disk and time; save nothing", 0},
    {"no-graph", 'g', 0, 0, "To look for a fault: a GPU gets every step call by call instead of as a recorded graph",
     0},
    {0},
};

typedef struct train_arguments {
    mien_arguments recipe; // first: shared parser
    const char *resume;
    int dry_run, no_graph;
} train_arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    train_arguments *a = state->input;
    switch (key) {
    case 'r':
        a->resume = arg;
        return 0;
    case 'n':
        a->dry_run = 1;
        return 0;
    case 'g':
        a->no_graph = 1;
        return 0;
    default:
        return mien_arguments_parse(key, arg, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE.yaml [key=value ...]",
    .doc = "Trains the network of a recipe. Under mpirun or srun every rank runs this same command. USR2 or TERM: save "
           "and exit with 85; the same command goes on.\v"
           "Example:\n  mpirun -n 2 mien train recipes/simmim/demo.yaml train.steps=100\n\n"
           "Faces are expected cropped. Keys of the recipe: mien train --keys [TASK]."};

// --resume names a checkpoint when it is no word of ours. Whether that is sound is looked at when it is loaded.
static mn_err check_resume(const char *from)
{
    if (strcmp(from, "auto") == 0 || strcmp(from, "never") == 0) return MN_OK;
    char *manifest = mn_sprintf("%s/manifest.json", from);
    int found = access(manifest, F_OK) == 0;
    free(manifest);
    if (found) return MN_OK;
    return mn_fail(strchr(from, '/') ? MN_ENOINPUT : MN_EUSAGE,
                   "--resume %s: neither auto, never nor a checkpoint folder (runs/NAME/ckpt/step-...)", from);
}

static mn_err make_runs(const char *dir)
{
    return mn_while(mn_dir_make(dir), "making the folder of paths.runs");
}

static mn_err record_sources(const mien_job *j, const data_set *set, int dry_run)
{
    char *run = mn_sprintf("%s/%s", j->common.runs_dir, j->common.run);
    mn_err err = dist_rank(j->comm) == 0 && !dry_run ? mien_sources_record(j, set, run) : MN_OK;
    free(run);
    return dist_agree(j->comm, err);
}

static mn_err compare_recipe(void *recipe, const char *saved_path)
{
    return mn_recipe_resume(recipe, saved_path);
}

static mn_err train(mien_job *j, const void *arguments)
{
    const train_arguments *a = arguments;
    data_set *sets = NULL, *eval = NULL;
    dist_train_cfg cfg = {0};
    mn_err err;
    char *text = mn_recipe_text(j->recipe);
    j->training = 1;
    MN_TRY_OUT(err, dist_agree(j->comm, dist_rank(j->comm) == 0 ? check_resume(a->resume) : MN_OK));
    MN_TRY_OUT(err, dist_proceed(j->comm, j->task->open(j, MIEN_USE_TRAIN, NULL, &sets)));
    if (j->task->score_begin && *j->common.eval_split)
        MN_TRY_OUT(err, dist_proceed(j->comm, j->task->open(j, MIEN_USE_SCORE, j->common.eval_split, &eval)));
    j->score_set = eval;
    MN_TRY_OUT(err, mien_train_cfg(j, sets, &cfg));
    MN_TRY_OUT(err, dist_agree(j->comm, mien_sampling_open(j, sets, &cfg)));
    int writes = dist_rank(j->comm) == 0 && !a->dry_run;
    MN_TRY_OUT(err, dist_agree(j->comm, writes ? make_runs(j->common.runs_dir) : MN_OK));
    MN_TRY_OUT(err, record_sources(j, sets, a->dry_run));
    cfg.resume = a->resume;
    cfg.dry_run = a->dry_run;
    cfg.no_graph = a->no_graph;
    cfg.recipe_text = text;
    cfg.compare_recipe = compare_recipe;
    cfg.compare_ctx = j->recipe;
    dist_task task = mien_dist_task(j, sets, eval);
    MN_TRY_OUT(err, dist_train(j->comm, &task, &cfg));
    if (writes && eval)
        mn_info("trained; to score it: mien eval %s/%s/recipe.resolved.yaml --weights %s", j->common.runs_dir,
                j->common.run, j->common.run);
    else if (writes)
        mn_info("trained: %s/%s", j->common.runs_dir, j->common.run);
out:
    free((void *)(uintptr_t)cfg.weights); // ours
    data_set_close(eval);
    data_set_close(sets);
    free(text);
    return err;
}

mn_err mien_train(int argc, char **argv)
{
    train_arguments a = {.resume = "auto"};
    MN_TRY(mien_arguments_read(&parser, argc, argv, &a.recipe));
    if (a.recipe.help_keys) return mien_print_keys(a.recipe.help_task);
    return mien_with_job(&a.recipe, train);
}
