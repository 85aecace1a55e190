#include "data/media/mat.h"

#include <string.h>

enum {
    HEAD = 128,
    VERSION_AT = 124,
    TAG = 8,
    MATRIX = 14,
    COMPRESSED = 15,
    OPAQUE = 17,
    COMPLEX = 1 << 11,
    DIMENSIONS = 32
};
enum { INT8 = 1, UINT8, INT16, UINT16, INT32, UINT32, SINGLE, DOUBLE = 9, INT64 = 12, UINT64, UTF8 = 16, UTF16, UTF32 };

// Bytes of an item of each type of stored data; 0: none such.
static const unsigned char size_of[] = {
    [INT8] = 1,   [UINT8] = 1, [INT16] = 2,  [UINT16] = 2, [INT32] = 4, [UINT32] = 4, [SINGLE] = 4,
    [DOUBLE] = 8, [INT64] = 8, [UINT64] = 8, [UTF8] = 1,   [UTF16] = 2, [UTF32] = 4};

typedef struct element {
    uint32_t type, size;
    int64_t at; // of its tag
    int pad;    // bytes behind its data that are nobody's
} element;

static uint32_t u32(const unsigned char *p, int swap)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return swap ? __builtin_bswap32(v) : v;
}

static int item_size(uint32_t type)
{
    return type < sizeof size_of ? size_of[type] : 0;
}

// Elements

// The tag of an element in an array that ends at `end`, in which it lies. Up to four bytes of data may be in the tag itself:
// then the upper half of the type is their number.
static mn_err read_tag(const media_mat *m, media_stream *s, int64_t end, element *e)
{
    unsigned char b[4];
    *e = (element){.at = s->at};
    if (end - s->at < TAG)
        return media_stream_fail(s, s->at, "the array ends where an element of it has to begin (%lld bytes are left)",
                                 (long long)(end - s->at));
    MN_TRY(media_stream_read(s, b, 4));
    e->type = u32(b, m->swap);
    int small = e->type >> 16 != 0;
    e->size = e->type >> 16;
    if (small) e->type &= 0xffff;
    if (small && e->size > 4)
        return media_stream_fail(s, e->at, "a small element of %u bytes, which is more than four", e->size);
    if (!small) MN_TRY(media_stream_read(s, b, 4));
    if (!small) e->size = u32(b, m->swap);
    if (e->size > end - s->at)
        return media_stream_fail(s, e->at, "an element of %u bytes where %lld are left", e->size,
                                 (long long)(end - s->at));
    e->pad = (int)((small ? 4 - e->size : (8 - e->size % 8) % 8));
    if (e->pad > end - s->at - e->size)
        e->pad = (int)(end - s->at - e->size); // of the last one some writers leave it out
    return MN_OK;
}

// An element that is of this type and so long, into `to`.
static mn_err read_element(const media_mat *m, media_stream *s, const media_array *a, uint32_t type, uint32_t most,
                           const char *what, unsigned char *to, uint32_t *size)
{
    element e;
    *size = 0;
    MN_TRY(read_tag(m, s, a->end, &e));
    int same = e.type == type || (type == INT32 && e.type == UINT32); // as some writers have it
    if (!same || e.size > most)
        return media_stream_fail(s, e.at, "%s: an element of type %u and %u bytes, not of type %u and at most %u", what,
                                 e.type, e.size, type, most);
    MN_TRY(media_stream_read(s, to, e.size));
    *size = e.size;
    return media_stream_skip(s, e.pad);
}

static mn_err read_flags(const media_mat *m, media_stream *s, media_array *a)
{
    unsigned char b[8];
    uint32_t size;
    MN_TRY(read_element(m, s, a, UINT32, sizeof b, "flags", b, &size));
    if (size != sizeof b) return media_stream_fail(s, a->at, "flags of %u bytes, not 8", size);
    uint32_t flags = u32(b, m->swap);
    a->class = flags & 255;
    a->complex = (flags & COMPLEX) != 0;
    return MN_OK;
}

static mn_err read_dimensions(const media_mat *m, media_stream *s, media_array *a)
{
    unsigned char b[4 * DIMENSIONS];
    uint32_t size;
    int others = 0, bad;
    MN_TRY(read_element(m, s, a, INT32, sizeof b, "dimensions", b, &size));
    bad = size < 8 || size % 4 != 0;
    a->count = 1;
    for (uint32_t i = 0; i < size / 4; i++) {
        int64_t n = (int32_t)u32(b + 4 * i, m->swap);
        others += n != 1;
        bad = bad || n < 0 || __builtin_mul_overflow(a->count, n, &a->count);
    }
    a->line = others <= 1;
    return bad ? media_stream_fail(s, a->at, "dimensions that no array has") : MN_OK;
}

