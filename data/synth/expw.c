// ExpW: pictures of one face or two, named after a search that says nothing about the expression, and label.lst with
// a row for each face: box as top, left, right, bottom. What is odd about the real set is here too: boxes that begin
// above the picture, and rows whose picture is missing. Every face is of a person of its own.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { CLASSES = 7, MOST = 2 };

// ExpW's number of each expression of Aff-Wild2, which has Other besides.
static const int expw_class[CLASSES] = {6, 0, 1, 2, 3, 4, 5};

static const char *const searches[] = {"young_teacher", "old_actor", "asian_student", "famous_singer", "office_worker"};
enum { SEARCHES = sizeof searches / sizeof *searches };

typedef struct expw_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    char **rows; // of each picture, made with it
} expw_ctx;

typedef struct scene { // faces side by side
    int n, width, height, missing;
    int cls[MOST];
    data__person person[MOST];
    data__affect affect[MOST];
    data__shot shot[MOST]; // each of its own panel
} scene;

// A panel somewhat larger than the face, which is anywhere in it.
static void place(const expw_ctx *c, uint64_t face, int height, scene *s)
{
    data__shot *shot = &s->shot[s->n];
    mn_stream_rng r = mn_rng_open(c->key + 2, face, 0);
    int size = c->cfg->size, width = (int)(size * mn_rng_range(&r, 1.1, 1.7));
    data__shot_make(c->key + 3, face, 0, size, size, shot);
    shot->width = width;
    shot->height = height;
    shot->cx += (float)mn_rng_range(&r, 0, width - size);
    shot->cy += (float)mn_rng_range(&r, 0, height - size);
}

// rank: the place of picture i in a random order, which says what is odd about it.
static void plan(const expw_ctx *c, int64_t i, int64_t rank, scene *s)
{
    mn_stream_rng r = mn_rng_open(c->key, (uint64_t)i, 0);
    int height = (int)(c->cfg->size * mn_rng_range(&r, 1.1, 1.6)), faces = rank % 4 == 2 ? 2 : 1;
    *s = (scene){.height = height, .missing = rank % 50 == 19};
    for (; s->n < faces; s->n++) {
        uint64_t face = (uint64_t)i * MOST + (uint64_t)s->n;
        mn_rng4 deal = mn_rng_block(c->key + 4, face / CLASSES, 0, 0); // neighbours share out the expressions
        int expr = (int)mn_rng_permute((uint64_t)deal.v[0] << 32 | deal.v[1], CLASSES, (int64_t)(face % CLASSES));
        s->cls[s->n] = expw_class[expr];
        data__affect_still(c->key + 5, face, expr, &s->affect[s->n]);
        data__person_make(c->key, face, &s->person[s->n]);
        place(c, face, height, s);
        s->width += s->shot[s->n].width;
    }
}

// Renders the panels one after another and leaves the whole picture in w->rgb.
static void paint(data__worker *w, const scene *s)
{
    size_t stride = (size_t)s->width * 3, at = 0;
    uint8_t *whole = mn_calloc((size_t)s->height, stride);
    for (int k = 0; k < s->n; k++) {
        size_t panel = (size_t)s->shot[k].width * 3;
        data__worker_face(w, &s->person[k], &s->affect[k], &s->shot[k]);
        for (int y = 0; y < s->height; y++)
            memcpy(whole + (size_t)y * stride + at, w->rgb + (size_t)y * panel, panel);
        at += panel;
    }
    free(w->rgb);
    w->rgb = whole;
    w->rgb_capacity = (size_t)s->height * stride;
}

static void add_rows(const expw_ctx *c, data__text *t, const char *name, int64_t rank, int64_t i, const scene *s)
{
    int x = 0;
    mn_stream_rng r = mn_rng_open(c->key + 6, (uint64_t)i, 0);
    for (int k = 0; k < s->n; k++) {
        float box[4];
        data__face_box(&s->person[k], &s->shot[k], box);
        int top = (int)box[1], left = x + (int)box[0], right = left + (int)box[2], bottom = top + (int)box[3];
        if (rank % 10 == 1) top = -1 - (int)mn_rng_below(&r, c->cfg->size / 4);
        data__text_add(t, "%s %d %d %d %d %d %.4f %d\n", name, k, top, left, right, bottom, mn_rng_range(&r, 20, 100),
                       s->cls[k]);
        x += s->shot[k].width;
    }
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    expw_ctx *c = ctx;
    int64_t rank = mn_rng_permute(c->key + 1, c->cfg->images, i);
    scene s;
    plan(c, i, rank, &s);
    mn_stream_rng r = mn_rng_open(c->key + 7, (uint64_t)i, 0);
    char *name = mn_sprintf("%s_%lld.%s", searches[mn_rng_below(&r, SEARCHES)], (long long)i + 1,
                            mn_rng_below(&r, 30) ? "jpg" : "JPG");
    char *path = mn_sprintf("%s/image/origin/%s", c->root, name);
    mn_err err = MN_OK;
    if (!s.missing) {
        paint(w, &s);
        err = data__worker_save(w, path, s.width, s.height, 90, 0);
    }
    data__text t = {0};
    add_rows(c, &t, name, rank, i, &s);
    c->rows[i] = t.bytes;
    free(path);
    free(name);
    return err;
}

static mn_err make_dir(const char *root, const char *name)
{
    char *path = mn_sprintf("%s/%s", root, name);
    mn_err err = mn_dir_make(path);
    free(path);
    return err;
}

static mn_err write_list(const expw_ctx *c)
{
    data__text t = {0};
    for (int64_t i = 0; i < c->cfg->images; i++)
        data__text_add(&t, "%s", c->rows[i]);
    char *path = mn_sprintf("%s/label/label.lst", c->root);
    mn_err err = data__text_write(&t, path);
    free(path);
    return err;
}

mn_err data__make_expw(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    expw_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.expw")};
    MN_TRY(make_dir(root, "image/origin"));
    MN_TRY(make_dir(root, "label"));
    c.rows = mn_calloc((size_t)cfg->images, sizeof *c.rows);
    mn_err err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    if (err == MN_OK) err = write_list(&c);
    for (int64_t i = 0; i < cfg->images; i++)
        free(c.rows[i]);
    free(c.rows);
    return err;
}
