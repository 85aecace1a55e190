// Inside dist/: what a backend of the communicator fills, and the parts of a communicator that the folder shares.
#ifndef DIST_BACKEND_H
#define DIST_BACKEND_H

#include "dist/comm.h"
#include "dist/shared.h"
#include "nn/base/shape.h"

#include <stdatomic.h>

enum { DIST_FLIGHTS = 4 };

// One library's side of the communicator. Callers have checked that all ranks are in the same call.
// Gradients on GPUs do not come here (comm_nccl.h).
typedef struct dist_backend {
    // all (world, bytes) in rank order.
    mn_err (*allgather)(dist_comm *c, const void *mine, size_t bytes, void *all);
    mn_err (*broadcast)(dist_comm *c, void *p, size_t bytes, int root);
    // Sum of v over the leaders of all groups in group order, in place, on every leader. Several at a time, in slots
    // 0 ... DIST_FLIGHTS - 1, the same everywhere: start one, then poll until done. Only leaders (group_rank 0) call
    // these. Before the first: reserve for the largest n. wire: what goes between them, MN_F32, or MN_BF16: every leader's
    // v is rounded, added as fp32, and the sum is rounded.
    mn_err (*sum_reserve)(dist_comm *c, int64_t n);
    mn_err (*sum_start)(dist_comm *c, int slot, float *v, int64_t n, mn_dtype wire);
    mn_err (*sum_poll)(dist_comm *c, int slot, int *done);
    // The library's own sum of all ranks in place, to be compared with.
    mn_err (*library_sum)(dist_comm *c, float *v, int64_t n);
    void (*abort)(dist_comm *c, int status);
    void (*close)(dist_comm *c);
} dist_backend;

// What a rank shows to the others of its group, for reports; written by that rank only.
typedef struct dist_status {
    _Alignas(64) _Atomic int64_t pid;
    _Atomic int64_t phase, step; // of the watchdog
    _Atomic int64_t entered;     // collectives, each bucket of gradients being one
    _Atomic int op;              // the newest of them
    _Atomic int closed;          // has left in good order
    int rank;                    // in the world
} dist_status;

enum { DIST_SLOT_BYTES = 4096 };

typedef struct dist_call { // must be equal on all ranks of a round; no padding, it is compared as bytes
    int64_t count;
    int32_t op, aux;
} dist_call;

typedef struct dist_verdict { // payload of an agreement
    int32_t code;
    char text[476];
} dist_verdict;

typedef struct dist_slot { // what a rank hands in to one round
    _Alignas(64) _Atomic int64_t round;
    dist_call call;
    unsigned char payload[DIST_SLOT_BYTES];
} dist_slot;

// How a group ends: what its first rank that gave up has said. On the board in one word, so that a rank which is killed
// or stopped in the middle has said all or nothing, and nobody waits for the rest.
typedef struct dist_end {
    int status;        // exit status, 0: nobody gave up
    int rank, suspect; // who gave up, whom it blames (-1: nobody)
} dist_end;

// Head of the memory shared by a group; then (board_size) status, (2, board_size) slots.
typedef struct dist_board {
    _Alignas(64) _Atomic uint64_t end; // a dist_end; 0: nobody gave up
} dist_board;

struct dist_comm {
    const dist_backend *backend;
    void *state; // of the backend
    dist_place at;
    int *host_of;                  // (world): lowest rank of each rank's host; from the backend
    int *group_of, *group_rank_of; // (world)
    int *leader;                   // (groups): world ranks of the groups' first ranks
    dist_shared memory;            // of the board; base NULL: none
    dist_board *board;             // NULL: none
    int board_rank, board_size;
    dist_status *status; // (board_size); without a board: own_status
    dist_slot *slot;     // (2, board_size)
    dist_status own_status;
    int64_t round, entered;
    int64_t spins;             // turns of a wait before it yields its core
    unsigned char *gathered;   // (world, DIST_SLOT_BYTES): where rounds without a board end
    const unsigned char *from; // of rank 0 in the last round
    size_t from_stride;
    dist_trace trace;
    // Set while a watchdog looks after the peers; leaves its report when this rank gives up because of another.
    void (*report)(void *watchdog, const char *text);
    void (*alive)(void *watchdog);
    void *watchdog;
    int64_t waited_ns; // for other ranks, since the start
    int lost;          // a collective failed because of other ranks
};

// One round of at most DIST_SLOT_BYTES from every rank, which all must enter with the same op, count and aux. Then
// dist__from(c, r) is what rank r handed in, until the next round.
MN_MUST_CHECK mn_err dist__round(dist_comm *c, dist_op_kind op, int64_t count, int aux, const void *mine, size_t bytes);
const void *dist__from(const dist_comm *c, int rank);
dist_status *dist__status(dist_comm *c); // of this rank
// This rank gives up. Returns the exit status of the job: the first one's.
int dist__give_up(dist_comm *c, int status, int suspect, int *first);
dist_end dist__end(const dist_comm *c);            // what the first one has said
void dist__entered(dist_comm *c, dist_op_kind op); // shows it there

// From now on every rank is a group of its own: memory for gradients could not be shared. The board stays.
void dist__ungroup(dist_comm *c);

// For a collective that cannot be finished because of others: keeps the message, returns MN_ERETRY.
mn_err dist__lost(dist_comm *c);

// Waiting for others: spins, then yields, then sleeps 50 us at a time; finds out when the others are gone.
//
//     for (dist_wait w = {0}; !ready;) MN_TRY(dist__wait(c, &w));
typedef struct dist_wait {
    int64_t turns, start_ns, checked_ns;
} dist_wait;
MN_MUST_CHECK mn_err dist__wait(dist_comm *c, dist_wait *w);

MN_MUST_CHECK mn_err dist__mpi_open(dist_comm *c); // sets backend, state, host_of and the first four numbers of at

#endif
