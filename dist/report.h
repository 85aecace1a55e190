// Inside dist/: what a watchdog leaves behind. Raw system calls only: the process is not to be trusted any more.
#ifndef DIST_REPORT_H
#define DIST_REPORT_H

#include "dist/backend.h"
#include "dist/watchdog.h"

#include <pthread.h>

typedef struct dist_report {
    dist_comm *comm;
    const char *kind; // "deadline", "peer", "launcher", "told", "collective"
    const char *text; // one line for people
    dist_phase phase;
    int64_t step, in_phase_ns, limit_ns;
    int suspect;    // rank in the world, -1: unknown
    pthread_t main; // whose stack is wanted
    int64_t attempt;
} dist_report;

// Once, from the main thread, while all is well: loads what a stack needs and installs its signal handler.
MN_MUST_CHECK mn_err dist__report_prepare(void);
// DIR/faults/rank-N.json and the line in DIR/metrics.jsonl; faults: the open folder DIR/faults, -1: stderr.
void dist__report_write(const dist_report *r, int faults);

#endif
