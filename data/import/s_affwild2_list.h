// Lists of s-Aff-Wild2, the pictures of the multi-task challenges (ABAW3, 4, 7): a row has the name of a picture, valence,
// arousal, expression and twelve action units; a row of a test set the name alone. Pure function over (pointer, length).
#ifndef DATA_IMPORT_S_AFFWILD2_LIST_H
#define DATA_IMPORT_S_AFFWILD2_LIST_H

#include "data/import/importer.h"
#include "data/import/text.h"

typedef struct data__sa_labels {
    float va[2];          // NaN none
    int8_t expr;          // -1 none
    int8_t au[DATA_AUS];  // -1 none
    int8_t invalid, none; // values that the annotators marked (-5, -1); 1: no label is valid
} data__sa_labels;

typedef struct data__sa_ops {
    void (*row)(void *ctx, int64_t line, data__text image, const data__sa_labels *labels);
    // What is wrong with a value is said here, once a row; the value is no label then, the rest of the row stands.
    void (*bad)(void *ctx, int64_t line, data__reason reason, const char *detail);
} data__sa_ops;

// labelled 0: a list of a test set, of which the first column counts.
void data__sa_read(const char *text, size_t size, int labelled, const data__sa_ops *ops, void *ctx);

#endif
