// Pickles written by hand: what is read, what is refused, and that classes we do not know mean nothing.
#include "nn/pickle.h"

#include <criterion/criterion.h>
#include <string.h>

typedef struct bytes {
    unsigned char at[512];
    size_t size;
} bytes;

static void put(bytes *b, const void *from, size_t n)
{
    memcpy(b->at + b->size, from, n);
    b->size += n;
}

static void op(bytes *b, const char *text)
{
    put(b, text, strlen(text));
}

static void byte(bytes *b, int v)
{
    unsigned char c = (unsigned char)v;
    put(b, &c, 1);
}

static void text(bytes *b, const char *t)
{
    byte(b, 0x8c);
    byte(b, (int)strlen(t));
    op(b, t);
}

static void number(bytes *b, int v)
{
    op(b, "K");
    byte(b, v);
}

static void tuple1(bytes *b, int v)
{
    number(b, v);
    byte(b, 0x85);
}

// A vector of `length` elements, `stride` apart, from `offset` on in a storage of `count`.
static void tensor(bytes *b, int count, int offset, int length, int stride)
{
    op(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    text(b, "storage");
    op(b, "ctorch\nFloatStorage\n");
    text(b, "0");
    text(b, "cpu");
    number(b, count);
    op(b, "tQ");
    number(b, offset);
    tuple1(b, length);
    tuple1(b, stride);
    byte(b, 0x89);
    op(b, "}tR");
}

static mn_err parse(const bytes *b, nn_pickle **p)
{
    return nn_pickle_parse(p, b->at, b->size, "by hand", NULL);
}

Test(pickle, tensors_lie_in_their_storage)
{
    static const struct {
        int count, offset, length, stride, good;
    } rows[] = {{10, 0, 10, 1, 1}, {10, 0, 11, 1, 0}, {10, 9, 1, 1, 1}, {10, 10, 1, 1, 0}, {10, 10, 0, 1, 1},
                {10, 11, 0, 1, 0}, {10, 1, 4, 3, 0},  {10, 0, 4, 3, 1}, {10, 3, 90, 0, 1}, {0, 0, 0, 1, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bytes b = {.size = 0};
        nn_pickle *p = NULL;
        op(&b, "}");
        text(&b, "a");
        tensor(&b, rows[i].count, rows[i].offset, rows[i].length, rows[i].stride);
        op(&b, "s.");
        mn_err err = parse(&b, &p);
        cr_expect_eq(err, rows[i].good ? MN_OK : MN_EDATA, "row %zu: %s", i, mn_errmsg());
        if (err != MN_OK) continue;
        cr_assert_eq(nn_pickle_count(p), 1);
        cr_expect_str_eq(nn_pickle_at(p, 0)->name, "a");
        cr_expect_eq(nn_pickle_at(p, 0)->shape.d[0], rows[i].length);
        cr_expect_eq(nn_pickle_storage_at(p, 0)->count, rows[i].count);
        nn_pickle_free(p);
    }
}

Test(pickle, names_are_the_keys_below_the_model)
{
    bytes b = {.size = 0};
    nn_pickle *p;
    op(&b, "}(");
    text(&b, "epoch");
    number(&b, 3);
    text(&b, "model");
    op(&b, "}");
    text(&b, "norm");
    op(&b, "}");
    text(&b, "weight");
    tensor(&b, 4, 0, 4, 1);
    op(&b, "ssu.");
    cr_assert_eq(parse(&b, &p), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_pickle_count(p), 1);
    cr_expect_str_eq(nn_pickle_at(p, 0)->name, "norm.weight");
    nn_pickle_free(p);
}

// What Python would run: here it is an object without meaning.
Test(pickle, nothing_is_called)
{
    bytes b = {.size = 0};
    nn_pickle *p;
    op(&b, "}");
    text(&b, "a");
    op(&b, "cos\nsystem\n(");
    text(&b, "touch /tmp/mien-pickle-was-run");
    op(&b, "tRs.");
    cr_assert_eq(parse(&b, &p), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(nn_pickle_count(p), 0);
    nn_pickle_free(p);
}

Test(pickle, other_opcodes_and_broken_stacks_are_refused)
{
    static const char *const texts[] = {"",   "}",    "i",     "(.",    "t.",  "R.",   "s.",     "}K\1s.",
                                        "a.", "h\1.", "}h\5.", "(q\1.", "Q.",  "(tQ.", "b.",     "0.",
                                        "2.", "1.",   "c.",    "cos\n", "X\5", "(}u.", "}(K\1u."};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        bytes b = {.size = 0};
        nn_pickle *p = NULL;
        op(&b, texts[i]);
        mn_err err = parse(&b, &p);
        cr_expect_eq(err, MN_EDATA, "%zu: %d", i, err);
        if (err == MN_OK) nn_pickle_free(p);
    }
}

Test(pickle, numbers_and_lists_of_text)
{
    bytes b = {.size = 0};
    nn_pickle *p;
    int64_t v;
    size_t used;
    nn_pickle_text t;
    byte(&b, 0x80);
    byte(&b, 2);
    byte(&b, 0x8a); // long: -300
    byte(&b, 2);
    byte(&b, 0xd4);
    byte(&b, 0xfe);
    op(&b, ".rest");
    cr_assert_eq(nn_pickle_parse(&p, b.at, b.size, "by hand", &used), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(used, b.size - 4);
    cr_expect(nn_pickle_integer(p, &v) && v == -300, "%lld", (long long)v);
    nn_pickle_free(p);

    b.size = 0;
    op(&b, "](");
    text(&b, "x");
    text(&b, "yz");
    op(&b, "e.");
    cr_assert_eq(parse(&b, &p), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(nn_pickle_texts(p), 2);
    cr_expect(nn_pickle_text_at(p, 1, &t) && t.size == 2 && memcmp(t.at, "yz", 2) == 0);
    nn_pickle_free(p);
}
