// FER+: fer2013.csv (48 x 48 grey pixels as text) and fer2013new.csv, the votes of ten people for the same rows; and
// what FER+'s own script makes of them, pictures and a label.csv for each split. What is odd about the real lists is
// here too: rows without a name, which are no faces, a named one that is none either, ties, faces that most call
// unknown, a row of nine votes, pictures that label.csv lacks, quoted rectangles. Every picture is of a person of its
// own.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 48, PIXELS = SIDE * SIDE, UNKNOWN = 8, NO_FACE = 9, VOTERS = 10, SPLITS = 3 };

// FER+'s and FER2013's number of each expression of Aff-Wild2; Contempt is its Other, and FER2013 has none.
static const int fer_plus_class[DATA_EXPRESSIONS] = {0, 4, 5, 6, 1, 3, 2, 7};
static const int fer_class[DATA_EXPRESSIONS] = {6, 0, 1, 2, 3, 4, 5, 6};

static const char *const usage[SPLITS] = {"Training", "PublicTest", "PrivateTest"};
static const char *const folder[SPLITS] = {"FER2013Train", "FER2013Valid", "FER2013Test"};

typedef struct row {
    int split, expr, votes[DATA_VOTES];
    int named, listed; // in fer2013new.csv, in label.csv
    uint8_t pixels[PIXELS];
} row;

typedef struct ferplus_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    row *rows;
} ferplus_ctx;

static int split_of(const ferplus_ctx *c, int64_t i)
{
    return i < c->cfg->images * 8 / 10 ? 0 : i < c->cfg->images * 9 / 10 ? 1 : 2;
}

// rank: the place of row i in a random order, which says what is odd about it.
static void vote(const ferplus_ctx *c, int64_t i, int64_t rank, row *w)
{
    mn_stream_rng r = mn_rng_open(c->key + 1, (uint64_t)i, 0);
    int shown = fer_plus_class[w->expr], voters = rank == 7 ? VOTERS - 1 : VOTERS;
    w->named = rank % 50 != 19;
    w->listed = w->named && rank % 50 != 11;
    if (!w->named || rank % 50 == 9) {
        w->votes[NO_FACE] = VOTERS;
    } else if (rank % 20 == 5) { // a tie
        w->votes[shown] = w->votes[(shown + 1 + (int)mn_rng_below(&r, 7)) % 8] = VOTERS / 2;
    } else if (rank % 20 == 6) {
        w->votes[UNKNOWN] = 6;
        w->votes[shown] = 4;
    } else { // most are right
        int right = 6 + (int)mn_rng_below(&r, 5);
        w->votes[shown] = right < voters ? right : voters;
        for (int k = w->votes[shown]; k < voters; k++)
            w->votes[mn_rng_below(&r, UNKNOWN + 1)]++;
    }
}

static mn_err save(const ferplus_ctx *c, data__worker *w, int64_t i, const row *what)
{
    const uint8_t *bytes;
    size_t size;
    if (!what->listed) return MN_OK;
    MN_TRY(data_png_encode(w->coder, what->pixels, SIDE, SIDE, 1, &bytes, &size));
    char *path = mn_sprintf("%s/data/%s/fer%07lld.png", c->root, folder[what->split], (long long)i);
    mn_err err = data__file_write(path, bytes, size);
    free(path);
    w->pictures++;
    w->bytes += (int64_t)size;
    return err;
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    const ferplus_ctx *c = ctx;
    row *what = &c->rows[i];
    data__person p;
    data__affect a;
    data__shot shot;
    mn_rng4 deal = mn_rng_block(c->key + 2, (uint64_t)i / 8, 0, 0); // eight neighbours share out the expressions
    what->split = split_of(c, i);
    what->expr = (int)mn_rng_permute((uint64_t)deal.v[0] << 32 | deal.v[1], DATA_EXPRESSIONS, i % 8);
    vote(c, i, mn_rng_permute(c->key + 3, c->cfg->images, i), what);
    data__person_make(c->key, (uint64_t)i, &p);
    data__affect_still(c->key + 4, (uint64_t)i, what->expr, &a);
    data__shot_make(c->key + 5, (uint64_t)i, 0, SIDE, SIDE, &shot);
    data__worker_face(w, &p, what->votes[NO_FACE] == VOTERS ? NULL : &a, &shot);
    for (int k = 0; k < PIXELS; k++)
        what->pixels[k] = (uint8_t)((77 * w->rgb[3 * k] + 150 * w->rgb[3 * k + 1] + 29 * w->rgb[3 * k + 2]) >> 8);
    return save(c, w, i, what);
}

static mn_err write_text(const ferplus_ctx *c, data__text *t, const char *name)
{
    char *path = mn_sprintf("%s/%s", c->root, name);
    mn_err err = data__text_write(t, path);
    free(path);
    return err;
}

static mn_err write_pixels(const ferplus_ctx *c)
{
    data__text t = {0};
    data__text_add(&t, "emotion,pixels,Usage\n");
    for (int64_t i = 0; i < c->cfg->images; i++) {
        const row *w = &c->rows[i];
        data__text_add(&t, "%d,", fer_class[w->expr]);
        for (int k = 0; k < PIXELS; k++)
            data__text_add(&t, "%s%d", k ? " " : "", w->pixels[k]);
        data__text_add(&t, ",%s\n", usage[w->split]);
    }
    return write_text(c, &t, "fer2013.csv");
}

static void add_votes(data__text *t, const row *w)
{
    for (int k = 0; k < DATA_VOTES; k++)
        data__text_add(t, ",%d", w->votes[k]);
    data__text_add(t, "\n");
}

static mn_err write_votes(const ferplus_ctx *c)
{
    data__text t = {0};
    data__text_add(&t, "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n");
    for (int64_t i = 0; i < c->cfg->images; i++) {
        const row *w = &c->rows[i];
        data__text_add(&t, "%s,", usage[w->split]);
        if (w->named) data__text_add(&t, "fer%07lld.png", (long long)i);
        add_votes(&t, w);
    }
    return write_text(c, &t, "fer2013new.csv");
}

static mn_err write_labels(const ferplus_ctx *c, int split)
{
    data__text t = {0};
    data__text_add(&t, "%s", "");
    for (int64_t i = 0; i < c->cfg->images; i++) {
        const row *w = &c->rows[i];
        if (w->split != split || !w->listed) continue;
        data__text_add(&t, "fer%07lld.png,\"(0, 0, %d, %d)\"", (long long)i, SIDE, SIDE);
        add_votes(&t, w);
    }
    char *name = mn_sprintf("data/%s/label.csv", folder[split]);
    mn_err err = write_text(c, &t, name);
    free(name);
    return err;
}

mn_err data__make_ferplus(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    ferplus_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.ferplus")};
    for (int k = 0; k < SPLITS; k++) {
        char *path = mn_sprintf("%s/data/%s", root, folder[k]);
        mn_err err = mn_dir_make(path);
        free(path);
        MN_TRY(err);
    }
    c.rows = mn_calloc((size_t)cfg->images, sizeof *c.rows);
    mn_err err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    if (err == MN_OK) err = write_pixels(&c);
    if (err == MN_OK) err = write_votes(&c);
    for (int k = 0; k < SPLITS && err == MN_OK; k++)
        err = write_labels(&c, k);
    free(c.rows);
    return err;
}
