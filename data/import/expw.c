// ExpW, Expression in-the-Wild: pictures in `origin` and label.lst, a row for each face. A picture may have several
// faces: each is a record of its own, named PICTURE#FACE, with the whole picture and the box of the face. There are no
// published splits: all is train.
#include "data/import/expw_list.h"
#include "data/import/find.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MOST ((size_t)1 << 30)
enum { DEPTH = 4, PUBLISHED = 91793, CLASSES = DATA__EXPW_CLASSES };

static const struct {
    const char *rows; // what they are called beside the published number
    int64_t published;
    int8_t expr; // Aff-Wild2's
} classes[CLASSES] = {{"rows of angry", 3671, 1},   {"rows of disgust", 3995, 2}, {"rows of fear", 1088, 3},
                      {"rows of happy", 30537, 4},  {"rows of sad", 10559, 5},    {"rows of surprise", 7060, 6},
                      {"rows of neutral", 34883, 0}};

typedef struct face {
    char *name; // of the picture
    int64_t line, number;
    float box[4]; // x, y, width, height
    int8_t expr;
    uint8_t taken;
} face;

typedef struct expw_state {
    data__import *im;
    int root;
    char *pictures; // the folder that root is
    int64_t n, capacity;
    face *faces;        // in the order of the list
    const face **named; // (n) by name and number
    int64_t labels[CLASSES];
} expw_state;

static const char list_name[] = "label.lst";

// The list

static void bad_row(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    expw_state *s = ctx;
    s->im->tally->rows++;
    data__import_reject(s->im, reason, list_name, line, detail);
}

static void take_row(void *ctx, int64_t line, const data__expw_face *f)
{
    expw_state *s = ctx;
    s->im->tally->rows++;
    s->labels[f->label]++;
    s->faces = mn_grow(s->faces, s->n, &s->capacity, sizeof(*s->faces));
    s->faces[s->n++] = (face){
        .name = data__text_copy(f->name),
        .line = line,
        .number = f->face,
        .box = {(float)f->left, (float)f->top, (float)(f->right - f->left), (float)(f->bottom - f->top)},
        .expr = classes[f->label].expr,
    };
}

static int by_key(const void *a, const void *b)
{
    const face *x = *(const face *const *)a, *y = *(const face *const *)b;
    int order = strcmp(x->name, y->name);
    if (order == 0) order = (x->number > y->number) - (x->number < y->number);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

// A face is known by its picture and its number: the first row of one counts.
static void sort_faces(expw_state *s)
{
    s->named = mn_calloc((size_t)s->n + 1, sizeof(*s->named));
    for (int64_t i = 0; i < s->n; i++)
        s->named[i] = &s->faces[i];
    qsort(s->named, (size_t)s->n, sizeof(*s->named), by_key);
    for (int64_t i = 1; i < s->n; i++) {
        const face *before = s->named[i - 1], *f = s->named[i];
        if (strcmp(f->name, before->name) != 0) continue;
        if (f->number != before->number) {
            data__import_note(s->im, DATA__NOTE_REPEATED, 1);
            continue;
        }
        s->faces[f - s->faces].taken = 1;
        data__import_reject(s->im, DATA__REJECT_DUPLICATE, f->name, f->line, "an earlier row has this face too");
    }
}

static mn_err read_list(expw_state *s)
{
    static const char *const names[] = {list_name, NULL};
    static const data__expw_ops ops = {take_row, bad_row};
    char *path, *text = NULL;
    size_t size;
    MN_TRY(data__find(&path, s->im->cfg->src, names, DATA__FILE, DEPTH));
    if (!path) return mn_fail(MN_ENOINPUT, "%s: there is no label.lst in it", s->im->cfg->src);
    mn_err err = mn_file_read(path, LIST_MOST, &text, &size);
    if (err == MN_OK) {
        data__import_digest(s->im, text, size);
        data__expw_read(text, size, &ops, s);
        sort_faces(s);
        data__import_compare(s->im, "faces in label.lst", s->n, PUBLISHED);
        for (int k = 0; k < CLASSES; k++)
            data__import_compare(s->im, classes[k].rows, s->labels[k], classes[k].published);
    }
    free(text);
    free(path);
    return err;
}

// Pictures

static mn_err find_pictures(expw_state *s)
{
    static const char *const names[] = {"origin", NULL};
    return data__find_pictures(&s->root, &s->pictures, s->im->cfg->src, names, DEPTH);
}

static int compare_name(const void *name, const void *f)
{
    return strcmp(name, (*(const face *const *)f)->name);
}

static int note_unlisted(void *ctx, const char *path, const char *name, data__kind kind)
{
    const expw_state *s = ctx;
    (void)path;
    if (kind == DATA__FILE && (!s->n || !bsearch(name, s->named, (size_t)s->n, sizeof(*s->named), compare_name)))
        data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
    return 0;
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((expw_state *)ctx)->faces[i].name;
}

static mn_err scan(data__import *im)
{
    expw_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    s->root = -1;
    MN_TRY(find_pictures(s));
    MN_TRY(read_list(s));
    if (im->cfg->ranks.rank == 0) MN_TRY(data__walk(s->pictures, 1, note_unlisted, s));
    int64_t size = data__import_mean_size(s->root, s->n, name_at, s);
    for (int64_t i = 0; i < s->n; i++)
        if (!s->faces[i].taken) data__import_unit(data__import_group(im, "train", "image"), i, 1, size);
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_face(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const expw_state *s = im->state;
    const face *f = &s->faces[u->item];
    data_record r = {
        .expr = f->expr, .mask = DATA_HAS_EXPR, .video = -1, .source_row = (uint32_t)f->line, .box = f->box};
    int accepted;
    (void)g;
    MN_TRY(data__import_picture(im, s->root, f->name, f->name, f->line, &r, &accepted));
    if (!accepted || !data__import_box(im, f->box, f->name, f->line)) return MN_OK;
    char *name = mn_sprintf("%s#%lld", f->name, (long long)f->number);
    r.name = name;
    mn_err err = data__import_add(im, w, &r);
    free(name);
    return err;
}

static void close_state(void *state)
{
    expw_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    for (int64_t i = 0; i < s->n; i++)
        free(s->faces[i].name);
    free(s->faces);
    free(s->named);
    free(s->pictures);
    free(s);
}

const data__importer data__import_expw = {
    .scan = scan, .write = write_face, .close = close_state, .columns = {.has_expr = 1, .has_box = 1}, .threads = 1};
