// A shard in memory, and how its index gets there. Internal to data/shard.c and data/shard_index.c.
#ifndef DATA_SHARD_INDEX_H
#define DATA_SHARD_INDEX_H

#include "data/hdf5_read.h"
#include "data/shard.h"
#include "data/shard_columns.h"
#include "data/shard_seal.h"

#include <pthread.h>
#include <stdatomic.h>

// Names of the records that an error asked for, read when they are not kept.
typedef struct data__name_place {
    uint64_t at, bytes; // of the file
} data__name_place;
typedef struct data__names {
    pthread_mutex_t lock;
    void *table[2]; // offsets and texts
    int read, failed;
} data__names;

struct data_shard {
    int fd;
    atomic_int *copy; // descriptor of a copy of the file, -1: none
    char *path, *options;
    data__seal seal;
    data__columns columns;
    data_index index;
    data_video *videos;
    data_shard_info info;
    char *video_names;              // own copies of them, when the other names are not kept
    data__name_place name_place[2]; // of the offsets and of the texts
    data__names *names;
};

// Attributes, columns and the video table, each checked: a pure function of the file's bytes and of s->seal, which say
// where the payload is. Of s it needs path and seal, and it fills the rest but index.
MN_MUST_CHECK mn_err data__shard_index_parse(data_shard *s, const data__part_file *file);
// That the columns are those that were written, before any of them is dropped.
MN_MUST_CHECK mn_err data__shard_index_check(const data_shard *s);
// Frees the columns that keep (DATA_KEEP_*) does not name.
void data__shard_index_drop(data_shard *s, int keep);
void data__shard_index_fill(data_shard *s); // s->index, from what is left
// String `id` of the table: 0 .. records-1 are the records' names. NULL: there is none.
const char *data__shard_string(const data_shard *s, uint32_t id);

#endif
