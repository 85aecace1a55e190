#include "data/hdf5_read.h"

#include <stdio.h>
#include <string.h>

// Structures that a file may have in all: ends every walk over addresses that lead in circles.
enum { STRUCTURES_MOST = 4096, DEPTH_MOST = 4, LEVELS_MOST = 8, CHUNKS_MOST = 64 };

#define UNDEFINED UINT64_MAX // an address

typedef struct reader {
    const data__part_file *file;
    uint64_t base;
    const char *path;
    data__hdf5 *out;
    int structures; // read so far
} reader;

typedef struct group { // where its members are
    uint64_t tree, heap;
} group;

typedef struct object { // what an object header says
    int has_group, has_type, has_space, has_layout;
    group members;
    data__type type;
    int dims;
    uint64_t extent[2];
    uint64_t at, bytes; // of the layout
} object;

const uint8_t *data__part_bytes(const data__part_file *f, uint64_t at, uint64_t n)
{
    if (at <= f->head_bytes && n <= f->head_bytes - at) return f->head + at;
    if (at >= f->tail_at && at <= f->file_bytes && n <= f->file_bytes - at) return f->tail + (at - f->tail_at);
    return NULL;
}

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static mn_err wrong(const reader *r, uint64_t at, const char *what)
{
    return mn_fail(MN_EDATA, "%s: byte %llu: %s", r->path, (unsigned long long)at, what);
}

// A structure of n bytes at an address of the file; what: said when it is not there.
static mn_err take(reader *r, uint64_t address, uint64_t n, const char *what, const uint8_t **p)
{
    uint64_t at = address <= r->file->file_bytes ? r->base + address : UNDEFINED;
    if (++r->structures > STRUCTURES_MOST) return wrong(r, at, "more HDF5 structures than a shard has");
    *p = at == UNDEFINED ? NULL : data__part_bytes(r->file, at, n);
    return *p ? MN_OK
              : mn_fail(MN_EDATA, "%s: address %llu: %s is not in the file", r->path, (unsigned long long)at, what);
}

static mn_err check_signature(const reader *r, const uint8_t *p, const char *signature, uint64_t address)
{
    if (memcmp(p, signature, 4) == 0) return MN_OK;
    return mn_fail(MN_EDATA, "%s: byte %llu: no %s here", r->path, (unsigned long long)(r->base + address), signature);
}

// Messages of an object header: m points at its data of n bytes, at byte `at` of the file.

static mn_err read_space(const reader *r, const uint8_t *m, uint64_t n, uint64_t at, object *o)
{
    int with_most = n >= 8 ? m[2] : 0; // the largest extents follow the extents
    if (n < 8 || m[0] != 1 || m[1] > 2 || with_most > 1 || n < 8 + 8u * m[1] * (1u + (unsigned)with_most))
        return wrong(r, at, "a dataspace of another form than shards have");
    o->dims = m[1];
    for (int i = 0; i < 2; i++)
        o->extent[i] = i < o->dims ? number(m + 8 + 8 * i, 8) : 1;
    o->has_space = 1;
    return MN_OK;
}

// The bytes of datatype messages, version 1: class, three of flags, size, then bit offset and precision, and of floats the
// places and sizes of exponent and mantissa and the bias.
typedef struct type_row {
    data__type type;
    int bytes; // of the message
    uint8_t message[20];
} type_row;
static const type_row types[] = {
    {DATA__U8, 12, {0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8}},
    {DATA__I8, 12, {0x10, 8, 0, 0, 1, 0, 0, 0, 0, 0, 8}},
    {DATA__U16, 12, {0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 16}},
    {DATA__U32, 12, {0x10, 0, 0, 0, 4, 0, 0, 0, 0, 0, 32}},
    {DATA__I32, 12, {0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32}},
    {DATA__U64, 12, {0x10, 0, 0, 0, 8, 0, 0, 0, 0, 0, 64}},
    {DATA__I64, 12, {0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64}},
    {DATA__F32, 20, {0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127}},
};

