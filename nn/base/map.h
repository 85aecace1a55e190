// Files mapped for reading. Where a mapped file cannot be read any more (the disk fails, or somebody cuts the file) the
// system has only a signal to say so, SIGBUS: the process then ends with the exit status of MN_EIO and one line that
// names the file and the byte.
//
//     mn_map m; MN_TRY(mn_map_open(&m, "part-00000.h5"));   // m.at[0] .. m.at[m.bytes - 1]
//     ... mn_map_close(&m);
//
// Threading: any thread; a map may be read by all.
#ifndef MN_MAP_H
#define MN_MAP_H

#include "nn/base/err.h"

#include <stddef.h>

typedef struct mn_map {
    const char *at; // NULL: nothing is mapped
    size_t bytes;
    struct mn_map_entry *entry; // what the signal handler knows of it
} mn_map;

// An empty file is MN_EDATA.
MN_MUST_CHECK mn_err mn_map_open(mn_map *out, const char *path);
void mn_map_close(mn_map *m); // also of one that is all zeros

#endif
