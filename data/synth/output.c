#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct crew {
    int64_t n;
    data__work fn;
    void *ctx;
    atomic_llong next;
    atomic_int stop;
    pthread_mutex_t lock; // of what follows
    mn_err err;
    char message[1024];
    data_synth_report *report;
} crew;

static void report_failure(crew *c, mn_err err)
{
    pthread_mutex_lock(&c->lock);
    if (c->err == MN_OK) {
        c->err = err;
        snprintf(c->message, sizeof c->message, "%s", mn_errmsg()); // the message belongs to this thread
    }
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->stop, 1);
}

static void *work(void *arg)
{
    crew *c = arg;
    data__worker w = {0};
    mn_err err = data_coder_open(&w.coder);
    while (err == MN_OK && !atomic_load(&c->stop)) {
        int64_t i = atomic_fetch_add(&c->next, 1);
        if (i >= c->n) break;
        err = c->fn(c->ctx, &w, i);
    }
    if (err != MN_OK) report_failure(c, err);
    pthread_mutex_lock(&c->lock);
    c->report->pictures += w.pictures;
    c->report->bytes += w.bytes;
    pthread_mutex_unlock(&c->lock);
    data_coder_close(w.coder);
    data__canvas_free(&w.canvas);
    free(w.rgb);
    return NULL;
}

mn_err data__spread(int64_t n, int threads, data__work fn, void *ctx, data_synth_report *report)
{
    crew c = {.n = n, .fn = fn, .ctx = ctx, .lock = PTHREAD_MUTEX_INITIALIZER, .report = report};
    int wanted = threads < n ? threads : (int)n, started = 0;
    pthread_t *thread = mn_calloc((size_t)(wanted > 0 ? wanted : 1), sizeof *thread);
    while (started + 1 < wanted && pthread_create(&thread[started], NULL, work, &c) == 0)
        started++; // fewer threads than wanted do the same work
    work(&c);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    pthread_mutex_destroy(&c.lock);
    return c.err == MN_OK ? MN_OK : mn_fail(c.err, "%s", c.message);
}

void data__worker_face(data__worker *w, const data__person *p, const data__affect *a, const data__shot *shot)
{
    size_t need = (size_t)shot->width * (size_t)shot->height * 3;
    if (need > w->rgb_capacity) {
        w->rgb = mn_realloc(w->rgb, need, 1);
        w->rgb_capacity = need;
    }
    if (a)
        data__face_paint(&w->canvas, p, a->face, a->face_own, shot);
    else
        data__empty_paint(&w->canvas, shot);
    data__canvas_develop(&w->canvas, shot->gain, shot->offset, shot->noise, shot->grain_key, w->rgb);
}

mn_err data__file_write(const char *path, const void *bytes, size_t size)
{
    int fd;
    MN_TRY(mn_file_create(&fd, path));
    mn_err err = mn_file_write(fd, bytes, size, path);
    mn_err closed = mn_file_close(fd, 0, path); // generated: a crash costs a minute, an fsync per picture costs more
    return err != MN_OK ? err : closed;
}

mn_err data__worker_save(data__worker *w, const char *path, int width, int height, int quality, int png)
{
    const uint8_t *bytes;
    size_t size, pixels = (size_t)width * (size_t)height;
    if (png == 2)
        for (size_t i = 0; i < pixels; i++)
            w->rgb[i] = (uint8_t)((77 * w->rgb[3 * i] + 150 * w->rgb[3 * i + 1] + 29 * w->rgb[3 * i + 2]) >> 8);
    if (png)
        MN_TRY(data_png_encode(w->coder, w->rgb, width, height, png == 2 ? 1 : 3, &bytes, &size));
    else
        MN_TRY(data_jpeg_encode(w->coder, w->rgb, width, height, quality, 0, &bytes, &size));
    w->pictures++;
    w->bytes += (int64_t)size;
    return data__file_write(path, bytes, size);
}

void data__text_add(data__text *t, const char *format, ...)
{
    va_list args;
    for (;;) {
        size_t room = t->capacity - t->size;
        va_start(args, format);
        int n = vsnprintf(t->bytes ? t->bytes + t->size : NULL, room, format, args);
        va_end(args);
        mn_assert(n >= 0);
        if ((size_t)n < room) {
            t->size += (size_t)n;
            return;
        }
        t->capacity = 2 * (t->size + (size_t)n + 1);
        t->bytes = mn_realloc(t->bytes, t->capacity, 1);
    }
}

mn_err data__text_write(data__text *t, const char *path)
{
    mn_err err = data__file_write(path, t->bytes, t->size);
    free(t->bytes);
    *t = (data__text){0};
    return err;
}
