// IMDB-WIKI: the tables through the child process, in every form and damaged; the rows that it answers with; ages; and the
// generated corpus, whose plain table is read here by a reader of its own.
#include "data/import/imdb_table.h"
#include "data/media.h"
#include "data/media/wire.h"
#include "data/media_child.h"
#include "corpus_support.h"
#include "shard_support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

// Ages

Test(imdb, ages)
{
    static const struct {
        double dob, photo_taken, age;
    } row[] = {{723671, 2009, 28},  // 5 May 1981
               {723671, 1980, NAN}, // before
               {723728, 2009, 27},  // 1 July
               {723727, 2009, 28},  // 30 June
               {367, 50, 49},       // 1 January of year 1
               {12, 50, 49},        // any day before it
               {-1e6, 50, 49},      {367, 2009, NAN},   {NAN, 2009, NAN},
               {723671, NAN, NAN},  {1e300, 2009, NAN}, {INFINITY, -INFINITY, NAN}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        double age = data__imdb_age(row[i].dob, row[i].photo_taken);
        cr_assert(isnan(row[i].age) ? isnan(age) : age == row[i].age, "row %zu: %g", i, age);
    }
}

// Rows of the answer

typedef struct collected {
    int64_t n;
    struct kept {
        data__imdb_face f;
        char path[64];
    } row[4096];
} collected;

static void collect(void *ctx, const data__imdb_face *f)
{
    collected *c = ctx;
    cr_assert(c->n < 4096 && f->path.n < 64);
    struct kept *k = &c->row[c->n++];
    k->f = *f;
    memcpy(k->path, f->path.p, f->path.n);
    k->path[f->path.n] = 0;
}

static void collect_nothing(void *ctx, const data__imdb_face *f)
{
    *(int64_t *)ctx += (int64_t)f->path.n >= 0;
}

Test(imdb, rows_that_are_not_whole_are_refused)
{
    static collected c;
    char bytes[2 * sizeof(wire_face) + 16] = {0};
    wire_face f = {.path_bytes = 3, .score = 2};
    memcpy(bytes, &f, sizeof(f));
    memcpy(bytes + sizeof(f), "a/b\0\0\0\0\0", 8);
    f.path_bytes = 0;
    memcpy(bytes + sizeof(f) + 8, &f, sizeof(f));
    size_t n = 2 * sizeof(f) + 8;
    must(data__imdb_rows(bytes, n, collect, &c));
    cr_assert(c.n == 2 && strcmp(c.row[0].path, "a/b") == 0 && c.row[1].f.path.n == 0 && c.row[0].f.score == 2);
    for (size_t k = 1; k < n; k++)
        cr_assert((data__imdb_rows(bytes, k, collect, &c) == MN_OK) == (k == sizeof(f) + 8), "%zu", k);
    static const uint32_t wrong[][2] = {{WIRE_TEXT_MOST + 1, 0}, {UINT32_MAX, 0}, {UINT32_MAX - 6, 0}, {3, 1}, {9, 0}};
    for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
        f.path_bytes = wrong[k][0];
        f.name_bytes = wrong[k][1];
        memcpy(bytes, &f, sizeof(f));
        cr_assert(data__imdb_rows(bytes, sizeof(f) + 8, collect, &c) == MN_EDATA, "%zu", k);
    }
    f = (wire_face){.path_bytes = 3};
    memcpy(bytes, &f, sizeof(f));
    memcpy(bytes + sizeof(f), "a\0b", 3);
    c.n = 0;
    must(data__imdb_rows(bytes, sizeof(f) + 8, collect, &c));
    cr_assert(c.n == 1 && c.row[0].f.path.n == 0);
}

// Tables

enum { ROWS = 3001 };

