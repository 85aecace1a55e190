// imdb.mat and wiki.mat of IMDB-WIKI: the reader, whose memory (about a megabyte) does not depend on the table, and the
// writer of generated ones. Threading: one thread.
#ifndef DATA_MEDIA_FACES_H
#define DATA_MEDIA_FACES_H

#include "data/media/mat_stream.h"
#include "data/media/wire.h"
#include "nn/base/err.h"

#include <stddef.h>

// Rows, as in wire.h, many at a time.
typedef mn_err (*media_rows)(void *ctx, const void *rows, size_t bytes);
// Reads the struct imdb or wiki, whichever comes first. A pure function of the source. Fields that a row is made of: those
// of wire_face by their names in the published tables; without full_path and face_location it is none, without another one
// its numbers are NaN. A cell that is not of its kind is an empty path, or a box of NaN. MN_EDATA: with file and byte, maybe
// after rows were given out.
MN_MUST_CHECK mn_err media_faces_read(const media_source *source, media_rows take, void *ctx);
// The same of an open file.
MN_MUST_CHECK mn_err media_faces_file(int fd, const char *name, media_rows take, void *ctx);

typedef struct media_faces_cfg {
    const char *path, *variable; // "imdb" or "wiki"
    int plain;                   // 1: not compressed, texts of one byte a character, all numbers as doubles
} media_faces_cfg;
// Writes the rows that come on fd `in`.
MN_MUST_CHECK mn_err media_faces_make(const media_faces_cfg *cfg, int in);

#endif
