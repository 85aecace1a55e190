// Runs plainly as one rank and, by mien_rank_test, on several. Numbers are small integers or powers of two
// where the result does not depend on their order, and chosen to depend on it where the order is what is tested.
#include "dist/comm.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_places(dist_comm *c)
{
    const dist_place *at = dist_where(c);
    const char *ranks = getenv("MIEN_TEST_RANKS"), *node = getenv("MIEN_NODE_SIZE");
    int world = ranks ? atoi(ranks) : 1, size = node ? atoi(node) : world;
    if (getenv("MIEN_FAULT")) size = 1; // memory cannot be shared
    cr_assert_eq(dist_world(c), world);
    cr_assert(dist_rank(c) >= 0 && dist_rank(c) < world);
    cr_assert_eq(at->local_size, world);
    cr_assert_eq(at->local_rank, dist_rank(c));
    cr_assert_eq(at->groups, (world + size - 1) / size);
    cr_assert_eq(at->group, dist_rank(c) / size);
    cr_assert_eq(at->group_rank, dist_rank(c) % size);
}

static void check_sums(dist_comm *c)
{
    int world = dist_world(c), rank = dist_rank(c);
    static const int64_t sizes[] = {1, 3, 511, 512, 513, 2000, 1, 0, 1};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        double v[2000];
        int64_t n = sizes[k], w[2000];
        for (int64_t i = 0; i < n; i++) {
            v[i] = (double)(i + 1) * (rank + 1);
            w[i] = (i - 7) * ((int64_t)1 << 40) + rank;
        }
        cr_assert_eq(dist_host_sum(c, v, n), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(dist_sum_int(c, w, n), MN_OK, "%s", mn_errmsg());
        for (int64_t i = 0; i < n; i++) {
            cr_assert_eq(v[i], (double)(i + 1) * world * (world + 1) / 2);
            cr_assert_eq(w[i], world * (i - 7) * ((int64_t)1 << 40) + world * (world - 1) / 2);
        }
    }
}

// 1, 2^-53, 2^-53 added from the left is 1; from the right it is 1 + 2^-52. Repeated with ranks arriving in any order.
static void check_sum_is_in_rank_order(dist_comm *c)
{
    for (int turn = 0; turn < 200; turn++) {
        double v = dist_rank(c) ? 0x1p-53 : 1;
        for (volatile int late = 0; late < (turn * 7919 + dist_rank(c) * 104729) % 20000; late++) {
        }
        cr_assert_eq(dist_host_sum(c, &v, 1), MN_OK);
        cr_assert_eq(v, 1);
    }
}

static void check_broadcast_and_gather(dist_comm *c)
{
    int world = dist_world(c), rank = dist_rank(c);
    static const size_t sizes[] = {1, 255, 4096, 4097, 300000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        size_t n = sizes[k];
        int root = (int)k % world;
        unsigned char *mine = malloc(n), *all = malloc(n * (size_t)world);
        cr_assert(mine && all);
        memset(mine, rank + 1, n);
        cr_assert_eq(dist_gather(c, mine, n, all), MN_OK, "%s", mn_errmsg());
        for (size_t i = 0; i < n * (size_t)world; i++)
            cr_assert_eq(all[i], i / n + 1);
        cr_assert_eq(dist_broadcast(c, mine, n, root), MN_OK, "%s", mn_errmsg());
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(mine[i], root + 1);
        cr_assert_eq(dist_barrier(c), MN_OK);
        free(mine);
        free(all);
    }
}

static void check_agrees_on_errors(dist_comm *c)
{
    int last = dist_world(c) - 1;
    cr_assert_eq(dist_agree(c, MN_OK), MN_OK);
    mn_err mine = dist_rank(c) == last ? mn_fail(MN_EDATA, "shard 7 is cut") : MN_OK;
    cr_assert_eq(dist_agree(c, mine), MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "shard 7 is cut"), "%s", mn_errmsg());
    if (dist_rank(c) != last) cr_assert(strstr(mn_errmsg(), "rank "), "%s", mn_errmsg());
}

// A rank with an error agrees while the others are elsewhere: it is their error too, not a broken order.
static void check_errors_reach_other_collectives(dist_comm *c)
{
    int last = dist_world(c) - 1;
    double v[2] = {0};
    if (last == 0) return;
    mn_err err = dist_rank(c) == last ? dist_agree(c, mn_fail(MN_EDATA, "shard 8 is cut")) : dist_host_sum(c, v, 2);
    cr_assert_eq(err, MN_EDATA, "%s", mn_errmsg());
    cr_assert(strstr(mn_errmsg(), "shard 8 is cut"), "%s", mn_errmsg());
}

// One rank in another collective, or in the same one with another size: named on all ranks, and nobody hangs.
static void check_names_who_left_the_order(dist_comm *c)
{
    if (dist_world(c) == 1) return;
    int odd = dist_rank(c) == dist_world(c) - 1;
    double v[3] = {0};
    mn_err err = odd ? dist_barrier(c) : dist_host_sum(c, v, 3);
    cr_assert_eq(err, MN_EINTERNAL);
    cr_assert(strstr(mn_errmsg(), "barrier") && strstr(mn_errmsg(), "sum of doubles of 3"), "%s", mn_errmsg());
    char text[32];
    snprintf(text, sizeof text, "rank %d ", odd ? 0 : dist_world(c) - 1);
    cr_assert(strstr(mn_errmsg(), text), "%s", mn_errmsg());
}

// One test, because a process can start MPI once and starting it is what takes the time.
Test(comm, ranks)
{
    dist_comm *c;
    cr_assert_eq(dist_open(&c), MN_OK, "%s", mn_errmsg());
    check_places(c);
    check_sums(c);
    check_sum_is_in_rank_order(c);
    check_broadcast_and_gather(c);
    check_agrees_on_errors(c);
    check_errors_reach_other_collectives(c);
    check_names_who_left_the_order(c);
    check_sums(c);
    dist_close(c);
}
