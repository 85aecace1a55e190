#include "data/media/faces.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <math.h>
#include <matio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = 128, VERSION_AT = 124, BLOCK = 1 << 18 };

typedef struct table { // borrowed from the struct; NULL: no such field
    mat_t *mat;
    const char *name;
    matvar_t *dob, *photo_taken, *full_path, *gender, *location, *score, *second, *celeb;
    size_t n;
} table;

// Opening

static mn_err take_at(int fd, const char *name, void *to, size_t size, int64_t at, size_t *n)
{
    ssize_t got = pread(fd, to, size, at);
    if (got < 0) return mn_fail(MN_EIO, "%s: %s", name, strerror(errno));
    *n = (size_t)got;
    return MN_OK;
}

// Version 5, of either byte order (what libmatio knows besides, 4 and 7.3, which is HDF5, is none of this dataset), and
// whole: what is cut off libmatio reads as zeros.
static mn_err check_head(int fd, const char *name)
{
    unsigned char head[HEAD], b[8];
    size_t n = 0;
    MN_TRY(take_at(fd, name, head, HEAD, 0, &n));
    int little = n == HEAD && memcmp(head + VERSION_AT, "\0\1IM", 4) == 0;
    int big = n == HEAD && memcmp(head + VERSION_AT, "\1\0MI", 4) == 0;
    if (!little && !big) return mn_fail(MN_EDATA, "%s: not a MAT file of version 5", name);
    for (int64_t at = HEAD, elements = 0;; elements++) {
        MN_TRY(take_at(fd, name, b, sizeof b, at, &n));
        if (n == 0 && elements > 0) return MN_OK;
        uint32_t size = little ? b[4] | (uint32_t)b[5] << 8 | (uint32_t)b[6] << 16 | (uint32_t)b[7] << 24
                               : b[7] | (uint32_t)b[6] << 8 | (uint32_t)b[5] << 16 | (uint32_t)b[4] << 24;
        at += 8 + (int64_t)size;
        if (n == sizeof b) MN_TRY(take_at(fd, name, b, 1, at - 1, &n)); // its last byte
        if (n != 1) return mn_fail(MN_EDATA, "%s: cut off", name);
    }
}

mn_err media_faces_open(int fd, const char *name, void **mat)
{
    char path[40];
    MN_TRY(check_head(fd, name));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd); // libmatio opens by name only
    *mat = Mat_Open(path, MAT_ACC_RDONLY);
    return *mat ? MN_OK : mn_fail(MN_EDATA, "%s: libmatio cannot open it", name);
}

// Reading

static mn_err load(const table *t, matvar_t *v, const char *what)
{
    return Mat_VarReadDataAll(t->mat, v) == 0 ? MN_OK : mn_fail(MN_EDATA, "%s: %s: damaged or cut off", t->name, what);
}

static void unload(matvar_t *v)
{
    free(v->data); // libmatio's own, from malloc; Mat_VarFree knows that there is none
    v->data = NULL;
    v->nbytes = 0;
}

static size_t length(const matvar_t *v)
{
    size_t n = v->rank > 0 && v->dims ? 1 : 0;
    for (int i = 0; i < v->rank && n; i++)
        if (__builtin_mul_overflow(n, v->dims[i], &n)) n = 0;
    return n;
}

// Element i of numbers of any class; NaN: there is none.
static double number_at(const matvar_t *v, size_t i)
{
    if (!v || !v->data || v->isComplex || v->data_size < 1 || (i + 1) > v->nbytes / (size_t)v->data_size) return NAN;
    switch (v->class_type) {
#define CASE(cls, type)                                                                                                \
    case cls:                                                                                                          \
        return v->data_size == (int)sizeof(type) ? (double)((const type *)v->data)[i] : NAN
        CASE(MAT_C_DOUBLE, double);
        CASE(MAT_C_SINGLE, float);
        CASE(MAT_C_INT8, int8_t);
        CASE(MAT_C_UINT8, uint8_t);
        CASE(MAT_C_INT16, int16_t);
        CASE(MAT_C_UINT16, uint16_t);
        CASE(MAT_C_INT32, int32_t);
        CASE(MAT_C_UINT32, uint32_t);
        CASE(MAT_C_INT64, int64_t);
        CASE(MAT_C_UINT64, uint64_t);
#undef CASE
    default:
        return NAN;
    }
}

static int is_numbers(const matvar_t *v)
{
    return v->class_type >= MAT_C_DOUBLE && v->class_type <= MAT_C_UINT64;
}

