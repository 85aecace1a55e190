// A source of samples: index -> one sample. No position, no shuffle, no rank; those are the loader's (data/loader.h).
// Implementations: data/frames.h (pictures of shards), data/sound.h (audio around labelled frames), data/windows.h
// (feature sequences), data/mix.h (several).
//
//     typedef struct mine { data_set set; ... } mine;       // first member
//     m->set.ops = &ops;
//     data_set_add_field(&m->set, "image", MN_F32, MN_SHAPE(3, side, side));
//
// Threading: any thread after open; a scratch belongs to one.
#ifndef DATA_SET_H
#define DATA_SET_H

#include "data/order.h"
#include "nn/base/err.h"
#include "nn/base/shape.h"

#define DATA_MAX_FIELDS 8

typedef struct data_field { // one input of the graph
    char name[32];          // "image", "mask", "expr", "weight", ...
    mn_dtype dtype;
    mn_shape shape; // of one row; n = 0: one number a row
} data_field;

typedef struct data_draw { // where everything random of one row comes from
    uint64_t seed;
    int64_t epoch, row; // row: global position in the epoch
} data_draw;

// Where a set of pictures spends the time of the loader's threads, for `mien bench loader`: reading and checking records;
// decoding; cropping, resizing, flipping and normalising in one pass; everything else that changes pictures.
typedef enum data_stage {
    DATA_STAGE_READ,
    DATA_STAGE_DECODE,
    DATA_STAGE_RESIZE,
    DATA_STAGE_CHANGE,
    DATA_STAGES
} data_stage;

struct data_copies;
typedef struct data_set data_set;
typedef struct data_set_ops {
    const char *name;
    // Fills field[i] (the row's memory, not cleared) for sample `index`. Called by several threads at once, each with a
    // scratch of its own.
    mn_err (*read)(data_set *s, void *scratch, int64_t index, data_draw draw, void *const *field);
    // The sample will be read soon: its bytes may be on their way from the disk until then. NULL: nothing to gain.
    void (*prefetch)(const data_set *s, int64_t index);
    uint64_t (*id)(const data_set *s, int64_t index); // part << 48 | record in manifest order
    mn_err (*scratch_open)(data_set *s, void **out);  // NULL: read needs none
    void (*scratch_close)(data_set *s, void *scratch);
    void (*close)(data_set *s);
    // Adds the shard, of those of source[source], to what is to be copied to the node; NULL: its files stay where they are.
    void (*copy)(const data_set *s, struct data_copies *to, int source, int shard);
} data_set_ops;
struct data_set { // first member of every implementation
    const data_set_ops *ops;
    int64_t count;
    int n_fields;
    data_field field[DATA_MAX_FIELDS];
    int weight_field;          // field that carries the row weights
    const data_source *source; // how training shuffles it (shards, mixture); NULL: one run of count samples
    int n_sources;
    double stage[DATA_STAGES]; // seconds, of the scratches that are closed already; sets without pictures leave them 0
    uint64_t digest;           // of everything that decides its samples: manifests, selection, options
};
int64_t data_set_epoch(const data_set *s); // samples an epoch of training hands out: of a mixture not its count
void data_set_close(data_set *s);          // any set; NULL is ignored
int data_set_field(const data_set *s, const char *name);                                // -1: it has no such field
void data_set_add_field(data_set *s, const char *name, mn_dtype dtype, mn_shape shape); // while a set is opened

#endif
