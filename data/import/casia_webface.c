// CASIA-WebFace and other sets of InsightFace: train.rec with train.idx (MXNet RecordIO), or a folder of pictures for each
// person. All of it is training data. The label of a record is the identity; of a folder, its place in byte order.
// What is read in scan is the index alone; a record is read, and its label with it, when it is imported.
#include "data/file.h"
#include "data/import/find.h"
#include "data/import/importer.h"
#include "data/import/recordio.h"
#include "data/import/text.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_MOST ((size_t)4 << 30)
#define RECORD_MOST ((int64_t)256 << 20)
enum { DEPTH = 4, LABEL_MOST = 1 << 24 }; // floats are exact to 2^24

typedef struct item {
    char *name;           // of a picture in its folder; NULL: a record
    int64_t key;          // of a record
    int64_t offset, size; // in train.rec; to where the next line of the index points: what its size is taken for
    int32_t identity;     // of a picture
} item;

typedef struct casia_state {
    data__import *im;
    int root;        // the folder of folders, or -1
    int records;     // train.rec, or -1
    size_t prefix;   // bytes of the root's path and a slash
    int64_t bytes;   // of train.rec
    struct stat out; // the folder of the shards, which may lie among those of people
    int64_t n, capacity, folders;
    item *items;
} casia_state;

static item *new_item(casia_state *s)
{
    s->items = mn_grow(s->items, s->n, &s->capacity, sizeof(*s->items));
    s->items[s->n] = (item){0};
    return &s->items[s->n++];
}

// train.idx

static void index_line(casia_state *s, int64_t line, data__text text)
{
    data__text field[2];
    int64_t v[2];
    if (data__trim(text).n == 0) return;
    s->im->tally->rows++;
    if (data__fields(text, '\t', field, 2) != 2) {
        data__import_reject(s->im, DATA__REJECT_COLUMNS, "train.idx", line, "not a key and an offset");
    } else if (!data__integer(field[0], &v[0]) || !data__integer(field[1], &v[1])) {
        data__import_reject(s->im, DATA__REJECT_NUMBER, "train.idx", line, "");
    } else if (v[0] < 0 || v[1] < 0) {
        data__import_reject(s->im, DATA__REJECT_RANGE, "train.idx", line, "no place in train.rec");
    } else {
        item *i = new_item(s);
        i->key = v[0];
        i->offset = v[1];
    }
}

