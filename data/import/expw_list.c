#include "data/import/expw_list.h"

#include <math.h>
#include <stdio.h>

// Behind the name: number of the face, box, confidence, label. The name is what is left, so that it may have blanks.
enum { FACE, TOP, LEFT, RIGHT, BOTTOM, CONFIDENCE, LABEL, VALUES };
static const char *const value_name[VALUES] = {"face", "top", "left", "right", "bottom", "confidence", "label"};
#define COORDINATE_MOST 1e6

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// Cuts the last field off *rest; 0: it is empty.
static int last_field(data__text *rest, data__text *field)
{
    data__text t = data__trim(*rest);
    size_t at = t.n;
    while (at > 0 && !is_blank(t.p[at - 1]))
        at--;
    *field = (data__text){t.p + at, t.n - at};
    *rest = (data__text){t.p, at};
    return field->n > 0;
}

static data__reason take_values(const data__text *fields, data__expw_face *f, int *wrong)
{
    double v[VALUES];
    int64_t label;
    for (int i = 0; i < VALUES; i++) {
        *wrong = i;
        if (!data__number(fields[i], &v[i])) return DATA__REJECT_NUMBER;
        if (i >= TOP && i <= BOTTOM && fabs(v[i]) > COORDINATE_MOST) return DATA__REJECT_RANGE;
    }
    *wrong = FACE;
    if (!data__integer(fields[FACE], &f->face)) return DATA__REJECT_NUMBER;
    if (f->face < 0) return DATA__REJECT_RANGE;
    *wrong = LABEL;
    if (!data__integer(fields[LABEL], &label)) return DATA__REJECT_NUMBER;
    if (label < 0 || label >= DATA__EXPW_CLASSES) return DATA__REJECT_RANGE;
    f->label = (int)label;
    f->top = v[TOP];
    f->left = v[LEFT];
    f->right = v[RIGHT];
    f->bottom = v[BOTTOM];
    return DATA__REASON_COUNT;
}

static void read_row(const data__expw_ops *ops, void *ctx, int64_t number, data__text line)
{
    data__text fields[VALUES];
    data__expw_face f = {0};
    char detail[64];
    int n = 0, wrong;
    while (n < VALUES && last_field(&line, &fields[VALUES - 1 - n]))
        n++;
    f.name = data__trim(line);
    if (n < VALUES || f.name.n == 0) {
        (void)snprintf(detail, sizeof(detail), "%d columns, not %d", n + (f.name.n > 0), VALUES + 1);
        ops->bad(ctx, number, DATA__REJECT_COLUMNS, detail);
        return;
    }
    data__reason reason = take_values(fields, &f, &wrong);
    if (reason == DATA__REASON_COUNT) {
        ops->row(ctx, number, &f);
        return;
    }
    data__text field = fields[wrong];
    (void)snprintf(detail, sizeof(detail), "%s '%.*s'", value_name[wrong], field.n > 32 ? 32 : (int)field.n, field.p);
    ops->bad(ctx, number, reason, detail);
}

void data__expw_read(const char *text, size_t size, const data__expw_ops *ops, void *ctx)
{
    data__lines lines = data__lines_of(text, size);
    data__text line;
    while (data__lines_next(&lines, &line))
        if (data__trim(line).n > 0) read_row(ops, ctx, lines.number, line);
}
