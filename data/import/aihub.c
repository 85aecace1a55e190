// AI-Hub's Korean emotion pictures (data set 82): lists in JSON and pictures, wherever their archives were unpacked; Training
// and Validation in a path are the splits. A list names pictures by file name only, and the names of the files may have
// been spoiled on the way (CP949 bytes, single letters of macOS, another program's guess): a file belongs to the row
// whose name has the same ASCII characters, which hold the person, the age and the time; and where that is more than one
// file, to the one whose name is equal when both are composed UTF-8.
#include "data/import/aihub_list.h"
#include "data/import/find.h"
#include "data/import/strings.h"
#include "data/import/text.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH = 8, BLOCK = 1 << 20, PERSON_LEAST = 8 };

static const struct {
    const char *rows; // what they are called in the log
    int8_t expr;      // Aff-Wild2's
} emotions[DATA__AIHUB_EMOTIONS] = {{"happy", 4}, {"embarrassed", 6}, {"angry", 1},  {"anxious", 3},
                                    {"hurt", 7},  {"sad", 5},         {"neutral", 0}};

typedef struct picture {
    XXH64_hash_t key; // of the ASCII characters of its name
    const char *name; // of the file
    int32_t folder;
    uint8_t split, taken;
} picture;

typedef struct face {
    const char *name; // the picture's own where it is the same: as a rule
    int64_t picture;  // -1: none
    uint32_t element;
    int32_t identity;
    float box[4], age;
    int8_t expr, gender;
    uint8_t split;
} face;

typedef struct list {
    char *path; // below the source
    uint8_t split;
} list;

typedef struct aihub_state {
    data__import *im;
    data__korean *korean;
    int root;
    size_t prefix;   // bytes of the source's path and a slash
    struct stat out; // the folder of the shards, which may lie in here
    int64_t n_lists, lists_capacity, n_pictures, pictures_capacity, n, capacity;
    list *lists;
    picture *pictures; // by key, then path
    char **folders;    // below the source, in the order in which they were met
    int32_t n_folders;
    data__strings names;
    char *path; // that path_at gave out last
    face *faces;
    const list *reading;
    int64_t shown[DATA__AIHUB_EMOTIONS];
} aihub_state;

// Folders

static uint8_t split_of(const char *path)
{
    if (strcasestr(path, "training")) return DATA_SPLIT_TRAIN;
    return strcasestr(path, "validation") ? DATA_SPLIT_VALIDATION : DATA_SPLIT_NONE;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int ends(const char *name, const char *with)
{
    size_t n = strlen(name), k = strlen(with);
    return n >= k && strcasecmp(name + n - k, with) == 0;
}

// The name of a file as text, whatever its bytes are.
static char *name_text(data__korean *k, const char *name)
{
    size_t n = strlen(name);
    char *text = data__korean_text(k, name, n, !data__utf8(name, n));
    return text ? text : mn_strdup(name);
}

static XXH64_hash_t key_of(const char *name)
{
    char *ascii = mn_strdup(name);
    size_t n = 0;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x80) ascii[n++] = *p;
    XXH64_hash_t key = XXH3_64bits(ascii, n);
    free(ascii);
    return key;
}

// A folder's pictures come one after the other, but for those of the folders in it.
static int32_t folder_of(aihub_state *s, const char *below)
{
    size_t n = (size_t)(base_of(below) - below);
    for (int32_t i = s->n_folders - 1; i >= 0 && i > s->n_folders - 1 - DEPTH; i--)
        if (strlen(s->folders[i]) == n && memcmp(s->folders[i], below, n) == 0) return i;
    s->folders = mn_realloc(s->folders, (size_t)s->n_folders + 1, sizeof(*s->folders));
    s->folders[s->n_folders] = mn_sprintf("%.*s", (int)n, below);
    return s->n_folders++;
}

static char *path_of(const aihub_state *s, const picture *p)
{
    return mn_sprintf("%s%s", s->folders[p->folder], p->name);
}

