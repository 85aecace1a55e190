// IMDB-WIKI: imdb_crop and wiki_crop with faces cut out 40 % larger than their boxes, wiki with the pictures that wiki_crop
// was cut out of, and a table (MAT, version 5) in each: imdb.mat compressed and with UTF-16, the others plain. What is
// odd about the real tables is here too: faces that were not found (score -Inf, the crop is the whole picture), second
// faces, scores of NaN, people without gender or name, births in year 1 and ages beyond a hundred, boxes counted from 1
// that reach over the edge, rows twice, without a path or without a file, pictures cut off or of one pixel.
#include "data/synth/output.h"

#include "data/media.h"
#include "data/media/wire.h"
#include "data/media_child.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

// What is odd about a row, by its place in a random order.
enum {
    NO_FACE = 3,
    SECOND_FACE = 5,
    SECOND_BELOW_0 = 6,
    NO_GENDER = 7,
    BORN_IN_YEAR_1 = 8,
    TOO_OLD = 9,
    LOW_SCORE = 10,
    NAMELESS = 11,
    NAMED_ABROAD = 12,
    BOX_OVER = 13,
    ODD_EVERY = 20
};
enum { MISSING = 21, CUT_OFF = 22, NO_PATH = 25, ONE_PIXEL = 26, TWICE = 31, REJECTED_EVERY = 50 };
enum { EACH = 4 }; // pictures of a person in imdb
#define MARGIN 0.4f

static const char *const folders[] = {"imdb_crop", "wiki_crop", "wiki"};

typedef struct imdb_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    int64_t first_wiki; // pictures before it are of imdb
    int table;          // being written: of folders
} imdb_ctx;

typedef struct picture {
    int wiki, odd, rejected, shown; // shown: an expression
    wire_face row;
    char path[96], name[64];
    data__person person;
    data__affect affect;
    data__shot shot;
} picture;

// Day number of MATLAB: 1 is 1 January of year 0. (Howard Hinnant, "chrono-compatible low-level date algorithms")
static double matlab_day(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return (double)(365 * y + y / 4 - y / 100 + y / 400 + of_year + 61);
}

static void plan_row(picture *p, mn_stream_rng *r, int64_t i)
{
    static const char *const names[] = {"Fred Astaire", "Ada Lovelace", "Alan Turing", "Grace Hopper"};
    int taken = 1990 + (int)mn_rng_below(r, 25), month = 1 + (int)mn_rng_below(r, 12),
        day = 1 + (int)mn_rng_below(r, 28);
    int age = p->odd == TOO_OLD ? 120 : p->person.young ? 18 + (int)mn_rng_below(r, 20) : 45 + (int)mn_rng_below(r, 40);
    int year = taken - age - (month >= 7);
    p->row.photo_taken = taken;
    p->row.dob = p->odd == BORN_IN_YEAR_1 ? 1 + (double)mn_rng_below(r, 300) : matlab_day(year, month, day);
    p->row.gender = p->odd == NO_GENDER ? (double)NAN : p->person.male;
    p->row.score = p->odd == NO_FACE ? -INFINITY : p->odd == LOW_SCORE ? 0.4 : mn_rng_range(r, 1, 6);
    p->row.second_score = p->odd == SECOND_FACE ? 2.5 : p->odd == SECOND_BELOW_0 ? -0.5 : NAN;
    p->row.celeb_id = p->wiki ? NAN : (double)(1 + i / EACH);
    snprintf(p->name, sizeof p->name, "%s",
             p->odd == NAMELESS       ? ""
             : p->odd == NAMED_ABROAD ? "Zoë Krämer 김"
                                      : names[i / EACH % 4]);
    if (p->wiki)
        snprintf(p->path, sizeof p->path, "%02d/%lld_%04d-%02d-%02d_%d.jpg", (int)(i % 100),
                 (long long)(10000217 + 31 * i), year, month, day, taken);
    else
        snprintf(p->path, sizeof p->path, "%02d/nm%07lld_rm%lld_%d-%d-%d_%d.jpg", (int)(i / EACH % 100),
                 (long long)(i / EACH + 2), (long long)(221957120 + 7 * i), year, month, day, taken);
    if (p->rejected == NO_PATH) p->path[0] = 0;
}

static void plan(const imdb_ctx *c, int64_t i, picture *p)
{
    int64_t rank = mn_rng_permute(c->key, c->cfg->images, i);
    mn_stream_rng r = mn_rng_open(c->key + 1, (uint64_t)i, 0);
    int size = c->cfg->size, width = (int)(size * mn_rng_range(&r, 1.3, 2)),
        height = (int)(size * mn_rng_range(&r, 1.2, 1.7));
    *p =
        (picture){.wiki = i >= c->first_wiki, .odd = (int)(rank % ODD_EVERY), .rejected = (int)(rank % REJECTED_EVERY)};
    if (p->rejected == MISSING || p->rejected == CUT_OFF || p->rejected == NO_PATH || p->rejected == ONE_PIXEL ||
        p->rejected == TWICE)
        p->odd = 0;
    data__person_make(c->key, (uint64_t)(p->wiki ? i + (1 << 20) : i / EACH), &p->person);
    data__affect_still(c->key + 2, (uint64_t)i, (int)(i % DATA_EXPRESSIONS), &p->affect);
    data__shot_make(c->key + 3, (uint64_t)i, 0, size, size, &p->shot);
    p->shot.width = width;
    p->shot.height = height;
    p->shot.cx += (float)mn_rng_range(&r, 0, width - size);
    p->shot.cy += (float)mn_rng_range(&r, 0, height - size);
    plan_row(p, &r, i);
    float box[4];
    data__face_box(&p->person, &p->shot, box);
    if (p->odd == BOX_OVER) box[0] = -2.5f;
    int none = p->odd == NO_FACE;
    p->row.box[0] = none ? 1 : (double)box[0] + 1;
    p->row.box[1] = none ? 1 : (double)box[1] + 1;
    p->row.box[2] = none ? width : (double)(box[0] + box[2]) + 1;
    p->row.box[3] = none ? height : (double)(box[1] + box[3]) + 1;
}

