#include "recipes/recipe.h"

#include "data/label.h"
#include "data/shard.h"
#include "dist/ckpt.h"
#include "dist/cores.h"
#include "dist/metrics.h"
#include "dist/watchdog.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/weights.h"
#include "recipes/device.h"
#include "recipes/score.h"
#include "recipes/version.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIEN_TASK(name) extern const mien_task mien_task_##name;
#include "recipes/tasks.def"
#undef MIEN_TASK

static const mien_task *const tasks[] = {
#define MIEN_TASK(name) &mien_task_##name,
#include "recipes/tasks.def"
#undef MIEN_TASK
};
enum { TASKS = sizeof tasks / sizeof *tasks };

static const char *const precisions[] = {"fp32", "bf16", NULL};
static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const invalids[] = {"frame", "column", NULL};
static const char *const schedules[] = {"constant", "cosine", "multistep", NULL};
static const char *const stores[] = {"fp32", "fp16", "bf16", NULL}; // order of data_store
static const char *const selects[] = {"best", "last", NULL};
static const char *const scores[] = {"task", "expr_f1", "au_f1", "ccc_mean", "loss", NULL}; // order of MIEN_SELECT_*
static const char *const samplings[] = {"none", "expression", "video", "identity", NULL};   // order of MIEN_SAMPLING_*
static const char *const zero_divisions[] = {"0", "1", "skip", "sklearn13", NULL};

static const mn_option part_options[] = {
    MN_OPT_STRING(mien_part, set, "set", NULL, 0, "folder of shards under paths.data"),
    MN_OPT_STRING(mien_part, split, "split", "train", 0, "train, validation or test"),
    MN_OPT_FLOAT(mien_part, weight, "weight", "1", 0, 1e6, MN_ABOVE_LO, "samples an epoch takes, in units of the set"),
    {0},
};

