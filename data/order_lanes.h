// How an order cuts batches and samples into lanes (data/order.h), and the table of sampling weights. Inside data/order*
// only. Threading: immutable after open.
#ifndef DATA_ORDER_LANES_H
#define DATA_ORDER_LANES_H

#include "data/order.h"

// Neighbouring samples of one shard.
typedef struct data__piece {
    int64_t first; // sample of the source
    int shard;
} data__piece;

// What one lane has of a source; or all of a source that is too small to be cut, which every lane then shares.
typedef struct data__part {
    int64_t count;
    int n;
    data__piece *piece; // (n)
    int64_t *border;    // (n + 1), from 0 to count
} data__part;

typedef struct data__lane {
    int64_t row, rows;     // of a batch
    int64_t epoch;         // positions of an epoch
    const int64_t *left;   // (n_sources): of these, those of the sources 0 .. i
    const int64_t *before; // (n_sources): samples of the source's epoch that the lanes before have
} data__lane;

struct data_order {
    uint64_t seed;
    int n_sources, n_lanes;
    data_source *source;
    int64_t *left; // (n_sources): samples of an epoch from the sources 0 .. i
    int64_t samples, batch;
    data__lane *lane; // (n_lanes)
    int64_t *tables;  // what the lanes point into
    int *first_part;  // (n_sources): its part of lane 0
    int *is_cut;      // (n_sources)
    int n_parts;
    data__part *part;
    double *sum;         // (samples of all sources + 1): sums of the weights before each sample; NULL: no weights
    double *sources_sum; // (n_sources + 1)
};

// floor(a b / n) of values whose product may not fit.
static inline int64_t data__scale(int64_t a, int64_t b, int64_t n)
{
    return (int64_t)((__int128)a * b / n);
}

// Position q of sources that are interleaved evenly, left[i] samples of those up to i: which source, and how many of its
// samples came before. At each step the last source is dealt out evenly among the places of those before it.
int data__deal(const int64_t *left, int n_sources, int64_t q, int64_t *place);

static inline const data__part *data__part_of(const data_order *o, int source, int lane)
{
    return &o->part[o->first_part[source] + (o->is_cut[source] ? lane : 0)];
}

// Last i in [0, n) with start[i] <= value.
int data__run_at(const int64_t *start, int64_t n, int64_t value);

// Fills in everything but the weights from cfg.
void data__lanes_open(data_order *o, const data_order_cfg *cfg);
void data__lanes_close(data_order *o);

MN_MUST_CHECK mn_err data__weights_open(data_order *o, const double *weights);
// The sample that two numbers in [0, 1) draw for a row of lane `lane`: first a source, then a sample of that source.
int64_t data__weights_draw(const data_order *o, int lane, double which, double where);
int data__weights_read(const data_order *o, int source, int64_t first, int64_t count, int lane, int end);

#endif
