#include "data/order.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static int64_t *epoch_of(const data_order_cfg *cfg, int64_t epoch, int64_t *n)
{
    data_order *o;
    cr_assert_eq(data_order_open(&o, cfg), MN_OK);
    data_cursor *c = data_cursor_open(o);
    *n = data_order_samples(o);
    int64_t *index = mn_calloc((size_t)*n, sizeof *index);
    // Odd pieces: the answer must not depend on how it is asked for.
    for (int64_t at = 0, step = 1; at < *n; at += step, step = step % 1000 + 37) {
        if (step > *n - at) step = *n - at;
        data_order_at(o, c, epoch, at, step, index + at);
    }
    data_cursor_close(c);
    data_order_close(o);
    return index;
}

// Borders of shards of uneven sizes.
static int64_t *borders(int shards, int64_t *count)
{
    int64_t *b = mn_calloc((size_t)shards + 1, sizeof *b);
    for (int i = 0; i < shards; i++)
        b[i + 1] = b[i] + 1 + (i * 7919) % 1531;
    *count = b[shards];
    return b;
}

static void check_every_sample_once(const data_source *source, int64_t epoch)
{
    int64_t n;
    int64_t *index = epoch_of(&(data_order_cfg){.seed = 11, .source = source, .n_sources = 1}, epoch, &n);
    cr_assert_eq(n, source->count);
    uint8_t *seen = mn_calloc((size_t)n, 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = index[i] - source->first;
        cr_assert(at >= 0 && at < n && !seen[at], "n %lld: sample %lld twice or outside", (long long)n, (long long)at);
        seen[at] = 1;
    }
    free(seen);
    free(index);
}

Test(order, every_sample_comes_once_an_epoch)
{
    static const int64_t sizes[] = {1, 2, 3, 5, 255, 256, 257, 1000, 4099, 16384, 16385, 40000, 100003};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int64_t epoch = 0; epoch < 3; epoch++)
            check_every_sample_once(&(data_source){.first = 7, .count = sizes[k], .per_epoch = sizes[k]}, epoch);
    static const int shards[] = {1, 2, 15, 16, 17, 33, 100, 300};
    for (size_t k = 0; k < sizeof shards / sizeof shards[0]; k++) {
        data_source s = {.n_shards = shards[k]};
        int64_t *b = borders(shards[k], &s.count);
        s.shard = b;
        s.per_epoch = s.count;
        check_every_sample_once(&s, 0);
        check_every_sample_once(&s, 12345);
        free(b);
    }
}

Test(order, epochs_and_seeds_differ_and_repeat)
{
    data_source s = {.n_shards = 40};
    int64_t *b = borders(40, &s.count), n;
    s.shard = b;
    s.per_epoch = s.count;
    data_order_cfg one = {.seed = 1, .source = &s, .n_sources = 1}, two = {.seed = 2, .source = &s, .n_sources = 1};
    int64_t *x[4] = {epoch_of(&one, 0, &n), epoch_of(&one, 0, &n), epoch_of(&one, 1, &n), epoch_of(&two, 0, &n)};
    int64_t same[4] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int k = 1; k < 4; k++)
            same[k] += x[0][i] == x[k][i];
    cr_assert_eq(same[1], n);
    cr_assert_lt(same[2], 20);
    cr_assert_lt(same[3], 20);
    for (int k = 0; k < 4; k++)
        free(x[k]);
    free(b);
}

// Pearson's statistic of `count` cells that should be equal, as a number of standard deviations.
static double chi_square(const int64_t *cell, int64_t count, double expected)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)cell[i] - expected) * ((double)cell[i] - expected) / expected;
    return (sum - (double)(count - 1)) / sqrt(2.0 * (double)(count - 1));
}

Test(order, small_sets_are_shuffled_uniformly)
{
    enum { N = 40, EPOCHS = 20000 };
    data_source s = {.count = N, .per_epoch = N};
    data_order *o;
    cr_assert_eq(data_order_open(&o, &(data_order_cfg){.seed = 3, .source = &s, .n_sources = 1}), MN_OK);
    data_cursor *c = data_cursor_open(o);
    int64_t cell[N * N] = {0}, index[N];
    for (int64_t e = 0; e < EPOCHS; e++) {
        data_order_at(o, c, e, 0, N, index);
        for (int i = 0; i < N; i++)
            cell[i * N + index[i]]++;
    }
    double z = chi_square(cell, N * N, (double)EPOCHS / N);
    cr_assert(fabs(z) < 6, "samples prefer places: %.1f sigma", z);
    data_cursor_close(c);
    data_order_close(o);
}

