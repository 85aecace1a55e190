#include "loader_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// Everything a run of the loader handed out, row by global row.
typedef struct trace {
    int64_t batches, batch;
    int64_t *index;
    float *image, *target, *weight;
    uint64_t *ids;
    data_state *after;
} trace;

static trace trace_make(int64_t batches, int64_t batch)
{
    size_t rows = (size_t)(batches * batch);
    return (trace){batches,
                   batch,
                   mn_calloc(rows, sizeof(int64_t)),
                   mn_calloc(rows * PIXELS, sizeof(float)),
                   mn_calloc(rows * 4, sizeof(float)),
                   mn_calloc(rows, sizeof(float)),
                   mn_calloc((size_t)batches, sizeof(uint64_t)),
                   mn_calloc((size_t)batches, sizeof(data_state))};
}

static void trace_free(trace *t)
{
    free(t->index);
    free(t->image);
    free(t->target);
    free(t->weight);
    free(t->ids);
    free(t->after);
}

static void check_missing_rows(const data_batch *b)
{
    for (int f = 0; f < b->n_fields; f++) {
        const char *bytes = b->field[f];
        size_t row = b->bytes[f] / (size_t)b->plan_rows;
        for (size_t i = (size_t)b->rows * row; i < b->bytes[f]; i++)
            cr_assert_eq(bytes[i], 0, "a row that does not exist has content");
    }
}

// Adds what one rank sees of `batches` batches from `start` on.
static void run_rank(trace *t, data_loader_cfg cfg, data_state start)
{
    data_loader *l;
    cr_assert_eq(data_loader_open(&l, &cfg, start), MN_OK);
    for (int64_t k = 0; k < t->batches; k++) {
        const data_batch *b;
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        cr_assert_not_null(b);
        cr_assert_eq(b->plan_rows, data_loader_plan_rows(cfg.batch, cfg.world, cfg.pairs));
        if (cfg.rank == 0)
            t->ids[k] = b->ids;
        else
            cr_assert_eq(t->ids[k], b->ids, "ranks disagree about the batch");
        t->after[k] = b->after;
        for (int64_t i = 0; i < b->rows; i++) {
            int64_t row = k * t->batch + b->first_row + i;
            t->index[row] = b->index[i];
            memcpy(t->image + row * PIXELS, (float *)b->field[0] + i * PIXELS, PIXELS * sizeof(float));
            memcpy(t->target + row * 4, (float *)b->field[1] + i * 4, 4 * sizeof(float));
            t->weight[row] = ((float *)b->field[2])[i];
        }
        check_missing_rows(b);
        data_loader_release(l, b);
    }
    data_loader_close(l);
}

static trace run_world(data_loader_cfg cfg, data_state start, int64_t batches)
{
    trace t = trace_make(batches, cfg.batch);
    for (cfg.rank = 0; cfg.rank < cfg.world; cfg.rank++)
        run_rank(&t, cfg, start);
    return t;
}

static void check_same(const trace *a, const trace *b, int64_t skip, const char *what)
{
    size_t rows = (size_t)(b->batches * b->batch), from = (size_t)(skip * a->batch);
    cr_assert_eq(memcmp(a->ids + skip, b->ids, (size_t)b->batches * sizeof *b->ids), 0, "%s: ids", what);
    cr_assert_eq(memcmp(a->index + from, b->index, rows * sizeof *b->index), 0, "%s: order", what);
    cr_assert_eq(memcmp(a->image + from * PIXELS, b->image, rows * PIXELS * sizeof(float)), 0, "%s: pixels", what);
    cr_assert_eq(memcmp(a->target + from * 4, b->target, rows * 4 * sizeof(float)), 0, "%s: targets", what);
    cr_assert_eq(memcmp(a->weight + from, b->weight, rows * sizeof(float)), 0, "%s: weights", what);
}

