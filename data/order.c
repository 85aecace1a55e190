#include "data/order_lanes.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>

// Pieces of one part in the order of one of its own epochs.
typedef struct piece_order {
    int64_t epoch;  // -1: not filled yet
    int32_t *piece; // (n)
    int64_t *start; // (n + 1): first place of piece[i]
} piece_order;

// Positions close to each other touch at most two epochs of a part, unless it is tiny: two tables each.
struct data_cursor {
    const data_order *order;
    piece_order *slot; // (n_parts, 2); without memory for parts of one group
};

mn_err data_order_open(data_order **out, const data_order_cfg *cfg)
{
    mn_assert(cfg->n_sources >= 1 && cfg->batch >= 0);
    data_order *o = mn_calloc(1, sizeof *o);
    data__lanes_open(o, cfg);
    if (cfg->weights) {
        mn_assert(cfg->samples >= 1);
        o->samples = cfg->samples;
        mn_err err = data__weights_open(o, cfg->weights);
        if (err != MN_OK) {
            data_order_close(o);
            return err;
        }
    }
    *out = o;
    return MN_OK;
}

void data_order_close(data_order *o)
{
    if (!o) return;
    data__lanes_close(o);
    free(o->sum);
    free(o->sources_sum);
    free(o);
}

int64_t data_order_samples(const data_order *o)
{
    return o->samples;
}

int data_order_lanes(const data_order *o)
{
    return o->n_lanes;
}

static int lane_of_row(const data_order *o, int64_t row)
{
    return (int)(row * o->n_lanes / o->batch);
}

int data_order_reads(const data_order *o, int source, int shard, int64_t row, int64_t rows)
{
    const data_source *s = &o->source[source];
    int64_t last = row + rows < o->batch ? row + rows - 1 : o->batch - 1;
    if (row > last) return 0;
    int lane = lane_of_row(o, row), end = lane_of_row(o, last) + 1;
    if (o->sum) {
        int64_t first = s->shard ? s->shard[shard] : 0, count = s->shard ? s->shard[shard + 1] - first : s->count;
        return data__weights_read(o, source, first, count, lane, end);
    }
    if (!o->is_cut[source]) return 1;
    for (; lane < end; lane++) {
        const data__part *p = data__part_of(o, source, lane);
        for (int k = 0; k < p->n; k++)
            if (p->piece[k].shard == shard) return 1;
    }
    return 0;
}

static int has_groups(const data__part *p)
{
    return p->n > DATA_ORDER_GROUP;
}

data_cursor *data_cursor_open(const data_order *o)
{
    data_cursor *c = mn_calloc(1, sizeof *c);
    c->order = o;
    c->slot = mn_calloc((size_t)o->n_parts * 2, sizeof *c->slot);
    for (int i = 0; i < o->n_parts * 2; i++) {
        const data__part *p = &o->part[i / 2];
        c->slot[i].epoch = -1;
        if (!has_groups(p)) continue;
        c->slot[i].piece = mn_calloc((size_t)p->n, sizeof(int32_t));
        c->slot[i].start = mn_calloc((size_t)p->n + 1, sizeof(int64_t));
    }
    return c;
}

void data_cursor_close(data_cursor *c)
{
    if (!c) return;
    for (int i = 0; i < c->order->n_parts * 2; i++) {
        free(c->slot[i].piece);
        free(c->slot[i].start);
    }
    free(c->slot);
    free(c);
}

// The key of one permutation: which of a kind, in which epoch.
static uint64_t permutation_key(uint64_t kind, int64_t which, int64_t epoch)
{
    mn_rng4 r = mn_rng_block(kind, (uint64_t)which, (uint64_t)epoch, 0);
    return (uint64_t)r.v[0] << 32 | r.v[1];
}

typedef struct keys { // hashed once per call of data_order_at
    uint64_t window, shard, block, shift;
} keys;

static const piece_order *piece_order_of(data_cursor *c, const keys *k, int part, int64_t which, int64_t epoch)
{
    const data__part *p = &c->order->part[part];
    piece_order *t = &c->slot[part * 2 + (int)(epoch & 1)];
    if (t->epoch == epoch) return t;
    uint64_t key = permutation_key(k->shard, which, epoch);
    for (int i = 0; i < p->n; i++) {
        int64_t piece = mn_rng_permute(key, p->n, i);
        t->piece[i] = (int32_t)piece;
        t->start[i + 1] = t->start[i] + p->border[piece + 1] - p->border[piece];
    }
    t->epoch = epoch;
    return t;
}

// Blocks of a run of n samples change places. The run is turned by a random distance first, so that the borders of
// blocks, and the samples of the incomplete last one, are others in every epoch.
static int64_t shuffle_blocks(const keys *k, int64_t which, int64_t epoch, int64_t n, int64_t i)
{
    int64_t whole = n / DATA_ORDER_BLOCK;
    if (i < whole * DATA_ORDER_BLOCK) {
        int64_t block = mn_rng_permute(permutation_key(k->block, which, epoch), whole, i / DATA_ORDER_BLOCK);
        i = block * DATA_ORDER_BLOCK + i % DATA_ORDER_BLOCK;
    }
    int64_t shift = (int64_t)(permutation_key(k->shift, which, epoch) % (uint64_t)n);
    return i < n - shift ? i + shift : i - (n - shift);
}

