#include "data/import/folder_labels.h"

#include "data/label.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME, SPLIT, EXPRESSION, VALENCE, AROUSAL, AU0, COLUMNS = DATA__FOLDER_COLUMNS };
typedef data__folder_reader reader;

static const char *column_name(int i)
{
    static const char *const name[] = {"file", "split", "expression", "valence", "arousal"};
    return i < AU0 ? name[i] : data_au[i - AU0];
}

static mn_err read_head(reader *r, int64_t line, const data__text *fields, int n)
{
    const char *names[COLUMNS];
    unsigned seen = 0;
    for (int i = 0; i < COLUMNS; i++)
        names[i] = column_name(i);
    for (int k = 0; k < n; k++) {
        int i = 0;
        while (i < COLUMNS && data__csv_column(&fields[k], 1, names[i]) < 0)
            i++;
        char *word = data__text_copy(fields[k]);
        mn_err err = MN_OK;
        if (i == COLUMNS)
            err = mn_fail(MN_EDATA,
                          DATA__FOLDER_LABELS ":%lld: there is no column '%s' (did you mean '%s'?): file, split, "
                                              "expression, valence, arousal, AU1 to AU26",
                          (long long)line, word, mn_nearest(word, names, COLUMNS));
        else if (seen & 1U << i)
            err = mn_fail(MN_EDATA, DATA__FOLDER_LABELS ":%lld: column '%s' is there twice", (long long)line, word);
        free(word);
        if (err != MN_OK) return err;
        seen |= 1U << i;
        r->meaning[k] = i;
    }
    if (!(seen & 1U << NAME))
        return mn_fail(MN_EDATA, DATA__FOLDER_LABELS ":%lld: the head line has no column 'file'", (long long)line);
    r->n_columns = n;
    r->out->columns.has_expr = (seen & 1U << EXPRESSION) != 0;
    r->out->columns.has_va = (seen & (1U << VALENCE | 1U << AROUSAL)) != 0;
    r->out->columns.has_au = seen >> AU0 != 0;
    return MN_OK;
}

// The fields of a row: DATA__REASON_COUNT, or why it cannot be used. An empty field and, where it is none, -1 are no label.

static data__reason read_expression(data__text t, data__folder_label *f)
{
    int64_t v = -1;
    for (int i = 0; i < DATA_EXPRESSIONS && v < 0; i++)
        if (t.n == strlen(data_expression[i]) && strncasecmp(t.p, data_expression[i], t.n) == 0) v = i;
    if (v < 0 && !data__integer(t, &v)) return DATA__REJECT_NUMBER;
    if (v < -1 || v >= DATA_EXPRESSIONS) return DATA__REJECT_RANGE;
    f->expr = (int8_t)v;
    if (v >= 0) f->mask |= DATA_HAS_EXPR;
    return DATA__REASON_COUNT;
}

static data__reason read_affect(data__text t, int which, data__folder_label *f)
{
    double v;
    if (!data__number(t, &v)) return DATA__REJECT_NUMBER;
    if (v < -1 || v > 1) return DATA__REJECT_RANGE;
    f->va[which] = (float)v;
    f->mask |= which ? DATA_HAS_AROUSAL : DATA_HAS_VALENCE;
    return DATA__REASON_COUNT;
}

static data__reason read_unit(data__text t, int which, data__folder_label *f)
{
    int64_t v;
    if (!data__integer(t, &v)) return DATA__REJECT_NUMBER;
    if (v < -1 || v > 1) return DATA__REJECT_RANGE;
    f->au[which] = (int8_t)v;
    if (v >= 0) f->mask |= (uint32_t)DATA_HAS_AU0 << which;
    return DATA__REASON_COUNT;
}

int data__folder_split(data__text word)
{
    static const struct {
        const char *name;
        int split;
    } known[] = {{"train", DATA_SPLIT_TRAIN},           {"training", DATA_SPLIT_TRAIN},
                 {"validation", DATA_SPLIT_VALIDATION}, {"valid", DATA_SPLIT_VALIDATION},
                 {"val", DATA_SPLIT_VALIDATION},        {"test", DATA_SPLIT_TEST}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == word.n && strncasecmp(word.p, known[i].name, word.n) == 0) return known[i].split;
    return DATA_SPLIT_NONE;
}

static data__reason read_split(data__text t, data__folder_label *f)
{
    f->split = data__folder_split(t);
    return f->split == DATA_SPLIT_NONE ? DATA__REJECT_RANGE : DATA__REASON_COUNT;
}