#define C mien_common
const mn_option mien_common_options[] = {
    MN_OPT_STRING(C, task, "task", NULL, 0, "simmim, finetune, cca or sound"),
    MN_OPT_STRING(C, run, "run", NULL, MN_FREE | MN_FILE_NAME, "name of the run's folder"),
    MN_OPT_INT(C, seed, "seed", "1", 0, 9007199254740992.0, 0, "of everything random"),
    MN_OPT_STRING(C, data_dir, "paths.data", "", MN_FREE | MN_LOCAL,
                  "where shards and features are; default $MIEN_DATA or ./mien-data"),
    MN_OPT_STRING(C, runs_dir, "paths.runs", "./runs", MN_FREE | MN_LOCAL, "where runs are written"),
    MN_OPT_ENUM(C, precision, "precision", "fp32", precisions, 0, "of activations and matrix products"),
    MN_OPT_ENUM(C, device, "device", "auto", devices, MN_FREE, "where to compute"),
    MN_OPT_ENUM(C, wire, "dist.wire", "fp32", precisions, MN_FREE,
                "form of gradients between GPUs, and between hosts; bf16: half the bytes, rounded"),
    MN_OPT_INT(C, threads, "threads", "0", 0, 1024, MN_FREE | MN_LOCAL, "per rank; 0: cores of the host / its ranks"),
    MN_OPT_RECORDS(C, data, "data", "[]", mien_part, part_options, 0, "datasets to train on"),
    MN_OPT_ENUM(C, data_invalid, "data.invalid", "frame", invalids, 0,
                "what an invalid label drops: the frame for that task, or the column"),
    MN_OPT_INT(C, data_stride, "data.stride", "1", 1, 1000, 0, "take every n-th frame of a video"),
    MN_OPT_ENUM(C, sampling_by, "sampling.by", "none", samplings, 0,
                "groups that training shows more equally than they are there, drawing with replacement"),
    MN_OPT_FLOAT(C, sampling_power, "sampling.power", "1", 0, 1, 0,
                 "a sample of a group of n is drawn in proportion to n^-power; 1: all groups equally often"),
    MN_OPT_INT(C, sampling_samples, "sampling.samples", "0", 0, 1e12, 0,
               "draws in an epoch; 0: as many samples as there are"),
    MN_OPT_FLOAT(C, lr, "optim.lr", "1e-3", 0, 10, 0, "peak learning rate"),
    MN_OPT_INT(C, scale_batch, "optim.scale_batch", "0", 0, 1e6, 0,
               "all learning rates are multiplied by train.batch over this; 0: no"),
    MN_OPT_FLOAT(C, beta1, "optim.beta1", "0.9", 0, 1, MN_BELOW_HI, "AdamW"),
    MN_OPT_FLOAT(C, beta2, "optim.beta2", "0.999", 0, 1, MN_BELOW_HI, "AdamW"),
    MN_OPT_FLOAT(C, eps, "optim.eps", "1e-8", 0, 1, 0, "AdamW"),
    MN_OPT_FLOAT(C, weight_decay, "optim.weight_decay", "0.05", 0, 10, 0, "decoupled"),
    MN_OPT_BOOL(C, decay_all, "optim.decay_all", "false", 0, "weight decay on norms and biases too"),
    MN_OPT_FLOAT(C, clip, "optim.clip", "5", 0, 1e6, 0, "global gradient norm; 0: off"),
    MN_OPT_FLOAT(C, layer_decay, "optim.layer_decay", "1", 0, 1, MN_ABOVE_LO,
                 "learning rate of a layer over that of the next"),
    MN_OPT_ENUM(C, schedule, "schedule.kind", "cosine", schedules, 0, "after the warm-up"),
    MN_OPT_FLOAT(C, warmup_epochs, "schedule.warmup_epochs", "0", 0, 1e6, 0, "linear warm-up"),
    MN_OPT_FLOAT(C, warmup_lr, "schedule.warmup_lr", "0", 0, 10, 0, "at its start"),
    MN_OPT_FLOAT(C, min_lr, "schedule.min_lr", "0", 0, 10, 0, "at the end of the cosine"),
    MN_OPT_FLOATS(C, milestones, "schedule.milestones", "[]", 0, 1e6, 0,
                  "epochs at which multistep multiplies by gamma"),
    MN_OPT_FLOAT(C, gamma, "schedule.gamma", "0.1", 0, 1, 0, "of multistep"),
    MN_OPT_BOOL(C, quirks, "schedule.quirks", "false", 0, "as timm does it: one update late, cosine from update 0"),
    MN_OPT_BOOL(C, lr_per_epoch, "schedule.per_epoch", "false", 0, "the learning rate changes once an epoch"),
    MN_OPT_INT(C, steps, "train.steps", "0", 0, 1e12, MN_FREE, "optimiser steps; or train.epochs"),
    MN_OPT_INT(C, epochs, "train.epochs", "0", 0, 1e9, MN_FREE, "passes over the data"),
    MN_OPT_INT(C, batch, "train.batch", "64", 1, 1e7, 0, "samples in a step, over all ranks"),
    MN_OPT_BOOL(C, recompute, "train.recompute", "false", MN_FREE,
                "blocks of the network are computed again for backward: the same results, less memory, more time"),
    MN_OPT_FLOAT(C, mixup, "train.mixup", "0", 0, 100, 0, "alpha of mixup; 0: off"),
    MN_OPT_FLOAT(C, cutmix, "train.cutmix", "0", 0, 100, 0, "alpha of cutmix; 0: off"),
    MN_OPT_FLOAT(C, mix_probability, "train.mix_probability", "1", 0, 1, MN_ABOVE_LO,
                 "share of the batches that are mixed at all"),
    MN_OPT_FLOAT(C, cutmix_share, "train.cutmix_share", "0.5", 0, 1, 0,
                 "with mixup and cutmix: share of the mixed batches that cutmix takes"),
    MN_OPT_INT(C, loader_threads, "train.loader_threads", "1", 1, 256, MN_FREE | MN_LOCAL, "per rank"),
    MN_OPT_INT(C, save_every, "checkpoint.every", "0", 0, 1e12, MN_FREE, "steps; 0: at the end"),
    MN_OPT_INT(C, keep, "checkpoint.keep", "3", 1, 1000, MN_FREE, "newest ones kept, besides the best"),
    MN_OPT_ENUM(C, select, "checkpoint.select", "task", scores, MN_FREE,
                "what the best checkpoint is best at; task: the score of its target"),
    MN_OPT_INT(C, eval_every, "eval.every", "0", 0, 1e12, MN_FREE, "steps; 0: at the end"),
    MN_OPT_INT(C, eval_batch, "eval.batch", "64", 1, 1e6, MN_FREE, "samples, over all ranks"),
    MN_OPT_INT(C, eval_stride, "eval.stride", "1", 1, 1000, MN_FREE, "score every n-th frame"),
    MN_OPT_STRING(C, eval_split, "eval.split", "validation", MN_FREE,
                  "split of the first of data that is scored; empty: none"),
    MN_OPT_ENUM(C, feature_store, "features.store", "fp32", stores, MN_FREE, "what mien extract writes"),
    MN_OPT_STRING(C, init_from, "init.from", "", 0, "run, checkpoint or .safetensors file to start from"),
    MN_OPT_ENUM(C, init_select, "init.select", "best", selects, 0, "which checkpoint of that run"),
    MN_OPT_ENUM(C, zero_division, "metric.zero_division", "0", zero_divisions, MN_FREE,
                "F1 of a class without true positives; sklearn13 reproduces a bug of scikit-learn 1.3"),
    MN_OPT_INT(C, log_every, "log.every", "1", 1, 1e6, MN_FREE, "steps between lines of metrics.jsonl"),
    MN_OPT_STRING(
        C, stage_dir, "stage.dir", "auto", MN_FREE | MN_LOCAL,
        "copies of the shards a node reads; auto: $SLURM_TMPDIR or $TMPDIR, from network disks; off; a folder"),
    MN_OPT_FLOAT(C, stage_limit, "stage.limit_gb", "0", 0, 1e6, MN_FREE | MN_LOCAL,
                 "of these copies on a node; 0: a tenth of its disk stays free"),
    MN_OPT_FLOAT(C, step_deadline, "deadline.step", "0", 0, 1e6, MN_FREE, "seconds; 0: 10 x the median, at least 60"),
    MN_OPT_FLOAT(C, init_deadline, "deadline.init", "300", 1, 1e6, MN_FREE,
                 "seconds for everything before the first step"),
    {0},
};
#undef C

