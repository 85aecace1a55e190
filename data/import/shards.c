// The shards of this rank: found finished, or made, by one thread each.
#include "data/import/run.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPORT_S = 30, LOOK_NS = 200000000, MESSAGE = 1024, EXAMPLES = 10 };

typedef struct task { // one shard of this rank
    const data__group *group;
    int k;
    int64_t begin, end; // units
    const char *file;
} task;

typedef struct data__team {
    data__job *job;
    task *tasks;
    int n;
    int64_t units;
    double started, reported;
    atomic_int next;      // task
    atomic_llong pieces;  // of work done: what tells a thread that works from one that hangs
    atomic_llong written; // units
    atomic_int stop;      // the others are to end: a thread failed, or the ranks do not go on
    pthread_mutex_t lock; // of what follows, and of job->done and job->reused
    pthread_cond_t ended;
    int running;
    mn_err err; // the first
    char message[MESSAGE];
} data__team;

// What goes on between two pieces of work

static void report(data__team *t)
{
    double now = mn_seconds();
    if (now - t->reported < REPORT_S) return;
    t->reported = now;
    int64_t done = atomic_load(&t->written), left = t->units - done;
    double rate = (double)done / (now - t->started);
    mn_info("import: %lld of %lld%s, %.0f/s, about %.0f min left", (long long)done, (long long)t->units,
            t->job->im.cfg->ranks.world > 1 ? " of this rank" : "", rate, rate > 0 ? (double)left / rate / 60 : 0);
}

static mn_err ranks_proceed(const data__job *j)
{
    const data_ranks *r = &j->im.cfg->ranks;
    return r->proceed ? r->proceed(r->ctx) : MN_OK;
}

mn_err data__import_proceed(data__import *im)
{
    data__team *t = im->team;
    if (!t) return im->cfg->ranks.proceed ? im->cfg->ranks.proceed(im->cfg->ranks.ctx) : MN_OK;
    (void)atomic_fetch_add(&t->pieces, 1);
    return atomic_load(&t->stop) ? mn_fail(MN_EINTERRUPTED, "the import was stopped") : MN_OK;
}

// One shard

// 1 when the shard is there, sound in its index, of this source, and with its sidecar.
static int is_done(const data__job *j, const char *file, data__tally *tally)
{
    char *path = mn_sprintf("%s/%s", j->im.cfg->out, file), *listing = NULL;
    data_shard *s = NULL;
    int done = 0;
    if (data__sidecar_read(j->im.cfg->out, file, j->source, tally, &listing, &done) == MN_OK && done)
        done = data_shard_open(&s, path) == MN_OK && strcmp(data_shard_about(s)->source, j->source) == 0;
    data_shard_close(s);
    free(listing);
    free(path);
    return done;
}

static mn_err write_units(data__job *j, data__import *im, const task *k, data_writer *w)
{
    data__team *t = j->team;
    im->of_sounds = strcmp(k->group->stream, "audio") == 0;
    for (int64_t u = k->begin; u < k->end; u++) {
        MN_TRY(im->importer->write(im, k->group, &k->group->units[u], w));
        MN_TRY(data__import_proceed(im));
        (void)atomic_fetch_add(&t->written, 1);
        if (!im->team) report(t);
    }
    return MN_OK;
}

static data_writer_cfg shard_cfg(const data__job *j, const data__group *g, int k)
{
    const data_writer_cfg *columns = j->im.columns ? j->im.columns : &j->im.importer->columns;
    int sound = strcmp(g->stream, "audio") == 0; // it has no labels
    data_writer_cfg cfg = sound ? (data_writer_cfg){.has_video = columns->has_video} : *columns;
    cfg.dir = j->im.cfg->out;
    cfg.dataset = cfg.importer = j->im.cfg->kind;
    cfg.split = g->split;
    cfg.stream = g->stream;
    cfg.options_json = j->options;
    cfg.source = j->source;
    cfg.index = k;
    cfg.count = g->n_shards;
    cfg.has_original = !sound && (j->im.cfg->size > 0 || j->im.cfg->crop);
    return cfg;
}