static mn_err read_name(const media_mat *m, media_stream *s, media_array *a)
{
    element e;
    MN_TRY(read_tag(m, s, a->end, &e));
    if (item_size(e.type) != 1) return media_stream_fail(s, e.at, "a name of type %u, which is none of a text", e.type);
    uint32_t n = e.size < MEDIA_NAME ? e.size : 0;
    MN_TRY(media_stream_read(s, a->name, n));
    a->name[n] = 0;
    return media_stream_skip(s, (int64_t)e.size - n + e.pad);
}

// Behind the tag: what every array begins with.
static mn_err read_header(const media_mat *m, media_stream *s, const element *e, media_array *a)
{
    *a = (media_array){.class = MEDIA_DOUBLE, .line = 1, .at = e->at, .end = s->at + e->size};
    if (e->type != MATRIX) return media_stream_fail(s, e->at, "an element of type %u, not an array (14)", e->type);
    if (e->size == 0) return MN_OK; // what MATLAB writes of an array that was never assigned
    if (e->size % 8) return media_stream_fail(s, e->at, "an array of %u bytes, which is no multiple of 8", e->size);
    MN_TRY(read_flags(m, s, a));
    if (a->class != OPAQUE) MN_TRY(read_dimensions(m, s, a)); // objects of MATLAB's own classes have none
    return read_name(m, s, a);
}

// Files

static mn_err refuse(const char *name, const char *version)
{
    return mn_fail(
        MN_EDATA,
        "%s: byte 0: a MAT file of version %s; the published tables have version 5: take those, or load it in "
        "MATLAB and save it with -v7",
        name, version);
}

mn_err media_mat_open(media_mat *m, const media_source *source)
{
    unsigned char h[HEAD] = {0};
    size_t n = source->size < HEAD ? (size_t)source->size : HEAD;
    const uint16_t order = 'M' << 8 | 'I'; // as the machine that wrote it had it
    *m = (media_mat){.source = *source, .next = HEAD};
    MN_TRY(source->read(source->ctx, 0, h, n));
    if (memcmp(h, "\x89HDF\r\n\x1a\n", 8) == 0 || memcmp(h, "MATLAB 7.3", 10) == 0)
        return refuse(source->name, "7.3 (HDF5)");
    uint16_t mark, version;
    memcpy(&mark, h + VERSION_AT + 2, 2);
    memcpy(&version, h + VERSION_AT, 2);
    m->swap = mark == __builtin_bswap16(order);
    version = m->swap ? __builtin_bswap16(version) : version;
    if (n == HEAD && (mark == order || m->swap)) {
        if (version == 0x0100) return MN_OK;
        if (version == 0x0200) return refuse(source->name, "7.3 (HDF5)");
        return mn_fail(MN_EDATA, "%s: byte %d: a MAT file of a version that is not known (%#x), not 5", source->name,
                       VERSION_AT, version);
    }
    // The first word of version 4 is a decimal number, MOPT, of which at least one byte is 0; texts have none.
    uint32_t mopt = u32(h, 0) < 5000 ? u32(h, 0) : u32(h, 1);
    if (n >= 20 && mopt < 5000 && !(h[0] && h[1] && h[2] && h[3])) return refuse(source->name, "4");
    return mn_fail(MN_EDATA, "%s: byte %zu: not a MAT file of version 5%s", source->name, n < HEAD ? n : VERSION_AT,
                   n < HEAD ? ", or cut off" : "");
}

// Opens what the element of the file is or, compressed, holds, which begins with the tag *e then.
static mn_err open_variable(const media_mat *m, media_stream *s, element *e, int64_t *next)
{
    MN_TRY(media_stream_open(s, &m->source, m->next, m->source.size));
    MN_TRY(read_tag(m, s, m->source.size, e));
    int64_t data = s->at;
    *next = data + e->size;
    if (e->type == MATRIX) return MN_OK;
    if (e->type != COMPRESSED)
        return media_stream_fail(s, e->at, "an element of type %u, not a variable (14 or 15)", e->type);
    media_stream_close(s);
    MN_TRY(media_stream_inflate(s, &m->source, e->at, data, *next));
    return read_tag(m, s, INT64_MAX, e);
}

mn_err media_mat_next(media_mat *m, media_stream *s, media_array *a, int *found)
{
    element e = {0};
    *found = 0;
    *s = (media_stream){.element = -1};
    if (m->next == m->source.size) return MN_OK;
    mn_err err = open_variable(m, s, &e, &m->next);
    if (err == MN_OK) err = read_header(m, s, &e, a);
    if (err != MN_OK) {
        media_stream_close(s);
        return err;
    }
    s->end = a->end;
    *found = 1;
    return MN_OK;
}

mn_err media_mat_leave(media_stream *s, const media_array *a, int whole)
{
    mn_err err = whole ? media_array_leave(s, a) : MN_OK;
    if (err == MN_OK && whole && s->z) err = media_stream_finish(s);
    media_stream_close(s);
    return err;
}

// Arrays

mn_err media_array_enter(const media_mat *m, media_stream *s, int64_t end, media_array *a)
{
    element e;
    MN_TRY(read_tag(m, s, end, &e));
    return read_header(m, s, &e, a);
}

