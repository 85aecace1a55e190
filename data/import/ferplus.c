// FER+: FER2013's pictures with the votes of ten people. Either fer2013.csv (pixels) beside fer2013new.csv, joined by
// row number; or, where there is no fer2013.csv, what FER+'s own script made of them: FER2013Train, FER2013Valid and
// FER2013Test with pictures and a label.csv each. A row without a name is no face: FER+ leaves it out, but it counts
// as a row.
#include "data/import/ferplus_rows.h"
#include "data/import/find.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 4, SPLITS = 3, PUBLISHED = 35887, PUBLISHED_NAMED = 35710, BLOCK = 1 << 20, ROW_MOST = 1 << 20 };

// In the order of the splits: names in both lists, folders of the script, published rows.
static const struct {
    const char *split, *usage, *folder, *list, *rows;
    int64_t published, named; // rows of fer2013new.csv, of label.csv
} splits[SPLITS] = {
    {"train", "Training", "FER2013Train", "FER2013Train/label.csv", "rows of Training", 28709, 28558},
    {"validation", "PublicTest", "FER2013Valid", "FER2013Valid/label.csv", "rows of PublicTest", 3589, 3579},
    {"test", "PrivateTest", "FER2013Test", "FER2013Test/label.csv", "rows of PrivateTest", 3589, 3573}};

enum { USAGE, NAME, VOTES, COLUMNS = VOTES + DATA_VOTES };
static const char *const column_name[COLUMNS] = {"Usage", "Image name", "neutral", "happiness", "surprise", "sadness",
                                                 "anger", "disgust",    "fear",    "contempt",  "unknown",  "NF"};

typedef struct face {
    char *name;
    int64_t line, row; // of its list; row: from 0, of both lists
    uint8_t split, taken, votes[DATA_VOTES];
} face;

typedef struct extent { // of a row in fer2013.csv
    int64_t begin, size;
    uint8_t split; // SPLITS: none
} extent;

typedef struct ferplus_state {
    data__import *im;
    int root[SPLITS]; // of the pictures; -1: they are rows of fer2013.csv
    int64_t n, capacity;
    face *faces;
    const char *list; // the one being read
    int split;        // of label.csv
    int64_t rows, usage[SPLITS];
    int column[COLUMNS], n_columns; // of fer2013new.csv; n_columns 0: its head line is still to come
    // fer2013.csv
    char *path;
    int fd;
    int64_t n_pixels, pixels_capacity;
    extent *pixels;
    int pixels_column, usage_column, pixel_columns;
    data__csv *csv; // of one row at a time
    int seen;       // it had a row
    uint8_t picture[DATA__FER_PIXELS];
    data__reason reason;
    char detail[96];
} ferplus_state;

static int split_of(data__text usage)
{
    int k = 0;
    usage = data__trim(usage);
    while (k < SPLITS && !data__text_is(usage, splits[k].usage))
        k++;
    return k;
}

// Adds a face with these votes, or rejects its row.
static void add_face(ferplus_state *s, int64_t line, int split, data__text name, const data__text *votes)
{
    face f = {.line = line, .row = s->rows - 1, .split = (uint8_t)split};
    char detail[96];
    if (split == SPLITS) {
        data__import_reject(s->im, DATA__REJECT_UNLISTED, s->list, line, "Usage is none of the three");
        return;
    }
    s->usage[split]++;
    if (name.n == 0) {
        data__import_reject(s->im, DATA__REJECT_NO_FACE, s->list, line, "no name: left out of FER+");
        return;
    }
    data__reason reason = data__fer_votes(votes, f.votes, detail, sizeof(detail));
    if (reason != DATA__REASON_COUNT) {
        data__import_reject(s->im, reason, s->list, line, detail);
        return;
    }
    s->faces = mn_grow(s->faces, s->n, &s->capacity, sizeof(*s->faces));
    f.name = data__text_copy(name);
    s->faces[s->n++] = f;
}

static void wrong_columns(ferplus_state *s, int64_t line, int n, int wanted)
{
    char detail[64];
    (void)snprintf(detail, sizeof(detail), "%d columns, not %d", n, wanted);
    data__import_reject(s->im, DATA__REJECT_COLUMNS, s->list, line, detail);
}

// fer2013new.csv

