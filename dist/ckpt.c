// The writer: a copy of the state between two steps, and a thread that makes it durable meanwhile.
#include "dist/ckpt_internal.h"

#include "nn/base/clock.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct dist_ckpt {
    dist_ckpt_cfg cfg;
    char *dir;
    dist__snapshot snapshot;
    int64_t last; // step of the newest checkpoint of this course: the writer thread's
    pthread_t thread;
    atomic_int done; // the thread has nothing left to do
    int running, ended;
    double stall_s;
    mn_err err; // of the last save, set by the thread before it ends; MN_OK once it was reported
    char *err_text;
    dist_saved saved; // the last that ended
};

mn_err dist_ckpt_open(dist_ckpt **out, const dist_ckpt_cfg *cfg)
{
    const nn_arenas *a = nn_params_arenas(cfg->params);
    void *block;
    size_t bytes = (size_t)(a->count + 2 * a->trained) * sizeof(float);
    MN_TRY(mn_large_alloc(&block, bytes, "the copy of the state for checkpoints"));
    dist_ckpt *k = mn_calloc(1, sizeof *k);
    k->cfg = *cfg;
    k->cfg.dir = k->dir = mn_strdup(cfg->dir);
    k->last = cfg->from_step;
    k->snapshot = (dist__snapshot){.params = cfg->params, .master = block, .bytes = bytes};
    k->snapshot.m = k->snapshot.master + a->count;
    k->snapshot.v = k->snapshot.m + a->trained;
    *out = k;
    return MN_OK;
}

size_t dist_ckpt_bytes(const dist_ckpt *k)
{
    return k->snapshot.bytes;
}

static mn_err check_finite(const float *x, int64_t n, const nn_param *p)
{
    int64_t bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : bad)
    for (int64_t i = 0; i < n; i++)
        bad += !isfinite(x[i]);
    if (bad == 0) return MN_OK;
    return mn_fail(MN_EDATA,
                   "parameter %s has %lld values that are not finite; nothing was saved, the last checkpoint stays",
                   p->name, (long long)bad);
}

static mn_err copy_state(dist_ckpt *k, const dist_state *s)
{
    nn_params *ps = k->cfg.params;
    const nn_arenas *a = nn_params_arenas(ps);
    dist__snapshot *to = &k->snapshot;
    MN_TRY(nn_params_fetch(ps));
    MN_TRY(nn_optim_fetch(k->cfg.optim));
    for (int i = 0; i < nn_params_count(ps); i++) {
        const nn_param *p = nn_params_at(ps, i);
        MN_TRY(check_finite(nn_param_master(ps, p), p->count, p));
    }
    memset(to->master, 0, (size_t)a->count * sizeof(float)); // what lies between parameters
    for (int i = 0; i < nn_params_count(ps); i++) {
        const nn_param *p = nn_params_at(ps, i);
        memcpy(to->master + p->offset, nn_param_master(ps, p), (size_t)p->count * sizeof(float));
        if (p->frozen || p->spec.buffer) continue;
        memcpy(to->m + p->offset, nn_optim_m(k->cfg.optim, p), (size_t)p->count * sizeof(float));
        memcpy(to->v + p->offset, nn_optim_v(k->cfg.optim, p), (size_t)p->count * sizeof(float));
    }
    to->state = *s;
    to->updates = nn_optim_updates(k->cfg.optim);
    return MN_OK;
}

static void *write_thread(void *arg)
{
    dist_ckpt *k = arg;
    k->err = dist__ckpt_write(&k->cfg, &k->snapshot, &k->last);
    if (k->err == MN_OK) k->err = dist__ckpt_prune(&k->cfg, k->snapshot.state.step, k->snapshot.state.best_step);
    free(k->err_text);
    k->err_text = k->err == MN_OK ? NULL : mn_strdup(mn_errmsg());
    atomic_store(&k->done, 1);
    return NULL;
}

static void join(dist_ckpt *k)
{
    int e = pthread_join(k->thread, NULL);
    mn_assert(e == 0);
    k->running = 0;
    k->saved = (dist_saved){k->err, k->snapshot.state.step, k->stall_s};
    k->ended = 1;
}

mn_err dist_ckpt_wait(dist_ckpt *k)
{
    if (k->running) join(k);
    mn_err err = k->err;
    k->err = MN_OK;
    return err == MN_OK ? MN_OK : mn_fail(err, "%s", k->err_text);
}

