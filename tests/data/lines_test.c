// Lists in pieces of whole lines: the same lines with the same numbers as of the whole text, whatever lies on the border of
// two pieces; and the texts that an import keeps.
#include "data/import/strings.h"
#include "data/import/text.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, MOST = 3 * MIB };

typedef struct check {
    data__lines whole;
    int64_t pieces;
} check;

static void compare(void *ctx, data__lines *piece)
{
    check *c = ctx;
    data__text a, b;
    c->pieces++;
    cr_assert(piece->end - piece->p <= MIB);
    while (data__lines_next(piece, &a)) {
        cr_assert(data__lines_next(&c->whole, &b));
        cr_assert(a.n == b.n && memcmp(a.p, b.p, a.n) == 0 && piece->number == c->whole.number, "line %lld",
                  (long long)piece->number);
    }
}

// Lines of about 40 bytes with one of the ends; the first piece ends `shift` bytes into one of them.
static size_t make_text(char *text, const char *end, size_t shift)
{
    size_t n = 0;
    memset(text, 'x', shift);
    n += shift;
    for (int i = 0; n < MOST - 100; i++) {
        n += (size_t)snprintf(text + n, 40, "%036d", i);
        n += (size_t)snprintf(text + n, 8, "%s", i % 5 == 4 ? "\r" : end); // one of them alone
    }
    return n;
}

Test(lines, pieces_have_the_lines_of_the_whole)
{
    static const char *const ends[] = {"\n", "\r\n", "\r", "\n\r", "\r\r\n"};
    char *text = calloc(MOST + 1, 1), *dir = support_folder(), path[600];
    snprintf(path, sizeof(path), "%s/list", dir);
    for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++)
        for (size_t shift = 0; shift < 42; shift += k == 1 ? 1 : 6) {
            size_t n = make_text(text, ends[k], shift);
            if (shift % 4 == 0) n -= 3; // the last line has no end
            if (shift == 6) memcpy(text, "\xef\xbb\xbf", 3);
            check c = {data__lines_of(text, n), 0};
            data__text rest;
            support_write(path, text, n);
            cr_assert_eq(data__lines_file(path, compare, &c), MN_OK, "%s", mn_errmsg());
            cr_assert(c.pieces >= 3 && !data__lines_next(&c.whole, &rest));
        }
    support_write(path, text, 0);
    check none = {data__lines_of(text, 0), 0};
    cr_assert(data__lines_file(path, compare, &none) == MN_OK && none.pieces == 0);
    memset(text, 'x', MOST);
    text[MIB + 9] = '\n';
    support_write(path, text, MOST);
    check longer = {data__lines_of(text, MOST), 0};
    cr_assert_eq(data__lines_file(path, compare, &longer), MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "list: byte ") && strstr(mn_errmsg(), "more than 1 MiB"), "%s", mn_errmsg());
    free(text);
    support_remove(dir);
}

Test(lines, texts_are_kept)
{
    enum { N = 30000 };
    static char *kept[N];
    data__strings s = {0};
    char *big = calloc(700000, 1);
    memset(big, 'y', 699999);
    for (int i = 0; i < N; i++) {
        char text[40];
        int n = snprintf(text, sizeof(text), "%d%.*s", i, i % 20, "--------------------");
        kept[i] = i % 5000 == 77 ? data__strings_add(&s, big, 699999) : data__strings_add(&s, text, (size_t)n);
    }
    for (int i = 0; i < N; i++) {
        char text[40];
        snprintf(text, sizeof(text), "%d%.*s", i, i % 20, "--------------------");
        cr_assert_str_eq(kept[i], i % 5000 == 77 ? big : text);
    }
    data__strings_free(&s);
    data__strings_free(&s);
    free(big);
}
