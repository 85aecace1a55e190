// Lists of CelebA (both forms) and of ExpW, fields of FER+, labels.csv of a folder, and CSV files, the latter two in
// pieces: the pieces must not matter.
// fuzz-sources: data/import/celeba_lists.c data/import/expw_list.c data/import/ferplus_rows.c data/import/text.c data/import/csv.c data/import/folder_labels.c data/label.c
// fuzz-libraries: -lcsv
#include "data/import/celeba_lists.h"
#include "data/import/expw_list.h"
#include "data/import/ferplus_rows.h"
#include "data/import/folder_labels.h"
#include "data/label.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

typedef struct seen {
    const char *begin, *end;
    XXH64_hash_t hash;
    int64_t rows;
} seen;

static void take_row(void *ctx, int64_t line, data__text name, const int64_t *values)
{
    seen *s = ctx;
    if (line < 1 || name.p < s->begin || name.p + name.n > s->end) abort();
    s->rows += values[0] != INT64_MIN;
}

// The same of a CSV file, whose fields are copies.
static void take_value(void *ctx, int64_t line, data__text name, const int64_t *values)
{
    seen *s = ctx;
    if (line < 1) abort();
    s->hash = XXH3_64bits_withSeed(name.p, name.n, s->hash);
    s->rows += values[0] != INT64_MIN;
}

static void take_bad(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    seen *s = ctx;
    s->rows += line > 0 && reason < DATA__REASON_COUNT && strlen(detail) < 64;
}

static mn_err take_celeba(void *ctx, int64_t line, const data__text *fields, int n)
{
    return data__celeba_row(ctx, line, fields, n);
}

static void read_celeba(const char *text, size_t size, data__celeba_list *list, seen *s)
{
    const data__celeba_ops ops = {list->csv ? take_value : take_row, take_bad};
    data__csv *c;
    data__text line;
    list->file = "list";
    list->ops = &ops;
    list->ctx = s;
    if (list->csv) {
        if (data__csv_open(&c, take_celeba, list) != MN_OK) abort();
        if (size == 0 || data__csv_feed(c, text, size) == MN_OK) (void)data__csv_feed(c, "", 0);
        data__csv_close(c);
        return;
    }
    for (data__lines l = data__lines_of(text, size); data__lines_next(&l, &line);)
        if (data__celeba_line(list, l.number, line) != MN_OK) return;
}

static void take_face(void *ctx, int64_t line, const data__expw_face *f)
{
    seen *s = ctx;
    if (line < 1 || f->name.n == 0 || f->name.p < s->begin || f->name.p + f->name.n > s->end) abort();
    if (f->label < 0 || f->label >= DATA__EXPW_CLASSES || f->face < 0) abort();
    s->rows++;
}

static void read_fields(const char *text, size_t size)
{
    uint8_t pixels[DATA__FER_PIXELS], votes[DATA_VOTES];
    data__text fields[DATA_VOTES] = {{0}}, line = {text, size};
    char detail[64];
    (void)data__fer_pixels(line, pixels, detail, sizeof(detail));
    if (data__fields(line, ',', fields, DATA_VOTES) < DATA_VOTES) return;
    if (data__fer_votes(fields, votes, detail, sizeof(detail)) != DATA__REASON_COUNT) return;
    int8_t expr = data__fer_expression(votes);
    if (expr < -1 || expr >= DATA_EXPRESSIONS) abort();
}

static mn_err take_csv(void *ctx, int64_t line, const data__text *fields, int n)
{
    seen *s = ctx;
    s->hash = XXH3_64bits_withSeed(&line, sizeof(line), s->hash);
    for (int i = 0; i < n; i++)
        s->hash = XXH3_64bits_withSeed(fields[i].p, fields[i].n, s->hash + (XXH64_hash_t)i);
    (void)data__csv_column(fields, n, "expression");
    return MN_OK;
}

static XXH64_hash_t read_csv(const char *text, size_t size, size_t piece)
{
    seen s = {0};
    data__csv *c;
    if (data__csv_open(&c, take_csv, &s) != MN_OK) abort();
    for (size_t at = 0; at < size; at += piece)
        if (data__csv_feed(c, text + at, size - at < piece ? size - at : piece) != MN_OK) abort();
    if (data__csv_feed(c, "", 0) != MN_OK) abort();
    data__csv_close(c);
    return s.hash;
}

// labels.csv: what an import would do with its rejects is counted.

void data__import_reject(data__import *im, data__reason reason, const char *file, int64_t row, const char *detail)
{
    if (reason >= DATA__REASON_COUNT || row < 1 || !file || !detail) abort();
    im->tally->rejects[reason]++;
}

void data__import_digest(data__import *im, const void *bytes, size_t n)
{
    (void)im;
    (void)bytes;
    (void)n;
}

static void check_label(const data__folder_labels *l, int64_t i)
{
    const data__folder_label *f = &l->rows[i];
    if (i && strcmp(f[-1].name, f->name) >= 0) abort();
    if (data__folder_labels_find(l, f->name) != f) abort();
    if (f->rejected) return;
    if (f->expr < -1 || f->expr >= DATA_EXPRESSIONS || (f->expr >= 0) != ((f->mask & DATA_HAS_EXPR) != 0)) abort();
    for (int k = 0; k < 2; k++)
        if (isnan(f->va[k]) == ((f->mask & (k ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE)) != 0) || fabsf(f->va[k]) > 1)
            abort();
    for (int k = 0; k < DATA_AUS; k++)
        if (f->au[k] < -1 || f->au[k] > 1 || (f->au[k] >= 0) != ((f->mask & (uint32_t)DATA_HAS_AU0 << k) != 0)) abort();
    if (f->split < DATA_SPLIT_NONE || f->split > DATA_SPLIT_TEST) abort();
}

// Rows kept, rejects and the end of it all, as one number.
static int64_t read_labels(const char *text, size_t size, size_t piece)
{
    data__tally tally = {0};
    data__import im = {.tally = &tally};
    data__folder_labels l = {0};
    data__folder_reader r = {.im = &im, .out = &l};
    data__csv *c;
    mn_err err = MN_OK;
    if (data__csv_open(&c, data__folder_labels_row, &r) != MN_OK) abort();
    for (size_t at = 0; at < size && err == MN_OK; at += piece)
        err = data__csv_feed(c, text + at, size - at < piece ? size - at : piece);
    if (err == MN_OK) err = data__csv_feed(c, "", 0);
    data__csv_close(c);
    data__folder_labels_end(&r);
    int64_t sum = l.n * 1000003 + tally.rows * 101 + (err == MN_OK);
    if (err != MN_OK && err != MN_EDATA) abort();
    for (int64_t i = 0; i < l.n; i++)
        check_label(&l, i);
    for (int k = 0; k < DATA__REASON_COUNT; k++)
        sum += tally.rejects[k] * (k + 7);
    data__folder_labels_free(&l);
    return sum;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const data__expw_ops faces = {take_face, take_bad};
    if (size < 1) return 0;
    char *text = malloc(size); // exactly as long as it says
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    seen s = {.begin = text, .end = text + size - 1};
    read_celeba(text, size - 1, &(data__celeba_list){.csv = data[0] & 1, .n_values = data[0] & 2 ? 40 : 1}, &s);
    read_fields(text, size - 1);
    data__expw_read(text, size - 1, &faces, &s);
    if (data[0] & 4 && read_labels(text, size - 1, size) != read_labels(text, size - 1, 3 + data[0] % 7)) abort();
    if (size > 4 && read_csv(text, size - 1, size) != read_csv(text, size - 1, 3 + data[0] % 5)) abort();
    free(text);
    return 0;
}
