#include "data/loader.h"

#include "data/copies.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// A batch passes through the states in this order. PLANNING: one worker computes which samples it has; FILLING: workers
// take units (a row, or a pair of rows that mixup mixes) until none is left; READY: all units are done; LENT: the
// consumer has it.
typedef enum slot_state { SLOT_FREE, SLOT_PLANNING, SLOT_FILLING, SLOT_READY, SLOT_LENT } slot_state;

typedef struct slot {
    data_batch batch;
    slot_state state;
    int64_t units, taken, done;
    int64_t *index; // (global batch) sample indices in position order
    uint64_t *id;   // (global batch)
    data_mixture mixture;
    mn_err err; // of the first row that failed
    int64_t err_row;
    char message[1024];
} slot;

// Batches planned and not yet filled: the samples of the second are fetched while the first is filled.
enum { PLANNED = 2 };

struct data_loader {
    data_loader_cfg cfg;
    data_set *set;
    data_order *order; // NULL: evaluation, in order of the set
    int64_t samples;   // of an epoch
    int64_t batches;   // per epoch
    int64_t plan_rows;
    size_t row_bytes[DATA_MAX_FIELDS];
    int height, width; // of the pictures that cutmix cuts

    pthread_mutex_t lock;
    pthread_cond_t work, ready; // a worker may have something to do; the next batch may be complete
    int n_threads, stop;
    pthread_t *thread;
    void **scratch;                  // (threads)
    data_cursor **cursor;            // (threads)
    data_state next;                 // of the next batch to plan
    int64_t planned, filled, handed; // batches planned, without untaken units, handed out; slot = number % n_slots
    int n_slots;
    slot *slot;
    _Atomic int64_t rows_done;
    _Atomic int n_ready;
};

int64_t data_loader_plan_rows(int64_t batch, int world, int pairs)
{
    int64_t rows = (batch + world - 1) / world;
    return pairs ? (rows + 1) / 2 * 2 : rows;
}

int64_t data_loader_batches(const data_loader *l)
{
    return l->batches;
}

int64_t data_loader_progress(const data_loader *l, int *ready)
{
    if (ready) *ready = atomic_load_explicit(&l->n_ready, memory_order_relaxed);
    return atomic_load_explicit(&l->rows_done, memory_order_relaxed);
}

// Fixes where the batch starts and ends and moves the loader's state behind it. Under the lock.
static void claim_batch(data_loader *l, slot *s)
{
    data_state at = l->next;
    if (l->cfg.train && at.position + l->cfg.batch > l->samples) at = (data_state){at.seed, at.epoch + 1, 0};
    int64_t rows = l->samples - at.position < l->cfg.batch ? l->samples - at.position : l->cfg.batch;
    data_batch *b = &s->batch;
    b->at = at;
    b->after = (data_state){at.seed, at.epoch, at.position + rows};
    // The end of an epoch and the start of the next one are the same state: the second form is the one to store.
    if (l->cfg.train && b->after.position + l->cfg.batch > l->samples)
        b->after = (data_state){at.seed, at.epoch + 1, 0};
    b->global_rows = rows;
    b->first_row = l->cfg.rank * l->plan_rows;
    int64_t mine = rows - b->first_row;
    b->rows = mine < 0 ? 0 : mine < l->plan_rows ? mine : l->plan_rows;
    b->wait_s = 0;
    l->next = b->after;
    s->units = l->cfg.pairs ? (b->rows + 1) / 2 : b->rows;
    s->taken = s->done = 0;
    s->err = MN_OK;
    s->state = SLOT_PLANNING;
}

// Which samples the batch has, without the lock: everything that needs the whole batch.
static void plan_batch(data_loader *l, slot *s, data_cursor *cursor)
{
    data_batch *b = &s->batch;
    if (l->order)
        data_order_at(l->order, cursor, b->at.epoch, b->at.position, b->global_rows, s->index);
    else
        for (int64_t i = 0; i < b->global_rows; i++)
            s->index[i] = b->at.position + i;
    for (int64_t i = 0; i < b->global_rows; i++)
        s->id[i] = l->set->ops->id(l->set, s->index[i]);
    b->ids = XXH64(s->id, (size_t)b->global_rows * sizeof *s->id, 0);
    b->index = s->index + (b->rows ? b->first_row : 0);
    s->mixture = data_mixup_draw(&l->cfg.mixup, b->at.seed, b->at.epoch, b->at.position, l->height, l->width);
    for (int f = 0; f < b->n_fields; f++) {
        size_t used = (size_t)b->rows * l->row_bytes[f];
        memset((char *)b->field[f] + used, 0, b->bytes[f] - used);
    }
}

