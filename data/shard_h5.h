// HDF5 as the shard and feature files use it: contiguous, unfiltered, earliest format, every return code checked.
// Included by data/shard*.c and data/features*.c only.
//
// Shards are written with it and read without it (data/hdf5_read.h); feature files, which others may have written, are
// read with it. HDF5 keeps pages of an open file to itself, reports success for what a full disk swallowed, and may
// segfault in its own exit handler after such an error: so that handler is off, and files are verified by reading them
// back.
//
// Threading: HDF5 serialises its calls with one lock; an id is used by one thread.
#ifndef DATA_SHARD_H5_H
#define DATA_SHARD_H5_H

#include "data/shard_type.h"
#include "nn/base/err.h"

#include <hdf5.h>
#include <stdint.h>

// mn_fail(e, ...) with what HDF5 says about it appended.
mn_err data__h5_fail(mn_err e, const char *path, const char *what);

MN_MUST_CHECK mn_err data__h5_open(hid_t *file, const char *path); // read only, no lock taken
// A new file (it must not exist) whose first `user_block` bytes are left to the caller.
MN_MUST_CHECK mn_err data__h5_create(hid_t *file, const char *path, uint64_t user_block);
MN_MUST_CHECK mn_err data__h5_close(hid_t file, const char *path);

MN_MUST_CHECK mn_err data__h5_put_text(hid_t at, const char *path, const char *name, const char *text);
MN_MUST_CHECK mn_err data__h5_put_int(hid_t at, const char *path, const char *name, int64_t value);
// A missing or too long text is MN_EDATA.
MN_MUST_CHECK mn_err data__h5_get_text(hid_t at, const char *path, const char *name, char *text, size_t size);
int data__h5_is(hid_t type, data__type t);
int data__h5_has_attribute(hid_t at, const char *name);
int data__h5_has(hid_t at, const char *name); // link, groups on the way included: "label/expr"

// Names in a group, in byte order; free with mn_names_free.
MN_MUST_CHECK mn_err data__h5_names(hid_t at, const char *path, char ***names, int64_t *n);

// Writes (rows, width) or, with width 0, (rows).
MN_MUST_CHECK mn_err data__h5_write(hid_t at, const char *path, const char *name, data__type type, int64_t rows,
                                    int64_t width, const void *values);
// Allocates space for `bytes` u8 without writing any, and says where in the file it is (0 when bytes is 0).
MN_MUST_CHECK mn_err data__h5_reserve(hid_t at, const char *path, const char *name, uint64_t bytes, uint64_t *offset);

#endif
