#include "data/import/text.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

data__lines data__lines_of(const char *text, size_t n)
{
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        n -= 3;
    }
    return (data__lines){.p = text, .end = text + n};
}

int data__lines_next(data__lines *l, data__text *line)
{
    if (l->p == l->end) return 0;
    const char *p = l->p;
    while (p < l->end && *p != '\n' && *p != '\r')
        p++;
    *line = (data__text){l->p, (size_t)(p - l->p)};
    if (p < l->end) p += *p == '\r' && p + 1 < l->end && p[1] == '\n' ? 2 : 1;
    l->p = p;
    l->number++;
    return 1;
}

// Bytes up to the end of the last line that surely ends in them: a CR at their end may have an LF behind it.
static size_t whole_lines(const char *text, size_t n)
{
    while (n > 0 && text[n - 1] != '\n' && (text[n - 1] != '\r' || text[n] == '\n'))
        n--;
    return n;
}

mn_err data__lines_file(const char *path, data__lines_use *use, void *ctx)
{
    int fd;
    int64_t size, number = 0;
    size_t have = 0, whole;
    MN_TRY(mn_file_open(&fd, path, &size));
    char *text = mn_calloc(PIECE, 1);
    mn_err err = MN_OK;
    for (int64_t at = 0; at < size && err == MN_OK; have -= whole) {
        size_t n = size - at < (int64_t)(PIECE - have) ? (size_t)(size - at) : PIECE - have;
        MN_TRY_OUT(err, mn_file_read_at(fd, text + have, n, at, path));
        at += (int64_t)n;
        have += n;
        whole = at == size ? have : whole_lines(text, have - 1); // of the last byte the next one is not known
        if (whole == 0)
            MN_TRY_OUT(err, mn_fail(MN_EDATA, "%s: byte %lld: a line of more than 1 MiB", path, (long long)at));
        data__lines piece = number ? (data__lines){text, text + whole, number} : data__lines_of(text, whole);
        use(ctx, &piece);
        number = piece.number;
        memmove(text, text + whole, have - whole);
    }
out:
    free(text);
    (void)close(fd); // opened for reading: nothing can be lost
    return err;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

data__text data__trim(data__text t)
{
    while (t.n && is_blank(*t.p)) {
        t.p++;
        t.n--;
    }
    while (t.n && is_blank(t.p[t.n - 1]))
        t.n--;
    return t;
}

int data__text_is(data__text t, const char *word)
{
    return strlen(word) == t.n && memcmp(t.p, word, t.n) == 0;
}

int data__field(data__text *rest, char separator, data__text *field)
{
    if (!rest->p) return 0;
    const char *p = rest->p, *end = rest->p + rest->n;
    if (separator == ' ') {
        while (p < end && is_blank(*p))
            p++;
        if (p == end) {
            rest->p = NULL;
            return 0;
        }
    }
    const char *q = p;
    while (q < end && (separator == ' ' ? !is_blank(*q) : *q != separator))
        q++;
    *field = (data__text){p, (size_t)(q - p)};
    *rest = q < end ? (data__text){q + 1, (size_t)(end - q - 1)} : (data__text){0};
    return 1;
}

int data__fields(data__text line, char separator, data__text *fields, int most)
{
    int n = 0;
    data__text f;
    while (data__field(&line, separator, &f)) {
        if (n < most) fields[n] = data__trim(f);
        n++;
    }
    return n;
}

int data__number(data__text t, double *value)
{
    char text[64], *end;
    t = data__trim(t);
    if (t.n == 0 || t.n >= sizeof(text)) return 0;
    for (size_t i = 0; i < t.n; i++)
        if (!strchr("0123456789+-.eE", t.p[i]) || t.p[i] == 0) return 0;
    memcpy(text, t.p, t.n);
    text[t.n] = 0;
    *value = strtod(text, &end);
    return *end == 0 && isfinite(*value);
}

int data__integer(data__text t, int64_t *value)
{
    double v;
    if (!data__number(t, &v) || v != floor(v) || fabs(v) > 0x1p53) return 0;
    *value = (int64_t)v;
    return 1;
}

char *data__text_copy(data__text t)
{
    char *p = mn_calloc(t.n + 1, 1);
    memcpy(p, t.p, t.n);
    return p;
}

int data__csv_column(const data__text *fields, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        data__text t = data__trim(fields[i]);
        if (strlen(name) == t.n && strncasecmp(t.p, name, t.n) == 0) return i;
    }
    return -1;
}
