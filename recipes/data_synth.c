#include "recipes/data_actions.h"

#include "data/synth/synth.h"
#include "dist/metrics.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "recipes/usage.h"

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

// 0 stands for the default in data_synth_cfg, so it is refused here.
static error_t parse(int key, char *arg, struct argp_state *state)
{
    data_synth_cfg *c = state->input;
    int64_t v = 0;
    error_t err;
    switch (key) {
    case OPT_OUT:
        c->out = arg;
        return 0;
    case OPT_KIND:
        c->kinds = arg;
        return 0;
    case OPT_SEED:
        err = mien_int(state, "--seed", arg, 0, INT64_MAX, &v);
        c->seed = (uint64_t)v;
        return err;
    case OPT_VIDEOS:
        return mien_int(state, "--videos", arg, 1, INT64_MAX, &c->videos);
    case OPT_FRAMES:
        return mien_int(state, "--frames", arg, 1, INT64_MAX, &c->frames);
    case OPT_IMAGES:
        return mien_int(state, "--images", arg, 1, INT64_MAX, &c->images);
    case OPT_SIZE:
        err = mien_int(state, "--size", arg, 1, 1000000, &v); // data_synth knows what is too much
        c->size = (int)v;
        return err;
    case OPT_THREADS:
        err = mien_int(state, "--threads", arg, 1, 1000000, &v);
        c->threads = (int)v;
        return err;
    case ARGP_KEY_ARG:
        return mien_usage(state, "'%s' is too much: kinds go into --kind", arg);
    case ARGP_KEY_END:
        return c->out ? 0 : mien_usage(state, "--out is missing");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *help(int key, const char *text, void *input)
{
    (void)input;
    return mien_help_kinds(data_synth_kinds, key, text);
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
    "  mien data synth --out corpora --kind affwild2,celeba --seed 1 \\\n"
    "    --videos 40 --frames 200 --size 64\n",
    NULL,
    help,
    NULL};

// ---- What could be reached: the scores of an ideal observer (data/synth/synth.h) on the validation videos.

enum { FACE_EXPR, FACE_AU, FACE_VA, VOICE_VA, BOTH_VA, OBSERVERS };
static const struct observer {
    const char *name;
    dist_metric kind;
} observers[OBSERVERS] = {{"expr_f1_face", DIST_METRIC_EXPR},
                          {"au_f1_face", DIST_METRIC_AU},
                          {"ccc_mean_face", DIST_METRIC_VA},
                          {"ccc_mean_voice", DIST_METRIC_VA},
                          {"ccc_mean_both", DIST_METRIC_VA}};

static void observe(void *ctx, int64_t subject, const unsigned invalid[DATA_TASKS], const data_synth_truth *t)
{
    dist_metrics **m = ctx;
    float shown[DATA_EXPRESSIONS] = {0}, expr[DATA_EXPRESSIONS] = {0}, weight = invalid[DATA_EXPR] ? 0 : 1;
    shown[t->face_expr] = expr[t->expr] = 1;
    dist_metrics_add(m[FACE_EXPR], subject, shown, expr, &weight, 0);
    float au[DATA_AUS], is[DATA_AUS], labelled[DATA_AUS];
    for (int k = 0; k < DATA_AUS; k++) {
        au[k] = t->face_au[k] ? 1 : -1;
        is[k] = t->au[k];
        labelled[k] = invalid[DATA_AU] >> k & 1 ? 0 : 1;
    }
    dist_metrics_add(m[FACE_AU], subject, au, is, labelled, 1);
    const double *said[3] = {t->face, t->voice, t->both};
    float va[2] = {(float)t->valence, (float)t->arousal};
    weight = invalid[DATA_VA] ? 0 : 1;
    for (int k = 0; k < 3; k++)
        dist_metrics_add(m[FACE_VA + k], subject, (float[2]){(float)said[k][0], (float)said[k][1]}, va, &weight, 0);
}

static mn_err write_oracle(const data_synth_cfg *cfg)
{
    data_synth_videos *v;
    MN_TRY(data_synth_videos_open(&v, cfg));
    dist_metrics *m[OBSERVERS];
    int64_t subjects = data_synth_truth_each(v, DATA_SPLIT_VALIDATION, NULL, NULL);
    for (int k = 0; k < OBSERVERS; k++)
        m[k] = dist_metrics_new(observers[k].kind, subjects);
    data_synth_truth_each(v, DATA_SPLIT_VALIDATION, observe, m);
    data_synth_videos_close(v);
    char text[1024];
    int n = snprintf(text, sizeof text, "{\"split\": \"validation\"");
    for (int k = 0; k < OBSERVERS; k++) {
        dist_metrics_result r;
        dist_metrics_compute(m[k], DIST_ZERO_0, 0, &r);
        n += snprintf(text + n, sizeof text - (size_t)n, ", \"%s\": %.6f", observers[k].name, r.mean);
        dist_metrics_free(m[k]);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "}\n");
    mn_assert((size_t)n < sizeof text);
    char *path = mn_sprintf("%s/oracle.json", cfg->out);
    mn_err err = mn_file_replace(path, text, (size_t)n);
    free(path);
    return err;
}

mn_err mien_data_synth(int argc, char **argv)
{
    data_synth_cfg cfg = {0};
    data_synth_report r;
    MN_TRY(mien_parse(&argp, argc, argv, &cfg));
    MN_TRY(data_synth(&cfg, &r));
    if (r.affwild2) MN_TRY(write_oracle(&cfg));
    int n = printf("%s: %lld pictures (%.1f MB), %lld videos in %.1f s", cfg.out, (long long)r.pictures,
                   (double)r.bytes / 1e6, (long long)r.videos, r.seconds);
    if (n >= 0 && r.skipped) n = printf("; %d corpora were already there", r.skipped);
    if (n < 0 || puts("") < 0 || fflush(stdout) != 0)
        return mn_fail(MN_EIO, "cannot write to standard output: %s", strerror(errno));
    return MN_OK;
}
