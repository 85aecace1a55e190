#include "golden_file_support.h"

#include "nn/base/mem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden_file {
    json_t *header;
    char *bytes; // 8 bytes of header size, header, values
    uint64_t values;
};

static void die(const char *what, const char *name)
{
    fprintf(stderr, "golden %s: %s\n", name, what);
    abort();
}

golden_file *golden_file_open(const char *name)
{
    golden_file *g = mn_calloc(1, sizeof *g);
    char *path = mn_sprintf("%s/%s", GOLDEN_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) die("cannot be opened", path);
    size_t size = (size_t)ftell(f);
    rewind(f);
    g->bytes = mn_calloc(size, 1);
    if (fread(g->bytes, 1, size, f) != size) die("cannot be read", path);
    fclose(f);
    uint64_t header;
    memcpy(&header, g->bytes, sizeof header);
    g->header = json_loadb(g->bytes + 8, header, 0, NULL);
    if (!g->header) die("has no header", path);
    g->values = 8 + header;
    free(path);
    return g;
}

void golden_file_close(golden_file *g)
{
    json_decref(g->header);
    free(g->bytes);
    free(g);
}

const void *golden_file_bytes(const golden_file *g, const char *tensor, int64_t *bytes)
{
    json_int_t begin = 0, end = 0;
    json_t *entry = json_object_get(g->header, tensor);
    if (!entry || json_unpack(entry, "{s:[I,I]}", "data_offsets", &begin, &end)) die("is not there", tensor);
    *bytes = end - begin;
    return g->bytes + g->values + (uint64_t)begin;
}

const float *golden_file_get(const golden_file *g, const char *tensor, int64_t *count)
{
    const float *values = golden_file_bytes(g, tensor, count);
    *count /= (int64_t)sizeof *values;
    return values;
}
