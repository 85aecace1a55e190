// CelebA: img_align_celeba, list_eval_partition, list_attr_celeba, identity_CelebA; as .txt, or as Kaggle's .csv.
#include "data/import/celeba_lists.h"
#include "data/import/find.h"
#include "data/import/strings.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 4, PUBLISHED = 202599, ATTRIBUTES = DATA_ATTRIBUTES };

typedef struct face {
    const char *name;
    int64_t line; // of the partition list
    int32_t identity;
    uint8_t split, has_identity, has_attr, taken;
    int8_t attr[ATTRIBUTES];
} face;

typedef struct celeba_state {
    data__import *im;
    int root;
    char *pictures; // the folder that root is
    int64_t n, capacity;
    face *faces;  // in the order of the partition list
    face **named; // (n) by name
    data__strings names;
    const char *list; // the one being read
    int64_t rows, zeros, minus_ones;
} celeba_state;

// Lists

static int by_name(const void *a, const void *b)
{
    const face *x = *(face *const *)a, *y = *(face *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void bad_row(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    celeba_state *s = ctx;
    s->im->tally->rows++;
    data__import_reject(s->im, reason, s->list, line, detail);
}

static void partition_row(void *ctx, int64_t line, data__text name, const int64_t *values)
{
    celeba_state *s = ctx;
    if (values[0] < 0 || values[0] > 2) {
        bad_row(ctx, line, DATA__REJECT_RANGE, "the partition is none of 0, 1, 2");
        return;
    }
    s->im->tally->rows++;
    s->faces = mn_grow(s->faces, s->n, &s->capacity, sizeof(*s->faces));
    s->faces[s->n++] = (face){.name = data__strings_add(&s->names, name.p, name.n),
                              .line = line,
                              .split = (uint8_t)(DATA_SPLIT_TRAIN + values[0])};
}

static face *face_named(const celeba_state *s, const char *name)
{
    int64_t low = 0, high = s->n;
    while (low < high) { // the first that is not smaller: of repeated names, the one that counts
        int64_t middle = low + (high - low) / 2;
        if (strcmp(s->named[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n && strcmp(s->named[low]->name, name) == 0 ? s->named[low] : NULL;
}

// The face of a row in one of the other lists.
static face *find_face(celeba_state *s, int64_t line, data__text name)
{
    char *text = data__text_copy(name);
    face *f = face_named(s, text);
    free(text);
    s->im->tally->rows++;
    if (!f) data__import_reject(s->im, DATA__REJECT_UNLISTED, s->list, line, "no partition for this picture");
    return f;
}

static void attribute_row(void *ctx, int64_t line, data__text name, const int64_t *values)
{
    celeba_state *s = ctx;
    for (int i = 0; i < ATTRIBUTES; i++)
        if (values[i] < -1 || values[i] > 1) {
            bad_row(ctx, line, DATA__REJECT_RANGE, "an attribute is none of -1, 0, 1");
            return;
        }
    face *f = find_face(s, line, name);
    if (!f) return;
    f->has_attr = 1;
    for (int i = 0; i < ATTRIBUTES; i++) {
        s->zeros += values[i] == 0;
        s->minus_ones += values[i] == -1;
        f->attr[i] = values[i] > 0 ? 1 : -1;
    }
}

static void identity_row(void *ctx, int64_t line, data__text name, const int64_t *values)
{
    celeba_state *s = ctx;
    if (values[0] < 0 || values[0] > INT32_MAX) {
        bad_row(ctx, line, DATA__REJECT_RANGE, "not an identity");
        return;
    }
    face *f = find_face(s, line, name);
    if (!f) return;
    f->has_identity = 1;
    f->identity = (int32_t)values[0];
}

typedef struct reading {
    data__import *im;
    data__celeba_list list;
    data__csv *csv; // NULL: a .txt
    mn_err err;
} reading;

static mn_err take_csv_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    return data__celeba_row(&((reading *)ctx)->list, line, fields, n);
}

static void read_piece(void *ctx, data__lines *piece)
{
    reading *r = ctx;
    data__text line;
    size_t n = (size_t)(piece->end - piece->p);
    data__import_digest(r->im, piece->p, n);
    if (r->csv && n > 0 && r->err == MN_OK) r->err = data__csv_feed(r->csv, piece->p, n);
    while (!r->csv && r->err == MN_OK && data__lines_next(piece, &line))
        r->err = data__celeba_line(&r->list, piece->number, line);
}

static mn_err read_file(reading *r, const char *path)
{
    if (r->list.csv) MN_TRY(data__csv_open(&r->csv, take_csv_row, r));
    mn_err err = data__lines_file(path, read_piece, r);
    if (err == MN_OK) err = r->err;
    if (err == MN_OK && r->csv) err = data__csv_feed(r->csv, "", 0);
    data__csv_close(r->csv);
    return err;
}

// Reads the list of one of these names; *found 0: there is none.
static mn_err read_list(celeba_state *s, const char *const *names, int n_values,
                        void (*row)(void *, int64_t, data__text, const int64_t *), int *found)
{
    data__import *im = s->im;
    data__celeba_ops ops = {.row = row, .bad = bad_row};
    char *path;
    int64_t before = im->tally->rows;
    MN_TRY(data__find(&path, im->cfg->src, names, DATA__FILE, DEPTH));
    *found = path != NULL;
    if (!path) return MN_OK;
    size_t n = strlen(path);
    s->list = strrchr(path, '/') + 1;
    reading r = {.im = im,
                 .list = {.file = s->list,
                          .csv = n > 4 && strcmp(path + n - 4, ".csv") == 0,
                          .n_values = n_values,
                          .ops = &ops,
                          .ctx = s}};
    mn_err err = read_file(&r, path);
    if (err == MN_OK && r.list.promised > 0)
        data__import_compare(im, "rows of list_attr_celeba", im->tally->rows - before, r.list.promised);
    s->list = NULL;
    free(path);
    return err;
}

static const char *const partition_names[] = {"list_eval_partition.txt", "list_eval_partition.csv", NULL};
static const char *const attribute_names[] = {"list_attr_celeba.txt", "list_attr_celeba.csv", NULL};
static const char *const identity_names[] = {"identity_CelebA.txt", "identity_CelebA.csv", NULL};

static void sort_names(celeba_state *s)
{
    s->named = mn_calloc((size_t)s->n + 1, sizeof(*s->named));
    for (int64_t i = 0; i < s->n; i++)
        s->named[i] = &s->faces[i];
    qsort(s->named, (size_t)s->n, sizeof(*s->named), by_name);
    for (int64_t i = 1; i < s->n; i++)
        if (strcmp(s->named[i]->name, s->named[i - 1]->name) == 0) {
            s->named[i]->taken = 1;
            data__import_reject(s->im, DATA__REJECT_DUPLICATE, s->named[i]->name, s->named[i]->line,
                                "an earlier row of list_eval_partition names it too");
        }
}

static mn_err read_lists(celeba_state *s)
{
    int found;
    MN_TRY(read_list(s, partition_names, 1, partition_row, &found));
    if (!found)
        return mn_fail(MN_ENOINPUT,
                       "%s: there is no list_eval_partition.txt (or .csv), which says what is train and test",
                       s->im->cfg->src);
    data__import_compare(s->im, "rows of list_eval_partition", s->n, PUBLISHED);
    sort_names(s);
    MN_TRY(read_list(s, attribute_names, ATTRIBUTES, attribute_row, &found));
    if (s->zeros && s->minus_ones)
        return mn_fail(MN_EDATA,
                       "%s: list_attr_celeba has both 0 and -1 (%lld and %lld times): two lists were mixed, take the "
                       "original one",
                       s->im->cfg->src, (long long)s->zeros, (long long)s->minus_ones);
    return read_list(s, identity_names, 1, identity_row, &found);
}

// Pictures

static mn_err find_pictures(celeba_state *s)
{
    static const char *const names[] = {"img_align_celeba", NULL};
    return data__find_pictures(&s->root, &s->pictures, s->im->cfg->src, names, DEPTH);
}

static int note_unlisted(void *ctx, const char *path, const char *name, data__kind kind)
{
    const celeba_state *s = ctx;
    (void)path;
    if (kind == DATA__FILE && !face_named(s, name)) data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
    return 0;
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((celeba_state *)ctx)->faces[i].name;
}

static mn_err scan(data__import *im)
{
    celeba_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    s->root = -1;
    MN_TRY(find_pictures(s));
    MN_TRY(read_lists(s));
    if (im->cfg->ranks.rank == 0) MN_TRY(data__walk(s->pictures, 1, note_unlisted, s));
    int64_t size = data__import_mean_size(s->root, s->n, name_at, s);
    static const char *const split[] = {"train", "validation", "test"};
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < s->n; i++)
            if (s->faces[i].split == DATA_SPLIT_TRAIN + k && !s->faces[i].taken)
                data__import_unit(data__import_group(im, split[k], "image"), i, 1, size);
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const celeba_state *s = im->state;
    const face *f = &s->faces[u->item];
    data_record r = {.name = f->name, .expr = -1, .video = -1, .source_row = (uint32_t)f->line};
    int accepted;
    (void)g;
    r.identity = f->has_identity ? f->identity : -1;
    r.attr = f->has_attr ? f->attr : NULL;
    r.mask = (f->has_identity ? DATA_HAS_IDENTITY : 0u) | (f->has_attr ? DATA_HAS_ATTR : 0u);
    MN_TRY(data__import_picture(im, s->root, f->name, f->name, f->line, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    celeba_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    data__strings_free(&s->names);
    free(s->faces);
    free(s->named);
    free(s->pictures);
    free(s);
}

const data__importer data__import_celeba = {.scan = scan,
                                            .write = write_picture,
                                            .close = close_state,
                                            .columns = {.has_identity = 1, .has_attr = 1},
                                            .threads = 1};
