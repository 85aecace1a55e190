#include "data/import/korean.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <iconv.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Length of the character that begins here; 0: none does, -1: it is cut off.
static int character(const unsigned char *p, size_t n)
{
    static const unsigned char low[] = {0xa0, 0x90}, high[] = {0x9f, 0x8f}; // after e0 and f0; after ed and f4
    if (p[0] < 0x80) return 1;
    int length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= n) return -1;
        if ((p[i] & 0xc0) != 0x80) return 0;
        if (i > 1) continue;
        if ((p[0] == 0xe0 && p[1] < low[0]) || (p[0] == 0xf0 && p[1] < low[1])) return 0;   // longer than needed
        if ((p[0] == 0xed && p[1] > high[0]) || (p[0] == 0xf4 && p[1] > high[1])) return 0; // no character
    }
    return length;
}

size_t data__utf8_prefix(const char *bytes, size_t n, int *cut)
{
    size_t at = 0;
    int length = 1;
    while (at < n) {
        length = character((const unsigned char *)bytes + at, n - at);
        if (length <= 0) break;
        at += (size_t)length;
    }
    *cut = length < 0;
    return at;
}

int data__utf8(const char *bytes, size_t n)
{
    int cut;
    return data__utf8_prefix(bytes, n, &cut) == n;
}

struct data__korean {
    iconv_t convert;
};

mn_err data__korean_open(data__korean **out)
{
    iconv_t convert = iconv_open("UTF-8", "CP949");
    if (convert == (iconv_t)-1)
        return mn_fail(MN_EINTERNAL, "this C library cannot convert CP949: %s; its gconv modules are missing",
                       strerror(errno));
    *out = mn_calloc(1, sizeof(**out));
    (*out)->convert = convert;
    return MN_OK;
}

void data__korean_close(data__korean *k)
{
    if (!k) return;
    (void)iconv_close(k->convert);
    free(k);
}

char *data__korean_text(data__korean *k, const char *bytes, size_t n, int cp949)
{
    size_t size = cp949 ? 2 * n + 1 : n + 1, left = size - 1; // two bytes become three at most
    if (memchr(bytes, 0, n) || (!cp949 && !data__utf8(bytes, n))) return NULL;
    char *text = mn_calloc(size, 1), *to = text, *from = (char *)(uintptr_t)bytes; // iconv does not write to it
    if (cp949) {
        (void)iconv(k->convert, NULL, NULL, NULL, NULL);
        if (iconv(k->convert, &from, &n, &to, &left) == (size_t)-1 || n > 0) {
            free(text);
            return NULL;
        }
    } else {
        memcpy(text, bytes, n);
    }
    data__hangul_compose(text);
    return text;
}

// Unicode, section 3.12: a syllable is 0xac00 + (L * 21 + V) * 28 + T.
enum { SYLLABLES = 0xac00, LEADING = 0x1100, VOWELS = 0x1161, TRAILING = 0x11a7, N_L = 19, N_V = 21, N_T = 28 };

// Code point of the character of three bytes at p, which is all that letters and syllables of Hangul are; else 0.
static int code_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (u[0] & 0xf0) == 0xe0 && u[1] && u[2] ? (u[0] & 15) << 12 | (u[1] & 63) << 6 | (u[2] & 63) : 0;
}

static int is_open_syllable(int code)
{
    return code >= SYLLABLES && code < SYLLABLES + N_L * N_V * N_T && (code - SYLLABLES) % N_T == 0;
}

void data__hangul_compose(char *text)
{
    char *to = text;
    for (const char *p = text; *p;) {
        int code = code_at(p), length = 1, next, syllable = 0;
        if (code >= LEADING && code < LEADING + N_L) {
            next = code_at(p + 3);
            if (next >= VOWELS && next < VOWELS + N_V) {
                syllable = SYLLABLES + ((code - LEADING) * N_V + next - VOWELS) * N_T;
                length = 6;
            }
        } else if (is_open_syllable(code)) {
            syllable = code;
            length = 3;
        }
        if (!syllable) {
            *to++ = *p++;
            continue;
        }
        next = code_at(p + length);
        if (next > TRAILING && next < TRAILING + N_T) {
            syllable += next - TRAILING;
            length += 3;
        }
        *to++ = (char)(0xe0 | syllable >> 12);
        *to++ = (char)(0x80 | (syllable >> 6 & 63));
        *to++ = (char)(0x80 | (syllable & 63));
        p += length;
    }
    *to = 0;
}

// ASCII characters

static int is_ascii(char c)
{
    return (unsigned char)c < 0x80;
}

// To the next ASCII character, or the 0 at the end.
static const char *skip_others(const char *p)
{
    while (!is_ascii(*p))
        p++;
    return p;
}

static int same_ascii(const char *a, const char *b)
{
    a = skip_others(a);
    b = skip_others(b);
    while (*a && *a == *b) {
        a = skip_others(a + 1);
        b = skip_others(b + 1);
    }
    return *a == *b;
}

char *data__ascii_between(const char *name, const char *file)
{
    if (!same_ascii(name, file)) return mn_sprintf("/%s", name);
    char *between = mn_strdup(name);
    size_t end = 0;
    for (size_t i = 0; between[i]; i++) {
        if (is_ascii(between[i]))
            between[i] = '_';
        else
            end = i + 1;
    }
    between[end] = 0;
    return between;
}

char *data__ascii_fill(const char *between, const char *file)
{
    if (between[0] == '/') return mn_strdup(between + 1);
    char *name = mn_calloc(strlen(between) + strlen(file) + 1, 1);
    size_t n = 0;
    for (file = skip_others(file); *between || *file; between += *between != 0) {
        if (*between && !is_ascii(*between)) {
            name[n++] = *between;
        } else if (*file) {
            name[n++] = *file;
            file = skip_others(file + 1);
        }
    }
    return name;
}
