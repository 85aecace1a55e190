// How a run starts: graphs and their memory, the ranks' comparison, the run folder, the checkpoint writer, the loader.
#include "dist/train_internal.h"

#include "dist/handshake.h"
#include "dist/machine.h"
#include "dist/proceed.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

// The sums of the global batch behind a loss. The fault point leaves every rank with its own: what a trainer that
// averages the ranks' losses and gradients does, which the tests must be able to tell from the real thing.
static mn_err sum_batch(void *comm, double *v, int64_t n)
{
    return mn_fault("train.rank_means") ? MN_OK : dist_host_sum(comm, v, n);
}

// Behind the last step of backward; recorded with it on a GPU.
static mn_err end_of_run(void *ctx)
{
    dist__loop *l = ctx;
    MN_TRY(dist_gradients_finish(l->gradients));
    return nn_optim_update(l->optim, nn_graph_device_buffer(l->graph, "loss"));
}

// Bytes of parameters, gradients and moments.
static size_t state_bytes(const dist__loop *l)
{
    const nn_arenas *a = nn_params_arenas(l->params);
    return (size_t)a->count * (a->work == (void *)a->master ? 4 : 6) + (size_t)a->trained * 12;
}

// What would fit into the room that is left for the training's plan, of which `have` bytes hold the batch; 0: nothing.
// Activations grow with the rows of a rank.
static int64_t batch_that_fits(const dist__loop *l, double room, double have)
{
    return have > 0 && room > 0 ? (int64_t)(room / have * (double)l->cfg->batch) : 0;
}

// What recomputation does for a plan that does not fit: "; train.recompute=true needs 4198.4 MiB in all". rest: what is
// needed besides the plan.
static void offer_recomputation(const dist__loop *l, double room, double rest, char *text, size_t size)
{
    *text = '\0';
    if (l->cfg->recompute || nn_graph_bytes(l->graph) == 0) return;
    double plan = (double)nn_graph_bytes_recomputed(l->graph);
    int64_t now = batch_that_fits(l, room, (double)nn_graph_bytes(l->graph)), then = batch_that_fits(l, room, plan);
    if (then <= now) return;
    if (then >= l->cfg->batch)
        snprintf(text, size, "; train.recompute=true needs %.1f MiB in all, with this batch",
                 (plan + rest) / 1048576.0);
    else
        snprintf(text, size, "; with train.recompute=true about train.batch=%lld", (long long)then);
}

// A plan that does not fit into the GPU: which batch would, or this one with recomputation. A tenth is left to libraries.
static mn_err say_what_fits(dist__loop *l, mn_err err)
{
    nn_memory m;
    char recompute[128];
    if (err != MN_EMEM || l->device->on_host || !l->graph) return err;
    char *why = mn_strdup(mn_errmsg());
    double room = l->device->memory(l->device, &m, NULL, NULL) == MN_OK ? .9 * (double)(m.free + m.held) : 0;
    double rest = (double)state_bytes(l);
    if (l->eval_graph) rest += (double)nn_graph_bytes(l->eval_graph);
    int64_t batch = batch_that_fits(l, room - rest, (double)nn_graph_bytes(l->graph));
    if (batch >= l->cfg->batch) batch = l->cfg->batch / 2;
    offer_recomputation(l, room - rest, rest, recompute, sizeof recompute);
    if (batch > 0)
        mn_fail(err, "%s: about train.batch=%lld on %d rank%s%s%s", why, (long long)batch, dist_world(l->comm),
                dist_world(l->comm) == 1 ? "" : "s", recompute,
                l->cfg->dtype == MN_F32 ? "; precision=bf16 takes less as well" : "");
    else
        mn_fail(err, "%s; parameters, gradients and moments alone take %.1f MiB%s%s", why,
                (double)state_bytes(l) / 1048576.0, l->eval_graph ? "; eval.batch counts too" : "", recompute);
    free(why);
    return err;
}

static mn_err build_graphs(dist__loop *l)
{
    const dist_train_cfg *cfg = l->cfg;
    const dist_task *t = l->task;
    int world = dist_world(l->comm);
    nn_graph_cfg graph = {
        .mode = NN_TRAIN, .dtype = cfg->dtype, .seed = cfg->seed, .device = l->device, .recompute = cfg->recompute};
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
        l->evaluation = (dist_evaluation){.comm = l->comm,
                                          .task = t,
                                          .graph = l->eval_graph,
                                          .set = t->eval,
                                          .batch = cfg->eval_batch,
                                          .threads = cfg->loader_threads};
    }
    MN_TRY(dist_gradients_new(&l->gradients, l->comm, l->device, cfg->wire));
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

