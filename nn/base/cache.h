// Small results that are costly to find and hold for the next start on this machine, such as the fastest algorithm for a
// matrix product: one file each below $XDG_CACHE_HOME/mien, else ~/.cache/mien.
//
//     if (!mn_cache_get(key, &algorithm, sizeof algorithm)) {
//         algorithm = measure();
//         mn_cache_put(key, &algorithm, sizeof algorithm);
//     }
//
// The first process that keeps a value wins, and mn_cache_put hands that value to the others: the ranks of a job, and a
// run that is resumed, all go on with the same one. Nothing here is an error: a file that is damaged, foreign or
// unreadable counts as absent, and without a folder there is only more work at start.
// Threading: any thread, any number of processes, also over a network file system.
#ifndef MN_CACHE_H
#define MN_CACHE_H

#include <stddef.h>

enum { MN_CACHE_MAX_VALUE = 4096 }; // bytes

// Can values be kept? Makes the folder.
int mn_cache_usable(void);
// 1: found, `value` is set. key: one line of text that says all that the value depends on.
int mn_cache_get(const char *key, void *value, size_t size);
// 1: `value` is what is kept under the key from now on, which may be another's. 0: it could not be kept.
int mn_cache_put(const char *key, void *value, size_t size);

#endif
