// The reader of MAT files, on tables that are written here as MATLAB lays them out: every stored type, both byte orders,
// compressed and not, small elements, any order of fields, other variables around; cut and damaged at every place; and one
// of scipy's and a long one that is never in memory.
#include "data/media/faces.h"
#include "data/media/mat.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

// A writer

enum {
    INT8 = 1,
    UINT8,
    INT16,
    UINT16,
    INT32,
    UINT32,
    SINGLE,
    DOUBLE = 9,
    INT64 = 12,
    UINT64,
    MATRIX,
    UTF8 = 16,
    UTF16,
    UTF32
};
enum { CELL = 1, STRUCT, CHARS = 4, DOUBLES = 6, MOST = 1 << 16, ROWS = 5, FIELDS = 10 };

typedef struct bytes {
    unsigned char b[MOST];
    size_t n;
    int big, small;   // small: elements of up to four bytes in their tag, as MATLAB writes them
    size_t tags[900]; // where elements begin
    char passed[900]; // of them, those in fields that nobody wants
    int n_tags, passing;
} bytes;

static void put(bytes *o, const void *data, size_t items, size_t size) // items in the byte order of the file
{
    const unsigned char *p = data;
    cr_assert(o->n + items * size + 8 < MOST);
    for (size_t i = 0; i < items * size; i++)
        o->b[o->n++] = p[o->big ? i / size * size + size - 1 - i % size : i];
}

static void put_u32(bytes *o, uint32_t v)
{
    put(o, &v, 1, 4);
}

static void tag(bytes *o, uint32_t type, uint32_t size)
{
    o->passed[o->n_tags] = (char)o->passing;
    o->tags[o->n_tags++] = o->n;
    put_u32(o, type);
    put_u32(o, size);
}

static void element(bytes *o, uint32_t type, const void *data, size_t items, size_t size)
{
    uint32_t n = (uint32_t)(items * size);
    if (o->small && n > 0 && n <= 4) {
        o->tags[o->n_tags++] = o->n;
        put_u32(o, n << 16 | type);
        put(o, data, items, size);
        o->n += 4 - n;
        return;
    }
    tag(o, type, n);
    put(o, data, items, size);
    o->n += (8 - n % 8) % 8;
}

// Begins an array; its size is told to `end`.
static size_t begin(bytes *o, uint32_t class, int rows, int columns, const char *name)
{
    const uint32_t flags[2] = {class, 0};
    const int32_t dims[2] = {rows, columns};
    tag(o, MATRIX, 0);
    size_t at = o->n;
    element(o, UINT32, flags, 2, 4);
    element(o, INT32, dims, 2, 4);
    element(o, INT8, name, strlen(name), 1);
    return at;
}

static void end(bytes *o, size_t at)
{
    size_t n = o->n;
    o->n = at - 4;
    put_u32(o, (uint32_t)(n - at));
    o->n = n;
}

static size_t item_size(uint32_t type)
{
    return type == INT8 || type == UINT8 || type == UTF8                        ? 1
           : type == INT16 || type == UINT16 || type == UTF16                   ? 2
           : type == INT32 || type == UINT32 || type == SINGLE || type == UTF32 ? 4
                                                                                : 8;
}

static void numbers(bytes *o, uint32_t type, const double *v, int n)
{
    unsigned char b[8 * ROWS];
    size_t size = item_size(type);
    for (int i = 0; i < n; i++) {
        int64_t k = isnan(v[i]) ? 0 : (int64_t)v[i];
        float f = (float)v[i];
        memcpy(b + (size_t)i * size,
               type == DOUBLE   ? (const void *)&v[i]
               : type == SINGLE ? (const void *)&f
                                : &k,
               size);
    }
    element(o, type, b, (size_t)n, size);
}

// Tables

typedef struct form {
    int big, packed, small, reversed, around;
    uint32_t number, text;
} form;

static const char *const field[FIELDS] = {"dob",         "photo_taken",   "full_path",  "gender",
                                          "name",        "face_location", "face_score", "second_face_score",
                                          "celeb_names", "celeb_id"};
static const uint32_t path[ROWS][12] = {{'0', '1', '/', 'a', '.', 'j'},
                                        {'0', '2', '/', 0xe9, 0xae40, '_', 0x1f600, '.', 'j'},
                                        {0},
                                        {'9', '/', 'x', 'y', 'z', '_', 'l', 'o', 'n', 'g', '1'},
                                        {'b'}};

