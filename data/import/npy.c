#include "data/import/npy.h"

#include "data/import/text.h"

#include <math.h>
#include <string.h>

enum { PREFIX = 8, TEXT_MOST = 63, ITEM_MOST = 1 << 20 };

typedef struct scanner {
    const char *name;
    const unsigned char *begin, *p, *end; // of the file; of the header
} scanner;

static mn_err wrong(const scanner *s, const char *what)
{
    return mn_fail(MN_EDATA, "%s: byte %lld: %s", s->name, (long long)(s->p - s->begin), what);
}

static void skip_blanks(scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

// Whether the next thing is this character, which is taken.
static int take(scanner *s, char c)
{
    skip_blanks(s);
    if (s->p == s->end || *s->p != (unsigned char)c) return 0;
    s->p++;
    return 1;
}

// A text in quotes, without escapes: none of the words of a header needs one.
static mn_err take_quoted(scanner *s, data__text *out)
{
    skip_blanks(s);
    if (s->p == s->end || (*s->p != '\'' && *s->p != '"')) return wrong(s, "not the text in quotes of a .npy header");
    unsigned char quote = *s->p;
    const unsigned char *close = memchr(s->p + 1, quote, (size_t)(s->end - s->p - 1));
    if (!close) return wrong(s, "a text without its closing quote");
    *out = (data__text){(const char *)s->p + 1, (size_t)(close - s->p - 1)};
    s->p = close + 1;
    return MN_OK;
}

// A number without sign, at most `most`; 0: there is none.
static int take_count(scanner *s, int64_t most, int64_t *out)
{
    const unsigned char *first = s->p;
    for (*out = 0; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
        int64_t digit = *s->p - '0';
        if (*out > (most - digit) / 10) return 0;
        *out = *out * 10 + digit;
    }
    return s->p > first;
}

// (), (1,), (68, 2)
static mn_err take_shape(scanner *s, data__npy *a)
{
    a->count = 1;
    if (!take(s, '(')) return wrong(s, "a shape does not begin with '('");
    while (!take(s, ')')) {
        int64_t n;
        skip_blanks(s);
        if (!take_count(s, INT32_MAX, &n)) return wrong(s, "a shape with something that is no length");
        if (n && a->count > INT32_MAX / n) return wrong(s, "a shape of too many items");
        a->count *= n;
        (void)take(s, ',');
    }
    return MN_OK;
}

static int is_known(char kind, int64_t n)
{
    if (kind == 'S' || kind == 'U') return 1;
    if (kind == 'f') return n == 4 || n == 8;
    if (kind == 'b') return n == 1;
    return (kind == 'i' || kind == 'u') && (n == 1 || n == 2 || n == 4 || n == 8);
}

// '<f8', '|u1', '<U1', ...
static mn_err take_type(scanner *s, data__npy *a)
{
    data__text t;
    int64_t n = 0;
    if (take(s, '[')) return wrong(s, "a table of several columns, not an array of numbers");
    MN_TRY(take_quoted(s, &t));
    scanner digits = {.p = (const unsigned char *)t.p + 2, .end = (const unsigned char *)t.p + t.n};
    s->p = (const unsigned char *)t.p; // where an error is
    if (t.n >= 2 && t.p[1] == 'O') return wrong(s, "pickled objects, which are not read: they could run code");
    if (t.n < 3 || !strchr("<>|=", t.p[0]) || !take_count(&digits, ITEM_MOST, &n) || digits.p != digits.end ||
        !is_known(t.p[1], n))
        return wrong(s, "a type that is neither a number nor text");
    s->p = (const unsigned char *)t.p + t.n + 1;
    a->kind = t.p[1];
    a->big_endian = t.p[0] == '>';
    a->item = (size_t)n * (a->kind == 'U' ? 4 : 1);
    return MN_OK;
}

static mn_err take_order(scanner *s)
{
    static const char *const words[] = {"False", "True"}; // of one dimension, or a single item, either is the same
    skip_blanks(s);
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->p) < n || memcmp(s->p, words[i], n) != 0) continue;
        s->p += n;
        return MN_OK;
    }
    return wrong(s, "fortran_order is neither True nor False");
}

static int is_word(data__text t, const char *word)
{
    return t.n == strlen(word) && memcmp(t.p, word, t.n) == 0;
}