static void take_picture(aihub_state *s, const char *below)
{
    const char *base = base_of(below);
    char *name = name_text(s->korean, base);
    s->pictures = mn_grow(s->pictures, s->n_pictures, &s->pictures_capacity, sizeof(*s->pictures));
    s->pictures[s->n_pictures++] = (picture){.key = key_of(name),
                                             .name = data__strings_add(&s->names, base, strlen(base)),
                                             .folder = folder_of(s, below),
                                             .split = split_of(below)};
    free(name);
}

static int look(void *ctx, const char *path, const char *name, data__kind kind)
{
    aihub_state *s = ctx;
    const char *below = path + s->prefix;
    if (kind == DATA__FOLDER || kind == DATA__FOLDER_LINK) {
        if (kind == DATA__FOLDER_LINK) data__import_note(s->im, DATA__NOTE_LINK, 1);
        return kind == DATA__FOLDER && !data__is_folder(path, &s->out);
    }
    if (kind != DATA__FILE) return 0;
    if (ends(name, ".json")) {
        s->lists = mn_grow(s->lists, s->n_lists, &s->lists_capacity, sizeof(*s->lists));
        s->lists[s->n_lists++] = (list){mn_strdup(below), split_of(below)};
    } else if (ends(name, ".jpg") || ends(name, ".jpeg") || ends(name, ".png")) {
        take_picture(s, below);
    } else {
        data__import_note(s->im, DATA__NOTE_UNLISTED, 1);
    }
    return 0;
}

static int by_key(const void *a, const void *b, void *ctx)
{
    const picture *x = a, *y = b;
    char *const *folders = ctx;
    if (x->key != y->key) return (x->key > y->key) - (x->key < y->key);
    int order = strcmp(folders[x->folder], folders[y->folder]);
    return order ? order : strcmp(x->name, y->name);
}

// Lists

