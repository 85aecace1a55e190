#include "recipes/data_actions.h"

#include "data/info.h"
#include "data/label.h"
#include "data/sheet.h"
#include "nn/base/log.h"
#include "recipes/usage.h"

#include <stdio.h>

typedef struct info_args {
    const char *path;
    int json, some;
    data_sheet_cfg sheet;
} info_args;

enum { OPT_JSON = 1, OPT_SHEET, OPT_PICTURES, OPT_SEED, OPT_SPLIT };
enum { PICTURES = 48 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    info_args *a = state->input;
    int64_t v = 0;
    error_t err;
    switch (key) {
    case OPT_JSON:
        a->json = 1;
        return 0;
    case OPT_SHEET:
        a->sheet.out = arg;
        return 0;
    case OPT_PICTURES:
        err = mien_int(state, "--pictures", arg, 1, DATA_SHEET_MOST, &v);
        a->sheet.pictures = (int)v;
        a->some = 1;
        return err;
    case OPT_SEED:
        err = mien_int(state, "--seed", arg, 0, INT64_MAX, &v);
        a->sheet.seed = (uint64_t)v;
        a->some = 1;
        return err;
    case OPT_SPLIT:
        a->sheet.split = arg;
        a->some = 1;
        return data_split_number(arg) > DATA_SPLIT_NONE
                   ? 0
                   : mien_usage(state, "--split is train, validation or test, not '%s'", arg);
    case ARGP_KEY_ARG:
        if (a->path) return mien_usage(state, "one folder at a time: '%s' is too much", arg);
        a->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->some && !a->sheet.out) return mien_usage(state, "--pictures, --seed and --split are for --sheet");
        return a->path ? 0 : mien_usage(state, "the folder is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"json", OPT_JSON, NULL, 0, "Print it as one JSON object", 0},
    {"sheet", OPT_SHEET, "FILE.png", 0, "Also draw random pictures with their labels on one sheet: look at it", 0},
    {"pictures", OPT_PICTURES, "N", 0, "Pictures on the sheet (default 48)", 0},
    {"seed", OPT_SEED, "S", 0, "Which pictures are drawn follows from it (default 0)", 0},
    {"split", OPT_SPLIT, "SPLIT", 0, "Draw from train, validation or test only", 0},
    {0}};
static const struct argp parser = {
    options,
    parse,
    "SHARDS",
    "Says what a dataset folder holds: where it comes from, records and labels per split, videos and sound, people who "
    "are in two splits, what was rejected. Of a feature folder: videos, rows, the run that made them.\v"
    "Example:\n  mien data info mien-data/affwild2 --sheet affwild2.png\n",
    NULL,
    NULL,
    NULL};

mn_err mien_data_info(int argc, char **argv)
{
    info_args a = {.sheet.pictures = PICTURES};
    json_t *report;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    MN_TRY(data_info(a.path, &report));
    mn_err err = MN_OK;
    if (a.json)
        err = mien_print_json(report);
    else
        data_info_print(report, stdout);
    json_decref(report);
    a.sheet.dir = a.path;
    if (err == MN_OK && a.sheet.out) err = data_sheet(&a.sheet);
    if (err == MN_OK && a.sheet.out) mn_info("the sheet is in %s", a.sheet.out);
    return err;
}
