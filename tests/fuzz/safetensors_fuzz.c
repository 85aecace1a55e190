// Weight files from outside. An input that starts with '{' is a header up to its first 0 byte, then data, and gets its
// length put before it; any other is a whole file. What is accepted must be readable to the last value, and its header, written again,
// must describe the same tensors.
// fuzz-sources: nn/safetensors.c nn/safetensors_parse.c
#include "nn/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "%s: %s\n", what, mn_errmsg());
    abort();
}

static void read_all(const nn_safetensors *f, nn_safetensor *copy)
{
    for (int64_t i = 0; i < nn_safetensors_count(f); i++) {
        const nn_safetensor *t = nn_safetensors_at(f, i);
        require(nn_safetensors_find(f, t->name) == t, "a tensor that cannot be found");
        float *values = malloc((size_t)mn_count(t->shape) * sizeof(float) + 1);
        mn_err err = nn_safetensors_read_f32(f, t, values);
        require(err == MN_OK || err == MN_EDATA, "reading");
        free(values);
        copy[i] = *t;
    }
}

static void write_again(const nn_safetensors *f, nn_safetensor *copy, size_t data_bytes)
{
    char *header;
    size_t size;
    int64_t n = nn_safetensors_count(f);
    require(nn_safetensors_header(copy, n, NULL, 0, &header, &size) == MN_OK, "writing the header");
    char *whole = calloc(size + data_bytes, 1);
    memcpy(whole, header, size);
    nn_safetensors *again;
    require(nn_safetensors_parse(&again, whole, size + data_bytes, "again") == MN_OK, "reading again");
    require(nn_safetensors_count(again) == n, "another number of tensors");
    for (int64_t i = 0; i < n; i++) {
        const nn_safetensor *a = nn_safetensors_at(f, i), *b = nn_safetensors_find(again, a->name);
        require(b && a->begin == b->begin && a->dtype == b->dtype && mn_shape_equal(a->shape, b->shape),
                "another tensor");
    }
    nn_safetensors_close(again);
    free(whole);
    free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check(const void *bytes, size_t size)
{
    nn_safetensors *f;
    mn_err err = nn_safetensors_parse(&f, bytes, size, "fuzz");
    require(err == MN_OK || err == MN_EDATA, "an unexpected error");
    if (err) return;
    (void)nn_safetensors_metadata(f, "format");
    int64_t n = nn_safetensors_count(f);
    nn_safetensor *copy = calloc((size_t)n + 1, sizeof *copy);
    read_all(f, copy);
    write_again(f, copy, n ? nn_safetensors_at(f, n - 1)->end : 0);
    free(copy);
    nn_safetensors_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != '{') {
        check(data, size);
        return 0;
    }
    const uint8_t *end = memchr(data, 0, size);
    uint64_t length = end ? (uint64_t)(end - data) : size;
    size_t rest = end ? size - (size_t)length - 1 : 0;
    char *whole = malloc(sizeof length + (size_t)length + rest);
    memcpy(whole, &length, sizeof length);
    memcpy(whole + sizeof length, data, (size_t)length);
    if (rest) memcpy(whole + sizeof length + (size_t)length, end + 1, rest);
    check(whole, sizeof length + (size_t)length + rest);
    free(whole);
    return 0;
}
