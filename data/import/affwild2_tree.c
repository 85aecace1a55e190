#include "data/import/affwild2.h"
#include "data/import/find.h"
#include "data/import/text.h"
#include "data/video_name.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// A picture named by its date is none of 20,240,101 frames: six digits are nine hours.
enum { DEPTH = 5, SET_DEPTH = 3, CROP_ROOTS = 3, FRAME_DIGITS = 6 };
#define LIST_MOST ((size_t)16 << 20)

// Roots of crops, the better ones first: aligned crops are preferred where a video has both.
static const char *const crop_root[CROP_ROOTS] = {"cropped_aligned", "cropped_aligned_new_50_vids", "cropped"};
static const struct {
    const char *name;
    int task;
} task_folder[] = {{"EXPR_Recognition_Challenge", DATA_EXPR},
                   {"EXPR_Classification_Challenge", DATA_EXPR},
                   {"EXPR_Set", DATA_EXPR},
                   {"AU_Detection_Challenge", DATA_AU},
                   {"AU_Set", DATA_AU},
                   {"VA_Estimation_Challenge", DATA_VA},
                   {"VA_Set", DATA_VA}};
static const char *const task_text[DATA_TASKS] = {"EXPR", "AU", "VA"};

typedef struct tree {
    data__import *im;
    data__aw_tree *out;
    int64_t videos_capacity, media_capacity;
    int n_roots;
    struct {
        int kind; // of crop_root
        char *path;
    } * roots;
    char *annotations[DATA_TASKS]; // the newest edition's
    int n_lists;
    char **lists; // of test sets
} tree;

static int is_folder(data__kind kind)
{
    return kind == DATA__FOLDER || kind == DATA__FOLDER_LINK;
}

static int begins(const char *s, const char *with)
{
    return strncasecmp(s, with, strlen(with)) == 0;
}

static int ends(const char *s, const char *with)
{
    size_t n = strlen(s), k = strlen(with);
    return n >= k && strcasecmp(s + n - k, with) == 0;
}

int64_t data__aw_frame(const char *name)
{
    int64_t v = 0;
    int n = 0;
    for (; n < FRAME_DIGITS && isdigit((unsigned char)name[n]); n++)
        v = v * 10 + (name[n] - '0');
    int picture = !strcasecmp(name + n, ".jpg") || !strcasecmp(name + n, ".jpeg") || !strcasecmp(name + n, ".png");
    return picture ? v : 0;
}

// Videos by name