static mn_err vote_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    ferplus_state *s = ctx;
    data__text votes[DATA_VOTES];
    if (s->n_columns == 0) {
        s->n_columns = n;
        for (int i = 0; i < COLUMNS; i++) {
            s->column[i] = data__csv_column(fields, n, column_name[i]);
            if (s->column[i] < 0)
                return mn_fail(MN_EDATA, "%s:%lld: the head line has no column '%s': not the list of FER+", s->list,
                               (long long)line, column_name[i]);
        }
        return MN_OK;
    }
    s->rows++; // whatever is wrong with it, it stands for a row of fer2013.csv
    s->im->tally->rows++;
    if (n != s->n_columns) {
        wrong_columns(s, line, n, s->n_columns);
        return MN_OK;
    }
    for (int i = 0; i < DATA_VOTES; i++)
        votes[i] = fields[s->column[VOTES + i]];
    add_face(s, line, split_of(fields[s->column[USAGE]]), data__trim(fields[s->column[NAME]]), votes);
    return MN_OK;
}

// label.csv: name, rectangle, votes; no head line
static mn_err label_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    ferplus_state *s = ctx;
    s->rows++;
    s->im->tally->rows++;
    if (n == 2 + DATA_VOTES)
        add_face(s, line, s->split, data__trim(fields[0]), fields + 2);
    else
        wrong_columns(s, line, n, 2 + DATA_VOTES);
    return MN_OK;
}

static mn_err read_list(ferplus_state *s, const char *path, const char *name, data__csv_row row)
{
    char digest[MN_DIGEST_SIZE];
    int64_t size;
    s->list = name;
    MN_TRY(mn_file_digest(path, digest, &size));
    data__import_digest(s->im, digest, sizeof(digest));
    return data__csv_file(path, row, s);
}

// fer2013.csv: only where its rows are is kept

static mn_err pixel_head(ferplus_state *s, const data__text *fields, int n)
{
    s->pixel_columns = n;
    s->pixels_column = data__csv_column(fields, n, "pixels");
    s->usage_column = data__csv_column(fields, n, "Usage");
    if (s->pixels_column >= 0 && s->usage_column >= 0) return MN_OK;
    return mn_fail(MN_EDATA, "%s: the head line has no columns 'pixels' and 'Usage': not the list of FER2013", s->path);
}

static mn_err find_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    ferplus_state *s = ctx;
    (void)line;
    s->seen = 1;
    if (s->pixel_columns == 0) return pixel_head(s, fields, n);
    s->pixels = mn_grow(s->pixels, s->n_pixels, &s->pixels_capacity, sizeof(*s->pixels));
    int split = n == s->pixel_columns ? split_of(fields[s->usage_column]) : SPLITS;
    s->pixels[s->n_pixels++] = (extent){.split = (uint8_t)split};
    return MN_OK;
}

// Ends the row that was given out, if any was, at `at`.
static void end_row(ferplus_state *s, int64_t at, int64_t *begin)
{
    if (!s->seen) return;
    s->seen = 0;
    if (s->n_pixels > 0) {
        s->pixels[s->n_pixels - 1].begin = *begin;
        s->pixels[s->n_pixels - 1].size = at - *begin;
    }
    *begin = at;
}

// Feeds the file in pieces that end where lines do, so that a row ends with the piece that gave it out.
static mn_err find_rows(ferplus_state *s, data__csv *c, char *block, int64_t size)
{
    int64_t begin = 0, left;
    for (int64_t at = 0; at < size; at += left) {
        left = size - at < BLOCK ? size - at : BLOCK;
        MN_TRY(mn_file_read_at(s->fd, block, (size_t)left, at, s->path));
        data__import_digest(s->im, block, (size_t)left);
        for (char *p = block, *end = block + left, *next; p < end; p = next) {
            char *line_end = memchr(p, '\n', (size_t)(end - p));
            next = line_end ? line_end + 1 : end;
            MN_TRY(data__csv_feed(c, p, (size_t)(next - p)));
            end_row(s, at + (next - block), &begin);
        }
    }
    MN_TRY(data__csv_feed(c, "", 0));
    end_row(s, size, &begin);
    return MN_OK;
}

static mn_err read_pixel_rows(ferplus_state *s)
{
    int64_t size;
    data__csv *c = NULL;
    MN_TRY(mn_file_open(&s->fd, s->path, &size));
    char *block = mn_calloc(1, BLOCK);
    mn_err err = data__csv_open(&c, find_row, s);
    if (err == MN_OK) err = find_rows(s, c, block, size);
    data__csv_close(c);
    free(block);
    return err;
}

