#include "ranks_support.h"

#include "nn/base/mem.h"
#include "nn/params.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLLECTIVES = 8, MAX_WORLD = 4, MAX_BUFFERS = 8 };

typedef struct collectives {
    double *sum[MAX_COLLECTIVES];
    int64_t n[MAX_COLLECTIVES];
    int known, call, seen;
} collectives;

static mn_err sum(void *ctx, double *v, int64_t n)
{
    collectives *c = ctx;
    int k = c->call++;

    if (k > c->seen) c->seen = k;
    if (k < c->known) {
        cr_assert_eq(n, c->n[k], "ranks disagree on collective %d", k);
        memcpy(v, c->sum[k], (size_t)n * sizeof *v);
    } else if (k == c->known) {
        if (!c->sum[k]) c->sum[k] = mn_calloc((size_t)n, sizeof *v);
        c->n[k] = n;
        for (int64_t i = 0; i < n; i++)
            c->sum[k][i] += v[i];
    }
    return MN_OK;
}

// Copies the buffers of a rank's registry out, or back in.
static void buffers(nn_params *ps, float **saved, int restore)
{
    int used = 0;
    for (int i = 0; i < nn_params_count(ps); i++) {
        nn_param *p = nn_params_at(ps, i);
        if (!p->spec.buffer) continue;
        cr_assert(used < MAX_BUFFERS);
        if (!saved[used]) saved[used] = mn_calloc((size_t)p->count, sizeof(float));
        float *now = nn_param_master(ps, p);
        memcpy(restore ? now : saved[used], restore ? saved[used] : now, (size_t)p->count * sizeof(float));
        used++;
    }
}

int ranks_run(nn_graph *const *g, const nn_tick *tick, int world)
{
    collectives c = {.seen = -1};
    float *saved[MAX_WORLD][MAX_BUFFERS] = {{NULL}};

    cr_assert(world <= MAX_WORLD);
    for (int rank = 0; rank < world; rank++)
        buffers(nn_graph_params(g[rank]), saved[rank], 0);
    for (;;) {
        for (int rank = 0; rank < world; rank++) {
            c.call = 0;
            buffers(nn_graph_params(g[rank]), saved[rank], 1);
            nn_graph_set_sum(g[rank], sum, &c);
            cr_assert_eq(nn_graph_run(g[rank], &tick[rank]), MN_OK, "%s", mn_errmsg());
        }
        if (c.known > c.seen) break;
        cr_assert(++c.known < MAX_COLLECTIVES);
    }
    for (int k = 0; k < MAX_COLLECTIVES; k++)
        free(c.sum[k]);
    for (int rank = 0; rank < world; rank++)
        for (int k = 0; k < MAX_BUFFERS; k++)
            free(saved[rank][k]);
    return c.known;
}