static data__reason read_field(int meaning, data__text t, data__folder_label *f)
{
    if (meaning == NAME || t.n == 0) return DATA__REASON_COUNT;
    if (meaning == SPLIT) return read_split(t, f);
    if (meaning == EXPRESSION) return read_expression(t, f);
    return meaning < AU0 ? read_affect(t, meaning - VALENCE, f) : read_unit(t, meaning - AU0, f);
}

static void reject(const reader *r, data__reason reason, int64_t line, int column, data__text field)
{
    char detail[128];
    (void)snprintf(detail, sizeof detail, "%s '%.*s'", column_name(column), field.n > 64 ? 64 : (int)field.n, field.p);
    data__import_reject(r->im, reason, DATA__FOLDER_LABELS, line, detail);
}

// Lists what is wrong with a row, once. The picture is told of every row that has it.
static int is_sound(const reader *r, int64_t line, const data__text *fields, int n, data__folder_label *f)
{
    for (int k = 0; k < n && k < r->n_columns; k++)
        if (r->meaning[k] == NAME) f->name = data__text_copy(data__trim(fields[k]));
    if (n != r->n_columns) {
        char detail[64];
        (void)snprintf(detail, sizeof detail, "%d columns, the head line has %d", n, r->n_columns);
        data__import_reject(r->im, DATA__REJECT_COLUMNS, DATA__FOLDER_LABELS, line, detail);
        return 0;
    }
    for (int k = 0; k < n; k++) {
        data__text t = data__trim(fields[k]);
        data__reason reason = read_field(r->meaning[k], t, f);
        if (reason == DATA__REASON_COUNT) continue;
        reject(r, reason, line, r->meaning[k], t);
        return 0;
    }
    return 1;
}

mn_err data__folder_labels_row(void *ctx, int64_t line, const data__text *fields, int n)
{
    reader *r = ctx;
    data__folder_labels *l = r->out;
    if (r->n_columns == 0) return read_head(r, line, fields, n);
    r->im->tally->rows++;
    data__folder_label f = {.line = line, .expr = -1, .va = {NAN, NAN}};
    memset(f.au, -1, sizeof f.au);
    f.rejected = !is_sound(r, line, fields, n, &f);
    if (!f.name) return MN_OK; // a row that ends before it
    l->rows = mn_grow(l->rows, l->n, &l->capacity, sizeof *l->rows);
    l->rows[l->n++] = f;
    return MN_OK;
}

static int by_name(const void *a, const void *b)
{
    const data__folder_label *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order == 0) order = x->rejected - y->rejected;
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

void data__folder_labels_end(data__folder_reader *r)
{
    data__folder_labels *l = r->out;
    int64_t n = 0;
    if (l->n) qsort(l->rows, (size_t)l->n, sizeof *l->rows, by_name);
    for (int64_t i = 0; i < l->n; i++) {
        if (n && strcmp(l->rows[n - 1].name, l->rows[i].name) == 0) {
            if (!l->rows[i].rejected)
                data__import_reject(r->im, DATA__REJECT_DUPLICATE, l->rows[i].name, l->rows[i].line,
                                    "an earlier row of " DATA__FOLDER_LABELS " has this picture too");
            free(l->rows[i].name);
            continue;
        }
        l->rows[n++] = l->rows[i];
    }
    l->n = n;
}

mn_err data__folder_labels_read(data__folder_labels *l, data__import *im)
{
    reader r = {.im = im, .out = l};
    char *path = mn_sprintf("%s/" DATA__FOLDER_LABELS, im->cfg->src), digest[MN_DIGEST_SIZE];
    int64_t size;
    *l = (data__folder_labels){0};
    mn_err err = mn_file_digest(path, digest, &size);
    if (err == MN_OK) {
        data__import_digest(im, digest, sizeof digest);
        err = data__csv_file(path, data__folder_labels_row, &r);
        data__folder_labels_end(&r);
    } else if (err == MN_ENOINPUT) {
        err = MN_OK; // a folder without labels
    }
    free(path);
    return err;
}

static int compare_name(const void *name, const void *row)
{
    return strcmp(name, ((const data__folder_label *)row)->name);
}

const data__folder_label *data__folder_labels_find(const data__folder_labels *l, const char *name)
{
    return l->n ? bsearch(name, l->rows, (size_t)l->n, sizeof *l->rows, compare_name) : NULL;
}

void data__folder_labels_free(data__folder_labels *l)
{
    for (int64_t i = 0; i < l->n; i++)
        free(l->rows[i].name);
    free(l->rows);
    *l = (data__folder_labels){0};
}