static int find_type(const uint8_t *m, uint64_t n, data__type *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (n >= (uint64_t)types[i].bytes && memcmp(m, types[i].message, (size_t)types[i].bytes) == 0) {
            *type = types[i].type;
            return 1;
        }
    return 0;
}

static mn_err read_layout(const reader *r, const uint8_t *m, uint64_t n, uint64_t at, object *o)
{
    if (n < 18 || m[0] != 3 || m[1] != 1) return wrong(r, at, "a dataset that is not stored in one piece");
    o->at = number(m + 2, 8);
    o->bytes = number(m + 10, 8);
    o->has_layout = 1;
    return MN_OK;
}

static uint64_t padded(uint64_t n)
{
    return (n + 7) / 8 * 8;
}

// An attribute of the root: version 1, every part of it padded to 8 bytes.
static mn_err read_attribute(const reader *r, const uint8_t *m, uint64_t n, uint64_t at)
{
    static const char form[] = "an attribute of another form than shards have";
    data__hdf5 *out = r->out;
    if (n < 8 || m[0] != 1) return wrong(r, at, form);
    uint64_t name = number(m + 2, 2), type = number(m + 4, 2), space = number(m + 6, 2);
    uint64_t type_at = 8 + padded(name), space_at = type_at + padded(type), value_at = space_at + padded(space);
    object scalar = {0};
    if (value_at > n || name < 1 || m[8 + name - 1] != 0 || type < 8) return wrong(r, at, form);
    MN_TRY(read_space(r, m + space_at, space, at + space_at, &scalar));
    if (scalar.dims != 0) return wrong(r, at, form);
    if (out->n_attributes == DATA__HDF5_ATTRIBUTES) return wrong(r, at, "more attributes than a shard has");
    data__hdf5_attribute *a = &out->attribute[out->n_attributes++];
    const uint8_t *t = m + type_at, *value = m + value_at;
    uint64_t size = number(t + 4, 4);
    data__type integer;
    *a = (data__hdf5_attribute){.name = (const char *)m + 8};
    if (size < 1 || size > n - value_at) return wrong(r, at, "an attribute that is longer than its message");
    if (t[0] == 0x13 && value[size - 1] == 0) // a text with its end
        a->text = (const char *)value;
    else if (find_type(t, type, &integer) && integer == DATA__I64)
        a->number = (int64_t)number(value, 8);
    else
        return wrong(r, at, form);
    return MN_OK;
}

typedef enum message_type {
    MESSAGE_NIL = 0x0,
    MESSAGE_SPACE = 0x1,
    MESSAGE_TYPE = 0x3,
    MESSAGE_OLD_FILL = 0x4,
    MESSAGE_FILL = 0x5,
    MESSAGE_LAYOUT = 0x8,
    MESSAGE_ATTRIBUTE = 0xc,
    MESSAGE_MORE = 0x10,
    MESSAGE_TABLE = 0x11,
    MESSAGE_TIME = 0x12
} message_type;

static mn_err read_message(const reader *r, message_type type, const uint8_t *m, uint64_t n, uint64_t at, int root,
                           object *o)
{
    switch (type) {
    case MESSAGE_SPACE:
        return read_space(r, m, n, at, o);
    case MESSAGE_TYPE:
        o->has_type = find_type(m, n, &o->type);
        return o->has_type ? MN_OK : wrong(r, at, "numbers of a type that shards do not have");
    case MESSAGE_LAYOUT:
        return read_layout(r, m, n, at, o);
    case MESSAGE_ATTRIBUTE:
        return root ? read_attribute(r, m, n, at) : wrong(r, at, "an attribute that is not the file's");
    case MESSAGE_TABLE:
        if (n < 16) return wrong(r, at, "a group without members");
        o->members = (group){number(m, 8), number(m + 8, 8)};
        o->has_group = 1;
        return MN_OK;
    case MESSAGE_NIL:
    case MESSAGE_OLD_FILL:
    case MESSAGE_FILL:
    case MESSAGE_TIME:
    case MESSAGE_MORE: // the caller's
        return MN_OK;
    }
    return wrong(r, at, "something that shards do not have (filters, links, tables of names)");
}