// {'descr': '<f8', 'fortran_order': False, 'shape': (1,), }
static mn_err take_header(scanner *s, data__npy *a)
{
    enum { TYPE = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0, key;
    if (!take(s, '{')) return wrong(s, "a header does not begin with '{'");
    while (!take(s, '}')) {
        data__text word;
        MN_TRY(take_quoted(s, &word));
        key = is_word(word, "descr")           ? TYPE
              : is_word(word, "fortran_order") ? ORDER
              : is_word(word, "shape")         ? SHAPE
                                               : 0;
        if (!key || seen & key) return wrong(s, "a header with an unknown or repeated entry");
        if (!take(s, ':')) return wrong(s, "an entry of a header without ':'");
        MN_TRY(key == TYPE ? take_type(s, a) : key == ORDER ? take_order(s) : take_shape(s, a));
        seen |= key;
        (void)take(s, ',');
    }
    skip_blanks(s);
    if (s->p != s->end) return wrong(s, "text behind the header");
    return seen == (TYPE | ORDER | SHAPE) ? MN_OK : wrong(s, "a header without descr, fortran_order or shape");
}

mn_err data__npy_parse(const char *name, const void *bytes, size_t size, data__npy *out)
{
    const unsigned char *p = bytes;
    scanner s = {.name = name, .begin = p, .p = p};
    *out = (data__npy){0};
    if (size < PREFIX + 2 || memcmp(p, "\x93NUMPY", 6) != 0) return wrong(&s, "not a .npy file");
    size_t field = p[6] == 1 ? 2 : 4, length = 0;
    s.p = p + 6;
    if (p[6] < 1 || p[6] > 3) return wrong(&s, "a version of .npy other than 1, 2 and 3");
    s.p = p + PREFIX;
    if (size < PREFIX + field) return wrong(&s, "cut off in the length of the header");
    for (size_t i = 0; i < field; i++)
        length |= (size_t)p[PREFIX + i] << (8 * i);
    if (length > size - PREFIX - field) return wrong(&s, "the header is longer than the file");
    s.p = p + PREFIX + field;
    s.end = s.p + length;
    MN_TRY(take_header(&s, out));
    size_t left = size - PREFIX - field - length;
    if (out->item && (size_t)out->count > left / out->item) return wrong(&s, "the array is cut off");
    if ((size_t)out->count * out->item != left) return wrong(&s, "more bytes follow than the array has");
    out->items = s.end;
    return MN_OK;
}

// Narrow text of an item, up to its first 0; anything but ASCII makes it no number.
static int text_number(const data__npy *a, const unsigned char *p, double *value)
{
    char text[TEXT_MOST + 1];
    size_t step = a->kind == 'U' ? 4 : 1, n = 0, low = a->kind == 'U' && a->big_endian ? 3 : 0;
    for (size_t at = 0; at < a->item; at += step) {
        int other = 0;
        for (size_t k = 0; k < step; k++)
            other |= k != low && p[at + k];
        if (other || p[at + low] > 126 || n == TEXT_MOST) return 0;
        if (!p[at + low]) break;
        text[n++] = (char)p[at + low];
    }
    return data__number((data__text){text, n}, value);
}

int data__npy_number(const data__npy *a, int64_t i, double *value)
{
    const unsigned char *p = a->items + (size_t)i * a->item;
    uint64_t bits = 0;
    if (a->kind == 'S' || a->kind == 'U') return text_number(a, p, value);
    for (size_t k = 0; k < a->item; k++)
        bits |= (uint64_t)p[a->big_endian ? a->item - 1 - k : k] << (8 * k);
    if (a->kind == 'f' && a->item == 8) {
        memcpy(value, &bits, sizeof(*value));
    } else if (a->kind == 'f') {
        float f;
        uint32_t low = (uint32_t)bits;
        memcpy(&f, &low, sizeof(f));
        *value = (double)f;
    } else if (a->kind == 'i' && bits >> (8 * a->item - 1)) {
        *value = -(double)(~(bits | (a->item < 8 ? ~UINT64_C(0) << (8 * a->item % 64) : 0)) + 1);
    } else {
        *value = (double)bits;
    }
    return isfinite(*value);
}
