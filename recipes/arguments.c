#include "recipes/arguments.h"

#include "dist/signal.h"
#include "dist/watchdog.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

error_t mien_arguments_parse(int key, char *arg, struct argp_state *state)
{
    mien_arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (!a->path) {
            a->path = arg;
        } else if (!strchr(arg, '=')) {
            return mien_usage(state, "'%s' is not key=value", arg);
        } else if (a->n_overrides == MIEN_MAX_OVERRIDES) {
            return mien_usage(state, "more than %d overrides", MIEN_MAX_OVERRIDES);
        } else {
            a->overrides[a->n_overrides++] = arg;
        }
        return 0;
    case ARGP_KEY_END:
        return a->path || a->help_keys ? 0 : mien_usage(state, "the recipe is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

mn_err mien_arguments_read(const struct argp *parser, int argc, char **argv, void *input)
{
    // --keys [TASK] is taken out before argp sees it: its value is optional and detached.
    mien_arguments *a = input;
    char name[64];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--keys") != 0) continue;
        a->help_keys = 1;
        a->help_task = i + 1 < argc ? argv[i + 1] : NULL;
        return MN_OK;
    }
    snprintf(name, sizeof name, "mien %s", argv[0]);
    argv[0] = name;
    return mien_parse(parser, argc, argv, input);
}

static void print_table(const mn_option *o)
{
    for (; o->key; o++) {
        char *type = mn_option_type_text(o);
        printf("  %-24s %s%s%s\n  %-24s   %s%s\n", o->key, type, o->preset ? ", default " : ", required",
               o->preset && !*o->preset ? "empty"
               : o->preset              ? o->preset
                                        : "",
               "", o->help, o->flags & MN_FREE ? "" : " [fixed on resume]");
        free(type);
    }
}

mn_err mien_print_keys(const char *task)
{
    if (task && !mien_task_find(task))
        return mn_fail(MN_EUSAGE, "there is no task '%s'; mien train --keys has the keys of all", task);
    printf("keys of every task:\n");
    print_table(mien_common_options);
    for (int i = 0; mien_task_at(i); i++) {
        const mien_task *t = mien_task_at(i);
        if (task && t != mien_task_find(task)) continue;
        printf("\nkeys of task %s:\n", t->name);
        print_table(t->options);
    }
    return ferror(stdout) ? mn_fail(MN_EIO, "cannot write to stdout") : MN_OK;
}

mn_err mien_enter(dist_comm **comm)
{
    dist_watchdog *w; // of the communicator from now on
    MN_TRY(dist_signal_install());
    MN_TRY(dist_open(comm));
    mn_err err = dist_agree(*comm, dist_watchdog_start(&w, *comm, &(dist_watchdog_cfg){0}));
    return err == MN_OK ? err : mien_leave(*comm, err);
}

mn_err mien_leave(dist_comm *comm, mn_err err)
{
    dist_watchdog_stop(dist_watchdog_of(comm));
    // Errors that all ranks agreed on end here with one message; any other leaves peers waiting: the job is ended.
    if (err != MN_OK && err != MN_EINTERRUPTED && dist_world(comm) > 1 && *mn_errmsg()) dist_abort(comm, err);
    dist_close(comm);
    return err;
}

mn_err mien_with_job(const mien_arguments *a, mien_job_action *run)
{
    dist_comm *comm;
    mien_job *j;
    MN_TRY(mien_enter(&comm));
    mn_err err = dist_agree(comm, mien_job_open(&j, comm, a->path, a->overrides, a->n_overrides));
    if (err == MN_OK) {
        err = run(j, a);
        mien_job_close(j);
    }
    return mien_leave(comm, err);
}
