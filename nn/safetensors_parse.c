// The header, read in one strict pass. Not by a JSON library: that would build a tree of many times the header's size
// before anything can be refused, and forget at which byte a wrong value stood. Only what the format has is known: an
// object of {"dtype", "shape", "data_offsets"} records and "__metadata__" of strings.
#include "nn/safetensors_internal.h"

#include "nn/base/mem.h"
#include "nn/base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 }; // before the header: positions in messages count them

typedef struct cursor {
    const char *text, *file;
    size_t at, size;
} cursor;

static mn_err refuse(const cursor *c, size_t at, const char *what)
{
    return mn_fail(MN_EDATA, "%s: byte %zu: %s", c->file, at + LENGTH_BYTES, what);
}

static int next(const cursor *c) // the byte at the cursor, -1 at the end
{
    return c->at < c->size ? (unsigned char)c->text[c->at] : -1;
}

static void skip_space(cursor *c)
{
    while (next(c) == ' ' || next(c) == '\t' || next(c) == '\n' || next(c) == '\r')
        c->at++;
}

static int take(cursor *c, int wanted)
{
    skip_space(c);
    if (next(c) != wanted) return 0;
    c->at++;
    return 1;
}

static mn_err expect(cursor *c, char wanted)
{
    if (take(c, wanted)) return MN_OK;
    const char text[] = {'e', 'x', 'p', 'e', 'c', 't', 'e', 'd', ' ', wanted, 0};
    return refuse(c, c->at, text);
}

// --- strings ---

static int hex4(const cursor *c, size_t at, uint32_t *out)
{
    *out = 0;
    for (size_t i = at; i < at + 4; i++) {
        if (i >= c->size) return 0;
        char d = c->text[i];
        uint32_t v = d >= '0' && d <= '9'   ? (uint32_t)(d - '0')
                     : d >= 'a' && d <= 'f' ? (uint32_t)(d - 'a' + 10)
                     : d >= 'A' && d <= 'F' ? (uint32_t)(d - 'A' + 10)
                                            : 16;
        if (v == 16) return 0;
        *out = *out << 4 | v;
    }
    return 1;
}

static size_t encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xff) | code);
    return n;
}

// \uXXXX, or two of them for a character above U+FFFF; the cursor is behind the first 'u'.
static mn_err read_code(cursor *c, char out[4], size_t *n)
{
    uint32_t code, low;
    size_t start = c->at;
    if (!hex4(c, c->at, &code)) return refuse(c, start, "bad \\u escape");
    c->at += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        if (c->at + 6 > c->size || c->text[c->at] != '\\' || c->text[c->at + 1] != 'u' || !hex4(c, c->at + 2, &low) ||
            low < 0xdc00 || low > 0xdfff)
            return refuse(c, start, "half a surrogate pair");
        c->at += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code == 0 || (code >= 0xdc00 && code <= 0xdfff)) {
        return refuse(c, start, "an escape that is not a character");
    }
    *n = encode(code, out);
    return MN_OK;
}

static mn_err read_escape(cursor *c, char out[4], size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int letter = next(c);
    const char *known = letter > 0 ? strchr(from, letter) : NULL;
    if (letter != 'u' && !known) return refuse(c, c->at, "bad escape in a string");
    c->at++;
    if (letter == 'u') return read_code(c, out, n);
    out[0] = to[known - from];
    *n = 1;
    return MN_OK;
}

// A string without its quotes and escapes into out (cap bytes, with the 0 byte).
static mn_err read_string(cursor *c, char *out, size_t cap, const char *too_long)
{
    MN_TRY(expect(c, '"'));
    size_t start = c->at, used = 0;
    for (;;) {
        int byte = next(c);
        char piece[4];
        size_t n = 1;
        if (byte < 0) return refuse(c, start, "a string without end");
        if (byte < 0x20) return refuse(c, c->at, "a control character in a string");
        if (byte == '"') break;
        if (byte == '\\') {
            c->at++;
            MN_TRY(read_escape(c, piece, &n));
        } else {
            n = mn_utf8(c->text + c->at, c->size - c->at, NULL);
            if (n == 0) return refuse(c, c->at, "not UTF-8");
            memcpy(piece, c->text + c->at, n);
            c->at += n;
        }
        if (used + n >= cap) return refuse(c, start, too_long);
        memcpy(out + used, piece, n);
        used += n;
    }
    out[used] = 0;
    c->at++;
    return MN_OK;
}

