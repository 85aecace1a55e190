// The fields of the struct lie one after the other, a row is made of all of them: so each field is read by a stream of its
// own, all of them row by row, and nothing is kept. A compressed table is inflated twice: once to find the fields (and to
// see that its checksum is right before a row is given out), then by each field's stream over its own part.
#include "data/media/faces.h"

#include "data/media/mat.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 18, PATH = 0, BOX, NUMBERS, COLUMNS = 8 };

static const char *const column_name[COLUMNS] = {"full_path",  "face_location",     "dob",     "photo_taken", "gender",
                                                 "face_score", "second_face_score", "celeb_id"};

typedef struct column {
    media_stream s; // behind the header of the field
    media_array a;
    media_numbers numbers;
    int there;
} column;

typedef struct table {
    media_mat mat;
    int64_t n;
    column column[COLUMNS];
} table;

// Finding the fields

static mn_err take_field(table *t, media_stream *s, const media_array *a, int k)
{
    column *c = &t->column[k];
    if (c->there) return media_stream_fail(s, a->at, "a second field %s", column_name[k]);
    if (k < NUMBERS ? a->class != MEDIA_CELL : !media_is_numbers(a))
        return media_stream_fail(s, a->at, "%s: not %s", column_name[k], k < NUMBERS ? "a cell array" : "numbers");
    MN_TRY(media_stream_copy(&c->s, s));
    c->there = 1;
    c->a = *a;
    c->s.end = a->end;
    return k < NUMBERS ? MN_OK : media_numbers_begin(&t->mat, &c->s, a, &c->numbers);
}

static mn_err find_fields(table *t, media_stream *s, const media_array *variable)
{
    media_fields f;
    if (variable->class != MEDIA_STRUCT || variable->count != 1)
        return media_stream_fail(s, variable->at, "%s: not one struct", variable->name);
    MN_TRY(media_struct_fields(&t->mat, s, variable, &f));
    for (int i = 0; i < f.n; i++) {
        media_array a;
        MN_TRY(media_array_enter(&t->mat, s, variable->end, &a));
        for (int k = 0; k < COLUMNS; k++)
            if (strcmp(f.name[i], column_name[k]) == 0) MN_TRY(take_field(t, s, &a, k));
        MN_TRY(media_array_pass(s, &a));
    }
    return MN_OK;
}

// All of them as long as full_path. A cell has 8 bytes at least, so that no count is believed that the file is too short for.
static mn_err check_fields(table *t, const char *variable)
{
    for (int k = 0; k < NUMBERS; k++)
        if (!t->column[k].there)
            return mn_fail(MN_EDATA, "%s: byte 0: the struct %s has no field %s", t->mat.source.name, variable,
                           column_name[k]);
    t->n = t->column[PATH].a.count;
    for (int k = 0; k < COLUMNS; k++) {
        const column *c = &t->column[k];
        if (!c->there) continue;
        if (t->n == 0 || c->a.count != t->n)
            return media_stream_fail(&c->s, c->a.at, "%s: %lld elements, full_path has %lld", column_name[k],
                                     (long long)c->a.count, (long long)t->n);
        if (k < NUMBERS && t->n > (c->a.end - c->s.at) / 8)
            return media_stream_fail(&c->s, c->a.at, "%s: %lld cells in %lld bytes", column_name[k], (long long)t->n,
                                     (long long)(c->a.end - c->s.at));
    }
    return MN_OK;
}

// Every variable is looked at, so that a file that is cut off behind the table is found too.
static mn_err find_table(table *t)
{
    media_stream s;
    media_array a;
    int found, known = 0;
    for (;;) {
        MN_TRY(media_mat_next(&t->mat, &s, &a, &found));
        if (!found) break;
        int wanted = !known && (strcmp(a.name, "imdb") == 0 || strcmp(a.name, "wiki") == 0);
        mn_err err = wanted ? find_fields(t, &s, &a) : MN_OK;
        if (err == MN_OK && wanted) err = check_fields(t, a.name);
        if (err != MN_OK) media_stream_close(&s);
        MN_TRY(err);
        MN_TRY(media_mat_leave(&s, &a, wanted));
        known += wanted;
    }
    return known ? MN_OK : mn_fail(MN_EDATA, "%s: byte 128: there is no struct imdb or wiki in it", t->mat.source.name);
}