// Sample of a source at place i of the endless stream of epochs of one of its parts.
static int64_t part_at(data_cursor *c, const keys *k, int source, int lane, int64_t i)
{
    const data_order *o = c->order;
    const data__part *p = data__part_of(o, source, lane);
    int64_t epoch = i / p->count, at = i % p->count;
    int64_t of = (int64_t)source * DATA_ORDER_LANES + (o->is_cut[source] ? lane : 0), which = of << 24;
    int piece;
    if (!has_groups(p)) {
        at = shuffle_blocks(k, which, epoch, p->count, at);
        piece = data__run_at(p->border, p->n, at);
        return o->source[source].first + p->piece[piece].first + at - p->border[piece];
    }
    const piece_order *t = piece_order_of(c, k, (int)(p - o->part), of, epoch);
    int first = data__run_at(t->start, p->n, at) / DATA_ORDER_GROUP * DATA_ORDER_GROUP;
    int end = first + DATA_ORDER_GROUP < p->n ? first + DATA_ORDER_GROUP : p->n;
    int64_t base = t->start[first], n = t->start[end] - base;
    at = base + shuffle_blocks(k, which + first, epoch, n, at - base);
    int run = first + data__run_at(t->start + first, end - first, at);
    return o->source[source].first + p->piece[t->piece[run]].first + at - t->start[run];
}

// Windows of equal size, DATA_ORDER_WINDOW at most, of n positions.
static int64_t shuffle_window(const keys *k, int lane, int64_t n, int64_t epoch, int64_t position)
{
    int64_t windows = (n + DATA_ORDER_WINDOW - 1) / DATA_ORDER_WINDOW;
    int64_t w = data__scale(position, windows, n);
    if (data__scale(n, w + 1, windows) <= position) w++; // the border is rounded down
    int64_t start = data__scale(n, w, windows), size = data__scale(n, w + 1, windows) - start;
    uint64_t key = permutation_key(k->window, ((int64_t)lane << 40) + w, epoch);
    return start + mn_rng_permute(key, size, position - start);
}

// The lane of a position, and its place in the epoch of that lane. Positions after the last whole batch, which training
// leaves out, are shared by the lanes in proportion.
static int lane_at(const data_order *o, int64_t position, int64_t *place)
{
    int64_t step = position / o->batch, row = position % o->batch, steps = o->samples / o->batch;
    int lane = 0;
    if (step < steps) {
        lane = lane_of_row(o, row);
        *place = step * o->lane[lane].rows + row - o->lane[lane].row;
        return lane;
    }
    int64_t rest = o->samples - steps * o->batch;
    while (data__scale(rest, o->lane[lane + 1].row, o->batch) <= row)
        lane++;
    *place = steps * o->lane[lane].rows + row - data__scale(rest, o->lane[lane].row, o->batch);
    return lane;
}

static int64_t shuffled(data_cursor *c, const keys *k, int64_t epoch, int64_t position)
{
    const data_order *o = c->order;
    int64_t at, place;
    int number = lane_at(o, position, &at);
    const data__lane *lane = &o->lane[number];
    at = shuffle_window(k, number, lane->epoch, epoch, at);
    int source = data__deal(lane->left, o->n_sources, at, &place);
    // Cut: the lane's own samples, as many an epoch as it shows. Whole: the lane's share of the source's epoch.
    int64_t per_epoch = o->is_cut[source] ? lane[1].before[source] - lane->before[source] : o->source[source].per_epoch;
    if (!o->is_cut[source]) place += lane->before[source];
    return part_at(c, k, source, number, epoch * per_epoch + place);
}

static double unit(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

static int64_t drawn(const data_order *o, uint64_t key, int64_t epoch, int64_t position)
{
    mn_rng4 r = mn_rng_block(key, (uint64_t)position, (uint64_t)epoch, 0);
    int lane = lane_of_row(o, position % o->batch);
    return data__weights_draw(o, lane, unit(r.v[0], r.v[1]), unit(r.v[2], r.v[3]));
}

void data_order_at(const data_order *o, data_cursor *c, int64_t epoch, int64_t position, int64_t n, int64_t *index)
{
    mn_assert(c->order == o && epoch >= 0 && position >= 0 && n >= 0 && position + n <= o->samples);
    if (o->sum) {
        uint64_t key = mn_rng_key(o->seed, "order.weighted");
        for (int64_t i = 0; i < n; i++)
            index[i] = drawn(o, key, epoch, position + i);
        return;
    }
    keys k = {mn_rng_key(o->seed, "order.window"), mn_rng_key(o->seed, "order.shard"),
              mn_rng_key(o->seed, "order.block"), mn_rng_key(o->seed, "order.shift")};
    for (int64_t i = 0; i < n; i++)
        index[i] = shuffled(c, &k, epoch, position + i);
}
