#include "dist/signal.h"

#include "dist/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What handlers must see.
static _Atomic int first_signal, interrupts;
static _Atomic int64_t asked_ns;

enum { EXIT_STOPPED_NOW = 128 + SIGINT };

static void on_signal(int number)
{
    int saved = errno, none = 0;
    if (number == SIGINT && ++interrupts == 2) {
        dist_put_text(STDERR_FILENO, "mien: stopped by a second interrupt; the last checkpoint stands\n");
        _exit(EXIT_STOPPED_NOW);
    }
    // TERM after USR2 shortens the time that is left, so its moment counts.
    if (atomic_compare_exchange_strong(&first_signal, &none, number) || number == SIGTERM) {
        asked_ns = dist_now_ns();
        first_signal = number;
    }
    errno = saved;
}

mn_err dist_signal_install(void)
{
    static const int numbers[] = {SIGUSR2, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            return mn_fail(MN_EINTERNAL, "cannot handle signal %d: %s", numbers[i], strerror(errno));
    signal(SIGPIPE, SIG_IGN); // a reader of our output that went away is an error of write, not the end
    return MN_OK;
}

int dist_signal_pending(void)
{
    return first_signal;
}

static double term_seconds(void)
{
    const char *text = getenv("MIEN_TERM_SECONDS");
    char *end;
    double seconds = text ? strtod(text, &end) : -1;
    if (text && *text && !*end && seconds >= 0) return seconds;
    if (getenv("OMPI_COMM_WORLD_SIZE")) return 1;
    return getenv("SLURM_JOB_ID") ? 30 : 1e9;
}

int dist_signal_has_time(double seconds)
{
    if (first_signal != SIGTERM) return 1;
    return 1e-9 * (double)(dist_now_ns() - asked_ns) + seconds < term_seconds();
}

void dist_signal_reset(void)
{
    first_signal = 0;
    interrupts = 0;
}