static mn_err make_shard(data__job *j, data__import *im, const task *k, data__tally *tally)
{
    data_writer_cfg cfg = shard_cfg(j, k->group, k->k);
    data_writer *w;
    if (mn_fault("import.shard")) return mn_fail(MN_EIO, "%s: injected failure", k->file);
    *tally = (data__tally){0};
    im->tally = tally;
    im->listing_size = 0;
    MN_TRY(data_writer_open(&w, &cfg));
    mn_err err = write_units(j, im, k, w);
    // The sidecar first: a shard under its final name always has one.
    if (err == MN_OK)
        err = data__sidecar_write(cfg.dir, k->file, j->source, tally, im->listing_size ? im->listing : "");
    if (err == MN_OK && mn_fault("import.sidecar")) err = mn_fail(MN_EIO, "%s: injected failure", k->file);
    if (err != MN_OK) {
        data_writer_abort(w);
        return err;
    }
    return data_writer_close(w);
}

// The first lines of a listing, for the report of a dry run.
static void keep_examples(data__job *j, const data__import *im)
{
    const char *p = im->listing_size ? im->listing : "";
    for (const char *end; j->n_examples < EXAMPLES && (end = strchr(p, '\n')); p = end + 1, j->n_examples++) {
        char *longer = mn_sprintf("%s%.*s\n", j->examples ? j->examples : "", (int)(end - p), p);
        free(j->examples);
        j->examples = longer;
    }
}

// In a dry run: the records of a shard, counted.
static mn_err count_shard(data__team *t, data__import *im, const task *k)
{
    data__job *j = t->job;
    data_counts *counts = data_counts_new();
    data_writer_cfg cfg = shard_cfg(j, k->group, k->k);
    data__tally tally = {0};
    data_writer *w = NULL;
    im->tally = &tally;
    im->listing_size = 0;
    im->every = j->every;
    im->turn = im->media = 0;
    im->sample = (data__sample){0};
    cfg.counts = counts;
    mn_err err = data_writer_open(&w, &cfg);
    if (err == MN_OK) err = write_units(j, im, k, w);
    data_writer_abort(w);
    (void)pthread_mutex_lock(&t->lock);
    data__tally_add(&j->done, &tally);
    data__sample_add(&j->sample, &im->sample);
    data_counts_merge(j->counts, counts);
    keep_examples(j, im);
    (void)pthread_mutex_unlock(&t->lock);
    data_counts_free(counts);
    return err;
}

static mn_err do_task(data__team *t, data__import *im, const task *k)
{
    data__job *j = t->job;
    data__tally tally;
    if (j->im.cfg->dry_run) return count_shard(t, im, k);
    int kept = is_done(j, k->file, &tally);
    if (kept)
        (void)atomic_fetch_add(&t->written, k->end - k->begin);
    else
        MN_TRY(make_shard(j, im, k, &tally));
    (void)pthread_mutex_lock(&t->lock);
    j->reused += kept;
    data__tally_add(&j->done, &tally);
    (void)pthread_mutex_unlock(&t->lock);
    return MN_OK;
}

static mn_err do_tasks(data__team *t, data__import *im)
{
    for (;;) {
        int k = atomic_fetch_add(&t->next, 1);
        if (k >= t->n || atomic_load(&t->stop)) return MN_OK;
        MN_TRY(do_task(t, im, &t->tasks[k]));
    }
}

// Threads

static void end_worker(data__import *im)
{
    data_coder_close(im->coder);
    data_image_release(&im->image);
    data_image_release(&im->resized);
    free(im->file);
    free(im->scratch);
    free(im->listing);
}

