#include "nn/safetensors.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/safetensors_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the format is little-endian and values are copied as they are");

struct nn_safetensors {
    char *name;
    int fd;            // -1: in memory
    const char *bytes; // the whole file, when in memory
    size_t data_at;
    nn__tensors t;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
#define ROW(name, text, bytes) {text, bytes},
    NN_SAFETENSORS_DTYPES(ROW)
#undef ROW
};

size_t nn_safetensors_dtype_size(nn_safetensors_dtype t)
{
    mn_assert((size_t)t < sizeof dtypes / sizeof dtypes[0]);
    return dtypes[t].size;
}

const char *nn_safetensors_dtype_name(nn_safetensors_dtype t)
{
    mn_assert((size_t)t < sizeof dtypes / sizeof dtypes[0]);
    return dtypes[t].name;
}

// --- reading ---

static mn_err read_bytes(const nn_safetensors *f, void *out, size_t size, size_t at)
{
    if (f->fd >= 0) return mn_file_read_at(f->fd, out, size, (int64_t)at, f->name);
    if (size) memcpy(out, f->bytes + at, size);
    return MN_OK;
}

// f->fd or f->bytes are set; size: of the whole file.
static mn_err read_header(nn_safetensors *f, size_t size)
{
    uint64_t length;
    if (size < sizeof length) return mn_fail(MN_EDATA, "%s: %zu bytes are not a safetensors file", f->name, size);
    MN_TRY(read_bytes(f, &length, sizeof length, 0));
    if (length > size - sizeof length)
        return mn_fail(MN_EDATA, "%s: byte 0: a header of %llu bytes in a file of %zu", f->name,
                       (unsigned long long)length, size);
    if (length > NN__MAX_HEADER)
        return mn_fail(MN_EDATA, "%s: byte 0: a header of %llu bytes, more than the %d allowed", f->name,
                       (unsigned long long)length, NN__MAX_HEADER);
    f->data_at = sizeof length + (size_t)length;
    void *header;
    MN_TRY(mn_large_alloc(&header, (size_t)length, f->name));
    mn_err err = read_bytes(f, header, (size_t)length, sizeof length);
    if (err == MN_OK) err = nn__safetensors_parse(&f->t, header, (size_t)length, size - f->data_at, f->name);
    mn_large_free(header, (size_t)length);
    return err;
}

static mn_err finish(nn_safetensors **out, nn_safetensors *f, size_t size)
{
    mn_err err = read_header(f, size);
    if (err == MN_OK)
        *out = f;
    else
        nn_safetensors_close(f);
    return err;
}

mn_err nn_safetensors_open(nn_safetensors **out, const char *path)
{
    *out = NULL;
    int fd;
    int64_t size;
    MN_TRY(mn_file_open(&fd, path, &size));
    nn_safetensors *f = mn_calloc(1, sizeof *f);
    f->name = mn_strdup(path);
    f->fd = fd;
    return finish(out, f, (size_t)size);
}

mn_err nn_safetensors_parse(nn_safetensors **out, const void *bytes, size_t size, const char *name)
{
    *out = NULL;
    nn_safetensors *f = mn_calloc(1, sizeof *f);
    f->name = mn_strdup(name);
    f->fd = -1;
    f->bytes = bytes;
    return finish(out, f, size);
}

void nn_safetensors_close(nn_safetensors *f)
{
    if (!f) return;
    nn__tensors_free(&f->t);
    if (f->fd >= 0) close(f->fd); // opened for reading: nothing can be lost
    free(f->name);
    free(f);
}

int64_t nn_safetensors_count(const nn_safetensors *f)
{
    return f->t.n;
}

const nn_safetensor *nn_safetensors_at(const nn_safetensors *f, int64_t i)
{
    mn_assert(i >= 0 && i < f->t.n);
    return &f->t.tensor[i];
}

static int compare_name(const void *name, const void *entry)
{
    return strcmp(name, (*(const nn_safetensor *const *)entry)->name);
}

