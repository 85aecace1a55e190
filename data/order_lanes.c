#include "data/order_lanes.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>

enum {
    LANE_SAMPLES = 4096
}; // of a source, or it is not cut: a lane with few samples of a small set would show too little

int data__deal(const int64_t *left, int n_sources, int64_t q, int64_t *place)
{
    for (int i = n_sources - 1; i > 0; i--) {
        int64_t n = left[i], rest = left[i - 1], before = data__scale(q, rest, n);
        if (data__scale(q + 1, rest, n) == before) {
            *place = q - before;
            return i;
        }
        q = before;
    }
    *place = q;
    return 0;
}

// How many of the first q are of each source.
static void deal_counts(const data_order *o, int64_t q, int64_t *count)
{
    for (int i = o->n_sources - 1; i > 0; i--) {
        int64_t before = data__scale(q, o->left[i - 1], o->left[i]);
        count[i] = q - before;
        q = before;
    }
    count[0] = q;
}

int data__run_at(const int64_t *start, int64_t n, int64_t value)
{
    int64_t low = 0, high = n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (start[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    return (int)low;
}

static int shards_of(const data_source *s)
{
    return s->shard ? s->n_shards : 1;
}

static int lanes_of(const data_order *o, int64_t batch)
{
    int64_t shards = 0, samples = 0;
    int lanes = 1;
    for (int i = 0; i < o->n_sources; i++) {
        shards += shards_of(&o->source[i]);
        samples += o->source[i].count;
    }
    int64_t most = shards / DATA_ORDER_LANE_SHARDS;
    if (most > samples / DATA_ORDER_WINDOW) most = samples / DATA_ORDER_WINDOW;
    if (most > batch) most = batch;
    while (lanes * 2 <= DATA_ORDER_LANES && lanes * 2 <= most)
        lanes *= 2;
    return lanes;
}

// The samples [begin, end) of the line on which the shards of a source lie in a fixed order: not that of the manifest,
// which often has one kind of faces after the other.
static void cut_part(data__part *p, const data_source *s, const int32_t *shard, const int64_t *line, int64_t begin,
                     int64_t end)
{
    int n = shards_of(s);
    p->count = end - begin;
    if (p->count == 0) return;
    int first = data__run_at(line, n, begin), last = data__run_at(line, n, end - 1);
    p->piece = mn_calloc((size_t)(last - first + 1), sizeof *p->piece);
    p->border = mn_calloc((size_t)(last - first + 2), sizeof *p->border);
    for (int k = first; k <= last; k++) {
        int64_t from = line[k] > begin ? line[k] : begin, to = line[k + 1] < end ? line[k + 1] : end;
        if (from == to) continue; // an empty shard
        int64_t base = s->shard ? s->shard[shard[k]] : 0;
        p->piece[p->n] = (data__piece){.first = base + from - line[k], .shard = shard[k]};
        p->border[++p->n] = to - begin;
    }
}

static void cut_source(data_order *o, int i)
{
    const data_source *s = &o->source[i];
    int n = shards_of(s), lanes = o->is_cut[i] ? o->n_lanes : 1;
    int32_t *shard = mn_calloc((size_t)n, sizeof *shard);
    int64_t *line = mn_calloc((size_t)n + 1, sizeof *line);
    for (int k = 0; k < n; k++) {
        // The same for every seed: what one run has staged on a node serves the next.
        shard[k] = (int32_t)(o->is_cut[i] ? mn_rng_permute(mn_rng_key(0, "order.line"), n, k) : k);
        line[k + 1] = line[k] + (s->shard ? s->shard[shard[k] + 1] - s->shard[shard[k]] : s->count);
    }
    int64_t begin = 0;
    for (int l = 0; l < lanes; l++) {
        int64_t end = l + 1 < lanes ? data__scale(s->count, o->lane[l + 1].before[i], s->per_epoch) : s->count;
        cut_part(&o->part[o->first_part[i] + l], s, shard, line, begin, end);
        begin = end;
    }
    free(shard);
    free(line);
}

// The first row of a lane is the first whose lane is not smaller; samples are cut in the proportions of the rows, so
// that every lane has enough of them for all batches of an epoch.
static void cut_batch(data_order *o)
{
    int lanes = o->n_lanes, n = o->n_sources;
    int64_t *start = mn_calloc((size_t)lanes + 1, sizeof *start);
    o->tables = mn_calloc((size_t)(lanes * 2 + 1) * (size_t)n, sizeof *o->tables);
    o->lane = mn_calloc((size_t)lanes + 1, sizeof *o->lane); // the last one only ends the others
    for (int l = 0; l <= lanes; l++) {
        data__lane *lane = &o->lane[l];
        int64_t *before = o->tables + (ptrdiff_t)l * n;
        lane->row = (l * o->batch + lanes - 1) / lanes;
        start[l] = data__scale(o->samples, lane->row, o->batch);
        lane->before = before;
        deal_counts(o, start[l], before);
    }
    for (int l = 0; l < lanes; l++) {
        data__lane *lane = &o->lane[l];
        int64_t *left = o->tables + (ptrdiff_t)(lanes + 1 + l) * n, sum = 0;
        for (int i = 0; i < n; i++)
            left[i] = sum += lane[1].before[i] - lane[0].before[i];
        lane->left = left;
        lane->rows = lane[1].row - lane[0].row;
        lane->epoch = start[l + 1] - start[l];
    }
    free(start);
}

void data__lanes_open(data_order *o, const data_order_cfg *cfg)
{
    size_t n = (size_t)cfg->n_sources;
    o->seed = cfg->seed;
    o->n_sources = cfg->n_sources;
    o->source = mn_calloc(n, sizeof *o->source);
    o->left = mn_calloc(n, sizeof *o->left);
    o->first_part = mn_calloc(n, sizeof *o->first_part);
    o->is_cut = mn_calloc(n, sizeof *o->is_cut);
    for (int i = 0; i < cfg->n_sources; i++) {
        const data_source *s = &cfg->source[i];
        mn_assert(s->count >= 1 && s->per_epoch >= 1);
        mn_assert(!s->shard || (s->shard[0] == 0 && s->shard[s->n_shards] == s->count));
        o->source[i] = *s;
        o->samples += s->per_epoch;
        o->left[i] = o->samples;
    }
    o->n_lanes = cfg->batch ? lanes_of(o, cfg->batch) : 1;
    o->batch = cfg->batch ? cfg->batch : o->samples;
    cut_batch(o);
    for (int i = 0; i < o->n_sources; i++) {
        o->is_cut[i] = o->n_lanes > 1 && o->source[i].count >= (int64_t)o->n_lanes * LANE_SAMPLES;
        o->first_part[i] = o->n_parts;
        o->n_parts += o->is_cut[i] ? o->n_lanes : 1;
    }
    o->part = mn_calloc((size_t)o->n_parts, sizeof *o->part);
    for (int i = 0; i < o->n_sources; i++)
        cut_source(o, i);
}

void data__lanes_close(data_order *o)
{
    for (int p = 0; p < o->n_parts; p++) {
        free(o->part[p].piece);
        free(o->part[p].border);
    }
    free(o->part);
    free(o->lane);
    free(o->tables);
    free(o->source);
    free(o->left);
    free(o->first_part);
    free(o->is_cut);
}
