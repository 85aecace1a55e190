#include "dist/train_internal.h"

#include "dist/proceed.h"
#include "dist/signal.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t dist_steps_per_epoch(const data_set *set, int64_t batch, int64_t epoch_samples)
{
    return (epoch_samples > 0 ? epoch_samples : data_set_epoch(set)) / batch;
}

static mn_err evaluate(dist__loop *l)
{
    char loss[DIST_JSON_NUMBER], best[64] = "";
    dist_score *score = mn_calloc(1, sizeof *score);
    dist_watchdog_phase(l->watchdog, DIST_PHASE_EVAL, l->state.step);
    mn_err err = dist_evaluate(&l->evaluation, score);
    if (err == MN_OK && score->select > l->state.best) {
        l->state.best = score->select;
        l->state.best_step = l->state.step;
    }
    if (err == MN_OK)
        err = dist_run_event(l->run, "eval", "\"step\":%lld,\"split\":\"%s\",\"loss\":%s,\"best_step\":%lld%s%s",
                             (long long)l->state.step, l->cfg->eval_split, dist_json(score->loss, loss),
                             (long long)l->state.best_step, *score->json ? "," : "", score->json);
    const char *name = score->name ? score->name : "score";
    double sign = strcmp(name, "loss") == 0 ? -1 : 1;
    if (l->state.best_step > 0) // else no score was a number yet
        snprintf(best, sizeof best, " (best %.4f at step %lld)", sign * l->state.best, (long long)l->state.best_step);
    if (err == MN_OK && dist__lead(l))
        mn_info("%s: step %lld: %s %s %.4f%s", l->cfg->run, (long long)l->state.step, l->cfg->eval_split, name,
                sign * score->select, best);
    free(score);
    return err;
}

static int due(int64_t step, int64_t every, int64_t last)
{
    return step == last || (every > 0 && step % every == 0);
}

// A run that is told to stop leaves its evaluation to the next start: an evaluation can last longer than what is left.
static mn_err evaluate_or_stop(dist__loop *l)
{
    mn_err err = l->stop ? MN_EINTERRUPTED : evaluate(l);
    l->state.unscored = err == MN_EINTERRUPTED;
    if (err != MN_EINTERRUPTED) return err;
    int64_t no_time = !dist_signal_has_time(dist__train_save_seconds(l));
    MN_TRY(dist_sum_int(l->comm, &no_time, 1));
    l->no_time = no_time > 0;
    l->stop = 1;
    return MN_OK;
}

static int is_scored(const dist__loop *l)
{
    return l->eval_graph && l->task->score_begin;
}

static mn_err check_time(const dist__loop *l)
{
    if (!l->no_time) return MN_OK;
    return mn_fail(MN_ERETRY,
                   "told to stop at step %lld with no time to save before the launcher ends the job; the last "
                   "checkpoint is step %lld; run again (MIEN_TERM_SECONDS says how long it waits)",
                   (long long)l->state.step, (long long)l->saved_step);
}

static mn_err stop(dist__loop *l)
{
    MN_TRY(dist__train_finish_saving(l));
    MN_TRY(dist_run_event(l->run, "stop", "\"step\":%lld", (long long)l->state.step));
    return mn_fail(MN_EINTERRUPTED,
                   "stopped by a signal at step %lld; the checkpoint is saved, the same command goes on",
                   (long long)l->state.step);
}

static mn_err after_step(dist__loop *l)
{
    int64_t step = l->state.step;
    int late = l->state.unscored; // from before the start: the checkpoint of this step does not know the score
    MN_TRY(check_time(l));
    // Evaluation first: a checkpoint of the same step then knows the score.
    if (is_scored(l) && (late || due(step, l->cfg->eval_every, l->steps))) MN_TRY(evaluate_or_stop(l));
    MN_TRY(check_time(l));
    if (late && !l->state.unscored) l->saved_step = -1;
    if (l->stop || late || due(step, l->cfg->save_every, l->steps) || step == l->state.best_step)
        MN_TRY(dist__train_save(l));
    MN_TRY(dist__train_tell_saved(l));
    return l->stop && (step < l->steps || l->state.unscored) ? stop(l) : MN_OK;
}

// Is there anything to be done but the next step?
static int between_steps(const dist__loop *l)
{
    int64_t step = l->state.step;
    return l->stop || l->no_time || (is_scored(l) && due(step, l->cfg->eval_every, l->steps)) ||
           due(step, l->cfg->save_every, l->steps);
}

