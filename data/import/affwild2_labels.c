#include "data/import/affwild2.h"
#include "data/import/text.h"
#include "data/label.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { COLUMNS_MOST = 32 };

typedef struct reader {
    int task, n_columns, n_names; // n_names: of expressions, in the head line
    int column[COLUMNS_MOST];     // AU: which of ours column k is, -1: one that we do not have
    data__aw_bad bad;
    void *ctx;
    data__aw_labels *out;
    int64_t capacity, listed; // listed: the last line that was complained of
} reader;

static int is_word(data__text t, const char *word)
{
    return t.n == strlen(word) && strncasecmp(t.p, word, t.n) == 0;
}

// The head line: "valence,arousal"; the names of 7 (ABAW1, 2) or 8 expressions in their order; the names of any AUs.
static int read_head(reader *r, data__text line)
{
    data__text f[COLUMNS_MOST];
    int n = data__fields(line, ',', f, COLUMNS_MOST), known = 0;
    if (n > COLUMNS_MOST) return 0;
    if (r->task == DATA_VA) {
        r->n_columns = 2;
        return n == 2 && is_word(f[0], "valence") && is_word(f[1], "arousal");
    }
    if (r->task == DATA_EXPR) {
        r->n_columns = 1; // eight names, one value
        for (int i = 0; i < n && i < DATA_EXPRESSIONS; i++)
            known += is_word(f[i], data_expression[i]);
        r->n_names = n;
        return known == n && (n == DATA_EXPRESSIONS || n == DATA_EXPRESSIONS - 1);
    }
    r->n_columns = n;
    for (int i = 0; i < n; i++) {
        r->column[i] = -1;
        if (f[i].n < 3 || strncasecmp(f[i].p, "AU", 2) != 0) return 0;
        for (int a = 0; a < DATA_AUS; a++)
            if (is_word(f[i], data_au[a])) r->column[i] = a;
        known += r->column[i] >= 0;
    }
    return known > 0;
}

// A row of no labels.
static int64_t add_row(reader *r)
{
    data__aw_labels *l = r->out;
    if (l->n == r->capacity) {
        r->capacity = r->capacity * 2 + 1024;
        if (r->task == DATA_EXPR) l->expr = mn_realloc(l->expr, (size_t)r->capacity, 1);
        if (r->task == DATA_AU) l->au = mn_realloc(l->au, (size_t)r->capacity, DATA_AUS);
        if (r->task == DATA_VA) l->va = mn_realloc(l->va, (size_t)r->capacity, 2 * sizeof(float));
    }
    if (l->expr) l->expr[l->n] = -1;
    if (l->au) memset(l->au + l->n * DATA_AUS, -1, DATA_AUS);
    if (l->va) l->va[2 * l->n] = l->va[2 * l->n + 1] = NAN;
    return l->n++;
}

// Once a row: the first wrong value is listed, the others of the row stand.
static void complain(reader *r, int64_t line, data__reason reason, data__text field)
{
    char detail[96];
    if (line == r->listed) return;
    r->listed = line;
    (void)snprintf(detail, sizeof(detail), "'%.*s'", field.n > 64 ? 64 : (int)field.n, field.p);
    r->bad(r->ctx, line, reason, detail);
}

static void read_class(reader *r, int64_t line, data__text field, int64_t most, int8_t *value)
{
    int64_t v;
    double any;
    if (!data__integer(field, &v)) {
        complain(r, line, data__number(field, &any) ? DATA__REJECT_RANGE : DATA__REJECT_NUMBER, field);
    } else if (v < -1 || v > most) {
        complain(r, line, DATA__REJECT_RANGE, field);
    } else {
        r->out->invalid += v == -1;
        *value = (int8_t)v;
    }
}

static void read_affect(reader *r, int64_t line, data__text field, float *value)
{
    double v;
    if (!data__number(field, &v))
        complain(r, line, DATA__REJECT_NUMBER, field);
    else if (v == -5)
        r->out->invalid++;
    else if (v < -1 || v > 1)
        complain(r, line, DATA__REJECT_RANGE, field);
    else
        *value = (float)v;
}

static void read_row(reader *r, int64_t line, data__text text)
{
    data__text f[COLUMNS_MOST];
    int8_t other;
    int n = data__fields(text, ',', f, COLUMNS_MOST);
    int64_t i = add_row(r);
    if (n == r->n_columns + 1 && n <= COLUMNS_MOST && f[n - 1].n == 0) n--; // a trailing comma
    if (n != r->n_columns) {
        complain(r, line, DATA__REJECT_COLUMNS, text);
        return;
    }
    for (int k = 0; k < n; k++) {
        if (r->task == DATA_EXPR)
            read_class(r, line, f[k], r->n_names - 1, &r->out->expr[i]);
        else if (r->task == DATA_AU)
            read_class(r, line, f[k], 1, r->column[k] < 0 ? &other : &r->out->au[i * DATA_AUS + r->column[k]]);
        else
            read_affect(r, line, f[k], &r->out->va[2 * i + k]);
    }
}

void data__aw_read(const char *text, size_t size, int task, data__aw_bad bad, void *ctx, data__aw_labels *out)
{
    reader r = {.task = task, .bad = bad, .ctx = ctx, .out = out};
    data__lines lines = data__lines_of(text, size);
    data__text line;
    int64_t blank = 0; // lines that are rows only if something follows
    memset(out, 0, sizeof(*out));
    if (!data__lines_next(&lines, &line) || !read_head(&r, line)) {
        bad(ctx, 1, DATA__REJECT_LIST, "the head line is not that of this task");
        return;
    }
    while (data__lines_next(&lines, &line)) {
        if (data__trim(line).n == 0) {
            blank++;
            continue;
        }
        for (; blank > 0; blank--)
            read_row(&r, lines.number - blank, (data__text){"", 0});
        read_row(&r, lines.number, line);
    }
}

void data__aw_free(data__aw_labels *l)
{
    free(l->expr);
    free(l->au);
    free(l->va);
    memset(l, 0, sizeof(*l));
}
