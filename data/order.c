#include "data/order.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// One column of the alias table (Walker 1977; Vose 1991, "A linear algorithm for generating random numbers with a given
// distribution"): sample i with probability keep, else sample other.
typedef struct alias {
    double keep;
    int64_t other;
} alias;

struct data_order {
    uint64_t seed;
    int n_sources;
    data_source *source;
    int64_t *left; // (n_sources): samples an epoch takes from the sources 0..i
    int64_t samples, count;
    alias *table; // NULL: no weights
};

// Shards of one source in the order of one of its own epochs.
typedef struct shard_order {
    int64_t epoch;  // -1: not filled yet
    int32_t *shard; // (n_shards)
    int64_t *start; // (n_shards + 1): first position of shard[i]
} shard_order;

// Positions close to each other touch at most two epochs of a source, unless it is tiny: two tables each.
struct data_cursor {
    const data_order *order;
    shard_order *slot; // (n_sources, 2); without memory for sources of one group
};

// Scaling keeps an average of 1 a column; columns below it are filled up from those above.
static mn_err alias_open(alias **out, const double *weights, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(weights[i]) || weights[i] < 0)
            return mn_fail(MN_ECONFIG, "sampling weight %g of sample %lld is not a finite number of at least 0",
                           weights[i], (long long)i);
        total += weights[i];
    }
    if (!(total > 0) || !isfinite(total))
        return mn_fail(MN_ECONFIG, "the sampling weights of %lld samples sum to %g", (long long)n, total);
    size_t bytes, order_bytes;
    MN_TRY(mn_mul_size((size_t)n, sizeof(alias), &bytes));
    MN_TRY(mn_mul_size((size_t)n, sizeof(int64_t), &order_bytes));
    alias *table = malloc(bytes);
    int64_t *order = malloc(order_bytes); // light columns from the front, heavy ones from the back
    if (!table || !order) {
        free(table);
        free(order);
        return mn_fail(MN_EMEM, "no memory for the sampling weights of %lld samples", (long long)n);
    }
    int64_t light = 0, heavy = n;
    for (int64_t i = 0; i < n; i++) {
        table[i] = (alias){weights[i] * ((double)n / total), i};
        if (table[i].keep < 1)
            order[light++] = i;
        else
            order[--heavy] = i;
    }
    while (light > 0 && heavy < n) {
        int64_t small = order[--light], large = order[heavy];
        table[small].other = large;
        table[large].keep -= 1 - table[small].keep;
        if (table[large].keep < 1) {
            heavy++;
            order[light++] = large;
        }
    }
    while (light > 0) // what is left differs from 1 by rounding only
        table[order[--light]].keep = 1;
    for (; heavy < n; heavy++)
        table[order[heavy]].keep = 1;
    free(order);
    *out = table;
    return MN_OK;
}