static mn_err run_loop(dist__loop *l)
{
    // A signal that came while all was opened: there is nothing new to save.
    MN_TRY(dist_proceed(l->comm, MN_OK));
    l->state.unscored = l->state.unscored && is_scored(l); // without evaluations there is none to make up for
    if (l->state.unscored) MN_TRY(after_step(l));
    if (dist__lead(l) && l->state.step >= l->steps)
        mn_info("%s: its %lld steps are done already; train.steps or train.epochs may be raised", l->cfg->run,
                (long long)l->steps);
    while (l->state.step < l->steps) {
        MN_TRY(dist__train_step(l));
        if (!between_steps(l)) {
            MN_TRY(dist__train_tell_saved(l));
            continue;
        }
        MN_TRY(dist__train_land(l));
        MN_TRY(after_step(l));
    }
    MN_TRY(dist__train_finish_saving(l));
    return dist_run_event(l->run, "end", "\"step\":%lld", (long long)l->state.step);
}

static mn_err dry_run(dist__loop *l)
{
    const nn_arenas *a = nn_params_arenas(l->params);
    char time[DIST_DURATION];
    double once = 0;
    for (int i = 0; i < 2; i++) { // the second step is the one that counts: memory is touched
        MN_TRY(dist__train_step(l));
        MN_TRY(dist__train_land(l));
        once = l->step_s;
    }
    double state_mb = (double)(a->count * 4 + a->trained * 12 + a->count * (l->cfg->dtype == MN_BF16 ? 2 : 0)) / 1e6;
    double plan_mb = (double)(nn_graph_bytes(l->graph) + (l->eval_graph ? nn_graph_bytes(l->eval_graph) : 0)) / 1e6;
    double ckpt_mb = dist__train_save_bytes(l) / 1e6;
    double saved_mb = ((double)nn_graph_bytes(l->graph) - (double)nn_graph_bytes_recomputed(l->graph)) / 1e6;
    if (!dist__lead(l)) return MN_OK;
    printf("parameters   %lld\n", (long long)nn_params_elements(l->params));
    printf("memory       %.0f MB per rank (state %.0f, activations %.0f, copy for checkpoints %.0f on rank 0)\n",
           state_mb + plan_mb + ckpt_mb, state_mb, plan_mb, ckpt_mb);
    if (saved_mb > 0) printf("             %.0f MB less with train.recompute=true\n", saved_mb);
    if (!l->device->on_host) {
        nn_memory gpu;
        MN_TRY(l->device->memory(l->device, &gpu, NULL, NULL));
        printf("GPU memory   %.0f MB planned, %.0f of %.0f MB still free\n", (double)gpu.held / 1e6,
               (double)gpu.free / 1e6, (double)gpu.total / 1e6);
    }
    printf("disk         %.0f MB (%d checkpoints of %.0f MB)\n", ckpt_mb * (l->cfg->keep + 2), l->cfg->keep + 2,
           ckpt_mb);
    printf("steps        %lld (%lld an epoch)\n", (long long)l->steps, (long long)l->per_epoch);
    printf("time         about %s at %.3g s a step\n", dist_duration(once * (double)l->steps, time), once);
    return MN_OK;
}

static void finish(dist__loop *l, mn_err err)
{
    dist_gradients_stop(l->gradients, err);
    dist_progress_close(l->progress);
    dist_evaluation_close(&l->evaluation);
    data_loader_close(l->loader);
    data_copies_close(l->copies);
    // After an error the phase is still that of its step, whose deadline is not for a save.
    if (l->ckpt) dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    if (dist__train_wait_for_save(l) != MN_OK) mn_warn("the last checkpoint was not written: %s", mn_errmsg());
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
    dist__loop l = {.comm = c,
                    .task = t,
                    .cfg = cfg,
                    .device = cfg->device ? cfg->device : nn_device_cpu(),
                    .attempt = {.lock = -1},
                    .watchdog = dist_watchdog_of(c)};
    mn_err err = dist__train_start(&l);
    if (err == MN_OK) err = cfg->dry_run ? dry_run(&l) : run_loop(&l);
    // The message must outlive the closing of things.
    char *message = mn_strdup(mn_errmsg());
    finish(&l, err);
    if (err != MN_OK) mn_fail(err, "%s", message);
    free(message);
    return err;
}
