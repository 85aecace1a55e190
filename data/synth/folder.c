// Pictures in a tree of folders: JPEG and PNG, colour and grey, of several sizes, under names with spaces and capitals; the
// odd file that is no picture; and labels.csv with every column that there is. Some pictures have no row, some labels are
// missing (empty, or -1), and of a hundred pictures five have a second row that is wrong in one way each.
#include "data/label.h"
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { UNLISTED_EVERY = 12, ODD_EVERY = 100, NAME_MOST = 64 };

typedef struct item { // a row of labels.csv
    char name[NAME_MOST];
    data__affect affect;
} item;

typedef struct folder_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    item *items;
} folder_ctx;

static const char *const folders[] = {"", "holiday 2019/", "holiday 2019/second day/", "scans/", "a/b/c/"};
enum { FOLDERS = sizeof folders / sizeof *folders };

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    static const char *const endings[] = {"jpg", "JPG", "jpeg", "png", "PNG"};
    const folder_ctx *c = ctx;
    mn_stream_rng r = mn_rng_open(c->key, (uint64_t)i, 0);
    int64_t number = mn_rng_permute(c->key + 1, c->cfg->images, i);
    int ending = mn_rng_below(&r, 8) < 5 ? 0 : (int)mn_rng_below(&r, 5), png = ending < 3 ? 0 : 1;
    if (png && mn_rng_below(&r, 4) == 0) png = 2;
    int size = (int)(c->cfg->size * mn_rng_range(&r, 0.8, 1.5)), expr = (int)mn_rng_below(&r, DATA_EXPRESSIONS);
    data__person p;
    item *it = &c->items[i];
    data__shot shot;
    data__person_make(c->key, (uint64_t)i, &p);
    data__affect_still(c->key + 2, (uint64_t)i, expr, &it->affect);
    data__shot_make(c->key + 3, (uint64_t)i, 0, size, size + (int)mn_rng_below(&r, 12), &shot);
    data__worker_face(w, &p, &it->affect, &shot);
    (void)snprintf(it->name, sizeof it->name, "%sIMG %04lld.%s", folders[mn_rng_below(&r, FOLDERS)], (long long)number,
                   endings[ending]);
    char *path = mn_sprintf("%s/%s", c->root, it->name);
    mn_err err = data__worker_save(w, path, shot.width, shot.height, 80 + (int)mn_rng_below(&r, 16), png);
    free(path);
    return err;
}

// labels.csv: a byte order mark and line ends of Windows, as spreadsheets write it.

static const char *split_of(int64_t i)
{
    return i % 10 == 0 ? "" : i % 10 == 8 ? "validation" : i % 10 == 9 ? "test" : "train"; // "": what its folder says
}

static void add_expression(data__text *t, int64_t i, int expr)
{
    if (i % 15 == 4)
        data__text_add(t, ",%s", i % 2 ? "" : "-1");
    else if (i % 3 == 0)
        data__text_add(t, ",%s", data_expression[expr]);
    else
        data__text_add(t, ",%d", expr);
}

static void add_row(data__text *t, const item *it, int64_t i)
{
    data__text_add(t, i % 4 ? "%s,%s" : "\"%s\",%s", it->name, split_of(i));
    add_expression(t, i, it->affect.expr);
    data__text_add(t, i % 9 == 2 ? ",,%.3f" : ",%.3f,%.3f", i % 9 == 2 ? it->affect.arousal : it->affect.valence,
                   it->affect.arousal);
    for (int k = 0; k < DATA_AUS; k++)
        data__text_add(t, ",%d", (i + k) % 17 == 5 ? -1 : it->affect.au[k] >= (float)DATA__AU_THRESHOLD);
    data__text_add(t, "\r\n");
}

// A row that is rejected beside the one that counts.
static void add_odd_row(data__text *t, const item *it, int64_t i)
{
    static const char rest[] = ",,,,,,,,,,,,";
    switch (i % ODD_EVERY) {
    case 13:
        data__text_add(t, "%s,train,0,0,0%s\r\n", it->name, rest);
        break; // a second one
    case 19:
        data__text_add(t, "%s,,%d,,%s\r\n", it->name, DATA_EXPRESSIONS, rest);
        break; // no such expression
    case 25:
        data__text_add(t, "%s,,,high,%s\r\n", it->name, rest);
        break;
    case 31:
        data__text_add(t, "%s,,\r\n", it->name);
        break;
    case 37:
        data__text_add(t, "lost/%s,,,,%s\r\n", it->name, rest);
        break; // no such picture
    default:
        break;
    }
}

static mn_err write_labels(const folder_ctx *c)
{
    data__text t = {0};
    data__text_add(&t, "\xef\xbb\xbf"
                       "file,split,expression,valence,arousal");
    for (int k = 0; k < DATA_AUS; k++)
        data__text_add(&t, ",%s", data_au[k]);
    data__text_add(&t, "\r\n");
    for (int64_t i = 0; i < c->cfg->images; i++) {
        if (i % UNLISTED_EVERY == 6) continue;
        add_row(&t, &c->items[i], i);
        add_odd_row(&t, &c->items[i], i);
    }
    char *path = mn_sprintf("%s/labels.csv", c->root);
    mn_err err = data__text_write(&t, path);
    free(path);
    return err;
}

mn_err data__make_folder(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    folder_ctx c = {root, cfg, mn_rng_key(cfg->seed, "synth.folder"), NULL};
    for (int k = 0; k < FOLDERS; k++) {
        char *path = mn_sprintf("%s/%s", root, folders[k]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    char *path = mn_sprintf("%s/scans/notes.txt", root);
    mn_err err = data__file_write(path, "not a picture\n", 14);
    free(path);
    MN_TRY(err);
    c.items = mn_calloc((size_t)cfg->images, sizeof *c.items);
    err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    if (err == MN_OK) err = write_labels(&c);
    free(c.items);
    return err;
}