Test(loader, batches_do_not_depend_on_ranks_and_threads)
{
    static const int worlds[] = {1, 2, 3, 4, 8}, threads[] = {1, 2, 4};
    counting_set set = counting_set_make(103);
    for (int mixup = 0; mixup < 2; mixup++) {
        data_loader_cfg cfg = {.set = &set.base,
                               .batch = 21,
                               .world = 1,
                               .threads = 1,
                               .ahead = 2,
                               .train = 1,
                               .pairs = mixup,
                               .mixup = {.alpha = mixup ? 0.8 : 0},
                               .mixup_fields = 3};
        trace base = run_world(cfg, (data_state){7, 0, 0}, 11);
        for (int w = 0; w < 5; w++)
            for (int k = 0; k < 3; k++) {
                char what[64];
                cfg.world = worlds[w];
                cfg.threads = threads[k];
                cfg.ahead = 1 + k * 3;
                snprintf(what, sizeof what, "%d ranks, %d threads, mixup %d", cfg.world, cfg.threads, mixup);
                trace t = run_world(cfg, (data_state){7, 0, 0}, 11);
                check_same(&base, &t, 0, what);
                trace_free(&t);
            }
        trace_free(&base);
    }
    cr_assert_eq(set.scratches, 0);
}

// Orders with lanes: shards of a large set, a mixture, weights. The same batches for every number of ranks, and from the
// middle on the same as without an interruption.
Test(loader, every_mode_of_sampling_is_the_same_for_all_ranks_and_resumes)
{
    enum { SHARDS = 32, COUNT = 150000, BATCH = 48, BATCHES = 6 };
    static const int worlds[] = {1, 2, 3, 4, 8};
    static int64_t border[SHARDS + 1];
    for (int i = 0; i <= SHARDS; i++)
        border[i] = (int64_t)COUNT * i / SHARDS;
    data_source mixture[] = {{.count = COUNT, .per_epoch = COUNT, .n_shards = SHARDS, .shard = border},
                             {.first = COUNT, .count = 1000, .per_epoch = 500}};
    counting_set set = counting_set_make(COUNT + 1000);
    set.base.source = mixture;
    double *weights = mn_calloc(COUNT + 1000, sizeof *weights);
    for (int64_t i = 0; i < COUNT + 1000; i++)
        weights[i] = 1 + (double)(i % 5);
    for (int mode = 0; mode < 3; mode++) { // one source, a mixture, weights
        set.base.n_sources = mode == 0 ? 1 : 2;
        data_loader_cfg cfg = {.set = &set.base, .batch = BATCH, .world = 1, .threads = 2, .ahead = 2, .train = 1};
        if (mode == 2) cfg.weights = weights;
        if (mode == 2) cfg.epoch_samples = 99999;
        data_state start = {7, 2, (int64_t)1001 * BATCH};
        trace base = run_world(cfg, start, BATCHES);
        for (int w = 0; w < 5; w++) {
            char what[64];
            cfg.world = worlds[w];
            snprintf(what, sizeof what, "mode %d, %d ranks", mode, cfg.world);
            trace t = run_world(cfg, start, BATCHES), rest = run_world(cfg, base.after[2], BATCHES - 3);
            check_same(&base, &t, 0, what);
            check_same(&base, &rest, 3, what);
            trace_free(&t);
            trace_free(&rest);
        }
        trace_free(&base);
    }
    free(weights);
}

Test(loader, an_epoch_hands_out_every_sample_once_and_drops_the_tail)
{
    counting_set set = counting_set_make(103);
    data_loader_cfg cfg = {.set = &set.base, .batch = 10, .world = 2, .threads = 2, .ahead = 2, .train = 1};
    trace t = run_world(cfg, (data_state){1, 3, 0}, 20);
    for (int e = 0; e < 2; e++) {
        int seen[103] = {0};
        for (int64_t i = e * 100; i < e * 100 + 100; i++)
            cr_assert_eq(seen[t.index[i]]++, 0);
    }
    cr_assert(t.after[8].epoch == 3 && t.after[8].position == 90 && t.after[8].seed == 1);
    cr_assert(t.after[9].epoch == 4 && t.after[9].position == 0);
    // Everything random comes from the global row and the epoch.
    for (int64_t i = 0; i < 200; i++) {
        data_draw draw = {1, 3 + i / 100, i % 100};
        for (int p = 0; p < PIXELS; p++)
            cr_assert_eq(t.image[i * PIXELS + p], counting_pixel(t.index[i], draw, p));
    }
    trace_free(&t);
}

