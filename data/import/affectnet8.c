// AffectNet, the release of 2021 (8 or 7 expressions): train_set and val_set, each with images/<id>.jpg and
// annotations/<id>_exp.npy, _val.npy and _aro.npy. Which type the arrays have is documented nowhere: numbers and text are
// taken. Expression codes become Aff-Wild2's, Contempt its Other. Landmarks (_lnd.npy) are not read, and may be missing.
// Annotations are read with the picture they belong to, so that the ranks share the million small files.
#include "data/file.h"
#include "data/import/find.h"
#include "data/import/importer.h"
#include "data/import/npy.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 4, CODES = 8, TRAINING_PICTURES = 287652, ANNOTATION_MOST = 4096 };

// 0 Neutral 1 Happiness 2 Sadness 3 Surprise 4 Fear 5 Disgust 6 Anger 7 Contempt
static const int8_t expression_of[CODES] = {0, 4, 5, 6, 3, 2, 1, 7};

typedef struct picture {
    char *name;
    int id; // bytes of the name without its ending
} picture;

typedef struct set {
    const char *name;        // of its folder
    char *annotation_folder; // its path
    int images, annotations; // its open folders; -1: none
    int64_t n, capacity;
    picture *pictures; // in byte order of their ids
} set;

typedef struct affectnet8_state {
    data__import *im;
    set sets[2]; // training, validation
    set *reading;
} affectnet8_state;

// Listing

static int compare_ids(const char *a, int n, const char *b, int m)
{
    int order = memcmp(a, b, (size_t)(n < m ? n : m));
    return order ? order : n - m;
}

static int by_id(const void *a, const void *b)
{
    const picture *x = a, *y = b;
    int order = compare_ids(x->name, x->id, y->name, y->id);
    return order ? order : strcmp(x->name, y->name);
}

static int keep_picture(void *ctx, const char *path, const char *name, data__kind kind)
{
    set *t = ((affectnet8_state *)ctx)->reading;
    const char *dot = strrchr(name, '.');
    (void)path;
    if (kind != DATA__FILE) return 0;
    t->pictures = mn_grow(t->pictures, t->n, &t->capacity, sizeof(*t->pictures));
    t->pictures[t->n++] =
        (picture){.name = mn_strdup(name), .id = dot && dot > name ? (int)(dot - name) : (int)strlen(name)};
    return 0;
}

