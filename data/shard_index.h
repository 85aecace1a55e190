// A shard in memory, and how its index gets there. Internal to data/shard.c and data/shard_index.c.
#ifndef DATA_SHARD_INDEX_H
#define DATA_SHARD_INDEX_H

#include "data/shard.h"
#include "data/shard_columns.h"
#include "data/shard_seal.h"

#include <pthread.h>
#include <stdatomic.h>

// Names of the records that an error asked for, read when they are not kept.
typedef struct data__names {
    pthread_mutex_t lock;
    void *offset, *bytes; // NULL: not read
    int failed;
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
    char *video_names; // own copies of them, when the other names are not kept
    data__names *names;
};

// Reads attributes, columns and the video table, each checked, after the seal has vouched for the file.
MN_MUST_CHECK mn_err data__shard_index_read(data_shard *s);
// Frees the columns that keep (DATA_KEEP_*) does not name.
void data__shard_index_drop(data_shard *s, int keep);
void data__shard_index_fill(data_shard *s); // s->index, from what is left
// String `id` of the table: 0 .. records-1 are the records' names. NULL: there is none.
const char *data__shard_string(const data_shard *s, uint32_t id);

#endif
