#include "data/import/recordio.h"

#include <string.h>

enum { PART_HEAD = DATA__RECORDIO_HEAD, PAYLOAD_HEAD = 24 };
enum { WHOLE, FIRST, MIDDLE, LAST };
#define LENGTH_MOST 0x1fffffffU

static uint32_t u32_at(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static mn_err wrong(const char *name, int64_t offset, size_t at, const char *what)
{
    return mn_fail(MN_EDATA, "%s: byte %lld: %s", name, (long long)offset + (long long)at, what);
}

int data__recordio_begins(const unsigned char head[DATA__RECORDIO_HEAD])
{
    uint32_t part = u32_at(head + 4) >> 29;
    return u32_at(head) == DATA__RECORDIO_MAGIC && (part == WHOLE || part == FIRST);
}

size_t data__recordio_part(const unsigned char head[DATA__RECORDIO_HEAD], int *more)
{
    uint32_t part = u32_at(head + 4) >> 29;
    size_t length = u32_at(head + 4) & LENGTH_MOST;
    *more = 0;
    if (u32_at(head) != DATA__RECORDIO_MAGIC) return PART_HEAD;
    *more = part == FIRST || part == MIDDLE;
    return PART_HEAD + length + (*more ? (4 - length % 4) % 4 : 0);
}

mn_err data__recordio_join(const char *name, int64_t offset, void *bytes, size_t size, size_t *payload)
{
    static const unsigned char magic[4] = {0x0a, 0x23, 0xd7, 0xce};
    unsigned char *p = bytes;
    size_t at = 0, joined = 0; // joined < at behind the first head: what is written was read
    for (int first = 1;; first = 0) {
        if (size - at < PART_HEAD) return wrong(name, offset, at, "cut off in the head of a record");
        if (u32_at(p + at) != DATA__RECORDIO_MAGIC) return wrong(name, offset, at, "no RecordIO record begins here");
        uint32_t head = u32_at(p + at + 4), part = head >> 29;
        size_t length = head & LENGTH_MOST;
        if (part > LAST || first != (part == WHOLE || part == FIRST))
            return wrong(name, offset, at + 4, "the parts of a record are out of order");
        at += PART_HEAD;
        if (length > size - at) return wrong(name, offset, at, "the record is cut off");
        if (!first) {
            memcpy(p + joined, magic, sizeof(magic));
            joined += sizeof(magic);
        }
        memmove(p + joined, p + at, length);
        joined += length;
        at += length;
        if (part == WHOLE || part == LAST) break;
        size_t padding = (4 - length % 4) % 4;
        if (padding > size - at) return wrong(name, offset, at, "the record is cut off");
        at += padding;
    }
    *payload = joined;
    return MN_OK;
}

static float float_at(const unsigned char *p)
{
    uint32_t bits = u32_at(p);
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

mn_err data__recordio_head(const char *name, int64_t offset, const void *payload, size_t size, data__recordio_face *out)
{
    const unsigned char *p = payload;
    *out = (data__recordio_face){0};
    if (size < PAYLOAD_HEAD) return wrong(name, offset, 0, "a record too short for a label");
    out->n_labels = u32_at(p);
    out->label[0] = float_at(p + 4);
    out->id = u32_at(p + 8) | (uint64_t)u32_at(p + 12) << 32;
    p += PAYLOAD_HEAD;
    size -= PAYLOAD_HEAD;
    if (out->n_labels > size / 4) return wrong(name, offset, 0, "a record with more labels than bytes");
    for (uint32_t i = 0; i < out->n_labels && i < 2; i++)
        out->label[i] = float_at(p + 4 * (size_t)i);
    out->image = p + 4 * (size_t)out->n_labels;
    out->size = size - 4 * (size_t)out->n_labels;
    return MN_OK;
}