// A batch out of a large sorted set must mix: 512 neighbours in the order come from many blocks and shards.
Test(order, batches_of_a_large_set_mix_shards_and_stay_in_few)
{
    data_source s = {.count = 0, .n_shards = 64};
    int64_t b[65] = {0};
    for (int i = 0; i < 64; i++)
        b[i + 1] = b[i] + 5000 + i;
    s.count = s.per_epoch = b[64];
    s.shard = b;
    int64_t n;
    int64_t *index = epoch_of(&(data_order_cfg){.seed = 5, .source = &s, .n_sources = 1}, 4, &n);
    for (int64_t at = 0; at + 512 <= n; at += 4096) {
        uint8_t shard[64] = {0}, block[2048] = {0};
        int shards = 0, blocks = 0;
        for (int64_t i = at; i < at + 512; i++) {
            int k = 0;
            while (b[k + 1] <= index[i])
                k++;
            shards += !shard[k];
            shard[k] = 1;
            blocks += !block[index[i] / 256];
            block[index[i] / 256] = 1;
        }
        cr_assert(shards >= 12 && shards <= 2 * DATA_ORDER_GROUP, "%d shards", shards);
        cr_assert_geq(blocks, 40);
    }
    free(index);
}

Test(order, a_mixture_keeps_its_shares_everywhere)
{
    data_source s[3] = {{.first = 0, .count = 3000, .per_epoch = 1500},
                        {.first = 3000, .count = 1000, .per_epoch = 3000},
                        {.first = 4000, .count = 777, .per_epoch = 777}};
    data_order_cfg cfg = {.seed = 9, .source = s, .n_sources = 3};
    int64_t n, seen[4777] = {0};
    for (int64_t e = 0; e < 2; e++) {
        int64_t *index = epoch_of(&cfg, e, &n), share[3] = {0};
        cr_assert_eq(n, 1500 + 3000 + 777);
        for (int64_t i = 0; i < n; i++) {
            seen[index[i]]++;
            share[(index[i] >= 3000) + (index[i] >= 4000)]++;
        }
        cr_assert(share[0] == 1500 && share[1] == 3000 && share[2] == 777);
        free(index);
    }
    // After two epochs every sample of the halved source came once, of the tripled one six times, of the last twice.
    for (int64_t i = 0; i < 4777; i++)
        cr_assert_eq(seen[i],
                     i < 3000   ? 1
                     : i < 4000 ? 6
                                : 2,
                     "sample %lld came %lld times", (long long)i, (long long)seen[i]);
}

Test(order, weights_give_their_frequencies)
{
    enum { N = 50, DRAWS = 400000 };
    double w[N], total = 0;
    for (int i = 0; i < N; i++)
        total += w[i] = i % 10 == 0 ? 0 : 0.1 + (i * 37) % 11;
    data_source s = {.count = N, .per_epoch = N};
    int64_t n;
    data_order_cfg cfg = {.seed = 21, .source = &s, .n_sources = 1, .weights = w, .samples = DRAWS};
    int64_t *index = epoch_of(&cfg, 2, &n), seen[N] = {0};
    cr_assert_eq(n, DRAWS);
    for (int64_t i = 0; i < n; i++)
        seen[index[i]]++;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double expected = DRAWS * w[i] / total;
        if (w[i] == 0)
            cr_assert_eq(seen[i], 0);
        else
            sum += ((double)seen[i] - expected) * ((double)seen[i] - expected) / expected;
    }
    double freedom = N - N / 10 - 1, z = (sum - freedom) / sqrt(2 * freedom);
    cr_assert(fabs(z) < 5, "chi-square is %.1f sigma off", z);
    free(index);
}

Test(order, weights_that_mean_nothing_are_refused)
{
    data_source s = {.count = 3, .per_epoch = 3};
    static const double bad[][3] = {{0, 0, 0}, {1, -1, 1}, {1, NAN, 1}, {INFINITY, 1, 1}};
    for (int k = 0; k < 4; k++) {
        data_order *o;
        data_order_cfg cfg = {.source = &s, .n_sources = 1, .weights = bad[k], .samples = 3};
        cr_assert_eq(data_order_open(&o, &cfg), MN_ECONFIG);
    }
}