Test(loader, resuming_continues_the_uninterrupted_run)
{
    counting_set set = counting_set_make(103);
    data_loader_cfg cfg = {.set = &set.base,
                           .batch = 12,
                           .world = 3,
                           .threads = 2,
                           .ahead = 3,
                           .train = 1,
                           .pairs = 1,
                           .mixup = {.alpha = 0.8},
                           .mixup_fields = 3};
    trace whole = run_world(cfg, (data_state){5, 0, 0}, 20);
    for (int64_t stop = 1; stop < 20; stop++) {
        trace rest = run_world(cfg, whole.after[stop - 1], 20 - stop);
        check_same(&whole, &rest, stop, "resumed");
        trace_free(&rest);
    }
    trace_free(&whole);
}

Test(loader, ids_are_the_digest_of_the_ids_in_position_order)
{
    counting_set set = counting_set_make(50);
    data_loader_cfg cfg = {.set = &set.base, .batch = 8, .world = 2, .threads = 1, .ahead = 1, .train = 1};
    trace t = run_world(cfg, (data_state){5, 0, 0}, 6);
    for (int64_t k = 0; k < 6; k++) {
        uint64_t id[8];
        for (int i = 0; i < 8; i++)
            id[i] = (uint64_t)3 << 48 | (uint64_t)t.index[k * 8 + i];
        cr_assert_eq(t.ids[k], XXH64(id, sizeof id, 0));
    }
    trace_free(&t);
}

// One pass of an evaluation in batches of 10, to its end; returns the rows of this rank.
static int64_t run_evaluation(data_loader *l, int64_t count)
{
    int64_t seen = 0, batches = (count + 9) / 10;
    const data_batch *b;
    for (int64_t k = 0; k < batches; k++) {
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        cr_assert_not_null(b);
        cr_assert_eq(b->at.position, k * 10);
        cr_assert_eq(b->global_rows, count - k * 10 < 10 ? count - k * 10 : 10);
        for (int64_t i = 0; i < b->rows; i++)
            cr_assert_eq(b->index[i], k * 10 + b->first_row + i);
        seen += b->rows;
        check_missing_rows(b);
        data_loader_release(l, b);
    }
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        cr_assert_null(b);
    }
    return seen;
}

Test(loader, evaluation_is_in_order_pads_the_tail_ends_and_begins_anew)
{
    static const int64_t counts[] = {0, 1, 9, 10, 11, 37, 40};
    enum { PASSES = 3 };
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        counting_set set = counting_set_make(counts[c]);
        for (int world = 1; world <= 4; world++) {
            int64_t seen = 0;
            for (int rank = 0; rank < world; rank++) {
                data_loader_cfg cfg = {
                    .set = &set.base, .batch = 10, .rank = rank, .world = world, .threads = 2, .ahead = 2};
                data_loader *l;
                cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
                cr_assert_eq(data_loader_batches(l), (counts[c] + 9) / 10);
                for (int pass = 0; pass < PASSES; pass++) {
                    if (pass) data_loader_rewind(l);
                    seen += run_evaluation(l, counts[c]);
                }
                data_loader_close(l);
            }
            cr_assert_eq(seen, PASSES * counts[c]);
        }
    }
}

Test(loader, mixup_mixes_neighbours)
{
    counting_set set = counting_set_make(64);
    data_loader_cfg cfg = {.set = &set.base, .batch = 15, .world = 2, .threads = 2, .ahead = 2, .train = 1, .pairs = 1};
    trace plain = run_world(cfg, (data_state){5, 0, 0}, 8);
    cfg.mixup.alpha = 0.8;
    cfg.mixup_fields = 1 | 2;
    trace mixed = run_world(cfg, (data_state){5, 0, 0}, 8);
    double last = -1;
    for (int64_t k = 0; k < 8; k++) {
        const float *a = plain.image + k * 15 * PIXELS, *m = mixed.image + k * 15 * PIXELS;
        double share = (double)(m[0] - a[PIXELS]) / (double)(a[0] - a[PIXELS]);
        cr_assert(share >= 0 && share <= 1 && share != last, "share %g", share);
        last = share;
        for (int64_t i = 0; i < 15; i++)
            for (int64_t p = 0; p < PIXELS; p++) {
                int64_t other = i == 14 ? i : i ^ 1;
                double want = share * (double)a[i * PIXELS + p] + (1 - share) * (double)a[other * PIXELS + p];
                cr_assert_float_eq(m[i * PIXELS + p], want, 2e-3);
            }
    }
    for (int64_t i = 0; i < 8 * 15; i++) {
        const float *t = mixed.target + i * 4;
        cr_assert_float_eq(t[0] + t[1] + t[2] + t[3], 1, 1e-6);
        cr_assert_eq(mixed.weight[i], 1, "the weights are not mixed");
    }
    trace_free(&plain);
    trace_free(&mixed);
}

