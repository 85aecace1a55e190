// imdb.mat and wiki.mat of IMDB-WIKI, in mien-media because libmatio, too, trusts its input more than it should.
// Threading: one thread.
#ifndef DATA_MEDIA_FACES_H
#define DATA_MEDIA_FACES_H

#include "data/media/wire.h"
#include "nn/base/err.h"

#include <stddef.h>

// Rows, as in wire.h, many at a time.
typedef mn_err (*media_rows)(const void *rows, size_t bytes);
// Opens the MAT file (version 5) that is open as fd: the last file that this process opens.
MN_MUST_CHECK mn_err media_faces_open(int fd, const char *name, void **mat);
// Reads the struct imdb or wiki out of it, and closes it.
MN_MUST_CHECK mn_err media_faces_read(void *mat, const char *name, media_rows take);

typedef struct media_faces_cfg {
    const char *path, *variable; // "imdb" or "wiki"
    int plain;                   // 1: not compressed, texts of one byte a character, all numbers as doubles
} media_faces_cfg;
// Writes the rows that come on fd `in`.
MN_MUST_CHECK mn_err media_faces_make(const media_faces_cfg *cfg, int in);

#endif
