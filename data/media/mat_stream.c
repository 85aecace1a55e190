#include "data/media/mat_stream.h"

#include "nn/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 1 << 16, PACKED = 1 << 14 };

typedef struct inflater { // what a stream's z points to
    z_stream z;
    unsigned char packed[PACKED];
} inflater;

mn_err media_stream_fail(const media_stream *s, int64_t at, const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (s->element < 0) return mn_fail(MN_EDATA, "%s: byte %lld: %s", s->source->name, (long long)at, text);
    return mn_fail(MN_EDATA, "%s: byte %lld: in the compressed element there, byte %lld of its contents: %s",
                   s->source->name, (long long)s->element, (long long)at, text);
}

mn_err media_stream_open(media_stream *s, const media_source *source, int64_t at, int64_t end)
{
    *s = (media_stream){.source = source, .at = at, .end = end, .element = -1};
    if (at > end || end > source->size) return media_stream_fail(s, at, "cut off: %lld bytes", (long long)source->size);
    s->window = mn_calloc(WINDOW, 1);
    return MN_OK;
}

mn_err media_stream_inflate(media_stream *s, const media_source *source, int64_t element, int64_t at, int64_t end)
{
    MN_TRY(media_stream_open(s, source, at, end));
    inflater *i = mn_calloc(1, sizeof *i);
    s->z = &i->z;
    s->element = element;
    s->packed = at;
    s->packed_end = end;
    s->at = 0;
    s->end = INT64_MAX;
    int rc = inflateInit(s->z);
    if (rc == Z_OK) return MN_OK;
    media_stream_close(s);
    return mn_fail(MN_EMEM, "%s: inflateInit: %d", source->name, rc);
}

mn_err media_stream_copy(media_stream *to, const media_stream *from)
{
    *to = *from;
    to->window = mn_calloc(WINDOW, 1);
    memcpy(to->window, from->window, from->from + from->have);
    if (!from->z) return MN_OK;
    inflater *i = mn_calloc(1, sizeof *i);
    memcpy(i, from->z, sizeof *i);
    to->z = &i->z;
    int rc = inflateCopy(to->z, from->z);
    if (rc == Z_OK) { // the input that is left lies in the copy's own bytes
        to->z->next_in = i->packed + (from->z->next_in - ((inflater *)from->z)->packed);
        return MN_OK;
    }
    free(i);
    to->z = NULL;
    media_stream_close(to);
    return mn_fail(MN_EMEM, "%s: inflateCopy: %d", from->source->name, rc);
}

void media_stream_close(media_stream *s)
{
    if (s->z) (void)inflateEnd(s->z); // only tells of misuse
    free(s->z);
    free(s->window);
    *s = (media_stream){.element = -1};
}

static mn_err fill_packed(media_stream *s)
{
    inflater *i = (inflater *)s->z;
    size_t n = s->packed_end - s->packed < PACKED ? (size_t)(s->packed_end - s->packed) : PACKED;
    if (n == 0) return media_stream_fail(s, s->at, "the compressed bytes end here, in the middle");
    MN_TRY(s->source->read(s->source->ctx, s->packed, i->packed, n));
    s->packed += (int64_t)n;
    i->z.next_in = i->packed;
    i->z.avail_in = (uInt)n;
    return MN_OK;
}

// Inflates at least a byte, or finds the end.
static mn_err inflate_window(media_stream *s)
{
    s->z->next_out = s->window;
    s->z->avail_out = WINDOW;
    while (!s->ended && s->z->avail_out == WINDOW) {
        if (s->z->avail_in == 0) MN_TRY(fill_packed(s));
        int rc = inflate(s->z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END)
            return media_stream_fail(s, s->at, "damaged: %s", s->z->msg ? s->z->msg : zError(rc));
        s->ended = rc == Z_STREAM_END;
    }
    s->from = 0;
    s->have = WINDOW - s->z->avail_out;
    return MN_OK;
}

// More bytes into the empty window; the caller has seen that there are some before the end.
static mn_err fill(media_stream *s)
{
    if (s->z) {
        MN_TRY(inflate_window(s));
        return s->have > 0 ? MN_OK : media_stream_fail(s, s->at, "the contents end here, in the middle");
    }
    size_t n = s->end - s->at < WINDOW ? (size_t)(s->end - s->at) : WINDOW;
    s->from = 0;
    MN_TRY(s->source->read(s->source->ctx, s->at, s->window, n));
    s->have = n;
    return MN_OK;
}

static mn_err check_end(const media_stream *s, int64_t n)
{
    if (n <= s->end - s->at) return MN_OK;
    return media_stream_fail(s, s->at, "%lld bytes wanted where %lld are left", (long long)n,
                             (long long)(s->end - s->at));
}

static void pass(media_stream *s, size_t n)
{
    s->from += n;
    s->have -= n;
    s->at += (int64_t)n;
}

mn_err media_stream_read(media_stream *s, void *to, size_t n)
{
    unsigned char *p = to;
    MN_TRY(check_end(s, (int64_t)n));
    while (n > 0) {
        if (s->have == 0) MN_TRY(fill(s));
        size_t part = n < s->have ? n : s->have;
        memcpy(p, s->window + s->from, part);
        pass(s, part);
        p += part;
        n -= part;
    }
    return MN_OK;
}

mn_err media_stream_skip(media_stream *s, int64_t n)
{
    MN_TRY(check_end(s, n));
    while (n > 0) {
        if (s->have == 0 && !s->z) { // in a file nothing is read that nobody wants
            s->at += n;
            return MN_OK;
        }
        if (s->have == 0) MN_TRY(fill(s));
        size_t part = n < (int64_t)s->have ? (size_t)n : s->have;
        pass(s, part);
        n -= (int64_t)part;
    }
    return MN_OK;
}

mn_err media_stream_finish(media_stream *s)
{
    if (s->have == 0 && !s->ended) MN_TRY(inflate_window(s));
    if (s->have > 0 || !s->ended) return media_stream_fail(s, s->at, "more contents than the array in it says");
    int64_t rest = s->packed_end - s->packed + s->z->avail_in;
    return rest == 0 ? MN_OK
                     : media_stream_fail(s, s->at, "%lld bytes behind the end of the compressed ones", (long long)rest);
}