const nn_safetensor *nn_safetensors_find(const nn_safetensors *f, const char *name)
{
    if (f->t.n == 0) return NULL;
    const nn_safetensor *const *hit = bsearch(name, f->t.by_name, (size_t)f->t.n, sizeof *f->t.by_name, compare_name);
    return hit ? *hit : NULL;
}

const char *nn_safetensors_metadata(const nn_safetensors *f, const char *key)
{
    for (int64_t i = 0; i < f->t.n_pairs; i++) {
        const char *text = f->t.text + f->t.pair[i];
        if (strcmp(text, key) == 0) return text + strlen(text) + 1;
    }
    return NULL;
}

static float from_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    float magnitude = exponent == 31 ? (mantissa ? NAN : INFINITY)
                      : exponent     ? ldexpf((float)(1024 + mantissa), exponent - 25)
                                     : ldexpf((float)mantissa, -24);
    return h >> 15 ? -magnitude : magnitude;
}

static void widen(nn_safetensors_dtype type, const unsigned char *bytes, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        double full;
        if (type == NN_SAFETENSORS_F64) {
            memcpy(&full, bytes + 8 * i, sizeof full);
            out[i] = (float)full;
            continue;
        }
        memcpy(&half, bytes + 2 * i, sizeof half);
        out[i] = type == NN_SAFETENSORS_BF16 ? mn_bf16_to_f32(half) : from_f16(half);
    }
}

mn_err nn_safetensors_read_f32(const nn_safetensors *f, const nn_safetensor *t, float *out)
{
    enum { CHUNK = 1 << 14 };
    unsigned char chunk[CHUNK];
    size_t size = nn_safetensors_dtype_size(t->dtype), n = (t->end - t->begin) / size;
    switch (t->dtype) {
    case NN_SAFETENSORS_F32:
        MN_TRY(read_bytes(f, out, t->end - t->begin, f->data_at + t->begin));
        break;
    case NN_SAFETENSORS_BF16:
    case NN_SAFETENSORS_F16:
    case NN_SAFETENSORS_F64:
        for (size_t at = 0; at < n; at += CHUNK / size) {
            size_t some = n - at < CHUNK / size ? n - at : CHUNK / size;
            MN_TRY(read_bytes(f, chunk, some * size, f->data_at + t->begin + at * size));
            widen(t->dtype, chunk, some, out + at);
        }
        break;
    default:
        return mn_fail(MN_EDATA, "%s: tensor '%s' is %s, which holds no weights", f->name, t->name,
                       nn_safetensors_dtype_name(t->dtype));
    }
    for (size_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return mn_fail(MN_EDATA, "%s: tensor '%s' has a value that is not a finite number at element %zu", f->name,
                           t->name, i);
    return MN_OK;
}

// --- writing ---

static void print_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            fprintf(out, "\\u%04x", (unsigned)*s);
        else
            fputc(*s, out);
    }
    fputc('"', out);
}

static void print_header(FILE *out, const nn_safetensor *tensors, int64_t n, const nn_safetensors_pair *metadata,
                         int64_t n_metadata)
{
    fputc('{', out);
    for (int64_t i = 0; i < n_metadata; i++) {
        fputs(i ? "," : "\"__metadata__\":{", out);
        print_string(out, metadata[i].key);
        fputc(':', out);
        print_string(out, metadata[i].value);
        if (i + 1 == n_metadata) fputs(n ? "}," : "}", out);
    }
    for (int64_t i = 0; i < n; i++) {
        const nn_safetensor *t = &tensors[i];
        if (i) fputc(',', out);
        print_string(out, t->name);
        fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", nn_safetensors_dtype_name(t->dtype));
        for (int d = 0; d < t->shape.n; d++)
            fprintf(out, "%s%lld", d ? "," : "", (long long)t->shape.d[d]);
        fprintf(out, "],\"data_offsets\":[%zu,%zu]}", t->begin, t->end);
    }
    fputc('}', out);
}

