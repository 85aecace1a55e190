// Tables as the publisher's, for generated corpora and for tests: written by libmatio, so that the reader of faces.c meets
// files of another hand.
#include "data/media/faces.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <matio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t padded(size_t n)
{
    return (n + 7) / 8 * 8;
}

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
