// mien bench step|ops|allreduce|loader|checkpoint|data [...]
#include "recipes/bench.h"

#include "dist/bench.h"
#include "recipes/arguments.h"
#include "recipes/recipe.h"
#include "recipes/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_option options[] = {
    {"model", 'm', "NAME", 0,
     "step, ops, checkpoint: simmim (Swin-T, 192 px), simmim_b (Swin-B), wav2vec2 (base, 10 s), cca (49.6 M, 100 "
     "frames), tiny",
     0},
    {"device", 'D', "auto|cpu|cuda", 0, "step, ops: where to compute (default auto)", 0},
    {"no-graph", 'n', 0, 0, "step, ops: a GPU gets every step call by call instead of as a recorded graph", 0},
    {"recompute", 'R', 0, 0, "step, ops: with train.recompute", 0},
    {"peak", 'k', "TFLOPS", 0, "step: what the device can do at most, to print the share of it", 0},
    {"batch", 'b', "N", 0,
     "step, ops: samples (default 8; wav2vec2 1); loader: 64; data: of a training over it (512, or all there are)", 0},
    {"precision", 'p', "fp32|bf16", 0, "step, ops: compute type; loader: type of the batch", 0},
    {"rounds", 'r', "N", 0, "How many are timed (default 11)", 0},
    {"profile", 'P', 0, 0, "step: the time of every kernel call", 0},
    {"serve", 's', 0, 0, "step: time as many steps, loader: for as many seconds, as each line of stdin says", 0},
    {"threads", 't', "N", 0, "loader: threads making batches (default 1)", 0},
    {"side", 'x', "PX", 0, "loader: side of the stored JPEGs (default 250, quality 92)", 0},
    {"size", 'z', "PX", 0, "loader: side of the pictures in a batch (default 192)", 0},
    {"strong", 'g', 0, 0, "loader: with timm's RandAugment and random erasing, bicubic", 0},
    {"sheet", 'S', "FILE.png", 0, "loader: draw the first batch there, as the network sees it", 0},
    {"write", 'w', "DIR", 0,
     "loader: write the generated pictures there as well, for other programs to read; checkpoint: where (default .)",
     0},
    {"seconds", 'd', "S", 0, "loader: how long each round takes (default 1)", 0},
    {"json", 'j', 0, 0, "One JSON object", 0},
    {0},
};

typedef struct bench_arguments {
    const char *what, *dir;
    mien_bench_cfg cfg;
    mien_bench_loader_cfg loader;
} bench_arguments;

// RECIPE.yaml [key=value ...]
static error_t add_loader_argument(struct argp_state *state, mien_bench_loader_cfg *cfg, const char *arg)
{
    if (!cfg->recipe)
        cfg->recipe = arg;
    else if (!strchr(arg, '='))
        return mien_usage(state, "one argument too many: '%s'", arg);
    else if (cfg->n_overrides == MIEN_BENCH_OVERRIDES)
        return mien_usage(state, "more than %d keys on the command line", MIEN_BENCH_OVERRIDES);
    else
        cfg->overrides[cfg->n_overrides++] = arg;
    return 0;
}

