// mien bench data: a dataset folder as training meets it: how long opening takes, what its index costs, how fast records
// are read, how well their order mixes, and which shards a rank reads.
#include "recipes/bench.h"

#include "data/frames.h"
#include "data/loader.h"
#include "data/verify.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { READS = 20000, PAIRS = 1 << 20, BATCH = 512 };

typedef struct findings {
    double open_s, bytes_a_sample; // memory of the index
    double read_us, record_bytes;  // a random record whose file is cached, CRC checked; a mean
    double order_us;               // a sample of the order
    double neighbours, batch;      // distance from a true permutation
    int lanes, shards;
} findings;

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd);
}

static mn_err time_reads(const data_set *set, findings *f)
{
    const data_selection *s = data_frames_selection(set);
    size_t most = data_frames_largest(set), size;
    uint8_t *buffer = mn_calloc(1, most + 1);
    mn_err err = MN_OK;
    int64_t *sample = mn_calloc(READS, sizeof *sample);
    for (int64_t i = 0; i < READS; i++)
        sample[i] = mn_rng_permute(7, set->count, i % set->count);
    for (int pass = 0; pass < 3; pass++) { // the first one fills the cache
        double began = mn_seconds(), bytes = 0;
        for (int64_t i = 0; i < READS; i++) {
            int64_t record;
            const data_shard *shard = data_selection_place(s, sample[i], &record);
            MN_TRY_OUT(err, data_shard_read(shard, record, buffer, most, &size));
            bytes += (double)size;
        }
        f->read_us = (mn_seconds() - began) / READS * 1e6;
        f->record_bytes = bytes / READS;
    }
out:
    free(sample);
    free(buffer);
    return err;
}

// Largest difference between the distribution of m distances and that of two samples of a true permutation of n.
static double from_random(int64_t *distance, int64_t m, int64_t n)
{
    double worst = 0;
    qsort(distance, (size_t)m, sizeof *distance, by_value);
    for (int64_t i = 0; i < m; i++) {
        double x = 1 - (double)distance[i] / (double)n, gap = fabs((double)(i + 1) / (double)m - (1 - x * x));
        if (gap > worst) worst = gap;
    }
    return worst;
}

static void judge_order(const data_order *o, int64_t batch, int64_t n, findings *f)
{
    data_cursor *c = data_cursor_open(o);
    int64_t steps = data_order_samples(o) / batch, most = (PAIRS + batch - 1) / batch;
    int64_t used = steps < most ? steps : most, pairs = used * batch;
    int64_t *index = mn_calloc((size_t)batch, sizeof *index);
    int64_t *next = mn_calloc((size_t)pairs, sizeof *next), *other = mn_calloc((size_t)pairs, sizeof *other);
    double seconds = 0;
    for (int64_t k = 0; k < used; k++) {
        double began = mn_seconds();
        data_order_at(o, c, 0, steps * k / used * batch, batch, index);
        seconds += mn_seconds() - began;
        for (int64_t i = 0; i < batch; i++) {
            int64_t far = 1 + mn_rng_permute((uint64_t)k, batch, i) % (batch > 1 ? batch - 1 : 1);
            next[k * batch + i] = llabs(index[i] - index[(i + 1) % batch]);
            other[k * batch + i] = llabs(index[i] - index[(i + far) % batch]);
        }
    }
    f->order_us = seconds / (double)pairs * 1e6;
    f->neighbours = from_random(next, pairs, n);
    f->batch = from_random(other, pairs, n);
    free(index);
    free(next);
    free(other);
    data_cursor_close(c);
}

// The most shards that one of `ranks` reads.
static int shards_of_rank(const data_order *o, const data_source *s, int64_t batch, int ranks)
{
    int most = 0, shards = s->shard ? s->n_shards : 1;
    int64_t rows = data_loader_plan_rows(batch, ranks, 0);
    for (int r = 0; r < ranks; r++) {
        int mine = 0;
        for (int k = 0; k < shards; k++)
            mine += data_order_reads(o, 0, k, r * rows, rows);
        if (mine > most) most = mine;
    }
    return most;
}

static void print(const mien_bench_data_cfg *cfg, int64_t batch, const data_set *set, const data_order *o,
                  const findings *f)
{
    static const int ranks[] = {1, 2, 4, 8, 16, 32, 64};
    printf(cfg->json
               ? "{\"bench\": \"data\", \"samples\": %lld, \"shards\": %d, \"open_s\": %.3f, \"index_bytes_per_"
                 "sample\": %.1f, \"read_us\": %.3f, \"record_bytes\": %.0f, \"order_us\": %.3f, \"batch\": %lld, "
                 "\"lanes\": %d, \"neighbours\": %.4f, \"two_of_a_batch\": %.4f, \"shards_of_a_rank\": {"
               : "samples       %lld in %d shards, opened in %.3f s, index %.1f bytes a sample\n"
                 "random record %.2f us (%.0f bytes, cached, checksum compared)\n"
                 "order         %.3f us a sample; batch %lld, %d lanes\n"
                 "shuffle       neighbours %.4f, two of a batch %.4f (0: as a true permutation, 1: sorted)\n"
                 "shards        ",
           (long long)set->count, f->shards, f->open_s, f->bytes_a_sample, f->read_us, f->record_bytes, f->order_us,
           (long long)batch, f->lanes, f->neighbours, f->batch);
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        printf(cfg->json ? "%s\"%d\": %d" : "%s%d ranks %d", i ? ", " : "", ranks[i],
               shards_of_rank(o, set->source, batch, ranks[i]));
    puts(cfg->json ? "}}" : " (the most that one rank reads)");
}

mn_err mien_bench_data(const mien_bench_data_cfg *cfg)
{
    findings f = {0};
    data_set *set = NULL;
    data_order *o = NULL;
    data_frames_cfg frames = {.select = {.dir = cfg->dir, .split = NULL, .task = DATA_TASKS},
                              .augment = data_augment_simmim(192, 1)};
    mn_err err;
    if (data_is_features(cfg->dir)) return mien_bench_features(cfg);
    double memory = allocated(), began = mn_seconds();
    MN_TRY(data_frames_open(&set, &frames));
    f.open_s = mn_seconds() - began;
    f.bytes_a_sample = (allocated() - memory) / (double)set->count;
    if (cfg->batch > set->count) {
        err = mn_fail(MN_EUSAGE, "--batch %lld: there are %lld samples", (long long)cfg->batch, (long long)set->count);
        goto out;
    }
    int64_t batch = cfg->batch ? cfg->batch : set->count < BATCH ? set->count : BATCH;
    MN_TRY_OUT(
        err, data_order_open(
                 &o, &(data_order_cfg){.seed = 1, .source = set->source, .n_sources = set->n_sources, .batch = batch}));
    f.lanes = data_order_lanes(o);
    f.shards = set->source->n_shards;
    MN_TRY_OUT(err, time_reads(set, &f));
    judge_order(o, batch, set->count, &f);
    print(cfg, batch, set, o, &f);
out:
    data_order_close(o);
    data_set_close(set);
    return err;
}
