// mien data import: a dataset's own files become shards, alone or under mpirun.
#include "recipes/arguments.h"
#include "recipes/data_actions.h"
#include "recipes/import_report.h"
#include "recipes/usage.h"
#include "recipes/verbs.h"

#include "data/image.h"
#include "data/import.h"
#include "dist/cores.h"
#include "dist/proceed.h"
#include "dist/watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct import_args {
    data_import_cfg cfg;
    int json, filtered;
} import_args;

enum {
    OPT_SRC = 1,
    OPT_OUT,
    OPT_SIZE,
    OPT_LIMIT,
    OPT_DRY_RUN,
    OPT_JSON,
    OPT_REJECTS,
    OPT_HEADERS,
    OPT_JOBS,
    OPT_CHECK,
    OPT_QUALITY,
    OPT_FILTER,
    OPT_CROP
};

static const struct argp_option import_options[] = {
    {"src", OPT_SRC, "DIR", 0, "Where the dataset was unpacked (its own folder and file names)", 0},
    {"out", OPT_OUT, "SHARDS", 0, "Folder for the shards; made if it is not there", 0},
    {"size", OPT_SIZE, "PX", 0,
     "Encode larger pictures anew with at most PX pixels a side (default: store the bytes as they are)", 0},
    {"crop", OPT_CROP, "MARGIN", OPTION_ARG_OPTIONAL,
     "Cut faces out by the dataset's boxes, with MARGIN of the longer side around them (default 0.2)", 0},
    {"quality", OPT_QUALITY, "Q", 0, "With --size or --crop: quality of those JPEGs, 1 to 100 (default 95)", 0},
    {"filter", OPT_FILTER, "NAME", 0, "With --size or --crop: triangle (default), box, cubic or lanczos", 0},
    {"limit", OPT_LIMIT, "N", 0, "At most N records, spread over the splits", 0},
    {"max-rejects", OPT_REJECTS, "SHARE", 0, "Fail when more than this share is rejected (default 0.1)", 0},
    {"check", OPT_CHECK, "whole|header", 0, "How much of a picture is looked at (default whole)", 0},
    {"headers-only", OPT_HEADERS, NULL, 0, "The same as --check header", 0},
    {"jobs", OPT_JOBS, "N", 0, "Shards a rank makes at a time (default: the cores of the node, shared by its ranks)",
     0},
    {"dry-run", OPT_DRY_RUN, NULL, 0, "Read the lists, say what would be done, write nothing", 0},
    {"json", OPT_JSON, NULL, 0, "Print the report as one JSON object", 0},
    {0}};

static error_t check_kind(const struct argp_state *state, const char *word)
{
    const char *names[64];
    int n = 0;
    for (const data_kind *k = data_import_kinds; k->name; k++) {
        if (strcmp(k->name, word) == 0) return 0;
        mn_assert(n < 64);
        names[n++] = k->name;
    }
    (void)mien_unknown(state->name, "kind", word, names, n);
    return EINVAL;
}

