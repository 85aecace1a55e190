#include "dist/handshake.h"

#include "dist/backend.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

dist_fact dist_fact_text(const char *name, const char *value)
{
    dist_fact f = {0};
    snprintf(f.name, sizeof f.name, "%s", name);
    if (strlen(value) < sizeof f.value)
        memcpy(f.value, value, strlen(value));
    else
        snprintf(f.value, sizeof f.value, "%016" PRIx64, XXH3_64bits(value, strlen(value)));
    return f;
}

dist_fact dist_fact_hex(const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    return dist_fact_text(name, text);
}

static const dist_fact *fact_of(const dist_comm *c, int rank, int i)
{
    return (const dist_fact *)dist__from(c, rank) + i;
}

static int same(const dist_fact *a, const dist_fact *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

// The rank with the value that most ranks have; of several, the lowest.
static int find_majority(const dist_comm *c, int i)
{
    int best = 0, most = 0;
    for (int r = 0; r < c->at.world; r++) {
        int count = 0;
        for (int s = 0; s < c->at.world; s++)
            count += same(fact_of(c, r, i), fact_of(c, s, i));
        if (count > most) {
            most = count;
            best = r;
        }
    }
    return best;
}

// "rank 2", "ranks 2, 3, 7 and 12 more": those that differ from rank `normal`, and the first of them.
static int list_odd(const dist_comm *c, int i, int normal, char *text, size_t size)
{
    enum { LISTED = 8 };
    int first = -1, n = 0;
    size_t used = 0;
    text[0] = 0;
    for (int r = 0; r < c->at.world; r++) {
        if (same(fact_of(c, r, i), fact_of(c, normal, i))) continue;
        if (first < 0) first = r;
        if (n++ < LISTED && used < size) used += (size_t)snprintf(text + used, size - used, n > 1 ? ", %d" : "%d", r);
    }
    if (n > LISTED && used < size) snprintf(text + used, size - used, " and %d more", n - LISTED);
    return first;
}

static mn_err compare(const dist_comm *c, int n)
{
    char ranks[160];
    for (int i = 0; i < n; i++) {
        int normal = find_majority(c, i), odd = list_odd(c, i, normal, ranks, sizeof ranks);
        if (odd < 0) continue;
        const dist_fact *theirs = fact_of(c, odd, i), *ours = fact_of(c, normal, i);
        return mn_fail(
            MN_ECONFIG,
            "the ranks differ in '%.24s': rank %s: '%.104s', rank %d and others: '%.104s'; nothing was run: start "
            "the same program with the same recipe and data on all hosts",
            ours->name, ranks, theirs->value, normal, ours->value);
    }
    return MN_OK;
}

static mn_err check_clocks(dist_comm *c)
{
    enum { APART_S = 5 };
    int64_t now = (int64_t)time(NULL), least = now, most = now;
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof now, 7, &now, sizeof now));
    for (int r = 0; r < c->at.world; r++) {
        int64_t other = *(const int64_t *)dist__from(c, r);
        least = other < least ? other : least;
        most = other > most ? other : most;
    }
    if (most - least > APART_S && c->at.rank == 0)
        mn_warn("the clocks of the hosts are %lld s apart: times in logs cannot be compared",
                (long long)(most - least));
    return MN_OK;
}

mn_err dist_facts_compare(dist_comm *c, const dist_fact *facts, int n)
{
    mn_assert(n > 0 && n <= DIST_MOST_FACTS);
    _Static_assert(DIST_MOST_FACTS * sizeof(dist_fact) <= DIST_SLOT_BYTES, "facts go in one round");
    MN_TRY(dist__round(c, DIST_OP_GATHER, n, 8, facts, (size_t)n * sizeof *facts));
    return compare(c, n);
}

mn_err dist_handshake(dist_comm *c, const dist_fact *facts, int n)
{
    MN_TRY(check_clocks(c));
    return dist_facts_compare(c, facts, n);
}
