// Which checkpoint a run goes on from, and whether it may: the recipe and the data must be those it was saved with.
#include "dist/train_internal.h"

#include "dist/machine.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The checkpoint to go on from: "" is a fresh start.
static mn_err choose_checkpoint(dist__loop *l, char path[DIST_CKPT_PATH])
{
    const char *resume = l->cfg->resume;
    mn_err err = MN_OK;
    *path = '\0';
    if (strcmp(resume, "never") == 0) return MN_OK;
    if (dist__lead(l)) {
        if (strcmp(resume, "auto") == 0) {
            err = dist_ckpt_latest(l->ckpt_dir, path, DIST_CKPT_PATH);
        } else {
            snprintf(path, DIST_CKPT_PATH, "%s", resume);
            err = dist_ckpt_verify(path);
        }
    }
    MN_TRY(dist_agree(l->comm, err));
    return dist_broadcast(l->comm, path, DIST_CKPT_PATH, 0);
}

// The resolved recipe of the run whose checkpoint `path` is: RUN/recipe.resolved.yaml of RUN/ckpt/step-N.
static char *recipe_beside(const char *path)
{
    int n = (int)strlen(path);
    for (int parts = 0; parts < 2 && n > 0; parts++)
        for (n--; n > 0 && path[n] != '/'; n--)
            continue;
    if (n <= 0) return mn_sprintf("%s/../../recipe.resolved.yaml", path); // it does not name the run
    return mn_sprintf("%.*s/recipe.resolved.yaml", n, path);
}

// Before the weights are looked at: options are what a user knows, tensors are not.
static mn_err check_recipe(const dist__loop *l, const char *path, uint64_t digest)
{
    if (digest == l->cfg->recipe_digest) return MN_OK;
    mn_err err = MN_ENOINPUT;
    char *saved = recipe_beside(path);
    if (l->cfg->compare_recipe && access(saved, R_OK) == 0) err = l->cfg->compare_recipe(l->cfg->compare_ctx, saved);
    free(saved);
    if (err == MN_ECONFIG) return mn_while(err, "resuming from %s", path);
    if (err == MN_OK) // the recipe of a later course of the run, or options that one of the versions does not know
        return mn_fail(
            MN_ECONFIG,
            "%s was saved with another recipe than the one of its run now, which is this one, or by a version "
            "of mien with other options: go on with that version, or start a run of another name",
            path);
    return mn_fail(MN_ECONFIG,
                   "%s was saved with other settings than this recipe's; a resumed run may change only train.steps, "
                   "train.epochs, train.recompute, checkpoint.*, eval.*, paths.* and logging",
                   path);
}

// The loader's place means nothing in other data.
static mn_err check_data(const dist__loop *l, const char *path, uint64_t digest)
{
    if (digest == l->task->train->digest) return MN_OK;
    if (digest)
        return mn_fail(
            MN_ECONFIG,
            "%s was trained on other data than is there now under the same name (%s): bring back what was there, "
            "or start a run of another name",
            path, l->cfg->data);
    if (dist__lead(l))
        mn_warn("%s does not say what data it was trained on: taken as the same (%s)", path, l->cfg->data);
    return MN_OK;
}

static mn_err restore(dist__loop *l, const char *path)
{
    char machine[256];
    MN_TRY(dist_ckpt_state(path, &l->state));
    MN_TRY(check_recipe(l, path, l->state.recipe));
    MN_TRY(check_data(l, path, l->state.trained));
    MN_TRY(dist_ckpt_load(path, l->params, l->optim, &l->state));
    dist_machine_text(l->device->text, machine, sizeof machine);
    if (dist__lead(l)) {
        mn_info("resuming from %s: step %lld, epoch %lld, sample %lld", path, (long long)l->state.step,
                (long long)l->state.data.epoch, (long long)l->state.data.position);
        if (strcmp(machine, l->state.machine) != 0)
            mn_info(
                "the checkpoint comes from other hardware or libraries (%s; here %s): equal within rounding, not bit "
                "for bit",
                l->state.machine, machine);
        if (l->state.world != dist_world(l->comm))
            mn_info("the checkpoint comes from %d ranks, here are %d: the same samples, equal within rounding",
                    l->state.world, dist_world(l->comm));
    }
    return MN_OK;
}

// Is it the checkpoint of this step in the run's own folder, or one from elsewhere?
static int own_checkpoint(const dist__loop *l, const char *path, int64_t step)
{
    struct stat a, b;
    char *own = mn_sprintf("%s/step-%08lld", l->ckpt_dir, (long long)step);
    int same = stat(path, &a) == 0 && stat(own, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    free(own);
    return same;
}

mn_err dist__train_restore(dist__loop *l)
{
    char path[DIST_CKPT_PATH];
    MN_TRY(choose_checkpoint(l, path));
    if (*path) {
        MN_TRY(dist_agree(l->comm, restore(l, path)));
        if (own_checkpoint(l, path, l->state.step)) l->from_step = l->state.step;
    } else if (l->task->init) {
        MN_TRY(dist_agree(l->comm, l->task->init(l->task->ctx, l->params)));
    }
    l->state.recipe = l->cfg->recipe_digest;
    l->state.trained = l->task->train->digest;
    l->state.world = dist_world(l->comm);
    dist_machine_text(l->device->text, l->state.machine, sizeof l->state.machine);
    l->saved_step = l->landed = l->state.step;
    return MN_OK;
}