// What field k says of row i: whole and small, but NaN where the type has it.
static double value_of(const form *f, int k, int i)
{
    return k == 7 && i % 2 && (f->number == DOUBLE || f->number == SINGLE) ? (double)NAN : (double)(k * 10 + i);
}

static size_t text_of(uint32_t type, int i, unsigned char to[64])
{
    size_t n = 0, k, utf8 = 0;
    for (k = 0; path[i][k]; k++) {
        uint32_t c = path[i][k];
        uint16_t half[2] = {(uint16_t)c, 0};
        size_t halves = c > 0xffff ? 2 : 1;
        if (halves == 2) {
            half[0] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            half[1] = (uint16_t)(0xdc00 + (c & 0x3ff));
        }
        if (item_size(type) == 4) memcpy(to + 4 * n++, &c, 4);
        if (item_size(type) == 2) memcpy(to + 2 * n, half, 2 * halves);
        if (item_size(type) == 2) n += halves;
        if (item_size(type) > 1) continue;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        utf8 = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        to[n] = (unsigned char)(utf8 == 1 ? c : lead[utf8] | c >> 6 * (utf8 - 1));
        for (size_t j = 1; j < utf8; j++)
            to[n + j] = (unsigned char)(0x80 | (c >> 6 * (utf8 - 1 - j) & 63));
        n += utf8;
    }
    return n;
}

static void put_field(bytes *o, const form *f, int k)
{
    int cells = k == 2 || k == 4 || k == 5 || k == 8;
    double v[ROWS];
    int first = o->n_tags;
    o->passing = k == 4 || k == 8;
    size_t at = begin(o, cells ? CELL : DOUBLES, 1, ROWS, "");
    o->passed[first] = 0; // by its length it is passed
    for (int i = 0; i < ROWS; i++)
        v[i] = value_of(f, k, i);
    if (!cells) numbers(o, f->number, v, ROWS);
    for (int i = 0; cells && i < ROWS; i++) {
        unsigned char text[64];
        size_t n = text_of(f->text, i, text);
        o->passing = k == 4 || k == 8 || (k == 2 && n == 0) || (k == 5 && i == 3); // empty with or without their data
        if (k != 5 && n == 0 && f->small) {                                        // MATLAB's [], never assigned
            tag(o, MATRIX, 0);
            continue;
        }
        size_t cell =
            k == 5 ? begin(o, DOUBLES, i == 3 ? 0 : 1, i == 3 ? 0 : 4, "")
                   : begin(o, CHARS, n ? 1 : 0, (int)n, ""); // characters beyond the first plane: more than there are
        const double box[4] = {i + 1, i + 2, i + 30, i + 40};
        if (k == 5) numbers(o, f->number, box, i == 3 ? 0 : 4);
        if (k != 5) element(o, f->text, text, n, item_size(f->text));
        end(o, cell);
    }
    o->passing = 0;
    end(o, at);
}

static void put_other(bytes *o)
{
    size_t at = begin(o, DOUBLES, 1, 3, "before");
    const double v[3] = {1, 2, 3};
    element(o, DOUBLE, v, 3, 8);
    end(o, at);
}

// An object of MATLAB's own classes: neither dimensions nor name where other arrays have them.
static void put_object(bytes *o)
{
    const uint32_t flags[2] = {17, 0};
    tag(o, MATRIX, 0);
    size_t at = o->n;
    element(o, UINT32, flags, 2, 4);
    element(o, INT8, "imdb_after", 10, 1);
    element(o, INT8, "MCOS", 4, 1);
    element(o, INT8, "string", 6, 1);
    end(o, at);
}

static void put_table(bytes *o, const form *f)
{
    char names[FIELDS][32] = {{0}};
    const int32_t length = 32;
    size_t at = begin(o, STRUCT, 1, 1, "imdb");
    for (int k = 0; k < FIELDS; k++)
        strcpy(names[k], field[f->reversed ? FIELDS - 1 - k : k]);
    element(o, INT32, &length, 1, 4);
    element(o, INT8, names, FIELDS * 32, 1);
    for (int k = 0; k < FIELDS; k++)
        put_field(o, f, f->reversed ? FIELDS - 1 - k : k);
    end(o, at);
}

