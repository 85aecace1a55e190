#include "dist/bucket.h"

#include "dist/backend.h"
#include "dist/reduce.h"
#include "nn/base/fault.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

// How far a rank has come, in buckets since the start: they are dealt with in order, so a count is enough. Each count
// is written by its own rank and read by the others of the group.
typedef enum stage {
    READY,     // backward has completed it
    SUMMED,    // this rank's slice is summed over the group
    PUBLISHED, // leader: the sum over all groups is in its segment
    COPIED,    // member: and has been copied to its own
    STAGES
} stage;
typedef struct lane {
    struct {
        _Alignas(64) _Atomic int64_t count;
    } at[STAGES];
} lane;

struct dist_buckets {
    dist_comm *comm;
    dist_window *window;
    dist_range *bucket;
    uint64_t *seq; // (n): of the trace
    int n;
    int64_t base;                               // buckets of earlier steps
    int ready, summed, sent, published, copied; // of this step: how many this rank has brought so far
    int arrived[DIST_FLIGHTS];                  // leader: of the sums over groups that are under way
    dist_shared memory;
    lane *lanes, own;   // (group_size); &own when there is one
    float **segment;    // (group_size)
    const float **from; // (group_size): a slice in each segment
    float **to;
    int64_t busy_ns, waiting_ns, last_busy_ns, last_waiting_ns;
};

static int64_t load(const dist_buckets *b, int group_rank, stage s)
{
    return atomic_load_explicit(&b->lanes[group_rank].at[s].count, memory_order_acquire);
}

static void show(dist_buckets *b, stage s, int of_this_step)
{
    atomic_store_explicit(&b->lanes[b->comm->at.group_rank].at[s].count, b->base + of_this_step, memory_order_release);
}

static int all_have(const dist_buckets *b, stage s, int of_this_step)
{
    for (int r = 0; r < b->comm->at.group_size; r++)
        if (load(b, r, s) < b->base + of_this_step) return 0;
    return 1;
}

static int is_leader(const dist_buckets *b)
{
    return b->comm->at.group_rank == 0;
}

static int64_t slice_begin(const dist_range *range, int r, int size)
{
    return r == size ? range->count : range->count / 16 * r / size * 16;
}

// Sums this rank's slice over the group: to every segment, or to the leader's when other groups are to come.
static void sum_slice(dist_buckets *b, const dist_range *range)
{
    int size = b->comm->at.group_size, me = b->comm->at.group_rank;
    int targets = b->comm->at.groups == 1 ? size : 1;
    int64_t begin = slice_begin(range, me, size), end = slice_begin(range, me + 1, size);
    for (int r = 0; r < size; r++) {
        b->to[r] = b->segment[r] + range->offset + begin;
        b->from[r] = b->to[r];
    }
    dist_sum_floats(b->from, size, b->to, targets, end - begin);
}

// Starts sums over groups, several at a time so that one poll moves much, and publishes them in order.
static mn_err poll_leaders(dist_buckets *b, int *moved)
{
    dist_comm *c = b->comm;
    for (int i = b->published; i < b->sent; i++)
        if (!b->arrived[i % DIST_FLIGHTS]) {
            MN_TRY(c->backend->sum_poll(c, i % DIST_FLIGHTS, &b->arrived[i % DIST_FLIGHTS]));
            *moved |= b->arrived[i % DIST_FLIGHTS];
        }
    while (b->published < b->sent && b->arrived[b->published % DIST_FLIGHTS])
        show(b, PUBLISHED, ++b->published);
    while (b->sent < b->n && b->sent - b->published < DIST_FLIGHTS && all_have(b, SUMMED, b->sent + 1)) {
        const dist_range *range = &b->bucket[b->sent];
        int slot = b->sent++ % DIST_FLIGHTS;
        b->arrived[slot] = 0;
        *moved = 1;
        MN_TRY(c->backend->sum_start(c, slot, b->segment[0] + range->offset, range->count, range->wire));
    }
    return MN_OK;
}

static int poll_copy(dist_buckets *b)
{
    if (b->copied == b->n || load(b, 0, PUBLISHED) < b->base + b->copied + 1) return 0;
    const dist_range *range = &b->bucket[b->copied++];
    float *own = b->segment[b->comm->at.group_rank];
    memcpy(own + range->offset, b->segment[0] + range->offset, (size_t)range->count * sizeof(float));
    show(b, COPIED, b->copied);
    return 1;
}

