#include "data/import/celeba_lists.h"

#include "data/label.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The head line

// Appends a word to a list of them.
static void name_word(char **list, const char *word, size_t n)
{
    char *longer = mn_sprintf("%s%s'%.*s'", *list ? *list : "", *list ? ", " : "", n > 64 ? 64 : (int)n, word);
    free(*list);
    *list = longer;
}

static int attribute_of(data__text t)
{
    for (int k = 0; k < DATA_ATTRIBUTES; k++)
        if (data__csv_column(&t, 1, data_attribute[k]) == 0) return k;
    return -1;
}

// Where each attribute is; name: the column that is none, -1: all are.
static mn_err find_attributes(data__celeba_list *list, int64_t line, const data__text *fields, int n, int name)
{
    char *missing = NULL, *unknown = NULL;
    int *column = list->column + 1;
    for (int k = 0; k < DATA_ATTRIBUTES; k++)
        column[k] = -1;
    for (int i = 0; i < n; i++) {
        int k = i == name ? -1 : attribute_of(fields[i]);
        if (k >= 0 && column[k] < 0)
            column[k] = i;
        else if (i != name)
            name_word(&unknown, fields[i].p, fields[i].n);
    }
    for (int k = 0; k < DATA_ATTRIBUTES; k++)
        if (column[k] < 0) name_word(&missing, data_attribute[k], strlen(data_attribute[k]));
    mn_err err = MN_OK;
    if (missing || unknown)
        err =
            mn_fail(MN_EDATA, "%s:%lld: the head line %s%s%s%s%s; take the published list", list->file, (long long)line,
                    missing ? "lacks " : "has ", missing ? missing : "", missing && unknown ? " and has " : "",
                    unknown ? unknown : "", unknown ? ", which CelebA has not, or not twice" : "");
    free(missing);
    free(unknown);
    return err;
}

static mn_err read_head(data__celeba_list *list, int64_t line, const data__text *fields, int n)
{
    int name = list->csv ? data__csv_column(fields, n, "image_id") : -1;
    if (list->csv && name < 0) name = 0;
    list->has_head = 1;
    list->n_columns = list->n_values + 1;
    if (list->n_values == DATA_ATTRIBUTES) {
        MN_TRY(find_attributes(list, line, fields, n, name));
        for (int k = 1; !list->csv && k <= list->n_values; k++)
            list->column[k]++; // a row has its name first
    } else {
        list->column[1] = name <= 0; // the other one
    }
    list->column[0] = list->csv ? name : 0;
    return MN_OK;
}

// Rows

static int read_values(const data__celeba_list *list, const data__text *fields, int64_t *values, char *detail,
                       size_t size)
{
    for (int i = 0; i < list->n_values; i++) {
        int c = list->column[1 + i];
        if (data__integer(fields[c], &values[i])) continue;
        (void)snprintf(detail, size, "column %d: '%.*s'", c + 1, fields[c].n > 32 ? 32 : (int)fields[c].n, fields[c].p);
        return 0;
    }
    return 1;
}

static void read_row(const data__celeba_list *list, int64_t line, const data__text *fields, int n)
{
    int64_t values[DATA_ATTRIBUTES];
    char detail[64];
    if (n != list->n_columns) {
        (void)snprintf(detail, sizeof(detail), "%d columns, not %d", n, list->n_columns);
        list->ops->bad(list->ctx, line, DATA__REJECT_COLUMNS, detail);
    } else if (!read_values(list, fields, values, detail, sizeof(detail))) {
        list->ops->bad(list->ctx, line, DATA__REJECT_NUMBER, detail);
    } else {
        list->ops->row(list->ctx, line, data__trim(fields[list->column[0]]), values);
    }
}

mn_err data__celeba_row(data__celeba_list *list, int64_t line, const data__text *fields, int n)
{
    if (!list->has_head) return read_head(list, line, fields, n);
    read_row(list, line, fields, n);
    return MN_OK;
}

mn_err data__celeba_line(data__celeba_list *list, int64_t number, data__text line)
{
    data__text fields[DATA_ATTRIBUTES + 1];
    int attributes = list->n_values == DATA_ATTRIBUTES;
    if (attributes && number == 1) {
        if (!data__integer(line, &list->promised)) list->promised = 0;
        return MN_OK;
    }
    if (data__trim(line).n == 0) return MN_OK;
    if (!attributes && !list->has_head) MN_TRY(read_head(list, number, NULL, 0)); // it has none
    int n = data__fields(line, ' ', fields, DATA_ATTRIBUTES + 1);
    if (!list->has_head && n > DATA_ATTRIBUTES)
        return mn_fail(MN_EDATA, "%s:%lld: %d names of attributes, not %d", list->file, (long long)number, n,
                       DATA_ATTRIBUTES);
    return data__celeba_row(list, number, fields, n);
}
