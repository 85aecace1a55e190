#include "dist/backend.h"
#include "nn/base/fault.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { YIELD_NS = 1000000, CHECK_NS = 200000000, SLEEP_NS = 50000 };

static inline void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

mn_err dist__lost(dist_comm *c)
{
    c->lost = 1;
    return MN_ERETRY;
}

// A peer of the group that ended without saying so leaves its status open. A watchdog finds out sooner, and tells more.
static mn_err look_for_peers(dist_comm *c)
{
    for (int i = 0; c->board && !c->watchdog && i < c->board_size; i++) {
        dist_status *s = &c->status[i];
        if (i == c->board_rank) continue;
        if (s->closed) return mn_fail(dist__lost(c), "rank %d has left the job while this rank waits for it", s->rank);
        if (s->pid && kill((pid_t)s->pid, 0) != 0 && errno == ESRCH)
            return mn_fail(dist__lost(c),
                           "rank %d (process %lld on %s) is gone; run again, the last checkpoint is used", s->rank,
                           (long long)s->pid, c->at.host);
    }
    return MN_OK;
}

mn_err dist__wait(dist_comm *c, dist_wait *w)
{
    if (++w->turns < c->spins) {
        relax();
        return MN_OK;
    }
    // This rank's own end is under way in the watchdog: it is to find this thread where it waited.
    dist_end end = dist__end(c);
    if (end.status && end.rank != c->at.rank)
        return mn_fail(dist__lost(c), "rank %d gave up, see its message", end.rank);
    int64_t now = dist_now_ns();
    if (!w->start_ns) w->start_ns = w->checked_ns = now;
    if (now - w->checked_ns > CHECK_NS) {
        w->checked_ns = now;
        MN_TRY(look_for_peers(c));
    }
    if (now - w->start_ns < YIELD_NS)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    return MN_OK;
}

dist_status *dist__status(dist_comm *c)
{
    return &c->status[c->board_rank];
}

void dist__entered(dist_comm *c, dist_op_kind op)
{
    dist_status *own = dist__status(c);
    atomic_store_explicit(&own->op, (int)op, memory_order_relaxed);
    atomic_store_explicit(&own->entered, ++c->entered, memory_order_relaxed);
}

const void *dist__from(const dist_comm *c, int rank)
{
    return c->from + (size_t)rank * c->from_stride;
}

static mn_err adopt(int rank, const dist_verdict *v)
{
    return mn_fail((mn_err)v->code, "rank %d: %s", rank, v->text);
}

// Rank `rank` is in another call than this one. A rank that ran into an error tells it in an agreement, wherever the
// others are: then that error is everybody's. Anything else is a bug.
static mn_err out_of_order(const dist_comm *c, int rank, const dist_call *mine, const void *my_payload,
                           const dist_call *theirs, const void *their_payload)
{
    const dist_verdict *v = their_payload, *own = my_payload;
    if (theirs->op == DIST_OP_AGREE && v->code != MN_OK) return adopt(rank, v);
    if (mine->op == DIST_OP_AGREE && own->code != MN_OK) return mn_fail((mn_err)own->code, "%s", mn_errmsg());
    return mn_fail(
        MN_EINTERNAL,
        "collective %lld: rank %d is in a %s of %lld while this rank (%d) is in a %s of %lld: the ranks have left "
        "the common order, please report this",
        (long long)c->round, rank, dist_op_name((dist_op_kind)theirs->op), (long long)theirs->count, c->at.rank,
        dist_op_name((dist_op_kind)mine->op), (long long)mine->count);
}

// Two sets of slots are enough: who writes a slot of round k + 2 has seen all of round k + 1, so nobody reads round k.
static mn_err round_on_board(dist_comm *c, const dist_call *call, const void *mine, size_t bytes)
{
    dist_slot *slots = c->slot + (c->round & 1) * c->board_size, *own = &slots[c->board_rank];
    own->call = *call;
    if (bytes) memcpy(own->payload, mine, bytes);
    atomic_store_explicit(&own->round, c->round, memory_order_release);
    int64_t start = dist_now_ns();
    for (int r = 0; r < c->at.world; r++)
        for (dist_wait w = {0}; atomic_load_explicit(&slots[r].round, memory_order_acquire) != c->round;)
            MN_TRY(dist__wait(c, &w));
    c->waited_ns += dist_now_ns() - start;
    for (int r = 0; r < c->at.world; r++) // only now: who leaves early would break the promise above
        if (memcmp(&slots[r].call, call, sizeof *call) != 0)
            return out_of_order(c, r, call, mine, &slots[r].call, slots[r].payload);
    c->from = slots[0].payload;
    c->from_stride = sizeof *slots;
    return MN_OK;
}

typedef struct message { // one size for all small rounds, so that a rank in another call is found out, not hung on
    dist_call call;
    unsigned char payload[512 - sizeof(dist_call)];
} message;

static mn_err round_on_backend(dist_comm *c, const dist_call *call, const void *mine, size_t bytes)
{
    message m = {.call = *call};
    int small = bytes <= sizeof m.payload;
    if (small && bytes) memcpy(m.payload, mine, bytes);
    int64_t start = dist_now_ns();
    MN_TRY(c->backend->allgather(c, &m, sizeof m, c->gathered));
    c->waited_ns += dist_now_ns() - start; // small messages: what takes time is that others come late
    const message *all = (const message *)c->gathered;
    for (int r = 0; r < c->at.world; r++)
        if (memcmp(&all[r].call, call, sizeof *call) != 0)
            return out_of_order(c, r, call, mine, &all[r].call, all[r].payload);
    if (!small) MN_TRY(c->backend->allgather(c, mine, bytes, c->gathered));
    c->from = small ? all[0].payload : c->gathered;
    c->from_stride = small ? sizeof m : bytes;
    return MN_OK;
}