// Does what can be done without waiting; *moved tells if anything was.
static mn_err poll(dist_buckets *b, int *moved)
{
    *moved = 0;
    while (b->summed < b->ready && all_have(b, READY, b->summed + 1)) {
        sum_slice(b, &b->bucket[b->summed++]);
        show(b, SUMMED, b->summed);
        *moved = 1;
    }
    if (b->comm->at.groups == 1) return MN_OK;
    if (is_leader(b)) return poll_leaders(b, moved);
    *moved |= poll_copy(b);
    return MN_OK;
}

// Nobody reads or writes this rank's segment any more, and it holds the sums.
static int is_finished(const dist_buckets *b)
{
    if (b->comm->at.groups == 1) return all_have(b, SUMMED, b->n);
    if (!is_leader(b)) return b->copied == b->n;
    for (int r = 1; r < b->comm->at.group_size; r++)
        if (load(b, r, COPIED) < b->base + b->n) return 0;
    return b->published == b->n;
}

static void mark_ready(dist_buckets *b, int upto)
{
    for (; b->ready < upto; b->ready++) {
        int64_t count = b->bucket[b->ready].count;
        dist__entered(b->comm, DIST_OP_GRADIENTS);
        b->seq[b->ready] = dist_trace_begin(&b->comm->trace, DIST_OP_GRADIENTS, count, count * 4);
    }
    show(b, READY, b->ready);
}

mn_err dist_buckets_on_step(void *buckets, int step)
{
    dist_buckets *b = buckets;
    if (b->comm->at.world == 1) return MN_OK;
    int ready = b->ready, moved;
    while (ready < b->n && b->bucket[ready].ready_step <= step)
        ready++;
    if (ready > b->ready && mn_fault("gradients") == 2)
        dist_window_segment(b->window, b->comm->at.group_rank)[b->bucket[b->ready].offset] = NAN;
    if (ready > b->ready) mark_ready(b, ready);
    int64_t start = dist_now_ns();
    MN_TRY(poll(b, &moved));
    if (moved) b->busy_ns += dist_now_ns() - start;
    return MN_OK;
}

static mn_err finish(dist_buckets *b)
{
    dist_wait w = {0};
    int64_t start = dist_now_ns(), idle_since = 0;
    mark_ready(b, b->n);
    while (!is_finished(b)) {
        int moved;
        MN_TRY(poll(b, &moved));
        if (moved) {
            if (idle_since) b->waiting_ns += dist_now_ns() - idle_since;
            idle_since = 0;
            w = (dist_wait){0};
            continue;
        }
        if (!idle_since) idle_since = dist_now_ns();
        MN_TRY(dist__wait(b->comm, &w));
    }
    int64_t end = dist_now_ns();
    if (idle_since) b->waiting_ns += end - idle_since;
    b->busy_ns += end - start;
    for (int i = 0; i < b->n; i++)
        dist_trace_end(&b->comm->trace, b->seq[i]);
    return MN_OK;
}

mn_err dist_buckets_wait(dist_buckets *b, dist_control *sum)
{
    dist_control *own = dist_buckets_control(b);
    if (b->comm->at.world > 1) MN_TRY(finish(b));
    if (sum) *sum = *own;
    memset(own, 0, sizeof *own);
    b->base += b->n;
    b->ready = b->summed = b->sent = b->published = b->copied = 0;
    b->last_busy_ns = b->busy_ns;
    b->last_waiting_ns = b->waiting_ns;
    b->comm->waited_ns += b->waiting_ns;
    b->busy_ns = b->waiting_ns = 0;
    return MN_OK;
}

double dist_buckets_seconds(const dist_buckets *b, double *waiting)
{
    if (waiting) *waiting = 1e-9 * (double)b->last_waiting_ns;
    return 1e-9 * (double)b->last_busy_ns;
}

int dist_buckets_count(const dist_buckets *b)
{
    return b->n;
}

dist_control *dist_buckets_control(dist_buckets *b)
{
    const dist_range *last = &b->bucket[b->n - 1];
    float *end = dist_window_segment(b->window, b->comm->at.group_rank) + last->offset + last->count;
    return (dist_control *)(void *)end - 1;
}

// The order of reductions is the same on all ranks, or the sums would be of different things.
mn_err dist_ranges_compare(dist_comm *c, const dist_range *range, int n)
{
    uint64_t mine = 0;
    for (int i = 0; i < n; i++) {
        int64_t numbers[] = {range[i].offset, range[i].count, range[i].ready_step, range[i].wire};
        mine = XXH3_64bits_withSeed(numbers, sizeof numbers, mine);
    }
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 5, &mine, sizeof mine));
    for (int r = 0; r < c->at.world; r++)
        if (*(const uint64_t *)dist__from(c, r) != mine)
            return mn_fail(MN_ECONFIG,
                           "rank %d and rank %d complete their gradients in a different order: they do not run the "
                           "same model or plan",
                           c->at.rank, r);
    return MN_OK;
}

