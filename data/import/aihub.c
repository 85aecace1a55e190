// AI-Hub's Korean emotion pictures (data set 82): lists in JSON and pictures, wherever their archives were unpacked; Training
// and Validation in a path are the splits. A list names pictures by file name only, and the names of the files may have
// been spoiled on the way (CP949 bytes, single letters of macOS, another program's guess): a file belongs to the row
// whose name has the same ASCII characters, which hold the person, the age and the time; and where that is more than one
// file, to the one whose name is equal when both are composed UTF-8.
#include "data/import/aihub_list.h"
#include "data/import/find.h"
#include "data/import/strings.h"
#include "data/import/text.h"
#include "data/import/words.h"
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

// There are millions of both: a name is kept once, without the person it begins with, and a number has the bytes it needs.
typedef struct picture {
    XXH64_hash_t key;       // of the ASCII characters of its name
    const char *rest;       // of the file's name, behind the person
    int32_t folder, person; // the words before it
} picture;

typedef struct face {
    int32_t picture, between; // the word that makes the row's name of the file's: see between_of
    uint32_t element;
    int32_t identity; // a word until they are numbered
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
    uint8_t *taken;    // (n_pictures) by an earlier row
    data__words words; // folders below the source, people, what is between the ASCII characters of names
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

// The person that a name begins with; 0: it begins with none.
static size_t person_of(const char *name)
{
    size_t n = strcspn(name, "_");
    return name[n] && n >= PERSON_LEAST ? n : 0;
}

static char *path_of(const aihub_state *s, const picture *p)
{
    return mn_sprintf("%s%s%s", s->words.word[p->folder], s->words.word[p->person], p->rest);
}

static void take_picture(aihub_state *s, const char *below)
{
    const char *base = base_of(below);
    size_t person = person_of(base);
    char *name = name_text(s->korean, base);
    mn_assert(s->n_pictures < INT32_MAX); // of no more than half a million
    s->pictures = mn_grow(s->pictures, s->n_pictures, &s->pictures_capacity, sizeof(*s->pictures));
    s->pictures[s->n_pictures++] = (picture){.key = key_of(name),
                                             .rest = data__strings_add(&s->names, base + person, strlen(base + person)),
                                             .folder = data__words_add(&s->words, below, (size_t)(base - below)),
                                             .person = data__words_add(&s->words, base, person)};
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
    const data__words *words = ctx;
    if (x->key != y->key) return (x->key > y->key) - (x->key < y->key);
    int order = strcmp(words->word[x->folder], words->word[y->folder]);
    if (order == 0) order = strcmp(words->word[x->person], words->word[y->person]);
    return order ? order : strcmp(x->rest, y->rest);
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
        char *path = path_of(s, &s->pictures[i]), *text = name_text(s->korean, base_of(path));
        int own = split_of(path) == split, same = strcmp(text, name) == 0;
        free(text);
        free(path);
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
    if (p < 0 || s->taken[p]) {
        data__import_reject(s->im, p < 0 ? DATA__REJECT_MISSING : DATA__REJECT_DUPLICATE, a->name, element,
                            p < 0 ? why : "an earlier row has this picture too");
        return;
    }
    if (isnan(a->box[0])) data__import_note(s->im, DATA__NOTE_NO_BOX, 1);
    s->taken[p] = 1;
    s->faces = mn_grow(s->faces, s->n, &s->capacity, sizeof(*s->faces));
    char *path = path_of(s, &s->pictures[p]), *between = data__ascii_between(a->name, base_of(path));
    size_t person = person_of(a->name);
    uint8_t split = s->reading->split ? s->reading->split : split_of(path);
    face *f = &s->faces[s->n++];
    *f = (face){.picture = (int32_t)p,
                .between = data__words_add(&s->words, between, strlen(between)),
                .element = (uint32_t)element,
                .identity = person ? data__words_add(&s->words, a->name, person) : -1,
                .age = a->age,
                .expr = emotions[a->emotion].expr,
                .gender = a->gender,
                .split = split};
    memcpy(f->box, a->box, sizeof(f->box));
    free(between);
    free(path);
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

// People are numbered in the byte order of what their pictures' names begin with.

static int by_text(const void *a, const void *b, void *ctx)
{
    const char *const *word = ctx;
    return strcmp(word[*(const int32_t *)a], word[*(const int32_t *)b]);
}

static void number_people(const aihub_state *s)
{
    int32_t *number = mn_calloc((size_t)s->words.n + 1, sizeof(*number)), n = 0;
    int32_t *people = mn_calloc((size_t)s->words.n + 1, sizeof(*people));
    for (int64_t i = 0; i < s->n; i++) {
        int32_t word = s->faces[i].identity;
        if (word < 0 || number[word]) continue;
        number[word] = 1;
        people[n++] = word;
    }
    if (n) qsort_r(people, (size_t)n, sizeof(*people), by_text, s->words.word);
    for (int32_t k = 0; k < n; k++)
        number[people[k]] = k;
    for (int64_t i = 0; i < s->n; i++)
        if (s->faces[i].identity >= 0) s->faces[i].identity = number[s->faces[i].identity];
    free(people);
    free(number);
}

static void tell(const aihub_state *s)
{
    int64_t unused = 0;
    for (int64_t i = 0; i < s->n_pictures; i++)
        unused += !s->taken[i];
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
    if (s->n_pictures) qsort_r(s->pictures, (size_t)s->n_pictures, sizeof(*s->pictures), by_key, &s->words);
    s->taken = mn_calloc((size_t)s->n_pictures + 1, sizeof(*s->taken));
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
    const picture *p = &s->pictures[f->picture];
    char *path = path_of(s, p), *name = data__ascii_fill(s->words.word[f->between], base_of(path));
    data_record r = {.name = name,
                     .expr = f->expr,
                     .mask = DATA_HAS_EXPR | (f->identity >= 0 ? DATA_HAS_IDENTITY : 0u),
                     .identity = f->identity,
                     .age = f->age,
                     .gender = f->gender,
                     .video = -1,
                     .source_row = f->element,
                     .box = f->box};
    int accepted;
    (void)g;
    mn_err err = data__import_picture(im, s->root, path, name, f->element, &r, &accepted);
    if (err == MN_OK && accepted && (isnan(f->box[0]) || data__import_box(im, f->box, name, f->element)))
        err = data__import_add(im, w, &r);
    free(name);
    free(path);
    return err;
}

static void close_state(void *state)
{
    aihub_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    data__korean_close(s->korean);
    for (int64_t i = 0; i < s->n_lists; i++)
        free(s->lists[i].path);
    data__strings_free(&s->names);
    free(s->path);
    free(s->lists);
    free(s->pictures);
    free(s->taken);
    free(s->faces);
    free(s);
}

const data__importer data__import_aihub = {
    .scan = scan,
    .write = write_face,
    .close = close_state,
    .columns = {.has_expr = 1, .has_identity = 1, .has_age = 1, .has_gender = 1, .has_box = 1},
    .threads = 1};