// Pictures are cut, targets are blended by what is left of the area, and mixup's own draws stay what they were.
Test(loader, cutmix_cuts_pictures_and_blends_targets)
{
    enum { BATCHES = 40, ROWS = 6 };
    counting_set set = counting_set_make(64), pictures = counting_set_make(64);
    pictures.base.field[0].shape = MN_SHAPE(6, 4, 1);
    data_loader_cfg cfg = {
        .set = &set.base, .batch = ROWS, .world = 1, .threads = 2, .ahead = 2, .train = 1, .pairs = 1};
    trace plain = run_world(cfg, (data_state){5, 0, 0}, BATCHES);
    cfg.mixup_fields = 1 | 2;
    cfg.mixup.alpha = 0.8;
    trace mixed = run_world(cfg, (data_state){5, 0, 0}, BATCHES);
    cfg.set = &pictures.base;
    cfg.mixup = (data_mixup){0.8, 1, 0.75, 0.5};
    trace both = run_world(cfg, (data_state){5, 0, 0}, BATCHES);
    int kinds[3] = {0};
    for (int64_t i = 0; i < BATCHES * ROWS; i++) {
        const float *a = plain.image + i * PIXELS, *b = plain.image + (i ^ 1) * PIXELS, *have = both.image + i * PIXELS;
        const float *ta = plain.target + i * 4, *tb = plain.target + (i ^ 1) * 4, *t = both.target + i * 4;
        int own = 0, others = 0;
        for (int p = 0; p < PIXELS; p++) {
            own += have[p] == a[p];
            others += have[p] == b[p];
        }
        int blended = memcmp(have, mixed.image + i * PIXELS, PIXELS * sizeof *have) == 0;
        int cut = !blended && own < PIXELS;
        kinds[cut ? 2 : blended]++;
        if (!cut) continue;
        cr_assert_eq(own + others, PIXELS, "row %lld is neither cut nor blended", (long long)i);
        for (int c = 0; c < 4; c++)
            cr_assert_float_eq(t[c], ((float)own * ta[c] + (float)others * tb[c]) / PIXELS, 1e-5);
    }
    for (int k = 0; k < 3; k++) // a quarter plain, the rest half and half
        cr_assert(kinds[k] > 3 * ROWS, "%d, %d, %d rows", kinds[0], kinds[1], kinds[2]);
    trace_free(&plain);
    trace_free(&mixed);
    trace_free(&both);
}

Test(loader, cutmix_without_pictures_is_refused)
{
    counting_set set = counting_set_make(64);
    data_loader *l;
    data_loader_cfg cfg = {.set = &set.base,
                           .batch = 4,
                           .world = 1,
                           .train = 1,
                           .pairs = 1,
                           .mixup = {.cutmix_alpha = 1},
                           .mixup_fields = 3};
    set.base.field[0].shape = MN_SHAPE(PIXELS);
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_ECONFIG);
    cr_assert(strstr(mn_errmsg(), "cutmix"));
}

Test(loader, a_failed_read_arrives_with_its_batch)
{
    counting_set set = counting_set_make(64);
    set.bad = 35;
    data_loader_cfg cfg = {.set = &set.base, .batch = 10, .world = 1, .threads = 4, .ahead = 3};
    data_loader *l;
    const data_batch *b;
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
    for (int k = 0; k < 3; k++) {
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        data_loader_release(l, b);
    }
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(data_loader_next(l, &b), MN_EDATA);
        cr_assert_null(b);
        cr_assert_not_null(strstr(mn_errmsg(), "shard-7.h5: record 35 is damaged"), "%s", mn_errmsg());
    }
    data_loader_close(l);
    cr_assert_eq(set.scratches, 0);
}

Test(loader, a_batch_larger_than_the_epoch_is_refused)
{
    counting_set set = counting_set_make(9);
    data_loader_cfg cfg = {.set = &set.base, .batch = 10, .world = 1, .threads = 1, .ahead = 1, .train = 1};
    data_loader *l;
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_ECONFIG);
}