static int by_offset(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_key(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : by_offset(a, b);
}

static mn_err read_index(casia_state *s, const char *path)
{
    char *text;
    size_t size;
    data__text line;
    MN_TRY(mn_file_read(path, INDEX_MOST, &text, &size));
    data__import_digest(s->im, text, size);
    data__import_digest(s->im, &s->bytes, sizeof(s->bytes));
    for (data__lines l = data__lines_of(text, size); data__lines_next(&l, &line);)
        index_line(s, l.number, line);
    free(text);
    qsort(s->items, (size_t)s->n, sizeof(*s->items), by_offset);
    for (int64_t i = s->n - 1, end = s->bytes; i >= 0; i--) {
        if (s->items[i].offset >= s->bytes) continue; // train.rec was cut off before it: nothing of it is there
        s->items[i].size = end - s->items[i].offset;
        if (i && s->items[i - 1].offset != s->items[i].offset) end = s->items[i].offset;
    }
    qsort(s->items, (size_t)s->n, sizeof(*s->items), by_key);
    return MN_OK;
}

// Bytes of a record as its heads say, as far as the file goes: what another line of the index points to may be anywhere.
static mn_err extent_of(const casia_state *s, int64_t offset, int64_t *extent)
{
    int64_t left = offset < s->bytes ? s->bytes - offset : 0, at = 0;
    int more = 1;
    while (more && left - at >= DATA__RECORDIO_HEAD) {
        unsigned char head[DATA__RECORDIO_HEAD];
        MN_TRY(data_file_pread(s->records, "train.rec", head, sizeof(head), (uint64_t)(offset + at)));
        at += (int64_t)data__recordio_part(head, &more);
    }
    *extent = more || at > left ? left : at;
    return MN_OK;
}

// Reads and joins a record. MN_EDATA: it is damaged.
static mn_err read_record(data__import *im, const item *i, data__recordio_face *face)
{
    const casia_state *s = im->state;
    size_t payload;
    int64_t extent;
    void *buffer;
    MN_TRY(extent_of(s, i->offset, &extent));
    if (extent > RECORD_MOST)
        return mn_fail(MN_EDATA, "train.rec: byte %lld: a record of %lld bytes", (long long)i->offset,
                       (long long)extent);
    MN_TRY(data__import_scratch(im, (size_t)extent, &buffer));
    MN_TRY(data_file_pread(s->records, "train.rec", buffer, (size_t)extent, (uint64_t)i->offset));
    MN_TRY(data__recordio_join("train.rec", i->offset, buffer, (size_t)extent, &payload));
    return data__recordio_head("train.rec", i->offset, buffer, payload, face);
}

// Of the lines of one key, one counts: the first that points to where a record begins.
static mn_err sort_repeats(casia_state *s)
{
    for (int64_t i = 0, n; i < s->n; i += n) {
        n = 1;
        while (i + n < s->n && s->items[i + n].key == s->items[i].key)
            n++;
        for (int64_t k = i; n > 1 && k < i + n; k++) {
            unsigned char head[DATA__RECORDIO_HEAD];
            if (s->bytes - s->items[k].offset < DATA__RECORDIO_HEAD) continue;
            MN_TRY(data_file_pread(s->records, "train.rec", head, sizeof(head), (uint64_t)s->items[k].offset));
            if (!data__recordio_begins(head)) continue;
            item first = s->items[k];
            s->items[k] = s->items[i];
            s->items[i] = first;
            break;
        }
    }
    return MN_OK;
}

// The keys of pictures: where record 0 has labels (A, B), 1 to A - 1, and the records of identities follow; else all.
// *beyond: the first key that is none of either.
static mn_err find_pictures(casia_state *s, int64_t *first, int64_t *end, int64_t *beyond)
{
    data__recordio_face face;
    *first = 0;
    *end = *beyond = INT64_MAX;
    if (s->n == 0 || s->items[0].key != 0) return MN_OK;
    MN_TRY(read_record(s->im, &s->items[0], &face));
    if (face.n_labels == 0 || face.size > 0) return MN_OK;
    if (face.n_labels < 2 || !(face.label[0] >= 1) || !(face.label[1] >= face.label[0]) || face.label[1] > 1e15f)
        return mn_fail(MN_EDATA, "train.rec: byte %lld: record 0 does not say which records are pictures",
                       (long long)s->items[0].offset);
    *first = 1;
    *end = (int64_t)face.label[0];
    *beyond = (int64_t)face.label[1];
    return MN_OK;
}

static mn_err scan_records(casia_state *s, const char *records)
{
    size_t n = strlen(records);
    char *index = mn_sprintf("%.*s.idx", (int)n - 4, records);
    int64_t first, end, beyond, last = -1, listed = 0;
    mn_err err = mn_file_open(&s->records, records, &s->bytes);
    if (err == MN_OK) err = read_index(s, index);
    free(index);
    MN_TRY(err);
    MN_TRY(sort_repeats(s));
    MN_TRY(find_pictures(s, &first, &end, &beyond));
    for (int64_t i = 0; i < s->n; i++) {
        const item *r = &s->items[i];
        if (r->key == last)
            data__import_reject(s->im, DATA__REJECT_DUPLICATE, "train.rec", r->key, "this key is in train.idx twice");
        else if (r->key >= beyond)
            data__import_reject(s->im, DATA__REJECT_LIST, "train.idx", 0, "a key beyond those that record 0 tells of");
        else if (r->key >= first && r->key < end) {
            data__import_unit(data__import_group(s->im, "train", "image"), i, 1, r->size);
            listed++;
        }
        last = r->key;
    }
    if (end < INT64_MAX && listed < end - first) {
        char detail[96];
        (void)snprintf(detail, sizeof(detail), "%lld of %lld pictures are not listed",
                       (long long)(end - first - listed), (long long)(end - first));
        data__import_reject(s->im, DATA__REJECT_LIST, "train.idx", 0, detail);
    }
    return MN_OK;
}

// Folders

static int take_picture(void *ctx, const char *path, const char *name, data__kind kind)
{
    casia_state *s = ctx;
    const char *below = path + s->prefix;
    (void)name;
    if (kind == DATA__FOLDER && data__is_folder(path, &s->out)) return 0;
    if (kind == DATA__FOLDER) {
        s->folders++;
        return strchr(below, '/') == NULL;
    }
    if (kind != DATA__FILE) return 0;
    if (!strchr(below, '/')) { // beside the folders of people
        data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
        return 0;
    }
    item *i = new_item(s);
    i->name = mn_strdup(below);
    i->identity = (int32_t)s->folders - 1;
    return 0;
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((casia_state *)ctx)->items[i].name;
}

// The folders in it but that of the shards; *only: the last of them.
static mn_err count_folders(const casia_state *s, const char *root, int64_t *n, char **only)
{
    data__entries l;
    MN_TRY(data__entries_of(&l, root));
    *n = 0;
    *only = NULL;
    for (int64_t i = 0; i < l.n; i++) {
        if (l.e[i].kind != DATA__FOLDER && l.e[i].kind != DATA__FOLDER_LINK) continue;
        char *path = mn_sprintf("%s/%s", root, l.e[i].name);
        if (!data__is_folder(path, &s->out)) {
            char *last = *only;
            *only = path;
            path = last;
            (*n)++;
        }
        free(path);
    }
    data__entries_free(&l);
    return MN_OK;
}

// A folder alone in another, with folders in it, is not a person but where the people are, whatever it is called.
static mn_err enter_folders(const casia_state *s, char **root)
{
    for (int left = DEPTH; left > 0; left--) {
        char *only, *deeper = NULL;
        int64_t folders, inner = 0;
        MN_TRY(count_folders(s, *root, &folders, &only));
        mn_err err = folders == 1 ? count_folders(s, only, &inner, &deeper) : MN_OK;
        free(deeper);
        if (err != MN_OK || inner == 0) {
            free(only);
            return err;
        }
        free(*root);
        *root = only;
    }
    return MN_OK;
}

static mn_err scan_folders(casia_state *s)
{
    static const char *const names[] = {"CASIA-WebFace", "CASIA-maxpy-clean", NULL};
    char *root;
    if (stat(s->im->cfg->out, &s->out) != 0) s->out.st_ino = 0;
    MN_TRY(data__find(&root, s->im->cfg->src, names, DATA__FOLDER, 2));
    if (!root) root = mn_strdup(s->im->cfg->src);
    mn_err err = enter_folders(s, &root);
    s->prefix = strlen(root) + 1;
    if (err == MN_OK) err = data__open_folder(&s->root, root);
    if (err == MN_OK) err = data__walk(root, 2, take_picture, s);
    free(root);
    MN_TRY(err);
    if (s->n == 0)
        return mn_fail(MN_ENOINPUT, "%s: there is neither train.rec nor a folder of pictures for each person in it",
                       s->im->cfg->src);
    int64_t size = data__import_mean_size(s->root, s->n, name_at, s);
    for (int64_t i = 0; i < s->n; i++) {
        data__import_digest(s->im, s->items[i].name, strlen(s->items[i].name) + 1);
        data__import_unit(data__import_group(s->im, "train", "image"), i, 1, size);
    }
    return MN_OK;
}

static mn_err scan(data__import *im)
{
    static const char *const names[] = {"train.rec", NULL};
    casia_state *s = im->state = mn_calloc(1, sizeof(*s));
    char *records;
    s->im = im;
    s->root = s->records = -1;
    MN_TRY(data__find(&records, im->cfg->src, names, DATA__FILE, 2));
    mn_err err = records ? scan_records(s, records) : scan_folders(s);
    free(records);
    if (err == MN_OK) data__import_limit(im);
    return err;
}

// Importing

// The picture of a record; what is damaged is listed with its byte.
static mn_err write_record(data__import *im, const item *i, data_record *r, int *accepted)
{
    data__recordio_face face;
    char detail[64];
    *accepted = 0;
    mn_err err = read_record(im, i, &face);
    if (err == MN_EDATA) {
        data__import_reject(im, DATA__REJECT_DAMAGED, "train.rec", i->key, mn_errmsg());
        return MN_OK;
    }
    MN_TRY(err);
    float label = face.label[0];
    if (!(label >= 0 && label <= LABEL_MOST) || label != floorf(label)) {
        (void)snprintf(detail, sizeof(detail), "identity %g", (double)label);
        data__import_reject(im, DATA__REJECT_RANGE, "train.rec", i->key, detail);
        return MN_OK;
    }
    r->identity = (int32_t)label;
    return data__import_bytes(im, face.image, face.size, "train.rec", i->key, r, accepted);
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const casia_state *s = im->state;
    const item *i = &s->items[u->item];
    char key[32];
    data_record r = {.expr = -1, .video = -1, .mask = DATA_HAS_IDENTITY, .identity = i->identity};
    int accepted;
    (void)g;
    (void)snprintf(key, sizeof(key), "%lld", (long long)i->key);
    r.name = i->name ? i->name : key;
    r.source_row = i->name ? (uint32_t)u->item : (uint32_t)i->key;
    if (i->name)
        MN_TRY(data__import_picture(im, s->root, i->name, i->name, 0, &r, &accepted));
    else
        MN_TRY(write_record(im, i, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    casia_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    if (s->records >= 0) (void)close(s->records);
    for (int64_t i = 0; i < s->n; i++)
        free(s->items[i].name);
    free(s->items);
    free(s);
}

const data__importer data__import_casia_webface = {
    .scan = scan, .write = write_picture, .close = close_state, .columns = {.has_identity = 1}, .threads = 1};
