#include "data/import/celeba_lists.h"

#include <stdio.h>
#include <string.h>

static int read_values(const data__text *fields, int n, int64_t *values, char *detail, size_t size)
{
    for (int i = 0; i < n; i++)
        if (!data__integer(fields[i], &values[i])) {
            (void)snprintf(detail, size, "column %d: '%.*s'", i + 2, fields[i].n > 32 ? 32 : (int)fields[i].n,
                           fields[i].p);
            return 0;
        }
    return 1;
}

static void read_row(const data__celeba_list *list, const data__celeba_ops *ops, void *ctx, int64_t number,
                     data__text line)
{
    data__text fields[DATA__CELEBA_ATTRIBUTES + 1];
    int64_t values[DATA__CELEBA_ATTRIBUTES];
    char detail[64];
    int n = data__fields(line, list->csv ? ',' : ' ', fields, DATA__CELEBA_ATTRIBUTES + 1);
    if (n != list->n_values + 1) {
        (void)snprintf(detail, sizeof(detail), "%d columns, not %d", n, list->n_values + 1);
        ops->bad(ctx, number, DATA__REJECT_COLUMNS, detail);
    } else if (!read_values(fields + 1, list->n_values, values, detail, sizeof(detail))) {
        ops->bad(ctx, number, DATA__REJECT_NUMBER, detail);
    } else {
        ops->row(ctx, number, fields[0], values);
    }
}

void data__celeba_read(const data__celeba_list *list, data__lines *lines, const data__celeba_ops *ops, void *ctx,
                       int64_t *promised)
{
    data__text line;
    int head = list->csv ? 1 : list->n_values == DATA__CELEBA_ATTRIBUTES ? 2 : 0;
    if (lines->number == 0) *promised = -1;
    while (data__lines_next(lines, &line)) {
        if (lines->number <= head) {
            if (lines->number == 1 && !list->csv && !data__integer(line, promised)) *promised = -1;
            continue;
        }
        if (data__trim(line).n > 0) read_row(list, ops, ctx, lines->number, line);
    }
}
