// Copies of shards on a disk of the node, made in the background while training reads the originals; a shard is read from
// its copy as soon as that is whole.
//
//     data_copies *st; MN_TRY(data_copies_open(&st, &(data_copies_cfg){.where = "auto", .lead = local_rank == 0}));
//     data_copies_add(st, shard); ...           // those that this rank reads (data_order_reads): the loader does it
//     data_copies_start(st);
//     ... data_copies_close(st);                // after the last read
//
// DIR/mien-stage-UID/ has KEY.h5, whole copies under the digest of the shard's seal, and .KEY.part, copies being made.
// Processes of a node, of one job or of several, share them: who holds the lock (flock) of .KEY.part copies, the others
// come back later; a process that dies loses its locks, so nobody waits for it, and what it has left is used again. A copy
// takes its name when all of it was written and the digests of payload and index agree with the shard's; space is
// reserved before. Users hold a lock of KEY.h5 until they close: copies that nobody uses give way to new ones, the
// longest unused first, and are removed after a week.
// Nothing here is an error to training: without room, or with a disk that fails, shards are read where they are, and one
// line says so. A record whose checksum is wrong in the copy is read from the original.
// Threading: one thread opens, adds, starts and closes; a thread inside copies.
#ifndef DATA_COPIES_H
#define DATA_COPIES_H

#include "data/shard.h"

typedef struct data_copies data_copies;
typedef struct data_copies_cfg {
    // A folder; "auto": $SLURM_TMPDIR or $TMPDIR, if that is a disk (not memory), for shards on a network file system;
    // "off".
    const char *where;
    int64_t limit; // bytes of all copies there; 0: as much as leaves a tenth of the disk free
    int lead;      // 1: this process tells what happens, the others of the node are silent
} data_copies_cfg;

// *out is NULL when nothing will be staged: off, no folder, or one that cannot be used, which is told.
void data_copies_open(data_copies **out, const data_copies_cfg *cfg);
void data_copies_add(data_copies *st, const data_shard *s); // NULL is fine; a shard twice is once
void data_copies_start(data_copies *st);                    // NULL is fine
// Waits until every shard that was added is staged or will not be; returns how many are.
int data_copies_wait(data_copies *st);
// Shards are read where they are again. Copies stay for the next job of this user.
void data_copies_close(data_copies *st);

#endif