// The picture of a row: of its own split if there is one, of no more than one file. -1: none, and `why`.
static int64_t find_picture(const aihub_state *s, const char *name, uint8_t split, const char **why)
{
    XXH64_hash_t key = key_of(name);
    int64_t low = 0, high = s->n_pictures, found[2] = {-1, -1}, n[2] = {0, 0};
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (s->pictures[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    for (int64_t i = low; i < s->n_pictures && s->pictures[i].key == key; i++) {
        int own = s->pictures[i].split == split, same;
        char *text = name_text(s->korean, s->pictures[i].name);
        same = strcmp(text, name) == 0;
        free(text);
        n[own]++;
        if (found[own] < 0 || (same && n[own] > 0)) found[own] = i;
        if (same) n[own] = -s->n_pictures; // more cannot make it ambiguous
    }
    int own = n[1] != 0;
    *why = n[own] > 1 ? "several files have the ASCII characters of its name" : "";
    return n[own] > 1 ? -1 : found[own];
}

static void bad_element(void *ctx, int64_t element, data__reason reason, const char *detail)
{
    aihub_state *s = ctx;
    s->im->tally->rows += element > 0;
    data__import_reject(s->im, reason, base_of(s->reading->path), element, detail);
}

static void take_face(void *ctx, int64_t element, const data__aihub_face *a)
{
    aihub_state *s = ctx;
    const char *why;
    int64_t p = find_picture(s, a->name, s->reading->split, &why);
    s->im->tally->rows++;
    if (a->uploader >= 0) s->shown[a->uploader]++;
    if (!a->agreed) data__import_note(s->im, DATA__NOTE_NO_MAJORITY, 1);
    if (p < 0 || s->pictures[p].taken) {
        data__import_reject(s->im, p < 0 ? DATA__REJECT_MISSING : DATA__REJECT_DUPLICATE, a->name, element,
                            p < 0 ? why : "an earlier row has this picture too");
        return;
    }
    if (isnan(a->box[0])) data__import_note(s->im, DATA__NOTE_NO_BOX, 1);
    s->pictures[p].taken = 1;
    s->faces = mn_grow(s->faces, s->n, &s->capacity, sizeof(*s->faces));
    uint8_t split = s->reading->split ? s->reading->split : s->pictures[p].split;
    face *f = &s->faces[s->n++];
    const char *own = s->pictures[p].name;
    *f = (face){.name = strcmp(own, a->name) == 0 ? own : data__strings_add(&s->names, a->name, strlen(a->name)),
                .picture = p,
                .element = (uint32_t)element,
                .identity = -1,
                .age = a->age,
                .expr = emotions[a->emotion].expr,
                .gender = a->gender,
                .split = split};
    memcpy(f->box, a->box, sizeof(f->box));
}

typedef void use_block(void *ctx, const char *bytes, size_t n);

static mn_err each_block(const char *path, use_block *use, void *ctx)
{
    int fd;
    int64_t size;
    MN_TRY(mn_file_open(&fd, path, &size));
    char *block = mn_calloc(1, BLOCK);
    mn_err err = MN_OK;
    for (int64_t at = 0; at < size && err == MN_OK; at += BLOCK) {
        size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
        err = mn_file_read_at(fd, block, n, at, path);
        if (err == MN_OK) use(ctx, block, n);
    }
    free(block);
    (void)close(fd); // opened for reading: nothing can be lost
    return err;
}

typedef struct encoding { // of a whole list: a few characters of CP949 can be valid UTF-8
    data__import *im;
    char rest[8];
    size_t n_rest;
    int cp949;
} encoding;

static void look_at_encoding(void *ctx, const char *bytes, size_t n)
{
    encoding *e = ctx;
    int cut = 0;
    data__import_digest(e->im, bytes, n);
    while (n > 0 && e->n_rest > 0 && !e->cp949) { // a character across two blocks
        e->rest[e->n_rest++] = *bytes++;
        n--;
        size_t whole = data__utf8_prefix(e->rest, e->n_rest, &cut);
        if (whole == e->n_rest)
            e->n_rest = 0;
        else if (!cut)
            e->cp949 = 1;
    }
    if (e->cp949 || n == 0) return;
    size_t whole = data__utf8_prefix(bytes, n, &cut);
    if (whole == n) return;
    e->cp949 = !cut;
    e->n_rest = n - whole;
    if (cut) memcpy(e->rest, bytes + whole, e->n_rest);
}

static void feed(void *ctx, const char *bytes, size_t n)
{
    data__aihub_feed(ctx, bytes, n);
}

static mn_err read_list(aihub_state *s, const list *l)
{
    static const data__aihub_ops ops = {take_face, bad_element};
    char *path = mn_sprintf("%s/%s", s->im->cfg->src, l->path);
    encoding e = {.im = s->im};
    s->reading = l;
    mn_err err = each_block(path, look_at_encoding, &e);
    if (err == MN_OK) {
        data__aihub *a = data__aihub_open(s->korean, e.cp949 || e.n_rest, &ops, s);
        err = each_block(path, feed, a);
        if (err == MN_OK) data__aihub_feed(a, NULL, 0);
        data__aihub_close(a);
    }
    free(path);
    return err;
}

// People: what their pictures' names begin with

static size_t person_of(const char *name)
{
    size_t n = strcspn(name, "_");
    return name[n] && n >= PERSON_LEAST ? n : 0;
}

static int by_person(const void *a, const void *b)
{
    const face *x = *(face *const *)a, *y = *(face *const *)b;
    size_t n = person_of(x->name), m = person_of(y->name);
    int order = strncmp(x->name, y->name, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static void number_people(const aihub_state *s)
{
    face **sorted = mn_calloc((size_t)s->n + 1, sizeof(*sorted));
    int32_t people = 0;
    for (int64_t i = 0; i < s->n; i++)
        sorted[i] = &s->faces[i];
    if (s->n) qsort(sorted, (size_t)s->n, sizeof(*sorted), by_person);
    for (int64_t i = 0; i < s->n; i++) {
        if (person_of(sorted[i]->name) == 0) continue;
        int again = i > 0 && by_person(&sorted[i - 1], &sorted[i]) == 0;
        people += !again;
        sorted[i]->identity = people - 1;
    }
    free(sorted);
}

static void tell(const aihub_state *s)
{
    int64_t unused = 0;
    for (int64_t i = 0; i < s->n_pictures; i++)
        unused += !s->pictures[i].taken;
    data__import_note(s->im, DATA__NOTE_UNLISTED, unused);
    for (int k = 0; k < DATA__AIHUB_EMOTIONS && s->im->cfg->ranks.rank == 0; k++)
        mn_info("import: %lld rows of %s", (long long)s->shown[k], emotions[k].rows);
}

static const char *path_at(void *ctx, int64_t i)
{
    aihub_state *s = ctx;
    free(s->path);
    return s->path = path_of(s, &s->pictures[s->faces[i].picture]);
}

static mn_err scan(data__import *im)
{
    static const char *const names[] = {"train", "validation"};
    aihub_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->im = im;
    s->root = -1;
    s->prefix = strlen(im->cfg->src) + 1;
    if (stat(im->cfg->out, &s->out) != 0) s->out.st_ino = 0;
    MN_TRY(data__korean_open(&s->korean));
    MN_TRY(data__open_folder(&s->root, im->cfg->src));
    MN_TRY(data__walk(im->cfg->src, DEPTH, look, s));
    if (s->n_lists == 0) return mn_fail(MN_ENOINPUT, "%s: there is no list (*.json) in it", im->cfg->src);
    if (s->n_pictures) qsort_r(s->pictures, (size_t)s->n_pictures, sizeof(*s->pictures), by_key, s->folders);
    for (int64_t i = 0; i < s->n_lists; i++)
        MN_TRY(read_list(s, &s->lists[i]));
    number_people(s);
    tell(s);
    int64_t size = data__import_mean_size(s->root, s->n, path_at, s);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < s->n; i++)
            if ((s->faces[i].split == DATA_SPLIT_VALIDATION) == k) {
                const char *path = path_at(s, i);
                data__import_digest(im, path, strlen(path) + 1);
                data__import_unit(data__import_group(im, names[k], "image"), i, 1, size);
            }
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_face(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const aihub_state *s = im->state;
    const face *f = &s->faces[u->item];
    data_record r = {.name = f->name,
                     .expr = f->expr,
                     .mask = DATA_HAS_EXPR | (f->identity >= 0 ? DATA_HAS_IDENTITY : 0u),
                     .identity = f->identity,
                     .age = f->age,
                     .gender = f->gender,
                     .video = -1,
                     .source_row = f->element,
                     .box = f->box};
    int accepted;
    char *path = path_of(s, &s->pictures[f->picture]);
    (void)g;
    mn_err err = data__import_picture(im, s->root, path, f->name, f->element, &r, &accepted);
    free(path);
    MN_TRY(err);
    if (!accepted || (!isnan(f->box[0]) && !data__import_box(im, f->box, f->name, f->element))) return MN_OK;
    return data__import_add(im, w, &r);
}

static void close_state(void *state)
{
    aihub_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    data__korean_close(s->korean);
    for (int64_t i = 0; i < s->n_lists; i++)
        free(s->lists[i].path);
    for (int32_t i = 0; i < s->n_folders; i++)
        free(s->folders[i]);
    data__strings_free(&s->names);
    free(s->folders);
    free(s->path);
    free(s->lists);
    free(s->pictures);
    free(s->faces);
    free(s);
}

const data__importer data__import_aihub = {
    .scan = scan,
    .write = write_face,
    .close = close_state,
    .columns = {.has_expr = 1, .has_identity = 1, .has_age = 1, .has_gender = 1, .has_box = 1},
    .threads = 1};
