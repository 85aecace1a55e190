// s-Aff-Wild2: single pictures of Aff-Wild2 with the labels of all three tasks in one list, as ABAW3 (MTL_Challenge with
// train_set.txt and validation_set.txt) and ABAW4 (training_set_annotations.txt, ...) have them. The pictures are the crops
// of Aff-Wild2; the test set may have crops of its own.
#include "data/import/find.h"
#include "data/import/s_affwild2_list.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH = 5, SPLITS = 3, TEST = 2, ROOTS_MOST = 16, CROP_ROOTS = 3, PUBLISHED = 221928 };
#define LIST_MOST ((size_t)1 << 30)

static const char *const split_name[SPLITS] = {"train", "validation", "test"};
static const struct {
    const char *name;
    int split;
} list_name[] = {{"training_set_annotations.txt", 0},
                 {"train_set.txt", 0},
                 {"validation_set_annotations.txt", 1},
                 {"validation_set.txt", 1},
                 {"MTL_Challenge_test_set_release.txt", TEST}};
static const char *const crop_root[CROP_ROOTS] = {"cropped_aligned", "cropped_aligned_new_50_vids", "cropped"};

typedef struct picture {
    char *name;
    uint32_t line;
    uint8_t split, out; // out: an earlier row has it
    data__sa_labels labels;
} picture;

typedef struct sa_state {
    data__import *im;
    char *lists[SPLITS];
    int n_roots, roots[ROOTS_MOST]; // folders of crops, the better ones first
    char *found[ROOTS_MOST];
    int kind[ROOTS_MOST]; // of crop_root; once they are open, in the order of roots
    int reading;          // split
    int64_t n, capacity;
    picture *pictures;
} sa_state;

// Folders

// Unpacked twice: a folder of its own name is in it.
static char *inner(const char *path, const char *name)
{
    struct stat st;
    char *twin = mn_sprintf("%s/%s", path, name);
    if (stat(twin, &st) == 0 && S_ISDIR(st.st_mode)) return twin;
    free(twin);
    return mn_strdup(path);
}

static int look(void *ctx, const char *path, const char *name, data__kind kind)
{
    sa_state *s = ctx;
    for (size_t k = 0; kind == DATA__FILE && k < sizeof(list_name) / sizeof(list_name[0]); k++)
        if (strcasecmp(name, list_name[k].name) == 0 && !s->lists[list_name[k].split])
            s->lists[list_name[k].split] = mn_strdup(path);
    if (kind != DATA__FOLDER && kind != DATA__FOLDER_LINK) return 0;
    for (int k = 0; k < CROP_ROOTS; k++) {
        if (strcasecmp(name, crop_root[k]) != 0) continue;
        if (s->n_roots < ROOTS_MOST) {
            s->found[s->n_roots] = inner(path, name);
            s->kind[s->n_roots++] = k;
        }
        return 0; // thousands of folders of pictures: not walked
    }
    return 1;
}

static mn_err open_roots(sa_state *s)
{
    int n = 0, kinds[ROOTS_MOST];
    for (int kind = 0; kind < CROP_ROOTS; kind++)
        for (int i = 0; i < s->n_roots; i++) {
            if (s->kind[i] != kind) continue;
            kinds[n] = kind;
            MN_TRY(data__open_folder(&s->roots[n++], s->found[i]));
        }
    memcpy(s->kind, kinds, (size_t)n * sizeof(*kinds));
    return MN_OK;
}

// Lists

static const char *list_of(const sa_state *s, int split)
{
    const char *slash = strrchr(s->lists[split], '/');
    return slash ? slash + 1 : s->lists[split];
}

static void bad_row(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    sa_state *s = ctx;
    s->im->tally->rows += reason == DATA__REJECT_COLUMNS;
    data__import_reject(s->im, reason, list_of(s, s->reading), line, detail);
}

static void take_row(void *ctx, int64_t line, data__text image, const data__sa_labels *labels)
{
    sa_state *s = ctx;
    s->im->tally->rows++;
    data__import_note(s->im, DATA__NOTE_IGNORED_LABELS, labels->invalid);
    char *name = data__text_copy(image);
    if (labels->none && s->reading != TEST) {
        data__import_reject(s->im, DATA__REJECT_UNLABELLED, name, line, list_of(s, s->reading));
        free(name);
        return;
    }
    s->pictures = mn_grow(s->pictures, s->n, &s->capacity, sizeof(*s->pictures));
    s->pictures[s->n++] =
        (picture){.name = name, .line = (uint32_t)line, .split = (uint8_t)s->reading, .labels = *labels};
}

static mn_err read_list(sa_state *s, int split)
{
    static const data__sa_ops ops = {take_row, bad_row};
    char *text;
    size_t size;
    if (!s->lists[split]) return MN_OK;
    s->reading = split;
    MN_TRY(mn_file_read(s->lists[split], LIST_MOST, &text, &size));
    data__import_digest(s->im, text, size);
    data__sa_read(text, size, split != TEST, &ops, s);
    free(text);
    return MN_OK;
}

