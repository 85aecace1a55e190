// IMDB-WIKI: imdb.mat and wiki.mat, each beside its pictures in folders 00 to 99. The archives *_crop have faces that are
// cut out already; the others have the pictures they were cut out of, in which the boxes are. Where both are there the
// cut ones are taken, with --crop the others. All is training data.
#include "data/import/find.h"
#include "data/import/imdb_table.h"
#include "data/import/importer.h"
#include "data/import/strings.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { DEPTH = 4, TABLES = 2, WIKI = 1, PUBLISHED_IMDB = 460723, PUBLISHED_WIKI = 62328, PUBLISHED_SURE = 38138 };
#define SCORE_LEAST 1.0 // of a face of which the labels are believed

static const char *const table_name[TABLES] = {"imdb.mat", "wiki.mat"};

typedef struct face {
    const char *path;
    uint32_t row; // from 1
    int32_t identity;
    float box[4], age;
    int8_t gender;
    uint8_t out; // 1: rejected, because it has no face or an earlier row has this picture
} face;

typedef struct table {
    char *path, *folder; // of the table; of the pictures
    int root, cut;       // cut: the pictures are faces
    int64_t n, capacity, rows, sure;
    face *faces;
    const face **sorted; // (n) by path
    data__strings paths;
} table;

typedef struct imdb_state {
    data__import *im;
    table tables[TABLES];
    table *reading;
} imdb_state;

// Folders

static int is_cut(const char *folder)
{
    size_t n = strlen(folder);
    return n >= 5 && strcasecmp(folder + n - 5, "_crop") == 0;
}

static int is_digits(const char *name)
{
    return strlen(name) == 2 && strspn(name, "0123456789") == 2;
}

static int look(void *ctx, const char *path, const char *name, data__kind kind)
{
    imdb_state *s = ctx;
    if (kind == DATA__FOLDER || kind == DATA__FOLDER_LINK) return !is_digits(name); // pictures: not walked
    for (int k = 0; k < TABLES; k++) {
        table *t = &s->tables[k];
        if (kind != DATA__FILE || strcasecmp(name, table_name[k]) != 0) continue;
        char *folder = mn_sprintf("%.*s", (int)(strlen(path) - strlen(name) - 1), path);
        // The pictures themselves are wanted only to cut faces out of them.
        if (t->path && (t->cut == is_cut(folder) || t->cut == !s->im->cfg->crop)) {
            free(folder);
            continue;
        }
        free(t->path);
        free(t->folder);
        t->path = mn_strdup(path);
        t->folder = folder;
        t->cut = is_cut(folder);
    }
    return 0;
}

// Rows

// x1 y1 x2 y2 from 1 to x y width height from 0.
static void take_box(const double v[4], float box[4])
{
    int usable = v[2] > v[0] && v[3] > v[1];
    for (int k = 0; k < 4; k++)
        usable = usable && fabs(v[k]) < 1e6;
    for (int k = 0; k < 4; k++)
        box[k] = !usable ? NAN : (float)(k < 2 ? v[k] - 1 : v[k] - v[k - 2]);
}

// Labels are those of the face that was found, if there is one and no other. (create_db.py of yu4u/age-gender-estimation)
static void take_labels(imdb_state *s, const data__imdb_face *row, face *f)
{
    data__import *im = s->im;
    double age = data__imdb_age(row->dob, row->photo_taken);
    int second = row->second_score > 0, unsure = !(row->score >= SCORE_LEAST);
    int known = row->gender == 0 || row->gender == 1;
    if (second) data__import_note(im, DATA__NOTE_SECOND_FACE, 1);
    if (!second && unsure) data__import_note(im, DATA__NOTE_UNSURE_FACE, 1);
    if (isnan(age)) data__import_note(im, DATA__NOTE_NO_AGE, 1);
    if (!known) data__import_note(im, DATA__NOTE_NO_GENDER, 1);
    f->age = NAN;
    f->gender = -1;
    f->identity = -1;
    if (second || unsure) return;
    f->age = (float)age;
    f->gender = known ? (int8_t)row->gender : -1;
    if (row->celeb_id >= 0 && row->celeb_id <= INT32_MAX && row->celeb_id == floor(row->celeb_id))
        f->identity = (int32_t)row->celeb_id;
    s->reading->sure += known && !isnan(age);
}

static void take_row(void *ctx, const data__imdb_face *row)
{
    imdb_state *s = ctx;
    table *t = s->reading;
    const char *list = table_name[t - s->tables];
    s->im->tally->rows++;
    t->rows++;
    if (row->path.n == 0) {
        data__import_reject(s->im, DATA__REJECT_COLUMNS, list, t->rows, "no full_path");
        return;
    }
    t->faces = mn_grow(t->faces, t->n, &t->capacity, sizeof(*t->faces));
    face *f = &t->faces[t->n++];
    *f = (face){.path = data__strings_add(&t->paths, row->path.p, row->path.n),
                .row = (uint32_t)t->rows,
                .out = isinf(row->score) != 0};
    if (f->out) {
        data__import_reject(s->im, DATA__REJECT_NO_FACE, f->path, f->row, "");
        return;
    }
    take_labels(s, row, f);
    take_box(row->box, f->box);
    if (t->cut) f->box[0] = f->box[1] = f->box[2] = f->box[3] = NAN; // a box in another picture
    if (!t->cut && isnan(f->box[0])) data__import_note(s->im, DATA__NOTE_NO_BOX, 1);
}

