// Monotonic time: never affected by the wall clock. Threading: pure functions.
#ifndef MN_CLOCK_H
#define MN_CLOCK_H

#include <stddef.h>

double mn_seconds(void);         // since an arbitrary start, CLOCK_MONOTONIC
double mn_process_seconds(void); // since this process was started, to 10 ms; 0: not known
// UTC now as "2026-01-31T12:34:56Z" into text.
const char *mn_utc_text(char *text, size_t size);

#endif
