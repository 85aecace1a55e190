#include "recipes/data_actions.h"

#include "data/verify.h"
#include "dist/progress.h"
#include "nn/base/clock.h"
#include "nn/base/log.h"
#include "recipes/usage.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

mn_err mien_print_json(const json_t *o)
{
    if (json_dumpf(o, stdout, JSON_INDENT(1)) != 0 || puts("") < 0 || fflush(stdout) != 0)
        return mn_fail(MN_EIO, "cannot write to standard output: %s", strerror(errno));
    return MN_OK;
}

typedef struct verify_args {
    data_verify_cfg cfg;
    int json;
} verify_args;

enum { OPT_JSON = 1, OPT_JOBS, OPT_STATE, OPT_DECODE };

static const struct argp_option options[] = {
    {"json", OPT_JSON, NULL, 0, "Print the report as one JSON object", 0},
    {"jobs", OPT_JOBS, "N", 0, "Shards read at a time (default: the cores of this process)", 0},
    {"threads", OPT_JOBS, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"state", OPT_STATE, "FILE", 0,
     "Keep what was found of each finished shard in FILE, outside of the folder: an interrupted check, asked for "
     "again, goes on there. Removed when all is checked",
     0},
    {"decode", OPT_DECODE, NULL, 0, "Decode every picture; without it only headers are looked at", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    verify_args *a = state->input;
    int64_t jobs = 0;
    error_t err;
    switch (key) {
    case OPT_JSON:
        a->json = 1;
        return 0;
    case OPT_JOBS:
        err = mien_int(state, "--jobs", arg, 1, 64, &jobs);
        a->cfg.jobs = (int)jobs;
        return err;
    case OPT_STATE:
        a->cfg.state = arg;
        return 0;
    case OPT_DECODE:
        a->cfg.decode = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (a->cfg.path) return mien_usage(state, "one folder at a time: '%s' is too much", arg);
        a->cfg.path = arg;
        return 0;
    case ARGP_KEY_END:
        return a->cfg.path ? 0 : mien_usage(state, "the folder is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    options,
    parse,
    "SHARDS",
    "Reads every byte of a dataset folder, one shard, or a feature folder, and names everything that is damaged or "
    "does "
    "not agree, with file, record and byte offset. Exit status 65 when anything is wrong.\v"
    "Example:\n  mien data verify mien-data/affwild2\n"
    "  mien data verify mien-data/affwild2 --state verify.state\n",
    NULL,
    NULL,
    NULL};

// Progress: a line that is rewritten on a terminal, else one every 30 s.

typedef struct watched {
    double start, shown;
    int terminal;
} watched;

static void show(void *ctx, int64_t bytes, int64_t of)
{
    watched *w = ctx;
    double now = mn_seconds(), mib = 1048576;
    if (now - w->shown < (w->terminal ? 0.2 : 30) || of <= 0) return;
    char left[DIST_DURATION];
    double done = bytes < of ? (double)bytes / (double)of : 1;
    dist_duration(done > 0 ? (now - w->start) / done * (1 - done) : 0, left);
    w->shown = now;
    if (w->terminal)
        fprintf(stderr, "\rverify %3.0f %%  %.0f of %.0f MiB  left %s \033[K", 100 * done, (double)bytes / mib,
                (double)of / mib, left);
    else
        mn_info("verify: %.0f of %.0f MiB, left %s", (double)bytes / mib, (double)of / mib, left);
}

// Text

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

// Names come from datasets: no control character of theirs reaches a terminal.
static void print_text(const char *text, int width)
{
    int n = 0;
    for (; text && text[n]; n++)
        putchar(iscntrl((unsigned char)text[n]) ? '?' : text[n]);
    for (; n < width; n++)
        putchar(' ');
}

static void print_place(const json_t *o, const char *key)
{
    if (json_object_get(o, key))
        printf("  %10lld", number(o, key));
    else
        printf("  %10s", "-");
}

static void print_problems(const json_t *problems)
{
    size_t i;
    json_t *o;
    int width = 4;
    json_array_foreach(problems, i, o)
    {
        int n = (int)json_string_length(json_object_get(o, "file"));
        if (n > width) width = n;
    }
    if (json_array_size(problems)) printf("%-*s  %10s  %10s  %-9s problem\n", width, "file", "record", "byte", "kind");
    json_array_foreach(problems, i, o)
    {
        const char *name = json_string_value(json_object_get(o, "name"));
        print_text(json_string_value(json_object_get(o, "file")), width);
        print_place(o, "record");
        print_place(o, "byte");
        printf("  %-9s ", json_string_value(json_object_get(o, "kind")));
        print_text(json_string_value(json_object_get(o, "problem")), 0);
        if (name) printf(" (");
        print_text(name, 0);
        puts(name ? ")" : "");
    }
}

static void print_report(const char *path, const json_t *r)
{
    const json_t *problems = json_object_get(r, "problems");
    const char *sound = json_is_true(json_object_get(r, "ok")) ? "sound" : "NOT sound";
    print_problems(problems);
    if (number(r, "n_problems") > (long long)json_array_size(problems))
        printf("and %lld more\n", number(r, "n_problems") - (long long)json_array_size(problems));
    if (number(r, "resumed")) printf("%lld shards were read before, by the check before\n", number(r, "resumed"));
    if (json_is_true(json_object_get(r, "features"))) {
        printf("%s: features of %lld videos: %s\n", path, number(r, "records"), sound);
    } else {
        printf("%s: %lld shards, %lld records, ", path, number(r, "shards"), number(r, "records"));
        if (number(r, "sounds")) printf("%lld sounds, ", number(r, "sounds"));
        printf("%.1f MiB: %s\n", (double)number(r, "bytes") / 1048576, sound);
    }
}

// What the exit status says: the file system failed everywhere, or something is damaged.
static mn_err verdict(const char *path, const json_t *r)
{
    long long problems = number(r, "n_problems");
    if (problems == 0) return MN_OK;
    if (number(r, "n_unreadable") == problems)
        return mn_fail(MN_EIO, "%s: %lld place%s could not be read: look at the file system, then verify again", path,
                       problems, problems == 1 ? "" : "s");
    return mn_fail(MN_EDATA, "%s: %lld problem%s: %s again, or copy the files again", path, problems,
                   problems == 1 ? "" : "s",
                   json_is_true(json_object_get(r, "features")) ? "make the features" : "import");
}

mn_err mien_data_verify(int argc, char **argv)
{
    verify_args a = {0};
    json_t *report;
    watched w = {.start = mn_seconds(), .shown = mn_seconds(), .terminal = isatty(STDERR_FILENO) == 1};
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    a.cfg.progress = show;
    a.cfg.ctx = &w;
    mn_err err = data_verify(&a.cfg, &report);
    if (w.terminal && w.shown > w.start) fputs("\r\033[K", stderr);
    if (err != MN_OK) return err;
    if (a.json)
        err = mien_print_json(report);
    else
        print_report(a.cfg.path, report);
    if (err == MN_OK) err = verdict(a.cfg.path, report);
    json_decref(report);
    return err;
}
