// One step: a batch is put on the device, and what became of it is reported when that is known. On a GPU that is a step
// later, so that the device never waits for the host.
#include "dist/train_internal.h"

#include "dist/signal.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"

enum { MAX_SKIPS = 5 };

// What a trainer makes that averages the ranks' losses.
static mn_err average_loss(dist__loop *l, double *loss)
{
    MN_TRY(dist_host_sum(l->comm, loss, 1));
    *loss /= dist_world(l->comm);
    return MN_OK;
}

static mn_err put_batch(dist__loop *l, const data_batch *b)
{
    nn_optim_step_args args = {.lr = nn_schedule_lr(&l->cfg->schedule, l->state.step), .clip = l->cfg->clip};
    if (mn_fault("train.rank_means")) args.grad_scale = 1.0 / dist_world(l->comm);
    MN_TRY(dist_feed(l->graph, l->task->train, b));
    MN_TRY(nn_optim_begin(l->optim, &args));
    dist_control own = {.stop = dist_signal_pending() || mn_fault("train.stop") ? 1.0f : 0.0f,
                        .no_time = dist_signal_has_time(dist__train_save_seconds(l)) ? 0.0f : 1.0f,
                        .waited = (float)l->data_s};
    MN_TRY(dist_gradients_begin(l->gradients, &own));
    MN_TRY(nn_graph_run(l->graph, &(nn_tick){(uint64_t)l->state.step, b->first_row, b->rows}));
    MN_TRY(nn_optim_post(l->optim));
    MN_TRY(dist_gradients_post(l->gradients));
    l->flying[l->state.step % DIST__FLYING] = (dist__flight){.step = l->state.step,
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
static mn_err tell_skipped(dist__loop *l, const dist__flight *f, const nn_optim_result *r)
{
    if (++l->skips > MAX_SKIPS)
        return mn_fail(MN_EDATA,
                       "step %lld: loss %g, gradient norm %g: not finite %d times in a row; the last checkpoint is "
                       "step %lld; lower optim.lr or look at the samples of these steps in metrics.jsonl",
                       (long long)f->step, r->loss, r->grad_norm, l->skips, (long long)l->saved_step);
    if (dist__lead(l))
        mn_warn("step %lld: loss %g, gradient norm %g: the update is skipped", (long long)f->step, r->loss,
                r->grad_norm);
    return dist_run_event(l->run, "fault", "\"kind\":\"not_finite\",\"step\":%lld,\"ids\":\"%016llx\"",
                          (long long)f->step, (unsigned long long)f->ids);
}

static mn_err report_step(dist__loop *l, const dist__flight *f, const nn_optim_result *r)
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
static mn_err land(dist__loop *l)
{
    dist__flight *f = &l->flying[l->landed % DIST__FLYING];
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

mn_err dist__train_land(dist__loop *l)
{
    while (l->landed < l->state.step)
        MN_TRY(land(l));
    return MN_OK;
}

mn_err dist__train_step(dist__loop *l)
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
