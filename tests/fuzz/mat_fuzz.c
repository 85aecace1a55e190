// Tables of IMDB-WIKI in MAT files. Rows are whole, errors name the file and a byte; and what an array is, is the same
// when it lies in a compressed element.
// fuzz-sources: data/media/mat*.c data/media/faces.c
// fuzz-libraries: zlib
#include "data/media/faces.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { HEAD = 128, MOST = 1 << 16 };

typedef struct seen {
    uint64_t hash;
    int64_t rows;
} seen;

static mn_err take(void *ctx, const void *rows, size_t n)
{
    seen *s = ctx;
    const unsigned char *p = rows;
    for (size_t at = 0; at < n; s->rows++) {
        wire_face f;
        if (n - at < sizeof f) abort();
        memcpy(&f, p + at, sizeof f);
        at += sizeof f + (f.path_bytes + 7) / 8 * 8;
        if (f.path_bytes > WIRE_TEXT_MOST || f.name_bytes != 0 || at > n) abort();
    }
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ p[i]) * 0x100000001b3u;
    return MN_OK;
}

static mn_err read_memory(void *ctx, int64_t at, void *to, size_t n)
{
    memcpy(to, (const unsigned char *)ctx + at, n);
    return MN_OK;
}

static mn_err read_table(const unsigned char *data, size_t size, seen *s)
{
    unsigned char *bytes = malloc(size ? size : 1); // exactly as long as it says
    if (!bytes) abort();
    memcpy(bytes, data, size);
    media_source source = {.name = "fuzz", .size = (int64_t)size, .ctx = bytes, .read = read_memory};
    *s = (seen){0};
    mn_err err = media_faces_read(&source, take, s);
    if (err != MN_OK && (err != MN_EDATA || strncmp(mn_errmsg(), "fuzz: byte ", 11) != 0)) abort();
    if (err == MN_OK && s->rows == 0) abort();
    free(bytes);
    return err;
}

static uint32_t word(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// The first variable alone, as it is and compressed.
static void compare(const unsigned char *data, size_t size)
{
    static unsigned char packed[2 * MOST];
    seen a, b;
    if (size < HEAD + 8 || size > MOST || word(data + HEAD) != 14) return; // of this machine's byte order
    uint32_t n = word(data + HEAD + 4);
    if (n > size - HEAD - 8) return;
    uLongf bytes = sizeof packed - HEAD - 8;
    memcpy(packed, data, HEAD);
    if (compress2(packed + HEAD + 8, &bytes, data + HEAD, n + 8, 1) != Z_OK) abort();
    uint32_t tag[2] = {15, (uint32_t)bytes};
    memcpy(packed + HEAD, tag, sizeof tag);
    mn_err plain = read_table(data, HEAD + 8 + n, &a);
    mn_err other = read_table(packed, HEAD + 8 + bytes, &b);
    if (plain != other || a.rows != b.rows || a.hash != b.hash) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    seen s;
    (void)read_table(data, size, &s);
    compare(data, size);
    return 0;
}