// An object header, version 1: 16 bytes, then messages of 8 bytes and their data; a message may say where more of them are.
static mn_err read_object(reader *r, uint64_t address, int root, object *o)
{
    uint64_t chunk[CHUNKS_MOST][2]; // address, bytes
    int chunks = 1;
    const uint8_t *p;
    *o = (object){0};
    MN_TRY(take(r, address, 16, "an object header", &p));
    if (p[0] != 1) return wrong(r, r->base + address, "an object header of another version than shards have");
    uint64_t left = number(p + 2, 2);
    chunk[0][0] = address + 16;
    chunk[0][1] = number(p + 8, 4);
    for (int c = 0; c < chunks; c++) {
        uint64_t from = chunk[c][0], n = chunk[c][1], at = 0;
        MN_TRY(take(r, from, n, "a part of an object header", &p));
        for (; left > 0 && n - at >= 8; left--) {
            const uint8_t *m = p + at;
            uint64_t type = number(m, 2), size = number(m + 2, 2), place = r->base + from + at;
            if (size > n - at - 8) return wrong(r, place, "a message that is longer than its header");
            if (m[4] & 2) return wrong(r, place, "a message that is kept elsewhere");
            MN_TRY(read_message(r, (message_type)type, m + 8, size, place + 8, root, o));
            if (type == MESSAGE_MORE) {
                if (size < 16 || chunks == CHUNKS_MOST) return wrong(r, place, "an object header without end");
                chunk[chunks][0] = number(m + 8, 8);
                chunk[chunks++][1] = number(m + 16, 8);
            }
            at += 8 + size;
        }
    }
    return left == 0 ? MN_OK : wrong(r, r->base + address, "an object header that lacks messages");
}

static mn_err add_dataset(const reader *r, uint64_t address, const char *name, const object *o)
{
    uint64_t at = r->base + address, n, file_bytes = r->file->file_bytes;
    if (!o->has_type || !o->has_space || !o->has_layout || o->dims < 1)
        return wrong(r, at, "a dataset without type, extent or place");
    if (__builtin_mul_overflow(o->extent[0], o->extent[1], &n) ||
        __builtin_mul_overflow(n, data__type_size(o->type), &n) || n != o->bytes)
        return wrong(r, at, "a dataset whose size is not that of its extent");
    if (n > 0 && (o->at > file_bytes || r->base + o->at > file_bytes || n > file_bytes - r->base - o->at))
        return wrong(r, at, "a dataset that is not in the file");
    if (r->out->n_datasets == DATA__HDF5_DATASETS) return wrong(r, at, "more datasets than a shard has");
    data__hdf5_dataset *d = &r->out->dataset[r->out->n_datasets++];
    *d = (data__hdf5_dataset){.type = o->type,
                              .dims = o->dims,
                              .extent = {o->extent[0], o->extent[1]},
                              .at = n > 0 ? r->base + o->at : 0,
                              .bytes = n};
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    return MN_OK;
}

static mn_err read_group(reader *r, const group *g, const char *prefix, int depth);

// A member of a group: 40 bytes that begin with the place of its name in the heap and its address.
static mn_err read_member(reader *r, const uint8_t *entry, const uint8_t *names, uint64_t names_bytes,
                          const char *prefix, int depth)
{
    uint64_t name = number(entry, 8), address = number(entry + 8, 8);
    char full[DATA__HDF5_NAME];
    const char *text = (const char *)names + (name < names_bytes ? name : 0);
    uint64_t most = name < names_bytes ? names_bytes - name : 0;
    size_t before = strlen(prefix), n = strnlen(text, most < sizeof full ? most : sizeof full);
    if (n == 0 || n == most || memchr(text, '/', n)) return wrong(r, r->base + address, "an object without a name");
    if (before + n + 2 > sizeof full)
        return wrong(r, r->base + address, "an object whose name is longer than those of shards");
    memcpy(full, prefix, before);
    memcpy(full + before, text, n + 1);
    object o;
    MN_TRY(read_object(r, address, 0, &o));
    if (!o.has_group) return add_dataset(r, address, full, &o);
    if (depth == DEPTH_MOST) return wrong(r, r->base + address, "groups in groups deeper than shards have");
    memcpy(full + before + n, "/", 2);
    return read_group(r, &o.members, full, depth + 1);
}