static error_t choose_device(const struct argp_state *state, const char *arg, int *out)
{
    static const char *const words[] = {[MIEN_AUTO] = "auto", [MIEN_CPU] = "cpu", [MIEN_CUDA] = "cuda"};
    for (int i = MIEN_AUTO; i <= MIEN_CUDA; i++) {
        if (strcmp(arg, words[i]) != 0) continue;
        *out = i;
        return 0;
    }
    return mien_usage(state, "--device %s: auto, cpu or cuda", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bench_arguments *a = state->input;
    switch (key) {
    case 'm':
        a->cfg.model = arg;
        return 0;
    case 'b':
        return mien_int(state, "--batch", arg, 1, 1000000, &a->cfg.batch);
    case 'r':
        return mien_int(state, "--rounds", arg, 1, 1000000, &a->cfg.rounds);
    case 'p':
        a->cfg.bf16 = strcmp(arg, "bf16") == 0;
        if (!a->cfg.bf16 && strcmp(arg, "fp32") != 0) return mien_usage(state, "--precision %s: fp32 or bf16", arg);
        return 0;
    case 'D':
        return choose_device(state, arg, &a->cfg.device);
    case 'n':
        a->cfg.no_graph = 1;
        return 0;
    case 'R':
        a->cfg.recompute = 1;
        return 0;
    case 'k':
        return mien_positive(state, "--peak", arg, 1e6, &a->cfg.peak);
    case 'P':
        a->cfg.profile = 1;
        return 0;
    case 's':
        a->cfg.serve = a->loader.serve = 1;
        return 0;
    case 't':
        return mien_int(state, "--threads", arg, 1, 256, &a->loader.threads);
    case 'x':
        return mien_int(state, "--side", arg, 16, 4096, &a->loader.side);
    case 'z':
        return mien_int(state, "--size", arg, 8, 4096, &a->loader.size);
    case 'g':
        a->loader.strong = 1;
        return 0;
    case 'S':
        a->loader.sheet = arg;
        return 0;
    case 'd':
        return mien_positive(state, "--seconds", arg, 3600, &a->loader.seconds);
    case 'w':
        a->loader.pictures = arg;
        return 0;
    case 'j':
        a->cfg.json = 1;
        return 0;
    case ARGP_KEY_ARG:
        if (a->what && strcmp(a->what, "loader") == 0) return add_loader_argument(state, &a->loader, arg);
        if (a->what && (a->dir || strcmp(a->what, "data") != 0))
            return mien_usage(state, "one argument too many: '%s'", arg);
        if (a->what)
            a->dir = arg;
        else
            a->what = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->what)
            return mien_usage(state, "what to measure is missing: step, ops, allreduce, loader, checkpoint or data");
        if (strcmp(a->what, "data") == 0 && !a->dir)
            return mien_usage(state, "which dataset folder? mien bench data DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "step|ops|checkpoint|allreduce\nloader [RECIPE.yaml [key=value ...]]\ndata DIR",
    .doc = "Measures on this machine: a training step at full published size on random input (ops: by operator), the "
           "sum of gradients "
           "over ranks beside the message passing library's own, the loader: JPEGs in memory, or the training data "
           "of a recipe, to augmented batches, and what its threads spend their time on, a checkpoint, "
           "saved and read again, or a dataset folder: opening, memory, reading, and how well its order mixes.\v"
           "Example:\n  mien bench step --model simmim --precision bf16\n"
           "  mien bench step --device cuda -m simmim_b -b 128 -p bf16 --peak 790\n"
           "  mien bench ops --model cca\n"
           "  mpirun -n 2 mien bench allreduce\n"
           "  mien bench checkpoint --model simmim_b --write runs --rounds 3\n"
           "  mien bench loader --threads 2 --batch 64\n"
           "  mien bench loader recipes/affwild2/demo.yaml --sheet batch.png\n"
           "  mien bench data SHARDS --batch 2048"};

static mn_err allreduce(const bench_arguments *a)
{
    static const int64_t bytes[] = {1 << 10, 64 << 10, 1 << 20, 16 << 20, 100 << 20};
    enum { SIZES = sizeof bytes / sizeof *bytes };
    dist_bench_row rows[SIZES];
    dist_comm *c;
    MN_TRY(mien_enter(&c));
    mn_err err = dist_world(c) > 1 || a->cfg.json
                     ? MN_OK
                     : mn_fail(MN_EUSAGE, "one rank has nothing to sum: mpirun -n 2 mien bench allreduce");
    if (err == MN_OK) err = dist_bench_allreduce(c, bytes, SIZES, (int)a->cfg.rounds, rows);
    if (err == MN_OK && dist_rank(c) == 0) err = dist_bench_write(stdout, c, rows, SIZES, a->cfg.json);
    return mien_leave(c, err);
}

mn_err mien_bench(int argc, char **argv)
{
    bench_arguments a = {.cfg = {.model = "simmim", .rounds = 11}, .loader = {.side = 250, .size = 192, .seconds = 1}};
    char name[] = "mien bench";
    argv[0] = name;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    if (strcmp(a.what, "loader") == 0) {
        a.loader.batch = a.cfg.batch;
        a.loader.rounds = a.cfg.rounds;
        a.loader.json = a.cfg.json;
        a.loader.bf16 = a.cfg.bf16;
        return mien_bench_loader(&a.loader);
    }
    if (strcmp(a.what, "data") == 0)
        return mien_bench_data(&(mien_bench_data_cfg){.dir = a.dir, .batch = a.cfg.batch, .json = a.cfg.json});
    a.cfg.ops = strcmp(a.what, "ops") == 0;
    if (strcmp(a.what, "checkpoint") == 0)
        return mien_bench_checkpoint(&a.cfg, a.loader.pictures ? a.loader.pictures : ".");
    if (a.cfg.ops || strcmp(a.what, "step") == 0) return mien_bench_step(&a.cfg);
    if (strcmp(a.what, "allreduce") == 0) return allreduce(&a);
    static const char *const known[] = {"step", "ops", "allreduce", "loader", "checkpoint", "data"};
    return mien_unknown("mien bench", "bench", a.what, known, (int)(sizeof known / sizeof *known));
}