Test(loader, weighted_epochs_have_their_own_length)
{
    counting_set set = counting_set_make(20);
    double w[20] = {0};
    w[3] = 1;
    w[17] = 3;
    data_loader_cfg cfg = {.set = &set.base,
                           .batch = 10,
                           .world = 2,
                           .threads = 2,
                           .ahead = 2,
                           .train = 1,
                           .weights = w,
                           .epoch_samples = 1000};
    trace t = run_world(cfg, (data_state){1, 0, 0}, 100);
    int64_t seen[20] = {0};
    for (int i = 0; i < 1000; i++)
        seen[t.index[i]]++;
    cr_assert_eq(seen[3] + seen[17], 1000);
    cr_assert(seen[3] > 200 && seen[3] < 300);
    cr_assert(t.after[99].epoch == 1 && t.after[99].position == 0);
    trace_free(&t);
}

// On each rank its own rows, and while a batch is filled those of the next one as well.
Test(loader, samples_are_fetched_a_batch_ahead)
{
    for (int rank = 0; rank < 2; rank++) {
        counting_set set = counting_set_make(400);
        set.ahead = INT64_MAX;
        set.watched = 7 * 10; // as long as there is memory for a batch more
        data_loader_cfg cfg = {
            .set = &set.base, .batch = 20, .rank = rank, .world = 2, .threads = 1, .ahead = 8, .train = 1};
        data_loader *l;
        const data_batch *b;
        cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
        for (int k = 0; k < 10; k++) {
            cr_assert_eq(data_loader_next(l, &b), MN_OK);
            data_loader_release(l, b);
        }
        data_loader_close(l);
        cr_assert_geq(set.reads, 10 * 10);
        cr_assert_geq(set.prefetched, set.reads);
        cr_assert_leq(set.prefetched, set.reads + 9 * 10, "a sample is asked for more than once");
        cr_assert_geq(set.ahead, 10, "a row was read when nothing of the next batch was asked for");
    }
}

Test(loader, progress_counts_rows)
{
    counting_set set = counting_set_make(40);
    data_loader_cfg cfg = {.set = &set.base, .batch = 10, .world = 1, .threads = 2, .ahead = 8};
    data_loader *l;
    const data_batch *b;
    int ready;
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
    for (int k = 0; k < 4; k++) {
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        cr_assert_geq(data_loader_progress(l, &ready), 10 * (k + 1));
        cr_assert(b->wait_s >= 0);
        data_loader_release(l, b);
    }
    cr_assert_eq(data_loader_progress(l, &ready), 40);
    cr_assert_eq(ready, 0);
    data_loader_close(l);
}

typedef struct lender { // of memory for batches
    int64_t given, out, limit;
    char *low, *high; // of what was given
} lender;

static mn_err lend(void *ctx, size_t bytes, void **out)
{
    lender *m = ctx;
    if (m->given == m->limit) return mn_fail(MN_EMEM, "no more");
    char *p = mn_calloc(1, bytes);
    if (!m->low || p < m->low) m->low = p;
    if (p + bytes > m->high) m->high = p + bytes;
    m->given++;
    m->out += (int64_t)bytes;
    *out = p;
    return MN_OK;
}

static void take_back(void *ctx, void *p, size_t bytes)
{
    lender *m = ctx;
    m->out -= (int64_t)bytes;
    free(p);
}

Test(loader, batches_lie_in_the_memory_that_is_lent)
{
    counting_set set = counting_set_make(40);
    lender m = {.limit = INT64_MAX};
    data_loader_cfg cfg = {.set = &set.base,
                           .batch = 10,
                           .world = 1,
                           .threads = 2,
                           .ahead = 2,
                           .memory = {.alloc = lend, .release = take_back, .ctx = &m}};
    data_loader *l;
    const data_batch *b;
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
    for (int k = 0; k < 4; k++) {
        cr_assert_eq(data_loader_next(l, &b), MN_OK);
        for (int f = 0; f < b->n_fields; f++)
            cr_expect((char *)b->field[f] >= m.low && (char *)b->field[f] + b->bytes[f] <= m.high);
        data_loader_release(l, b);
    }
    data_loader_close(l);
    cr_expect_eq(m.given, 3 * set.base.n_fields);
    cr_expect_eq(m.out, 0);
    for (int64_t limit = 0; limit < 3 * set.base.n_fields; limit++) {
        m = (lender){.limit = limit};
        cr_expect_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_EMEM);
        cr_expect_eq(m.out, 0, "%lld were lent, not all came back", (long long)limit);
    }
}