// A thread waits for the disk one record at a time; asked for a batch ahead, the disk or the file system's servers work
// on all of them at once.
static void prefetch_rows(const data_loader *l, const slot *s)
{
    if (!l->set->ops->prefetch) return;
    for (int64_t row = 0; row < s->batch.rows; row++)
        l->set->ops->prefetch(l->set, s->batch.index[row]);
}

static mn_err read_row(data_loader *l, slot *s, void *scratch, int64_t row)
{
    const data_batch *b = &s->batch;
    void *field[DATA_MAX_FIELDS];
    for (int f = 0; f < b->n_fields; f++)
        field[f] = (char *)b->field[f] + (size_t)row * l->row_bytes[f];
    data_draw draw = {b->at.seed, b->at.epoch, b->at.position + b->first_row + row};
    if (mn_fault("loader.read")) return mn_fail(MN_EIO, "loader.read: fault injected");
    mn_err err = l->set->ops->read(l->set, scratch, b->index[row], draw, field);
    if (err == MN_OK) atomic_fetch_add_explicit(&l->rows_done, 1, memory_order_relaxed);
    return mn_while(err, "reading sample %lld of %s", (long long)b->index[row], l->set->ops->name);
}

// A batch is shuffled, so a neighbour is as good a partner as the row that the reversed batch of other code has there.
static void mix_pair(data_loader *l, slot *s, int64_t row)
{
    for (int f = 0; f < s->batch.n_fields; f++) {
        if (!(l->cfg.mixup_fields >> f & 1)) continue;
        int64_t n = (int64_t)(l->row_bytes[f] / sizeof(float));
        float *a = (float *)s->batch.field[f] + row * n;
        data_mixup_pair(&s->mixture, l->set->field[f].shape, a, a + n);
    }
}

static mn_err fill_unit(data_loader *l, slot *s, void *scratch, int64_t unit, int64_t *row)
{
    if (!l->cfg.pairs) {
        *row = unit;
        return read_row(l, s, scratch, unit);
    }
    for (*row = unit * 2; *row < unit * 2 + 2 && *row < s->batch.rows; ++*row)
        MN_TRY(read_row(l, s, scratch, *row));
    if (data_mixup_on(&l->cfg.mixup) && unit * 2 + 1 < s->batch.rows) mix_pair(l, s, unit * 2);
    return MN_OK;
}

// Under the lock.
static void finish_slot(data_loader *l, slot *s)
{
    s->state = SLOT_READY;
    atomic_fetch_add_explicit(&l->n_ready, 1, memory_order_relaxed);
    pthread_cond_signal(&l->ready);
}

// The oldest batch that has units left, NULL when there is none. Under the lock.
static slot *slot_to_fill(data_loader *l)
{
    for (int64_t k = l->filled; k < l->planned; k++) {
        slot *s = &l->slot[k % l->n_slots];
        if (s->state == SLOT_FILLING && s->taken < s->units) return s;
        if (k == l->filled && s->state != SLOT_PLANNING) l->filled++;
    }
    return NULL;
}

// Under the lock. Of an evaluation every batch has been planned.
static int all_planned(const data_loader *l)
{
    return !l->cfg.train && l->next.position >= l->samples;
}

static int can_plan(const data_loader *l)
{
    if (all_planned(l)) return 0;
    return l->slot[l->planned % l->n_slots].state == SLOT_FREE;
}

// One piece of work, entered and left under the lock; 0 when there was none.
static int work_once(data_loader *l, int thread)
{
    slot *s = can_plan(l) && l->planned - l->filled < PLANNED ? NULL : slot_to_fill(l);
    if (s) {
        int64_t row, unit = s->taken++;
        pthread_mutex_unlock(&l->lock);
        mn_err err = fill_unit(l, s, l->scratch[thread], unit, &row);
        pthread_mutex_lock(&l->lock);
        if (err != MN_OK && (s->err == MN_OK || row < s->err_row)) {
            s->err = err;
            s->err_row = row;
            snprintf(s->message, sizeof s->message, "%s", mn_errmsg());
        }
        if (++s->done == s->units) finish_slot(l, s);
        return 1;
    }
    if (!can_plan(l)) return 0;
    s = &l->slot[l->planned++ % l->n_slots];
    claim_batch(l, s);
    pthread_mutex_unlock(&l->lock);
    plan_batch(l, s, l->cursor[thread]);
    prefetch_rows(l, s);
    pthread_mutex_lock(&l->lock);
    s->state = SLOT_FILLING;
    if (s->units == 0) finish_slot(l, s);
    pthread_cond_broadcast(&l->work);
    return 1;
}

typedef struct start { // what a worker needs to know of itself
    data_loader *loader;
    int thread;
} start;

