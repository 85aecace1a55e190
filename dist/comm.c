#include "dist/comm.h"

#include "dist/backend.h"
#include "dist/launch.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const dist_backend single = {0};

const dist_place *dist_where(const dist_comm *c)
{
    return &c->at;
}

int dist_rank(const dist_comm *c)
{
    return c->at.rank;
}

int dist_world(const dist_comm *c)
{
    return c->at.world;
}

void dist_alive(dist_comm *c)
{
    if (c->watchdog) c->alive(c->watchdog);
}

// Ranks per group: all of a host, or what MIEN_NODE_SIZE says (so that one machine can play several in tests).
static int group_limit(const dist_comm *c)
{
    const char *text = getenv("MIEN_NODE_SIZE");
    long n = text ? strtol(text, NULL, 10) : 0;
    return n > 0 && n < c->at.world ? (int)n : c->at.world;
}

// Groups of at most `limit` ranks of one host, numbered by their lowest rank.
static void make_groups(dist_comm *c, int limit)
{
    int world = c->at.world;
    c->at.groups = 0;
    for (int r = 0; r < world; r++) {
        int before = 0; // ranks of the same host below r
        for (int s = 0; s < r; s++) {
            if (c->host_of[s] != c->host_of[r]) continue;
            c->group_of[r] = c->group_of[s]; // at the end: of the nearest of them
            before++;
        }
        c->group_rank_of[r] = before % limit;
        if (before % limit) continue;
        c->leader[c->at.groups] = r;
        c->group_of[r] = c->at.groups++;
    }
    c->at.group = c->group_of[c->at.rank];
    c->at.group_rank = c->group_rank_of[c->at.rank];
    c->at.group_size = 0;
    for (int r = 0; r < world; r++)
        c->at.group_size += c->group_of[r] == c->at.group;
}

void dist__ungroup(dist_comm *c)
{
    make_groups(c, 1);
}

// Puts board, statuses and slots into memory shared by the group. Without such memory every rank is its own group.
static mn_err open_board(dist_comm *c)
{
    size_t size = (size_t)c->at.group_size;
    dist_shared m;
    MN_TRY(dist_shared_open(c, sizeof(dist_board) + size * (sizeof(dist_status) + 2 * sizeof(dist_slot)), &m));
    if (!m.base) {
        if (m.why[0])
            mn_warn("ranks on %s cannot share memory (%s): gradients go through %s, which is slower", c->at.host, m.why,
                    dist_library());
        make_groups(c, 1);
        return MN_OK;
    }
    dist_board *board = m.base;
    c->memory = m;
    c->board_size = c->at.group_size;
    c->board_rank = c->at.group_rank;
    c->status = (dist_status *)(board + 1);
    c->slot = (dist_slot *)(c->status + size);
    dist_status *own = dist__status(c);
    *own = (dist_status){.rank = c->at.rank, .pid = getpid()};
    MN_TRY(dist__round(c, DIST_OP_BARRIER, 0, 1, NULL, 0)); // through the backend: all statuses are there
    c->board = board;
    return MN_OK;
}

enum { SPINS = 2000 }; // some 20 us: longer than peers that have a core of their own are apart

static mn_err open_comm(dist_comm *c)
{
    dist_launch launch;
    MN_TRY(dist_launch_detect(&launch));
    if (launch.use_mpi) MN_TRY(dist__mpi_open(c));
    if (c->at.world < launch.tasks) return dist_launch_mismatch(&launch, c->at.world, dist_library());
    size_t world = (size_t)c->at.world;
    c->gathered = mn_calloc(world, DIST_SLOT_BYTES);
    c->group_of = mn_calloc(world, sizeof(int));
    c->group_rank_of = mn_calloc(world, sizeof(int));
    c->leader = mn_calloc(world, sizeof(int));
    if (!c->host_of) c->host_of = mn_calloc(world, sizeof(int));
    mn_log_rank(c->at.rank);
    mn_fault_init(c->at.rank); // now that the rank is known
    make_groups(c, group_limit(c));
    c->spins = c->at.local_size <= sysconf(_SC_NPROCESSORS_ONLN) ? SPINS : 1;
    return world > 1 ? open_board(c) : MN_OK;
}

mn_err dist_open(dist_comm **out)
{
    dist_comm *c = mn_calloc(1, sizeof *c);
    c->backend = &single;
    c->at = (dist_place){.world = 1, .local_size = 1};
    c->status = &c->own_status;
    c->spins = 1;
    if (gethostname(c->at.host, sizeof c->at.host - 1) != 0) memcpy(c->at.host, "localhost", sizeof "localhost");
    mn_err err = open_comm(c);
    if (err != MN_OK)
        dist_close(c);
    else
        *out = c;
    return err;
}

static volatile sig_atomic_t alarm_status;

static void on_alarm(int signal)
{
    (void)signal;
    _exit((int)alarm_status);
}

// For what can itself hang when no watchdog looks after this process any more.
static void end_within(unsigned seconds, int status)
{
    alarm_status = status;
    signal(SIGALRM, on_alarm);
    alarm(seconds);
}

enum { CLOSE_SECONDS = 60, ABORT_SECONDS = 5, FIRST_ENDS_US = 2000000 };

// The library's end waits for all ranks, one of which may never come.
static void close_backend(dist_comm *c)
{
    if (!c->backend->close) return;
    end_within(mn_fault("close.soon") ? 1 : CLOSE_SECONDS, mn_exit_code(MN_ERETRY));
    (void)mn_fault("close");
    c->backend->close(c);
    alarm(0);
}

void dist_close(dist_comm *c)
{
    if (!c) return;
    dist__status(c)->closed = 1;
    close_backend(c);
    dist_shared_close(&c->memory);
    free(c->gathered);
    free(c->group_of);
    free(c->group_rank_of);
    free(c->leader);
    free(c->host_of);
    free(c);
}

enum { RANK_BITS = 28 }; // a suspect is kept as rank + 1

static uint64_t pack_end(dist_end e)
{
    mn_assert(e.status > 0 && e.status < 256 && e.rank >> RANK_BITS == 0);
    return (uint64_t)e.status | (uint64_t)e.rank << 8 | (uint64_t)(e.suspect + 1) << (8 + RANK_BITS);
}

dist_end dist__end(const dist_comm *c)
{
    uint64_t word = c->board ? c->board->end : 0, mask = (1u << RANK_BITS) - 1;
    return (dist_end){(int)(word & 0xff), (int)(word >> 8 & mask), (int)(word >> (8 + RANK_BITS)) - 1};
}

int dist__give_up(dist_comm *c, int status, int suspect, int *first)
{
    uint64_t nobody = 0;
    *first = 1;
    if (!c || !c->board) return status;
    *first = atomic_compare_exchange_strong(&c->board->end, &nobody, pack_end((dist_end){status, c->at.rank, suspect}));
    return dist__end(c).status;
}

void dist_abort(dist_comm *c, mn_err e)
{
    int first, status = dist__give_up(c, mn_exit_code(e), -1, &first);
    end_within(ABORT_SECONDS, status); // a log on a dead file system, a launcher that is gone
    if (first && mn_errmsg()[0]) mn_log(MN_ERROR, "%s", mn_errmsg());
    if (c && c->report && status == mn_exit_code(MN_ERETRY)) c->report(c->watchdog, mn_errmsg());
    if (!first) usleep(FIRST_ENDS_US); // the first one's status is to be the job's
    if (c && c->backend->abort) c->backend->abort(c, status);
    _exit(status);
}