// Nothing is stored per sample: a billion samples open at once.
Test(order, size_costs_nothing)
{
    data_source s = {.count = 3000000000, .per_epoch = 3000000000};
    data_order *o;
    cr_assert_eq(data_order_open(&o, &(data_order_cfg){.seed = 3, .source = &s, .n_sources = 1}), MN_OK);
    data_cursor *c = data_cursor_open(o);
    int64_t index[100];
    data_order_at(o, c, 1000000, 2999999900, 100, index);
    for (int i = 0; i < 100; i++)
        cr_assert(index[i] >= 0 && index[i] < s.count);
    data_cursor_close(c);
    data_order_close(o);
}

// A set of evenly uneven shards, large enough for lanes.
static data_source lanes_source(int64_t *border, int shards, int64_t first)
{
    for (int i = 0; i < shards; i++)
        border[i + 1] = border[i] + 7000 + (i * 7919) % 1531;
    return (data_source){
        .first = first, .count = border[shards], .per_epoch = border[shards], .n_shards = shards, .shard = border};
}

Test(order, lanes_show_every_sample_once_an_epoch)
{
    static const int64_t batches[] = {1, 7, 8, 100, 256, 1000, 400000};
    static int64_t big[65], small[4] = {0, 10, 20, 777};
    data_source s[3] = {lanes_source(big, 64, 0)};
    s[1] = (data_source){.first = s[0].count, .count = 777, .per_epoch = 777, .n_shards = 3, .shard = small};
    s[2] = (data_source){.first = s[0].count + 777, .count = 3, .per_epoch = 3};
    for (size_t k = 0; k < sizeof batches / sizeof *batches; k++)
        for (int64_t e = 0; e < 2; e++) {
            data_order_cfg cfg = {.seed = 2, .source = s, .n_sources = 3, .batch = batches[k]};
            int64_t n, *index = epoch_of(&cfg, e * 77, &n);
            uint8_t *seen = mn_calloc((size_t)n, 1);
            cr_assert_eq(n, s[0].count + 780);
            for (int64_t i = 0; i < n; i++) {
                cr_assert(index[i] >= 0 && index[i] < n && !seen[index[i]], "batch %lld: sample %lld again",
                          (long long)batches[k], (long long)index[i]);
                seen[index[i]] = 1;
            }
            free(seen);
            free(index);
        }
}

// The samples of a lane's rows come from its shards only, in every epoch, and few shards are of two lanes.
static void check_reads(const data_order_cfg *cfg, int world)
{
    data_order *o;
    cr_assert_eq(data_order_open(&o, cfg), MN_OK);
    data_cursor *c = data_cursor_open(o);
    const data_source *s = cfg->source;
    int64_t rows = (cfg->batch + world - 1) / world, *index = mn_calloc((size_t)cfg->batch, sizeof *index);
    int read = 0;
    for (int rank = 0; rank < world; rank++)
        for (int k = 0; k < s->n_shards; k++)
            read += data_order_reads(o, 0, k, rank * rows, rows);
    cr_assert(read <= s->n_shards + world + 2 * data_order_lanes(o), "%d ranks read %d shards", world, read);
    cr_assert_geq(read, s->n_shards);
    for (int64_t step = 0; step < data_order_samples(o) / cfg->batch; step += 5) {
        data_order_at(o, c, step % 3, step * cfg->batch, cfg->batch, index);
        for (int64_t r = 0; r < cfg->batch; r++) {
            int k = 0;
            if (index[r] < s->first || index[r] >= s->first + s->count) continue;
            while (s->shard[k + 1] <= index[r] - s->first)
                k++;
            cr_assert(data_order_reads(o, 0, k, r / rows * rows, rows), "row %lld reads shard %d", (long long)r, k);
        }
    }
    free(index);
    data_cursor_close(c);
    data_order_close(o);
}

Test(order, a_rank_reads_its_own_shards_only)
{
    static int64_t border[65], small[2] = {0, 500};
    static const int worlds[] = {1, 2, 3, 4, 8, 16};
    data_source s[2] = {lanes_source(border, 64, 0)};
    s[1] = (data_source){.first = s[0].count, .count = 500, .per_epoch = 5000, .n_shards = 1, .shard = small};
    double *w = mn_calloc((size_t)s[0].count + 500, sizeof *w);
    for (int64_t i = 0; i < s[0].count + 500; i++)
        w[i] = 1 + (double)(i % 7);
    for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++)
        for (int n = 1; n <= 2; n++) {
            data_order_cfg cfg = {.seed = 6, .source = s, .n_sources = n, .batch = 192};
            check_reads(&cfg, worlds[k]);
            cfg.weights = w;
            cfg.samples = 100000;
            check_reads(&cfg, worlds[k]);
        }
    data_order *o;
    cr_assert_eq(data_order_open(&o, &(data_order_cfg){.source = s, .n_sources = 1, .batch = 200}), MN_OK);
    cr_assert_eq(data_order_lanes(o), 16);
    cr_assert_eq(data_order_reads(o, 0, 0, 200, 50), 0); // rows that do not exist
    data_order_close(o);
    free(w);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// Largest difference between the distribution of the distances of n pairs and that of two samples of a true permutation