static void *worker(void *argument)
{
    start me = *(start *)argument;
    free(argument);
    data_loader *l = me.loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop)
        if (!work_once(l, me.thread)) pthread_cond_wait(&l->work, &l->lock);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static mn_err open_order(data_loader *l, uint64_t seed)
{
    const data_loader_cfg *cfg = &l->cfg;
    l->samples = l->set->count;
    if (cfg->train) {
        data_source all = {.count = l->set->count, .per_epoch = l->set->count};
        data_order_cfg order = {.seed = seed,
                                .source = l->set->source ? l->set->source : &all,
                                .n_sources = l->set->source ? l->set->n_sources : 1,
                                .batch = cfg->batch,
                                .weights = cfg->weights,
                                .samples = cfg->epoch_samples ? cfg->epoch_samples : l->set->count};
        MN_TRY(data_order_open(&l->order, &order));
        l->samples = data_order_samples(l->order);
    }
    l->batches = cfg->train ? l->samples / cfg->batch : (l->samples + cfg->batch - 1) / cfg->batch;
    if (cfg->train && l->batches == 0)
        return mn_fail(MN_ECONFIG,
                       "%s: an epoch has %lld samples, less than the batch of %lld; use a smaller train.batch or more "
                       "data",
                       l->set->ops->name, (long long)l->samples, (long long)cfg->batch);
    return MN_OK;
}

// Cutmix draws one box for all pictures.
static mn_err find_pictures(data_loader *l)
{
    for (int f = 0; f < l->set->n_fields; f++) {
        mn_shape shape = l->set->field[f].shape;
        if (!(l->cfg.mixup_fields >> f & 1) || !data_mixup_is_picture(shape)) continue;
        mn_assert(!l->height || (l->height == shape.d[0] && l->width == shape.d[1]));
        l->height = (int)shape.d[0];
        l->width = (int)shape.d[1];
    }
    if (l->cfg.mixup.cutmix_alpha > 0 && !l->height)
        return mn_fail(MN_ECONFIG, "%s: cutmix needs pictures; mixup works on everything", l->set->ops->name);
    return MN_OK;
}

// A rank's rows, and with them its shards, are the same in every batch.
static void copy_shards(const data_loader *l)
{
    const data_set *s = l->set;
    if (!l->cfg.copies || !l->order || !s->source || !s->ops->copy) return;
    for (int i = 0; i < s->n_sources; i++)
        for (int k = 0; k < (s->source[i].shard ? s->source[i].n_shards : 1); k++)
            if (data_order_reads(l->order, i, k, l->cfg.rank * l->plan_rows, l->plan_rows))
                s->ops->copy(s, l->cfg.copies, i, k);
    data_copies_start(l->cfg.copies);
}

static mn_err alloc_field(const data_loader *l, data_batch *b, int f, size_t bytes)
{
    const data_memory *m = &l->cfg.memory;
    b->bytes[f] = bytes;
    if (m->alloc) return m->alloc(m->ctx, bytes, &b->field[f]);
    return mn_large_alloc(&b->field[f], bytes, "batches prepared ahead");
}

static void release_field(const data_loader *l, data_batch *b, int f)
{
    const data_memory *m = &l->cfg.memory;
    if (!b->field[f]) return;
    if (m->alloc)
        m->release(m->ctx, b->field[f], b->bytes[f]);
    else
        mn_large_free(b->field[f], b->bytes[f]);
}

static mn_err open_slots(data_loader *l)
{
    for (int f = 0; f < l->set->n_fields; f++) {
        const data_field *field = &l->set->field[f];
        size_t count = (size_t)mn_count(field->shape);
        MN_TRY(mn_mul_size(count, mn_dtype_size(field->dtype), &l->row_bytes[f]));
    }
    size_t ids;
    MN_TRY(mn_mul_size((size_t)l->cfg.batch, sizeof(int64_t), &ids));
    l->n_slots = (l->cfg.ahead < 1 ? 1 : l->cfg.ahead) + 1;
    l->slot = mn_calloc((size_t)l->n_slots, sizeof *l->slot);
    for (int k = 0; k < l->n_slots; k++) {
        slot *s = &l->slot[k];
        s->index = malloc(ids);
        s->id = malloc(ids);
        if (!s->index || !s->id) return mn_fail(MN_EMEM, "no memory for a batch of %lld rows", (long long)l->cfg.batch);
        s->batch.n_fields = l->set->n_fields;
        s->batch.plan_rows = l->plan_rows;
        for (int f = 0; f < l->set->n_fields; f++) {
            size_t bytes;
            MN_TRY(mn_mul_size((size_t)l->plan_rows, l->row_bytes[f], &bytes));
            MN_TRY(alloc_field(l, &s->batch, f, bytes));
        }
    }
    return MN_OK;
}