static int by_path(const void *a, const void *b)
{
    const face *x = *(const face *const *)a, *y = *(const face *const *)b;
    int order = strcmp(x->path, y->path);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static void sort_faces(data__import *im, table *t)
{
    t->sorted = mn_calloc((size_t)t->n + 1, sizeof(*t->sorted));
    for (int64_t i = 0; i < t->n; i++)
        t->sorted[i] = &t->faces[i];
    if (t->n) qsort(t->sorted, (size_t)t->n, sizeof(*t->sorted), by_path);
    for (int64_t i = 1; i < t->n; i++) {
        const face *f = t->sorted[i];
        if (f->out || strcmp(f->path, t->sorted[i - 1]->path) != 0) continue;
        t->faces[f - t->faces].out = 1;
        data__import_reject(im, DATA__REJECT_DUPLICATE, f->path, f->row, "an earlier row has this picture too");
    }
}

typedef struct walk {
    imdb_state *s;
    const table *t;
    size_t prefix; // bytes of the folder and a slash
} walk;

static int compare_path(const void *path, const void *f)
{
    return strcmp(path, (*(const face *const *)f)->path);
}

static int note_unlisted(void *ctx, const char *path, const char *name, data__kind kind)
{
    const walk *w = ctx;
    const char *below = path + w->prefix;
    if (kind == DATA__FOLDER) return is_digits(name);
    if (kind == DATA__FILE && strchr(below, '/') &&
        (!w->t->n || !bsearch(below, w->t->sorted, (size_t)w->t->n, sizeof(*w->t->sorted), compare_path)))
        data__import_note(w->s->im, DATA__NOTE_UNLISTED, 1);
    return 0;
}

static mn_err read_table(imdb_state *s, int k)
{
    table *t = &s->tables[k];
    char digest[MN_DIGEST_SIZE];
    int64_t size;
    if (!t->path) return MN_OK;
    s->reading = t;
    MN_TRY(data__open_folder(&t->root, t->folder));
    MN_TRY(mn_file_digest(t->path, digest, &size));
    data__import_digest(s->im, digest, sizeof(digest));
    data__import_digest(s->im, &t->cut, sizeof(t->cut)); // the tables beside both kinds of pictures are the same
    MN_TRY(data__imdb_read(t->path, take_row, s));
    sort_faces(s->im, t);
    data__import_compare(s->im, k == WIKI ? "rows of wiki.mat" : "rows of imdb.mat", t->rows,
                         k == WIKI ? PUBLISHED_WIKI : PUBLISHED_IMDB);
    if (k == WIKI) data__import_compare(s->im, "of them with one face, age and gender", t->sure, PUBLISHED_SURE);
    walk w = {s, t, strlen(t->folder) + 1};
    return s->im->cfg->ranks.rank == 0 ? data__walk(t->folder, 2, note_unlisted, &w) : MN_OK;
}

static const char *path_at(void *ctx, int64_t i)
{
    return ((table *)ctx)->faces[i].path;
}

static mn_err scan(data__import *im)
{
    imdb_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    for (int k = 0; k < TABLES; k++)
        s->tables[k].root = -1;
    MN_TRY(data__walk(im->cfg->src, DEPTH, look, s));
    if (!s->tables[0].path && !s->tables[1].path)
        return mn_fail(MN_ENOINPUT, "%s: there is neither imdb.mat nor wiki.mat in it", im->cfg->src);
    for (int k = 0; k < TABLES; k++) {
        MN_TRY(read_table(s, k));
        table *t = &s->tables[k];
        int64_t size = data__import_mean_size(t->root, t->n, path_at, t);
        for (int64_t i = 0; i < t->n; i++)
            if (!t->faces[i].out) data__import_unit(data__import_group(im, "train", "image"), i * TABLES + k, 1, size);
    }
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_face(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const imdb_state *s = im->state;
    const table *t = &s->tables[u->item % TABLES];
    const face *f = &t->faces[u->item / TABLES];
    char *name = mn_sprintf("%.4s/%s", table_name[t - s->tables], f->path); // both have folders 00 to 99
    data_record r = {.name = name,
                     .expr = -1,
                     .video = -1,
                     .mask = f->identity >= 0 ? DATA_HAS_IDENTITY : 0u,
                     .identity = f->identity,
                     .age = f->age,
                     .gender = f->gender,
                     .source_row = f->row,
                     .box = t->cut ? NULL : f->box};
    int accepted;
    (void)g;
    mn_err err = data__import_picture(im, t->root, f->path, name, f->row, &r, &accepted);
    if (err == MN_OK && accepted && (isnan(f->box[0]) || data__import_box(im, f->box, name, f->row)))
        err = data__import_add(im, w, &r);
    free(name);
    return err;
}

static void close_state(void *state)
{
    imdb_state *s = state;
    for (int k = 0; k < TABLES; k++) {
        table *t = &s->tables[k];
        if (t->root >= 0) (void)close(t->root);
        data__strings_free(&t->paths);
        free(t->faces);
        free(t->sorted);
        free(t->path);
        free(t->folder);
    }
    free(s);
}

const data__importer data__import_imdb_wiki = {
    .scan = scan,
    .write = write_face,
    .close = close_state,
    .columns = {.has_identity = 1, .has_age = 1, .has_gender = 1, .has_box = 1},
    .threads = 1};