mn_err nn_safetensors_header(nn_safetensor *tensors, int64_t n, const nn_safetensors_pair *metadata, int64_t n_metadata,
                             char **bytes, size_t *size)
{
    *bytes = NULL;
    *size = 0;
    size_t at = 0, length;
    for (int64_t i = 0; i < n; i++) {
        size_t span;
        MN_TRY(mn_mul_size((size_t)mn_count(tensors[i].shape), nn_safetensors_dtype_size(tensors[i].dtype), &span));
        tensors[i].begin = at;
        tensors[i].end = at += span;
    }
    uint64_t place = 0;
    FILE *out = open_memstream(bytes, &length);
    if (!out) return mn_fail(MN_EMEM, "no memory for the header of a safetensors file");
    fwrite(&place, sizeof place, 1, out);
    print_header(out, tensors, n, metadata, n_metadata);
    for (long end = ftell(out); end % 8; end++)
        fputc(' ', out);
    int failed = ferror(out);
    if (fclose(out) || failed) {
        free(*bytes);
        *bytes = NULL;
        return mn_fail(MN_EMEM, "no memory for the header of a safetensors file");
    }
    place = length - sizeof place;
    memcpy(*bytes, &place, sizeof place);
    *size = length;
    return MN_OK;
}

static mn_err write_bf16(mn_output *o, const float *data, int64_t n)
{
    enum { CHUNK = 1 << 13 };
    mn_bf16 chunk[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t some = n - at < CHUNK ? n - at : CHUNK;
        for (int64_t i = 0; i < some; i++)
            chunk[i] = mn_f32_to_bf16(data[at + i]);
        MN_TRY(mn_output_write(o, chunk, (size_t)some * sizeof *chunk));
    }
    return MN_OK;
}

static mn_err write_tensor(mn_output *o, const nn_safetensor *t, const float *data)
{
    int64_t n = mn_count(t->shape);
    if (t->dtype == NN_SAFETENSORS_BF16) return write_bf16(o, data, n);
    return mn_output_write(o, data, (size_t)n * sizeof *data);
}

typedef struct ordered {
    nn_safetensor tensor; // first: sorted by it
    const float *data;
} ordered;

static int by_size_and_name(const void *a, const void *b)
{
    const nn_safetensor *x = a, *y = b;
    size_t m = nn_safetensors_dtype_size(x->dtype), n = nn_safetensors_dtype_size(y->dtype);
    if (m != n) return m > n ? -1 : 1; // keeps every element aligned
    return strcmp(x->name, y->name);
}

mn_err nn_safetensors_write(const char *path, const nn_safetensor *tensors, const float *const *data, int64_t n,
                            const nn_safetensors_pair *metadata, int64_t n_metadata)
{
    ordered *order = mn_calloc((size_t)n, sizeof *order);
    nn_safetensor *sorted = mn_calloc((size_t)n, sizeof *sorted);
    char *header = NULL;
    size_t size;
    for (int64_t i = 0; i < n; i++) {
        mn_assert(tensors[i].dtype == NN_SAFETENSORS_F32 || tensors[i].dtype == NN_SAFETENSORS_BF16);
        order[i] = (ordered){tensors[i], data[i]};
    }
    if (n) qsort(order, (size_t)n, sizeof *order, by_size_and_name);
    for (int64_t i = 0; i < n; i++)
        sorted[i] = order[i].tensor;
    mn_output o;
    mn_err err = nn_safetensors_header(sorted, n, metadata, n_metadata, &header, &size);
    if (err == MN_OK) err = mn_output_open(&o, path);
    if (err == MN_OK) {
        err = mn_output_write(&o, header, size);
        for (int64_t i = 0; i < n && err == MN_OK; i++)
            err = write_tensor(&o, &order[i].tensor, order[i].data);
        err = mn_output_close(&o, err);
    }
    free(header);
    free(sorted);
    free(order);
    return err;
}