static wire_face made_row(int64_t i, int imdb, char path[64])
{
    wire_face f = {.dob = (double)(700000 + 13 * i),
                   .photo_taken = (double)(1950 + i % 60),
                   .gender = i % 3 == 2 ? (double)NAN : (double)(i % 3),
                   .score = i % 7 == 3 ? -INFINITY : (double)i / 16,
                   .second_score = i % 5 ? (double)NAN : (double)i / 8,
                   .celeb_id = imdb ? (double)(i / 4 + 1) : (double)NAN};
    for (int k = 0; k < 4; k++)
        f.box[k] = 1.5 + (double)(i * (k + 1)) / 4;
    path[0] = 0;
    if (i != 17)
        snprintf(path, 64, i % 11 == 5 ? "%02d/\xc3\xa9\xea\xb9\x80%lld.jpg" : "%02d/nm%07lld_x.jpg", (int)(i % 100),
                 (long long)i);
    f.path_bytes = (uint32_t)strlen(path);
    f.name_bytes = 0;
    return f;
}

static void make_table(char *path, int imdb, int plain, int64_t n)
{
    char program[PATH_MAX], verb[] = "make-faces", variable[] = "--variable=imdb", wiki[] = "--variable=wiki",
                            option[] = "--plain";
    char *argv[] = {program, verb, path, imdb ? variable : wiki, plain ? option : NULL, NULL};
    data__child child;
    int status;
    must(data_media_program(program, sizeof(program)));
    must(data__child_start(&child, argv, -1, path, 60));
    for (int64_t i = 0; i < n; i++) {
        char text[64] = "";
        wire_face f = made_row(i, imdb, text);
        must(data__child_write(&child, &f, sizeof(f)));
        must(data__child_write(&child, text, ((size_t)f.path_bytes + 7) / 8 * 8));
    }
    must(data__child_end(&child, 0, &status));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int same(double a, double b)
{
    return isnan(b) ? isnan(a) : a == b;
}

Test(imdb, tables_in_every_form)
{
    static collected c;
    char *dir = support_folder(), path[600];
    snprintf(path, sizeof(path), "%s/t.mat", dir);
    for (int form = 0; form < 4; form++) {
        int imdb = form & 1, plain = form >> 1;
        make_table(path, imdb, plain, ROWS);
        c.n = 0;
        must(data__imdb_read(path, collect, &c));
        cr_assert_eq(c.n, ROWS);
        for (int64_t i = 0; i < ROWS; i++) {
            char text[64];
            wire_face want = made_row(i, imdb, text);
            const data__imdb_face *f = &c.row[i].f;
            cr_assert_str_eq(c.row[i].path, text);
            cr_assert(f->dob == want.dob && f->photo_taken == want.photo_taken && same(f->gender, want.gender));
            cr_assert(f->score == want.score && same(f->second_score, want.second_score));
            cr_assert(same(f->celeb_id, want.celeb_id) && memcmp(f->box, want.box, sizeof(f->box)) == 0);
        }
        cr_assert(remove(path) == 0);
    }
    support_remove(dir);
}

Test(imdb, damaged_tables_are_errors_and_harm_nobody)
{
    char *dir = support_folder(), path[600], bad[600];
    size_t size;
    int64_t rows = 0;
    int refused = 0;
    snprintf(path, sizeof(path), "%s/t.mat", dir);
    snprintf(bad, sizeof(bad), "%s/bad.mat", dir);
    for (int plain = 0; plain < 2; plain++) {
        make_table(path, 1, plain, 40);
        unsigned char *bytes = support_read(path, &size);
        for (size_t k = 0; k < 12; k++) { // cut off
            support_write(bad, bytes, size * k / 12);
            mn_err err = data__imdb_read(bad, collect_nothing, &rows);
            cr_assert(err == MN_EDATA, "%zu of %zu bytes: %d", size * k / 12, size, err);
            cr_assert(strstr(mn_errmsg(), "bad.mat"), "%s", mn_errmsg());
        }
        for (size_t k = 0; k < 40; k++) { // a byte changed: anything but a crash of this process
            size_t at = 128 + (k * 7919) % (k < 20 ? 400 : size - 128);
            bytes[at] ^= (unsigned char)(1 << k % 8);
            support_write(bad, bytes, size);
            mn_err err = data__imdb_read(bad, collect_nothing, &rows);
            cr_assert(err == MN_OK || err == MN_EDATA || err == MN_ERETRY, "byte %zu: %d", at, err);
            refused += err != MN_OK;
            bytes[at] ^= (unsigned char)(1 << k % 8);
        }
        free(bytes);
        remove(path);
    }
    cr_assert(refused > 10, "%d", refused);
    static const char hdf5[] =
        "MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 .";
    char head[600] = {0};
    memcpy(head, hdf5, sizeof(hdf5));
    memcpy(head + 124, "\0\2IM", 4);
    support_write(bad, head, sizeof(head));
    cr_assert(data__imdb_read(bad, collect_nothing, &rows) == MN_EDATA && strstr(mn_errmsg(), "version 5"));
    snprintf(bad, sizeof(bad), "%s/none.mat", dir);
    cr_assert(data__imdb_read(bad, collect_nothing, &rows) == MN_ENOINPUT);
    support_remove(dir);
}

// The generated corpus: elements of a plain MAT file of version 5, as MATLAB's format description has them

typedef struct element {
    uint32_t type, size;
    const unsigned char *data, *next;
} element;

static element element_at(const unsigned char *p)
{
    element e;
    memcpy(&e.type, p, 4);
    if (e.type >> 16) { // small: both in four bytes
        e.size = e.type >> 16;
        e.type &= 0xffff;
        e.data = p + 4;
        e.next = p + 8;
        return e;
    }
    memcpy(&e.size, p + 4, 4);
    e.data = p + 8;
    e.next = e.data + (e.size + 7) / 8 * 8;
    return e;
}

// Behind flags, dimensions and name of an array.
static const unsigned char *inside(element array)
{
    const unsigned char *p = array.data;
    for (int k = 0; k < 3; k++)
        p = element_at(p).next;
    return p;
}

typedef struct own_row {
    char path[100];
    double v[6], box[4]; // dob, photo_taken, gender, score, second
} own_row;

static int64_t read_plain(const char *path, own_row rows[200])
{
    enum { DOB, TAKEN, PATHS, GENDER, NAMES, BOXES, SCORE, SECOND, FIELDS };
    size_t size;
    int64_t n = 0;
    unsigned char *bytes = support_read(path, &size);
    const unsigned char *p = inside(element_at(bytes + 128));
    p = element_at(element_at(p).next).next; // length and texts of the field names
    for (int field = 0; field < FIELDS; field++) {
        element array = element_at(p);
        const unsigned char *q = inside(array);
        n = 0;
        if (field != PATHS && field != NAMES && field != BOXES) {
            element values = element_at(q);
            cr_assert_eq(values.type, 9); // doubles
            n = values.size / 8;
            for (int64_t i = 0; i < n; i++)
                memcpy(&rows[i].v[field < 2 ? field : field == GENDER ? 2 : field - 3], values.data + 8 * i, 8);
        }
        for (; n == 0 || (q < array.next && (field == PATHS || field == NAMES || field == BOXES)); n++) {
            element one = element_at(q), text = element_at(inside(one));
            int whole = inside(one) < one.next; // an empty text has no data
            if (field == PATHS)
                snprintf(rows[n].path, 100, "%.*s", whole ? (int)text.size : 0, (const char *)text.data);
            if (field == BOXES) memcpy(rows[n].box, text.data, sizeof(rows[n].box));
            q = one.next;
        }
        p = array.next;
    }
    free(bytes);
    return n;
}

// What the name says: nm_rm_YEAR-MONTH-DAY_TAKEN.jpg
static double age_of(const char *path)
{
    int year, month, day, taken;
    const char *end = strrchr(path, '_'), *p = end;
    while (p > path && p[-1] != '_')
        p--;
    cr_assert(end && sscanf(p, "%d-%d-%d_%d", &year, &month, &day, &taken) == 4, "%s", path);
    int age = taken - year - (month >= 7);
    return age <= 100 ? age : (double)NAN;
}

typedef struct tally {
    int64_t rows, records, no_path, no_face, twice, lost, second, unsure, no_age, no_gender, over;
} tally;

static void check_record(const corpus *p, const char *folder, const own_row *row, const data_folder *f, int cut,
                         tally *t)
{
    char path[900], name[120];
    const data_shard *s;
    snprintf(path, sizeof(path), "%s/%s/%.99s", p->src, folder, row->path);
    snprintf(name, sizeof(name), "wiki/%.99s", row->path);
    int64_t i = corpus_record(f, name, &s);
    if (i < 0) { // missing or cut off
        t->lost++;
        return;
    }
    const data_index *x = data_shard_index(s);
    int sure = row->v[3] >= 1 && !(row->v[4] > 0), old = row->v[0] < 367;
    double age = old ? (double)NAN : age_of(row->path);
    if (x->source_row[i] != t->rows) return; // counted
    t->records++;
    corpus_check_bytes(path, s, i);
    cr_assert(x->mask[i] == 0 && x->identity[i] == -1);
    cr_assert(same((double)x->age[i], sure ? age : (double)NAN), "%s: %g", name, (double)x->age[i]);
    cr_assert(x->gender[i] == (sure && !isnan(row->v[2]) ? (int)row->v[2] : -1), "%s", name);
    for (int k = 0; k < 4; k++) {
        double want = k < 2 ? row->box[k] - 1 : row->box[k] - row->box[k - 2];
        cr_assert(cut ? isnan(x->box[4 * i + k]) : fabs(x->box[4 * i + k] - want) < 1e-3);
    }
    t->over +=
        !cut && (row->box[0] < 1 || row->box[1] < 1 || row->box[2] - 1 > x->width[i] || row->box[3] - 1 > x->height[i]);
}

static tally check_wiki(const corpus *p, const char *folder, const data_folder *f, int cut)
{
    static own_row rows[200];
    char path[800];
    tally t = {0};
    snprintf(path, sizeof(path), "%s/%s/wiki.mat", p->src, folder);
    int64_t n = read_plain(path, rows);
    for (int64_t i = 0; i < n; i++) {
        const own_row *row = &rows[i];
        t.rows++;
        t.no_path += !*row->path;
        t.no_face += isinf(row->v[3]) != 0;
        int again = i > 0 && *row->path && strcmp(row->path, rows[i - 1].path) == 0;
        t.twice += again;
        if (!*row->path || isinf(row->v[3])) continue;
        t.second += row->v[4] > 0;
        t.unsure += !(row->v[4] > 0) && !(row->v[3] >= 1);
        t.no_age += row->v[0] < 367 || isnan(age_of(row->path));
        t.no_gender += isnan(row->v[2]);
        if (!again) check_record(p, folder, row, f, cut, &t);
    }
    return t;
}

// Of imdb the names alone say what its labels are, and whose picture it is: four each.
static void check_imdb(const corpus *p, const data_folder *f, int64_t *labelled)
{
    for (int64_t i = 0; i < data_folder_count(f); i++) {
        int64_t r;
        char path[900];
        const data_shard *s = data_folder_at(f, i, &r);
        const char *name = data_shard_name(s, r);
        const data_index *x = data_shard_index(s);
        if (strncmp(name, "imdb/", 5) != 0) continue;
        snprintf(path, sizeof(path), "%s/imdb_crop/%s", p->src, name + 5);
        corpus_check_bytes(path, s, r);
        long long person = atoll(strstr(name, "/nm") + 3) - 1;
        cr_assert(x->identity[r] == -1 || x->identity[r] == person, "%s: %d", name, x->identity[r]);
        cr_assert(x->mask[r] == (x->identity[r] >= 0 ? DATA_HAS_IDENTITY : 0u) && isnan(x->box[4 * r]));
        if (isnan(x->age[r])) continue;
        cr_assert(same((double)x->age[r], age_of(name)), "%s", name);
        ++*labelled;
    }
}

Test(imdb, generated)
{
    corpus p = corpus_new("imdb-wiki");
    data_synth_cfg synth = corpus_config(&p, "imdb-wiki");
    synth.images = 200;
    must(data_synth(&synth, NULL));
    for (int cut = 1; cut >= 0; cut--) {
        data_import_cfg cfg = {.kind = "imdb-wiki", .src = p.src, .out = p.out};
        data_import_report report;
        data_folder *f;
        int64_t labelled = 0;
        if (!cut) { // without the cut ones, the whole pictures are taken, and imdb is not there at all
            char from[700], to[700];
            for (int k = 0; k < 2; k++) {
                snprintf(from, sizeof(from), "%s/%s", p.src, k ? "wiki_crop" : "imdb_crop");
                snprintf(to, sizeof(to), "%s/away%d", p.top, k);
                cr_assert(rename(from, to) == 0);
            }
            snprintf(p.out, sizeof(p.out), "%s/shards/whole", p.top);
        }
        must(data_import(&cfg, &report));
        must(data_folder_open(&f, p.out, "train", 0, "image"));
        tally t = check_wiki(&p, cut ? "wiki_crop" : "wiki", f, cut);
        const json_t *rejects = json_object_get(report.json, "rejects"), *notes = json_object_get(report.json, "notes");
        if (cut) {
            check_imdb(&p, f, &labelled);
            cr_assert(labelled > 80);
            cr_assert_eq(corpus_number(report.json, "rows"), 204); // four are there twice
            cr_assert(corpus_number(rejects, "duplicate") == 4 &&
                      corpus_number(rejects, "wrong number of columns") == 4);
            cr_assert(corpus_number(rejects, "no face") == 10 && corpus_number(rejects, "missing file") == 4);
            cr_assert_eq(corpus_number(rejects, "damaged or cut off"), 4);
            cr_assert(corpus_number(notes, "rows without a gender") == 10);
            cr_assert(!json_object_get(notes, "files beside the pictures that no list names"));
        } else {
            cr_assert(corpus_number(report.json, "rows") == t.rows &&
                      corpus_number(report.json, "records") == t.records);
            cr_assert(t.no_path > 0 && corpus_number(rejects, "wrong number of columns") == t.no_path);
            cr_assert(t.no_face > 0 && corpus_number(rejects, "no face") == t.no_face, "%lld", (long long)t.no_face);
            cr_assert(t.twice > 0 && corpus_number(rejects, "duplicate") == t.twice);
            cr_assert(t.lost == corpus_number(rejects, "missing file") + corpus_number(rejects, "damaged or cut off"));
            cr_assert_eq(corpus_number(report.json, "rejected"), t.no_path + t.no_face + t.twice + t.lost);
            cr_assert(t.second > 0 &&
                      corpus_number(notes, "pictures with a second face: no age, gender or identity") == t.second);
            cr_assert(t.unsure > 0 &&
                      corpus_number(notes, "faces found with a score below 1: no age, gender or identity") == t.unsure);
            cr_assert(t.no_age > 0 && corpus_number(notes, "rows from which no age from 0 to 100 follows") == t.no_age);
            cr_assert(t.no_gender > 0 && corpus_number(notes, "rows without a gender") == t.no_gender);
            cr_assert(t.over > 0 &&
                      corpus_number(notes, "face boxes that reach over the edge of the picture") == t.over);
        }
        data_folder_close(f);
        data_import_report_free(&report);
    }
    support_remove(p.top);
}
