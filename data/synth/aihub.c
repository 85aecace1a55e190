// AI-Hub's Korean emotion pictures: a folder of pictures and a list (JSON) for each emotion, in Training and Validation. What
// is odd about the real set is here too: lists in CP949 or UTF-8 with a byte order mark, names of files in CP949 or taken
// apart into letters, annotators who disagree or say nothing, the field names of the manual, telephones' orientation,
// boxes that reach over the edge, rows without a picture, pictures whose names differ in Hangul alone. A person has
// several pictures and is in one split.
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMOTIONS = 7, EACH = 5, ANNOTATORS = 3 };
enum { ENCODED_CP949, ENCODED_MARKED, ENCODED_UTF8 };
enum { NAMED_UTF8, NAMED_CP949, NAMED_APART };

static const struct emotion {
    const char *word;
    int expr;               // Aff-Wild2's
    int list, files, names; // how the list, the names of the files, the names in the list are written
    int manual;             // field names of the manual
} emotions[EMOTIONS] = {
    {"기쁨", 4, ENCODED_CP949, NAMED_CP949, NAMED_UTF8, 0}, {"당황", 6, ENCODED_MARKED, NAMED_APART, NAMED_UTF8, 0},
    {"분노", 1, ENCODED_UTF8, NAMED_UTF8, NAMED_UTF8, 0},   {"불안", 3, ENCODED_CP949, NAMED_APART, NAMED_UTF8, 0},
    {"상처", 7, ENCODED_MARKED, NAMED_UTF8, NAMED_UTF8, 1}, {"슬픔", 5, ENCODED_UTF8, NAMED_CP949, NAMED_APART, 0},
    {"중립", 0, ENCODED_CP949, NAMED_UTF8, NAMED_UTF8, 0}};

static const struct split {
    const char *folder, *suffix, *list;
} splits[2] = {{"Training", "TRAIN", "training"}, {"Validation", "VALID", "validation"}};

static const char *const places[] = {"도심 환경", "자연", "실내"};

// What is odd about a picture, by its place in a random order.
enum {
    TURNED = 3,
    BOX_OVER = 4,
    ALL_DIFFER = 5,
    TWO_OVERRULE = 6,
    NO_BOXES = 7,
    ONE_SILENT = 9,
    UPPER_CASE = 10,
    AGE_IN_WORDS = 12,
    ONE_LIKE_IT = 13,
    ODD_EVERY = 20
};
enum { MISSING = 21, TWICE = 22, UNKNOWN_WORD = 28, BOX_OUTSIDE = 31, REJECTED_EVERY = 50 };

typedef struct hub_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    char **rows;    // of each picture, made with it, UTF-8
    uint8_t *where; // emotion of each, and 16 for validation
} hub_ctx;

typedef struct picture {
    int split, emotion, odd, rejected, age, male, turned;
    char *name; // of the file, composed UTF-8
    data__person person;
    data__affect affect;
    data__shot shot;
} picture;

static int split_of(int64_t person)
{
    return person % 7 == 3;
}

// Names

static char *in_cp949(const char *text)
{
    size_t n = strlen(text), left = n + 1;
    char *out = mn_calloc(left, 1), *to = out, *from = (char *)(uintptr_t)text; // iconv does not write to it
    iconv_t c = iconv_open("CP949", "UTF-8");
    mn_assert(c != (iconv_t)-1 && iconv(c, &from, &n, &to, &left) != (size_t)-1);
    (void)iconv_close(c);
    return out;
}

static void put_code(data__text *t, int code)
{
    data__text_add(t, "%c%c%c", 0xe0 | code >> 12, 0x80 | (code >> 6 & 63), 0x80 | (code & 63));
}

// Syllables become letters, as macOS writes names (Unicode 3.12).
static char *taken_apart(const char *text)
{
    enum { SYLLABLES = 0xac00, COUNT = 19 * 21 * 28, LEADING = 0x1100, VOWELS = 0x1161, TRAILING = 0x11a7 };
    data__text t = {0};
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        int code = (p[0] & 0xf0) == 0xe0 ? (p[0] & 15) << 12 | (p[1] & 63) << 6 | (p[2] & 63) : 0;
        int at = code - SYLLABLES;
        if (at < 0 || at >= COUNT) {
            data__text_add(&t, "%c", *p++);
            continue;
        }
        put_code(&t, LEADING + at / (21 * 28));
        put_code(&t, VOWELS + at / 28 % 21);
        if (at % 28) put_code(&t, TRAILING + at % 28);
        p += 3;
    }
    return t.bytes;
}