static void put_head(bytes *o)
{
    memcpy(o->b, "MATLAB 5.0 MAT-file, Platform: GLNXA64", 38);
    o->n = 124;
    const uint16_t version[2] = {0x0100, 'M' << 8 | 'I'};
    put(o, version, 2, 2);
}

// The contents of one compressed element.
static void put_packed(bytes *o, const unsigned char *contents, size_t n)
{
    uLongf size = (uLongf)(MOST - o->n - 8);
    cr_assert_eq(compress(o->b + o->n + 8, &size, contents, n), Z_OK);
    tag(o, 15, (uint32_t)size);
    o->n += size;
}

// *table: where the file would be whole without what follows.
static bytes *make_file(const form *f, size_t *table)
{
    bytes *o = calloc(1, sizeof *o), *in = calloc(1, sizeof *in);
    o->big = in->big = f->big;
    o->small = in->small = f->small;
    put_head(o);
    if (f->around) put_other(o);
    put_table(f->packed ? in : o, f);
    if (f->packed) put_packed(o, in->b, in->n);
    *table = o->n;
    if (f->around) put_object(o);
    free(in);
    return o;
}

// The reader

typedef struct rows {
    wire_face f[ROWS];
    char text[ROWS][64];
    int64_t n;
    double sum;
} rows;

static mn_err take(void *ctx, const void *data, size_t n)
{
    rows *r = ctx;
    const char *p = data;
    for (size_t at = 0; at < n;) {
        wire_face f;
        memcpy(&f, p + at, sizeof f);
        if (r->n < ROWS) {
            cr_assert(f.path_bytes < 64);
            r->f[r->n] = f;
            memcpy(r->text[r->n], p + at + sizeof f, f.path_bytes);
            r->text[r->n][f.path_bytes] = 0;
        }
        r->n++;
        r->sum += f.dob;
        at += sizeof f + (f.path_bytes + 7) / 8 * 8;
    }
    return MN_OK;
}

static mn_err read_memory(void *ctx, int64_t at, void *to, size_t n)
{
    memcpy(to, (const char *)ctx + at, n);
    return MN_OK;
}

static mn_err read_bytes(const void *b, size_t n, rows *r)
{
    unsigned char *exact = malloc(n ? n : 1); // so that a sanitizer sees one byte too far
    memcpy(exact, b, n);
    media_source s = {.name = "t.mat", .size = (int64_t)n, .ctx = exact, .read = read_memory};
    memset(r, 0, sizeof *r);
    mn_err err = media_faces_read(&s, take, r);
    free(exact);
    return err;
}

static void refused(const void *b, size_t n, const char *what, size_t place)
{
    static rows r;
    mn_err err = read_bytes(b, n, &r);
    cr_assert_eq(err, MN_EDATA, "%s %zu: %d, %lld rows", what, place, err, (long long)r.n);
    cr_assert(strncmp(mn_errmsg(), "t.mat: byte ", 12) == 0, "%s %zu: %s", what, place, mn_errmsg());
}

static void check_rows(const form *f, const rows *r)
{
    cr_assert_eq(r->n, ROWS);
    for (int i = 0; i < ROWS; i++) {
        unsigned char text[64] = {0};
        const double have[] = {r->f[i].dob,   r->f[i].photo_taken,  r->f[i].gender,
                               r->f[i].score, r->f[i].second_score, r->f[i].celeb_id};
        static const int of[] = {0, 1, 3, 6, 7, 9};
        for (int k = 0; k < 6; k++) {
            double want = value_of(f, of[k], i);
            cr_assert(isnan(want) ? isnan(have[k]) : have[k] == want, "row %d %s: %g", i, field[of[k]], have[k]);
        }
        text[text_of(UTF8, i, text)] = 0;
        cr_assert_str_eq(r->text[i], (const char *)text);
        for (int k = 0; k < 4; k++)
            cr_assert(i == 3 ? isnan(r->f[i].box[k]) : r->f[i].box[k] == i + (k < 2 ? k + 1 : 10 * (k + 1)));
    }
}

static form form_of(int i)
{
    static const uint32_t stored[] = {INT8, UINT8, INT16, UINT16, INT32, UINT32, SINGLE, DOUBLE, INT64, UINT64};
    static const uint32_t texts[] = {UINT16, UTF8, UTF16, UTF32, INT8, UINT8};
    return (form){.big = i & 1,
                  .packed = i >> 1 & 1,
                  .small = i >> 2 & 1,
                  .reversed = i >> 3 & 1,
                  .around = i % 3 == 0,
                  .number = stored[i % 10],
                  .text = texts[i / 5 % 6]};
}

