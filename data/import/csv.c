#include "data/import/text.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, FIELDS_MOST = 4096 };

struct data__csv {
    struct csv_parser parser;
    data__csv_row row;
    void *ctx;
    mn_err err;
    int64_t line; // line ends seen
    int after_cr; // the line end before was a CR: an LF belongs to it
    int started;  // a byte order mark was looked for
    char *text;   // the fields of the row at hand, one after another
    size_t size, capacity;
    int n;
    size_t *begin; // (FIELDS_MOST + 1)
    data__text *fields;
};

static void end_field(void *bytes, size_t n, void *p)
{
    data__csv *c = p;
    c->after_cr = 0;
    if (c->n == FIELDS_MOST) return; // the row has too many columns for any list: its end says so
    if (c->size + n > c->capacity) {
        c->capacity = (c->size + n) * 2;
        c->text = mn_realloc(c->text, c->capacity, 1);
    }
    if (n) memcpy(c->text + c->size, bytes, n);
    c->size += n;
    c->begin[++c->n] = c->size;
}

static void end_row(int last, void *p)
{
    data__csv *c = p;
    int second_half = last == '\n' && c->after_cr && c->n == 0;
    c->after_cr = last == '\r';
    if (!second_half) c->line++;
    for (int i = 0; i < c->n; i++)
        c->fields[i] = (data__text){c->text + c->begin[i], c->begin[i + 1] - c->begin[i]};
    if (c->n > 0 && c->err == MN_OK) c->err = c->row(c->ctx, c->line, c->fields, c->n);
    c->n = 0;
    c->size = 0;
}

mn_err data__csv_open(data__csv **out, data__csv_row row, void *ctx)
{
    data__csv *c = mn_calloc(1, sizeof(*c));
    if (csv_init(&c->parser, CSV_REPALL_NL) != 0) {
        free(c);
        return mn_fail(MN_EMEM, "no memory for a CSV parser");
    }
    c->row = row;
    c->ctx = ctx;
    c->begin = mn_calloc(FIELDS_MOST + 1, sizeof(*c->begin));
    c->fields = mn_calloc(FIELDS_MOST, sizeof(*c->fields));
    c->capacity = 4096;
    c->text = mn_calloc(c->capacity, 1);
    *out = c;
    return MN_OK;
}

mn_err data__csv_feed(data__csv *c, const char *text, size_t n)
{
    if (n == 0) {
        if (csv_fini(&c->parser, end_field, end_row, c) != 0)
            return mn_fail(MN_EMEM, "no memory for a row of a CSV file");
        return c->err;
    }
    if (!c->started && n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        n -= 3;
    }
    c->started = 1;
    if (csv_parse(&c->parser, text, n, end_field, end_row, c) != n)
        return mn_fail(MN_EMEM, "no memory for a row of a CSV file");
    return c->err;
}

void data__csv_close(data__csv *c)
{
    if (!c) return;
    csv_free(&c->parser);
    free(c->begin);
    free(c->fields);
    free(c->text);
    free(c);
}

mn_err data__csv_file(const char *path, data__csv_row row, void *ctx)
{
    int fd;
    int64_t size;
    data__csv *c = NULL;
    char *block = NULL;
    MN_TRY(mn_file_open(&fd, path, &size));
    mn_err err = MN_OK;
    MN_TRY_OUT(err, data__csv_open(&c, row, ctx));
    block = mn_calloc(1, BLOCK);
    for (int64_t at = 0; at < size;) {
        size_t n = size - at < BLOCK ? (size_t)(size - at) : BLOCK;
        MN_TRY_OUT(err, mn_file_read_at(fd, block, n, at, path));
        MN_TRY_OUT(err, data__csv_feed(c, block, n));
        at += (int64_t)n;
    }
    MN_TRY_OUT(err, data__csv_feed(c, "", 0));
out:
    free(block);
    data__csv_close(c);
    (void)close(fd); // opened for reading: nothing can be lost
    return err;
}