// Rows

static mn_err number_of(column *c, double *value)
{
    *value = NAN;
    return c->there ? media_numbers_next(&c->s, &c->numbers, value) : MN_OK;
}

static mn_err read_path(table *t, char to[WIRE_TEXT_MOST], uint32_t *bytes)
{
    column *c = &t->column[PATH];
    media_array a;
    size_t n;
    MN_TRY(media_array_enter(&t->mat, &c->s, c->a.end, &a));
    MN_TRY(media_text(&t->mat, &c->s, &a, to, WIRE_TEXT_MOST, &n));
    *bytes = (uint32_t)n;
    return MN_OK;
}

static mn_err read_box(table *t, double box[4])
{
    column *c = &t->column[BOX];
    media_array a;
    media_numbers n;
    MN_TRY(media_array_enter(&t->mat, &c->s, c->a.end, &a));
    for (int k = 0; k < 4; k++)
        box[k] = NAN;
    if (!media_is_numbers(&a) || a.count != 4) return media_array_pass(&c->s, &a);
    MN_TRY(media_numbers_begin(&t->mat, &c->s, &a, &n));
    for (int k = 0; k < 4; k++)
        MN_TRY(media_numbers_next(&c->s, &n, &box[k]));
    return media_array_leave(&c->s, &a);
}

static mn_err read_row(table *t, wire_face *f, char text[WIRE_TEXT_MOST])
{
    double *const number[COLUMNS - NUMBERS] = {&f->dob,   &f->photo_taken,  &f->gender,
                                               &f->score, &f->second_score, &f->celeb_id};
    for (int k = NUMBERS; k < COLUMNS; k++)
        MN_TRY(number_of(&t->column[k], number[k - NUMBERS]));
    MN_TRY(read_path(t, text, &f->path_bytes));
    return read_box(t, f->box);
}

static mn_err read_rows(table *t, char *block, media_rows take, void *ctx)
{
    size_t used = 0;
    for (int64_t i = 0; i < t->n; i++) {
        wire_face f = {0};
        char text[WIRE_TEXT_MOST];
        MN_TRY(read_row(t, &f, text));
        size_t bytes = sizeof f + ((size_t)f.path_bytes + 7) / 8 * 8;
        if (used + bytes > BLOCK) {
            MN_TRY(take(ctx, block, used));
            used = 0;
        }
        memset(block + used, 0, bytes);
        memcpy(block + used, &f, sizeof f);
        memcpy(block + used + sizeof f, text, f.path_bytes);
        used += bytes;
    }
    for (int k = 0; k < COLUMNS; k++)
        if (t->column[k].there) MN_TRY(media_array_leave(&t->column[k].s, &t->column[k].a));
    return take(ctx, block, used);
}

mn_err media_faces_read(const media_source *source, media_rows take, void *ctx)
{
    table *t = mn_calloc(1, sizeof *t);
    char *block = mn_calloc(BLOCK, 1);
    mn_err err = media_mat_open(&t->mat, source);
    if (err == MN_OK) err = find_table(t);
    if (err == MN_OK) err = read_rows(t, block, take, ctx);
    for (int k = 0; k < COLUMNS; k++)
        media_stream_close(&t->column[k].s);
    free(block);
    free(t);
    return err;
}

// Files

typedef struct file {
    int fd;
    const char *name;
} file;

static mn_err read_file(void *ctx, int64_t at, void *to, size_t n)
{
    const file *f = ctx;
    for (size_t have = 0; have < n;) {
        ssize_t got = pread(f->fd, (char *)to + have, n - have, at + (int64_t)have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return mn_fail(MN_EIO, "%s: byte %lld: %s", f->name, (long long)at, strerror(errno));
        if (got == 0)
            return mn_fail(MN_EDATA, "%s: byte %lld: it became shorter while it was read", f->name, (long long)at);
        have += (size_t)got;
    }
    return MN_OK;
}

mn_err media_faces_file(int fd, const char *name, media_rows take, void *ctx)
{
    struct stat st;
    file f = {fd, name};
    if (fstat(fd, &st) != 0) return mn_fail(MN_EIO, "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode)) return mn_fail(MN_EDATA, "%s: not a file", name);
    media_source source = {.name = name, .size = st.st_size, .ctx = &f, .read = read_file};
    return media_faces_read(&source, take, ctx);
}
