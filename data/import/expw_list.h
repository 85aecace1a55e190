// The list of ExpW, label.lst: one row a face. Pure function over (pointer, length).
#ifndef DATA_IMPORT_EXPW_LIST_H
#define DATA_IMPORT_EXPW_LIST_H

#include "data/import/importer.h"
#include "data/import/text.h"

enum { DATA__EXPW_CLASSES = 7 };

typedef struct data__expw_face {
    data__text name;                 // of the picture; may have blanks in it
    int64_t face;                    // its number in the picture
    double top, left, right, bottom; // may reach over the edges of the picture
    int label;                       // 0 angry 1 disgust 2 fear 3 happy 4 sad 5 surprise 6 neutral
} data__expw_face;

typedef struct data__expw_ops {
    void (*row)(void *ctx, int64_t line, const data__expw_face *face);
    void (*bad)(void *ctx, int64_t line, data__reason reason, const char *detail);
} data__expw_ops;

void data__expw_read(const char *text, size_t size, const data__expw_ops *ops, void *ctx);

#endif