static mn_err open_lanes(dist_buckets *b)
{
    dist_comm *c = b->comm;
    size_t size = (size_t)c->at.group_size;
    b->lanes = &b->own;
    if (c->at.groups < c->at.world) {
        MN_TRY(dist_shared_open(c, size * sizeof(lane), &b->memory));
        if (!b->memory.base)
            return mn_fail(MN_EDEVICE, "ranks of %s could share memory before, but not now: %s", c->at.host,
                           b->memory.why);
        b->lanes = b->memory.base;
    }
    b->segment = mn_calloc(size, sizeof *b->segment);
    b->from = (const float **)mn_calloc(size, sizeof *b->from);
    b->to = mn_calloc(size, sizeof *b->to);
    for (int r = 0; r < c->at.group_size; r++)
        b->segment[r] = dist_window_segment(b->window, r);
    return MN_OK;
}

mn_err dist_buckets_of_ranges(dist_buckets **out, dist_comm *c, dist_window *w, const dist_range *ranges, int n,
                              int64_t count)
{
    int64_t end = 0, largest = 0;
    for (int i = 0; i < n; i++) {
        mn_assert(ranges[i].offset == end && ranges[i].count > 0);
        end += ranges[i].count;
        if (ranges[i].count > largest) largest = ranges[i].count;
    }
    size_t control = sizeof(dist_control) / sizeof(float);
    mn_assert(end == count + (int64_t)control && (size_t)end * sizeof(float) <= dist_window_bytes(w));
    dist_buckets *b = mn_calloc(1, sizeof *b);
    b->comm = c;
    b->window = w;
    b->n = n;
    b->bucket = mn_calloc((size_t)n, sizeof *b->bucket);
    b->seq = mn_calloc((size_t)n, sizeof *b->seq);
    memcpy(b->bucket, ranges, (size_t)n * sizeof *ranges);
    mn_err err;
    MN_TRY_OUT(err, dist_ranges_compare(c, ranges, n));
    MN_TRY_OUT(err, open_lanes(b));
    if (c->at.groups > 1 && is_leader(b)) MN_TRY_OUT(err, c->backend->sum_reserve(c, largest));
out:
    if (err != MN_OK)
        dist_buckets_free(b);
    else
        *out = b;
    return err;
}

// Adds [at, end) in pieces of at most `most` elements.
static int split(dist_range *range, int n, int64_t at, int64_t end, int64_t most, int ready_step, mn_dtype wire)
{
    if (at == end) return n;
    int64_t pieces = (end - at + most - 1) / most, size = ((end - at) / pieces + 15) / 16 * 16;
    for (; at < end; at += size)
        range[n++] = (dist_range){at, end - at < size ? end - at : size, ready_step, wire};
    return n;
}

int dist_ranges(const nn_graph *g, const nn_params *ps, size_t bucket_bytes, mn_dtype wire, dist_range **out)
{
    int64_t trained = nn_params_arenas(ps)->trained,
            most = (int64_t)(bucket_bytes ? bucket_bytes : DIST_BUCKET_BYTES) / 4;
    int64_t end = trained + (int64_t)(sizeof(dist_control) / sizeof(float)), at = 0;
    if (most < 16) most = 16;
    dist_range *range = mn_calloc((size_t)(end / most * 2 + nn_params_count(ps) + 3), sizeof *range);
    int n = 0, ready = -1;
    for (int i = 0; i < nn_params_count(ps); i++) {
        const nn_param *p = nn_params_at(ps, i);
        if (p->offset >= trained) break;
        if (p->offset - at >= most) { // close before it: what was collected may be ready earlier
            n = split(range, n, at, p->offset, most, ready, wire);
            at = p->offset;
        }
        int step = nn_graph_ready_step(g, p);
        if (step > ready) ready = step;
    }
    *out = range;
    if (wire != MN_F32) {
        n = split(range, n, at, trained, most, ready, wire);
        at = trained;
    }
    return split(range, n, at, end, most, ready, MN_F32);
}

mn_err dist_buckets_new(dist_buckets **out, dist_comm *c, dist_window *w, const nn_graph *g, const nn_params *ps,
                        size_t bucket_bytes, mn_dtype wire)
{
    dist_range *range;
    int n = dist_ranges(g, ps, bucket_bytes, wire, &range);
    mn_err err = dist_buckets_of_ranges(out, c, w, range, n, nn_params_arenas(ps)->trained);
    free(range);
    return err;
}

void dist_buckets_free(dist_buckets *b)
{
    if (!b) return;
    dist_shared_close(&b->memory);
    free(b->bucket);
    free(b->seq);
    free(b->segment);
    free(b->from);
    free(b->to);
    free(b);
}