static data__aw_video *video_named(tree *t, const char *name)
{
    data__aw_tree *o = t->out;
    int64_t low = 0, high = o->n_videos;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (strcmp(o->videos[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < o->n_videos && strcmp(o->videos[low].name, name) == 0) return &o->videos[low];
    o->videos = mn_grow(o->videos, o->n_videos, &t->videos_capacity, sizeof(*o->videos));
    memmove(&o->videos[low + 1], &o->videos[low], (size_t)(o->n_videos - low) * sizeof(*o->videos));
    o->n_videos++;
    o->videos[low] = (data__aw_video){.name = mn_strdup(name), .media = -1};
    return &o->videos[low];
}

// First pass: where things are

// Which challenge a path is of: "6th_ABAW_Annotations", "Third ABAW Annotations", "ABAW4"; 0: it does not say.
static int edition_of(const char *path)
{
    static const char *const words[] = {"First", "Second",  "Third",  "Fourth", "Fifth",
                                        "Sixth", "Seventh", "Eighth", "Ninth",  "Tenth"};
    int edition = 0;
    for (const char *p = path; (p = strcasestr(p, "ABAW")); p += 4) {
        const char *q = p;
        if (isdigit((unsigned char)p[4])) edition = (int)strtol(p + 4, NULL, 10);
        while (q > path && strchr(" _-", q[-1]))
            q--;
        for (int k = 0; k < (int)(sizeof(words) / sizeof(words[0])); k++) {
            size_t n = strlen(words[k]);
            if ((size_t)(q - path) >= n && strncasecmp(q - n, words[k], n) == 0) edition = k + 1;
        }
        if (q - path >= 3 && isalpha((unsigned char)q[-1]) && isdigit((unsigned char)q[-3])) { // 6th
            const char *digits = q - 3;
            while (digits > path && isdigit((unsigned char)digits[-1]))
                digits--;
            edition = (int)strtol(digits, NULL, 10);
        }
    }
    return edition;
}

static void take_annotations(tree *t, int task, const char *path)
{
    char **have = &t->annotations[task];
    size_t source = strlen(t->im->cfg->src);
    int newer = !*have || edition_of(path + source) >= edition_of(*have + source);
    if (*have && t->im->cfg->ranks.rank == 0)
        mn_warn("import: two sets of %s labels: taking %s, not %s", task_text[task], newer ? path : *have,
                newer ? *have : path);
    if (!newer) return;
    free(*have);
    *have = mn_strdup(path);
}

static void take_media(tree *t, const char *path, const char *name)
{
    data__aw_tree *o = t->out;
    o->media = mn_grow(o->media, o->n_media, &t->media_capacity, sizeof(*o->media));
    const char *dot = strrchr(name, '.');
    o->media[o->n_media++] =
        (data__aw_media){.stem = mn_sprintf("%.*s", (int)(dot - name), name), .path = mn_strdup(path)};
}

static int look(void *ctx, const char *path, const char *name, data__kind kind)
{
    tree *t = ctx;
    if (kind == DATA__FILE && (ends(name, ".mp4") || ends(name, ".avi"))) take_media(t, path, name);
    if (kind == DATA__FILE && (ends(name, "test_set_release.txt") || ends(name, "expected_frames.txt"))) {
        t->lists = mn_realloc(t->lists, (size_t)t->n_lists + 1, sizeof(*t->lists));
        t->lists[t->n_lists++] = mn_strdup(path);
    }
    if (!is_folder(kind)) return 0;
    if (strcasecmp(name, "MTL_Challenge") == 0) {
        if (t->im->cfg->ranks.rank == 0)
            mn_info("import: %s: not imported, it labels another dataset: 'mien data import s-affwild2'", path);
        return 0;
    }
    for (int i = 0; i < CROP_ROOTS; i++)
        if (strcasecmp(name, crop_root[i]) == 0) {
            t->roots = mn_realloc(t->roots, (size_t)t->n_roots + 1, sizeof(*t->roots));
            t->roots[t->n_roots].kind = i;
            t->roots[t->n_roots++].path = mn_strdup(path);
            return 0; // thousands of folders of pictures: not walked
        }
    for (size_t i = 0; i < sizeof(task_folder) / sizeof(task_folder[0]); i++)
        if (strcasecmp(name, task_folder[i].name) == 0) {
            take_annotations(t, task_folder[i].task, path);
            return 0;
        }
    return 1;
}

// Crops

// A folder that holds nothing but a folder of its own name was unpacked twice.
static mn_err enter_twin(char **path, data__entries *l)
{
    const char *slash = strrchr(*path, '/');
    if (l->n != 1 || !is_folder(l->e[0].kind) || strcmp(l->e[0].name, slash ? slash + 1 : *path) != 0) return MN_OK;
    char *inner = mn_sprintf("%s/%s", *path, l->e[0].name);
    free(*path);
    *path = inner;
    data__entries_free(l);
    return data__entries_of(l, *path);
}

static mn_err read_crops(tree *t, int kind, char **root)
{
    data__entries l;
    MN_TRY(data__entries_of(&l, *root));
    MN_TRY(enter_twin(root, &l));
    data__import_note(t->im, DATA__NOTE_HIDDEN, l.hidden);
    for (int64_t i = 0; i < l.n; i++) {
        if (!is_folder(l.e[i].kind)) {
            data__import_note(t->im, DATA__NOTE_UNLISTED, 1);
            continue;
        }
        data__aw_video *v = video_named(t, l.e[i].name);
        if (v->n_crops && v->crop_root != kind) {
            data__import_note(t->im, DATA__NOTE_SECOND_CROPS, 1);
            continue;
        }
        t->out->n_crop_folders += v->n_crops == 0;
        v->crop_root = kind;
        v->crops = mn_realloc(v->crops, (size_t)v->n_crops + 1, sizeof(*v->crops));
        v->crops[v->n_crops++] = mn_sprintf("%s/%s", *root, l.e[i].name);
    }
    data__entries_free(&l);
    return MN_OK;
}

// Labels

typedef struct sets {
    tree *t;
    int task;
    mn_err err;
} sets;

static mn_err read_set_of(tree *t, int task, char **set, int split)
{
    data__entries l;
    MN_TRY(data__entries_of(&l, *set));
    MN_TRY(enter_twin(set, &l));
    const char *path = *set;
    data__import_note(t->im, DATA__NOTE_HIDDEN, l.hidden);
    for (int64_t i = 0; i < l.n; i++) {
        if (l.e[i].kind != DATA__FILE || !ends(l.e[i].name, ".txt")) {
            data__import_note(t->im, DATA__NOTE_UNLISTED, 1);
            continue;
        }
        char *name = mn_sprintf("%.*s", (int)(strlen(l.e[i].name) - 4), l.e[i].name);
        char *file = mn_sprintf("%s/%s", path, l.e[i].name);
        data__aw_video *v = video_named(t, name);
        free(name);
        if (v->labels[task]) {
            data__import_reject(t->im, DATA__REJECT_DUPLICATE, file, 0, v->labels[task]);
            free(file);
            continue;
        }
        v->labels[task] = file;
        v->split[task] = (uint8_t)split;
        t->out->n_labels[task][split == DATA_SPLIT_VALIDATION]++;
    }
    data__entries_free(&l);
    return MN_OK;
}

static mn_err read_set(tree *t, int task, const char *path, int split)
{
    char *set = mn_strdup(path);
    mn_err err = read_set_of(t, task, &set, split);
    free(set);
    return err;
}

static int look_for_sets(void *ctx, const char *path, const char *name, data__kind kind)
{
    sets *s = ctx;
    if (!is_folder(kind) || s->err != MN_OK) return 0;
    int split = begins(name, "train") ? DATA_SPLIT_TRAIN
                : begins(name, "val") ? DATA_SPLIT_VALIDATION
                                      : DATA_SPLIT_NONE;
    if (split == DATA_SPLIT_NONE) return 1;
    s->err = read_set(s->t, s->task, path, split);
    return 0;
}

// Test lists: one name a line

static int task_of_list(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (begins(name, "Expr")) return DATA_EXPR;
    if (begins(name, "AU") || begins(name, "Action")) return DATA_AU;
    return begins(name, "VA") ? DATA_VA : -1; // VA_, Valence_; the list of the MTL challenge is not of this dataset
}

static mn_err read_test_list(tree *t, const char *path)
{
    int task = task_of_list(path);
    char *text;
    size_t size;
    if (task < 0) return MN_OK;
    MN_TRY(mn_file_read(path, LIST_MOST, &text, &size));
    data__lines lines = data__lines_of(text, size);
    data__text line, name;
    while (data__lines_next(&lines, &line)) {
        if (!data__field(&line, ',', &name)) continue;
        name = data__trim(name);
        if (name.n == 0 || name.n > 200 || memchr(name.p, '/', name.n) || memchr(name.p, 0, name.n)) continue;
        char *copy = data__text_copy(name);
        if (ends(copy, ".txt") || ends(copy, ".mp4") || ends(copy, ".avi")) copy[name.n - 4] = 0;
        data__aw_video *v = *copy ? video_named(t, copy) : NULL;
        if (v && v->split[task] != DATA_SPLIT_NONE && v->split[task] != DATA_SPLIT_TEST)
            data__import_reject(t->im, DATA__REJECT_DUPLICATE, path, lines.number, "a test video that has labels");
        else if (v)
            v->split[task] = DATA_SPLIT_TEST;
        free(copy);
    }
    free(text);
    return MN_OK;
}

// Media

static int by_stem(const void *a, const void *b)
{
    const data__aw_media *x = a, *y = b;
    int order = strcmp(x->stem, y->stem);
    return order ? order : strcmp(x->path, y->path);
}

static int find_media(const data__aw_tree *o, const char *name, size_t n)
{
    int64_t low = 0, high = o->n_media;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const char *stem = o->media[middle].stem;
        int order = strncmp(stem, name, n);
        if (order < 0 || (order == 0 && strlen(stem) < n))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < o->n_media && strlen(o->media[low].stem) == n && strncmp(o->media[low].stem, name, n) == 0)
        return (int)low;
    return -1;
}

// The exact stem, else without the suffix of a subject.
static void join_media(tree *t)
{
    data__aw_tree *o = t->out;
    int64_t kept = 0;
    if (o->n_media) qsort(o->media, (size_t)o->n_media, sizeof(*o->media), by_stem);
    for (int64_t i = 0; i < o->n_media; i++) {
        if (kept && strcmp(o->media[kept - 1].stem, o->media[i].stem) == 0) {
            data__import_reject(t->im, DATA__REJECT_DUPLICATE, o->media[i].path, 0, o->media[kept - 1].path);
            free(o->media[i].stem);
            free(o->media[i].path);
        } else {
            o->media[kept++] = o->media[i];
        }
    }
    o->n_media = kept;
    for (int64_t i = 0; i < o->n_videos; i++) {
        data__aw_video *v = &o->videos[i];
        v->media = find_media(o, v->name, strlen(v->name));
        if (v->media < 0) v->media = find_media(o, v->name, data_video_stem(v->name, NULL));
    }
}

mn_err data__aw_tree_read(data__import *im, data__aw_tree *out)
{
    tree t = {.im = im, .out = out};
    mn_err err = MN_OK;
    memset(out, 0, sizeof(*out));
    MN_TRY_OUT(err, data__walk(im->cfg->src, DEPTH, look, &t));
    for (int kind = 0; kind < CROP_ROOTS; kind++)
        for (int i = 0; i < t.n_roots; i++)
            if (t.roots[i].kind == kind) MN_TRY_OUT(err, read_crops(&t, kind, &t.roots[i].path));
    for (int task = 0; task < DATA_TASKS; task++) {
        sets s = {.t = &t, .task = task};
        if (t.annotations[task]) MN_TRY_OUT(err, data__walk(t.annotations[task], SET_DEPTH, look_for_sets, &s));
        MN_TRY_OUT(err, s.err);
    }
    for (int i = 0; i < t.n_lists; i++)
        MN_TRY_OUT(err, read_test_list(&t, t.lists[i]));
    join_media(&t);
out:
    for (int i = 0; i < t.n_roots; i++)
        free(t.roots[i].path);
    free(t.roots);
    for (int i = 0; i < DATA_TASKS; i++)
        free(t.annotations[i]);
    for (int i = 0; i < t.n_lists; i++)
        free(t.lists[i]);
    free(t.lists);
    return err;
}

void data__aw_tree_free(data__aw_tree *t)
{
    for (int64_t i = 0; i < t->n_videos; i++) {
        free(t->videos[i].name);
        for (int k = 0; k < t->videos[i].n_crops; k++)
            free(t->videos[i].crops[k]);
        free(t->videos[i].crops);
        for (int k = 0; k < DATA_TASKS; k++)
            free(t->videos[i].labels[k]);
    }
    for (int64_t i = 0; i < t->n_media; i++) {
        free(t->media[i].stem);
        free(t->media[i].path);
    }
    free(t->videos);
    free(t->media);
    memset(t, 0, sizeof(*t));
}
