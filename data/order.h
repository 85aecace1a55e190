// Which sample comes at which position of an epoch: a pure function of (seed, epoch, position), the same for any number
// of ranks and threads, with nothing stored per sample. Resuming in the middle of an epoch is therefore O(1).
//
//     data_order *o; MN_TRY(data_order_open(&o, &(data_order_cfg){.source = runs, .n_sources = 2, .seed = seed}));
//     data_cursor *c = data_cursor_open(o);                      // one per thread: small tables of the epoch at hand
//     data_order_at(o, c, epoch, position, rows, index);         // rows sample indices
//
// Shuffling, from coarse to fine, every level a keyed permutation of the epoch:
//   shards   of a source in groups of DATA_ORDER_GROUP, so that few files are read at a time;
//   blocks   of DATA_ORDER_BLOCK neighbouring records inside a group, so that reads stay sequential;
//   windows  of about DATA_ORDER_WINDOW positions, inside which single samples change places.
// A window mixes records of 64 blocks of 16 shards. A source of at most one window is shuffled uniformly.
// Several sources are interleaved evenly before the windows are shuffled. Threading: an order is immutable; a cursor
// belongs to one thread.
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include "nn/base/err.h"

#include <stdint.h>

enum { DATA_ORDER_GROUP = 16, DATA_ORDER_BLOCK = 256, DATA_ORDER_WINDOW = 16384 };

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
    const double *weights; // NULL, or (samples of all sources): draw with replacement, in proportion to these
    int64_t samples;       // with weights: samples of an epoch
} data_order_cfg;

typedef struct data_order data_order;
typedef struct data_cursor data_cursor;
// MN_ECONFIG when a weight is negative or not finite or all are 0; MN_EMEM when the table of weights (16 bytes a
// sample) does not fit.
MN_MUST_CHECK mn_err data_order_open(data_order **out, const data_order_cfg *cfg);
void data_order_close(data_order *o);
int64_t data_order_samples(const data_order *o); // of an epoch

data_cursor *data_cursor_open(const data_order *o);
void data_cursor_close(data_cursor *c);
// Sample indices of the positions [position, position + n) of an epoch; position + n <= data_order_samples.
void data_order_at(const data_order *o, data_cursor *c, int64_t epoch, int64_t position, int64_t n, int64_t *index);

#endif
