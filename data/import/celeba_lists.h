// The lists of CelebA, as published (.txt) and as Kaggle re-packed them (.csv). A pure function.
#ifndef DATA_IMPORT_CELEBA_LISTS_H
#define DATA_IMPORT_CELEBA_LISTS_H

#include "data/import/importer.h"
#include "data/import/text.h"

#define DATA__CELEBA_ATTRIBUTES 40

// Rows of a list: name, then `n_values` integers.
typedef struct data__celeba_list {
    int csv;      // separator ',' and one head line
    int n_values; // 40: attributes (.txt: two head lines), 1: partition or identity (.txt: no head line)
} data__celeba_list;

typedef struct data__celeba_ops {
    void (*row)(void *ctx, int64_t line, data__text name, const int64_t *values);
    void (*bad)(void *ctx, int64_t line, data__reason reason, const char *detail);
} data__celeba_ops;

// The lines of a piece of the list. *promised: the number of rows that the list says it has, -1 if it does not: set by
// the first piece.
void data__celeba_read(const data__celeba_list *list, data__lines *lines, const data__celeba_ops *ops, void *ctx,
                       int64_t *promised);

#endif
