#include "data/import/imdb_table.h"

#include "data/media.h"
#include "data/media/wire.h"
#include "data/media_child.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECONDS = 1800, MEMORY_MIB = 1024 };

mn_err data__imdb_rows(const void *bytes, size_t n, data__imdb_take *take, void *ctx)
{
    const char *p = bytes;
    for (size_t at = 0; at < n;) {
        wire_face f;
        if (n - at < sizeof f) return mn_fail(MN_EDATA, "a row is cut off at byte %zu of %zu", at, n);
        memcpy(&f, p + at, sizeof f);
        at += sizeof f;
        size_t text = ((size_t)f.path_bytes + 7) / 8 * 8;
        if (f.path_bytes > WIRE_TEXT_MOST || f.name_bytes != 0 || text > n - at)
            return mn_fail(MN_EDATA, "a text of %u bytes at byte %zu of %zu", f.path_bytes, at, n);
        data__imdb_face face = {.path = {p + at, f.path_bytes},
                                .dob = f.dob,
                                .photo_taken = f.photo_taken,
                                .gender = f.gender,
                                .score = f.score,
                                .second_score = f.second_score,
                                .celeb_id = f.celeb_id};
        memcpy(face.box, f.box, sizeof face.box);
        if (f.path_bytes && memchr(face.path.p, 0, f.path_bytes)) face.path.n = 0; // no file has such a name
        take(ctx, &face);
        at += text;
    }
    return MN_OK;
}

typedef struct reader {
    data__child child;
    const char *path;
    data__imdb_take *take;
    void *ctx;
    char *chunk; // of WIRE_MAX_CHUNK bytes
    int done;
    char failure[512];
} reader;

static mn_err read_chunk(reader *r, int *end)
{
    wire_head head;
    MN_TRY(data__child_read_whole(&r->child, &head, sizeof head, end));
    if (*end) return MN_OK;
    if (head.bytes > WIRE_MAX_CHUNK || (head.tag != WIRE_FACES && head.tag != WIRE_FAIL && head.tag != WIRE_END))
        return mn_fail(MN_EDATA, "%s: the helper talks nonsense: damaged or hostile", r->path);
    MN_TRY(data__child_read_whole(&r->child, r->chunk, head.bytes, end));
    if (*end) return MN_OK;
    if (head.tag == WIRE_FACES)
        return mn_while(data__imdb_rows(r->chunk, head.bytes, r->take, r->ctx), "reading %s", r->path);
    *end = 1;
    r->done = head.tag == WIRE_END;
    if (head.tag == WIRE_FAIL) (void)snprintf(r->failure, sizeof r->failure, "%.*s", (int)head.bytes, r->chunk);
    return MN_OK;
}

static mn_err start(reader *r)
{
    char program[PATH_MAX], memory[40], seconds[40];
    int64_t size;
    int file;
    MN_TRY(data_media_program(program, sizeof program));
    MN_TRY(mn_file_open(&file, r->path, &size));
    (void)snprintf(memory, sizeof memory, "--memory=%d", MEMORY_MIB);
    (void)snprintf(seconds, sizeof seconds, "--seconds=%d", SECONDS);
    char *name = mn_sprintf("--name=%s", r->path);
    char *argv[] = {program, "faces", "-", memory, seconds, name, NULL};
    mn_err err = data__child_start(&r->child, argv, file, r->path, SECONDS);
    free(name);
    (void)close(file); // opened for reading: nothing can be lost
    return err;
}

mn_err data__imdb_read(const char *path, data__imdb_take *take, void *ctx)
{
    reader r = {.path = path, .take = take, .ctx = ctx};
    int end = 0, status = 0;
    MN_TRY(start(&r));
    r.chunk = mn_calloc(WIRE_MAX_CHUNK, 1);
    mn_err err = MN_OK;
    while (err == MN_OK && !end)
        err = read_chunk(&r, &end);
    mn_err gone = data__child_end(&r.child, err != MN_OK, &status);
    if (err == MN_OK) err = gone;
    if (err == MN_OK && !r.done) err = data__child_verdict(path, status, r.failure);
    free(r.chunk);
    return err;
}

// Year and month of a day of the Gregorian calendar, day 1 being 1 January of year 1. (Howard Hinnant, "chrono-compatible
// low-level date algorithms": years begin with March there.)
static void year_and_month(int64_t day, int64_t *year, int *month)
{
    int64_t z = day + 305, era = z / 146097, of_era = z - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = y + era * 400 + (*month <= 2);
}

double data__imdb_age(double dob, double photo_taken)
{
    int64_t year;
    int month;
    if (!(fabs(dob) < 1e7) || !(fabs(photo_taken) < 1e7)) return NAN; // NaN too
    year_and_month(dob - 366 > 1 ? (int64_t)dob - 366 : 1, &year, &month);
    double age = photo_taken - (double)year - (month >= 7);
    return age >= 0 && age <= 100 ? age : NAN;
}