static char *named(const char *text, int how)
{
    return how == NAMED_CP949 ? in_cp949(text) : how == NAMED_APART ? taken_apart(text) : mn_strdup(text);
}

static void name_picture(const hub_ctx *c, int64_t i, picture *p)
{
    mn_stream_rng person = mn_rng_open(c->key + 1, (uint64_t)(i / EACH), 0),
                  r = mn_rng_open(c->key + 2, (uint64_t)i, 0);
    char hex[65];
    for (int k = 0; k < 8; k++)
        snprintf(hex + 8 * k, 9, "%08x", mn_rng_u32(&person));
    const char *place = places[mn_rng_below(&r, 3)];
    int day = 1 + (int)mn_rng_below(&r, 28), second = (int)mn_rng_below(&r, 60);
    p->name = mn_sprintf("%s_%s_%d_%s_%s_202011%02d1249%02d-%03d-%03d.%s", hex, p->male ? "남" : "여", p->age,
                         emotions[p->emotion].word, place, day, second, (int)(i / EACH % 1000), (int)(i % 1000),
                         p->odd == UPPER_CASE ? "JPG" : "jpg");
}

// Plan

static void plan(const hub_ctx *c, int64_t i, picture *p)
{
    int64_t rank = mn_rng_permute(c->key, c->cfg->images, i), who = i / EACH;
    mn_rng4 deal = mn_rng_block(c->key + 3, (uint64_t)i / EMOTIONS, 0, 0); // neighbours share out the emotions
    *p = (picture){.split = split_of(who), .odd = (int)(rank % ODD_EVERY), .rejected = (int)(rank % REJECTED_EVERY)};
    if (p->rejected == MISSING || p->rejected == TWICE || p->rejected == UNKNOWN_WORD || p->rejected == BOX_OUTSIDE)
        p->odd = 0;
    p->emotion = (int)mn_rng_permute((uint64_t)deal.v[0] << 32 | deal.v[1], EMOTIONS, i % EMOTIONS);
    p->turned = p->odd == TURNED ? (rank / ODD_EVERY % 3 == 0 ? 6 : rank / ODD_EVERY % 3 == 1 ? 3 : 8) : 0;
    data__affect_still(c->key + 4, (uint64_t)i, emotions[p->emotion].expr, &p->affect);
    data__person_make(c->key, (uint64_t)who, &p->person);
    p->male = p->person.male;
    p->age = p->person.young ? 20 : 40;
    name_picture(c, i, p);
    mn_stream_rng r = mn_rng_open(c->key + 5, (uint64_t)i, 0);
    int size = c->cfg->size, width = (int)(size * mn_rng_range(&r, 1.3, 2)),
        height = (int)(size * mn_rng_range(&r, 1.2, 1.7));
    data__shot_make(c->key + 6, (uint64_t)i, 0, size, size, &p->shot);
    p->shot.width = width;
    p->shot.height = height;
    p->shot.cx += (float)mn_rng_range(&r, 0, width - size);
    p->shot.cy += (float)mn_rng_range(&r, 0, height - size);
}

// Rows

static void add_boxes(data__text *t, const picture *p, int annotator, const char *label)
{
    float box[4];
    data__face_box(&p->person, &p->shot, box);
    float x = p->odd == BOX_OVER ? -3.5f : p->rejected == BOX_OUTSIDE ? (float)p->shot.width + 4 : box[0];
    float off = (float)annotator - 1; // two of them are a pixel beside the one in the middle
    data__text_add(t, "\"boxes\": {");
    if (label) data__text_add(t, "\"label\": \"%s\"", label);
    if (p->odd != NO_BOXES && !(p->odd == ONE_SILENT && annotator == 2))
        data__text_add(t, "%s\"maxX\": %.3f, \"maxY\": %.3f, \"minX\": %.3f, \"minY\": %.3f", label ? ", " : "",
                       (double)(x + box[2] + off), (double)(box[1] + box[3] - off), (double)(x - off),
                       (double)(box[1] + off));
    data__text_add(t, "}");
}

