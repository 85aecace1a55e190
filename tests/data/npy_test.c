// NumPy's arrays (data/import/npy.h): what annotations may be written as, and what is refused, with its byte.
#include "data/import/npy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

// A file of this version, header and items; returns its size.
static size_t make(unsigned char *file, int version, const char *header, const void *items, size_t bytes)
{
    size_t n = strlen(header), before = version == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    file[7] = 0;
    for (size_t i = 8; i < before; i++)
        file[i] = (unsigned char)(n >> (8 * (i - 8)));
    memcpy(file + before, header, n);
    memcpy(file + before + n, items, bytes);
    return before + n + bytes;
}

Test(npy, values)
{
    static const struct {
        int version;
        const char *header, *items;
        size_t bytes;
        int number; // 0: no number
        double value;
    } rows[] = {
        {1, "{'descr': '<U1', 'fortran_order': False, 'shape': (), }\n", "7\0\0", 4, 1, 7},
        {1, "{'descr': '<U4', 'fortran_order': False, 'shape': (), }",
         "-\0\0\0.\0\0\0"
         "5\0\0\0\0\0\0",
         16, 1, -0.5},
        {1, "{'descr': '>U1', 'fortran_order': False, 'shape': (), }",
         "\0\0\0"
         "3",
         4, 1, 3},
        {1, "{'descr': '<U1', 'fortran_order': False, 'shape': (), }", "7\1\0", 4, 0, 0},
        {2, "{'descr': '|S3', 'fortran_order': False, 'shape': (1,), }", "3.0", 3, 1, 3},
        {1, "{'descr': '|S3', 'fortran_order': False, 'shape': (1,), }", "sad", 3, 0, 0},
        {3, "{'shape': (1, 1), 'fortran_order': True, 'descr': \"<f8\"}", "\0\0\0\0\0\0\0\xc0", 8, 1, -2},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "\0\0\0\x3f", 4, 1, 0.5},
        {1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "\x3f\0\0", 4, 1, 0.5},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "\0\0\x80\x7f", 4, 0, 0}, // infinity
        {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }", "\xfe\xff\xff\xff\xff\xff\xff\xff", 8, 1, -2},
        {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (), }", "\xfe\xff", 2, 1, -2},
        {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "\xfe", 1, 1, 254},
        {1, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }", "\1", 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char file[256];
        data__npy a;
        double v = 0;
        size_t size = make(file, rows[i].version, rows[i].header, rows[i].items, rows[i].bytes);
        cr_assert_eq(data__npy_parse("a", file, size, &a), MN_OK, "row %zu: %s", i, mn_errmsg());
        cr_assert_eq(a.count, 1);
        cr_assert_eq(data__npy_number(&a, 0, &v), rows[i].number, "row %zu", i);
        if (rows[i].number) cr_assert_eq(v, rows[i].value, "row %zu: %g", i, v);
        for (size_t n = 0; n < size; n++) // cut off anywhere
            cr_assert_eq(data__npy_parse("a", file, n, &a), MN_EDATA, "row %zu of %zu bytes", i, n);
    }
}

Test(npy, refused_with_the_byte)
{
    static const struct {
        const char *header, *says;
    } rows[] = {
        {"{'descr': '|O', 'fortran_order': False, 'shape': (), }", "a: byte 21: pickled objects"},
        {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (), }", "a: byte 21: a table"},
        {"{'descr': '<c16', 'fortran_order': False, 'shape': (), }", "a: byte 21: a type"},
        {"{'descr': '<U99999999999999999999', 'fortran_order': False, 'shape': (), }", "a type"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }", "no length"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000, 2000000000), }", "too many items"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000,), }", "the array is cut off"},
        {"{'descr': '<f8', 'fortran_order': Maybe, 'shape': (), }", "fortran_order"},
        {"{'descr': '<f8', 'shape': (), }", "without descr"},
        {"{'descr': '<f8', 'descr': '<f8', }", "repeated"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", "more bytes follow"},
        {"{'descr", "closing quote"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char file[256];
        data__npy a;
        size_t size = make(file, 1, rows[i].header, "\0\0\0\0\0\0\0", 8);
        cr_assert_eq(data__npy_parse("a", file, size, &a), MN_EDATA, "%s", rows[i].header);
        cr_assert(strstr(mn_errmsg(), rows[i].says), "%s: %s", rows[i].header, mn_errmsg());
    }
}