// Both lists must be of the same rows in the same order.
static mn_err check_join(const ferplus_state *s)
{
    if (s->rows != s->n_pixels)
        return mn_fail(MN_EDATA,
                       "%s has %lld rows and fer2013new.csv has %lld: rows are joined by number, take both as "
                       "published",
                       s->path, (long long)s->n_pixels, (long long)s->rows);
    for (int64_t i = 0; i < s->n; i++) {
        const face *f = &s->faces[i];
        int split = s->pixels[f->row].split;
        if (split == SPLITS || split == f->split) continue;
        return mn_fail(MN_EDATA,
                       "%s: row %lld is of %s, but fer2013new.csv says %s: not in the same order, take both as "
                       "published",
                       s->path, (long long)f->row + 1, splits[split].usage, splits[f->split].usage);
    }
    return MN_OK;
}

// Takes one row of fer2013.csv apart into s->picture, or s->reason.
static mn_err take_pixels(void *ctx, int64_t line, const data__text *fields, int n)
{
    ferplus_state *s = ctx;
    (void)line;
    s->seen = 1;
    if (n == s->pixel_columns) {
        s->reason = data__fer_pixels(fields[s->pixels_column], s->picture, s->detail, sizeof(s->detail));
        return MN_OK;
    }
    s->reason = DATA__REJECT_COLUMNS;
    (void)snprintf(s->detail, sizeof(s->detail), "%d columns in fer2013.csv, not %d", n, s->pixel_columns);
    return MN_OK;
}

static mn_err read_pixels(ferplus_state *s, int64_t row)
{
    const extent *e = &s->pixels[row];
    s->reason = DATA__REJECT_COLUMNS;
    (void)snprintf(s->detail, sizeof(s->detail), "row of %lld bytes in fer2013.csv", (long long)e->size);
    if (e->size > ROW_MOST) return MN_OK;
    char *text = mn_calloc(1, (size_t)e->size + 1);
    mn_err err = mn_file_read_at(s->fd, text, (size_t)e->size, e->begin, s->path);
    s->seen = 0;
    if (err == MN_OK) err = data__csv_feed(s->csv, text, (size_t)e->size);
    if (err == MN_OK) err = data__csv_feed(s->csv, "", 0); // the last line may have no end
    free(text);
    return err;
}

// The plan

