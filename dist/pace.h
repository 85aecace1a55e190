// Which rank is slow? Ranks that compute equally much wait for each other equally little; one that is late makes all
// others wait. Every DIST_PACE_STEPS steps the ranks compare how long they waited.
//
//     dist_pace pace = {0};
//     ... after every step, on all ranks: MN_TRY(dist_pace_step(&pace, comm));
//
// Rank 0 warns: "rank 3 (host b) is slow: the others spend 42 % of their time waiting for it"; once, and again when
// another rank becomes the slow one.
// Threading: the thread of the communicator.
#ifndef DIST_PACE_H
#define DIST_PACE_H

#include "dist/comm.h"

enum { DIST_PACE_STEPS = 25 };

typedef struct dist_pace { // zero at the start
    int64_t steps, began_ns, waited_ns;
    int told; // rank that was warned of, plus 1
    // Of the last comparison, the same on all ranks: the rank that waited least, and the share of their time that the
    // others waited, on average; -1 when no rank stands out.
    int slow;
    double share;
} dist_pace;

MN_MUST_CHECK mn_err dist_pace_step(dist_pace *p, dist_comm *c); // collective

#endif