// --- numbers ---

static mn_err read_size(cursor *c, size_t *out)
{
    skip_space(c);
    size_t start = c->at, value = 0;
    for (; next(c) >= '0' && next(c) <= '9'; c->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (size_t)(next(c) - '0'), &value))
            return refuse(c, start, "a number that does not fit 64 bits");
    int after = next(c);
    if (c->at == start || after == '.' || after == 'e' || after == 'E')
        return refuse(c, start, "expected a whole number");
    if (c->text[start] == '0' && c->at > start + 1) return refuse(c, start, "a number with a leading zero");
    *out = value;
    return MN_OK;
}

static mn_err read_shape(cursor *c, nn_safetensor *t, size_t *elements)
{
    *elements = 1;
    t->shape.n = 0;
    MN_TRY(expect(c, '['));
    if (take(c, ']')) return MN_OK;
    do {
        size_t d, start = c->at;
        MN_TRY(read_size(c, &d));
        if (t->shape.n == MN_MAX_DIMS) return refuse(c, start, "more than 6 dimensions");
        if (d > INT64_MAX || __builtin_mul_overflow(*elements, d, elements) || *elements > INT64_MAX)
            return refuse(c, start, "a shape that does not fit 64 bits");
        t->shape.d[t->shape.n++] = (int64_t)d;
    } while (take(c, ','));
    return expect(c, ']');
}

static mn_err read_span(cursor *c, nn_safetensor *t)
{
    MN_TRY(expect(c, '['));
    MN_TRY(read_size(c, &t->begin));
    MN_TRY(expect(c, ','));
    MN_TRY(read_size(c, &t->end));
    return expect(c, ']');
}

static mn_err read_dtype(cursor *c, nn_safetensor *t)
{
    static const char *const names[] = {
#define ROW(name, text, bytes) text,
        NN_SAFETENSORS_DTYPES(ROW)
#undef ROW
    };
    char text[16];
    skip_space(c);
    size_t start = c->at;
    MN_TRY(read_string(c, text, sizeof text, "an unknown dtype"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        t->dtype = (nn_safetensors_dtype)i;
        return MN_OK;
    }
    return refuse(c, start, "an unknown dtype");
}

// --- records ---

static mn_err read_tensor(cursor *c, nn_safetensor *t, size_t data_bytes)
{
    enum { DTYPE = 1, SHAPE = 2, SPAN = 4 };
    unsigned seen = 0;
    size_t elements = 0, bytes, start = c->at;
    MN_TRY(expect(c, '{'));
    do {
        char key[16];
        skip_space(c);
        size_t key_at = c->at;
        MN_TRY(read_string(c, key, sizeof key, "an unknown key"));
        MN_TRY(expect(c, ':'));
        unsigned bit = !strcmp(key, "dtype")          ? DTYPE
                       : !strcmp(key, "shape")        ? SHAPE
                       : !strcmp(key, "data_offsets") ? SPAN
                                                      : 0;
        if (!bit) return refuse(c, key_at, "an unknown key");
        if (seen & bit) return refuse(c, key_at, "a key given twice");
        seen |= bit;
        MN_TRY(bit == DTYPE ? read_dtype(c, t) : bit == SHAPE ? read_shape(c, t, &elements) : read_span(c, t));
    } while (take(c, ','));
    MN_TRY(expect(c, '}'));
    if (seen != (DTYPE | SHAPE | SPAN)) return refuse(c, start, "a tensor without dtype, shape or data_offsets");
    if (t->begin > t->end || t->end > data_bytes) return refuse(c, start, "data_offsets outside the file");
    if (__builtin_mul_overflow(elements, nn_safetensors_dtype_size(t->dtype), &bytes) || bytes != t->end - t->begin)
        return refuse(c, start, "data_offsets that do not fit shape and dtype");
    return MN_OK;
}

static mn_err read_text(cursor *c, nn__tensors *out)
{
    // What is left of the header bounds the string.
    size_t need = out->text_size + (c->size - c->at < NN__MAX_METADATA ? c->size - c->at : NN__MAX_METADATA) + 1;
    if (need > out->text_room) out->text = mn_realloc(out->text, out->text_room = need, 1);
    MN_TRY(read_string(c, out->text + out->text_size, out->text_room - out->text_size, "metadata of more than 16 MiB"));
    out->text_size += strlen(out->text + out->text_size) + 1;
    return MN_OK;
}

static mn_err read_metadata(cursor *c, nn__tensors *out)
{
    MN_TRY(expect(c, '{'));
    if (take(c, '}')) return MN_OK;
    do {
        skip_space(c);
        size_t start = c->at, key = out->text_size;
        if (out->n_pairs == NN__MAX_PAIRS) return refuse(c, start, "more than 4096 metadata entries");
        MN_TRY(read_text(c, out));
        for (int64_t i = 0; i < out->n_pairs; i++)
            if (!strcmp(out->text + out->pair[i], out->text + key))
                return refuse(c, start, "a metadata key given twice");
        MN_TRY(expect(c, ':'));
        MN_TRY(read_text(c, out));
        out->pair[out->n_pairs++] = key;
        if (out->text_size > NN__MAX_METADATA) return refuse(c, start, "metadata of more than 16 MiB");
    } while (take(c, ','));
    return expect(c, '}');
}

static mn_err read_entries(cursor *c, nn__tensors *out, size_t data_bytes)
{
    int has_metadata = 0;
    MN_TRY(expect(c, '{'));
    if (take(c, '}')) return MN_OK;
    do {
        nn_safetensor t = {0};
        skip_space(c);
        size_t start = c->at;
        MN_TRY(read_string(c, t.name, sizeof t.name, "a name of more than 255 bytes"));
        MN_TRY(expect(c, ':'));
        if (strcmp(t.name, "__metadata__") == 0) {
            if (has_metadata++) return refuse(c, start, "a second __metadata__");
            MN_TRY(read_metadata(c, out));
            continue;
        }
        if (!*t.name) return refuse(c, start, "a tensor without a name");
        if (out->n == NN__MAX_TENSORS) return refuse(c, start, "more than 131,072 tensors");
        MN_TRY(read_tensor(c, &t, data_bytes));
        out->tensor = mn_grow(out->tensor, out->n, &out->room, sizeof *out->tensor);
        out->tensor[out->n++] = t;
    } while (take(c, ','));
    return expect(c, '}');
}

// --- the whole ---

static int by_place(const void *a, const void *b)
{
    const nn_safetensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const nn_safetensor *const *)a)->name, (*(const nn_safetensor *const *)b)->name);
}

