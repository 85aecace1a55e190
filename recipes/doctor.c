// mien doctor [--json] [--data DIR] [--runs DIR]
#include "recipes/doctor.h"

#include "data/media.h"
#include "data/shard.h"
#include "nn/onednn.h"
#include "recipes/usage.h"
#include "recipes/verbs.h"
#include "recipes/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "One JSON object, to paste into a report of a problem", 0},
    {"data", 'd', "DIR", 0, "paths.data of the recipes (default $MIEN_DATA or ./mien-data)", 0},
    {"runs", 'r', "DIR", 0, "paths.runs of the recipes (default ./runs)", 0},
    {0},
};

typedef struct doctor_arguments {
    int json;
    const char *data, *runs;
} doctor_arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    doctor_arguments *a = state->input;
    switch (key) {
    case 'j':
        a->json = 1;
        return 0;
    case 'd':
        a->data = arg;
        return 0;
    case 'r':
        a->runs = arg;
        return 0;
    case ARGP_KEY_ARG:
        return mien_usage(state, "one argument too many: '%s'", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .doc =
        "Looks at the machine and says what would go wrong or slow, with a cure for each. Started like a job it looks "
        "at the job too: ranks, cores, clocks. Exit 0 when nothing fails, else 69.\v"
        "Example:\n  mpirun -n 2 mien doctor"};

// --- the report ---

static const char *const levels[] = {"ok", "warn", "fail"};

static const char *text_of(const json_t *check, const char *key)
{
    return json_string_value(json_object_get(check, key));
}

void mien_report_add(mien_report *r, const char *name, mien_level l, const char *fix, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    r->count[l]++;
    json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s, s:s}", "check", name, "level", levels[l], "found", text,
                                               "fix", l == MIEN_OK ? "" : fix));
}

static mn_err print(const mien_report *r, int json)
{
    size_t i;
    json_t *check;
    if (json) {
        json_t *all = json_pack("{s:s, s:O, s:i, s:i, s:i}", "mien", MIEN_VERSION, "checks", r->checks, "ok",
                                r->count[MIEN_OK], "warn", r->count[MIEN_WARN], "fail", r->count[MIEN_FAIL]);
        int failed = json_dumpf(all, stdout, JSON_INDENT(1)) != 0 || puts("") < 0;
        json_decref(all);
        return failed ? mn_fail(MN_EIO, "cannot write to stdout") : MN_OK;
    }
    json_array_foreach(r->checks, i, check)
    {
        printf("%-5s %-11s %s\n", text_of(check, "level"), text_of(check, "check"), text_of(check, "found"));
        if (*text_of(check, "fix")) printf("%18s-> %s\n", "", text_of(check, "fix"));
    }
    printf("\n%d ok, %d to look at, %d failed\n", r->count[MIEN_OK], r->count[MIEN_WARN], r->count[MIEN_FAIL]);
    return ferror(stdout) ? mn_fail(MN_EIO, "cannot write to stdout") : MN_OK;
}

// --- libraries and helpers ---

static void check_onednn(mien_report *r)
{
    char version[32];
    const char *limit = getenv("DNNL_MAX_CPU_ISA");
    if (!limit) limit = getenv("ONEDNN_MAX_CPU_ISA");
    mien_report_add(r, "oneDNN", limit ? MIEN_WARN : MIEN_OK,
                    "unset DNNL_MAX_CPU_ISA and ONEDNN_MAX_CPU_ISA unless that is meant", "%s, uses %s%s%s",
                    nn_onednn_version(version, sizeof version), nn_onednn_isa(), limit ? ", limited to " : "",
                    limit ? limit : "");
}

static void check_hdf5(mien_report *r)
{
    char version[32];
    int safe;
    data_hdf5_version(version, sizeof version, &safe);
    mien_report_add(r, "HDF5", safe ? MIEN_OK : MIEN_WARN,
                    "install libhdf5-dev, whose serial flavour is thread-safe, and build again", "%s, %s", version,
                    safe ? "thread-safe" : "not thread-safe");
}

static void check_helpers(mien_report *r)
{
    char path[1024];
    if (data_media_program(path, sizeof path) == MN_OK)
        mien_report_add(r, "mien-media", MIEN_OK, "", "%s", path);
    else
        mien_report_add(r, "mien-media", MIEN_WARN,
                        "videos and sound cannot be imported without it: sh bootstrap.sh build", "%s", mn_errmsg());
}

// --- the verb ---

static mn_err examine(dist_comm *c, mien_report *r, const doctor_arguments *a)
{
    mien_check_processor(r);
    check_onednn(r);
    mien_check_launch(r, c);
    MN_TRY(mien_check_ranks(r, c));
    MN_TRY(mien_check_cores(r, c));
    if (dist_rank(c) == 0) mien_check_cuda(r);
    mien_check_device(r, c);
    if (dist_rank(c) != 0) return MN_OK;
    mien_check_memory(r);
    mien_check_limits(r);
    check_hdf5(r);
    mien_check_data(r, a->data);
    mien_check_runs(r, a->runs);
    check_helpers(r);
    return MN_OK;
}

mn_err mien_doctor(int argc, char **argv)
{
    const char *env = getenv("MIEN_DATA");
    doctor_arguments a = {.data = env && *env ? env : "./mien-data", .runs = "./runs"};
    mien_report r = {0};
    dist_comm *c;
    char name[] = "mien doctor";
    argv[0] = name;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    MN_TRY(dist_open(&c));
    r.checks = json_array();
    mn_err err = examine(c, &r, &a);
    if (err == MN_OK && dist_rank(c) == 0) {
        err = print(&r, a.json);
        if (err == MN_OK && r.count[MIEN_FAIL] > 0) err = mn_fail(MN_EDEVICE, "%d checks failed", r.count[MIEN_FAIL]);
    }
    json_decref(r.checks);
    dist_close(c);
    return err;
}