static int by_name(const void *a, const void *b)
{
    const picture *x = *(const picture *const *)a, *y = *(const picture *const *)b;
    int order = strcmp(x->name, y->name);
    if (order == 0) order = (x->split > y->split) - (x->split < y->split);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int same(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

static int same_labels(const data__sa_labels *a, const data__sa_labels *b)
{
    return same(a->va[0], b->va[0]) && same(a->va[1], b->va[1]) && a->expr == b->expr &&
           memcmp(a->au, b->au, sizeof(a->au)) == 0;
}

// A picture is one record: the first row counts. That rows are repeated is how the lists are; what they say anew is not.
static void drop_repeats(const sa_state *s)
{
    picture **sorted = mn_calloc((size_t)s->n + 1, sizeof(*sorted));
    const picture *first = NULL;
    for (int64_t i = 0; i < s->n; i++)
        sorted[i] = &s->pictures[i];
    if (s->n) qsort(sorted, (size_t)s->n, sizeof(*sorted), by_name);
    for (int64_t i = 0; i < s->n; i++) {
        picture *p = sorted[i];
        if (!first || strcmp(p->name, first->name) != 0) {
            first = p;
            continue;
        }
        p->out = 1;
        if (p->split == first->split && same_labels(&p->labels, &first->labels))
            data__import_note(s->im, DATA__NOTE_SAME_ROW, 1);
        else
            data__import_reject(s->im, DATA__REJECT_DUPLICATE, p->name, p->line,
                                p->split == first->split ? "an earlier row has other labels for it"
                                                         : "an earlier list has this picture too");
    }
    free(sorted);
}

// Pictures

// The first root that has the picture; *again 1: another one of its kind has it too.
static int root_of(const sa_state *s, const char *name, int *again)
{
    int first = -1;
    *again = 0;
    for (int k = 0; k < s->n_roots; k++) {
        if (first >= 0 && s->kind[k] != s->kind[first]) break;
        if (faccessat(s->roots[k], name, F_OK, 0) != 0) continue;
        *again = first >= 0;
        if (first < 0) first = k;
    }
    return s->roots[first < 0 ? 0 : first]; // opening it will say that it is missing
}

// Of some pictures: of those in the first root that has any.
static int64_t mean_size(const sa_state *s)
{
    enum { SAMPLE = 64 };
    int64_t sum = 0, found = 0;
    for (int64_t k = 0; k < SAMPLE && k < s->n; k++) {
        struct stat st;
        const char *name = s->pictures[s->n * k / SAMPLE].name;
        int again;
        if (fstatat(root_of(s, name, &again), name, &st, 0) != 0) continue;
        sum += st.st_size;
        found++;
    }
    return found ? sum / found + 1 : 1;
}

static mn_err scan(data__import *im)
{
    sa_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    for (int k = 0; k < ROOTS_MOST; k++)
        s->roots[k] = -1;
    MN_TRY(data__walk(im->cfg->src, DEPTH, look, s));
    if (!s->lists[0] && !s->lists[1] && !s->lists[TEST])
        return mn_fail(MN_ENOINPUT,
                       "%s: there is no list of s-Aff-Wild2 in it (training_set_annotations.txt, train_set.txt, ...)",
                       im->cfg->src);
    if (s->n_roots == 0)
        return mn_fail(MN_ENOINPUT, "%s: there is no folder of crops (cropped_aligned) in it", im->cfg->src);
    MN_TRY(open_roots(s));
    for (int split = 0; split < SPLITS; split++)
        MN_TRY(read_list(s, split));
    drop_repeats(s);
    int64_t size = mean_size(s), pictures = 0;
    for (int split = 0; split < SPLITS; split++)
        for (int64_t i = 0; i < s->n; i++)
            if (s->pictures[i].split == split && !s->pictures[i].out) {
                data__import_unit(data__import_group(im, split_name[split], "image"), i, 1, size);
                pictures++;
            }
    data__import_compare(im, "pictures in the lists", pictures, PUBLISHED);
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const sa_state *s = im->state;
    const picture *p = &s->pictures[u->item];
    const data__sa_labels *l = &p->labels;
    data_record r = {.name = p->name, .expr = l->expr, .video = -1, .source_row = p->line};
    int accepted, again, root = root_of(s, p->name, &again);
    (void)g;
    if (again) data__import_note(im, DATA__NOTE_SECOND_CROP, 1);
    memcpy(r.va, l->va, sizeof(r.va));
    memcpy(r.au, l->au, sizeof(r.au));
    r.mask = (l->expr >= 0 ? DATA_HAS_EXPR : 0u) | (isnan(l->va[0]) ? 0u : DATA_HAS_VALENCE) |
             (isnan(l->va[1]) ? 0u : DATA_HAS_AROUSAL);
    for (int k = 0; k < DATA_AUS; k++)
        if (l->au[k] >= 0) r.mask |= (uint32_t)DATA_HAS_AU0 << k;
    MN_TRY(data__import_picture(im, root, p->name, p->name, p->line, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    sa_state *s = state;
    for (int k = 0; k < ROOTS_MOST; k++) {
        if (s->roots[k] >= 0) (void)close(s->roots[k]);
        free(s->found[k]);
    }
    for (int k = 0; k < SPLITS; k++)
        free(s->lists[k]);
    for (int64_t i = 0; i < s->n; i++)
        free(s->pictures[i].name);
    free(s->pictures);
    free(s);
}

const data__importer data__import_s_affwild2 = {.scan = scan,
                                                .write = write_picture,
                                                .close = close_state,
                                                .columns = {.has_expr = 1, .has_au = 1, .has_va = 1},
                                                .threads = 1};
