// Checkpoints of a run: written by rank 0 in the background, told of when they are durable.
#include "dist/train_internal.h"

double dist__train_save_bytes(const dist__loop *l)
{
    const nn_arenas *a = nn_params_arenas(l->params);
    return (double)(a->count * 4 + a->trained * 8);
}

// Guessed with a slow disk in mind: half a save is none.
double dist__train_save_seconds(const dist__loop *l)
{
    enum { BYTES_PER_SECOND = 100000000 };
    return l->ckpt ? dist__train_save_bytes(l) / BYTES_PER_SECOND : 0;
}

mn_err dist__train_tell_saved(dist__loop *l)
{
    dist_saved s;
    if (!l->ckpt || !dist_ckpt_ended(l->ckpt, &s)) return MN_OK;
    if (s.err != MN_OK)
        return dist_run_event(l->run, "fault", "\"kind\":\"checkpoint\",\"step\":%lld,\"status\":%d", (long long)s.step,
                              mn_exit_code(s.err));
    return dist_run_event(l->run, "checkpoint", "\"step\":%lld,\"stall_ms\":%.3f,\"bytes\":%lld", (long long)s.step,
                          1e3 * s.stall_s, (long long)dist_ckpt_bytes(l->ckpt));
}

static mn_err write_checkpoint(dist__loop *l)
{
    if (!l->ckpt) return MN_OK;
    mn_err err = dist_ckpt_save(l->ckpt, &l->state), told = dist__train_tell_saved(l); // of the save before
    return err != MN_OK ? err : told;
}

mn_err dist__train_save(dist__loop *l)
{
    if (l->saved_step == l->state.step) return MN_OK;
    mn_assert(l->landed == l->state.step);
    dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    MN_TRY(dist_agree(l->comm, write_checkpoint(l)));
    l->saved_step = l->state.step;
    return MN_OK;
}

mn_err dist__train_wait_for_save(dist__loop *l)
{
    mn_err err = l->ckpt ? dist_ckpt_wait(l->ckpt) : MN_OK, told = dist__train_tell_saved(l);
    return err != MN_OK ? err : told;
}

mn_err dist__train_finish_saving(dist__loop *l)
{
    dist_watchdog_phase(l->watchdog, DIST_PHASE_SAVE, l->state.step);
    return dist_agree(l->comm, dist__train_wait_for_save(l));
}
