#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

// Known answers of Random123 (tests/kat_vectors, philox4x32 with 10 rounds).
Test(rng, philox_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        const uint32_t *c = rows[i].counter;
        uint64_t row = c[0] | (uint64_t)(c[1] & 0xffff) << 32, tick = c[2] | (uint64_t)(c[1] >> 16) << 32;
        uint64_t key = rows[i].key[0] | (uint64_t)rows[i].key[1] << 32;
        mn_rng4 out = mn_rng_block(key, row, tick, c[3]);
        for (int j = 0; j < 4; j++)
            cr_expect_eq(out.v[j], rows[i].expected[j], "row %d word %d: %08x", i, j, out.v[j]);
    }
}

Test(rng, key_depends_on_seed_and_purpose)
{
    cr_expect_neq(mn_rng_key(1, "mask"), mn_rng_key(2, "mask"));
    cr_expect_neq(mn_rng_key(1, "mask"), mn_rng_key(1, "augment"));
    cr_expect_eq(mn_rng_key(1, "mask"), mn_rng_key(1, "mask"));
}

Test(rng, stream_walks_the_blocks)
{
    mn_stream_rng r = mn_rng_open(7, 8, 9);
    for (uint32_t i = 0; i < 20; i++)
        cr_expect_eq(mn_rng_u32(&r), mn_rng_block(7, 8, 9, i / 4).v[i % 4]);
}

Test(rng, permutation_is_a_bijection)
{
    static const int64_t sizes[] = {1, 2, 3, 5, 7, 15, 16, 17, 31, 97, 255, 257, 1023, 4097, 10007};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (uint64_t key = 0; key < 5; key++) {
            int64_t n = sizes[s], moved = 0;
            char *seen = calloc((size_t)n, 1);
            for (int64_t i = 0; i < n; i++) {
                int64_t to = mn_rng_permute(key * 0x1234567890abcdefull, n, i);
                cr_assert(to >= 0 && to < n && !seen[to], "n %lld index %lld", (long long)n, (long long)i);
                seen[to] = 1;
                moved += to != i;
            }
            cr_expect(n < 100 || moved > n * 9 / 10);
            free(seen);
        }
    }
}

// Every order of four things comes up equally often over keys: chi-square with 23 degrees of freedom.
Test(rng, permutation_of_few_is_uniform)
{
    enum { TRIALS = 48000 };
    int counts[256] = {0};
    for (int t = 0; t < TRIALS; t++) {
        uint64_t key = mn_rng_key((uint64_t)t, "test");
        int code = 0;
        for (int i = 0; i < 4; i++)
            code = code * 4 + (int)mn_rng_permute(key, 4, i);
        counts[code]++;
    }
    double chi = 0, expected = TRIALS / 24.0;
    int kinds = 0;
    for (int i = 0; i < 256; i++) {
        if (!counts[i]) continue;
        kinds++;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    cr_expect_eq(kinds, 24);
    cr_expect_lt(chi, 49.7); // p = 0.001
}

Test(rng, huge_permutation_stays_inside)
{
    int64_t n = INT64_C(1) << 40 | 12345;
    for (int64_t i = 0; i < 1000; i++) {
        int64_t to = mn_rng_permute(3, n, i);
        cr_expect(to >= 0 && to < n);
    }
}

static void moments(double (*draw)(mn_stream_rng *), double *mean, double *variance)
{
    enum { N = 200000 };
    mn_stream_rng r = mn_rng_open(11, 0, 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        double x = draw(&r);
        sum += x;
        squares += x * x;
    }
    *mean = sum / N;
    *variance = squares / N - *mean * *mean;
}

static double draw_normal(mn_stream_rng *r)
{
    return (double)mn_rng_normal(r);
}
static double draw_uniform(mn_stream_rng *r)
{
    return (double)mn_rng_uniform(r);
}
static double draw_below(mn_stream_rng *r)
{
    return (double)mn_rng_below(r, 10);
}
static double draw_beta_small(mn_stream_rng *r)
{
    return mn_rng_beta(r, 0.4, 0.8);
}
static double draw_beta_large(mn_stream_rng *r)
{
    return mn_rng_beta(r, 2.0, 5.0);
}
static double draw_beta_mixed(mn_stream_rng *r)
{
    return mn_rng_beta(r, 0.5, 3.0);
}

// Mean and variance against their closed forms; Beta(a, b): a / (a + b) and ab / ((a + b)^2 (a + b + 1)).
Test(rng, moments_of_the_distributions)
{
    static const struct {
        const char *name;
        double (*draw)(mn_stream_rng *);
        double mean, variance;
    } rows[] = {
        {"normal", draw_normal, 0, 1},
        {"uniform", draw_uniform, 0.5, 1.0 / 12},
        {"below 10", draw_below, 4.5, 8.25},
        {"beta .4 .8", draw_beta_small, 1.0 / 3, 0.32 / (1.44 * 2.2)},
        {"beta 2 5", draw_beta_large, 2.0 / 7, 10.0 / (49 * 8)},
        {"beta .5 3", draw_beta_mixed, 0.5 / 3.5, 1.5 / (12.25 * 4.5)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double mean, variance;
        moments(rows[i].draw, &mean, &variance);
        cr_expect(fabs(mean - rows[i].mean) < 5 * sqrt(rows[i].variance / 200000), "%s: mean %g", rows[i].name, mean);
        cr_expect(fabs(variance / rows[i].variance - 1) < 0.02, "%s: variance %g", rows[i].name, variance);
    }
}

Test(rng, ranges)
{
    mn_stream_rng r = mn_rng_open(1, 2, 3);
    for (int i = 0; i < 10000; i++) {
        double x = mn_rng_range(&r, -2, 3);
        cr_expect(x >= -2 && x < 3);
        double y = mn_rng_beta(&r, 0.001, 0.001);
        cr_expect(y >= 0 && y <= 1);
        cr_expect_eq(mn_rng_below(&r, 1), 0);
    }
    cr_expect_eq(mn_uniform(0), 0.0f);
    cr_expect_lt(mn_uniform(UINT32_MAX), 1.0f);
}

Test(rng, many_blocks_at_once_are_the_same_numbers)
{
    uint64_t key = mn_rng_key(7, "drop"), row = 0x9876543210ab, tick = 0x0123456789ab;
    uint32_t u[4 * 37];

    mn_rng_blocks(key, row, tick, 0xfffffff0u, 37, u); // the block number wraps
    for (int i = 0; i < 37; i++) {
        mn_rng4 want = mn_rng_block(key, row, tick, 0xfffffff0u + (uint32_t)i);
        cr_assert_arr_eq(u + 4 * i, want.v, sizeof want.v, "block %d", i);
    }
}
