// The plan of an import: groups of units, the limit, the cut into shards. All of it is a pure function of the source and
// the options, so that every rank, and a later start after a kill, comes to the same plan.
#include "data/import/run.h"
#include "nn/base/mem.h"

#include <string.h>

// A shard is about 1 GiB, less where that gives fewer shards than a job of 16 ranks can share.
#define SHARD_BYTES ((int64_t)1 << 30)
#define SHARD_BYTES_LEAST ((int64_t)4 << 20)
enum { SHARDS_WANTED = 64 };

data__group *data__import_group(data__import *im, const char *split, const char *stream)
{
    for (int i = 0; i < im->n_groups; i++)
        if (strcmp(im->groups[i].split, split) == 0 && strcmp(im->groups[i].stream, stream) == 0) return &im->groups[i];
    mn_assert(im->n_groups < DATA__GROUPS);
    data__group *g = &im->groups[im->n_groups++];
    *g = (data__group){.split = split, .stream = stream};
    return g;
}

void data__import_unit(data__group *g, int64_t item, int64_t records, int64_t bytes)
{
    g->units = mn_grow(g->units, g->n, &g->capacity, sizeof(*g->units));
    g->units[g->n++] = (data__unit){item, records, bytes};
    g->records += records;
    g->bytes += bytes;
}

void data__import_limit(data__import *im)
{
    int64_t total = 0, left = im->cfg->limit;
    for (int i = 0; i < im->n_groups; i++)
        total += im->groups[i].records;
    if (left == 0 || total <= left) return;
    for (int i = 0; i < im->n_groups; i++) {
        data__group *g = &im->groups[i];
        // By share, at least one each while there are any, the last group takes what rounding left.
        int64_t quota =
            i + 1 == im->n_groups ? left : (int64_t)((double)im->cfg->limit * (double)g->records / (double)total);
        if (quota == 0 && left > 0) quota = 1;
        if (quota > left) quota = left;
        if (quota > g->n) quota = g->n;
        g->n = g->records = quota; // one record a unit in every dataset that is limited here
        g->bytes = 0;
        for (int64_t u = 0; u < g->n; u++)
            g->bytes += g->units[u].bytes;
        left -= quota;
    }
}

int data__plan_cut(const data__group *g, int64_t **begin)
{
    int64_t wanted = (g->bytes + SHARD_BYTES - 1) / SHARD_BYTES;
    int64_t smaller = (g->bytes + SHARD_BYTES_LEAST - 1) / SHARD_BYTES_LEAST;
    if (smaller > SHARDS_WANTED) smaller = SHARDS_WANTED;
    if (wanted < smaller) wanted = smaller;
    if (wanted < 1) wanted = 1;
    double share = (double)g->bytes / (double)wanted, filled = 0;
    int64_t *b = mn_calloc((size_t)wanted + 2, sizeof(*b));
    int n = 0;
    for (int64_t u = 0; u < g->n; u++) {
        if (u == 0 || (filled >= share * n && n < wanted)) b[n++] = u;
        filled += (double)g->units[u].bytes;
    }
    b[n] = g->n;
    *begin = b;
    return n;
}
