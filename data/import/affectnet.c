// AffectNet, the release of 2017: training.csv and validation.csv beside Manually_Annotated_Images. Expression codes become
// Aff-Wild2's: Contempt is Other there, and None, Uncertain and No-Face are no expression. The pictures are stored as they
// are; the face box goes into a column.
#include "data/import/find.h"
#include "data/import/importer.h"
#include "data/import/text.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 4, CODES = 11, TRAINING_ROWS = 414800, VALIDATION_ROWS = 5500 };

// 0 Neutral 1 Happiness 2 Sadness 3 Surprise 4 Fear 5 Disgust 6 Anger 7 Contempt 8 None 9 Uncertain 10 No-Face
static const int8_t expression_of[CODES] = {0, 4, 5, 6, 3, 2, 1, 7, -1, -1, -1};

typedef struct face {
    char *name;
    uint32_t line;
    float va[2], box[4];
    int8_t expr;
} face;

typedef struct list {
    int64_t n, capacity;
    face *faces;
    char **sorted;    // (n) their names, in byte order
    const char *name; // of the file
} list;

enum { PATH, BOX_X, BOX_Y, BOX_W, BOX_H, EXPRESSION, VALENCE, AROUSAL, COLUMNS };
static const char *const column_name[COLUMNS] = {"subDirectory_filePath", "face_x",     "face_y",  "face_width",
                                                 "face_height",           "expression", "valence", "arousal"};

typedef struct affectnet_state {
    data__import *im;
    int root;
    char *pictures; // the folder that root is
    list lists[2];  // training, validation
    list *reading;
    int column[COLUMNS], n_columns; // of the list being read; n_columns 0: its head line is still to come
} affectnet_state;

// Rows

static mn_err read_head(affectnet_state *s, int64_t line, const data__text *fields, int n)
{
    s->n_columns = n;
    for (int i = 0; i < COLUMNS; i++) {
        s->column[i] = data__csv_column(fields, n, column_name[i]);
        if (s->column[i] < 0)
            return mn_fail(MN_EDATA, "%s:%lld: the head line has no column '%s': not a list of AffectNet 2017",
                           s->reading->name, (long long)line, column_name[i]);
    }
    return MN_OK;
}

// Empty, "NULL" or anything else that is no number: no box. A negative width marks a box that cannot be used.
static int read_box(const affectnet_state *s, const data__text *fields, float box[4])
{
    double v[4];
    for (int i = 0; i < 4; i++)
        if (!data__number(fields[s->column[BOX_X + i]], &v[i])) v[i] = NAN;
    int usable = v[0] == v[0] && v[1] == v[1] && v[2] > 0 && v[3] > 0;
    for (int i = 0; i < 4; i++)
        box[i] = usable ? (float)v[i] : NAN;
    return usable;
}

// One of valence and arousal: -2 is "no value".
static int read_affect(data__text field, float *value)
{
    double v;
    if (!data__number(field, &v)) return 0;
    *value = v == -2 ? NAN : (float)v;
    return v == -2 || (v >= -1 && v <= 1);
}

static void reject_row(affectnet_state *s, data__reason reason, int64_t line, const char *what, data__text field)
{
    char detail[128];
    (void)snprintf(detail, sizeof(detail), "%s '%.*s'", what, field.n > 64 ? 64 : (int)field.n, field.p);
    data__import_reject(s->im, reason, s->reading->name, line, detail);
}

// Fills f; 0: the row was rejected.
static int read_row(affectnet_state *s, int64_t line, const data__text *fields, face *f)
{
    const data__text code = fields[s->column[EXPRESSION]];
    const data__text va[2] = {fields[s->column[VALENCE]], fields[s->column[AROUSAL]]};
    int64_t expression;
    double number;
    if (!data__integer(code, &expression)) {
        reject_row(s, DATA__REJECT_NUMBER, line, "expression", code);
        return 0;
    }
    if (expression < 0 || expression >= CODES) {
        reject_row(s, DATA__REJECT_RANGE, line, "expression", code);
        return 0;
    }
    f->expr = expression_of[expression];
    for (int i = 0; i < 2; i++)
        if (!read_affect(va[i], &f->va[i])) {
            data__reason reason = data__number(va[i], &number) ? DATA__REJECT_RANGE : DATA__REJECT_NUMBER;
            reject_row(s, reason, line, i ? "arousal" : "valence", va[i]);
            return 0;
        }
    if (f->expr < 0 || isnan(f->va[0]) || isnan(f->va[1])) data__import_note(s->im, DATA__NOTE_IGNORED_LABELS, 1);
    if (!read_box(s, fields, f->box)) data__import_note(s->im, DATA__NOTE_NO_BOX, 1);
    return 1;
}

static char *picture_name(data__text field)
{
    char *name = data__text_copy(data__trim(field));
    for (char *p = name; *p; p++)
        if (*p == '\\') *p = '/';
    return name;
}

static mn_err take_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    affectnet_state *s = ctx;
    list *l = s->reading;
    face f = {.line = (uint32_t)line};
    if (s->n_columns == 0) return read_head(s, line, fields, n);
    s->im->tally->rows++;
    if (n != s->n_columns) {
        char detail[64];
        (void)snprintf(detail, sizeof(detail), "%d columns, the head line has %d", n, s->n_columns);
        data__import_reject(s->im, DATA__REJECT_COLUMNS, l->name, line, detail);
        return MN_OK;
    }
    if (!read_row(s, line, fields, &f)) return MN_OK;
    f.name = picture_name(fields[s->column[PATH]]);
    l->faces = mn_grow(l->faces, l->n, &l->capacity, sizeof(*l->faces));
    l->faces[l->n++] = f;
    return MN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// One picture may have several rows, one for each face in it: all are kept, and counted; `before`: also those that an