// of n, where P(distance <= d) = 1 - (1 - d / n)^2.
static double from_random(int64_t *distance, int64_t n)
{
    double worst = 0;
    qsort(distance, (size_t)n, sizeof *distance, by_value);
    for (int64_t i = 0; i < n; i++) {
        double x = 1 - (double)distance[i] / (double)n, gap = fabs((double)(i + 1) / (double)n - (1 - x * x));
        if (gap > worst) worst = gap;
    }
    return worst;
}

// Each sample with the next one, and with another one of its batch.
static void check_quality(const data_source *s, int64_t batch, double most_next, double most_batch)
{
    data_order_cfg cfg = {.seed = 4, .source = s, .n_sources = 1, .batch = batch};
    int64_t n, *index = epoch_of(&cfg, 1, &n), *next = mn_calloc((size_t)n, sizeof *next);
    int64_t *other = mn_calloc((size_t)n, sizeof *other);
    for (int64_t i = 0; i < n; i++) {
        int64_t start = i / batch * batch, size = n - start < batch ? n - start : batch;
        next[i] = llabs(index[i] - index[(i + 1) % n]);
        other[i] = llabs(index[i] - index[start + (i - start + 1 + mn_rng_permute(i / size, size, i % size)) % size]);
    }
    double a = from_random(next, n), b = from_random(other, n);
    cr_log_info("neighbours %.4f, two of a batch %.4f from a true permutation\n", a, b);
    cr_assert(a < most_next, "neighbours: %.4f from a true permutation", a);
    cr_assert(b < most_batch, "two of a batch: %.4f from a true permutation", b);
    free(index);
    free(next);
    free(other);
}

// The quality that data/README.md states; one lane, and sixteen of them, whose neighbouring rows are of one lane.
Test(order, shuffles_as_well_as_stated)
{
    static int64_t border[65];
    data_source s = lanes_source(border, 64, 0), whole = s;
    check_quality(&s, 512, 0.25, 0.03);
    whole.n_shards = 1;
    whole.shard = NULL;
    check_quality(&whole, 512, 0.07, 0.07);
}

// With lanes a weight is kept to one showing of a sample: the lanes' shares of an epoch are whole numbers.
Test(order, a_mixture_over_lanes_keeps_its_shares)
{
    enum { EPOCHS = 4 };
    static int64_t border[65];
    data_source s[2] = {lanes_source(border, 64, 0), {0}};
    int64_t big = s[0].count;
    s[0].per_epoch = big / 2;
    s[1] = (data_source){.first = big, .count = 1000, .per_epoch = 3000};
    data_order_cfg cfg = {.seed = 9, .source = s, .n_sources = 2, .batch = 100};
    int64_t *seen = mn_calloc((size_t)big + 1000, sizeof *seen), n;
    for (int64_t e = 0; e < EPOCHS; e++) {
        int64_t *index = epoch_of(&cfg, e, &n), small = 0;
        for (int64_t i = 0; i < n; i++) {
            seen[index[i]]++;
            small += index[i] >= big;
        }
        cr_assert_eq(small, 3000);
        for (int64_t at = 0; at + 10000 <= n; at += 10000) { // every hundred batches
            int64_t part = 0;
            for (int64_t i = at; i < at + 10000; i++)
                part += index[i] >= big;
            cr_assert(llabs(part * n - (int64_t)3000 * 10000) < 60 * n, "%lld of 10000", (long long)part);
        }
        free(index);
    }
    for (int64_t i = 0; i < big + 1000; i++) {
        int64_t want = i < big ? EPOCHS / 2 : EPOCHS * 3;
        cr_assert(llabs(seen[i] - want) <= (i < big), "sample %lld came %lld times", (long long)i, (long long)seen[i]);
    }
    free(seen);
}