// Pictures

static mn_err save_as(const imdb_ctx *c, data__worker *w, const picture *p, int folder, int width, int height)
{
    char *path = mn_sprintf("%s/%s/%s", c->root, folders[folder], p->path), *slash = strrchr(path, '/'), *bytes;
    size_t size;
    *slash = 0;
    mn_err err = mn_dir_make(path);
    *slash = '/';
    if (err == MN_OK) err = data__worker_save(w, path, width, height, 92, 0);
    if (err == MN_OK && p->rejected == CUT_OFF) {
        err = mn_file_read(path, (size_t)1 << 30, &bytes, &size);
        if (err == MN_OK) {
            err = mn_file_replace(path, bytes, size - size / 3);
            free(bytes);
        }
    }
    free(path);
    return err;
}

// The face with its margin, as far as there is a picture; in place.
static void cut(data__worker *w, const picture *p, int *width, int *height)
{
    float bw = (float)(p->row.box[2] - p->row.box[0]), bh = (float)(p->row.box[3] - p->row.box[1]);
    int left = (int)fmaxf(0, (float)p->row.box[0] - 1 - MARGIN * bw),
        top = (int)fmaxf(0, (float)p->row.box[1] - 1 - MARGIN * bh);
    int right = (int)fminf((float)*width, (float)p->row.box[2] - 1 + MARGIN * bw);
    int bottom = (int)fminf((float)*height, (float)p->row.box[3] - 1 + MARGIN * bh);
    if (p->odd == NO_FACE) return;
    for (int y = top; y < bottom; y++)
        memmove(w->rgb + (size_t)(y - top) * (size_t)(right - left) * 3,
                w->rgb + ((size_t)y * (size_t)*width + (size_t)left) * 3, (size_t)(right - left) * 3);
    *width = right - left;
    *height = bottom - top;
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    const imdb_ctx *c = ctx;
    picture p;
    plan(c, i, &p);
    int width = p.shot.width, height = p.shot.height;
    if (p.rejected == MISSING || p.rejected == NO_PATH) return MN_OK;
    data__worker_face(w, &p.person, p.odd == NO_FACE ? NULL : &p.affect, &p.shot);
    if (p.wiki) MN_TRY(save_as(c, w, &p, 2, width, height));
    if (p.rejected == ONE_PIXEL)
        width = height = 1;
    else
        cut(w, &p, &width, &height);
    return save_as(c, w, &p, p.wiki, width, height);
}

// Tables

static mn_err send_row(data__child *child, const picture *p)
{
    static const char zeros[8];
    wire_face f = p->row;
    f.path_bytes = (uint32_t)strlen(p->path);
    f.name_bytes = (uint32_t)strlen(p->name);
    size_t texts = (size_t)f.path_bytes + f.name_bytes;
    MN_TRY(data__child_write(child, &f, sizeof f));
    MN_TRY(data__child_write(child, p->path, f.path_bytes));
    MN_TRY(data__child_write(child, p->name, f.name_bytes));
    return data__child_write(child, zeros, (8 - texts % 8) % 8);
}

static mn_err send_rows(const imdb_ctx *c, data__child *child)
{
    for (int64_t i = c->table ? c->first_wiki : 0; i < (c->table ? c->cfg->images : c->first_wiki); i++) {
        picture p;
        plan(c, i, &p);
        for (int k = 0; k < (p.rejected == TWICE ? 2 : 1); k++)
            MN_TRY(send_row(child, &p));
    }
    return MN_OK;
}

static mn_err write_table(const imdb_ctx *c)
{
    char program[PATH_MAX];
    int status = 0;
    data__child child;
    MN_TRY(data_media_program(program, sizeof program));
    char *path = mn_sprintf("%s/%s/%s.mat", c->root, folders[c->table], c->table ? "wiki" : "imdb");
    char variable[] = "--variable=imdb", wiki[] = "--variable=wiki", plain[] = "--plain", make[] = "make-faces";
    char *argv[] = {program, make, path, c->table ? wiki : variable, c->table ? plain : NULL, NULL};
    mn_err err = data__child_start(&child, argv, -1, path, 3600);
    if (err == MN_OK) {
        err = send_rows(c, &child);
        mn_err ended = data__child_end(&child, err != MN_OK, &status);
        if (err == MN_OK) err = ended;
        if (err == MN_OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
            err = mn_fail(MN_EIO, "%s: the helper that writes it failed; what it said is above", path);
    }
    free(path);
    return err;
}

mn_err data__make_imdb_wiki(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    imdb_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.imdb-wiki")};
    c.first_wiki = cfg->images * 7 / 10;
    for (int k = 0; k < 3; k++) {
        char *path = mn_sprintf("%s/%s", root, folders[k]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    MN_TRY(data__spread(cfg->images, cfg->threads, make_picture, &c, report));
    for (c.table = 0; c.table < 3; c.table++)
        MN_TRY(write_table(&c));
    return MN_OK;
}
