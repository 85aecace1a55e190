// Arrays in NumPy's .npy format (versions 1 to 3), as annotations come in them: numbers, or numbers written as text.
// Pure functions over (pointer, length): nothing is allocated, nothing is read behind the end.
//
//     data__npy a; double v;
//     MN_TRY(data__npy_parse("7_exp.npy", bytes, size, &a));
//     if (a.count == 1 && data__npy_number(&a, 0, &v)) ...
//
// Source of the format: NumPy, "The .npy format" (numpy.lib.format).
#ifndef DATA_IMPORT_NPY_H
#define DATA_IMPORT_NPY_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct data__npy {
    const unsigned char *items; // in the bytes that were parsed
    int64_t count;              // product of the shape; 1 for a scalar
    size_t item;                // bytes of one
    char kind;                  // of NumPy: f, i, u, b (numbers), S (bytes of text), U (text, 4 bytes a character)
    int big_endian;
} data__npy;

// MN_EDATA, with name and byte offset: no such file, cut off, a type that is no number or text (pickled objects above
// all: they could run code), or bytes behind the array.
MN_MUST_CHECK mn_err data__npy_parse(const char *name, const void *bytes, size_t size, data__npy *out);
// Item i < count; 0: it is no finite number. Text is read as data__number (data/import/text.h) does.
int data__npy_number(const data__npy *a, int64_t i, double *value);

#endif
