// The HDF5 that shards are written in (data/shard_h5.h: superblock 0, symbol tables, contiguous datasets of plain numbers,
// fixed texts and whole numbers as attributes of the root), read without the library. A shard may come from anywhere, and
// the library trusts what it parses; this reader is a pure function that knows one form and refuses every other.
//
//     data__hdf5 h; MN_TRY(data__hdf5_read(&h, &bytes, base, path));
//     const data__hdf5_dataset *d = data__hdf5_find(&h, "label/expr"); // d->at, d->bytes: where its values are
//
// Source of the form: "HDF5 File Format Specification Version 3.0" (The HDF Group), sections II.A, III.A-D and IV.A.
// Threading: pure functions.
#ifndef DATA_HDF5_READ_H
#define DATA_HDF5_READ_H

#include "data/shard_type.h"
#include "nn/base/err.h"

#include <stdint.h>

enum { DATA__HDF5_DATASETS = 64, DATA__HDF5_ATTRIBUTES = 32, DATA__HDF5_NAME = 64 };

// A file in memory, but for a part that was not read: bytes [0, head_bytes) and [tail_at, file_bytes).
typedef struct data__part_file {
    const uint8_t *head, *tail;
    uint64_t head_bytes, tail_at, file_bytes;
} data__part_file;

typedef struct data__hdf5_dataset {
    char name[DATA__HDF5_NAME]; // with its groups: "label/expr"
    data__type type;
    int dims; // 1 or 2
    uint64_t extent[2];
    uint64_t at, bytes; // of the file; at 0 when there are no bytes. Inside the file, perhaps in the part not read
} data__hdf5_dataset;

typedef struct data__hdf5_attribute { // of the root
    const char *name;
    const char *text; // NULL: a whole number
    int64_t number;
} data__hdf5_attribute;

typedef struct data__hdf5 { // refers to the bytes it was read from
    int n_datasets, n_attributes;
    data__hdf5_dataset dataset[DATA__HDF5_DATASETS];
    data__hdf5_attribute attribute[DATA__HDF5_ATTRIBUTES];
} data__hdf5;

// base: where the HDF5 structures begin in the file, behind the user block. MN_EDATA names the byte that is wrong.
MN_MUST_CHECK mn_err data__hdf5_read(data__hdf5 *out, const data__part_file *file, uint64_t base, const char *path);
const data__hdf5_dataset *data__hdf5_find(const data__hdf5 *h, const char *name); // NULL: none
const data__hdf5_attribute *data__hdf5_attribute_of(const data__hdf5 *h, const char *name);
// n bytes at `at`, NULL when they are not all in memory.
const uint8_t *data__part_bytes(const data__part_file *file, uint64_t at, uint64_t n);

#endif
