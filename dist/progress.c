#include "dist/progress.h"

#include "nn/base/clock.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct dist_progress {
    const char *name;
    int64_t from, steps;
    double start, shown, smooth_loss, smooth_rate;
    int terminal, dirty;
};

enum { WIDTH = 24 };
static const double LINE_S = 30, BAR_S = 0.2;

dist_progress *dist_progress_open(const char *name, int64_t from, int64_t steps)
{
    dist_progress *p = mn_calloc(1, sizeof *p);
    p->name = name;
    p->from = from;
    p->steps = steps;
    p->start = p->shown = mn_seconds();
    p->terminal = isatty(STDERR_FILENO) == 1;
    p->smooth_loss = p->smooth_rate = NAN;
    return p;
}

static void smooth(double *average, double v)
{
    if (!isfinite(v)) return;
    *average = isnan(*average) ? v : 0.95 * *average + 0.05 * v;
}

const char *dist_duration(double seconds, char text[DIST_DURATION])
{
    if (seconds < 90)
        snprintf(text, DIST_DURATION, "%.0f s", seconds);
    else if (seconds < 5400)
        snprintf(text, DIST_DURATION, "%.0f min", seconds / 60);
    else
        snprintf(text, DIST_DURATION, "%.1f h", seconds / 3600);
    return text;
}

static void show(dist_progress *p, int64_t step, double lr, double waiting, double now)
{
    char left[DIST_DURATION], bar[WIDTH + 1];
    double done = p->steps > 0 ? (double)step / (double)p->steps : 1;
    double eta = step > p->from ? (now - p->start) / (double)(step - p->from) * (double)(p->steps - step) : 0;
    dist_duration(eta, left);
    if (p->terminal) {
        for (int i = 0; i < WIDTH; i++)
            bar[i] = i < (int)(done * WIDTH) ? '#' : '.';
        bar[WIDTH] = '\0';
        fprintf(stderr, "\r%s [%s] %lld/%lld loss %.4f lr %.2e %.0f/s wait %.0f%% left %s \033[K", p->name, bar,
                (long long)step, (long long)p->steps, p->smooth_loss, lr, p->smooth_rate, 100 * waiting, left);
        fflush(stderr);
        p->dirty = 1;
    } else {
        mn_info("%s: step %lld/%lld loss %.4f lr %.2e %.0f samples/s, waiting for data %.0f%%, left %s", p->name,
                (long long)step, (long long)p->steps, p->smooth_loss, lr, p->smooth_rate, 100 * waiting, left);
    }
    p->shown = now;
}

void dist_progress_step(dist_progress *p, int64_t step, double loss, double lr, double rate, double waiting)
{
    if (!p) return;
    double now = mn_seconds();
    smooth(&p->smooth_loss, loss);
    smooth(&p->smooth_rate, rate);
    if (step == p->steps || now - p->shown >= (p->terminal ? BAR_S : LINE_S)) show(p, step, lr, waiting, now);
}

void dist_progress_close(dist_progress *p)
{
    if (!p) return;
    if (p->dirty) fputc('\n', stderr);
    free(p);
}
