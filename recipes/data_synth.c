#include "recipes/data_synth.h"

#include "data/synth/synth.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_OUT = 1, OPT_KIND, OPT_SEED, OPT_VIDEOS, OPT_FRAMES, OPT_IMAGES, OPT_SIZE, OPT_THREADS };

static const struct argp_option options[] = {
    {"out", OPT_OUT, "DIR", 0, "Folder for the corpora; each goes to DIR/KIND", 0},
    {"kind", OPT_KIND, "KIND,...", 0, "Which corpora (default: all)", 0},
    {"seed", OPT_SEED, "S", 0, "Everything follows from it (default 0)", 0},
    {"videos", OPT_VIDEOS, "N", 0, "Videos of affwild2 (default 20)", 0},
    {"frames", OPT_FRAMES, "N", 0, "Mean number of frames of a video (default 200)", 0},
    {"images", OPT_IMAGES, "N", 0, "Pictures of each of the other corpora (default 600)", 0},
    {"size", OPT_SIZE, "PX", 0, "Pixels a side of an aligned face (default 112)", 0},
    {"threads", OPT_THREADS, "N", 0, "Threads (default: the processors); the result does not depend on it", 0},
    {0}};

// A whole number in range; 0 stands for the default in data_synth_cfg, so it is refused here.
static int64_t number(struct argp_state *state, const char *name, const char *text, int64_t least)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < least)
        argp_error(state, "--%s wants a whole number from %lld on, not '%s'", name, (long long)least, text);
    return v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    data_synth_cfg *c = state->input;
    switch (key) {
    case OPT_OUT:
        c->out = arg;
        return 0;
    case OPT_KIND:
        c->kinds = arg;
        return 0;
    case OPT_SEED:
        c->seed = (uint64_t)number(state, "seed", arg, 0);
        return 0;
    case OPT_VIDEOS:
        c->videos = number(state, "videos", arg, 1);
        return 0;
    case OPT_FRAMES:
        c->frames = number(state, "frames", arg, 1);
        return 0;
    case OPT_IMAGES:
        c->images = number(state, "images", arg, 1);
        return 0;
    case OPT_SIZE:
    case OPT_THREADS: {
        int64_t v = number(state, key == OPT_SIZE ? "size" : "threads", arg, 1);
        int *to = key == OPT_SIZE ? &c->size : &c->threads;
        *to = v > 1000000 ? 1000000 : (int)v; // out of range either way: data_synth says so
        return 0;
    }
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is too much; kinds go into --kind", arg);
        return 0;
    case ARGP_KEY_END:
        if (!c->out) argp_error(state, "--out is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// The kinds go where argp puts the text after the options.
static char *help(int key, const char *text, void *input)
{
    char *out = NULL;
    size_t size = 0;
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC) return (char *)(uintptr_t)text;
    FILE *f = open_memstream(&out, &size);
    if (!f) return (char *)(uintptr_t)text;
    fputs("KIND is one of:\n", f);
    for (const data_synth_kind *k = data_synth_kinds; k->name; k++)
        fprintf(f, "  %-10s %s\n", k->name, k->help);
    fputs(text, f);
    return fclose(f) == 0 ? out : (char *)(uintptr_t)text;
}

static const struct argp argp = {
    options,
    parse,
    NULL,
    "Makes corpora with known labels in the on-disk layouts of real ones: faces that move and voices that follow, of "
    "people who are different in training, validation and test. The same options give the same corpora; one that is "
    "already there is kept."
    "\v"
    "Example:\n"
    "  mien data synth --out corpora --kind affwild2,celeba --seed 1 --videos 40 --frames 200 --size 64\n",
    NULL,
    help,
    NULL};

mn_err mien_data_synth(int argc, char **argv)
{
    data_synth_cfg cfg = {0};
    data_synth_report r;
    if (argp_parse(&argp, argc, argv, 0, NULL, &cfg) != 0) return mn_fail(MN_EUSAGE, "see --help");
    MN_TRY(data_synth(&cfg, &r));
    int n = printf("%s: %lld pictures (%.1f MB), %lld videos in %.1f s", cfg.out, (long long)r.pictures,
                   (double)r.bytes / 1e6, (long long)r.videos, r.seconds);
    if (n >= 0 && r.skipped) n = printf("; %d corpora were already there", r.skipped);
    if (n < 0 || puts("") < 0 || fflush(stdout) != 0)
        return mn_fail(MN_EIO, "cannot write to standard output: %s", strerror(errno));
    return MN_OK;
}
