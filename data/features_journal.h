// The journal of a feature part: what was added so far, appended track by track, so that a killed extraction goes on
// where it stopped. A record is kept only if its digest is right, so a torn end is ignored.
//
//     32 bytes head: "mien features j1", digest of the source (16 bytes)
//     record: u32 0x4a544e4d, u32 bytes of the name, i64 frames, i64 dim, XXH3-128 of all of these and of what follows;
//             name, t_us i64[frames], x f32[frames * dim]
//
// Threading: one thread.
#ifndef DATA_FEATURES_JOURNAL_H
#define DATA_FEATURES_JOURNAL_H

#include "data/features.h"

#include <stdint.h>

typedef struct data__journal_entry {
    char *video;
    int64_t frames, dim;
    int64_t offset; // of its times in the file
} data__journal_entry;

typedef struct data__journal {
    int fd; // -1: there is no such file
    char *path;
    int64_t n, end; // sound records, and where they end
    data__journal_entry *entries;
} data__journal;

// Reads an existing journal; fd is -1 and n is 0 when there is none. One of another source is MN_ECREATE.
MN_MUST_CHECK mn_err data__journal_read(data__journal *j, const char *path, const data_feature_source *source);
// Opens or creates it for appending, with a lock that a second writer is refused by; cuts a torn end off.
MN_MUST_CHECK mn_err data__journal_open(data__journal *j, const char *path, const data_feature_source *source);
MN_MUST_CHECK mn_err data__journal_add(data__journal *j, const data_track *t);
// Entry i in new memory: free t->t_us; x follows it in the same block.
MN_MUST_CHECK mn_err data__journal_track(const data__journal *j, int64_t i, data_track *t);
void data__journal_close(data__journal *j);

#endif