int dist_ckpt_ended(dist_ckpt *k, dist_saved *s)
{
    if (!k->ended && k->running && atomic_load(&k->done)) join(k); // one at a time: joining overwrites the last
    int ended = k->ended;
    k->ended = 0;
    *s = k->saved;
    return ended;
}

mn_err dist_ckpt_save(dist_ckpt *k, const dist_state *s)
{
    double start = mn_seconds();
    mn_err before = dist_ckpt_wait(k);
    if (before == MN_EIO)
        mn_warn("a checkpoint was not written, training goes on: %s", mn_errmsg());
    else
        MN_TRY(before);
    MN_TRY(copy_state(k, s));
    atomic_store(&k->done, 0);
    int e = pthread_create(&k->thread, NULL, write_thread, k);
    if (e != 0) return mn_fail(MN_EINTERNAL, "cannot start the checkpoint thread: %s", strerror(e));
    k->running = 1;
    k->stall_s = mn_seconds() - start;
    return MN_OK;
}

void dist_ckpt_close(dist_ckpt *k)
{
    if (!k) return;
    if (dist_ckpt_wait(k) != MN_OK) mn_warn("the last checkpoint was not written: %s", mn_errmsg());
    mn_large_free(k->snapshot.master, k->snapshot.bytes);
    free(k->err_text);
    free(k->dir);
    free(k);
}

// --- attempts ---

static int64_t attempt_of(const char *name)
{
    long long number;
    char end;
    return sscanf(name, "attempt-%lld%c", &number, &end) == 1 ? number : 0;
}

mn_err dist__attempt_highest(const char *run_folder, int64_t *highest)
{
    char **names;
    int64_t n;
    *highest = 0;
    MN_TRY(mn_dir_list(run_folder, &names, &n));
    for (int64_t i = 0; i < n; i++)
        if (attempt_of(names[i]) > *highest) *highest = attempt_of(names[i]);
    mn_names_free(names, n);
    return MN_OK;
}

// The file of the next number, created exclusively: two starts at once get two numbers.
static mn_err claim(const char *run_folder, int64_t *number)
{
    char host[256] = "?";
    MN_TRY(dist__attempt_highest(run_folder, number));
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "?");
    for (int tries = 0; tries < 1000; tries++) {
        char *path = mn_sprintf("%s/attempt-%06lld", run_folder, (long long)++*number);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        int e = errno;
        if (fd >= 0) {
            char *text = mn_sprintf("%s %ld\n", host, (long)getpid());
            mn_err err = mn_file_write(fd, text, strlen(text), path);
            mn_err closed = mn_file_close(fd, 0, path);
            free(text);
            free(path);
            return err != MN_OK ? err : closed;
        }
        mn_err err = e == EEXIST ? MN_OK : mn_fail(MN_ECREATE, "%s: %s", path, strerror(e));
        free(path);
        MN_TRY(err);
    }
    return mn_fail(MN_ECREATE, "%s: cannot claim an attempt number", run_folder);
}

mn_err dist_attempt_open(dist_attempt *a, const char *run_folder)
{
    char holder[64] = "";
    char *path = mn_sprintf("%s/lock", run_folder);
    mn_err err = MN_OK;
    *a = (dist_attempt){.lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (a->lock < 0) {
        err = mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
    } else if (flock(a->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        ssize_t n = pread(a->lock, holder, sizeof holder - 1, 0);
        holder[n > 0 ? n : 0] = '\0';
        err = mn_fail(MN_ECREATE, "%s: the run is in use by process %s; give the other run a name of its own",
                      run_folder, holder);
    }
    free(path);
    // A file system without locks is no reason to stop: attempt numbers still fence.
    if (err == MN_OK) {
        char host[32] = "?";
        if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "?");
        int n = snprintf(holder, sizeof holder, "%ld on %s", (long)getpid(), host);
        if (ftruncate(a->lock, 0) != 0 || pwrite(a->lock, holder, (size_t)n, 0) != n)
            err = mn_fail(MN_ECREATE, "%s/lock: %s", run_folder, strerror(errno));
    }
    if (err == MN_OK) err = claim(run_folder, &a->number);
    if (err != MN_OK) dist_attempt_close(a);
    return err;
}

void dist_attempt_close(dist_attempt *a)
{
    if (a->lock >= 0) close(a->lock);
    a->lock = -1;
}
