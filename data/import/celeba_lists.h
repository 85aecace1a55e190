// The lists of CelebA, as published (.txt) and as Kaggle re-packed them (.csv). Pure functions over text in memory.
//
//     data__celeba_list list = {.file = "list_attr_celeba.csv", .csv = 1, .n_values = 40, .ops = &ops, .ctx = ctx};
//     ... MN_TRY(data__celeba_row(&list, line, fields, n));   // rows of libcsv; or data__celeba_line for a .txt
#ifndef DATA_IMPORT_CELEBA_LISTS_H
#define DATA_IMPORT_CELEBA_LISTS_H

#include "data/import/importer.h"
#include "data/import/text.h"

typedef struct data__celeba_ops {
    void (*row)(void *ctx, int64_t line, data__text name, const int64_t *values);
    void (*bad)(void *ctx, int64_t line, data__reason reason, const char *detail);
} data__celeba_ops;

// Rows of a list: name, then `n_values` integers.
typedef struct data__celeba_list {
    const char *file; // for messages
    int csv;          // a head line with the name's column
    int n_values; // 40: attributes (.txt: lines of the number of rows and of names), 1: partition or identity (.txt: no head)
    const data__celeba_ops *ops;
    void *ctx;
    int has_head, n_columns;         // read; columns of a row
    int column[DATA_ATTRIBUTES + 1]; // of the name and of each value, in the order published
    int64_t promised;                // the number of rows that the list says it has, 0 if it does not
} data__celeba_list;

// The head line or a row. Attributes are known by their names in the head line, in any order; MN_EDATA names those that it
// lacks and those that CelebA has not. What is wrong with a row is given to ops->bad.
MN_MUST_CHECK mn_err data__celeba_row(data__celeba_list *list, int64_t line, const data__text *fields, int n);
// The same for a line of a .txt.
MN_MUST_CHECK mn_err data__celeba_line(data__celeba_list *list, int64_t number, data__text line);

#endif
