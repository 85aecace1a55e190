#include "data/import/s_affwild2_list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { IMAGE, VALENCE, AROUSAL, EXPRESSION, AU, COLUMNS = AU + DATA_AUS };

typedef struct reader {
    const data__sa_ops *ops;
    void *ctx;
    int64_t line;
    int complained; // of this row
} reader;

static void complain(reader *r, data__reason reason, data__text field)
{
    char detail[96];
    if (r->complained) return;
    r->complained = 1;
    (void)snprintf(detail, sizeof(detail), "'%.*s'", field.n > 64 ? 64 : (int)field.n, field.p);
    r->ops->bad(r->ctx, r->line, reason, detail);
}

static int read_affect(reader *r, data__text field, float *value)
{
    double v;
    *value = NAN;
    if (!data__number(field, &v)) {
        complain(r, DATA__REJECT_NUMBER, field);
    } else if (v == -5) {
        return 1;
    } else if (v < -1 || v > 1) {
        complain(r, DATA__REJECT_RANGE, field);
    } else {
        *value = (float)v;
    }
    return 0;
}

static int read_class(reader *r, data__text field, int64_t most, int8_t *value)
{
    int64_t v;
    double any;
    *value = -1;
    if (!data__integer(field, &v)) {
        complain(r, data__number(field, &any) ? DATA__REJECT_RANGE : DATA__REJECT_NUMBER, field);
    } else if (v < -1 || v > most) {
        complain(r, DATA__REJECT_RANGE, field);
    } else {
        *value = (int8_t)v;
        return v == -1;
    }
    return 0;
}

static void read_labels(reader *r, const data__text *f, data__sa_labels *l)
{
    int valid = 0;
    for (int k = 0; k < 2; k++) {
        l->invalid = (int8_t)(l->invalid + read_affect(r, f[VALENCE + k], &l->va[k]));
        valid += !isnan(l->va[k]);
    }
    l->invalid = (int8_t)(l->invalid + read_class(r, f[EXPRESSION], DATA_EXPRESSIONS - 1, &l->expr));
    valid += l->expr >= 0;
    for (int k = 0; k < DATA_AUS; k++) {
        l->invalid = (int8_t)(l->invalid + read_class(r, f[AU + k], 1, &l->au[k]));
        valid += l->au[k] >= 0;
    }
    l->none = valid == 0;
}

static void read_row(reader *r, data__text line, int labelled)
{
    data__text f[COLUMNS + 1];
    data__sa_labels l = {.va = {NAN, NAN}, .expr = -1, .none = 1};
    int n = data__fields(line, ',', f, COLUMNS + 1);
    memset(l.au, -1, sizeof(l.au));
    r->complained = 0;
    if (n == COLUMNS + 1 && f[COLUMNS].n == 0) n--; // a trailing comma
    if (f[IMAGE].n == 0 || (labelled && n != COLUMNS)) {
        complain(r, DATA__REJECT_COLUMNS, line);
        return;
    }
    if (labelled) read_labels(r, f, &l);
    r->ops->row(r->ctx, r->line, f[IMAGE], &l);
}

static int is_word(data__text t, const char *word)
{
    return t.n == strlen(word) && strncasecmp(t.p, word, t.n) == 0;
}

// A head line has no name of a picture. One that names the columns in another order has another meaning.
static int is_head(data__text line, int *usable)
{
    static const char *const words[] = {"image", "valence", "arousal", "expression"};
    data__text f[AU];
    int n = data__fields(line, ',', f, AU);
    *usable = 1;
    if (n < 1 || memchr(f[0].p, '/', f[0].n)) return 0;
    for (int i = 0; i < n && i < AU; i++)
        for (int k = 0; k < AU; k++)
            if (is_word(f[i], words[k]) && i != k) *usable = 0;
    return 1;
}

void data__sa_read(const char *text, size_t size, int labelled, const data__sa_ops *ops, void *ctx)
{
    reader r = {.ops = ops, .ctx = ctx};
    data__lines lines = data__lines_of(text, size);
    data__text line;
    int usable;
    while (data__lines_next(&lines, &line)) {
        r.line = lines.number;
        if (lines.number == 1 && is_head(line, &usable)) {
            if (usable) continue;
            ops->bad(ctx, 1, DATA__REJECT_LIST, "the head line names the columns in another order");
            return;
        }
        if (data__trim(line).n > 0) read_row(&r, line, labelled);
    }
}
