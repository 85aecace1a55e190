// labels.csv of a folder of pictures: a head line with `file` and what of split, expression, valence, arousal, AU1 ...
// AU26 there is, then a row for each picture. An empty field is no label.
//
//     file,split,expression,valence,arousal,AU12
//     anna/001.jpg,train,Happiness,0.7,0.2,1
//
// Threading: one thread reads; what was read is constant.
#ifndef DATA_IMPORT_FOLDER_LABELS_H
#define DATA_IMPORT_FOLDER_LABELS_H

#include "data/import/importer.h"
#include "data/import/text.h"

#define DATA__FOLDER_LABELS "labels.csv"

// DATA_SPLIT_* by the name of a folder, or in a row: train or training; validation, valid or val; test, in letters of any
// size. DATA_SPLIT_NONE: none of them.
int data__folder_split(data__text word);

typedef struct data__folder_label {
    char *name; // of the picture, from the folder that holds labels.csv
    int64_t line;
    int rejected; // no row of it can be used: the picture is left out, as any split might be meant
    int split;    // DATA_SPLIT_NONE: what its folder says
    int8_t expr, au[DATA_AUS];
    float va[2];
    uint32_t mask; // DATA_HAS_*
} data__folder_label;

typedef struct data__folder_labels {
    int64_t n, capacity;
    data__folder_label *rows; // by name, each once
    data_writer_cfg columns;  // has_*: of the head line
} data__folder_labels;

// Reading, row by row of CSV text: data__csv_open(&csv, data__folder_labels_row, &reader) with im (its tally and rejects) and
// out set and the rest 0; then data__folder_labels_end: of a picture the first row counts that can be used.
enum { DATA__FOLDER_COLUMNS = 5 + DATA_AUS };
typedef struct data__folder_reader {
    data__import *im;
    data__folder_labels *out;
    int meaning[DATA__FOLDER_COLUMNS], n_columns; // of each column; n_columns 0: the head line is still to come
} data__folder_reader;
MN_MUST_CHECK mn_err data__folder_labels_row(void *reader, int64_t line, const data__text *fields, int n);
void data__folder_labels_end(data__folder_reader *r);

// Without the file: no rows, no columns. Rows that cannot be used are rejected by line, which is listed; a column that is none of these
// fails.
MN_MUST_CHECK mn_err data__folder_labels_read(data__folder_labels *l, data__import *im);
const data__folder_label *data__folder_labels_find(const data__folder_labels *l, const char *name); // NULL: no row
void data__folder_labels_free(data__folder_labels *l);

#endif
