#include "recipes/data_actions.h"

#include "data/info.h"
#include "recipes/usage.h"

#include <stdio.h>

typedef struct info_args {
    const char *path;
    int json;
} info_args;

enum { OPT_JSON = 1 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    info_args *a = state->input;
    switch (key) {
    case OPT_JSON:
        a->json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (a->path) return mien_usage(state, "one folder at a time: '%s' is too much", arg);
        a->path = arg;
        return 0;
    case ARGP_KEY_END:
        return a->path ? 0 : mien_usage(state, "the folder is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {{"json", OPT_JSON, NULL, 0, "Print it as one JSON object", 0}, {0}};
static const struct argp parser = {options,
                                   parse,
                                   "SHARDS",
                                   "Says what a dataset folder holds: records and labels per split, videos and sound, "
                                   "people who are in two splits, what was rejected.\v"
                                   "Example:\n  mien data info mien-data/affwild2\n",
                                   NULL,
                                   NULL,
                                   NULL};

mn_err mien_data_info(int argc, char **argv)
{
    info_args a = {0};
    json_t *report;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    MN_TRY(data_info(a.path, &report));
    mn_err err = MN_OK;
    if (a.json)
        err = mien_print_json(report);
    else
        data_info_print(report, stdout);
    json_decref(report);
    return err;
}
