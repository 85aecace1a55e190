// Any folder of pictures. Folders train, validation (or valid, val) and test directly in it are splits; else all is train.
// Whether a file is a picture is told by its first bytes, so a file that is none ends in the list of rejects. labels.csv
// directly in it has the labels and may say other splits.
#include "data/import/find.h"
#include "data/import/folder_labels.h"
#include "data/label.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 16 };

typedef struct folder_state {
    int root;
    size_t root_bytes; // of its name and a slash
    int64_t n, capacity;
    char **names;
    int64_t links;
    data__folder_labels labels;
    struct stat out; // the folder of the shards, which may lie in here; st_ino 0: it is not there
} folder_state;

static int keep(void *ctx, const char *path, const char *name, data__kind kind)
{
    folder_state *s = ctx;
    (void)name;
    if (kind == DATA__FOLDER && data__is_folder(path, &s->out)) return 0;
    if (kind == DATA__FOLDER_LINK) s->links++;
    if (kind == DATA__FOLDER || kind == DATA__FOLDER_LINK) return kind == DATA__FOLDER;
    if (strcmp(path + s->root_bytes, DATA__FOLDER_LABELS) == 0) return 0;
    s->names = mn_grow(s->names, s->n, &s->capacity, sizeof(*s->names));
    s->names[s->n++] = mn_strdup(path + s->root_bytes);
    return 0;
}

// "": none, the picture is left out.
static const char *split_of(const folder_state *s, const char *name)
{
    const data__folder_label *label = data__folder_labels_find(&s->labels, name);
    if (label && label->rejected) return "";
    if (label && label->split != DATA_SPLIT_NONE) return data_split_name(label->split);
    const char *end = strchr(name, '/');
    int split = end ? data__folder_split((data__text){name, (size_t)(end - name)}) : DATA_SPLIT_NONE;
    return data_split_name(split == DATA_SPLIT_NONE ? DATA_SPLIT_TRAIN : split);
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((folder_state *)ctx)->names[i];
}

static int compare_name(const void *name, const void *other)
{
    return strcmp(name, *(const char *const *)other);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Rows of pictures that are not there. Leaves the names in byte order.
static void check_rows(data__import *im, folder_state *s)
{
    if (!s->labels.n) return;
    if (s->n) qsort(s->names, (size_t)s->n, sizeof *s->names, by_name);
    for (int64_t i = 0; i < s->labels.n; i++) {
        const data__folder_label *row = &s->labels.rows[i];
        if (row->rejected) continue; // listed already
        if (!s->n || !bsearch(row->name, s->names, (size_t)s->n, sizeof *s->names, compare_name))
            data__import_reject(im, DATA__REJECT_MISSING, row->name, row->line, "a row of " DATA__FOLDER_LABELS);
    }
}

static mn_err scan(data__import *im)
{
    folder_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->root = -1;
    MN_TRY(data__open_folder(&s->root, im->cfg->src));
    s->root_bytes = strlen(im->cfg->src) + 1;
    if (stat(im->cfg->out, &s->out) != 0) s->out.st_ino = 0;
    MN_TRY(data__walk(im->cfg->src, DEPTH, keep, s));
    data__import_note(im, DATA__NOTE_LINK, s->links);
    MN_TRY(data__folder_labels_read(&s->labels, im));
    im->columns = &s->labels.columns;
    check_rows(im, s);
    int64_t size = data__import_mean_size(s->root, s->n, name_at, s);
    static const char *const split[] = {"train", "validation", "test"}; // the order of the shards
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < s->n; i++)
            if (strcmp(split_of(s, s->names[i]), split[k]) == 0)
                data__import_unit(data__import_group(im, split[k], "image"), i, 1, size);
    for (int64_t i = 0; i < s->n; i++)
        data__import_digest(im, s->names[i], strlen(s->names[i]) + 1);
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const folder_state *s = im->state;
    const char *name = s->names[u->item];
    data_record r = {.name = name, .expr = -1, .va = {NAN, NAN}, .video = -1, .source_row = (uint32_t)u->item};
    const data__folder_label *label = data__folder_labels_find(&s->labels, name);
    int accepted;
    (void)g;
    memset(r.au, -1, sizeof r.au);
    if (label) {
        r.expr = label->expr;
        r.mask = label->mask;
        r.source_row = (uint32_t)label->line;
        memcpy(r.va, label->va, sizeof r.va);
        memcpy(r.au, label->au, sizeof r.au);
    }
    MN_TRY(data__import_picture(im, s->root, name, name, 0, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    folder_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    for (int64_t i = 0; i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    data__folder_labels_free(&s->labels);
    free(s);
}

const data__importer data__import_folder = {.scan = scan, .write = write_picture, .close = close_state, .threads = 1};
