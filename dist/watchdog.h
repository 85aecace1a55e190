// A thread per rank that ends the process when nothing moves any more, and leaves a report: no rank waits for ever for
// one that hangs, was stopped, or is gone.
//
//     dist_watchdog *w; MN_TRY(dist_watchdog_start(&w, comm, &(dist_watchdog_cfg){0}));
//     MN_TRY(dist_watchdog_folder(w, "runs/a", attempt));
//     dist_watchdog_phase(w, DIST_PHASE_DATA, step);  ... dist_watchdog_phase(w, DIST_PHASE_STEP, step); ...
//     dist_watchdog_stop(w);                          // before dist_close, which has a deadline of its own
//
// Every call of dist_watchdog_phase says "alive" and starts the phase's deadline anew. When it passes, or a rank of the
// same host ends without a word, or the launcher is gone: DIR/faults/rank-N.json tells the phase, the step, for how
// long, what the other ranks of the host were doing, the last 256 collectives and the stack of the main thread; a line
// {"event":"fault",...} goes to DIR/metrics.jsonl if that exists; the exit status is 75, on every rank.
// Time during which the process itself was suspended (SIGSTOP, a sleeping machine) does not count.
// Threading: phase from the main thread only. The thread that ends the process makes no MPI calls and none that could
// block: a second one writes the report, and a file system that is dead costs the report, not the end.
#ifndef DIST_WATCHDOG_H
#define DIST_WATCHDOG_H

#include "dist/comm.h"

// X(name, text, default deadline in seconds)
#define DIST_PHASE_MAP(X)                                                                                              \
    X(DIST_PHASE_INIT, "init", 300)                                                                                    \
    X(DIST_PHASE_DATA, "data", 300)                                                                                    \
    X(DIST_PHASE_STEP, "step", 60)                                                                                     \
    X(DIST_PHASE_EVAL, "eval", 300)                                                                                    \
    X(DIST_PHASE_SAVE, "save", 600)

typedef enum dist_phase {
#define DIST_PHASE_ENUM(name, text, seconds) name,
    DIST_PHASE_MAP(DIST_PHASE_ENUM)
#undef DIST_PHASE_ENUM
        DIST_PHASES
} dist_phase;

const char *dist_phase_name(dist_phase p);

typedef struct dist_watchdog_cfg {
    double
        seconds[DIST_PHASES]; // deadlines, 0: the default. A step has this or 10 medians of the last steps if that is
                              // longer; the first step also has the time of init, since nothing is known yet
    const char *dir;          // run folder; NULL: reports go to stderr
} dist_watchdog_cfg;

typedef struct dist_watchdog dist_watchdog;
MN_MUST_CHECK mn_err dist_watchdog_start(dist_watchdog **out, dist_comm *c, const dist_watchdog_cfg *cfg);
dist_watchdog *dist_watchdog_of(const dist_comm *c);                    // that looks after these ranks; NULL: none
void dist_watchdog_phase(dist_watchdog *w, dist_phase p, int64_t step); // NULL is fine
// What is known only later; NULL is fine. Seconds 0: as before.
void dist_watchdog_limit(dist_watchdog *w, dist_phase p, double seconds);
MN_MUST_CHECK mn_err dist_watchdog_folder(dist_watchdog *w, const char *dir); // NULL: as before
void dist_watchdog_attempt(dist_watchdog *w, int64_t attempt); // of the run, for the line in metrics.jsonl
// NULL is fine. Leaves a report when a collective has failed because of other ranks, so it may come before dist_abort.
void dist_watchdog_stop(dist_watchdog *w);

#endif
