// Lists and label files: lines, fields and numbers out of text that came with a dataset. Pure functions over
// (pointer, length): nothing is changed, nothing is read behind the end, every byte sequence is an allowed input.
#ifndef DATA_IMPORT_TEXT_H
#define DATA_IMPORT_TEXT_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct data__text { // a piece of text, without a 0 at its end
    const char *p;
    size_t n;
} data__text;

typedef struct data__lines {
    const char *p, *end;
    int64_t number; // of the line given out last, from 1
} data__lines;

data__lines data__lines_of(const char *text, size_t n); // skips a byte order mark
// The next line without its end (LF, CR LF or CR); 0 when there is none. What follows the last line end counts as a line
// only if it is not empty.
int data__lines_next(data__lines *l, data__text *line);

// The lines of a file, in pieces of whole ones (a mebibyte or less), so that a list of any size needs no more. use: reads
// all lines of the piece, whose numbers go on from piece to piece. MN_EDATA: a line is longer than a piece.
typedef void data__lines_use(void *ctx, data__lines *piece);
MN_MUST_CHECK mn_err data__lines_file(const char *path, data__lines_use *use, void *ctx);

data__text data__trim(data__text t); // blanks and tabs at both ends
int data__text_is(data__text t, const char *word);
// The next field of *rest up to the separator; 0 when there is none left. ' ' separates by runs of blanks and tabs.
// Start with rest = the line; after the last field rest->p is NULL.
int data__field(data__text *rest, char separator, data__text *field);
// Fields of a line by ',', trimmed; returns how many there are, of which at most `most` are stored.
int data__fields(data__text line, char separator, data__text *fields, int most);

// The whole text as a decimal number; 0 if it is none (empty, "nan", "inf", hexadecimal and trailing text are none).
int data__number(data__text t, double *value);
// The same for an integer, written as "3" or "3.0" or "3e0".
int data__integer(data__text t, int64_t *value);
// An own, 0-ended copy.
char *data__text_copy(data__text t);

// A CSV file with quotes (libcsv) and a head line, row by row. row: number of the line it ends on. A line without any
// field is skipped. Parse errors cannot happen: anything is some CSV.
typedef mn_err (*data__csv_row)(void *ctx, int64_t line, const data__text *fields, int n);
MN_MUST_CHECK mn_err data__csv_file(const char *path, data__csv_row row, void *ctx);
// The same over text in memory, pieces of any size: `feed` with n = 0 ends it.
typedef struct data__csv data__csv;
MN_MUST_CHECK mn_err data__csv_open(data__csv **out, data__csv_row row, void *ctx);
MN_MUST_CHECK mn_err data__csv_feed(data__csv *c, const char *text, size_t n);
void data__csv_close(data__csv *c);
// Column of a name in a head line, ignoring case; -1: none.
int data__csv_column(const data__text *fields, int n, const char *name);

#endif