const mien_task *mien_task_at(int i)
{
    return i < TASKS ? tasks[i] : NULL;
}

const mien_task *mien_task_find(const char *name)
{
    for (int i = 0; i < TASKS; i++)
        if (strcmp(tasks[i]->name, name) == 0) return tasks[i];
    return NULL;
}

static mn_err choose_task(mien_job *j)
{
    const char *names[TASKS], *name = mn_recipe_peek(j->recipe, "task");
    if (!name) return mn_fail(MN_ECONFIG, "%s: the key 'task' is missing", j->path);
    j->task = mien_task_find(name);
    if (j->task) return MN_OK;
    for (int i = 0; i < TASKS; i++)
        names[i] = tasks[i]->name;
    return mn_recipe_fail(j->recipe, "task", "there is no task '%s'; did you mean '%s'?", name,
                          mn_nearest(name, names, TASKS));
}

static mn_err check_common(mien_job *j)
{
    const mien_common *c = &j->common;
    if (c->steps > 0 && c->epochs > 0)
        return mn_recipe_fail(j->recipe, "train.epochs", "give train.steps or train.epochs, not both");
    if (c->milestones.n > NN_MILESTONES)
        return mn_recipe_fail(j->recipe, "schedule.milestones", "%lld epochs; there can be at most %d",
                              (long long)c->milestones.n, NN_MILESTONES);
    if (*c->eval_split && data_split_number(c->eval_split) <= DATA_SPLIT_NONE)
        return mn_recipe_fail(j->recipe, "eval.split", "'%s' is none of train, validation, test", c->eval_split);
    if (c->warmup_lr > c->lr)
        return mn_recipe_fail(j->recipe, "schedule.warmup_lr", "%g is above optim.lr %g", c->warmup_lr, c->lr);
    return MN_OK;
}

static mn_err use_threads(const mien_job *j)
{
    dist_cores cores;
    MN_TRY(dist_cores_plan(j->comm, (int)j->common.threads, &cores));
    omp_set_num_threads(cores.threads);
    if (dist_rank(j->comm) != 0) return MN_OK;
    mn_info("%s", cores.report);
    if (cores.warning[0]) mn_warn("%s", cores.warning);
    return MN_OK;
}

static mn_err resolve(mien_job *j, const char *const *overrides, int64_t n)
{
    MN_TRY(mn_recipe_open(&j->recipe, j->path, overrides, n));
    MN_TRY(choose_task(j));
    j->conf = mn_calloc(1, j->task->conf_bytes);
    mn_recipe_table(j->recipe, mien_common_options, &j->common);
    mn_recipe_table(j->recipe, j->task->options, j->conf);
    MN_TRY(mn_recipe_resolve(j->recipe));
    MN_TRY(check_common(j));
    return j->task->check ? j->task->check(j) : MN_OK;
}