// A symbol table node: 8 bytes and its members.
static mn_err read_members(reader *r, uint64_t address, const uint8_t *names, uint64_t names_bytes, const char *prefix,
                           int depth)
{
    const uint8_t *p, *entries;
    MN_TRY(take(r, address, 8, "a table of a group's members", &p));
    MN_TRY(check_signature(r, p, "SNOD", address));
    uint64_t n = number(p + 6, 2);
    MN_TRY(take(r, address + 8, n * 40, "a table of a group's members", &entries));
    for (uint64_t i = 0; i < n; i++)
        MN_TRY(read_member(r, entries + i * 40, names, names_bytes, prefix, depth));
    return MN_OK;
}

// A node of a group's tree, version 1: 24 bytes, then keys and children in turn, a key first and last.
static mn_err read_tree(reader *r, uint64_t address, int level, const uint8_t *names, uint64_t names_bytes,
                        const char *prefix, int depth)
{
    const uint8_t *p, *pairs;
    MN_TRY(take(r, address, 24, "a group's tree", &p));
    MN_TRY(check_signature(r, p, "TREE", address));
    if (p[4] != 0 || p[5] > LEVELS_MOST || (level >= 0 && p[5] != level))
        return wrong(r, r->base + address, "a tree that is not a group's");
    uint64_t n = number(p + 6, 2);
    level = p[5] - 1;
    MN_TRY(take(r, address + 24, n * 16 + 8, "a group's tree", &pairs));
    for (uint64_t i = 0; i < n; i++) {
        uint64_t child = number(pairs + i * 16 + 8, 8);
        if (level >= 0)
            MN_TRY(read_tree(r, child, level, names, names_bytes, prefix, depth));
        else
            MN_TRY(read_members(r, child, names, names_bytes, prefix, depth));
    }
    return MN_OK;
}

static mn_err read_group(reader *r, const group *g, const char *prefix, int depth)
{
    const uint8_t *heap, *names;
    MN_TRY(take(r, g->heap, 32, "a group's names", &heap));
    MN_TRY(check_signature(r, heap, "HEAP", g->heap));
    uint64_t n = number(heap + 8, 8);
    MN_TRY(take(r, number(heap + 24, 8), n, "a group's names", &names));
    return read_tree(r, g->tree, -1, names, n, prefix, depth);
}

// Superblock version 0: addresses and lengths of 8 bytes, the base address, and the entry of the root group.
mn_err data__hdf5_read(data__hdf5 *out, const data__part_file *file, uint64_t base, const char *path)
{
    static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    reader r = {.file = file, .base = base, .path = path, .out = out};
    const uint8_t *p;
    object root;
    out->n_datasets = out->n_attributes = 0;
    MN_TRY(take(&r, 0, 96, "the HDF5 superblock", &p));
    if (memcmp(p, signature, sizeof signature) != 0) return wrong(&r, base, "no HDF5 superblock here");
    if (p[8] != 0 || p[13] != 8 || p[14] != 8 || number(p + 24, 8) != base)
        return wrong(&r, base, "an HDF5 superblock of another form than shards have");
    MN_TRY(read_object(&r, number(p + 64, 8), 1, &root));
    if (!root.has_group) return wrong(&r, base, "an HDF5 file without a root group");
    return read_group(&r, &root.members, "", 0);
}

const data__hdf5_dataset *data__hdf5_find(const data__hdf5 *h, const char *name)
{
    for (int i = 0; i < h->n_datasets; i++)
        if (strcmp(h->dataset[i].name, name) == 0) return &h->dataset[i];
    return NULL;
}

const data__hdf5_attribute *data__hdf5_attribute_of(const data__hdf5 *h, const char *name)
{
    for (int i = 0; i < h->n_attributes; i++)
        if (strcmp(h->attribute[i].name, name) == 0) return &h->attribute[i];
    return NULL;
}
