// Command lines of the verbs that take a recipe: RECIPE.yaml key=value ..., parsed with argp.
// Threading: one thread.
#ifndef RECIPES_ARGUMENTS_H
#define RECIPES_ARGUMENTS_H

#include "dist/comm.h"
#include "recipes/recipe.h"
#include "recipes/usage.h"

enum { MIEN_MAX_OVERRIDES = 256 };

typedef struct mien_arguments { // first member of a verb's own
    const char *path;
    const char *overrides[MIEN_MAX_OVERRIDES];
    int64_t n_overrides;
    int help_keys;
    const char *help_task; // of --keys; NULL: all
} mien_arguments;

// Parses argv with the verb's parser, as mien_parse does.
MN_MUST_CHECK mn_err mien_arguments_read(const struct argp *parser, int argc, char **argv, void *input);
// For the default: of a verb's parser: the recipe, overrides and --keys.
error_t mien_arguments_parse(int key, char *arg, struct argp_state *state);
// The keys of a recipe, with type, default and meaning, to stdout.
MN_MUST_CHECK mn_err mien_print_keys(const char *task);
// Runs a verb for the job of a recipe, on all ranks: `run` gets the verb's arguments, of which a is the first member.
typedef mn_err mien_job_action(mien_job *j, const void *arguments);
mn_err mien_with_job(const mien_arguments *a, mien_job_action *run);
// Begins a verb that uses ranks: dist_open, and from now on signals ask to stop (dist/proceed.h) and a watchdog ends the
// job when nothing moves.
MN_MUST_CHECK mn_err mien_enter(dist_comm **comm);
// Ends a verb that used ranks: returns err after closing, or ends the job when only this rank knows of the error.
mn_err mien_leave(dist_comm *comm, mn_err err);

#endif