static int has_picture(const set *t, const char *name, int id)
{
    int64_t low = 0, high = t->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = compare_ids(t->pictures[middle].name, t->pictures[middle].id, name, id);
        if (order == 0) return 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

// Annotations that no picture has, and files that are no annotations.
static int check_annotation(void *ctx, const char *path, const char *name, data__kind kind)
{
    static const char *const endings[] = {"_exp.npy", "_val.npy", "_aro.npy", "_lnd.npy"};
    affectnet8_state *s = ctx;
    (void)path;
    if (kind != DATA__FILE) return 0;
    size_t n = strlen(name);
    for (int k = 0; k < 4; k++) {
        size_t ending = strlen(endings[k]);
        if (n <= ending || strcmp(name + n - ending, endings[k]) != 0) continue;
        if (k == 0 && !has_picture(s->reading, name, (int)(n - ending))) {
            char *file = mn_sprintf("%s/images/%.*s.jpg", s->reading->name, (int)(n - ending), name);
            data__import_reject(s->im, DATA__REJECT_MISSING, file, 0, "there are annotations of it");
            free(file);
        }
        return 0;
    }
    data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
    return 0;
}

static mn_err list_set(affectnet8_state *s, const char *images)
{
    set *t = s->reading;
    MN_TRY(data__walk(images, 1, keep_picture, s));
    qsort(t->pictures, (size_t)t->n, sizeof(*t->pictures), by_id);
    for (int64_t i = 0; i < t->n; i++)
        data__import_digest(s->im, t->pictures[i].name, strlen(t->pictures[i].name) + 1);
    return s->im->cfg->ranks.rank == 0 ? data__walk(t->annotation_folder, 1, check_annotation, s) : MN_OK;
}

static mn_err find_folder(char **out, const char *root, const char *name, int depth)
{
    const char *const names[] = {name, NULL};
    return data__find(out, root, names, DATA__FOLDER, depth);
}

static mn_err open_set(affectnet8_state *s, set *t, int *found)
{
    char *path, *images = NULL;
    mn_err err;
    s->reading = t;
    MN_TRY(find_folder(&path, s->im->cfg->src, t->name, DEPTH));
    *found = path != NULL;
    if (!path) return MN_OK;
    MN_TRY_OUT(err, find_folder(&images, path, "images", 2)); // 2: unpacked twice
    MN_TRY_OUT(err, find_folder(&t->annotation_folder, path, "annotations", 2));
    if (!images || !t->annotation_folder) {
        err = mn_fail(
            MN_ENOINPUT,
            "%s: there is no folder '%s' in it, as AffectNet of 2021 has; of a re-packed one, 'mien data import "
            "folder' takes the pictures without labels",
            path, images ? "annotations" : "images");
        goto out;
    }
    MN_TRY_OUT(err, data__open_folder(&t->images, images));
    MN_TRY_OUT(err, data__open_folder(&t->annotations, t->annotation_folder));
    err = list_set(s, images);
out:
    free(images);
    free(path);
    return err;
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((set *)ctx)->pictures[i].name;
}

static mn_err scan(data__import *im)
{
    static const char *const split[] = {"train", "validation"}, *const folder[] = {"train_set", "val_set"};
    affectnet8_state *s = im->state = mn_calloc(1, sizeof(*s));
    int found[2];
    s->im = im;
    for (int k = 0; k < 2; k++)
        s->sets[k] = (set){.name = folder[k], .images = -1, .annotations = -1};
    for (int k = 0; k < 2; k++)
        MN_TRY(open_set(s, &s->sets[k], &found[k]));
    if (!found[0] && !found[1])
        return mn_fail(MN_ENOINPUT, "%s: there is neither a folder train_set nor val_set in it", im->cfg->src);
    data__import_compare(im, "pictures in train_set", s->sets[0].n, TRAINING_PICTURES);
    for (int k = 0; k < 2; k++) {
        set *t = &s->sets[k];
        int64_t size = found[k] ? data__import_mean_size(t->images, t->n, name_at, t) : 0;
        for (int64_t i = 0; i < t->n; i++)
            data__import_unit(data__import_group(im, split[k], "image"), i, 1, size);
    }
    data__import_limit(im);
    return MN_OK;
}

// Annotations

typedef enum answer { FOUND, ABSENT, REJECTED } answer;

static answer reject(data__import *im, data__reason reason, const char *file, const char *detail)
{
    data__import_reject(im, reason, file, 0, detail);
    return REJECTED;
}

static answer take_number(data__import *im, const char *file, const void *bytes, size_t size, double *value)
{
    data__npy a;
    if (data__npy_parse(file, bytes, size, &a) != MN_OK) return reject(im, DATA__REJECT_ANNOTATION, file, mn_errmsg());
    if (a.count != 1) return reject(im, DATA__REJECT_ANNOTATION, file, "not one value");
    return data__npy_number(&a, 0, value) ? FOUND : reject(im, DATA__REJECT_NUMBER, file, "");
}

// The one number of annotation `what` ("exp") of a picture.
static mn_err read_number(data__import *im, const set *t, const picture *p, const char *what, double *value,
                          answer *out)
{
    char bytes[ANNOTATION_MOST];
    char *file = mn_sprintf("%s/annotations/%.*s_%s.npy", t->name, p->id, p->name, what);
    int fd = -1;
    int64_t size = 0;
    mn_err err = data_file_open_beneath(&fd, t->annotations, strrchr(file, '/') + 1, &size);
    *out = ABSENT;
    if (err == MN_OK) {
        if (size > ANNOTATION_MOST)
            *out = reject(im, DATA__REJECT_ANNOTATION, file, "too long for one value");
        else if ((err = data_file_pread(fd, file, bytes, (size_t)size, 0)) == MN_OK)
            *out = take_number(im, file, bytes, (size_t)size, value);
        (void)close(fd); // opened for reading: nothing can be lost
    } else if (err != MN_ENOINPUT) {
        *out = reject(im, err == MN_EDATA ? DATA__REJECT_OUTSIDE : DATA__REJECT_UNREADABLE, file, mn_errmsg());
        err = MN_OK;
    } else {
        err = MN_OK;
    }
    free(file);
    return err;
}

static answer reject_range(data__import *im, const char *name, const char *what, double value)
{
    char detail[64];
    (void)snprintf(detail, sizeof(detail), "%s %.6g", what, value);
    return reject(im, DATA__REJECT_RANGE, name, detail);
}

static mn_err read_expression(data__import *im, const set *t, const picture *p, const char *name, data_record *r,
                              answer *out)
{
    double v = 0;
    MN_TRY(read_number(im, t, p, "exp", &v, out));
    if (*out == ABSENT) *out = reject(im, DATA__REJECT_MISSING, name, "it has no annotation _exp.npy");
    if (*out == REJECTED) return MN_OK;
    if (v < 0 || v >= CODES || v != floor(v)) {
        *out = reject_range(im, name, "expression", v);
        return MN_OK;
    }
    r->expr = expression_of[(int)v];
    r->mask |= DATA_HAS_EXPR;
    return MN_OK;
}

// Valence (k 0) or arousal: -2 is "no value", and so is a missing file.
static mn_err read_affect(data__import *im, const set *t, const picture *p, const char *name, int k, data_record *r,
                          answer *out)
{
    double v = 0;
    MN_TRY(read_number(im, t, p, k ? "aro" : "val", &v, out));
    if (*out == ABSENT) data__import_note(im, DATA__NOTE_NO_AFFECT, 1);
    if (*out != FOUND) return MN_OK;
    if (v == -2) {
        data__import_note(im, DATA__NOTE_IGNORED_LABELS, 1);
        return MN_OK;
    }
    if (v < -1 || v > 1) {
        *out = reject_range(im, name, k ? "arousal" : "valence", v);
        return MN_OK;
    }
    r->va[k] = (float)v;
    r->mask |= k ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE;
    return MN_OK;
}

static mn_err read_labels(data__import *im, const set *t, const picture *p, const char *name, data_record *r,
                          int *accepted)
{
    answer a;
    im->tally->rows++;
    MN_TRY(read_expression(im, t, p, name, r, &a));
    for (int k = 0; k < 2 && a != REJECTED; k++)
        MN_TRY(read_affect(im, t, p, name, k, r, &a));
    *accepted = a != REJECTED;
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const affectnet8_state *s = im->state;
    const set *t = &s->sets[strcmp(g->split, "validation") == 0];
    const picture *p = &t->pictures[u->item];
    char *name = mn_sprintf("%s/images/%s", t->name, p->name);
    data_record r = {.name = name, .expr = -1, .video = -1, .source_row = (uint32_t)u->item, .va = {NAN, NAN}};
    int accepted = 0;
    mn_err err = MN_OK;
    if (u->item && compare_ids(p->name, p->id, p[-1].name, p[-1].id) == 0)
        data__import_reject(im, DATA__REJECT_DUPLICATE, name, 0, "another picture has this number");
    else
        err = read_labels(im, t, p, name, &r, &accepted);
    if (err == MN_OK && accepted) err = data__import_picture(im, t->images, p->name, name, 0, &r, &accepted);
    if (err == MN_OK && accepted) err = data__import_add(im, w, &r);
    free(name);
    return err;
}

static void close_state(void *state)
{
    affectnet8_state *s = state;
    for (int k = 0; k < 2; k++) {
        set *t = &s->sets[k];
        if (t->images >= 0) (void)close(t->images);
        if (t->annotations >= 0) (void)close(t->annotations);
        for (int64_t i = 0; i < t->n; i++)
            free(t->pictures[i].name);
        free(t->pictures);
        free(t->annotation_folder);
    }
    free(s);
}

const data__importer data__import_affectnet8 = {
    .scan = scan, .write = write_picture, .close = close_state, .columns = {.has_expr = 1, .has_va = 1}, .threads = 1};
