// Which sample comes at which position of an epoch: a pure function of (seed, epoch, position), the same for any number
// of ranks, nodes and threads, with nothing stored per sample. Resuming in the middle of an epoch is therefore O(1).
//
//     data_order *o;
//     MN_TRY(data_order_open(&o, &(data_order_cfg){.seed = seed, .source = runs, .n_sources = 2, .batch = 2048}));
//     data_cursor *c = data_cursor_open(o);                      // one per thread: small tables of the epoch at hand
//     data_order_at(o, c, epoch, position, rows, index);         // rows sample indices
//
// Lanes. The rows of a batch are cut into L lanes (L a power of two, at most DATA_ORDER_LANES), row r of a batch of B
// being of lane floor(r L / B); the samples are cut in the same proportions, along the line of all shards in an order
// that never changes. A lane shows its own samples, in every epoch all of them, and no others. L depends on the data
// alone (a lane has at least DATA_ORDER_LANE_SHARDS shards and DATA_ORDER_WINDOW samples; small sets have one), never on
// ranks. Ranks have neighbouring rows of a batch (data/loader.h), therefore whole lanes and a border at most: a rank,
// and a node with its ranks, reads no other shards than those of its lanes, always the same, and yet every number of
// ranks sees the same samples in the same batches. data_order_reads says which shards.
//
// Shuffling inside a lane, from coarse to fine, every level a keyed permutation of the epoch:
//   shards   of a source in groups of DATA_ORDER_GROUP, so that few files are read at a time;
//   blocks   of DATA_ORDER_BLOCK neighbouring records inside a group, so that reads stay sequential;
//   windows  of about DATA_ORDER_WINDOW positions, inside which single samples change places.
// A window mixes records of 64 blocks of 16 shards, a batch those of L windows. A set of at most one window is shuffled
// uniformly. Several sources are interleaved evenly before the windows are shuffled. How far this is from a true
// permutation: data/README.md. Threading: an order is immutable; a cursor belongs to one thread.
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include "nn/base/err.h"

#include <stdint.h>

enum {
    DATA_ORDER_GROUP = 16,
    DATA_ORDER_BLOCK = 256,
    DATA_ORDER_WINDOW = 16384,
    DATA_ORDER_LANES = 64,
    DATA_ORDER_LANE_SHARDS = 4
};

// A run of samples that is shuffled by itself. per_epoch different from count makes a mixture: an epoch then hands out
// that many of its samples, and the next one goes on where it stopped, so that every sample comes round equally often.
typedef struct data_source {
    int64_t first, count; // samples [first, first + count) of the set, count >= 1
    int64_t per_epoch;    // samples an epoch hands out, >= 1
    int n_shards;
    const int64_t *shard; // (n_shards + 1) borders, from 0 to count, borrowed; NULL: one shard
} data_source;

typedef struct data_order_cfg {
    uint64_t seed;
    const data_source *source; // copied, except for the borders
    int n_sources;
    int64_t batch;         // rows of a global batch; 0: positions are in no batches, and there is one lane
    const double *weights; // NULL, or (samples of all sources): draw with replacement, in proportion to these
    int64_t samples;       // with weights: samples of an epoch
} data_order_cfg;

typedef struct data_order data_order;
typedef struct data_cursor data_cursor;
// MN_ECONFIG when a weight is negative or not finite or all are 0; MN_EMEM when the table of weights (8 bytes a sample;
// cfg->weights are not needed any more) does not fit.
MN_MUST_CHECK mn_err data_order_open(data_order **out, const data_order_cfg *cfg);
void data_order_close(data_order *o);
int64_t data_order_samples(const data_order *o); // of an epoch
int data_order_lanes(const data_order *o);
// Can a row of [row, row + rows) of a batch hold a sample of this shard of a source? A pure function: what a rank, or
// the ranks of a node, have to read.
int data_order_reads(const data_order *o, int source, int shard, int64_t row, int64_t rows);

data_cursor *data_cursor_open(const data_order *o);
void data_cursor_close(data_cursor *c);
// Sample indices of the positions [position, position + n) of an epoch; position + n <= data_order_samples. Batches
// start at multiples of cfg.batch.
void data_order_at(const data_order *o, data_cursor *c, int64_t epoch, int64_t position, int64_t n, int64_t *index);

#endif