mn_err dist__round(dist_comm *c, dist_op_kind op, int64_t count, int aux, const void *mine, size_t bytes)
{
    mn_assert(bytes <= DIST_SLOT_BYTES);
    dist_call call = {.count = count, .op = (int)op, .aux = aux};
    c->round++;
    dist__entered(c, op);
    if (c->at.world == 1) {
        if (bytes) memcpy(c->gathered, mine, bytes);
        c->from = c->gathered;
        return MN_OK;
    }
    return c->board && c->board_size == c->at.world ? round_on_board(c, &call, mine, bytes)
                                                    : round_on_backend(c, &call, mine, bytes);
}

mn_err dist_barrier(dist_comm *c)
{
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_BARRIER, 0, 0);
    MN_TRY(dist__round(c, DIST_OP_BARRIER, 0, 0, NULL, 0));
    dist_trace_end(&c->trace, seq);
    return MN_OK;
}

mn_err dist_broadcast(dist_comm *c, void *p, size_t bytes, int root)
{
    mn_assert(root >= 0 && root < c->at.world);
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_BROADCAST, (int64_t)bytes, (int64_t)bytes);
    size_t in_round = bytes <= DIST_SLOT_BYTES ? bytes : 0;
    MN_TRY(dist__round(c, DIST_OP_BROADCAST, (int64_t)bytes, root, p, in_round));
    if (c->at.rank != root && in_round) memcpy(p, dist__from(c, root), bytes);
    if (c->at.world > 1 && !in_round && bytes) MN_TRY(c->backend->broadcast(c, p, bytes, root));
    dist_trace_end(&c->trace, seq);
    return MN_OK;
}

mn_err dist_gather(dist_comm *c, const void *mine, size_t bytes, void *all)
{
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_GATHER, (int64_t)bytes, (int64_t)bytes);
    for (size_t at = 0; at < bytes; at += DIST_SLOT_BYTES) {
        size_t part = bytes - at < DIST_SLOT_BYTES ? bytes - at : DIST_SLOT_BYTES;
        MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)bytes, 0, (const char *)mine + at, part));
        for (int r = 0; r < c->at.world; r++)
            memcpy((char *)all + (size_t)r * bytes + at, dist__from(c, r), part);
    }
    dist_trace_end(&c->trace, seq);
    return MN_OK;
}

enum { ROUND_NUMBERS = DIST_SLOT_BYTES / 8 };

mn_err dist_host_sum(void *comm, double *v, int64_t n)
{
    dist_comm *c = comm;
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_SUM, n, n * 8);
    if (mn_fault("dist.skip_sum")) return MN_OK;
    for (int64_t at = 0; at < n; at += ROUND_NUMBERS) {
        int64_t part = n - at < ROUND_NUMBERS ? n - at : ROUND_NUMBERS;
        MN_TRY(dist__round(c, DIST_OP_SUM, n, 0, v + at, (size_t)part * sizeof *v));
        for (int r = 0; r < c->at.world; r++) {
            const double *from = dist__from(c, r);
            for (int64_t i = 0; i < part; i++)
                v[at + i] = r ? v[at + i] + from[i] : from[i];
        }
    }
    dist_trace_end(&c->trace, seq);
    return MN_OK;
}

mn_err dist_sum_int(dist_comm *c, int64_t *v, int64_t n)
{
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_SUM_INT, n, n * 8);
    for (int64_t at = 0; at < n; at += ROUND_NUMBERS) {
        int64_t part = n - at < ROUND_NUMBERS ? n - at : ROUND_NUMBERS;
        MN_TRY(dist__round(c, DIST_OP_SUM_INT, n, 0, v + at, (size_t)part * sizeof *v));
        for (int r = 0; r < c->at.world; r++) {
            const int64_t *from = dist__from(c, r);
            for (int64_t i = 0; i < part; i++)
                v[at + i] = r ? v[at + i] + from[i] : from[i];
        }
    }
    dist_trace_end(&c->trace, seq);
    return MN_OK;
}

mn_err dist_agree(dist_comm *c, mn_err mine)
{
    dist_verdict v = {.code = (int32_t)mine};
    uint64_t seq = dist_trace_begin(&c->trace, DIST_OP_AGREE, 1, (int64_t)sizeof v);
    if (mine != MN_OK) snprintf(v.text, sizeof v.text, "%s", mn_errmsg());
    mn_err err = dist__round(c, DIST_OP_AGREE, 1, 0, &v, sizeof v);
    if (err != MN_OK && mine != MN_OK)
        return mn_fail(mine, "%s", v.text); // what this rank knows is nearer to the cause
    MN_TRY(err);
    dist_trace_end(&c->trace, seq);
    for (int r = 0; r < c->at.world; r++) {
        const dist_verdict *theirs = dist__from(c, r);
        if (theirs->code != MN_OK) return r == c->at.rank ? mine : adopt(r, theirs);
    }
    return MN_OK;
}
