// Records of RecordIO (data/import/recordio.h): parts, padding, damage.
#include "data/import/recordio.h"

#include <criterion/criterion.h>
#include <string.h>

#define M "\x0a\x23\xd7\xce"

Test(recordio, parts_are_joined_with_the_magic_number)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *payload;
        size_t n;
    } rows[] = {
        {M "\3\0\0\0abc\0", 12, "abc", 3},
        {M "\3\0\0\0abc", 11, "abc", 3}, // the last of a file, without its padding
        {M "\0\0\0\0", 8, "", 0},
        {M "\4\0\0\x20"
           "abcd" M "\4\0\0\x40"
           "efgh" M "\2\0\0\x60ij\0\0",
         36, "abcd" M "efgh" M "ij", 18},
        {M "\0\0\0\x20" M "\1\0\0\x60k\0\0\0", 20, M "k", 5}, // begins with the magic number
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char bytes[64];
        size_t n = 99;
        memcpy(bytes, rows[i].bytes, rows[i].size);
        cr_assert_eq(data__recordio_join("r", 0, bytes, rows[i].size, &n), MN_OK, "row %zu: %s", i, mn_errmsg());
        cr_assert(n == rows[i].n && memcmp(bytes, rows[i].payload, n) == 0, "row %zu", i);
        size_t padding = i == 0 ? 1 : i == 3 ? 2 : i == 4 ? 3 : 0; // not needed
        for (size_t cut = 0; cut < rows[i].size - padding; cut++) {
            memcpy(bytes, rows[i].bytes, rows[i].size);
            cr_assert_eq(data__recordio_join("r", 0, bytes, cut, &n), MN_EDATA, "row %zu of %zu bytes", i, cut);
        }
    }
}

Test(recordio, damage_is_told_with_its_byte)
{
    unsigned char no_magic[] = "abcdefgh", no_first[] = M "\0\0\0\x40", again[] = M "\0\0\0\x20" M "\0\0\0\x20";
    size_t n;
    cr_assert(data__recordio_join("r", 100, no_magic, 8, &n) == MN_EDATA && strstr(mn_errmsg(), "r: byte 100: no Rec"));
    cr_assert(data__recordio_join("r", 100, no_first, 8, &n) == MN_EDATA && strstr(mn_errmsg(), "byte 104: the parts"));
    cr_assert(data__recordio_join("r", 100, again, 16, &n) == MN_EDATA && strstr(mn_errmsg(), "byte 112: the parts"));
}

Test(recordio, labels)
{
    unsigned char one[26] = {0}, array[32] = {2};
    data__recordio_face f;
    const float five = 5, six = 6;
    memcpy(one + 4, &five, 4);
    memcpy(array + 24, &six, 4);
    memcpy(array + 28, &five, 4);
    cr_assert_eq(data__recordio_head("r", 0, one, 26, &f), MN_OK);
    cr_assert(f.n_labels == 0 && f.label[0] == 5 && f.image == one + 24 && f.size == 2);
    cr_assert_eq(data__recordio_head("r", 0, array, 32, &f), MN_OK);
    cr_assert(f.n_labels == 2 && f.label[0] == 6 && f.label[1] == 5 && f.size == 0);
    cr_assert_eq(data__recordio_head("r", 0, array, 31, &f), MN_EDATA);
    cr_assert_eq(data__recordio_head("r", 0, array, 23, &f), MN_EDATA);
}