// earlier list has, which is to be known of a validation set.
static void note_repeats(data__import *im, list *l, const list *before)
{
    l->sorted = mn_calloc((size_t)l->n + 1, sizeof(*l->sorted));
    for (int64_t i = 0; i < l->n; i++)
        l->sorted[i] = l->faces[i].name;
    qsort(l->sorted, (size_t)l->n, sizeof(*l->sorted), by_name);
    for (int64_t i = 1; i < l->n; i++)
        if (strcmp(l->sorted[i], l->sorted[i - 1]) == 0) data__import_note(im, DATA__NOTE_REPEATED, 1);
    for (int64_t i = 0; before && before->n && i < l->n; i++)
        if (bsearch(&l->sorted[i], before->sorted, (size_t)before->n, sizeof(char *), by_name))
            data__import_note(im, DATA__NOTE_IN_TWO_LISTS, 1);
}

// Files of the picture folder that no row of either list names.
static int note_unlisted(void *ctx, const char *path, const char *name, data__kind kind)
{
    affectnet_state *s = ctx;
    const char *key = path + strlen(s->pictures) + 1;
    int listed = 0;
    (void)name;
    if (kind != DATA__FILE) return kind == DATA__FOLDER;
    for (int k = 0; k < 2 && !listed; k++)
        listed = s->lists[k].n && bsearch(&key, s->lists[k].sorted, (size_t)s->lists[k].n, sizeof(char *), by_name);
    if (!listed) data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
    return 0;
}

static mn_err read_list(affectnet_state *s, int which, const char *name, int64_t published)
{
    const char *const names[] = {name, NULL};
    list *l = s->reading = &s->lists[which];
    char *path, digest[MN_DIGEST_SIZE];
    int64_t size, rows = s->im->tally->rows;
    MN_TRY(data__find(&path, s->im->cfg->src, names, DATA__FILE, DEPTH));
    if (!path) return MN_OK;
    l->name = name;
    s->n_columns = 0;
    mn_err err = mn_file_digest(path, digest, &size);
    if (err == MN_OK) {
        data__import_digest(s->im, digest, sizeof(digest));
        err = data__csv_file(path, take_row, s);
    }
    free(path);
    MN_TRY(err);
    note_repeats(s->im, l, which ? &s->lists[0] : NULL);
    rows = s->im->tally->rows - rows;
    data__import_compare(s->im, which ? "rows of validation.csv" : "rows of training.csv", rows, published);
    return MN_OK;
}

// Pictures

static mn_err find_pictures(affectnet_state *s)
{
    static const char *const names[] = {"Manually_Annotated_Images", NULL};
    static const char *const automatic[] = {"Automatically_Annotated_Images", NULL};
    char *other;
    MN_TRY(data__find_pictures(&s->root, &s->pictures, s->im->cfg->src, names, DEPTH));
    MN_TRY(data__find(&other, s->im->cfg->src, automatic, DATA__FOLDER, 2)); // no search of every folder
    if (other && s->im->cfg->ranks.rank == 0)
        mn_info("import: %s: not imported, its labels are a program's; 'mien data import folder' takes the pictures",
                other);
    free(other);
    return MN_OK;
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((list *)ctx)->faces[i].name;
}

static mn_err scan(data__import *im)
{
    affectnet_state *s = im->state = mn_calloc(1, sizeof(*s));
    static const char *const split[] = {"train", "validation"};
    s->im = im;
    s->root = -1;
    MN_TRY(find_pictures(s));
    MN_TRY(read_list(s, 0, "training.csv", TRAINING_ROWS));
    MN_TRY(read_list(s, 1, "validation.csv", VALIDATION_ROWS));
    if (!s->lists[0].name && !s->lists[1].name)
        return mn_fail(MN_ENOINPUT, "%s: there is neither training.csv nor validation.csv in it", im->cfg->src);
    if (im->cfg->ranks.rank == 0) MN_TRY(data__walk(s->pictures, 3, note_unlisted, s));
    for (int k = 0; k < 2; k++) {
        list *l = &s->lists[k];
        int64_t size = data__import_mean_size(s->root, l->n, name_at, l);
        for (int64_t i = 0; i < l->n; i++)
            data__import_unit(data__import_group(im, split[k], "image"), i, 1, size);
    }
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const affectnet_state *s = im->state;
    const list *l = &s->lists[strcmp(g->split, "validation") == 0];
    const face *f = &l->faces[u->item];
    data_record r = {.name = f->name, .expr = f->expr, .video = -1, .source_row = f->line, .box = f->box};
    int accepted;
    memcpy(r.va, f->va, sizeof(r.va));
    r.mask = (f->expr >= 0 ? DATA_HAS_EXPR : 0u) | (isfinite(f->va[0]) ? DATA_HAS_VALENCE : 0u) |
             (isfinite(f->va[1]) ? DATA_HAS_AROUSAL : 0u);
    MN_TRY(data__import_picture(im, s->root, f->name, f->name, f->line, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    affectnet_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < s->lists[k].n; i++)
            free(s->lists[k].faces[i].name);
        free(s->lists[k].faces);
        free(s->lists[k].sorted);
    }
    free(s->pictures);
    free(s);
}

const data__importer data__import_affectnet = {.scan = scan,
                                               .write = write_picture,
                                               .close = close_state,
                                               .columns = {.has_expr = 1, .has_va = 1, .has_box = 1},
                                               .threads = 1};