Test(mat, tables_of_every_form)
{
    static rows r;
    for (int i = 0; i < 240; i++) {
        form f = form_of(i);
        size_t table;
        bytes *o = make_file(&f, &table);
        cr_assert_eq(read_bytes(o->b, o->n, &r), MN_OK, "form %d: %s", i, mn_errmsg());
        check_rows(&f, &r);
        free(o);
    }
}

Test(mat, cut_anywhere)
{
    static rows r;
    for (int i = 0; i < 8; i++) {
        form f = form_of(31 * i);
        size_t table;
        bytes *o = make_file(&f, &table);
        f.around = 1;
        for (size_t n = 0; n < o->n; n++) {
            if (n == table) {
                cr_assert_eq(read_bytes(o->b, n, &r), MN_OK, "%s", mn_errmsg());
                check_rows(&f, &r);
            } else {
                refused(o->b, n, "bytes", n);
            }
        }
        free(o);
    }
}

// Compressed contents that end too early, or hold more than the array, with a right checksum; and wrong checksums.
Test(mat, compressed_contents_are_the_array_and_nothing_else)
{
    static bytes in, o;
    static rows r;
    form f = {.number = DOUBLE, .text = UINT16};
    put_table(&in, &f);
    for (int k = 0; k <= in.n_tags + 2; k++) {
        size_t n = k < in.n_tags ? in.tags[k] : k == in.n_tags ? in.n - 1 : in.n + 8 * (size_t)(k - in.n_tags - 1);
        o = (bytes){.n = 0};
        put_head(&o);
        put_packed(&o, in.b, n);
        if (n == in.n)
            cr_assert_eq(read_bytes(o.b, o.n, &r), MN_OK, "%s", mn_errmsg());
        else
            refused(o.b, o.n, "contents", n);
        if (n > 0 && n != in.n)
            cr_assert(strstr(mn_errmsg(), "byte 128: in the compressed element there, byte "), "%s", mn_errmsg());
    }
    o = (bytes){.n = 0};
    put_head(&o);
    put_packed(&o, in.b, in.n);
    for (size_t at = o.n - 4; at < o.n; at++) { // the checksum
        o.b[at] ^= 1;
        refused(o.b, o.n, "checksum", at);
        o.b[at] ^= 1;
    }
    const uint32_t more = (uint32_t)(o.n - 136 + 8); // bytes behind the compressed ones, in their element
    memcpy(o.b + 132, &more, 4);
    memset(o.b + o.n, 0, 8);
    refused(o.b, o.n + 8, "more", o.n);
}

Test(mat, wrong_lengths)
{
    static rows r;
    static const uint32_t longer[] = {8, 16, 0x10000, 0x7fffffff, 0xfffffff0};
    form f = {.number = DOUBLE, .text = UINT16};
    size_t table;
    bytes *o = make_file(&f, &table);
    int n = 0;
    for (int k = 0; k < o->n_tags; k++) {
        size_t at = o->tags[k];
        uint32_t size, wrong;
        memcpy(&size, o->b + at + 4, 4);
        for (size_t j = 0; j < sizeof longer / sizeof *longer; j++) {
            wrong = size > UINT32_MAX - longer[j] ? UINT32_MAX : size + longer[j];
            memcpy(o->b + at + 4, &wrong, 4);
            if (!o->passed[k]) refused(o->b, o->n, "length at", at);
        }
        for (uint32_t less = 1; less <= size && less <= 16; less++) { // anything but a crash: a text may be shorter
            wrong = size - less;
            memcpy(o->b + at + 4, &wrong, 4);
            n += read_bytes(o->b, o->n, &r) == MN_EDATA;
        }
        memcpy(o->b + at + 4, &size, 4);
        for (uint32_t small = 1; small < 0x10000; small = small * 3 + 1) { // as small elements
            uint32_t type, changed;
            memcpy(&type, o->b + at, 4);
            changed = type | small << 16;
            memcpy(o->b + at, &changed, 4);
            if (small > 4 && !o->passed[k]) refused(o->b, o->n, "small at", at);
            n += read_bytes(o->b, o->n, &r) == MN_EDATA;
            memcpy(o->b + at, &type, 4);
        }
    }
    cr_assert(n > 1000, "%d", n);
    cr_assert_eq(read_bytes(o->b, o->n, &r), MN_OK);
    free(o);
}