mn_err media_array_leave(media_stream *s, const media_array *a)
{
    if (s->at == a->end) return MN_OK;
    return media_stream_fail(s, s->at, "%lld bytes more than the array's own parts have", (long long)(a->end - s->at));
}

mn_err media_array_pass(media_stream *s, const media_array *a)
{
    return media_stream_skip(s, a->end - s->at);
}

mn_err media_struct_fields(const media_mat *m, media_stream *s, const media_array *a, media_fields *f)
{
    unsigned char b[4];
    uint32_t size;
    element e;
    MN_TRY(read_element(m, s, a, INT32, sizeof b, "length of field names", b, &size));
    int64_t length = size == sizeof b ? (int32_t)u32(b, m->swap) : 0;
    MN_TRY(read_tag(m, s, a->end, &e));
    if (item_size(e.type) != 1 || length < 1 || length > MEDIA_NAME || e.size % length ||
        e.size / length > MEDIA_FIELDS)
        return media_stream_fail(s, e.at, "field names: %u bytes of type %u, %lld each", e.size, e.type,
                                 (long long)length);
    f->n = (int)(e.size / length);
    for (int i = 0; i < f->n; i++) {
        MN_TRY(media_stream_read(s, f->name[i], (size_t)length));
        if (!memchr(f->name[i], 0, (size_t)length))
            return media_stream_fail(s, s->at, "field name %d has no end", i + 1);
    }
    return media_stream_skip(s, e.pad);
}

// Numbers

int media_is_numbers(const media_array *a)
{
    return a->class >= MEDIA_DOUBLE && a->class <= MEDIA_UINT64;
}

mn_err media_numbers_begin(const media_mat *m, media_stream *s, const media_array *a, media_numbers *n)
{
    element e;
    *n = (media_numbers){.swap = m->swap, .left = a->count};
    if (a->complex) return media_stream_fail(s, a->at, "complex numbers");
    if (a->count == 0 && s->at == a->end) return MN_OK; // some writers leave the empty element out
    MN_TRY(read_tag(m, s, a->end, &e));
    int64_t bytes, size = e.type < UTF8 ? item_size(e.type) : 0;
    if (size == 0 || __builtin_mul_overflow(size, a->count, &bytes) || bytes != e.size)
        return media_stream_fail(s, e.at, "%lld numbers in %u bytes of type %u", (long long)a->count, e.size, e.type);
    n->type = (int)e.type;
    n->pad = e.pad;
    return a->count ? MN_OK : media_stream_skip(s, e.pad);
}

mn_err media_numbers_next(media_stream *s, media_numbers *n, double *value)
{
    union {
        unsigned char b[8];
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f;
        double d;
    } v = {{0}};
    int size = size_of[n->type];
    mn_assert(n->left > 0);
    n->left--;
    MN_TRY(media_stream_read(s, v.b, (size_t)size));
    if (n->swap && size == 2) v.u16 = __builtin_bswap16(v.u16);
    if (n->swap && size == 4) v.u32 = __builtin_bswap32(v.u32);
    if (n->swap && size == 8) v.u64 = __builtin_bswap64(v.u64);
    *value = n->type == INT8     ? v.i8
             : n->type == UINT8  ? v.u8
             : n->type == INT16  ? v.i16
             : n->type == UINT16 ? v.u16
             : n->type == INT32  ? v.i32
             : n->type == UINT32 ? v.u32
             : n->type == INT64  ? (double)v.i64
             : n->type == UINT64 ? (double)v.u64
             : n->type == SINGLE ? (double)v.f
                                 : v.d;
    return n->left ? MN_OK : media_stream_skip(s, n->pad);
}

// Texts

mn_err media_text(const media_mat *m, media_stream *s, const media_array *a, char *to, size_t most, size_t *n)
{
    unsigned char raw[4 * MEDIA_TEXT_MOST];
    element e = {.pad = 0};
    mn_assert(most <= MEDIA_TEXT_MOST);
    *n = 0;
    int none = a->count == 0 && s->at == a->end; // as libmatio writes it
    if (a->class != MEDIA_CHAR || !a->line || none) return media_array_pass(s, a);
    MN_TRY(read_tag(m, s, a->end, &e));
    int size = e.type == SINGLE ? 0 : item_size(e.type);
    if (size == 0 || size == 8 || e.size % (uint32_t)size)
        return media_stream_fail(s, e.at, "a text of %u bytes of type %u", e.size, e.type);
    size_t bytes = e.size / (uint32_t)size <= most ? e.size : 0; // longer than any is: as if there were none
    MN_TRY(media_stream_read(s, raw, bytes));
    MN_TRY(media_stream_skip(s, (int64_t)(e.size - bytes) + e.pad));
    if (!media_text_convert(raw, bytes / (size_t)size, size, m->swap, to, most, n)) *n = 0;
    return media_array_leave(s, a);
}