static int by_name(const void *a, const void *b)
{
    const face *x = *(face *const *)a, *y = *(face *const *)b;
    int order = x->split - y->split;
    if (order == 0) order = strcmp(x->name, y->name);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static void reject_repeats(ferplus_state *s)
{
    face **named = mn_calloc((size_t)s->n + 1, sizeof(*named));
    for (int64_t i = 0; i < s->n; i++)
        named[i] = &s->faces[i];
    qsort(named, (size_t)s->n, sizeof(*named), by_name);
    for (int64_t i = 1; i < s->n; i++)
        if (named[i]->split == named[i - 1]->split && strcmp(named[i]->name, named[i - 1]->name) == 0) {
            named[i]->taken = 1;
            data__import_reject(s->im, DATA__REJECT_DUPLICATE, named[i]->name, named[i]->line,
                                "an earlier row has this name too");
        }
    free(named);
}

static mn_err scan_lists(ferplus_state *s)
{
    static const char *const names[] = {"fer2013new.csv", NULL};
    char *path;
    MN_TRY(data__find(&path, s->im->cfg->src, names, DATA__FILE, DEPTH));
    if (!path)
        return mn_fail(MN_ENOINPUT, "%s: there is fer2013.csv, but not fer2013new.csv, the votes of FER+",
                       s->im->cfg->src);
    mn_err err = read_list(s, path, names[0], vote_row);
    free(path);
    MN_TRY(err);
    MN_TRY(read_pixel_rows(s));
    MN_TRY(check_join(s));
    return data__csv_open(&s->csv, take_pixels, s);
}

static mn_err scan_folder(ferplus_state *s, int k)
{
    const char *const names[] = {splits[k].folder, NULL};
    char *path;
    MN_TRY(data__find(&path, s->im->cfg->src, names, DATA__FOLDER, DEPTH));
    if (!path) return MN_OK;
    char *list = mn_sprintf("%s/label.csv", path);
    mn_err err = data__open_folder(&s->root[k], path);
    s->split = k;
    if (err == MN_OK) err = read_list(s, list, splits[k].list, label_row);
    free(list);
    free(path);
    return err;
}

typedef struct share { // of the faces, those of one split
    const ferplus_state *s;
    int64_t first;
} share;

static const char *name_at(void *ctx, int64_t i)
{
    const share *f = ctx;
    return f->s->faces[f->first + i].name;
}

static void plan_split(ferplus_state *s, int k)
{
    int64_t size = DATA__FER_PIXELS, n = 0;
    share f = {.s = s};
    if (s->root[k] >= 0) { // faces of a folder are one after another
        while (f.first < s->n && s->faces[f.first].split != k)
            f.first++;
        while (f.first + n < s->n && s->faces[f.first + n].split == k)
            n++;
        size = data__import_mean_size(s->root[k], n, name_at, &f);
    }
    for (int64_t i = 0; i < s->n; i++)
        if (s->faces[i].split == k && !s->faces[i].taken)
            data__import_unit(data__import_group(s->im, splits[k].split, "image"), i, 1, size);
}

static mn_err scan(data__import *im)
{
    static const char *const names[] = {"fer2013.csv", NULL};
    ferplus_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    s->fd = -1;
    for (int k = 0; k < SPLITS; k++)
        s->root[k] = -1;
    MN_TRY(data__find(&s->path, im->cfg->src, names, DATA__FILE, DEPTH));
    if (s->path) MN_TRY(scan_lists(s));
    for (int k = 0; k < SPLITS && !s->path; k++)
        MN_TRY(scan_folder(s, k));
    if (s->rows == 0)
        return mn_fail(MN_ENOINPUT, "%s: there is neither fer2013.csv nor FER2013Train with its label.csv in it",
                       im->cfg->src);
    data__import_compare(im, s->path ? "rows of fer2013new.csv" : "rows of label.csv", s->rows,
                         s->path ? PUBLISHED : PUBLISHED_NAMED);
    for (int k = 0; k < SPLITS; k++)
        data__import_compare(im, splits[k].rows, s->usage[k], s->path ? splits[k].published : splits[k].named);
    reject_repeats(s);
    for (int k = 0; k < SPLITS; k++)
        plan_split(s, k);
    data__import_limit(im);
    return MN_OK;
}

// Pictures

static mn_err make_picture(data__import *im, const face *f, data_record *r, int *accepted)
{
    ferplus_state *s = im->state;
    const uint8_t *png;
    size_t size;
    *accepted = 0;
    MN_TRY(read_pixels(s, f->row));
    if (s->reason != DATA__REASON_COUNT) {
        data__import_reject(im, s->reason, f->name, f->line, s->detail);
        return MN_OK;
    }
    MN_TRY(data_png_encode(im->coder, s->picture, DATA__FER_SIDE, DATA__FER_SIDE, 1, &png, &size));
    return data__import_bytes(im, png, size, f->name, f->line, r, accepted);
}

static mn_err write_face(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const ferplus_state *s = im->state;
    const face *f = &s->faces[u->item];
    data_record r = {.name = f->name, .video = -1, .source_row = (uint32_t)f->line, .votes = f->votes};
    int accepted;
    (void)g;
    r.expr = data__fer_expression(f->votes);
    r.mask = r.expr >= 0 ? DATA_HAS_EXPR : 0u;
    if (s->root[f->split] < 0)
        MN_TRY(make_picture(im, f, &r, &accepted));
    else
        MN_TRY(data__import_picture(im, s->root[f->split], f->name, f->name, f->line, &r, &accepted));
    if (!accepted) return MN_OK;
    data__import_note(im, DATA__NOTE_NO_MAJORITY, r.expr < 0);
    return data__import_add(im, w, &r);
}

static void close_state(void *state)
{
    ferplus_state *s = state;
    for (int k = 0; k < SPLITS; k++)
        if (s->root[k] >= 0) (void)close(s->root[k]);
    if (s->fd >= 0) (void)close(s->fd); // opened for reading: nothing can be lost
    for (int64_t i = 0; i < s->n; i++)
        free(s->faces[i].name);
    free(s->faces);
    free(s->pixels);
    free(s->path);
    data__csv_close(s->csv);
    free(s);
}

const data__importer data__import_ferplus = {
    .scan = scan, .write = write_face, .close = close_state, .columns = {.has_expr = 1, .has_votes = 1}};
