// mien bench loader: JPEGs of the size of face crops, in memory, or the training data of a recipe, to augmented batches;
// and what the loader's threads spend their time on, so that one sees what to change when training waits for data.
#include "recipes/bench.h"

#include "data/batch_sheet.h"
#include "data/bench.h"
#include "dist/machine.h"
#include "dist/proceed.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "recipes/arguments.h"
#include "recipes/recipe.h"

#include <stdio.h>
#include <stdlib.h>

enum { PICTURES = 256, QUALITY = 92, AHEAD = 2 };

typedef struct source { // of the samples
    data_set *set;
    mien_job *job;   // NULL: generated pictures
    dist_comm *comm; // of a recipe
    data_loader_cfg loader;
    data_augment augment;
} source;

typedef struct findings {
    int64_t rounds;
    double *rate; // (rounds), sorted by print
    double seconds, cpu_s, stage[DATA_STAGES], threads_s;
    int64_t rows;
    double decode_per_s; // whole pictures, nothing else; 0: not measured
} findings;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// --- what is loaded ---

static mn_err open_pictures(const mien_bench_loader_cfg *cfg, source *s)
{
    int64_t batch = cfg->batch ? cfg->batch : 64;
    s->augment = data_augment_simmim((int)cfg->size, 1);
    s->augment.dtype = cfg->bf16 ? MN_BF16 : MN_F32;
    if (cfg->strong) {
        s->augment.filter = DATA_BICUBIC;
        s->augment.rand = (data_rand){.layers = 2, .magnitude = 9, .std = 0.5, .probability = 0.5};
        s->augment.erase = (data_erase){.probability = 0.25, .fill = DATA_ERASE_PIXELS};
    }
    data_bench_cfg pictures = {.pictures = batch > PICTURES ? (int)batch : PICTURES,
                               .side = (int)cfg->side,
                               .quality = QUALITY,
                               .augment = s->augment};
    MN_TRY(data_bench_pictures_open(&s->set, &pictures));
    if (cfg->pictures) {
        MN_TRY(mn_dir_make(cfg->pictures));
        MN_TRY(data_bench_pictures_write(s->set, cfg->pictures));
    }
    s->loader = (data_loader_cfg){.batch = batch, .threads = 1, .world = 1};
    return MN_OK;
}

// The same batches as mien train makes of it.
static mn_err open_recipe(const mien_bench_loader_cfg *cfg, source *s)
{
    dist_train_cfg train;
    if (cfg->pictures || cfg->serve || cfg->strong || cfg->bf16)
        return mn_fail(MN_EUSAGE, "--write, --serve, --strong and --precision are for generated pictures; a recipe has "
                                  "its own: leave one away");
    MN_TRY(mien_job_open(&s->job, s->comm, cfg->recipe, cfg->overrides, cfg->n_overrides));
    MN_TRY(s->job->task->open(s->job, MIEN_USE_TRAIN, NULL, &s->set));
    MN_TRY(mien_train_cfg(s->job, s->set, &train));
    s->augment = data_augment_simmim(1, 1); // the mean and deviation that all recipes have
    s->loader = (data_loader_cfg){.batch = cfg->batch ? cfg->batch : train.batch,
                                  .rank = dist_rank(s->comm),
                                  .world = dist_world(s->comm),
                                  .threads = train.loader_threads,
                                  .pairs = data_mixup_on(&train.mixup),
                                  .mixup = train.mixup,
                                  .mixup_fields = train.mixup_fields,
                                  .weights = train.weights,
                                  .epoch_samples = train.epoch_samples};
    return MN_OK;
}

static mn_err open_source(const mien_bench_loader_cfg *cfg, source *s)
{
    MN_TRY(cfg->recipe ? open_recipe(cfg, s) : open_pictures(cfg, s));
    if (cfg->threads) s->loader.threads = (int)cfg->threads;
    s->loader.set = s->set;
    s->loader.ahead = AHEAD;
    s->loader.train = 1;
    return MN_OK;
}

static mn_err draw_sheet(const source *s, const char *path)
{
    data_loader *l;
    const data_batch *b;
    data_state start = {.seed = s->job ? s->job->common.seed : 1};
    MN_TRY(data_loader_open(&l, &s->loader, start));
    mn_err err = data_loader_next(l, &b);
    if (err == MN_OK) {
        err = data_batch_sheet(s->set, b, s->augment.mean, s->augment.std, path);
        data_loader_release(l, b);
    }
    data_loader_close(l);
    return err;
}

// --- measuring ---

static mn_err add_round(const source *s, double seconds, findings *f)
{
    data_bench_result one = {0};
    MN_TRY(data_bench_loader(&s->loader, seconds, &one));
    f->rate[f->rounds++] = one.rows_per_s;
    f->seconds += one.seconds;
    f->cpu_s += one.cpu_s;
    f->rows += one.rows;
    f->threads_s += one.threads_s;
    for (int k = 0; k < DATA_STAGES; k++)
        f->stage[k] += one.stage[k];
    return MN_OK;
}

// Pictures a second of one thread that decodes whole pictures with the library and then does our crop and changes.
static double parts_per_s(const source *s, const findings *f)
{
    double threads = s->loader.threads, rows = (double)f->rows * f->threads_s / (f->seconds * threads);
    double crop_s = (f->stage[DATA_STAGE_RESIZE] + f->stage[DATA_STAGE_CHANGE]) / rows;
    return f->decode_per_s > 0 ? 1 / (1 / f->decode_per_s + crop_s) : 0;
}