static const char *word_of(const picture *p, int annotator)
{
    int e = p->emotion;
    if (p->rejected == UNKNOWN_WORD) return "모름"; // "don't know"
    if (p->odd == ONE_SILENT && annotator == 2) return "";
    if (p->odd == ALL_DIFFER) e += annotator + 1;
    if (p->odd == TWO_OVERRULE && annotator > 0) e += 2;
    return emotions[e % EMOTIONS].word;
}

static void add_row(const hub_ctx *c, data__text *t, int64_t i, const picture *p)
{
    const struct emotion *e = &emotions[p->emotion];
    char *name = named(p->name, e->names);
    int unknown = p->rejected == UNKNOWN_WORD;
    mn_stream_rng r = mn_rng_open(c->key + 7, (uint64_t)i, 0);
    const char *place = places[mn_rng_below(&r, 3)];
    data__text_add(t, "{\"filename\": \"%s\", \"gender\": \"%s\", ", name,
                   p->odd == AGE_IN_WORDS ? ""
                   : p->male              ? "남"
                                          : "여");
    data__text_add(t, p->odd == AGE_IN_WORDS ? "\"age\": \"%d대\", " : "\"age\": %d, ", p->age);
    data__text_add(t, "\"isProf\": \"%s\", \"faceExp_uploader\": \"%s\", \"bg_uploader\": \"%s\"",
                   mn_rng_below(&r, 2) ? "전문인" : "일반인", unknown ? "모름" : e->word, place);
    for (int k = 0; k < ANNOTATORS; k++) {
        data__text_add(t, ", \"%s_%c\": {", e->manual ? "faceBB" : "annot", 'A' + k);
        add_boxes(t, p, k, e->manual ? word_of(p, k) : NULL);
        if (!e->manual) data__text_add(t, ", \"faceExp\": \"%s\"", word_of(p, k));
        data__text_add(t, ", \"bg\": \"%s\"}", place);
    }
    data__text_add(t, "}");
    free(name);
}

// Pictures

// The pixels as a telephone held in another way stores them: `orientation` makes them upright.
static void turn(data__worker *w, int *width, int *height, int orientation)
{
    int from_w = *width, from_h = *height, to_w = orientation == 3 ? from_w : from_h,
        to_h = orientation == 3 ? from_h : from_w;
    uint8_t *out = mn_calloc((size_t)to_w * (size_t)to_h, 3);
    for (int y = 0; y < to_h; y++)
        for (int x = 0; x < to_w; x++) {
            int fx = orientation == 3 ? from_w - 1 - x : orientation == 6 ? from_w - 1 - y : y;
            int fy = orientation == 3 ? from_h - 1 - y : orientation == 6 ? x : from_h - 1 - x;
            memcpy(out + 3 * ((size_t)y * (size_t)to_w + (size_t)x),
                   w->rgb + 3 * ((size_t)fy * (size_t)from_w + (size_t)fx), 3);
        }
    free(w->rgb);
    w->rgb = out;
    w->rgb_capacity = (size_t)to_w * (size_t)to_h * 3;
    *width = to_w;
    *height = to_h;
}

// As data__worker_save, with an EXIF part that holds the orientation behind the first two bytes.
static mn_err save_turned(data__worker *w, const char *path, const picture *p)
{
    unsigned char exif[36] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f',  0, 0, 'I', 'I', 42,
                              0,    8,    0, 0,  0,   1,   0,   0x12, 1, 3, 0,   1};
    int width = p->shot.width, height = p->shot.height;
    const uint8_t *bytes;
    size_t size;
    exif[28] = (unsigned char)p->turned;
    turn(w, &width, &height, p->turned);
    MN_TRY(data_jpeg_encode(w->coder, w->rgb, width, height, 90, 0, &bytes, &size));
    char *file = mn_calloc(size + sizeof exif, 1);
    memcpy(file, bytes, 2);
    memcpy(file + 2, exif, sizeof exif);
    memcpy(file + 2 + sizeof exif, bytes + 2, size - 2);
    mn_err err = data__file_write(path, file, size + sizeof exif);
    free(file);
    w->pictures++;
    w->bytes += (int64_t)(size + sizeof exif);
    return err;
}

