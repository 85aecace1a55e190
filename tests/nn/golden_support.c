#include "golden_support.h"

#include "nn/base/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t fnv1a64(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

static double uniform(uint64_t hash, int64_t i)
{
    uint64_t z = hash + (uint64_t)i + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 40) * 0x1p-23 - 1;
}

double golden_uniform(const char *name, int64_t i)
{
    return uniform(fnv1a64(name), i);
}

static int ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

typedef struct form {
    double centre, amplitude;
} form;

static form form_of(const char *name, mn_shape shape)
{
    if (strncmp(name, "input.", 6) == 0 || strncmp(name, "projection.", 11) == 0) return (form){0, sqrt(3)};
    if (ends(name, "relative_position_bias_table") || ends(name, "mask_token")) return (form){0, 0.5};
    if (ends(name, ".weight_g")) return (form){1, 0.1};
    if (ends(name, ".running_var")) return (form){1, 0.5};
    if (shape.n == 1 && ends(name, ".weight")) return (form){1, 0.1};
    if (shape.n <= 1) return (form){0, 0.1};
    return (form){0, sqrt(3 / ((double)mn_count(shape) / (double)shape.d[0]))};
}

static void fill(const char *name, mn_shape shape, float *x)
{
    form f = form_of(name, shape);
    uint64_t hash = fnv1a64(name);
    for (int64_t i = 0; i < mn_count(shape); i++)
        x[i] = (float)(f.centre + f.amplitude * uniform(hash, i));
}

float golden_value(const char *name, mn_shape shape, int64_t i)
{
    form f = form_of(name, shape);
    return (float)(f.centre + f.amplitude * golden_uniform(name, i));
}

void golden_fill(nn_params *ps)
{
    for (int i = 0; i < nn_params_count(ps); i++) {
        nn_param *p = nn_params_at(ps, i);
        fill(p->name, p->spec.shape, nn_param_master(ps, p));
    }
    mn_assert(nn_params_sync(ps) == MN_OK);
}

// --- stored tensors ---

struct golden {
    char *file;
    json_t *header;
    unsigned char *bytes;
    size_t data; // offset of the tensors in bytes
    int count;
    const char **name;
    float **value;
    int64_t *elements;
};

static void die(const char *file, const char *why)
{
    fprintf(stderr, "golden %s: %s\n", file, why);
    abort();
}

static unsigned char *read_all(const char *file, size_t *size)
{
    char *path = mn_sprintf("%s/%s", GOLDEN_DIR, file);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) die(path, "cannot open");
    long end = ftell(f);
    if (end < 8 || fseek(f, 0, SEEK_SET) != 0) die(path, "cannot read");
    unsigned char *bytes = mn_calloc(1, (size_t)end);
    if (fread(bytes, 1, (size_t)end, f) != (size_t)end) die(path, "cannot read");
    fclose(f);
    free(path);
    *size = (size_t)end;
    return bytes;
}

static void add_tensor(golden *g, const char *name, json_t *entry, size_t size)
{
    json_t *span = json_object_get(entry, "data_offsets");
    size_t begin = g->data + (size_t)json_integer_value(json_array_get(span, 0));
    size_t end = g->data + (size_t)json_integer_value(json_array_get(span, 1));
    if (end < begin || end > size || strcmp(json_string_value(json_object_get(entry, "dtype")), "F32") != 0)
        die(g->file, name);
    float *value = mn_calloc((end - begin) / 4 + 1, sizeof(float)); // a copy: the file does not promise alignment
    memcpy(value, g->bytes + begin, end - begin);
    g->name[g->count] = name;
    g->value[g->count] = value;
    g->elements[g->count++] = (int64_t)((end - begin) / 4);
}

golden *golden_open(const char *file)
{
    golden *g = mn_calloc(1, sizeof *g);
    size_t size;
    uint64_t header = 0;
    g->file = mn_strdup(file);
    g->bytes = read_all(file, &size);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | g->bytes[i];
    g->data = 8 + (size_t)header;
    if (g->data > size) die(file, "truncated");
    g->header = json_loadb((const char *)g->bytes + 8, (size_t)header, 0, NULL);
    size_t n = json_object_size(g->header);
    g->name = mn_calloc(n + 1, sizeof *g->name);
    g->value = mn_calloc(n + 1, sizeof *g->value);
    g->elements = mn_calloc(n + 1, sizeof *g->elements);
    const char *name;
    json_t *entry;
    json_object_foreach(g->header, name, entry) if (strcmp(name, "__metadata__") != 0) add_tensor(g, name, entry, size);
    return g;
}

void golden_close(golden *g)
{
    for (int i = 0; i < g->count; i++)
        free(g->value[i]);
    json_decref(g->header);
    free(g->file);
    free(g->bytes);
    free(g->name);
    free(g->value);
    free(g->elements);
    free(g);
}

int golden_count(const golden *g)
{
    return g->count;
}

const char *golden_name(const golden *g, int i)
{
    return g->name[i];
}

const float *golden_get(const golden *g, const char *name, int64_t *count)
{
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->name[i], name) == 0) {
            *count = g->elements[i];
            return g->value[i];
        }
    return NULL;
}

// |x - y| from the difference of the projections: each is one sample of (r . (x - y))^2, whose mean is |x - y|^2.
static double projected_distance(const float *stored, int64_t n, const char *name, const float *x, int64_t count)
{
    double sum = 0;
    for (int k = 0; k < n; k++) {
        char *of = mn_sprintf("projection.%d.%s", k, name);
        uint64_t hash = fnv1a64(of);
        double amplitude = sqrt(3), dot = 0;
#pragma omp parallel for schedule(static) reduction(+ : dot)
        for (int64_t i = 0; i < count; i++)
            dot += (double)(float)(amplitude * uniform(hash, i)) * (double)x[i];
        sum += (dot - (double)stored[k]) * (dot - (double)stored[k]);
        free(of);
    }
    return sqrt(sum / (double)n);
}

double golden_distance(const golden *g, const char *name, const float *x, int64_t count, double *norm)
{
    int64_t stored = 0;
    const float *y = golden_get(g, name, &stored);
    if (y) {
        double distance = 0, square = 0;
        if (stored != count) return -1;
        for (int64_t i = 0; i < count; i++) {
            double d = (double)x[i] - (double)y[i];
            distance += d * d;
            square += (double)y[i] * (double)y[i];
        }
        *norm = sqrt(square);
        return sqrt(distance);
    }
    char *projected = mn_sprintf("project.%s", name);
    y = golden_get(g, projected, &stored);
    free(projected);
    if (!y || stored < 2) return -1;
    *norm = (double)y[0];
    return projected_distance(y + 1, stored - 1, name, x, count);
}
