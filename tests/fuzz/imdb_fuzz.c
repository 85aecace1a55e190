// Rows that the helper answers with, and ages: every text lies in the chunk, every age is one.
// fuzz-sources: data/import/imdb_table.c data/import/text.c data/media.c data/media_child.c
#include "data/import/imdb_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

typedef struct chunk {
    const char *begin, *end;
    int64_t rows;
} chunk;

static void take(void *ctx, const data__imdb_face *f)
{
    chunk *c = ctx;
    if (f->path.p < c->begin || f->path.p + f->path.n > c->end || memchr(f->path.p, 0, f->path.n)) abort();
    double age = data__imdb_age(f->dob, f->photo_taken);
    if (!isnan(age) && !(age >= 0 && age <= 100)) abort();
    c->rows++;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *bytes = malloc(size ? size : 1); // exactly as long as it says
    if (!bytes) abort();
    memcpy(bytes, data, size);
    chunk c = {bytes, bytes + size, 0};
    mn_err err = data__imdb_rows(bytes, size, take, &c);
    if ((err != MN_OK && err != MN_EDATA) || (err == MN_OK && size > 0 && c.rows == 0)) abort();
    free(bytes);
    return 0;
}
