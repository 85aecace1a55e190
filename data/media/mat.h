// MAT files of version 5 ("level 5": what MATLAB writes with -v6 and, compressed, with -v7), read strictly and in order:
// variables, structs, cells, numbers, texts; both byte orders. After "MAT-File Format" of The MathWorks. Memory is that of
// the streams, whatever the file says: nothing is allocated by a length in it, nothing recurses, and what is not asked for
// is passed by its length.
//
//     media_mat mat;
//     MN_TRY(media_mat_open(&mat, &source));
//     for (int found = 1; found;) {
//         MN_TRY(media_mat_next(&mat, &s, &a, &found)); // the next variable, or the end
//         if (!found) break;
//         ...                                           // s is behind its header: media_struct_fields, media_array_enter, ...
//         MN_TRY(media_mat_leave(&s, &a, whole));
//     }
//
// Errors: MN_EDATA with file and byte (mat_stream.h). Threading: one thread.
#ifndef DATA_MEDIA_MAT_H
#define DATA_MEDIA_MAT_H

#include "data/media/mat_stream.h"
#include "data/media/mat_text.h"

typedef struct media_mat {
    media_source source;
    int swap;     // the file has the other byte order
    int64_t next; // byte of the next variable
} media_mat;

typedef enum media_class { // of an array
    MEDIA_CELL = 1,
    MEDIA_STRUCT = 2,
    MEDIA_CHAR = 4,
    MEDIA_DOUBLE = 6,
    MEDIA_SINGLE = 7,
    MEDIA_INT8 = 8,
    MEDIA_UINT64 = 15 // the last one of numbers
} media_class;

enum { MEDIA_NAME = 64, MEDIA_FIELDS = 256 }; // bytes of a name and its 0; fields of a struct

typedef struct media_array {
    int class, complex;
    int line;              // 1: at most one dimension is not 1
    int64_t count;         // of its elements
    int64_t at, end;       // in its stream
    char name[MEDIA_NAME]; // "": it has none, or a longer one
} media_array;

typedef struct media_fields {
    int n;
    char name[MEDIA_FIELDS][MEDIA_NAME];
} media_fields;

typedef struct media_numbers { // of an array, one after the other
    int type, swap, pad;
    int64_t left;
} media_numbers;

// Checks the header. MN_EDATA for files of version 4 and 7.3 (HDF5) says what to do.
MN_MUST_CHECK mn_err media_mat_open(media_mat *m, const media_source *source);
// The next variable: *s, which the caller hands back to media_mat_leave, is behind its header. *found 0: there is none.
MN_MUST_CHECK mn_err media_mat_next(media_mat *m, media_stream *s, media_array *a, int *found);
// whole: the variable was read, or passed, up to its end, and a compressed one ends there.
MN_MUST_CHECK mn_err media_mat_leave(media_stream *s, const media_array *a, int whole);

// The names of a struct, after which its fields follow as arrays in that order, for each of its elements.
MN_MUST_CHECK mn_err media_struct_fields(const media_mat *m, media_stream *s, const media_array *a, media_fields *f);
// An array that lies in another one (of which the end is `end`), up to and with its header.
MN_MUST_CHECK mn_err media_array_enter(const media_mat *m, media_stream *s, int64_t end, media_array *a);
// The array was read and ends here.
MN_MUST_CHECK mn_err media_array_leave(media_stream *s, const media_array *a);
// To its end, whatever is left of it.
MN_MUST_CHECK mn_err media_array_pass(media_stream *s, const media_array *a);

int media_is_numbers(const media_array *a);
// The numbers of a real array of them, a->count, of whatever type they are stored as.
MN_MUST_CHECK mn_err media_numbers_begin(const media_mat *m, media_stream *s, const media_array *a, media_numbers *n);
MN_MUST_CHECK mn_err media_numbers_next(media_stream *s, media_numbers *n, double *value); // at most a->count times
// A line of characters as UTF-8: UTF-16 and UTF-32 converted (halves of pairs to U+FFFD), bytes as they are. *n 0: it is
// empty, none, or longer than `most` (at most MEDIA_TEXT_MOST) bytes. Reads the array to its end.
MN_MUST_CHECK mn_err media_text(const media_mat *m, media_stream *s, const media_array *a, char *to, size_t most,
                                size_t *n);

#endif
