#include "dist/watchdog.h"

#include "dist/report.h"
#include "nn/base/fault.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 250, HISTORY = 32, STEP_FACTOR = 10, LINGER_MS = 1000, REPORT_MS = 5000 };
enum { NOBODY, CLAIMED, WANTED, WRITTEN }; // of the report
static const int64_t second = 1000000000;

struct dist_watchdog {
    dist_comm *comm;
    int64_t limit_ns[DIST_PHASES];
    _Atomic int64_t attempt;
    _Atomic int faults; // folder, -1: none
    pthread_t thread, writer, main;
    int stop[2];            // a pipe: closing its writing end wakes the thread
    struct pollfd *watched; // stop, launcher, then the ranks of the host
    int n_watched;          //
    pid_t launcher;         // 0: none
    _Atomic int64_t phase, step, since_ns;
    _Atomic int64_t moved_ns, deadline_ns; // the last sign of life, and when the next must have come
    _Atomic int reporting, stopping;       // a report is asked for once, by whichever thread comes first
    sem_t wanted;                          // wakes the writer
    dist_report report;                    // what is to be written, of the thread that has asked
    char text[512], line[512];             // its text; for stderr
    int64_t steps[HISTORY], n_steps;       // durations, of the main thread
};

const char *dist_phase_name(dist_phase p)
{
    static const char *const names[] = {
#define ROW(name, text, seconds) text,
        DIST_PHASE_MAP(ROW)
#undef ROW
    };
    return (unsigned)p < DIST_PHASES ? names[p] : "unknown";
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t limit_of(const dist_watchdog *w, dist_phase p)
{
    int64_t limit = w->limit_ns[p], sorted[HISTORY];
    if (p != DIST_PHASE_STEP) return limit;
    int n = w->n_steps < HISTORY ? (int)w->n_steps : HISTORY;
    if (!n) return limit > w->limit_ns[DIST_PHASE_INIT] ? limit : w->limit_ns[DIST_PHASE_INIT];
    memcpy(sorted, w->steps, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    int64_t usual = STEP_FACTOR * sorted[n / 2];
    return usual > limit ? usual : limit;
}

static void move(dist_watchdog *w, int64_t now)
{
    w->moved_ns = now;
    w->deadline_ns = now + limit_of(w, (dist_phase)w->phase);
}

void dist_watchdog_phase(dist_watchdog *w, dist_phase p, int64_t step)
{
    if (!w) return;
    int64_t now = dist_now_ns();
    if (w->phase == DIST_PHASE_STEP) w->steps[w->n_steps++ % HISTORY] = now - w->since_ns;
    dist_status *own = dist__status(w->comm);
    own->phase = p;
    own->step = step;
    w->phase = p;
    w->step = step;
    w->since_ns = now;
    move(w, now);
}

static void alive(void *watchdog)
{
    move(watchdog, dist_now_ns());
}

// The rank of this host that is behind all others, -1 if there is no single one.
static int find_suspect(dist_comm *c)
{
    int suspect = -1;
    int64_t least_step = INT64_MAX, least_entered = INT64_MAX;
    for (int i = 0; c->board && i < c->board_size; i++) {
        int64_t step = c->status[i].step, entered = c->status[i].entered;
        if (step > least_step || (step == least_step && entered > least_entered)) continue;
        suspect = step == least_step && entered == least_entered ? -1 : c->status[i].rank;
        least_step = step;
        least_entered = entered;
    }
    return suspect;
}

// A thread of its own writes: a write can last for ever (a file system that is dead, a reader of stderr that is
// stopped), and who ends the process must not wait for that.
static void *write_report(void *watchdog)
{
    dist_watchdog *w = watchdog;
    while (w->reporting != WANTED && !w->stopping)
        (void)sem_wait(&w->wanted);
    if (w->reporting != WANTED) return NULL;
    if (!mn_fault("watchdog.report")) {
        dist_put_text(STDERR_FILENO, w->line);
        dist__report_write(&w->report, w->faults);
    }
    w->reporting = WRITTEN;
    return NULL;
}

// Asks for the report and waits for it, or for the one that another thread has asked for, but no longer than REPORT_MS:
// a second for the stack, the rest for a slow disk.
// status: what the process will end with, told on stderr; 0: nothing is told.
static void leave_report(dist_watchdog *w, const char *kind, int suspect, const char *text, int status)
{
    int none = NOBODY;
    if (atomic_compare_exchange_strong(&w->reporting, &none, CLAIMED)) {
        dist_report *r = &w->report;
        *r = (dist_report){.comm = w->comm,
                           .kind = kind,
                           .text = w->text,
                           .phase = (dist_phase)w->phase,
                           .step = w->step,
                           .in_phase_ns = dist_now_ns() - w->since_ns,
                           .limit_ns = w->deadline_ns - w->moved_ns,
                           .suspect = suspect,
                           .main = w->main,
                           .attempt = w->attempt};
        snprintf(w->text, sizeof w->text, "%s", text);
        if (status)
            snprintf(w->line, sizeof w->line,
                     "[rank %d] error: %.256s; this rank (%s, process %d) was in %s, step %lld; ends with %d%s\n",
                     w->comm->at.rank, text, w->comm->at.host, (int)getpid(), dist_phase_name(r->phase),
                     (long long)r->step, status, w->faults < 0 ? "" : ", see faults/ of the run");
        w->reporting = WANTED;
        sem_post(&w->wanted);
    }
    for (int ms = 0; w->reporting != WRITTEN && ms < REPORT_MS; ms += 10)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

// For dist_abort: this rank's collective failed, or was left because another rank gave up.
static void report_error(void *watchdog, const char *text)
{
    dist_watchdog *w = watchdog;
    dist_end end = dist__end(w->comm);
    int told = end.status && end.rank != w->comm->at.rank;
    leave_report(w, told ? "told" : "collective", end.suspect, text, told ? end.status : 0);
}

// Leaves the report, gives the others of the host time for theirs, and ends the process. Never returns.
static _Noreturn void give_up(dist_watchdog *w, const char *kind, int suspect, const char *text)
{
    int first, status = dist__give_up(w->comm, mn_exit_code(MN_ERETRY), suspect, &first);
    leave_report(w, kind, suspect, text, status);
    if (first) nanosleep(&(struct timespec){.tv_sec = LINGER_MS / 1000, .tv_nsec = LINGER_MS % 1000 * 1000000}, NULL);
    _exit(status);
}

static void check_deadline(dist_watchdog *w, int64_t now)
{
    char text[256];
    if (now < w->deadline_ns) return;
    int suspect = find_suspect(w->comm);
    double limit = 1e-9 * (double)(w->deadline_ns - w->moved_ns);
    if (suspect >= 0 && suspect != w->comm->at.rank)
        snprintf(text, sizeof text, "nothing moved for %.0f s, rank %d is behind all others", limit, suspect);
    else if (w->phase == DIST_PHASE_DATA)
        snprintf(text, sizeof text, "no batch from the loader for %.0f s", limit);
    else
        snprintf(text, sizeof text, "nothing moved for %.0f s", limit);
    give_up(w, "deadline", suspect, text);
}

// Another rank of this host has given up: leave with its status, unless it ends us first. A rank that ran into an error
// of its own has told what it is; only a peer's watchdog makes this one's report interesting.
static void check_abort(dist_watchdog *w)
{
    char text[256];
    dist_end end = dist__end(w->comm);
    if (!end.status || end.rank == w->comm->at.rank) return;
    if (end.status == mn_exit_code(MN_ERETRY)) {
        int n = snprintf(text, sizeof text, "rank %d gave up", end.rank);
        if (end.suspect >= 0) snprintf(text + n, sizeof text - (size_t)n, " because of rank %d", end.suspect);
        give_up(w, "told", end.suspect, text);
    }
    nanosleep(&(struct timespec){.tv_sec = 3}, NULL);
    _exit(end.status);
}

// Without a descriptor for the process (before Linux 5.3) by its number, which may lag behind by a tick.
static int has_ended(const struct pollfd *p, int64_t pid)
{
    return p->fd < 0 ? kill((pid_t)pid, 0) != 0 && errno == ESRCH : p->revents != 0;
}

static void check_peers(dist_watchdog *w)
{
    dist_comm *c = w->comm;
    char text[256];
    if (w->launcher && (getppid() != w->launcher || w->watched[1].revents))
        give_up(w, "launcher", -1, "the launcher is gone");
    for (int i = 2; i < w->n_watched; i++) {
        dist_status *s = &c->status[i - 2];
        if (i - 2 == c->board_rank || s->closed || !has_ended(&w->watched[i], s->pid)) continue;
        check_abort(w); // it may have told why
        snprintf(text, sizeof text, "rank %d (process %lld) has died", s->rank, (long long)s->pid);
        give_up(w, "peer", s->rank, text);
    }
}

static void *watch(void *arg)
{
    dist_watchdog *w = arg;
    int64_t last = dist_now_ns();
    while (poll(w->watched, (nfds_t)w->n_watched, TICK_MS) >= 0 || errno == EINTR) {
        int64_t now = dist_now_ns(), gap = now - last;
        last = now;
        if (w->watched[0].revents) return NULL;
        if (gap > 4 * second) w->deadline_ns += gap; // this process was suspended, which is no one's fault
        check_peers(w);
        check_abort(w);
        check_deadline(w, now);
    }
    return NULL; // poll itself failed: out of memory, where a watchdog can do nothing
}

static int open_process(int64_t pid)
{
    return (int)syscall(SYS_pidfd_open, (pid_t)pid, 0); // -1 before Linux 5.3: poll ignores it
}

static void watch_processes(dist_watchdog *w)
{
    dist_comm *c = w->comm;
    int peers = c->board ? c->board_size : 0;
    w->n_watched = 2 + peers;
    w->watched = mn_calloc((size_t)w->n_watched, sizeof *w->watched);
    w->launcher = c->at.world > 1 ? getppid() : 0; // alone it may outlive the shell that started it
    for (int i = 0; i < w->n_watched; i++)
        w->watched[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    w->watched[0].fd = w->stop[0];
    if (w->launcher) w->watched[1].fd = open_process(w->launcher);
    for (int i = 0; i < peers; i++)
        if (i != c->board_rank) w->watched[2 + i].fd = open_process(c->status[i].pid);
}

mn_err dist_watchdog_folder(dist_watchdog *w, const char *dir)
{
    char path[4096];
    if (!w || !dir || w->faults >= 0) return MN_OK;
    if (snprintf(path, sizeof path, "%s/faults", dir) >= (int)sizeof path)
        return mn_fail(MN_ECREATE, "the path of the run folder %s is too long", dir);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return mn_fail(MN_ECREATE, "cannot create %s: %s", path, strerror(errno));
    w->faults = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->faults < 0) return mn_fail(MN_ECREATE, "cannot open %s: %s", path, strerror(errno));
    return MN_OK;
}

static void stop_writer(dist_watchdog *w)
{
    w->stopping = 1;
    sem_post(&w->wanted);
    pthread_join(w->writer, NULL);
}

static mn_err start_threads(dist_watchdog *w)
{
    sigset_t all, before; // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&w->writer, NULL, write_report, w);
    if (!code) {
        code = pthread_create(&w->thread, NULL, watch, w);
        if (code) stop_writer(w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code ? mn_fail(MN_EINTERNAL, "cannot start the watchdog: %s", strerror(code)) : MN_OK;
}

static void release(dist_watchdog *w)
{
    for (int i = 1; i < w->n_watched; i++)
        if (w->watched[i].fd >= 0) close(w->watched[i].fd);
    if (w->stop[0] >= 0) close(w->stop[0]);
    if (w->stop[1] >= 0) close(w->stop[1]);
    if (w->faults >= 0) close(w->faults);
    sem_destroy(&w->wanted);
    free(w->watched);
    free(w);
}

mn_err dist_watchdog_start(dist_watchdog **out, dist_comm *c, const dist_watchdog_cfg *cfg)
{
    static const double defaults[] = {
#define ROW(name, text, seconds) seconds,
        DIST_PHASE_MAP(ROW)
#undef ROW
    };
    dist_watchdog *w = mn_calloc(1, sizeof *w);
    w->comm = c;
    w->faults = w->stop[0] = w->stop[1] = -1;
    w->main = pthread_self();
    sem_init(&w->wanted, 0, 0);
    for (int p = 0; p < DIST_PHASES; p++)
        w->limit_ns[p] = (int64_t)((cfg->seconds[p] > 0 ? cfg->seconds[p] : defaults[p]) * (double)second);
    dist_watchdog_phase(w, DIST_PHASE_INIT, 0);
    mn_err err;
    MN_TRY_OUT(err, dist__report_prepare());
    MN_TRY_OUT(err, dist_watchdog_folder(w, cfg->dir));
    if (pipe2(w->stop, O_CLOEXEC) != 0) {
        err = mn_fail(MN_EINTERNAL, "cannot start the watchdog: %s", strerror(errno));
        goto out;
    }
    watch_processes(w);
    MN_TRY_OUT(err, start_threads(w));
    c->watchdog = w;
    c->report = report_error;
    c->alive = alive;
out:
    if (err != MN_OK)
        release(w);
    else
        *out = w;
    return err;
}

dist_watchdog *dist_watchdog_of(const dist_comm *c)
{
    return c ? c->watchdog : NULL;
}

void dist_watchdog_limit(dist_watchdog *w, dist_phase p, double seconds)
{
    if (!w || seconds <= 0) return;
    w->limit_ns[p] = (int64_t)(seconds * (double)second);
    if (w->phase == p) alive(w);
}

void dist_watchdog_attempt(dist_watchdog *w, int64_t attempt)
{
    if (w) w->attempt = attempt;
}

void dist_watchdog_stop(dist_watchdog *w)
{
    if (!w) return;
    if (w->comm->lost) report_error(w, "a collective could not be finished");
    w->comm->watchdog = NULL;
    w->comm->report = NULL;
    stop_writer(w); // first: the deadline still holds should it be stuck in a write
    close(w->stop[1]);
    w->stop[1] = -1;
    pthread_join(w->thread, NULL);
    release(w);
}