// Workers take no signals: the handlers of the process belong to its main thread.
static mn_err start_threads(data_loader *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (int i = 0; i < l->cfg.threads && !failed; i++) {
        start *s = mn_calloc(1, sizeof *s);
        *s = (start){l, i};
        failed = pthread_create(&l->thread[i], NULL, worker, s);
        if (failed)
            free(s);
        else
            l->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return mn_fail(MN_EMEM, "cannot start loader thread %d: %s", l->n_threads + 1, strerror(failed));
    return MN_OK;
}

static void check_cfg(const data_loader_cfg *cfg)
{
    mn_assert(cfg->batch >= 1 && cfg->world >= 1 && cfg->rank >= 0 && cfg->rank < cfg->world);
    mn_assert(cfg->set->count >= 0 && cfg->set->n_fields >= 1 && cfg->set->n_fields <= DATA_MAX_FIELDS);
    mn_assert(!data_mixup_on(&cfg->mixup) || cfg->pairs);
    for (int f = 0; f < cfg->set->n_fields; f++)
        mn_assert(!(cfg->mixup_fields >> f & 1) || cfg->set->field[f].dtype == MN_F32);
}

mn_err data_loader_open(data_loader **out, const data_loader_cfg *cfg, data_state at)
{
    *out = NULL;
    check_cfg(cfg);
    mn_assert(at.epoch >= 0 && at.position >= 0);
    mn_err err;
    data_loader *l = mn_calloc(1, sizeof *l);
    l->cfg = *cfg;
    if (l->cfg.threads < 1) l->cfg.threads = 1;
    l->set = cfg->set;
    l->next = at;
    l->plan_rows = data_loader_plan_rows(cfg->batch, cfg->world, cfg->pairs);
    int failed =
        pthread_mutex_init(&l->lock, NULL) || pthread_cond_init(&l->work, NULL) || pthread_cond_init(&l->ready, NULL);
    mn_assert(!failed); // glibc never refuses these
    size_t threads = (size_t)l->cfg.threads;
    l->thread = mn_calloc(threads, sizeof *l->thread);
    l->scratch = mn_calloc(threads, sizeof *l->scratch);
    l->cursor = mn_calloc(threads, sizeof *l->cursor);
    MN_TRY_OUT(err, open_order(l, at.seed));
    MN_TRY_OUT(err, find_pictures(l));
    MN_TRY_OUT(err, open_slots(l));
    for (size_t i = 0; i < threads; i++) {
        if (l->order) l->cursor[i] = data_cursor_open(l->order);
        if (l->set->ops->scratch_open) MN_TRY_OUT(err, l->set->ops->scratch_open(l->set, &l->scratch[i]));
    }
    MN_TRY_OUT(err, start_threads(l));
    copy_shards(l);
    *out = l;
    return MN_OK;
out:
    data_loader_close(l);
    return err;
}

mn_err data_loader_next(data_loader *l, const data_batch **out)
{
    *out = NULL;
    double began = mn_seconds();
    mn_err err = MN_OK;
    pthread_mutex_lock(&l->lock);
    slot *s = &l->slot[l->handed % l->n_slots];
    int over = l->handed == l->planned && all_planned(l);
    mn_assert(over || s->state != SLOT_LENT); // the consumer holds every batch there is
    while (!over && s->state != SLOT_READY)
        pthread_cond_wait(&l->ready, &l->lock);
    if (!over) {
        err = s->err;
        if (err == MN_OK) {
            s->state = SLOT_LENT;
            l->handed++;
            atomic_fetch_sub_explicit(&l->n_ready, 1, memory_order_relaxed);
            s->batch.wait_s = mn_seconds() - began;
            *out = &s->batch;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return err == MN_OK ? MN_OK : mn_fail(err, "%s", s->message);
}

void data_loader_release(data_loader *l, const data_batch *b)
{
    pthread_mutex_lock(&l->lock);
    slot *s = NULL;
    for (int k = 0; k < l->n_slots && !s; k++)
        if (b == &l->slot[k].batch) s = &l->slot[k];
    mn_assert(s && s->state == SLOT_LENT);
    s->state = SLOT_FREE;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
}

void data_loader_rewind(data_loader *l)
{
    pthread_mutex_lock(&l->lock);
    mn_assert(all_planned(l) && l->handed == l->planned);
    l->next.position = 0;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

void data_loader_close(data_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = 1;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->thread[i], NULL);
    for (int i = 0; i < l->cfg.threads; i++) {
        if (l->scratch[i]) l->set->ops->scratch_close(l->set, l->scratch[i]);
        data_cursor_close(l->cursor[i]);
    }
    for (int k = 0; k < l->n_slots; k++) {
        for (int f = 0; f < l->set->n_fields; f++)
            release_field(l, &l->slot[k].batch, f);
        free(l->slot[k].index);
        free(l->slot[k].id);
    }
    free(l->slot);
    data_order_close(l->order);
    free(l->cursor);
    free(l->scratch);
    free(l->thread);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
