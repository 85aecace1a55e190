// The folder of staged copies (data/copies.h): finding, making, reserving, evicting. Inside data/copies* only.
// Threading: one thread per process and folder; processes agree by locks of the files.
#ifndef DATA_COPIES_FILES_H
#define DATA_COPIES_FILES_H

#include "data/shard.h"

#include <stdatomic.h>

typedef struct data__copies_files {
    char *dir;
    int fd;        // of the folder
    int64_t limit; // 0: a tenth of the disk stays free
    atomic_int *stop;
} data__copies_files;

typedef enum data__copied {
    DATA__COPIED,  // *fd is the copy, locked for use
    DATA__BUSY,    // another process makes it: come back
    DATA__NO_ROOM, // and nothing can be evicted
    DATA__FAILED,  // mn_errmsg says why
    DATA__STOPPED
} data__copied;

// Makes the folder below `base` if need be, and removes what dead processes and old jobs have left.
MN_MUST_CHECK mn_err data__copies_files_open(data__copies_files *f, const char *base);
void data__copies_files_close(data__copies_files *f);
data__copied data__copies_fetch(const data__copies_files *f, const data_shard *s, int *fd);

#endif