static char *folder_of(const hub_ctx *c, int split, int emotion)
{
    return mn_sprintf("%s/%s/EMOIMG_%s_%s_01", c->root, splits[split].folder, emotions[emotion].word,
                      splits[split].suffix);
}

static mn_err save(const hub_ctx *c, data__worker *w, const picture *p, const char *name)
{
    char *folder = folder_of(c, p->split, p->emotion), *file = named(name, emotions[p->emotion].files);
    char *path = mn_sprintf("%s/%s", folder, file);
    mn_err err = p->turned ? save_turned(w, path, p) : data__worker_save(w, path, p->shot.width, p->shot.height, 90, 0);
    free(path);
    free(file);
    free(folder);
    return err;
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    hub_ctx *c = ctx;
    picture p;
    mn_err err = MN_OK;
    plan(c, i, &p);
    data__text t = {0};
    add_row(c, &t, i, &p);
    if (p.rejected == TWICE) {
        data__text_add(&t, ",\n");
        add_row(c, &t, i, &p);
    }
    c->rows[i] = t.bytes;
    c->where[i] = (uint8_t)(p.emotion | p.split << 4);
    if (p.rejected != MISSING) {
        data__worker_face(w, &p.person, &p.affect, &p.shot);
        err = save(c, w, &p, p.name);
    }
    if (p.odd == ONE_LIKE_IT && err == MN_OK) { // of another emotion, as far as its name goes
        char *at = strstr(p.name, emotions[p.emotion].word);
        memcpy(at, emotions[(p.emotion + 1) % EMOTIONS].word, strlen("기쁨"));
        err = save(c, w, &p, p.name);
    }
    free(p.name);
    return err;
}

static mn_err write_list(const hub_ctx *c, int split, int emotion)
{
    const struct emotion *e = &emotions[emotion];
    const char *end = e->list == ENCODED_CP949 ? "\r\n" : "\n", *between = "";
    data__text t = {0};
    data__text_add(&t, "%s[%s", e->list == ENCODED_MARKED ? "\xef\xbb\xbf" : "", end);
    for (int64_t i = 0; i < c->cfg->images; i++) {
        if (c->where[i] != (emotion | split << 4)) continue;
        data__text_add(&t, "%s%s", between, c->rows[i]);
        between = e->list == ENCODED_CP949 ? ",\r\n" : ",\n";
    }
    data__text_add(&t, "%s]", end);
    if (e->list == ENCODED_CP949) {
        char *cp949 = in_cp949(t.bytes);
        free(t.bytes);
        t = (data__text){.bytes = cp949, .size = strlen(cp949)};
    }
    char *path = mn_sprintf("%s/%s/EMOIMG_%s_%s/img_emotion_%s_data(%s).json", c->root, splits[split].folder, e->word,
                            splits[split].suffix, splits[split].list, e->word);
    mn_err err = data__text_write(&t, path);
    free(path);
    return err;
}

static mn_err make_folders(const hub_ctx *c)
{
    for (int split = 0; split < 2; split++)
        for (int k = 0; k < EMOTIONS; k++) {
            char *pictures = folder_of(c, split, k), *list = mn_strdup(pictures);
            list[strlen(list) - 3] = 0; // without "_01"
            mn_err err = mn_dir_make(pictures);
            if (err == MN_OK) err = mn_dir_make(list);
            free(pictures);
            free(list);
            MN_TRY(err);
        }
    return MN_OK;
}

mn_err data__make_aihub(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    hub_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.aihub")};
    MN_TRY(make_folders(&c));
    c.rows = mn_calloc((size_t)cfg->images, sizeof *c.rows);
    c.where = mn_calloc((size_t)cfg->images, 1);
    mn_err err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    for (int split = 0; split < 2; split++)
        for (int k = 0; k < EMOTIONS && err == MN_OK; k++)
            err = write_list(&c, split, k);
    for (int64_t i = 0; i < cfg->images; i++)
        free(c.rows[i]);
    free(c.rows);
    free(c.where);
    return err;
}
