// mien bench loader: JPEGs of the size of face crops, in memory, to augmented batches.
#include "recipes/bench.h"

#include "data/bench.h"
#include "dist/machine.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { PICTURES = 256, QUALITY = 92, SIDE = 192 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const mien_bench_loader_cfg *cfg, const data_set *set, double *rate, const data_bench_result *all)
{
    char processor[128];
    int64_t n = cfg->rounds;
    qsort(rate, (size_t)n, sizeof *rate, by_value);
    double low = rate[n / 4], median = rate[n / 2], high = rate[(3 * n) / 4], busy = all->cpu_s / all->seconds;
    dist_machine_processor(processor, sizeof processor);
    printf(cfg->json
               ? "{\"bench\": \"loader\", \"processor\": \"%s\", \"threads\": %lld, \"batch\": %lld, \"jpeg_side\": "
                 "%lld, \"jpeg_bytes\": %.0f, \"side\": %d, \"rounds\": %lld, \"pictures_per_s\": %.1f, "
                 "\"quartiles\": [%.1f, %.1f], \"cpus\": %.2f}\n"
               : "loader on %s: %lld threads, batch %lld, JPEGs of %lld pixels and %.0f bytes to %d pixels, %lld "
                 "rounds\n%.1f pictures/s (quartiles %.1f - %.1f), %.2f processors busy\n",
           processor, (long long)cfg->threads, (long long)cfg->batch, (long long)cfg->side,
           data_bench_pictures_bytes(set), SIDE, (long long)n, median, low, high, busy);
}

mn_err mien_bench_loader(const mien_bench_loader_cfg *cfg)
{
    data_set *set = NULL;
    data_bench_result all = {0};
    double *rate = mn_calloc((size_t)cfg->rounds, sizeof *rate);
    data_bench_cfg pictures = {.pictures = cfg->batch > PICTURES ? (int)cfg->batch : PICTURES,
                               .side = (int)cfg->side,
                               .quality = QUALITY,
                               .augment = data_augment_simmim(SIDE, 1)};
    mn_err err = data_bench_pictures_open(&set, &pictures);
    if (err == MN_OK && cfg->pictures) {
        err = mn_dir_make(cfg->pictures);
        if (err == MN_OK) err = data_bench_pictures_write(set, cfg->pictures);
    }
    data_loader_cfg loader = {
        .set = set, .batch = cfg->batch, .world = 1, .threads = (int)cfg->threads, .ahead = 2, .train = 1};
    for (int64_t i = 0; i < cfg->rounds && err == MN_OK; i++) {
        data_bench_result one;
        err = data_bench_loader(&loader, cfg->seconds, &one);
        if (err != MN_OK) break;
        rate[i] = one.rows_per_s;
        all.seconds += one.seconds;
        all.cpu_s += one.cpu_s;
    }
    if (err == MN_OK) print(cfg, set, rate, &all);
    data_set_close(set);
    free(rate);
    return err;
}
