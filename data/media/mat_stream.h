// The bytes of a MAT file in their order, from some place on: as they lie in the file, or as they come out of a compressed
// element, inflated piece by piece. A stream needs under 200 KiB whatever it reads, and a copy of it goes on by itself:
// so several places of one compressed element are read side by side, without keeping what lies between them.
//
//     media_stream s, later;
//     MN_TRY(media_stream_open(&s, &source, 128, source.size));
//     mn_err err = media_stream_read(&s, tag, 8);
//     if (err == MN_OK) err = media_stream_copy(&later, &s); // another one at the same place
//     media_stream_close(&s);
//
// Errors: MN_EDATA names the file and the byte: of a compressed element its place in the file and the byte in what it
// holds. A stream that failed is good for nothing but to be closed. Threading: a stream belongs to one thread.
#ifndef DATA_MEDIA_MAT_STREAM_H
#define DATA_MEDIA_MAT_STREAM_H

#include "nn/base/err.h"

#include <stdint.h>
#include <zlib.h>

typedef struct media_source { // a file, or memory
    const char *name;         // for messages
    int64_t size;
    void *ctx;
    mn_err (*read)(void *ctx, int64_t at, void *to, size_t n); // exactly n bytes, which lie within size
} media_source;

typedef struct media_stream {
    const media_source *source;
    int64_t at, end; // bytes from the begin of the file or, inflated, of the element's contents; end: not to be passed
    unsigned char *window; // bytes that follow; NULL: not open
    size_t from, have;
    int64_t element;            // compressed: its place in the file; else -1
    int64_t packed, packed_end; // compressed: what is to be inflated next
    z_stream *z;
    int ended; // all of it came out, and its checksum is right
} media_stream;

MN_MUST_CHECK mn_err media_stream_open(media_stream *s, const media_source *source, int64_t at, int64_t end);
// What the compressed element at `element` holds, whose data are the bytes from `at` to `end` of the file.
MN_MUST_CHECK mn_err media_stream_inflate(media_stream *s, const media_source *source, int64_t element, int64_t at,
                                          int64_t end);
MN_MUST_CHECK mn_err media_stream_copy(media_stream *to, const media_stream *from);
void media_stream_close(media_stream *s); // one that is all zeros, too

MN_MUST_CHECK mn_err media_stream_read(media_stream *s, void *to, size_t n);
MN_MUST_CHECK mn_err media_stream_skip(media_stream *s, int64_t n);
// MN_EDATA unless this is the end of a compressed element, and its checksum is right.
MN_MUST_CHECK mn_err media_stream_finish(media_stream *s);
// MN_EDATA with the file and byte `at` of this stream before the message.
mn_err media_stream_fail(const media_stream *s, int64_t at, const char *format, ...) MN_PRINTF(3, 4);

#endif
