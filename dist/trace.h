// The last 256 collectives of this rank, for the report of a watchdog: what was it doing, and for how long?
//
//     uint64_t seq = dist_trace_begin(t, DIST_OP_SUM, 3, 24);
//     ... the collective ...
//     dist_trace_end(t, seq);
//
// Threading: one thread writes; any thread, and a signal handler, may read at any time (fields are atomic, an entry
// being overwritten may be torn, which a report can live with).
#ifndef DIST_TRACE_H
#define DIST_TRACE_H

#include <stdatomic.h>
#include <stdint.h>

// X(name, text): operations that all ranks run in the same order.
#define DIST_OP_MAP(X)                                                                                                 \
    X(DIST_OP_NONE, "none")                                                                                            \
    X(DIST_OP_BARRIER, "barrier")                                                                                      \
    X(DIST_OP_BROADCAST, "broadcast")                                                                                  \
    X(DIST_OP_GATHER, "gather")                                                                                        \
    X(DIST_OP_AGREE, "agreement")                                                                                      \
    X(DIST_OP_SUM, "sum of doubles")                                                                                   \
    X(DIST_OP_SUM_INT, "sum of integers")                                                                              \
    X(DIST_OP_GRADIENTS, "sum of gradients")

typedef enum dist_op_kind {
#define DIST_OP_ENUM(name, text) name,
    DIST_OP_MAP(DIST_OP_ENUM)
#undef DIST_OP_ENUM
} dist_op_kind;

const char *dist_op_name(dist_op_kind op);

enum { DIST_TRACE_ENTRIES = 256 };

typedef struct dist_trace_entry {
    _Atomic uint64_t seq; // from 1; 0: unused
    _Atomic uint32_t op;
    _Atomic int64_t count, bytes;
    _Atomic int64_t start_ns, end_ns; // CLOCK_MONOTONIC; end 0: still running
} dist_trace_entry;

typedef struct dist_trace {
    _Atomic uint64_t last; // seq of the newest entry
    dist_trace_entry entry[DIST_TRACE_ENTRIES];
} dist_trace;

uint64_t dist_trace_begin(dist_trace *t, dist_op_kind op, int64_t count, int64_t bytes);
void dist_trace_end(dist_trace *t, uint64_t seq);
// Writes the entries, oldest first, as a JSON array to a file descriptor. Async-signal-safe.
void dist_trace_write(const dist_trace *t, int fd);

// For writers of reports, async-signal-safe: text, and a number in decimal.
void dist_put_text(int fd, const char *text);
void dist_put_int(int fd, int64_t v);
int64_t dist_now_ns(void); // CLOCK_MONOTONIC

#endif
