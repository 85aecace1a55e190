// imdb.mat and wiki.mat of IMDB-WIKI: read by mien-media, a child process with limits, because such files were
// passed hand to hand; what the child answers is checked here as if it were hostile too.
// Threading: any thread; each call has its own child.
#ifndef DATA_IMPORT_IMDB_TABLE_H
#define DATA_IMPORT_IMDB_TABLE_H

#include "data/import/text.h"
#include "nn/base/err.h"

typedef struct data__imdb_face { // numbers as the file has them, NaN: there is none
    data__text path;             // below the folder of the table; empty: there is none
    double dob, photo_taken;     // MATLAB's day number, year
    double gender;               // 0 female, 1 male
    double score, second_score;  // -Inf: no face was found
    double celeb_id;
    double box[4]; // x1 y1 x2 y2, counted from 1, in the picture before it was cut out
} data__imdb_face;

typedef void data__imdb_take(void *ctx, const data__imdb_face *face);
// Pure function over one chunk of the child's answer; MN_EDATA when it is not made of whole rows, of which those before
// were given out.
MN_MUST_CHECK mn_err data__imdb_rows(const void *bytes, size_t n, data__imdb_take *take, void *ctx);
// MN_EDATA: damaged, or no such table; MN_ERETRY: a limit of time passed.
MN_MUST_CHECK mn_err data__imdb_read(const char *path, data__imdb_take *take, void *ctx);

// Age when the photo was taken, taken to be the first of July; NaN unless it is from 0 to 100. As in create_db.py of
// yu4u/age-gender-estimation: day numbers below 367 count as 1 January of year 1.
double data__imdb_age(double dob, double photo_taken);

#endif