Test(mat, wrong_counts)
{
    static const int32_t wrong[] = {0, ROWS - 1, ROWS + 1, 1 << 20, INT32_MAX, -1, INT32_MIN};
    form f = {.number = UINT8, .text = UTF8};
    size_t table;
    bytes *o = make_file(&f, &table);
    for (int k = 0; k < o->n_tags; k++) {
        uint32_t type, size;
        int32_t dims[2];
        memcpy(&type, o->b + o->tags[k], 4);
        memcpy(&size, o->b + o->tags[k] + 4, 4);
        memcpy(dims, o->b + o->tags[k] + 8, 8);
        if (type != INT32 || size != 8 || dims[1] != ROWS) continue;
        size_t at = o->tags[k] + 12;
        for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++) {
            memcpy(o->b + at, &wrong[j], 4);
            static rows r;
            mn_err err = read_bytes(o->b, o->n, &r); // fields that nobody wants may have any count but none below 0
            cr_assert(err == MN_EDATA || (err == MN_OK && r.n == ROWS && wrong[j] >= 0), "%d at %zu", wrong[j], at);
            if (wrong[j] < 0) cr_assert(err == MN_EDATA);
        }
        const int32_t huge[2] = {INT32_MAX, INT32_MAX};
        memcpy(o->b + at - 4, huge, 8);
        static rows r;
        cr_assert(read_bytes(o->b, o->n, &r) == MN_EDATA || r.n == ROWS);
        memcpy(o->b + at - 4, dims, 8);
    }
    free(o);
}

Test(mat, other_versions_say_what_to_do)
{
    static rows r;
    unsigned char b[600] = {0};
    memcpy(b, "MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .", 58);
    memcpy(b + 124, "\0\2IM", 4);
    refused(b, sizeof b, "7.3", 0);
    cr_assert(strstr(mn_errmsg(), "version 7.3 (HDF5)") && strstr(mn_errmsg(), "-v7"), "%s", mn_errmsg());
    memset(b, 0, sizeof b);
    memcpy(b, "\x89HDF\r\n\x1a\n", 8);
    refused(b, sizeof b, "HDF5", 0);
    cr_assert(strstr(mn_errmsg(), "version 7.3 (HDF5)"));
    for (int big = 0; big < 2; big++) {
        const unsigned char four[2][20] = {{0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0},
                                           {0, 0, 3, 232, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5}};
        memset(b, 0, sizeof b);
        memcpy(b, four[big], sizeof four[big]);
        refused(b, sizeof b, "4", 0);
        cr_assert(strstr(mn_errmsg(), "version 4;") && strstr(mn_errmsg(), "-v7"), "%s", mn_errmsg());
    }
    memset(b, 'x', sizeof b);
    refused(b, sizeof b, "text", 0);
    cr_assert(strstr(mn_errmsg(), "not a MAT file of version 5"));
    refused(b, 0, "nothing", 0);
    static bytes o;
    put_head(&o);
    cr_assert(read_bytes(o.b, o.n, &r) == MN_EDATA && strstr(mn_errmsg(), "no struct imdb or wiki"));
}

Test(mat, texts)
{
    static const struct {
        const char *from, *to;
        size_t units;
        int size, fits;
    } row[] = {{"a\0\xe9\0", "a\xc3\xa9", 2, 2, 1},
               {"\x3d\xd8\x00\xde", "\xf0\x9f\x98\x80", 2, 2, 1},
               {"\x3d\xd8", "\xef\xbf\xbd", 1, 2, 1},                     // half a pair at the end
               {"\x00\xde\x3d\xd8", "\xef\xbf\xbd\xef\xbf\xbd", 2, 2, 1}, // the wrong way round
               {"\x3d\xd8"
                "a\0",
                "\xef\xbf\xbd"
                "a",
                2, 2, 1},
               {"\0\xd8\0\0", "\xef\xbf\xbd", 1, 4, 1},
               {"\0\0\x11\0", "\xef\xbf\xbd", 1, 4, 1},
               {"\xff\x80", "\xff\x80", 2, 1, 1},
               {"123456789", "12345678", 9, 1, 0}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char to[8];
        size_t n;
        int fits =
            media_text_convert((const unsigned char *)row[i].from, row[i].units, row[i].size, 0, to, sizeof to, &n);
        cr_assert_eq(fits, row[i].fits, "row %zu", i);
        cr_assert(n == strlen(row[i].to) && memcmp(to, row[i].to, n) == 0, "row %zu", i);
    }
}

