#include "dist/train.h"

#include "data/copies.h"
#include "dist/ckpt.h"
#include "dist/gradients.h"
#include "dist/handshake.h"
#include "dist/machine.h"
#include "dist/pace.h"
#include "dist/proceed.h"
#include "dist/progress.h"
#include "dist/run.h"
#include "dist/signal.h"
#include "dist/watchdog.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SKIPS = 5, FLYING = 2 };

// A step that was put on the device: what is known of it before its results are.
typedef struct flight {
    int64_t step, epoch, samples;
    uint64_t ids;
    double lr, data_s, begin;
} flight;

// Everything of one run in this process.
typedef struct loop {
    dist_comm *comm;
    const dist_task *task;
    const dist_train_cfg *cfg;
    dist_run *run;
    dist_attempt attempt;
    char *ckpt_dir;
    nn_params *params;
    nn_graph *graph, *eval_graph;
    nn_optim *optim;
    const nn_device *device;
    dist_gradients *gradients;
    data_loader *loader;
    data_copies *copies;
    dist_ckpt *ckpt; // rank 0 only
    dist_progress *progress;
    dist_watchdog *watchdog;
    dist_pace pace;
    dist_state state;
    int64_t steps, per_epoch, saved_step, from_step;
    int skips, stop, no_time;
    flight flying[FLYING];   // by step
    int64_t landed;          // steps whose results are known
    double landed_at, begin; // when the last one was; when this one began
    double step_s, data_s;   // of the last one that landed; of the one that is put on the device
} loop;

int64_t dist_steps_per_epoch(const data_set *set, int64_t batch, int64_t epoch_samples)
{
    return (epoch_samples > 0 ? epoch_samples : data_set_epoch(set)) / batch;
}

static int lead(const loop *l)
{
    return dist_rank(l->comm) == 0;
}

// --- start ---

// The sums of the global batch behind a loss. The fault point leaves every rank with its own: what a trainer that
// averages the ranks' losses and gradients does, which the tests must be able to tell from the real thing.
static mn_err sum_batch(void *comm, double *v, int64_t n)
{
    return mn_fault("train.rank_means") ? MN_OK : dist_host_sum(comm, v, n);
}

// Behind the last step of backward; recorded with it on a GPU.
static mn_err end_of_run(void *ctx)
{
    loop *l = ctx;
    MN_TRY(dist_gradients_finish(l->gradients));
    return nn_optim_update(l->optim, nn_graph_device_buffer(l->graph, "loss"));
}

static mn_err build_graphs(loop *l)
{
    const dist_train_cfg *cfg = l->cfg;
    const dist_task *t = l->task;
    int world = dist_world(l->comm);
    nn_graph_cfg graph = {.mode = NN_TRAIN, .dtype = cfg->dtype, .seed = cfg->seed, .device = l->device};
    nn_layout_cfg layout = {.dtype = cfg->dtype};
    l->params = nn_params_new(cfg->seed);
    l->graph = nn_graph_new(l->params, &graph);
    nn_tensor *loss =
        t->build(t->ctx, l->graph, t->train, data_loader_plan_rows(cfg->batch, world, data_mixup_on(&cfg->mixup)));
    nn_output(l->graph, "loss", loss);
    if (t->eval) {
        graph.mode = NN_EVAL;
        l->eval_graph = nn_graph_new(l->params, &graph);
        t->build(t->ctx, l->eval_graph, t->eval, data_loader_plan_rows(cfg->eval_batch, world, 0));
    }
    MN_TRY(dist_gradients_new(&l->gradients, l->comm, l->device));
    dist_gradients_sums(l->gradients, l->graph);
    if (l->eval_graph) dist_gradients_sums(l->gradients, l->eval_graph);
    if (mn_fault_armed && l->device->on_host) nn_graph_set_sum(l->graph, sum_batch, l->comm);
    dist_gradients_layout(l->gradients, &layout);
    MN_TRY(nn_params_layout(l->params, l->graph, &layout));
    MN_TRY(nn_graph_plan(l->graph, loss));
    if (l->eval_graph) MN_TRY(nn_graph_plan(l->eval_graph, NULL));
    MN_TRY(nn_optim_new(&l->optim, l->params, &cfg->optim));
    MN_TRY(dist_gradients_plan(l->gradients, l->graph, l->params));
    nn_graph_on_end(l->graph, end_of_run, l);
    nn_graph_record(l->graph, !cfg->no_graph);
    if (l->eval_graph) nn_graph_record(l->eval_graph, !cfg->no_graph);
    return MN_OK;
}