mn_err mien_job_open(mien_job **out, dist_comm *comm, const char *path, const char *const *overrides, int64_t n)
{
    mien_job *j = mn_calloc(1, sizeof *j);
    j->comm = comm;
    j->path = path;
    mn_err err = resolve(j, overrides, n);
    if (err == MN_OK) dist_watchdog_limit(dist_watchdog_of(comm), DIST_PHASE_INIT, j->common.init_deadline);
    if (err == MN_OK) err = use_threads(j);
    if (err == MN_OK) err = mien_device_open(comm, j->common.device, &j->device);
    if (err != MN_OK)
        mien_job_close(j);
    else
        *out = j;
    return err;
}

void mien_job_close(mien_job *j)
{
    if (!j) return;
    if (j->conf && j->task->close) j->task->close(j);
    mien_score_close(j->score);
    mn_recipe_free(j->recipe);
    mien_device_close(j->device);
    free(j->conf);
    free(j);
}

static const char *data_root(const mien_job *j)
{
    const char *env = getenv("MIEN_DATA");
    if (*j->common.data_dir) return j->common.data_dir;
    return env && *env ? env : "./mien-data";
}

char *mien_data_path(const mien_job *j, const char *name)
{
    if (*name == '/') return mn_strdup(name);
    return mn_sprintf("%s/%s", data_root(j), name);
}

static void tell_loaded(const nn_weights_report *r, const char *path)
{
    mn_info("weights from %s: %d loaded (%d resized), %d left as initialised, %d of the file not used", path, r->loaded,
            r->resized, r->missing + r->mismatched, r->unexpected + r->dropped);
    for (int i = 0; i < r->lines; i++)
        mn_debug("  %s", r->line[i]);
}

mn_err mien_load_weights(const mien_job *j, nn_params *params, const char *path, int strict)
{
    nn_weights *w;
    nn_weights_report report = {0};
    MN_TRY(nn_weights_open(&w, path, NN_WEIGHTS_AUTO));
    mn_err err = nn_weights_load(w, params, &(nn_weights_load_cfg){.strict = strict}, &report);
    if (err == MN_OK && (!j->comm || dist_rank(j->comm) == 0)) tell_loaded(&report, path);
    if (err == MN_OK && report.loaded == 0)
        err = mn_fail(MN_ECONFIG, "%s: no tensor of it fits this recipe's network; `mien weights info` lists its names",
                      path);
    nn_weights_report_free(&report);
    nn_weights_close(w);
    return err;
}

mn_err mien_init(void *job, nn_params *params)
{
    const mien_job *j = job;
    char path[DIST_CKPT_PATH];
    if (!*j->common.init_from) return MN_OK;
    MN_TRY(dist_ckpt_find_model(j->common.init_from, j->common.runs_dir, j->common.init_select == MIEN_BEST, path,
                                sizeof path));
    return mien_load_weights(j, params, path, 0);
}

dist_task mien_dist_task(mien_job *j, data_set *train, data_set *eval)
{
    const mien_task *t = j->task;
    return (dist_task){.name = t->name,
                       .ctx = j,
                       .train = train,
                       .eval = eval,
                       .build = t->build,
                       .init = t->init ? t->init : mien_init,
                       .score_begin = t->score_begin,
                       .score_add = t->score_add,
                       .score_end = t->score_end};
}

static nn_schedule schedule_of(const mien_common *c, int64_t per_epoch, int64_t steps)
{
    double scale = c->scale_batch > 0 ? (double)c->batch / (double)c->scale_batch : 1;
    nn_schedule s = {.kind = (nn_schedule_kind)c->schedule,
                     .lr = c->lr * scale,
                     .warmup_lr = c->warmup_lr * scale,
                     .min_lr = c->min_lr * scale,
                     .steps = steps,
                     .warmup_steps = (int64_t)(c->warmup_epochs * (double)per_epoch + 0.5),
                     .gamma = c->gamma,
                     .timm_quirks = c->quirks,
                     .per_epoch = c->lr_per_epoch ? per_epoch : 0};
    for (int64_t i = 0; i < c->milestones.n; i++)
        s.milestone[s.n_milestones++] = (int64_t)(c->milestones.v[i] * (double)per_epoch + 0.5);
    return s;
}