static void *run_worker(void *p)
{
    data__team *t = p;
    data__import *all = &t->job->im;
    data__import im = {.cfg = all->cfg, .importer = all->importer, .state = all->state, .team = t};
    mn_err err = data_coder_open(&im.coder);
    if (err == MN_OK) err = do_tasks(t, &im);
    end_worker(&im);
    (void)pthread_mutex_lock(&t->lock);
    if (err != MN_OK && t->err == MN_OK && !atomic_load(&t->stop)) {
        t->err = err;
        (void)snprintf(t->message, sizeof(t->message), "%s", mn_errmsg());
    }
    if (err != MN_OK) atomic_store(&t->stop, 1);
    t->running--;
    (void)pthread_cond_signal(&t->ended);
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

// Until all threads have ended: the ranks meet as long as any of the threads gets on.
static mn_err wait_for(data__team *t)
{
    long long seen = -1;
    mn_err err = MN_OK;
    (void)pthread_mutex_lock(&t->lock);
    while (t->running > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&t->ended, &t->lock, &until);
        long long now = atomic_load(&t->pieces);
        if (now == seen || err != MN_OK) continue;
        seen = now;
        (void)pthread_mutex_unlock(&t->lock);
        report(t);
        err = ranks_proceed(t->job);
        (void)pthread_mutex_lock(&t->lock);
        if (err != MN_OK) atomic_store(&t->stop, 1);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return err;
}

static mn_err run_threads(data__team *t, int jobs)
{
    pthread_t *thread = mn_calloc((size_t)jobs, sizeof(*thread));
    sigset_t all, before;
    int started = 0;
    (void)sigfillset(&all); // signals are for the main thread
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    t->running = jobs;
    while (started < jobs && pthread_create(&thread[started], NULL, run_worker, t) == 0)
        started++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_mutex_lock(&t->lock);
    t->running -= jobs - started;
    (void)pthread_mutex_unlock(&t->lock);
    mn_err err = wait_for(t);
    for (int i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
    free(thread);
    if (started == 0) return mn_fail(MN_EMEM, "no thread can be started");
    if (err == MN_OK && t->err != MN_OK) err = mn_fail(t->err, "%s", t->message);
    return err;
}

// Shards of this rank, in order.
static void list_tasks(data__team *t)
{
    data__job *j = t->job;
    const data_ranks *r = &j->im.cfg->ranks;
    int world = r->world > 0 ? r->world : 1, at = 0;
    t->tasks = mn_calloc((size_t)j->n_shards + 1, sizeof(*t->tasks));
    for (int i = 0; i < j->im.n_groups; i++) {
        const data__group *g = &j->im.groups[i];
        int64_t *begin;
        (void)data__plan_cut(g, &begin);
        for (int k = 0; k < g->n_shards; k++, at++)
            if (at % world == r->rank) {
                t->tasks[t->n++] = (task){g, k, begin[k], begin[k + 1], j->files[at]};
                t->units += begin[k + 1] - begin[k];
            }
        free(begin);
    }
    j->n_mine = t->n;
}

int data__job_threads(const data__job *j, int tasks)
{
    int jobs = j->im.cfg->jobs > 1 && j->im.importer->threads ? j->im.cfg->jobs : 1, safe = 1;
    char version[64];
    if (jobs > 1) (void)data_hdf5_version(version, sizeof(version), &safe);
    return !safe ? 1 : jobs < tasks ? jobs : tasks;
}

mn_err data__shards_make(data__job *j)
{
    data__team t = {.job = j, .started = mn_seconds()};
    mn_err err = MN_OK;
    t.reported = t.started;
    if (pthread_mutex_init(&t.lock, NULL) || pthread_cond_init(&t.ended, NULL))
        return mn_fail(MN_EMEM, "no memory for a lock");
    list_tasks(&t);
    j->team = &t;
    int jobs = data__job_threads(j, t.n);
    err = jobs > 1 ? run_threads(&t, jobs) : do_tasks(&t, &j->im);
    j->team = NULL;
    free(t.tasks);
    (void)pthread_cond_destroy(&t.ended);
    (void)pthread_mutex_destroy(&t.lock);
    return err;
}