// A field of numbers, n of them, loaded; *out NULL: there is no such field.
static mn_err take_numbers(const table *t, matvar_t *s, const char *field, matvar_t **out)
{
    *out = Mat_VarGetStructFieldByName(s, field, 0);
    if (!*out) return MN_OK;
    if (!is_numbers(*out) || length(*out) != t->n)
        return mn_fail(MN_EDATA, "%s: %s: not %zu numbers", t->name, field, t->n);
    return load(t, *out, field);
}

static mn_err take_cells(const table *t, matvar_t *s, const char *field, matvar_t **out)
{
    *out = Mat_VarGetStructFieldByName(s, field, 0);
    if (!*out || (*out)->class_type != MAT_C_CELL || !(*out)->data ||
        length(*out) * sizeof(matvar_t *) > (*out)->nbytes)
        return mn_fail(MN_EDATA, "%s: %s: there is no cell array of that name", t->name, field);
    if (t->n && length(*out) != t->n)
        return mn_fail(MN_EDATA, "%s: %s: %zu cells, not %zu", t->name, field, length(*out), t->n);
    return MN_OK;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

// UTF-16, as MATLAB and libmatio keep texts, to UTF-8. Half a pair becomes U+FFFD.
static size_t from_utf16(const uint16_t *from, size_t n, char *to, size_t most)
{
    size_t used = 0;
    for (size_t i = 0; i < n && used + 4 <= most; i++) {
        uint32_t c = from[i];
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < n && from[i + 1] >= 0xdc00 && from[i + 1] < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (from[++i] - 0xdc00u);
        else if (c >= 0xd800 && c < 0xe000)
            c = 0xfffd;
        used += put_utf8(to + used, c);
    }
    return used;
}

// The text of a cell, UTF-8, into `to`; one of another class is empty.
static mn_err read_text(const table *t, matvar_t *v, char to[WIRE_TEXT_MOST], uint32_t *bytes)
{
    *bytes = 0;
    if (!v || v->class_type != MAT_C_CHAR || length(v) == 0) return MN_OK;
    MN_TRY(load(t, v, "full_path"));
    if (v->data && v->data_size == 2)
        *bytes = (uint32_t)from_utf16(v->data, v->nbytes / 2, to, WIRE_TEXT_MOST);
    else if (v->data && v->data_size == 1 && v->nbytes <= WIRE_TEXT_MOST)
        memcpy(to, v->data, *bytes = (uint32_t)v->nbytes);
    unload(v);
    return MN_OK;
}

static mn_err read_box(const table *t, matvar_t *v, double box[4])
{
    int usable = v && is_numbers(v) && length(v) == 4;
    if (usable) MN_TRY(load(t, v, "face_location"));
    for (size_t k = 0; k < 4; k++)
        box[k] = usable ? number_at(v, k) : NAN;
    if (usable) unload(v);
    return MN_OK;
}

static matvar_t *cell(const matvar_t *cells, size_t i)
{
    return ((matvar_t *const *)cells->data)[i];
}

static size_t padded(size_t n)
{
    return (n + 7) / 8 * 8;
}

static mn_err read_rows(const table *t, media_rows take)
{
    char *block = mn_calloc(BLOCK, 1);
    size_t used = 0;
    mn_err err = MN_OK;
    for (size_t i = 0; i < t->n && err == MN_OK; i++) {
        wire_face f = {.dob = number_at(t->dob, i),
                       .photo_taken = number_at(t->photo_taken, i),
                       .gender = number_at(t->gender, i),
                       .score = number_at(t->score, i),
                       .second_score = number_at(t->second, i),
                       .celeb_id = number_at(t->celeb, i)};
        char text[WIRE_TEXT_MOST];
        err = read_text(t, cell(t->full_path, i), text, &f.path_bytes);
        if (err == MN_OK) err = read_box(t, cell(t->location, i), f.box);
        if (err != MN_OK) break;
        size_t bytes = sizeof f + padded(f.path_bytes);
        if (used + bytes > BLOCK) {
            err = take(block, used);
            used = 0;
        }
        memset(block + used, 0, bytes);
        memcpy(block + used, &f, sizeof f);
        memcpy(block + used + sizeof f, text, f.path_bytes);
        used += bytes;
    }
    if (err == MN_OK && used) err = take(block, used);
    free(block);
    return err;
}

static mn_err read_struct(table *t, matvar_t *s, media_rows take)
{
    MN_TRY(take_cells(t, s, "full_path", &t->full_path));
    t->n = length(t->full_path);
    if (t->n == 0) return mn_fail(MN_EDATA, "%s: full_path: empty", t->name);
    MN_TRY(take_cells(t, s, "face_location", &t->location));
    MN_TRY(take_numbers(t, s, "dob", &t->dob));
    MN_TRY(take_numbers(t, s, "photo_taken", &t->photo_taken));
    MN_TRY(take_numbers(t, s, "gender", &t->gender));
    MN_TRY(take_numbers(t, s, "face_score", &t->score));
    MN_TRY(take_numbers(t, s, "second_face_score", &t->second));
    MN_TRY(take_numbers(t, s, "celeb_id", &t->celeb));
    return read_rows(t, take);
}

mn_err media_faces_read(void *mat, const char *name, media_rows take)
{
    table t = {.mat = mat, .name = name};
    // Only what is where: the texts and boxes are loaded one by one, which keeps a third of the memory.
    matvar_t *s = Mat_VarReadInfo(mat, "imdb");
    if (!s) s = Mat_VarReadInfo(mat, "wiki");
    mn_err err = s && s->class_type == MAT_C_STRUCT && length(s) == 1
                     ? read_struct(&t, s, take)
                     : mn_fail(MN_EDATA, "%s: there is no struct imdb or wiki in it", name);
    Mat_VarFree(s);
    (void)Mat_Close(mat); // opened for reading: nothing can be lost
    return err;
}

// Writing

typedef struct row {
    wire_face f;
    char *path, *name;
} row;

typedef struct rows {
    row *row;
    size_t n, capacity;
} rows;

// *n 0: the end.
static mn_err take_bytes(int in, void *to, size_t size, size_t *n)
{
    for (*n = 0; *n < size;) {
        ssize_t got = read(in, (char *)to + *n, size - *n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return mn_fail(MN_EIO, "standard input: %s", strerror(errno));
        if (got == 0) break;
        *n += (size_t)got;
    }
    return *n == 0 || *n == size ? MN_OK : mn_fail(MN_EDATA, "standard input: cut off");
}

static char *text_of(const char *p, size_t n)
{
    char *text = mn_calloc(n + 1, 1);
    memcpy(text, p, n);
    return text;
}

static mn_err take_rows(int in, rows *r)
{
    for (;;) {
        wire_face f;
        char text[WIRE_TEXT_MOST];
        size_t n;
        MN_TRY(take_bytes(in, &f, sizeof f, &n));
        if (n == 0) return MN_OK;
        size_t bytes = padded((size_t)f.path_bytes + f.name_bytes);
        if (bytes > sizeof text) return mn_fail(MN_EDATA, "standard input: a text of %zu bytes", bytes);
        MN_TRY(take_bytes(in, text, bytes, &n));
        if (n < bytes) return mn_fail(MN_EDATA, "standard input: cut off");
        if (r->n == r->capacity) {
            r->capacity = r->capacity * 2 + 256;
            r->row = mn_realloc(r->row, r->capacity, sizeof *r->row);
        }
        r->row[r->n++] = (row){f, text_of(text, f.path_bytes), text_of(text + f.path_bytes, f.name_bytes)};
    }
}

typedef double (*get)(const row *r);
static double get_dob(const row *r)
{
    return r->f.dob;
}
static double get_photo_taken(const row *r)
{
    return r->f.photo_taken;
}
static double get_gender(const row *r)
{
    return r->f.gender;
}
static double get_score(const row *r)
{
    return r->f.score;
}
static double get_second(const row *r)
{
    return r->f.second_score;
}
static double get_celeb(const row *r)
{
    return r->f.celeb_id;
}

// n numbers in a row, as doubles or as 32-bit integers; libmatio copies them.
static matvar_t *numbers(const rows *r, get value, int integers)
{
    size_t dims[2] = {1, r->n};
    double *d = mn_calloc(r->n, sizeof *d);
    int32_t *k = mn_calloc(r->n, sizeof *k);
    for (size_t i = 0; i < r->n; i++) {
        d[i] = value(&r->row[i]);
        k[i] = integers ? (int32_t)d[i] : 0;
    }
    matvar_t *v = integers ? Mat_VarCreate(NULL, MAT_C_INT32, MAT_T_INT32, 2, dims, k, 0)
                           : Mat_VarCreate(NULL, MAT_C_DOUBLE, MAT_T_DOUBLE, 2, dims, d, 0);
    free(d);
    free(k);
    return v;
}

// Texts come in UTF-8; wide: as UTF-16 (characters of the first plane only).
static matvar_t *text(const char *utf8, int wide)
{
    size_t n = strlen(utf8), dims[2] = {n ? 1 : 0, 0};
    for (size_t i = 0; i < n; i++)
        dims[1] += (utf8[i] & 0xc0) != 0x80; // libmatio counts characters
    if (!wide) return Mat_VarCreate(NULL, MAT_C_CHAR, MAT_T_UTF8, 2, dims, (void *)(uintptr_t)utf8, 0);
    uint16_t *u = mn_calloc(n + 1, sizeof *u);
    const unsigned char *p = (const unsigned char *)utf8;
    for (dims[1] = 0; *p; dims[1]++) {
        int more = *p < 0x80 ? 0 : *p < 0xe0 ? 1 : 2;
        uint32_t c = more == 0 ? *p : *p & (more == 1 ? 31 : 15);
        for (p++; more > 0 && *p; more--)
            c = c << 6 | (*p++ & 63);
        u[dims[1]] = (uint16_t)c;
    }
    matvar_t *v = Mat_VarCreate(NULL, MAT_C_CHAR, MAT_T_UTF16, 2, dims, u, 0);
    free(u);
    return v;
}

enum { PATHS, NAMES, BOXES };
static matvar_t *cells(const rows *r, int which, int wide)
{
    size_t dims[2] = {1, r->n}, four[2] = {1, 4};
    matvar_t **c = mn_calloc(r->n, sizeof *c);
    for (size_t i = 0; i < r->n; i++) {
        row *one = &r->row[i];
        c[i] = which == BOXES ? Mat_VarCreate(NULL, MAT_C_DOUBLE, MAT_T_DOUBLE, 2, four, one->f.box, 0)
                              : text(which == PATHS ? one->path : one->name, wide);
    }
    matvar_t *v =
        Mat_VarCreate(NULL, MAT_C_CELL, MAT_T_CELL, 2, dims, c, 0); // copies the pointers, owns what they point to
    free(c);
    return v;
}

// The fields in the order of the published files, by which some programs know them.
static matvar_t *make_struct(const media_faces_cfg *cfg, const rows *r)
{
    static const char *fields[] = {"dob",           "photo_taken", "full_path",         "gender",      "name",
                                   "face_location", "face_score",  "second_face_score", "celeb_names", "celeb_id"};
    int imdb = strcmp(cfg->variable, "imdb") == 0, wide = !cfg->plain;
    size_t one[2] = {1, 1};
    matvar_t *s = Mat_VarCreateStruct(cfg->variable, 2, one, fields, imdb ? 10 : 8);
    matvar_t *value[] = {numbers(r, get_dob, wide),
                         numbers(r, get_photo_taken, wide),
                         cells(r, PATHS, wide),
                         numbers(r, get_gender, 0),
                         cells(r, NAMES, wide),
                         cells(r, BOXES, wide),
                         numbers(r, get_score, 0),
                         numbers(r, get_second, 0),
                         imdb ? cells(r, NAMES, wide) : NULL,
                         imdb ? numbers(r, get_celeb, 0) : NULL};
    for (size_t i = 0; s && i < (imdb ? 10u : 8u); i++)
        (void)Mat_VarSetStructFieldByName(s, fields[i], 0, value[i]);
    return s;
}

mn_err media_faces_make(const media_faces_cfg *cfg, int in)
{
    static const char header[] = "MATLAB 5.0 MAT-file, written by mien"; // libmatio's own has the time in it
    rows r = {0};
    mn_err err = take_rows(in, &r);
    mat_t *mat = err == MN_OK ? Mat_CreateVer(cfg->path, header, MAT_FT_MAT5) : NULL;
    if (err == MN_OK && !mat) err = mn_fail(MN_ECREATE, "%s: libmatio cannot create it", cfg->path);
    if (err == MN_OK) {
        matvar_t *s = make_struct(cfg, &r);
        if (!s || Mat_VarWrite(mat, s, cfg->plain ? MAT_COMPRESSION_NONE : MAT_COMPRESSION_ZLIB) != 0)
            err = mn_fail(MN_EIO, "%s: libmatio cannot write it", cfg->path);
        Mat_VarFree(s);
    }
    if (mat && Mat_Close(mat) != 0 && err == MN_OK) err = mn_fail(MN_EIO, "%s: libmatio cannot close it", cfg->path);
    for (size_t i = 0; i < r.n; i++) {
        free(r.row[i].path);
        free(r.row[i].name);
    }
    free(r.row);
    return err;
}