static error_t parse_import(int key, char *arg, struct argp_state *state)
{
    import_args *a = state->input;
    int64_t size = 0;
    error_t err;
    switch (key) {
    case OPT_SRC:
        a->cfg.src = arg;
        return 0;
    case OPT_OUT:
        a->cfg.out = arg;
        return 0;
    case OPT_SIZE:
        err = mien_int(state, "--size", arg, 8, 8192, &size);
        a->cfg.size = (int)size;
        return err;
    case OPT_LIMIT:
        return mien_int(state, "--limit", arg, 1, INT64_MAX, &a->cfg.limit);
    case OPT_REJECTS:
        return mien_positive(state, "--max-rejects", arg, 1, &a->cfg.reject_most);
    case OPT_CROP:
        a->cfg.crop = 1;
        a->cfg.margin = DATA_IMPORT_MARGIN;
        if (!arg) return 0;
        if (strcmp(arg, "0") != 0) return mien_positive(state, "--crop", arg, 4, &a->cfg.margin);
        a->cfg.margin = 0;
        return 0;
    case OPT_QUALITY:
        err = mien_int(state, "--quality", arg, 1, 100, &size);
        a->cfg.quality = (int)size;
        return err;
    case OPT_FILTER:
        a->filtered = 1;
        a->cfg.filter = data_kernel_number(arg);
        return a->cfg.filter >= 0 ? 0 : mien_usage(state, "--filter is triangle, box, cubic or lanczos, not '%s'", arg);
    case OPT_JOBS:
        err = mien_int(state, "--jobs", arg, 1, 1024, &size);
        a->cfg.jobs = (int)size;
        return err;
    case OPT_CHECK:
        a->cfg.headers_only = strcmp(arg, "header") == 0;
        return a->cfg.headers_only || strcmp(arg, "whole") == 0
                   ? 0
                   : mien_usage(state, "--check is whole or header, not '%s'", arg);
    case OPT_HEADERS:
        a->cfg.headers_only = 1;
        return 0;
    case OPT_DRY_RUN:
        a->cfg.dry_run = 1;
        return 0;
    case OPT_JSON:
        a->json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (a->cfg.kind) return mien_usage(state, "one KIND at a time: '%s' is too much", arg);
        a->cfg.kind = arg;
        return check_kind(state, arg);
    case ARGP_KEY_END:
        if (!a->cfg.size && !a->cfg.crop && (a->cfg.quality || a->filtered))
            return mien_usage(state,
                              "--quality and --filter say how pictures are encoded anew: give --size or --crop too");
        if (!a->cfg.kind) return mien_usage(state, "the KIND of dataset is missing");
        if (!a->cfg.src) return mien_usage(state, "--src is missing: the folder where the dataset was unpacked");
        return a->cfg.out ? 0 : mien_usage(state, "--out is missing: the folder for the shards");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *import_help(int key, const char *text, void *input)
{
    (void)input;
    return mien_help_kinds(data_import_kinds, key, text);
}

static const struct argp import_argp = {
    import_options,
    parse_import,
    "KIND",
    "Turns a dataset's own files into shards. Under mpirun the ranks share the work; the result is the same for any "
    "number "
    "of them. A killed import goes on where it stopped."
    "\v"
    "Faces are expected cropped: pictures are stored as they are, nothing is detected; --crop cuts out what the "
    "dataset's own boxes say (affectnet, aihub, expw, imdb-wiki). What is not imported is "
    "counted by reason and listed in SHARDS/rejects.csv. Pictures of your own (folder) have labels where labels.csv in "
    "DIR has: a head line with file and what there is of split, expression (0 to 7 or its name), valence, arousal, AU1 "
    "to AU26.\n\n"
    "Example:\n"
    "  mpirun -n 4 mien data import celeba --src /data/CelebA \\\n"
    "    --out mien-data/celeba --size 224\n",
    NULL,
    import_help,
    NULL};

// What an import has of the ranks.

static dist_comm *comm_of(void *share)
{
    return ((const dist_share *)share)->comm;
}

static mn_err sum_ranks(void *share, int64_t *v, int64_t n)
{
    return dist_sum_int(comm_of(share), v, n);
}

static mn_err agree_ranks(void *share, mn_err mine)
{
    return dist_proceed(comm_of(share), mine);
}

static mn_err proceed_ranks(void *share)
{
    dist_watchdog_phase(dist_watchdog_of(comm_of(share)), DIST_PHASE_DATA, 0);
    return dist_share_proceed(share);
}

static mn_err end_share_ranks(void *share, mn_err mine)
{
    dist_watchdog_phase(dist_watchdog_of(comm_of(share)), DIST_PHASE_DATA, 0);
    mn_err err = dist_share_end(share, mine);
    dist_watchdog_phase(dist_watchdog_of(comm_of(share)), DIST_PHASE_SAVE, 0);
    return err;
}

// Millions of files are listed, and at the end the shards are looked through, without a sign of life.
static void allow_time(dist_comm *c)
{
    enum { SECONDS = 3600, SECONDS_OF_A_PIECE = 900 };
    dist_watchdog_limit(dist_watchdog_of(c), DIST_PHASE_INIT, SECONDS);
    dist_watchdog_limit(dist_watchdog_of(c), DIST_PHASE_DATA, SECONDS_OF_A_PIECE);
    dist_watchdog_limit(dist_watchdog_of(c), DIST_PHASE_SAVE, SECONDS);
}

mn_err mien_data_import(int argc, char **argv)
{
    import_args a = {0};
    data_import_report report = {0};
    dist_comm *c;
    dist_share share;
    MN_TRY(mien_parse(&import_argp, argc, argv, &a));
    MN_TRY(mien_enter(&c));
    allow_time(c);
    dist_share_begin(&share, c);
    dist_cores cores;
    mn_err err = dist_cores_plan(c, a.cfg.jobs, &cores);
    if (!a.cfg.jobs) a.cfg.jobs = cores.threads;
    a.cfg.ranks = (data_ranks){.rank = dist_rank(c),
                               .world = dist_world(c),
                               .ctx = &share,
                               .sum = sum_ranks,
                               .agree = agree_ranks,
                               .proceed = proceed_ranks,
                               .end_share = end_share_ranks};
    if (err == MN_OK) err = data_import(&a.cfg, &report);
    if (dist_rank(c) == 0 && report.json) {
        mn_err printed = MN_OK;
        if (a.json)
            printed = mien_print_json(report.json);
        else if (a.cfg.dry_run)
            mien_print_survey(stdout, report.json, a.cfg.src, a.cfg.out,
                              (int)json_integer_value(json_object_get(report.json, "makers")));
        else
            mien_print_imported(stdout, report.json, a.cfg.out, a.cfg.size || a.cfg.crop);
        if (err == MN_OK) err = printed;
    }
    data_import_report_free(&report);
    if (err != MN_OK && dist_rank(c) > 0) (void)mn_fail(err, "%s", ""); // all ranks have it: one says so
    dist_watchdog_stop(dist_watchdog_of(c));
    dist_close(c);
    return err;
}
