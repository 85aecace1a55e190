// A weights file under our names: which tensors it has, and their values as fp32.
#include "nn/weights_internal.h"

#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 3 };

typedef struct item {
    nn_weight weight;
    int source[MAX_PARTS]; // index in the container of each part, -1: not seen
} item;

typedef struct dropped {
    const char *name, *why;
} dropped;

struct nn_weights {
    char *path;
    nn__container file;
    nn_weights_form form;
    item *item;
    dropped *drop;
    int n, n_drop;
};

static item *find_or_add(nn_weights *w, const char *name, int parts)
{
    for (int i = w->n - 1; parts > 1 && i >= 0; i--)
        if (strcmp(w->item[i].weight.name, name) == 0) return &w->item[i];
    item *it = &w->item[w->n++];
    *it = (item){.weight.parts = parts, .source = {-1, -1, -1}};
    snprintf(it->weight.name, sizeof it->weight.name, "%s", name);
    return it;
}

static void drop(nn_weights *w, const char *name, const char *why)
{
    w->drop[w->n_drop++] = (dropped){name, why};
}

static mn_err place(nn_weights *w, int i)
{
    const nn__array *a = &w->file.array[i];
    nn_rename_match m;
    if (!nn_rename_import(w->form, a->name, &m)) {
        drop(w, a->name, "a name this form does not have");
        return MN_OK;
    }
    if (m.drop || !a->stored) {
        drop(w, a->name, m.drop ? m.drop : "not floating point");
        return MN_OK;
    }
    item *it = find_or_add(w, m.name, m.parts);
    if (it->weight.parts != m.parts || it->source[m.part] >= 0)
        return mn_fail(MN_EDATA, "%s: '%s' is there twice, once as '%s'", w->path, m.name, a->name);
    it->source[m.part] = i;
    it->weight.stored = a->stored;
    return MN_OK;
}

// The shape of a tensor of several parts is that of one with their rows together.
static mn_err join(const nn_weights *w, item *it)
{
    char first[96], other[96];
    mn_shape shape = {0};
    for (int k = 0; k < it->weight.parts; k++) {
        if (it->source[k] < 0)
            return mn_fail(MN_EDATA, "%s: '%s' is put together from %d tensors, and one is missing", w->path,
                           it->weight.name, it->weight.parts);
        const nn__array *a = &w->file.array[it->source[k]];
        if (k == 0) shape = a->shape;
        if (!mn_shape_equal(shape, a->shape) || (it->weight.parts > 1 && shape.n < 1))
            return mn_fail(MN_EDATA, "%s: '%s' is %s, which does not go with %s for '%s'", w->path, a->name,
                           mn_shape_text(a->shape, other, sizeof other), mn_shape_text(shape, first, sizeof first),
                           it->weight.name);
    }
    if (it->weight.parts > 1) shape.d[0] *= it->weight.parts;
    it->weight.shape = shape;
    return MN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const item *)a)->weight.name, ((const item *)b)->weight.name);
}

static mn_err find_form(nn_weights *w)
{
    const char **names = mn_calloc((size_t)w->file.n + 1, sizeof *names);
    for (int i = 0; i < w->file.n; i++)
        names[i] = w->file.array[i].name;
    w->form = nn_weights_detect(names, w->file.n);
    free(names);
    if (w->form != NN_WEIGHTS_AUTO) return MN_OK;
    return mn_fail(
        MN_EDATA,
        "%s: the names of its %d tensors ('%s' ...) are of no known form; say which with the form's name, if "
        "it is one",
        w->path, w->file.n, w->file.n ? w->file.array[0].name : "none");
}

static mn_err arrange(nn_weights *w)
{
    if (w->form == NN_WEIGHTS_AUTO) MN_TRY(find_form(w));
    w->item = mn_calloc((size_t)w->file.n + 1, sizeof *w->item);
    w->drop = mn_calloc((size_t)w->file.n + 1, sizeof *w->drop);
    for (int i = 0; i < w->file.n; i++)
        MN_TRY(place(w, i));
    for (int i = 0; i < w->n; i++)
        MN_TRY(join(w, &w->item[i]));
    qsort(w->item, (size_t)w->n, sizeof *w->item, by_name);
    for (int i = 1; i < w->n; i++)
        if (by_name(&w->item[i - 1], &w->item[i]) == 0)
            return mn_fail(MN_EDATA, "%s: '%s' is there twice", w->path, w->item[i].weight.name);
    return MN_OK;
}

mn_err nn_weights_open(nn_weights **out, const char *path, nn_weights_form form)
{
    mn_err err = MN_OK;
    nn_weights *w = mn_calloc(1, sizeof *w);
    w->path = mn_strdup(path);
    w->form = form;
    MN_TRY_OUT(err, nn__open_container(&w->file, path));
    MN_TRY_OUT(err, arrange(w));
out:
    *out = err == MN_OK ? w : NULL;
    if (err != MN_OK) nn_weights_close(w);
    return err;
}

void nn_weights_close(nn_weights *w)
{
    if (!w) return;
    nn__container_close(&w->file);
    free(w->item);
    free(w->drop);
    free(w->path);
    free(w);
}

nn_weights_form nn_weights_form_of(const nn_weights *w)
{
    return w->form;
}

const char *nn_weights_container(const nn_weights *w)
{
    return w->file.kind;
}

const char *nn_weights_path(const nn_weights *w)
{
    return w->path;
}

int nn_weights_count(const nn_weights *w)
{
    return w->n;
}

const nn_weight *nn_weights_at(const nn_weights *w, int i)
{
    return &w->item[i].weight;
}

int nn_weights_find(const nn_weights *w, const char *name)
{
    int low = 0, high = w->n;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(w->item[middle].weight.name, name);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int64_t nn_weights_elements(const nn_weights *w)
{
    int64_t n = 0;
    for (int i = 0; i < w->n; i++)
        n += mn_count(w->item[i].weight.shape);
    return n;
}

mn_err nn_weights_read(const nn_weights *w, int i, float *dst)
{
    const item *it = &w->item[i];
    int64_t share = mn_count(it->weight.shape) / it->weight.parts;
    for (int k = 0; k < it->weight.parts; k++)
        MN_TRY(mn_while(w->file.read(w->file.handle, it->source[k], dst + k * share), "reading %s", w->path));
    return MN_OK;
}

int nn_weights_dropped(const nn_weights *w)
{
    return w->n_drop;
}

const char *nn_weights_dropped_at(const nn_weights *w, int i, const char **why)
{
    *why = w->drop[i].why;
    return w->drop[i].name;
}
