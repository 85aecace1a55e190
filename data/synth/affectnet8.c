// AffectNet as of 2021: cropped faces under plain numbers, four .npy files of annotations for each. Every picture is of a
// person of its own. The types that such arrays come with are here (text, numbers, shapes () and (1,), header versions 1
// and 2), and what is odd: -2, missing landmarks, and, in corpora of 18 pictures and more, an array of pickled objects, an
// expression out of range, a picture without annotations and annotations without a picture.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANDMARKS = 136, HEADER_MOST = 128 };

// What is odd about a picture: a share of one in PERIOD each.
enum { PERIOD = 50, PICKLED = 17, NO_EXPRESSION = 23, OUT_OF_RANGE = 31, NO_PICTURE = 41 };

// AffectNet's number of each expression of Aff-Wild2; Contempt is its "Other".
static const int affectnet_class[DATA_EXPRESSIONS] = {0, 6, 5, 4, 1, 2, 3, 7};

typedef struct net_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    int64_t training; // pictures of train_set; the others are val_set's
} net_ctx;

// A file of `bytes` after a header padded as NumPy does it, with the text in `shape`.
static mn_err write_npy(const char *path, int version, const char *descr, const char *shape, const void *items,
                        size_t bytes)
{
    unsigned char file[HEADER_MOST + LANDMARKS * 8];
    size_t before = version == 1 ? 10 : 12;
    mn_assert(bytes <= LANDMARKS * 8);
    memset(file, ' ', HEADER_MOST);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    file[7] = 0;
    memset(file + 8, 0, before - 8);
    file[8] = (unsigned char)(HEADER_MOST - before);
    char text[HEADER_MOST];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
    mn_assert(n > 0 && (size_t)n < HEADER_MOST - before);
    memcpy(file + before, text, (size_t)n);
    file[HEADER_MOST - 1] = '\n';
    memcpy(file + HEADER_MOST, items, bytes);
    return data__file_write(path, file, HEADER_MOST + bytes);
}

// One number in one of the ways it may be written: text, double, float or integer.
static mn_err write_number(const char *path, int style, int whole, double value)
{
    char text[24], descr[16];
    uint32_t wide[24] = {0};
    int n = snprintf(text, sizeof text, "%.6g", value);
    int64_t integer = (int64_t)value;
    float single = (float)value;
    switch (style) {
    case 0: // NumPy's str
        for (int i = 0; i < n; i++)
            wide[i] = (unsigned char)text[i];
        snprintf(descr, sizeof descr, "<U%d", n);
        return write_npy(path, 1, descr, "()", wide, (size_t)n * 4);
    case 1:
        return write_npy(path, 1, "<f8", "()", &value, sizeof value);
    case 2:
        if (whole) return write_npy(path, 1, "<i8", "(1,)", &integer, sizeof integer);
        return write_npy(path, 1, "<f4", "(1,)", &single, sizeof single);
    default:
        snprintf(descr, sizeof descr, "|S%d", n);
        return write_npy(path, 2, descr, "(1,)", text, (size_t)n);
    }
}

static mn_err write_landmarks(const char *path, const data__person *p, const data__affect *a, const data__shot *shot)
{
    float xy[LANDMARKS];
    double wide[LANDMARKS];
    data__face_points(p, a->face, a->face_own, shot, xy);
    for (int i = 0; i < LANDMARKS; i++)
        wide[i] = (double)xy[i];
    return write_npy(path, 1, "<f8", "(136,)", wide, sizeof wide);
}

// folder: that of the set; id: of the picture in it.
static mn_err annotate(const net_ctx *c, int64_t i, const char *folder, int64_t id, const data__person *p,
                       const data__affect *a, const data__shot *shot)
{
    static const char pickle[] = "\x80\x04K\x03.";
    mn_stream_rng r = mn_rng_open(c->key + 6, (uint64_t)i, 0);
    int odd = (int)(i % PERIOD), style = mn_rng_below(&r, 2) ? 0 : (int)mn_rng_below(&r, 4);
    int none = mn_rng_below(&r, 25) == 0, landmarks = mn_rng_below(&r, 20) > 0;
    double number[3] = {odd == OUT_OF_RANGE ? 9 : affectnet_class[a->expr], none ? -2 : a->valence,
                        none ? -2 : a->arousal};
    static const char *const name[] = {"exp", "val", "aro", "lnd"};
    mn_err err = MN_OK;
    for (int k = 0; k < 4 && err == MN_OK; k++) {
        char *path = mn_sprintf("%s/annotations/%lld_%s.npy", folder, (long long)id, name[k]);
        if (k == 3)
            err = landmarks ? write_landmarks(path, p, a, shot) : MN_OK;
        else if (k == 0 && odd == PICKLED)
            err = write_npy(path, 1, "|O", "()", pickle, sizeof pickle - 1);
        else if (k > 0 || odd != NO_EXPRESSION)
            err = write_number(path, style, k == 0, number[k]);
        free(path);
    }
    return err;
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    const net_ctx *c = ctx;
    int size = c->cfg->size;
    data__person p;
    data__affect a;
    data__shot shot;
    // Eight neighbours share out the expressions.
    mn_rng4 deal = mn_rng_block(c->key + 4, (uint64_t)i / 8, 0, 0);
    int expr = (int)mn_rng_permute((uint64_t)deal.v[0] << 32 | deal.v[1], DATA_EXPRESSIONS, i % 8);
    data__affect_still(c->key + 5, (uint64_t)i, expr, &a);
    data__person_make(c->key, (uint64_t)i, &p);
    data__shot_make(c->key + 3, (uint64_t)i, 0, size, size, &shot);
    int64_t training = i < c->training, number = training ? i : i - c->training;
    mn_rng4 gap = mn_rng_block(c->key + 1, (uint64_t)i, 0, 0);
    int64_t id = number * 3 + gap.v[0] % 3; // numbers have gaps
    char *folder = mn_sprintf("%s/%s", c->root, training ? "train_set" : "val_set");
    char *path = mn_sprintf("%s/images/%lld.jpg", folder, (long long)id);
    mn_err err = annotate(c, i, folder, id, &p, &a, &shot);
    if (err == MN_OK && i % PERIOD != NO_PICTURE) {
        data__worker_face(w, &p, &a, &shot);
        err = data__worker_save(w, path, size, size, 90, 0);
    }
    free(path);
    free(folder);
    return err;
}

mn_err data__make_affectnet8(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    static const char *const folders[] = {"train_set/images", "train_set/annotations", "val_set/images",
                                          "val_set/annotations"};
    net_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.affectnet8")};
    c.training = cfg->images * 7 / 8;
    for (int k = 0; k < 4; k++) {
        char *path = mn_sprintf("%s/%s", root, folders[k]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    return data__spread(cfg->images, cfg->threads, make_picture, &c, report);
}