static mn_err check_select(const mien_job *j)
{
    static const int select_of[] = {MIEN_SELECT_EXPR, MIEN_SELECT_AU,
                                    MIEN_SELECT_CCC}; // of DATA_EXPR, DATA_AU, DATA_VA
    const mien_common *c = &j->common;
    int own = j->task->target ? select_of[j->task->target(j)] : MIEN_SELECT_LOSS;
    if (c->select != MIEN_SELECT_TASK && c->select != MIEN_SELECT_LOSS && c->select != own)
        return mn_recipe_fail(j->recipe, "checkpoint.select",
                              "%s is not what this recipe's target is scored by; say %s", scores[c->select],
                              scores[own]);
    if (c->zero_division == DIST_ZERO_SKLEARN13 && c->select != MIEN_SELECT_LOSS && j->task->target)
        return mn_recipe_fail(j->recipe, "metric.zero_division",
                              "sklearn13 would select checkpoints that are always wrong about a class; use "
                              "checkpoint.select=loss with it");
    return MN_OK;
}

// "affwild2 train, celeba train"
static void name_data(const mien_common *c, char *text, size_t size)
{
    const mien_part *part = c->data.v;
    size_t n = 0;
    for (int64_t i = 0; i < c->data.n && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s %s", i ? ", " : "", part[i].set, part[i].split);
}

static mn_err check_mixup(const mien_job *j, const data_set *train, unsigned fields)
{
    const mien_common *c = &j->common;
    const char *key = c->cutmix > 0 ? "train.cutmix" : "train.mixup";
    int pictures = 0;
    for (int i = 0; i < train->n_fields; i++)
        pictures += fields >> i & 1 && data_mixup_is_picture(train->field[i].shape);
    if (!fields && (c->mixup > 0 || c->cutmix > 0))
        return mn_recipe_fail(j->recipe, key, "task %s has nothing that could be mixed", j->task->name);
    if (c->cutmix > 0 && !pictures)
        return mn_recipe_fail(
            j->recipe, key,
            "cutmix needs pictures, which this recipe does not train on; train.mixup works on everything");
    return MN_OK;
}

mn_err mien_train_cfg(mien_job *j, const data_set *train, dist_train_cfg *cfg)
{
    const mien_common *c = &j->common;
    int64_t draws = c->sampling_by ? c->sampling_samples : 0;
    int64_t per_epoch = dist_steps_per_epoch(train, c->batch, draws);
    int64_t steps = c->steps > 0 ? c->steps : c->epochs * per_epoch;
    unsigned mixed = j->task->mixup_fields ? j->task->mixup_fields(train) : 0;
    MN_TRY(check_select(j));
    MN_TRY(check_mixup(j, train, mixed));
    if (c->steps == 0 && c->epochs == 0)
        return mn_recipe_fail(j->recipe, "train.steps", "neither train.steps nor train.epochs is given");
    if (per_epoch == 0)
        return mn_recipe_fail(j->recipe, "train.batch", "%lld is more than the %lld samples there are",
                              (long long)c->batch, (long long)train->count);
    *cfg = (dist_train_cfg){.runs = c->runs_dir,
                            .run = c->run,
                            .recipe_digest = mn_recipe_digest(j->recipe, MN_FREE),
                            .options_digest = mn_recipe_digest(j->recipe, MN_LOCAL),
                            .binary = mien_binary_digest(),
                            .seed = c->seed,
                            .device = j->device,
                            .dtype = c->precision == MIEN_BF16 ? MN_BF16 : MN_F32,
                            .wire = c->wire == MIEN_BF16 ? MN_BF16 : MN_F32,
                            .steps = c->steps,
                            .epochs = c->epochs,
                            .batch = c->batch,
                            .recompute = c->recompute,
                            .log_every = c->log_every,
                            .eval_every = c->eval_every,
                            .save_every = c->save_every,
                            .eval_batch = c->eval_batch,
                            .eval_split = c->eval_split,
                            .keep = (int)c->keep,
                            .clip = c->clip,
                            .schedule = schedule_of(c, per_epoch, steps),
                            .optim = {.beta1 = c->beta1,
                                      .beta2 = c->beta2,
                                      .eps = c->eps,
                                      .weight_decay = c->weight_decay,
                                      .layer_decay = c->layer_decay,
                                      .layers = j->task->layers ? j->task->layers(j) : 0,
                                      .decay_all = c->decay_all},
                            .loader_threads = (int)c->loader_threads,
                            .mixup = {.alpha = c->mixup,
                                      .cutmix_alpha = c->cutmix,
                                      .probability = c->mix_probability,
                                      .cutmix_share = c->cutmix_share},
                            .mixup_fields = mixed,
                            .stage = c->stage_dir,
                            .stage_limit = (int64_t)(c->stage_limit * 1e9),
                            .step_deadline_s = c->step_deadline,
                            .init_deadline_s = c->init_deadline};
    name_data(c, cfg->data, sizeof cfg->data);
    return MN_OK;
}
