// AffectNet as of 2017: pictures in numbered folders under 56 hexadecimal digits, and three lists. Every picture is of
// a person of its own. What is odd about the real lists is here too: empty and NULL boxes, negative widths, a path on
// two rows, rows without a face or a certain expression, -2 for valence and arousal, upper-case endings.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = 8, UNCERTAIN = 9, NO_FACE = 10 };

// AffectNet's number of each expression of Aff-Wild2; Contempt is its "Other".
static const int affectnet_class[DATA_EXPRESSIONS] = {0, 6, 5, 4, 1, 2, 3, 7};

typedef struct set {
    const char *pictures, *list;
    double share;
} set;
static const set sets[3] = {{"Manually_Annotated/Manually_Annotated_Images",
                             "Manually_Annotated/Manually_Annotated_file_lists/training.csv", 0.75},
                            {"Manually_Annotated/Manually_Annotated_Images",
                             "Manually_Annotated/Manually_Annotated_file_lists/validation.csv", 0.125},
                            {"Automatically_Annotated/Automatically_Annotated_Images",
                             "Automatically_Annotated/Automatically_annotated_file_list/automatically_annotated.csv",
                             0.125}};

typedef struct picture {
    int set, cls, ending; // cls: AffectNet's number
    char path[88];        // below its set's folder
    data__person person;
    data__affect affect;
    data__shot shot;
    float box[4], points[136];
} picture;

typedef struct net_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    int64_t first[4]; // picture numbers of each set
    char **row;       // of each picture, made with it
} net_ctx;

static const char *const endings[] = {"jpg", "JPG", "jpeg", "png"};

static void name_picture(const net_ctx *c, int64_t i, picture *p)
{
    mn_stream_rng r = mn_rng_open(c->key + 1, (uint64_t)i, 0);
    int64_t folder = 1 + mn_rng_below(&r, 1 + c->cfg->images / 40);
    char hex[57];
    for (int k = 0; k < 7; k++)
        snprintf(hex + 8 * k, 9, "%08x", mn_rng_u32(&r));
    float u = mn_rng_uniform(&r);
    p->ending = u < 0.03f ? 1 : u < 0.04f ? 2 : u < 0.05f ? 3 : 0;
    snprintf(p->path, sizeof p->path, "%lld/%s.%s", (long long)folder, hex, endings[p->ending]);
}

// A frame somewhat larger than the face, which is anywhere in it.
static void place(const net_ctx *c, int64_t i, picture *p)
{
    mn_stream_rng r = mn_rng_open(c->key + 2, (uint64_t)i, 0);
    double size = c->cfg->size, larger = mn_rng_range(&r, 1.1, 1.6);
    int width = (int)(size * larger), height = (int)(size * larger * mn_rng_range(&r, 0.95, 1.2));
    data__shot_make(c->key + 3, (uint64_t)i, 0, c->cfg->size, c->cfg->size, &p->shot);
    p->shot.width = width;
    p->shot.height = height;
    p->shot.cx += (float)mn_rng_range(&r, 0, width - size);
    p->shot.cy += (float)mn_rng_range(&r, 0, height - size);
}

static void plan(const net_ctx *c, int64_t i, picture *p)
{
    mn_stream_rng r = mn_rng_open(c->key, (uint64_t)i, 0);
    *p = (picture){0};
    while (i >= c->first[p->set + 1])
        p->set++;
    // Eight neighbours share out the expressions; one picture in seven has none of them.
    mn_rng4 deal = mn_rng_block(c->key + 4, (uint64_t)i / 8, 0, 0);
    int expr = (int)mn_rng_permute((uint64_t)deal.v[0] << 32 | deal.v[1], DATA_EXPRESSIONS, i % 8);
    float u = mn_rng_uniform(&r);
    data__affect_still(c->key + 5, (uint64_t)i, expr, &p->affect);
    p->cls = u < 0.05f ? NONE : u < 0.09f ? UNCERTAIN : u < 0.14f ? NO_FACE : affectnet_class[expr];
    data__person_make(c->key, (uint64_t)i, &p->person);
    name_picture(c, i, p);
    place(c, i, p);
    data__face_box(&p->person, &p->shot, p->box);
    data__face_points(&p->person, p->affect.face, p->affect.face_own, &p->shot, p->points);
}

static void add_box(data__text *t, const picture *p, float oddity)
{
    if (oddity < 0.01f)
        data__text_add(t, "NULL,NULL,NULL,NULL,");
    else if (oddity < 0.02f)
        data__text_add(t, ",,,,");
    else
        data__text_add(t, "%d,%d,%d,%d,", (int)p->box[0], (int)p->box[1],
                       oddity < 0.03f ? -(int)p->box[2] : (int)p->box[2], (int)p->box[3]);
}

static void add_row(data__text *t, const picture *p, float oddity)
{
    data__text_add(t, "%s,", p->path);
    add_box(t, p, p->cls == NO_FACE ? 0.015f : oddity);
    for (int k = 0; k < 136; k++)
        data__text_add(t, "%s%.2f", k ? ";" : "", (double)p->points[k]);
    if (p->cls >= UNCERTAIN)
        data__text_add(t, ",%d,-2,-2\n", p->cls);
    else
        data__text_add(t, ",%d,%.6g,%.6g\n", p->cls, p->affect.valence, p->affect.arousal);
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    net_ctx *c = ctx;
    picture p;
    plan(c, i, &p);
    data__worker_face(w, &p.person, p.cls == NO_FACE ? NULL : &p.affect, &p.shot);
    char *path = mn_sprintf("%s/%s/%s", c->root, sets[p.set].pictures, p.path);
    char *slash = strrchr(path, '/');
    *slash = 0;
    mn_err err = mn_dir_make(path);
    *slash = '/';
    if (err == MN_OK) err = data__worker_save(w, path, p.shot.width, p.shot.height, 90, p.ending == 3);
    free(path);
    data__text t = {0};
    mn_rng4 odd = mn_rng_block(c->key + 6, (uint64_t)i, 0, 0);
    add_row(&t, &p, mn_uniform(odd.v[0]));
    if (mn_uniform(odd.v[1]) < 0.01f) add_row(&t, &p, 1); // the same picture again
    c->row[i] = t.bytes;
    return err;
}

static mn_err write_list(const net_ctx *c, int set_index)
{
    static const char header[] =
        "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n";
    data__text t = {0};
    data__text_add(&t, "%s", header);
    for (int64_t i = c->first[set_index]; i < c->first[set_index + 1]; i++)
        data__text_add(&t, "%s", c->row[i]);
    char *path = mn_sprintf("%s/%s", c->root, sets[set_index].list), *slash = strrchr(path, '/');
    *slash = 0;
    mn_err err = mn_dir_make(path);
    *slash = '/';
    if (err == MN_OK)
        err = data__text_write(&t, path);
    else
        free(t.bytes);
    free(path);
    return err;
}

mn_err data__make_affectnet(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    net_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.affectnet")};
    c.first[1] = (int64_t)((double)cfg->images * sets[0].share);
    c.first[2] = c.first[1] + (int64_t)((double)cfg->images * sets[1].share);
    c.first[3] = cfg->images;
    c.row = mn_calloc((size_t)cfg->images, sizeof *c.row);
    mn_err err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    for (int k = 0; k < 3 && err == MN_OK; k++)
        err = write_list(&c, k);
    for (int64_t i = 0; i < cfg->images; i++)
        free(c.row[i]);
    free(c.row);
    return err;
}
