// One rank of a job in which something goes wrong; started by faults.sh. Plain main: processes are killed and stopped.
//
//     rank_faults CASE RUN_DIR
//
// The job "trains": steps with gradients in buckets, a control word and a watchdog with short deadlines.
#include "dist/bucket.h"
#include "dist/handshake.h"
#include "dist/pace.h"
#include "dist/signal.h"
#include "dist/watchdog.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ELEMENTS = 4096, STEPS = 40, FAULT_STEP = 8, CONTROL = sizeof(dist_control) / sizeof(float) };

typedef struct job {
    dist_comm *comm;
    dist_window *window;
    dist_buckets *buckets;
    dist_watchdog *dog;
    dist_pace pace;
    float *grad;
    const char *what, *dir;
} job;

// To the end: the signal that asks for a stack for a report interrupts it, and who hangs must not be cured by that.
static void sleep_ms(int ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static int is(const job *j, const char *what)
{
    return strcmp(j->what, what) == 0;
}

// Says to faults.sh which process this is, and that it is ready for signals: RUN_DIR/pid.N.
static mn_err tell_pid(const job *j)
{
    char path[512];
    snprintf(path, sizeof path, "%s/pid.%d", j->dir, dist_rank(j->comm));
    FILE *f = fopen(path, "w");
    if (!f) return mn_fail(MN_ECREATE, "%s", path);
    fprintf(f, "%d\n", (int)getpid());
    return fclose(f) ? mn_fail(MN_EIO, "%s", path) : MN_OK;
}

// What the last rank does at fault_step.
static mn_err misbehave(const job *j)
{
    double v = 1;
    if (is(j, "kill")) kill(getpid(), SIGKILL);
    if (is(j, "crash")) raise(SIGSEGV);
    if (is(j, "leave")) _exit(0);
    if (is(j, "stop") || is(j, "mute") || is(j, "pause")) kill(getpid(), SIGSTOP);
    if (is(j, "error")) return mn_fail(MN_EDATA, "shard 7 is damaged");
    if (is(j, "order")) return dist_host_sum(j->comm, &v, 1);
    if (is(j, "stuck") || is(j, "interrupt")) sleep_ms(60000);
    if (is(j, "starved")) {
        dist_watchdog_phase(j->dog, DIST_PHASE_DATA, FAULT_STEP);
        sleep_ms(60000);
    }
    if (is(j, "usr2")) kill(getpid(), SIGUSR2);
    if (is(j, "term")) kill(getpid(), SIGTERM);
    return MN_OK;
}

// An interrupt can come at any time after the start, and all must still be there for the second.
static int64_t fault_step(const job *j)
{
    return is(j, "interrupt") ? 0 : FAULT_STEP;
}

static mn_err step(job *j, int64_t n, dist_control *sum)
{
    dist_place at = *dist_where(j->comm);
    dist_watchdog_phase(j->dog, DIST_PHASE_STEP, n);
    dist_buckets_control(j->buckets)->stop = dist_signal_pending() != 0;
    dist_buckets_control(j->buckets)->no_time = !dist_signal_has_time(.1);
    for (int i = 0; i < ELEMENTS; i++)
        j->grad[i] = 1;
    MN_TRY(dist_buckets_on_step(j->buckets, 1));
    if (n == fault_step(j) && at.rank == at.world - 1) MN_TRY(misbehave(j));
    if (n == FAULT_STEP && is(j, "order") && at.rank < at.world - 1) MN_TRY(dist_barrier(j->comm));
    MN_TRY(dist_buckets_wait(j->buckets, sum));
    if (j->grad[ELEMENTS - 1] != (float)at.world) return mn_fail(MN_EINTERNAL, "wrong sum %g", (double)j->grad[0]);
    return MN_OK;
}

static mn_err train(job *j)
{
    int ends = !is(j, "launcher") && !is(j, "cut"), slow = !ends || is(j, "blip"); // to be disturbed in the middle
    for (int64_t n = 0; n < (ends ? STEPS : 100 * STEPS); n++) {
        dist_control sum;
        MN_TRY(step(j, n, &sum));
        MN_TRY(dist_pace_step(&j->pace, j->comm));
        if (is(j, "slow") && dist_rank(j->comm) == 1) sleep_ms(30);
        sleep_ms(slow ? 100 : 10);
        if (sum.stop <= 0) continue;
        printf("rank %d stops at step %lld, no time on %g ranks\n", dist_rank(j->comm), (long long)n,
               (double)sum.no_time);
        return sum.no_time > 0 ? mn_fail(MN_ERETRY, "no time to save") : mn_fail(MN_EINTERRUPTED, "saved");
    }
    return MN_OK;
}

static mn_err run(job *j)
{
    void *grad;
    dist_range range[] = {{0, ELEMENTS / 2, 1, MN_F32}, {ELEMENTS / 2, ELEMENTS / 2 + CONTROL, 2, MN_F32}};
    dist_watchdog_cfg dog = {.dir = j->dir};
    int hangs = is(j, "stop") || is(j, "mute") || is(j, "stuck") || is(j, "starved");
    if (hangs || is(j, "cut"))
        dog.seconds[DIST_PHASE_INIT] = dog.seconds[DIST_PHASE_STEP] = dog.seconds[DIST_PHASE_DATA] = hangs ? 5 : 4;
    MN_TRY(dist_signal_install());
    MN_TRY(dist_watchdog_start(&j->dog, j->comm, &dog));
    MN_TRY(tell_pid(j));
    dist_fact fact = dist_fact_hex("recipe", is(j, "differ") && dist_rank(j->comm) == 1);
    MN_TRY(dist_handshake(j->comm, &fact, 1));
    MN_TRY(dist_window_new(&j->window, j->comm));
    MN_TRY(dist_window_alloc(j->window, (ELEMENTS + CONTROL) * sizeof(float), &grad));
    j->grad = grad;
    MN_TRY(dist_buckets_of_ranges(&j->buckets, j->comm, j->window, range, 2, ELEMENTS));
    return train(j);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 64;
    job j = {.what = argv[1], .dir = argv[2]};
    mn_err err = dist_open(&j.comm);
    if (err == MN_OK) err = run(&j);
    char *message = mn_strdup(mn_errmsg());
    dist_watchdog_stop(j.dog);
    dist_buckets_free(j.buckets);
    dist_window_free(j.window);
    mn_fail(err, "%s", message);
    free(message);
    if (err != MN_EINTERRUPTED && err != MN_OK) dist_abort(j.comm, err); // the others may not know
    dist_close(j.comm);
    return mn_exit_code(err);
}