// golden/mat.py: the same rows by scipy.io.savemat.
Test(mat, files_of_scipy)
{
    static rows r;
    form f = {.number = DOUBLE};
    for (int packed = 0; packed < 2; packed++) {
        size_t n;
        unsigned char *b = support_read(packed ? GOLDEN_DIR "/mat_packed.mat" : GOLDEN_DIR "/mat_plain.mat", &n);
        cr_assert_eq(read_bytes(b, n, &r), MN_OK, "%s", mn_errmsg());
        check_rows(&f, &r);
        free(b);
    }
}

// A table as it would lie in a file, of which nothing but one cell of each kind exists

typedef struct part {
    const unsigned char *b;
    int64_t size, times;
} part;

typedef struct many {
    part part[40];
    int n;
    bytes o;
} many;

static mn_err read_many(void *ctx, int64_t at, void *to, size_t n)
{
    const many *m = ctx;
    unsigned char *p = to;
    for (int k = 0; k < m->n && n > 0; at -= m->part[k].size * m->part[k].times, k++)
        for (; n > 0 && at < m->part[k].size * m->part[k].times; n--, at++)
            *p++ = m->part[k].b[at % m->part[k].size];
    return MN_OK;
}

static int64_t peak_kib(void)
{
    struct rusage u;
    cr_assert(getrusage(RUSAGE_SELF, &u) == 0);
    return u.ru_maxrss;
}

// What the writer wrote since `from`, so many times.
static void add_part(many *m, size_t from, int64_t times)
{
    m->part[m->n++] = (part){m->o.b + from, (int64_t)(m->o.n - from), times};
}

Test(mat, memory_does_not_depend_on_the_rows)
{
    static many m;
    static rows r;
    enum { MANY = 1000000 };
    const double v = 3, box[4] = {1, 2, 3, 4};
    char names[3][32] = {"full_path", "face_location", "dob"};
    const int32_t length = 32;
    bytes *o = &m.o;
    int64_t size = 0;
    put_head(o);
    size_t table = begin(o, STRUCT, 1, 1, "wiki"), sizes[3];
    element(o, INT32, &length, 1, 4);
    element(o, INT8, names, sizeof names, 1);
    add_part(&m, 0, 1);
    for (int k = 0; k < 3; k++) {
        size_t from = o->n;
        sizes[k] = begin(o, k < 2 ? CELL : DOUBLES, 1, MANY, "");
        if (k == 2) tag(o, DOUBLE, 8 * MANY);
        add_part(&m, from, 1);
        from = o->n;
        size_t cell = k == 2 ? 0 : begin(o, k ? DOUBLES : CHARS, 1, k ? 4 : 30, "");
        if (k == 0) element(o, UTF8, "00/nm0000001_rm000000001_1.jpg", 30, 1);
        if (k == 1) element(o, DOUBLE, box, 4, 8);
        if (k < 2) end(o, cell);
        if (k == 2) put(o, &v, 1, 8);
        add_part(&m, from, MANY);
        uint32_t field_size = (uint32_t)((int64_t)(o->n - from) * MANY + (int64_t)(from - sizes[k]));
        memcpy(o->b + sizes[k] - 4, &field_size, 4);
    }
    for (int k = 0; k < m.n; k++)
        size += m.part[k].size * m.part[k].times;
    uint32_t table_size = (uint32_t)(size - (int64_t)table);
    memcpy(o->b + table - 4, &table_size, 4);
    int64_t before = peak_kib();
    media_source s = {.name = "many.mat", .size = size, .ctx = &m, .read = read_many};
    cr_assert_eq(media_faces_read(&s, take, &r), MN_OK, "%s", mn_errmsg());
    cr_assert(r.n == MANY && r.sum == 3.0 * MANY && strcmp(r.text[4], "00/nm0000001_rm000000001_1.jpg") == 0);
    cr_assert(peak_kib() - before < 16 << 10, "%lld KiB more", (long long)(peak_kib() - before));
}
