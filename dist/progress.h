// How far a run is, for the person who watches it: one line that is rewritten on a terminal, else one full line every
// 30 s, so that logs stay small. Only rank 0 opens one; NULL does nothing. Threading: one thread.
#ifndef DIST_PROGRESS_H
#define DIST_PROGRESS_H

#include <stdint.h>

typedef struct dist_progress dist_progress;
dist_progress *dist_progress_open(const char *name, int64_t from, int64_t steps);
// After each step: loss, learning rate, samples per second, and the share of the step spent waiting for data.
void dist_progress_step(dist_progress *p, int64_t step, double loss, double lr, double rate, double waiting);
void dist_progress_close(dist_progress *p);

// Seconds as a person says them: "40 s", "12 min", "3.5 h". Returns text.
enum { DIST_DURATION = 32 };
const char *dist_duration(double seconds, char text[DIST_DURATION]);

#endif