static mn_err handshake(loop *l)
{
    char machine[256];
    dist_machine_text(l->device->text, machine, sizeof machine);
    dist_fact facts[] = {dist_fact_hex("binary", l->cfg->binary),
                         dist_fact_hex("recipe", l->cfg->recipe_digest),
                         dist_fact_hex("options", l->cfg->options_digest),
                         dist_fact_hex("plan", nn_graph_hash(l->graph)),
                         dist_fact_hex("training data", l->task->train->digest),
                         dist_fact_hex("evaluation data", l->task->eval ? l->task->eval->digest : 0),
                         dist_fact_text("device", l->device->name),
                         dist_fact_text("precision", mn_dtype_name(l->cfg->dtype)),
                         dist_fact_text("libraries", machine)};
    return dist_handshake(l->comm, facts, sizeof facts / sizeof *facts);
}

// The checkpoint to go on from: "" is a fresh start.
static mn_err choose_checkpoint(loop *l, char path[DIST_CKPT_PATH])
{
    const char *resume = l->cfg->resume;
    mn_err err = MN_OK;
    *path = '\0';
    if (strcmp(resume, "never") == 0) return MN_OK;
    if (lead(l)) {
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

// Before the weights are looked at: options are what a user knows, tensors are not.
static mn_err check_recipe(const loop *l, const char *path, uint64_t digest)
{
    if (digest == l->cfg->recipe_digest) return MN_OK;
    mn_err err = MN_OK;
    char *saved = mn_sprintf("%s/../../recipe.resolved.yaml", path);
    if (l->cfg->compare_recipe && access(saved, R_OK) == 0) err = l->cfg->compare_recipe(l->cfg->compare_ctx, saved);
    free(saved);
    if (err == MN_ECONFIG) return mn_while(err, "resuming from %s", path);
    return mn_fail(MN_ECONFIG,
                   "%s was saved with other settings than this recipe's; a resumed run may change only train.steps, "
                   "train.epochs, checkpoint.*, eval.*, paths.* and logging",
                   path);
}

// The loader's place means nothing in other data.
static mn_err check_data(const loop *l, const char *path, uint64_t digest)
{
    if (digest == l->task->train->digest) return MN_OK;
    if (digest)
        return mn_fail(
            MN_ECONFIG,
            "%s was trained on other data than is there now under the same name (%s): bring back what was there, "
            "or start a run of another name",
            path, l->cfg->data);
    if (lead(l)) mn_warn("%s does not say what data it was trained on: taken as the same (%s)", path, l->cfg->data);
    return MN_OK;
}

static mn_err restore(loop *l, const char *path)
{
    char machine[256];
    MN_TRY(dist_ckpt_state(path, &l->state));
    MN_TRY(check_recipe(l, path, l->state.recipe));
    MN_TRY(check_data(l, path, l->state.trained));
    MN_TRY(dist_ckpt_load(path, l->params, l->optim, &l->state));
    dist_machine_text(l->device->text, machine, sizeof machine);
    if (lead(l)) {
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
static int own_checkpoint(const loop *l, const char *path, int64_t step)
{
    struct stat a, b;
    char *own = mn_sprintf("%s/step-%08lld", l->ckpt_dir, (long long)step);
    int same = stat(path, &a) == 0 && stat(own, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    free(own);
    return same;
}

static mn_err restore_or_init(loop *l)
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

static mn_err open_writer(loop *l)
{
    dist_ckpt_cfg cfg = {.dir = l->ckpt_dir,
                         .keep = l->cfg->keep,
                         .binary = l->cfg->binary,
                         .attempt = l->attempt.number,
                         .from_step = l->from_step,
                         .params = l->params,
                         .optim = l->optim};
    mn_err err = lead(l) ? dist_ckpt_open(&l->ckpt, &cfg) : MN_OK;
    return dist_agree(l->comm, err);
}

static mn_err open_loader(loop *l)
{
    const dist_train_cfg *cfg = l->cfg;
    data_loader_cfg d = {.set = l->task->train,
                         .batch = cfg->batch,
                         .rank = dist_rank(l->comm),
                         .world = dist_world(l->comm),
                         .threads = cfg->loader_threads,
                         .ahead = 2,
                         .train = 1,
                         .pairs = data_mixup_on(&cfg->mixup),
                         .mixup = cfg->mixup,
                         .mixup_fields = cfg->mixup_fields,
                         .weights = cfg->weights,
                         .epoch_samples = cfg->epoch_samples,
                         .memory = dist_batch_memory(l->graph)};
    if (cfg->stage && !cfg->dry_run) {
        data_copies_cfg copies = {
            .where = cfg->stage, .limit = cfg->stage_limit, .lead = dist_where(l->comm)->local_rank == 0};
        data_copies_open(&l->copies, &copies);
        d.copies = l->copies;
    }
    l->per_epoch = dist_steps_per_epoch(l->task->train, cfg->batch, cfg->epoch_samples);
    l->steps = cfg->steps > 0 ? cfg->steps : cfg->epochs * l->per_epoch;
    return data_loader_open(&l->loader, &d, l->state.data);
}

static mn_err claim_run(loop *l)
{
    mn_err err = lead(l) ? dist_attempt_open(&l->attempt, dist_run_folder(l->run)) : MN_OK;
    MN_TRY(dist_agree(l->comm, err));
    MN_TRY(dist_broadcast(l->comm, &l->attempt.number, sizeof l->attempt.number, 0));
    dist_run_attempt(l->run, l->attempt.number);
    dist_watchdog_attempt(l->watchdog, l->attempt.number);
    return dist_run_file(l->run, "recipe.resolved.yaml", l->cfg->recipe_text);
}

static mn_err tell_start(loop *l)
{
    char text[1024];
    int ranks = dist_world(l->comm);
    if (lead(l)) {
        fputs(l->cfg->recipe_text, stderr);
        if (!l->device->on_host) mn_info("%s: on %s", l->cfg->run, l->device->text);
        mn_info("%s: %s, %lld parameters, plan %.0f MiB, batch %lld on %d rank%s, %lld steps (%lld an epoch)",
                l->cfg->run, l->task->name, (long long)nn_params_elements(l->params),
                (double)nn_graph_bytes(l->graph) / 1048576.0, (long long)l->cfg->batch, ranks, ranks == 1 ? "" : "s",
                (long long)l->steps, (long long)l->per_epoch);
    }
    MN_TRY(dist_run_file(l->run, "env.json", dist_machine_json(l->comm, text, sizeof text)));
    return dist_run_event(l->run, "start", "\"step\":%lld,\"steps\":%lld,\"world\":%d,\"parameters\":%lld",
                          (long long)l->state.step, (long long)l->steps, ranks,
                          (long long)nn_params_elements(l->params));
}

static mn_err start(loop *l)
{
    int dry = l->cfg->dry_run;
    l->state = (dist_state){.data = {l->cfg->seed, 0, 0}, .best = -DBL_MAX};
    // A dry run reads what a real one would, and leaves no trace.
    MN_TRY(dry ? dist_run_none(&l->run) : dist_run_open(&l->run, l->comm, l->cfg->runs, l->cfg->run));
    l->ckpt_dir = mn_sprintf("%s/%s/ckpt", l->cfg->runs, l->cfg->run);
    dist_watchdog_limit(l->watchdog, DIST_PHASE_INIT, l->cfg->init_deadline_s);
    dist_watchdog_limit(l->watchdog, DIST_PHASE_STEP, l->cfg->step_deadline_s);
    MN_TRY(dist_agree(l->comm, dist_watchdog_folder(l->watchdog, dist_run_folder(l->run))));
    MN_TRY(dist_proceed(l->comm, build_graphs(l)));
    MN_TRY(handshake(l));
    MN_TRY(restore_or_init(l));
    if (!dry) MN_TRY(claim_run(l));
    if (!dry) MN_TRY(open_writer(l));
    MN_TRY(dist_agree(l->comm, open_loader(l)));
    if (lead(l)) l->progress = dist_progress_open(l->cfg->run, l->state.step, l->steps);
    return tell_start(l);
}

// --- one step ---

// What a trainer makes that averages the ranks' losses.
static mn_err average_loss(loop *l, double *loss)
{
    MN_TRY(dist_host_sum(l->comm, loss, 1));
    *loss /= dist_world(l->comm);
    return MN_OK;
}

// What a launcher that has sent TERM must wait for: guessed with a slow disk in mind, because half a save is none.
static double seconds_to_save(const loop *l)
{
    enum { BYTES_PER_SECOND = 100000000 };
    const nn_arenas *a = nn_params_arenas(l->params);
    return l->ckpt ? (double)(a->count * 4 + a->trained * 8) / BYTES_PER_SECOND : 0;
}

static mn_err put_batch(loop *l, const data_batch *b)
{
    nn_optim_step_args args = {.lr = nn_schedule_lr(&l->cfg->schedule, l->state.step), .clip = l->cfg->clip};
    if (mn_fault("train.rank_means")) args.grad_scale = 1.0 / dist_world(l->comm);
    MN_TRY(dist_feed(l->graph, l->task->train, b));
    MN_TRY(nn_optim_begin(l->optim, &args));
    dist_control own = {.stop = dist_signal_pending() || mn_fault("train.stop") ? 1.0f : 0.0f,
                        .no_time = dist_signal_has_time(seconds_to_save(l)) ? 0.0f : 1.0f,
                        .waited = (float)l->data_s};
    MN_TRY(dist_gradients_begin(l->gradients, &own));
    MN_TRY(nn_graph_run(l->graph, &(nn_tick){(uint64_t)l->state.step, b->first_row, b->rows}));
    MN_TRY(nn_optim_post(l->optim));
    MN_TRY(dist_gradients_post(l->gradients));
    l->flying[l->state.step % FLYING] = (flight){.step = l->state.step,
                                                 .epoch = b->at.epoch,
                                                 .samples = b->global_rows,
                                                 .ids = b->ids,
                                                 .lr = args.lr,
                                                 .begin = l->begin};
    l->state.data = b->after;
    l->state.step++;
    return MN_OK;
}

// A gradient that is not finite is the same on every rank after the reduction: all have skipped the update together.
static mn_err tell_skipped(loop *l, const flight *f, const nn_optim_result *r)
{
    if (++l->skips > MAX_SKIPS)
        return mn_fail(MN_EDATA,
                       "step %lld: loss %g, gradient norm %g: not finite %d times in a row; the last checkpoint is "
                       "step %lld; lower optim.lr or look at the samples of these steps in metrics.jsonl",
                       (long long)f->step, r->loss, r->grad_norm, l->skips, (long long)l->saved_step);
    if (lead(l))
        mn_warn("step %lld: loss %g, gradient norm %g: the update is skipped", (long long)f->step, r->loss,
                r->grad_norm);
    return dist_run_event(l->run, "fault", "\"kind\":\"not_finite\",\"step\":%lld,\"ids\":\"%016llx\"",
                          (long long)f->step, (unsigned long long)f->ids);
}

static mn_err report_step(loop *l, const flight *f, const nn_optim_result *r)
{
    char loss[DIST_JSON_NUMBER], lr[DIST_JSON_NUMBER], norm[DIST_JSON_NUMBER];
    int64_t done = f->step + 1;
    dist_progress_step(l->progress, done, r->loss, f->lr, (double)f->samples / l->step_s, f->data_s / l->step_s);
    if (l->cfg->log_every > 1 && done % l->cfg->log_every != 0) return MN_OK;
    return dist_run_event(l->run, "step",
                          "\"step\":%lld,\"epoch\":%lld,\"loss\":%s,\"lr\":%s,\"grad_norm\":%s,\"samples_per_s\":%.5g,"
                          "\"step_ms\":%.3f,\"data_ms\":%.3f,\"comm_ms\":%.3f,\"ids\":\"%016llx\"",
                          (long long)done, (long long)f->epoch, dist_json(r->loss, loss), dist_json(f->lr, lr),
                          dist_json(r->grad_norm, norm), (double)f->samples / l->step_s, 1e3 * l->step_s,
                          1e3 * f->data_s, 1e3 * dist_gradients_seconds(l->gradients), (unsigned long long)f->ids);
}

// The results of the oldest step that was put on the device: of this one on a CPU, of the one before on a GPU.
static mn_err land(loop *l)
{
    flight *f = &l->flying[l->landed % FLYING];
    nn_optim_result r;
    dist_control sum;
    MN_TRY(nn_optim_take(l->optim, &r));
    MN_TRY(dist_gradients_take(l->gradients, &sum));
    if (mn_fault("train.rank_means")) MN_TRY(average_loss(l, &r.loss));
    f->data_s = (double)sum.waited / dist_world(l->comm); // a rank that waits holds up all
    double now = mn_seconds();
    l->step_s = now - (f->begin > l->landed_at ? f->begin : l->landed_at);
    l->landed_at = now;
    l->landed++;
    l->stop |= sum.stop > 0;
    l->no_time |= sum.no_time > 0;
    if (r.skipped)
        MN_TRY(tell_skipped(l, f, &r));
    else
        l->skips = 0;
    // On a GPU the next step is under way, and messages between hosts would be in flight with its sums.
    if (l->device->on_host) MN_TRY(dist_pace_step(&l->pace, l->comm));
    return report_step(l, f, &r);
}

// Before anything looks at the state: nothing may be on its way.
static mn_err land_all(loop *l)
{
    while (l->landed < l->state.step)
        MN_TRY(land(l));
    return MN_OK;
}

static mn_err train_step(loop *l)
{
    const data_batch *b;
    l->begin = mn_seconds();
    dist_watchdog_phase(l->watchdog, DIST_PHASE_DATA, l->state.step);
    MN_TRY(data_loader_next(l->loader, &b));
    l->data_s = mn_seconds() - l->begin;
    dist_watchdog_phase(l->watchdog, DIST_PHASE_STEP, l->state.step);
    mn_err err = mn_fault("step") == 1 ? mn_fail(MN_EINTERNAL, "injected fault") : put_batch(l, b);
    MN_TRY(dist_release(l->loader, l->graph, b, err));
    int ahead = l->device->on_host ? 0 : 1;
    return l->state.step - l->landed > ahead ? land(l) : MN_OK;
}

// --- between steps ---

static mn_err evaluate(loop *l)
{
    char loss[DIST_JSON_NUMBER];
    dist_score *score = mn_calloc(1, sizeof *score);
    dist_watchdog_phase(l->watchdog, DIST_PHASE_EVAL, l->state.step);
    mn_err err = dist_evaluate(l->comm, l->task, l->eval_graph, l->task->eval, l->cfg->eval_batch,
                               l->cfg->loader_threads, score);
    if (err == MN_OK && score->select > l->state.best) {
        l->state.best = score->select;
        l->state.best_step = l->state.step;
    }
    if (err == MN_OK)
        err = dist_run_event(l->run, "eval", "\"step\":%lld,\"split\":\"%s\",\"loss\":%s,\"best_step\":%lld%s%s",
                             (long long)l->state.step, l->cfg->eval_split, dist_json(score->loss, loss),
                             (long long)l->state.best_step, *score->json ? "," : "", score->json);
    if (err == MN_OK && lead(l))
        mn_info("%s: step %lld: %s score %.4f (best %.4f at step %lld)", l->cfg->run, (long long)l->state.step,
                l->cfg->eval_split, score->select, l->state.best, (long long)l->state.best_step);
    free(score);
    return err;
}

// Told when it is durable, or when it is known why not.
static mn_err tell_saved(loop *l)
{
    dist_saved s;
    if (!l->ckpt || !dist_ckpt_ended(l->ckpt, &s)) return MN_OK;
    if (s.err != MN_OK)
        return dist_run_event(l->run, "fault", "\"kind\":\"checkpoint\",\"step\":%lld,\"status\":%d", (long long)s.step,
                              mn_exit_code(s.err));
    return dist_run_event(l->run, "checkpoint", "\"step\":%lld,\"stall_ms\":%.3f,\"bytes\":%lld", (long long)s.step,
                          1e3 * s.stall_s, (long long)dist_ckpt_bytes(l->ckpt));
}

static mn_err write_checkpoint(loop *l)
{
    if (!l->ckpt) return MN_OK;
    mn_err err = dist_ckpt_save(l->ckpt, &l->state), told = tell_saved(l); // of the save before
    return err != MN_OK ? err : told;
}

static mn_err save(loop *l)
{
    if (l->saved_step == l->state.step) return MN_OK;
    mn_assert(l->landed == l->state.step);
    dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    MN_TRY(dist_agree(l->comm, write_checkpoint(l)));
    l->saved_step = l->state.step;
    return MN_OK;
}

static mn_err wait_for_save(loop *l)
{
    mn_err err = l->ckpt ? dist_ckpt_wait(l->ckpt) : MN_OK, told = tell_saved(l);
    return err != MN_OK ? err : told;
}

// Durable before the run may end.
static mn_err finish_saving(loop *l)
{
    dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    return dist_agree(l->comm, wait_for_save(l));
}

static int due(int64_t step, int64_t every, int64_t last)
{
    return step == last || (every > 0 && step % every == 0);
}

// A run that is told to stop leaves its evaluation to the next start: an evaluation can last longer than what is left.
static mn_err evaluate_or_stop(loop *l)
{
    mn_err err = l->stop ? MN_EINTERRUPTED : evaluate(l);
    l->state.unscored = err == MN_EINTERRUPTED;
    if (err != MN_EINTERRUPTED) return err;
    int64_t no_time = !dist_signal_has_time(seconds_to_save(l));
    MN_TRY(dist_sum_int(l->comm, &no_time, 1));
    l->no_time = no_time > 0;
    l->stop = 1;
    return MN_OK;
}

static int is_scored(const loop *l)
{
    return l->eval_graph && l->task->score_begin;
}

static mn_err check_time(const loop *l)
{
    if (!l->no_time) return MN_OK;
    return mn_fail(MN_ERETRY,
                   "told to stop at step %lld with no time to save before the launcher ends the job; the last "
                   "checkpoint is step %lld; run again (MIEN_TERM_SECONDS says how long it waits)",
                   (long long)l->state.step, (long long)l->saved_step);
}

static mn_err stop(loop *l)
{
    MN_TRY(finish_saving(l));
    MN_TRY(dist_run_event(l->run, "stop", "\"step\":%lld", (long long)l->state.step));
    return mn_fail(MN_EINTERRUPTED,
                   "stopped by a signal at step %lld; the checkpoint is saved, the same command goes on",
                   (long long)l->state.step);
}

static mn_err after_step(loop *l)
{
    int64_t step = l->state.step;
    int late = l->state.unscored; // from before the start: the checkpoint of this step does not know the score
    MN_TRY(check_time(l));
    // Evaluation first: a checkpoint of the same step then knows the score.
    if (is_scored(l) && (late || due(step, l->cfg->eval_every, l->steps))) MN_TRY(evaluate_or_stop(l));
    MN_TRY(check_time(l));
    if (late && !l->state.unscored) l->saved_step = -1;
    if (l->stop || late || due(step, l->cfg->save_every, l->steps) || step == l->state.best_step) MN_TRY(save(l));
    MN_TRY(tell_saved(l));
    return l->stop && (step < l->steps || l->state.unscored) ? stop(l) : MN_OK;
}

// Is there anything to be done but the next step?
static int between_steps(const loop *l)
{
    int64_t step = l->state.step;
    return l->stop || l->no_time || (is_scored(l) && due(step, l->cfg->eval_every, l->steps)) ||
           due(step, l->cfg->save_every, l->steps);
}

static mn_err run_loop(loop *l)
{
    // A signal that came while all was opened: there is nothing new to save.
    MN_TRY(dist_proceed(l->comm, MN_OK));
    l->state.unscored = l->state.unscored && is_scored(l); // without evaluations there is none to make up for
    if (l->state.unscored) MN_TRY(after_step(l));
    while (l->state.step < l->steps) {
        MN_TRY(train_step(l));
        if (!between_steps(l)) {
            MN_TRY(tell_saved(l));
            continue;
        }
        MN_TRY(land_all(l));
        MN_TRY(after_step(l));
    }
    MN_TRY(finish_saving(l));
    return dist_run_event(l->run, "end", "\"step\":%lld", (long long)l->state.step);
}

// --- dry run ---

static mn_err dry_run(loop *l)
{
    const nn_arenas *a = nn_params_arenas(l->params);
    char time[DIST_DURATION];
    double once = 0;
    for (int i = 0; i < 2; i++) { // the second step is the one that counts: memory is touched
        MN_TRY(train_step(l));
        MN_TRY(land_all(l));
        once = l->step_s;
    }
    double state_mb = (double)(a->count * 4 + a->trained * 12 + a->count * (l->cfg->dtype == MN_BF16 ? 2 : 0)) / 1e6;
    double plan_mb = (double)(nn_graph_bytes(l->graph) + (l->eval_graph ? nn_graph_bytes(l->eval_graph) : 0)) / 1e6;
    double ckpt_mb = (double)(a->count * 4 + a->trained * 8) / 1e6;
    if (!lead(l)) return MN_OK;
    printf("parameters   %lld\n", (long long)nn_params_elements(l->params));
    printf("memory       %.0f MB per rank (state %.0f, activations %.0f, copy for checkpoints %.0f on rank 0)\n",
           state_mb + plan_mb + ckpt_mb, state_mb, plan_mb, ckpt_mb);
    printf("disk         %.0f MB (%d checkpoints of %.0f MB)\n", ckpt_mb * (l->cfg->keep + 2), l->cfg->keep + 2,
           ckpt_mb);
    printf("steps        %lld (%lld an epoch)\n", (long long)l->steps, (long long)l->per_epoch);
    printf("time         about %s at %.3g s a step\n", dist_duration(once * (double)l->steps, time), once);
    return MN_OK;
}

static void finish(loop *l, mn_err err)
{
    dist_gradients_stop(l->gradients, err);
    dist_progress_close(l->progress);
    data_loader_close(l->loader);
    data_copies_close(l->copies);
    // After an error the phase is still that of its step, whose deadline is not for a save.
    if (l->ckpt) dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    if (wait_for_save(l) != MN_OK) mn_warn("the last checkpoint was not written: %s", mn_errmsg());
    dist_ckpt_close(l->ckpt);
    nn_optim_free(l->optim);
    nn_graph_free(l->eval_graph);
    nn_graph_free(l->graph);
    nn_params_free(l->params);
    dist_gradients_free(l->gradients);
    dist_attempt_close(&l->attempt);
    dist_run_close(l->run);
    free(l->ckpt_dir);
}

mn_err dist_train(dist_comm *c, const dist_task *t, const dist_train_cfg *cfg)
{
    loop l = {.comm = c,
              .task = t,
              .cfg = cfg,
              .device = cfg->device ? cfg->device : nn_device_cpu(),
              .attempt = {.lock = -1},
              .watchdog = dist_watchdog_of(c)};
    mn_err err = start(&l);
    if (err == MN_OK) err = cfg->dry_run ? dry_run(&l) : run_loop(&l);
    // The message must outlive the closing of things.
    char *message = mn_strdup(mn_errmsg());
    finish(&l, err);
    if (err != MN_OK) mn_fail(err, "%s", message);
    free(message);
    return err;
}
