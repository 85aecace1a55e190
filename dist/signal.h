// Asking a run to stop. USR2 and TERM, and INT once: save and exit 85. INT twice: stop now.
//
//     dist_signal_install();
//     ...  dist_buckets_control(b)->stop = dist_signal_pending() != 0;
//          dist_buckets_control(b)->no_time = !dist_signal_has_time(seconds_of_a_save);
//     ... after dist_buckets_wait: the same decision on all ranks, at the same step ...
//
// A signal reaches ranks at different steps, or only one of them: nobody acts on it before all know (bucket.h).
// Threading: flags are atomic; handlers only set them.
#ifndef DIST_SIGNAL_H
#define DIST_SIGNAL_H

#include "nn/base/err.h"

MN_MUST_CHECK mn_err dist_signal_install(void);
int dist_signal_pending(void); // the first signal that asked, 0: none
// Whether something that takes `seconds` fits in before the launcher's KILL: always after USR2 and INT. After TERM the
// launcher waits 1 s (mpirun), 30 s (Slurm), for ever (a person); MIEN_TERM_SECONDS says otherwise.
int dist_signal_has_time(double seconds);
void dist_signal_reset(void); // forgets; for tests

#endif
