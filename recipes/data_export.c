#include "recipes/data_actions.h"

#include "data/export.h"
#include "nn/base/log.h"
#include "recipes/usage.h"

#include <stdlib.h>
#include <string.h>

typedef struct export_args {
    data_export_cfg cfg;
    int json;
} export_args;

enum { OPT_RECORD = 1, OPT_OUT, OPT_JSON, OPT_STREAM };

static const struct argp_option options[] = {
    {"record", OPT_RECORD, "N|NAME", 0,
     "Number of the record, as mien data verify and the program's errors tell it (of a folder: in the order of its "
     "manifest, over all splits), or its name in the source; a part of a name is enough if one record has it",
     0},
    {"out", OPT_OUT, "FILE", 0,
     "Where the stored bytes go; must not exist. The labels go to FILE.json (default: the record's name here)", 0},
    {"stream", OPT_STREAM, "STREAM", 0, "image (default) or audio: the sound of a video, as PCM (s16le mono 16 kHz)",
     0},
    {"json", OPT_JSON, NULL, 0, "Write no file: print labels and place as one JSON object", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    export_args *a = state->input;
    switch (key) {
    case OPT_RECORD:
        a->cfg.record = arg;
        return 0;
    case OPT_OUT:
        a->cfg.out = arg;
        return 0;
    case OPT_STREAM:
        a->cfg.stream = arg;
        if (strcmp(arg, "image") == 0 || strcmp(arg, "audio") == 0) return 0;
        return mien_usage(state, "--stream is image or audio, not '%s'", arg);
    case OPT_JSON:
        a->json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (a->cfg.path) return mien_usage(state, "one folder at a time: '%s' is too much", arg);
        a->cfg.path = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->json && a->cfg.out) return mien_usage(state, "--json writes no file: without --out");
        if (!a->cfg.path) return mien_usage(state, "the folder is missing");
        return a->cfg.record && *a->cfg.record ? 0 : mien_usage(state, "--record is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    options,
    parse,
    "SHARDS",
    "Takes one record out of a dataset folder or a shard: the bytes as they are stored, and its labels as JSON.\v"
    "Example:\n  mien data export mien-data/affwild2 --record video59_right/00042.jpg --out face.jpg\n",
    NULL,
    NULL,
    NULL};

mn_err mien_data_export(int argc, char **argv)
{
    export_args a = {.cfg.stream = "image"};
    json_t *report = NULL;
    char *out = NULL;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    a.cfg.write = !a.json;
    MN_TRY(data_export(&a.cfg, &report, &out));
    mn_err err = mien_print_json(report);
    if (out && err == MN_OK) mn_info("the bytes are in %s, the labels in %s.json", out, out);
    free(out);
    json_decref(report);
    return err;
}