// Every byte of the data belongs to exactly one tensor, and every name to one.
static mn_err check_whole(nn__tensors *t, size_t data_bytes, const char *file)
{
    size_t at = 0;
    if (t->n) qsort(t->tensor, (size_t)t->n, sizeof *t->tensor, by_place);
    t->by_name = mn_calloc((size_t)t->n, sizeof *t->by_name);
    for (int64_t i = 0; i < t->n; i++) {
        if (t->tensor[i].begin != at)
            return mn_fail(MN_EDATA, "%s: tensor '%s' starts at byte %zu of the data, %zu was expected", file,
                           t->tensor[i].name, t->tensor[i].begin, at);
        at = t->tensor[i].end;
        t->by_name[i] = &t->tensor[i];
    }
    if (at != data_bytes)
        return mn_fail(MN_EDATA, "%s: the tensors end at byte %zu of the data, the file at %zu", file, at, data_bytes);
    if (t->n) qsort(t->by_name, (size_t)t->n, sizeof *t->by_name, by_name);
    for (int64_t i = 1; i < t->n; i++)
        if (strcmp(t->by_name[i - 1]->name, t->by_name[i]->name) == 0)
            return mn_fail(MN_EDATA, "%s: tensor '%s' is there twice", file, t->by_name[i]->name);
    return MN_OK;
}

mn_err nn__safetensors_parse(nn__tensors *out, const char *header, size_t size, size_t data_bytes, const char *file)
{
    memset(out, 0, sizeof *out);
    cursor c = {.text = header, .file = file, .size = size};
    if (size == 0 || header[0] != '{') return refuse(&c, 0, "the header does not start with {");
    MN_TRY(read_entries(&c, out, data_bytes));
    while (next(&c) == ' ')
        c.at++;
    if (c.at != size) return refuse(&c, c.at, "something behind the header");
    return check_whole(out, data_bytes, file);
}

void nn__tensors_free(nn__tensors *t)
{
    free(t->tensor);
    free(t->by_name);
    free(t->text);
}