// Before ranks that differ could ask different things of each other.
static mn_err handshake(dist__loop *l)
{
    char machine[256];
    dist_machine_text(l->device->text, machine, sizeof machine);
    dist_fact facts[] = {dist_fact_hex("binary", l->cfg->binary),
                         dist_fact_hex("recipe", l->cfg->recipe_digest),
                         dist_fact_text("dist.wire", l->cfg->wire == MN_BF16 ? "bf16" : "fp32"),
                         dist_fact_hex("options", l->cfg->options_digest),
                         dist_fact_hex("training data", l->task->train->digest),
                         dist_fact_hex("evaluation data", l->task->eval ? l->task->eval->digest : 0),
                         dist_fact_text("device", l->device->name),
                         dist_fact_text("precision", mn_dtype_name(l->cfg->dtype)),
                         dist_fact_text("libraries", machine)};
    return dist_handshake(l->comm, facts, sizeof facts / sizeof *facts);
}

static mn_err compare_plans(dist__loop *l)
{
    dist_fact plan = dist_fact_hex("plan", nn_graph_hash(l->graph));
    return dist_facts_compare(l->comm, &plan, 1);
}

static mn_err open_writer(dist__loop *l)
{
    dist_ckpt_cfg cfg = {.dir = l->ckpt_dir,
                         .keep = l->cfg->keep,
                         .binary = l->cfg->binary,
                         .attempt = l->attempt.number,
                         .from_step = l->from_step,
                         .params = l->params,
                         .optim = l->optim};
    mn_err err = dist__lead(l) ? dist_ckpt_open(&l->ckpt, &cfg) : MN_OK;
    return dist_agree(l->comm, err);
}

static mn_err open_loader(dist__loop *l)
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

static mn_err claim_run(dist__loop *l)
{
    mn_err err = dist__lead(l) ? dist_attempt_open(&l->attempt, dist_run_folder(l->run)) : MN_OK;
    MN_TRY(dist_agree(l->comm, err));
    MN_TRY(dist_broadcast(l->comm, &l->attempt.number, sizeof l->attempt.number, 0));
    dist_run_attempt(l->run, l->attempt.number);
    dist_watchdog_attempt(l->watchdog, l->attempt.number);
    return dist_run_file(l->run, "recipe.resolved.yaml", l->cfg->recipe_text);
}

static mn_err tell_start(dist__loop *l)
{
    char text[1024];
    int ranks = dist_world(l->comm);
    nn_memory gpu = {0};
    if (!l->device->on_host) MN_TRY(l->device->memory(l->device, &gpu, NULL, NULL));
    if (dist__lead(l)) {
        fputs(l->cfg->recipe_text, stderr);
        if (!l->device->on_host)
            mn_info("%s: on %s; %.0f MiB of its %.0f MiB planned", l->cfg->run, l->device->text,
                    (double)gpu.held / 1048576.0, (double)gpu.total / 1048576.0);
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

mn_err dist__train_start(dist__loop *l)
{
    int dry = l->cfg->dry_run;
    l->state = (dist_state){.data = {l->cfg->seed, 0, 0}, .best = -DBL_MAX};
    // A dry run reads what a real one would, and leaves no trace.
    MN_TRY(dry ? dist_run_none(&l->run) : dist_run_open(&l->run, l->comm, l->cfg->runs, l->cfg->run));
    l->ckpt_dir = mn_sprintf("%s/%s/ckpt", l->cfg->runs, l->cfg->run);
    dist_watchdog_limit(l->watchdog, DIST_PHASE_INIT, l->cfg->init_deadline_s);
    dist_watchdog_limit(l->watchdog, DIST_PHASE_STEP, l->cfg->step_deadline_s);
    MN_TRY(dist_agree(l->comm, dist_watchdog_folder(l->watchdog, dist_run_folder(l->run))));
    MN_TRY(handshake(l));
    MN_TRY(dist_proceed(l->comm, say_what_fits(l, build_graphs(l))));
    MN_TRY(compare_plans(l));
    MN_TRY(dist__train_restore(l));
    if (!dry) MN_TRY(claim_run(l));
    if (!dry) MN_TRY(open_writer(l));
    MN_TRY(dist_agree(l->comm, open_loader(l)));
    if (dist__lead(l)) l->progress = dist_progress_open(l->cfg->run, l->state.step, l->steps);
    return tell_start(l);
}