mn_err data_order_open(data_order **out, const data_order_cfg *cfg)
{
    mn_assert(cfg->n_sources >= 1);
    data_order *o = mn_calloc(1, sizeof *o);
    o->seed = cfg->seed;
    o->n_sources = cfg->n_sources;
    o->source = mn_calloc((size_t)cfg->n_sources, sizeof *o->source);
    o->left = mn_calloc((size_t)cfg->n_sources, sizeof *o->left);
    for (int i = 0; i < cfg->n_sources; i++) {
        const data_source *s = &cfg->source[i];
        mn_assert(s->count >= 1 && s->per_epoch >= 1);
        mn_assert(!s->shard || (s->shard[0] == 0 && s->shard[s->n_shards] == s->count));
        o->source[i] = *s;
        o->samples += s->per_epoch;
        o->count += s->count;
        o->left[i] = o->samples;
    }
    if (cfg->weights) {
        mn_assert(cfg->samples >= 1);
        o->samples = cfg->samples;
        mn_err err = alias_open(&o->table, cfg->weights, o->count);
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
    free(o->source);
    free(o->left);
    free(o->table);
    free(o);
}

int64_t data_order_samples(const data_order *o)
{
    return o->samples;
}

static int has_groups(const data_source *s)
{
    return s->shard && s->n_shards > DATA_ORDER_GROUP;
}

data_cursor *data_cursor_open(const data_order *o)
{
    data_cursor *c = mn_calloc(1, sizeof *c);
    c->order = o;
    c->slot = mn_calloc((size_t)o->n_sources * 2, sizeof *c->slot);
    for (int i = 0; i < o->n_sources * 2; i++) {
        const data_source *s = &o->source[i / 2];
        c->slot[i].epoch = -1;
        if (!has_groups(s)) continue;
        c->slot[i].shard = mn_calloc((size_t)s->n_shards, sizeof(int32_t));
        c->slot[i].start = mn_calloc((size_t)s->n_shards + 1, sizeof(int64_t));
    }
    return c;
}

void data_cursor_close(data_cursor *c)
{
    if (!c) return;
    for (int i = 0; i < c->order->n_sources * 2; i++) {
        free(c->slot[i].shard);
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

static const shard_order *shard_order_of(data_cursor *c, const keys *k, int source, int64_t epoch)
{
    const data_source *s = &c->order->source[source];
    shard_order *t = &c->slot[source * 2 + (int)(epoch & 1)];
    if (t->epoch == epoch) return t;
    uint64_t key = permutation_key(k->shard, source, epoch);
    for (int i = 0; i < s->n_shards; i++) {
        int64_t shard = mn_rng_permute(key, s->n_shards, i);
        t->shard[i] = (int32_t)shard;
        t->start[i + 1] = t->start[i] + s->shard[shard + 1] - s->shard[shard];
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

// Last i with start[i] <= value.
static int find_run(const int64_t *start, int n, int64_t value)
{
    int low = 0, high = n;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (start[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Sample of a source at place i of its own endless stream of epochs.
static int64_t source_at(data_cursor *c, const keys *k, int source, int64_t i)
{
    const data_source *s = &c->order->source[source];
    int64_t epoch = i / s->count, place = i % s->count, which = (int64_t)source << 24;
    if (!has_groups(s)) return s->first + shuffle_blocks(k, which, epoch, s->count, place);
    const shard_order *t = shard_order_of(c, k, source, epoch);
    int first = find_run(t->start, s->n_shards, place) / DATA_ORDER_GROUP * DATA_ORDER_GROUP;
    int end = first + DATA_ORDER_GROUP < s->n_shards ? first + DATA_ORDER_GROUP : s->n_shards;
    int64_t base = t->start[first], n = t->start[end] - base;
    int64_t at = base + shuffle_blocks(k, which + first, epoch, n, place - base);
    int run = first + find_run(t->start + first, end - first, at);
    return s->first + s->shard[t->shard[run]] + at - t->start[run];
}

// floor(a b / n) of values whose product may not fit.
static int64_t scale(int64_t a, int64_t b, int64_t n)
{
    return (int64_t)((__int128)a * b / n);
}

// Position q of the evenly interleaved sources: which source, and how many of its samples came before. At each step
// the last source is dealt out evenly among the places of those before it.
static int deal(const data_order *o, int64_t q, int64_t *place)
{
    for (int i = o->n_sources - 1; i > 0; i--) {
        int64_t n = o->left[i], rest = o->left[i - 1], before = scale(q, rest, n);
        if (scale(q + 1, rest, n) == before) {
            *place = q - before;
            return i;
        }
        q = before;
    }
    *place = q;
    return 0;
}

// Windows of equal size, DATA_ORDER_WINDOW at most.
static int64_t shuffle_window(const data_order *o, const keys *k, int64_t epoch, int64_t position)
{
    int64_t n = o->samples, windows = (n + DATA_ORDER_WINDOW - 1) / DATA_ORDER_WINDOW;
    int64_t w = scale(position, windows, n);
    if (scale(n, w + 1, windows) <= position) w++; // the border is rounded down
    int64_t start = scale(n, w, windows), size = scale(n, w + 1, windows) - start;
    return start + mn_rng_permute(permutation_key(k->window, w, epoch), size, position - start);
}

static int64_t draw(const data_order *o, uint64_t key, int64_t epoch, int64_t position)
{
    mn_rng4 r = mn_rng_block(key, (uint64_t)position, (uint64_t)epoch, 0);
    uint64_t high = (uint64_t)r.v[0] << 32 | r.v[1], low = (uint64_t)r.v[2] << 32 | r.v[3];
    int64_t i = (int64_t)((unsigned __int128)high * (uint64_t)o->count >> 64);
    return (double)(low >> 11) * 0x1p-53 < o->table[i].keep ? i : o->table[i].other;
}

void data_order_at(const data_order *o, data_cursor *c, int64_t epoch, int64_t position, int64_t n, int64_t *index)
{
    mn_assert(c->order == o && epoch >= 0 && position >= 0 && n >= 0 && position + n <= o->samples);
    if (o->table) {
        uint64_t key = mn_rng_key(o->seed, "order.weighted");
        for (int64_t i = 0; i < n; i++)
            index[i] = o->source[0].first + draw(o, key, epoch, position + i);
        return;
    }
    keys k = {mn_rng_key(o->seed, "order.window"), mn_rng_key(o->seed, "order.shard"),
              mn_rng_key(o->seed, "order.block"), mn_rng_key(o->seed, "order.shift")};
    for (int64_t i = 0; i < n; i++) {
        int64_t place, q = shuffle_window(o, &k, epoch, position + i);
        int source = deal(o, q, &place);
        index[i] = source_at(c, &k, source, epoch * o->source[source].per_epoch + place);
    }
}
