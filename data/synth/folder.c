// Pictures without labels in a tree of folders: JPEG and PNG, colour and grey, of several sizes, under names with
// spaces and capitals; and the odd file that is no picture.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct folder_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
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
    data__affect a;
    data__shot shot;
    data__person_make(c->key, (uint64_t)i, &p);
    data__affect_still(c->key + 2, (uint64_t)i, expr, &a);
    data__shot_make(c->key + 3, (uint64_t)i, 0, size, size + (int)mn_rng_below(&r, 12), &shot);
    data__worker_face(w, &p, &a, &shot);
    char *path = mn_sprintf("%s/%sIMG %04lld.%s", c->root, folders[mn_rng_below(&r, FOLDERS)], (long long)number,
                            endings[ending]);
    mn_err err = data__worker_save(w, path, shot.width, shot.height, 80 + (int)mn_rng_below(&r, 16), png);
    free(path);
    return err;
}

mn_err data__make_folder(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    folder_ctx c = {root, cfg, mn_rng_key(cfg->seed, "synth.folder")};
    for (int k = 0; k < FOLDERS; k++) {
        char *path = mn_sprintf("%s/%s", root, folders[k]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    char *path = mn_sprintf("%s/scans/notes.txt", root);
    mn_err err = data__file_write(path, "not a picture\n", 14);
    free(path);
    return err == MN_OK ? data__spread(cfg->images, cfg->threads, make_picture, &c, report) : err;
}