static double share(const findings *f, data_stage k)
{
    return 100 * f->stage[k] / f->threads_s;
}

static void print_json(const mien_bench_loader_cfg *cfg, const source *s, const findings *f, const char *processor)
{
    int64_t n = f->rounds;
    double rest = 100;
    for (int k = 0; k < DATA_STAGES; k++)
        rest -= share(f, (data_stage)k);
    printf("{\"bench\": \"loader\", \"processor\": \"%s\", \"threads\": %d, \"batch\": %lld, ", processor,
           s->loader.threads, (long long)s->loader.batch);
    if (!s->job)
        printf("\"jpeg_side\": %lld, \"jpeg_bytes\": %.0f, \"side\": %lld, ", (long long)cfg->side,
               data_bench_pictures_bytes(s->set), (long long)cfg->size);
    printf("\"rounds\": %lld, \"pictures_per_s\": %.1f, \"quartiles\": [%.1f, %.1f], \"cpus\": %.2f, "
           "\"share\": {\"read\": %.1f, \"decode\": %.1f, \"crop\": %.1f, \"change\": %.1f, \"hand_over\": %.1f}",
           (long long)n, f->rate[n / 2], f->rate[n / 4], f->rate[3 * n / 4], f->cpu_s / f->seconds,
           share(f, DATA_STAGE_READ), share(f, DATA_STAGE_DECODE), share(f, DATA_STAGE_RESIZE),
           share(f, DATA_STAGE_CHANGE), rest);
    if (f->decode_per_s > 0)
        printf(", \"whole_decode_per_s\": %.1f, \"whole_decode_and_crop_per_s\": %.1f", f->decode_per_s,
               parts_per_s(s, f));
    puts("}");
}

static void print_text(const mien_bench_loader_cfg *cfg, const source *s, const findings *f, const char *processor)
{
    int64_t n = f->rounds;
    double rest = 100;
    for (int k = 0; k < DATA_STAGES; k++)
        rest -= share(f, (data_stage)k);
    printf("loader on %s: %d threads, batch %lld, %lld rounds, ", processor, s->loader.threads,
           (long long)s->loader.batch, (long long)n);
    if (s->job)
        printf("training data of %s\n", cfg->recipe);
    else
        printf("JPEGs of %lld pixels and %.0f bytes to %lld pixels\n", (long long)cfg->side,
               data_bench_pictures_bytes(s->set), (long long)cfg->size);
    printf("%.1f samples/s (quartiles %.1f - %.1f), %.2f processors busy\n", f->rate[n / 2], f->rate[n / 4],
           f->rate[3 * n / 4], f->cpu_s / f->seconds);
    printf("of the threads' time: read %.1f %%, decode %.1f %%, crop and resize %.1f %%, other changes %.1f %%, "
           "the rest and hand-over %.1f %%\n",
           share(f, DATA_STAGE_READ), share(f, DATA_STAGE_DECODE), share(f, DATA_STAGE_RESIZE),
           share(f, DATA_STAGE_CHANGE), rest);
    if (f->decode_per_s > 0)
        printf("one thread that decodes whole pictures: %.1f/s, and crops them: %.1f/s\n", f->decode_per_s,
               parts_per_s(s, f));
}

static void print(const mien_bench_loader_cfg *cfg, const source *s, findings *f)
{
    char processor[128];
    dist_machine_processor(processor, sizeof processor);
    qsort(f->rate, (size_t)f->rounds, sizeof *f->rate, by_value);
    if (cfg->json || cfg->serve)
        print_json(cfg, s, f, processor);
    else
        print_text(cfg, s, f, processor);
    fflush(stdout);
}

// Each line read is a number of seconds; the answer is one line (tests/bench/loader.py).
static mn_err serve(const mien_bench_loader_cfg *cfg, const source *s)
{
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        double rate, seconds = strtod(line, NULL);
        findings f = {.rate = &rate};
        MN_TRY(add_round(s, seconds, &f));
        if (!s->job) MN_TRY(data_bench_decode(s->set, seconds / 4, &f.decode_per_s));
        print(cfg, s, &f);
    }
    return MN_OK;
}

static mn_err measure(const mien_bench_loader_cfg *cfg, const source *s)
{
    findings f = {.rate = mn_calloc((size_t)cfg->rounds, sizeof *f.rate)};
    mn_err err = MN_OK;
    for (int64_t i = 0; i < cfg->rounds && err == MN_OK; i++) {
        err = add_round(s, cfg->seconds, &f);
        if (s->comm) err = dist_proceed(s->comm, err);
    }
    if (err == MN_OK && !s->job) err = data_bench_decode(s->set, cfg->seconds, &f.decode_per_s);
    if (err == MN_OK && (!s->comm || dist_rank(s->comm) == 0)) print(cfg, s, &f);
    free(f.rate);
    return err;
}

mn_err mien_bench_loader(const mien_bench_loader_cfg *cfg)
{
    source s = {0};
    if (cfg->recipe) MN_TRY(mien_enter(&s.comm));
    mn_err err = open_source(cfg, &s);
    if (err == MN_OK && cfg->sheet && s.loader.rank == 0) err = draw_sheet(&s, cfg->sheet);
    if (s.comm) err = dist_agree(s.comm, err);
    if (err == MN_OK) err = cfg->serve ? serve(cfg, &s) : measure(cfg, &s);
    data_set_close(s.set);
    mien_job_close(s.job);
    return s.comm ? mien_leave(s.comm, err) : err;
}
