// s-Aff-Wild2: single crops of the generated Aff-Wild2's people in the layout of ABAW4, and lists with the labels of all
// tasks. What is odd about the real lists is here too: rows twice, with the same labels or others, pictures that are not
// there, values marked invalid one by one or all, blanks behind commas, action units as 1.0, a trailing comma, Windows' line
// ends, and, in a few rows, what no annotator means.
#include "data/synth/output.h"
#include "data/synth/wild.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>
#include <string.h>

// What is odd about a row, by its place in a random order.
enum {
    MISSING = 21,
    SAME_TWICE = 22,
    NO_LABEL = 23,
    OUT_OF_RANGE = 24,
    BLANKS = 25,
    SHORT = 26,
    ONE_INVALID = 27,
    TRAILING_COMMA = 28,
    OTHER_TWICE = 31,
    EVERY = 50
};

typedef struct mtl_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    data_synth_videos *v;
    uint64_t key;
    char **rows;     // of each picture, made with it
    uint8_t *splits; // DATA_SPLIT_*
} mtl_ctx;

typedef struct picture {
    const data__wild_video *video;
    const data__wild_subject *subject;
    int64_t frame;
    int odd;
    data__affect affect;
} picture;

// Picture i is of video i % videos, one of its subjects, and of a frame that no other picture has.
static void plan(const mtl_ctx *c, int64_t i, picture *p)
{
    int64_t n = c->v->n, k = i / n;
    p->video = &c->v->video[i % n];
    p->subject = &p->video->subject[k % p->video->subjects];
    p->frame = 1 + 3 * k;
    p->odd = (int)(mn_rng_permute(c->key, c->cfg->images, i) % EVERY);
    data__wild_affect(c->v, p->video, p->subject, p->frame, &p->affect);
}

static void add_row(data__text *t, const mtl_ctx *c, const picture *p, int other)
{
    const char *blank = p->odd == BLANKS ? " " : "";
    unsigned va = data__wild_invalid(c->v, p->subject, DATA_VA, p->frame);
    unsigned expr = data__wild_invalid(c->v, p->subject, DATA_EXPR, p->frame);
    unsigned au = data__wild_invalid(c->v, p->subject, DATA_AU, p->frame);
    if (p->odd == NO_LABEL) va = expr = au = ~0u;
    if (p->odd == ONE_INVALID) va = 1;
    data__text_add(t, "%s/%05lld.jpg", p->subject->name, (long long)p->frame);
    for (int k = 0; k < 2; k++) {
        double v = k ? p->affect.arousal : p->affect.valence;
        if (p->odd == OUT_OF_RANGE && k == 0)
            data__text_add(t, ",3.2");
        else if (va >> k & 1)
            data__text_add(t, ",%s-5", blank);
        else
            data__text_add(t, ",%s%.3f", blank, v == 0 ? 0.0 : v);
    }
    data__text_add(t, ",%s%d", blank, expr ? -1 : (p->affect.expr + other) % DATA_EXPRESSIONS);
    for (int k = 0; k < DATA_AUS - (p->odd == SHORT); k++) {
        int active = au >> k & 1 ? -1 : p->affect.au[k] >= (float)DATA__AU_THRESHOLD;
        data__text_add(t, p->odd == BLANKS ? ", %d.0" : ",%d", active);
    }
    data__text_add(t, p->odd == TRAILING_COMMA ? ",\n" : "\n");
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    mtl_ctx *c = ctx;
    picture p;
    data__person person;
    data__shot shot;
    data__text t = {0};
    int size = c->cfg->size;
    plan(c, i, &p);
    c->splits[i] = (uint8_t)p.video->split;
    if (p.video->split == DATA_SPLIT_TEST)
        data__text_add(&t, "%s/%05lld.jpg,\n", p.subject->name, (long long)p.frame);
    else
        add_row(&t, c, &p, 0);
    if (p.video->split != DATA_SPLIT_TEST && (p.odd == SAME_TWICE || p.odd == OTHER_TWICE))
        add_row(&t, c, &p, p.odd == OTHER_TWICE);
    c->rows[i] = t.bytes;
    if (p.odd == MISSING) return MN_OK;
    data__person_make(mn_rng_key(c->cfg->seed, "synth.wild"), p.subject->person, &person);
    data__shot_make(c->v->shot_key, p.subject->row, (double)data__wild_time(c->v, p.video, p.frame) * 1e-6, size, size,
                    &shot);
    data__worker_face(w, &person, &p.affect, &shot);
    char *folder = mn_sprintf("%s/%scropped_aligned/%s", c->root, p.video->split == DATA_SPLIT_TEST ? "testset/" : "",
                              p.subject->name);
    char *path = mn_sprintf("%s/%05lld.jpg", folder, (long long)p.frame);
    mn_err err = mn_dir_make(folder);
    if (err == MN_OK) err = data__worker_save(w, path, size, size, 92, 0);
    free(path);
    free(folder);
    return err;
}

static mn_err write_list(const mtl_ctx *c, int split, const char *name)
{
    data__text t = {0};
    if (split != DATA_SPLIT_TEST) data__text_add(&t, "image,valence,arousal,expression,aus\n");
    for (int64_t i = 0; i < c->cfg->images; i++)
        if (c->splits[i] == split) data__text_add(&t, "%s", c->rows[i]);
    if (split == DATA_SPLIT_VALIDATION) { // Windows' line ends, and none at the end
        data__text crlf = {0};
        for (size_t k = 0; k < t.size; k++)
            if (t.bytes[k] != '\n')
                data__text_add(&crlf, "%c", t.bytes[k]);
            else if (k + 1 < t.size)
                data__text_add(&crlf, "\r\n");
        free(t.bytes);
        t = crlf;
    }
    char *path = mn_sprintf("%s/%s", c->root, name);
    mn_err err = data__text_write(&t, path);
    free(path);
    return err;
}

static mn_err make(mtl_ctx *c, data_synth_report *report)
{
    static const char *const folders[] = {"cropped_aligned", "testset/cropped_aligned"};
    for (int k = 0; k < 2; k++) {
        char *path = mn_sprintf("%s/%s", c->root, folders[k]), *store = mn_sprintf("%s/.DS_Store", path);
        mn_err err = mn_dir_make(path);
        if (err == MN_OK) err = data__file_write(store, "\0\0\0\1Bud1", 8); // what a Mac leaves
        free(path);
        free(store);
        MN_TRY(err);
    }
    MN_TRY(data__spread(c->cfg->images, c->cfg->threads, make_picture, c, report));
    MN_TRY(write_list(c, DATA_SPLIT_TRAIN, "training_set_annotations.txt"));
    MN_TRY(write_list(c, DATA_SPLIT_VALIDATION, "validation_set_annotations.txt"));
    return write_list(c, DATA_SPLIT_TEST, "testset/MTL_Challenge_test_set_release.txt");
}

mn_err data__make_s_affwild2(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    mtl_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.s-affwild2")};
    data_synth_cfg videos = *cfg;
    videos.videos = cfg->images / 20 > 3 ? cfg->images / 20 : 3;
    MN_TRY(data_synth_videos_open(&c.v, &videos));
    c.rows = mn_calloc((size_t)cfg->images, sizeof *c.rows);
    c.splits = mn_calloc((size_t)cfg->images, 1);
    mn_err err = make(&c, report);
    for (int64_t i = 0; i < cfg->images; i++)
        free(c.rows[i]);
    free(c.rows);
    free(c.splits);
    data_synth_videos_close(c.v);
    return err;
}
