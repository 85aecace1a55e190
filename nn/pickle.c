// From the values of a pickle to tensors with names.
#include "nn/pickle_internal.h"

#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 8, MAX_VISITS = 1 << 20, MAX_STORAGES = 1 << 14 };

int nn__text_is(nn_pickle_text t, const char *text)
{
    return t.size == strlen(text) && memcmp(t.at, text, t.size) == 0;
}

nn__pickled *nn__pickled_new(nn_pickle *p, nn__pickled_kind kind)
{
    if (p->values == p->blocks * NN_PICKLE_BLOCK) {
        p->block = mn_realloc(p->block, (size_t)p->blocks + 1, sizeof *p->block);
        p->block[p->blocks++] = mn_calloc(NN_PICKLE_BLOCK, sizeof **p->block);
    }
    nn__pickled *v = &p->block[p->values / NN_PICKLE_BLOCK][p->values % NN_PICKLE_BLOCK];
    p->values++;
    v->kind = kind;
    return v;
}

void nn__pickled_push(nn__pickled *list, nn__pickled *v)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 4;
        list->item = mn_realloc(list->item, (size_t)list->capacity, sizeof *list->item);
    }
    list->item[list->n++] = v;
}

// --- storages and tensors ---

static int storage_type(const nn__pickled *name, nn_pickle_type *type, int *width)
{
    static const struct {
        const char *name;
        nn_pickle_type type;
        int width;
    } types[] = {{"FloatStorage", NN_PICKLE_F32, 4},     {"DoubleStorage", NN_PICKLE_F64, 8},
                 {"HalfStorage", NN_PICKLE_F16, 2},      {"BFloat16Storage", NN_PICKLE_BF16, 2},
                 {"LongStorage", NN_PICKLE_INTEGER, 8},  {"IntStorage", NN_PICKLE_INTEGER, 4},
                 {"ShortStorage", NN_PICKLE_INTEGER, 2}, {"CharStorage", NN_PICKLE_INTEGER, 1},
                 {"ByteStorage", NN_PICKLE_INTEGER, 1},  {"BoolStorage", NN_PICKLE_INTEGER, 1}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (name->kind == NN_PICKLED_NAME && nn__text_is(name->module, "torch") &&
            nn__text_is(name->text, types[i].name)) {
            *type = types[i].type;
            *width = types[i].width;
            return 1;
        }
    return 0;
}

static int find_storage(const nn_pickle *p, nn_pickle_text key)
{
    for (int i = 0; i < p->storages; i++)
        if (p->storage[i].key.size == key.size && memcmp(p->storage[i].key.at, key.at, key.size) == 0) return i;
    return -1;
}

// ("storage", type, key, location, elements, ...)
mn_err nn__rebuild_storage(nn_pickle *p, const nn__pickled *id, nn__pickled **out)
{
    nn_pickle_storage s = {0};
    if (id->kind != NN_PICKLED_LIST || id->n < 5 || id->item[2]->kind != NN_PICKLED_TEXT ||
        id->item[4]->kind != NN_PICKLED_INTEGER || id->item[4]->integer < 0 ||
        !storage_type(id->item[1], &s.type, &s.width))
        return mn_fail(MN_EDATA, "%s: a storage that is not PyTorch's", p->what);
    s.key = id->item[2]->text;
    s.count = id->item[4]->integer;
    if (s.count > (int64_t)1 << 48)
        return mn_fail(MN_EDATA, "%s: a storage of %lld elements", p->what, (long long)s.count);
    int i = find_storage(p, s.key);
    if (i < 0) {
        if (p->storages == MAX_STORAGES) return mn_fail(MN_EDATA, "%s: more than %d storages", p->what, MAX_STORAGES);
        p->storage = mn_realloc(p->storage, (size_t)p->storages + 1, sizeof *p->storage);
        i = p->storages++;
        p->storage[i] = s;
    } else if (p->storage[i].type != s.type || p->storage[i].count != s.count) {
        return mn_fail(MN_EDATA, "%s: storage '%.*s' is described in two ways", p->what, (int)s.key.size, s.key.at);
    }
    *out = nn__pickled_new(p, NN_PICKLED_STORAGE);
    (*out)->storage = i;
    return MN_OK;
}

static int read_sizes(const nn__pickled *list, int64_t *d, int *n)
{
    if (list->kind != NN_PICKLED_LIST || list->n > MN_MAX_DIMS) return 0;
    *n = (int)list->n;
    for (int i = 0; i < *n; i++) {
        if (list->item[i]->kind != NN_PICKLED_INTEGER || list->item[i]->integer < 0) return 0;
        d[i] = list->item[i]->integer;
    }
    return 1;
}

// Whether every element lies in a storage of `count`. Sizes and strides are not negative.
static int inside(const nn_pickle_tensor *t, int64_t count)
{
    int64_t last = t->offset, elements = 1;
    for (int i = 0; i < t->shape.n; i++) {
        if (t->shape.d[i] == 0) return t->offset <= count;
        if (elements > count * 64 / t->shape.d[i]) return 0; // a view may repeat elements, within reason
        elements *= t->shape.d[i];
        if (t->stride[i] && t->shape.d[i] - 1 > (count - last) / t->stride[i]) return 0;
        last += (t->shape.d[i] - 1) * t->stride[i];
    }
    return last < count;
}

// _rebuild_tensor_v2(storage, offset, size, stride, ...)
mn_err nn__rebuild_tensor(nn_pickle *p, const nn__pickled *a, nn__pickled **out)
{
    nn_pickle_tensor t = {0};
    int strides = 0;
    if (a->n < 4 || a->item[0]->kind != NN_PICKLED_STORAGE || a->item[1]->kind != NN_PICKLED_INTEGER ||
        a->item[1]->integer < 0 || !read_sizes(a->item[2], t.shape.d, &t.shape.n) ||
        !read_sizes(a->item[3], t.stride, &strides) || strides != t.shape.n)
        return mn_fail(MN_EDATA, "%s: a tensor that is not PyTorch's", p->what);
    const nn_pickle_storage *s = &p->storage[a->item[0]->storage];
    t.type = s->type;
    t.storage = s->key;
    t.offset = a->item[1]->integer;
    if (t.offset > s->count || !inside(&t, s->count))
        return mn_fail(MN_EDATA, "%s: a tensor reaches beyond storage '%.*s'", p->what, (int)s->key.size, s->key.at);
    *out = nn__pickled_new(p, NN_PICKLED_TENSOR);
    (*out)->tensor = mn_calloc(1, sizeof t);
    *(*out)->tensor = t;
    return MN_OK;
}

// --- names ---

static mn_err add_tensor(nn_pickle *p, const nn__pickled *v, const char *name)
{
    p->tensor = mn_realloc(p->tensor, (size_t)p->tensors + 1, sizeof *p->tensor);
    nn_pickle_tensor *t = &p->tensor[p->tensors++];
    *t = *v->tensor;
    snprintf(t->name, sizeof t->name, "%s", name);
    return MN_OK;
}

static mn_err walk(nn_pickle *p, const nn__pickled *v, const char *name, int depth)
{
    if (++p->visits > MAX_VISITS) return mn_fail(MN_EDATA, "%s: more than %d values", p->what, MAX_VISITS);
    if (v->kind == NN_PICKLED_TENSOR) return name[0] ? add_tensor(p, v, name) : MN_OK;
    if (v->kind != NN_PICKLED_DICT || depth == MAX_DEPTH) return MN_OK;
    for (int64_t i = 0; i < v->n; i += 2) {
        char longer[sizeof p->tensor->name];
        const nn__pickled *key = v->item[i];
        if (key->kind != NN_PICKLED_TEXT) continue;
        int n = snprintf(longer, sizeof longer, "%s%s%.*s", name, name[0] ? "." : "",
                         (int)(key->text.size > sizeof longer ? sizeof longer : key->text.size), key->text.at);
        if (n >= (int)sizeof longer || memchr(key->text.at, 0, key->text.size))
            return mn_fail(MN_EDATA, "%s: a tensor's name is too long or has a 0 in it", p->what);
        MN_TRY(walk(p, v->item[i + 1], longer, depth + 1));
    }
    return MN_OK;
}

// Training scripts put the weights beside optimiser and options.
static const nn__pickled *weights_of(const nn__pickled *root)
{
    static const char *const keys[] = {"model", "state_dict", "model_state_dict", NULL};
    for (int k = 0; keys[k] && root->kind == NN_PICKLED_DICT; k++)
        for (int64_t i = 0; i < root->n; i += 2)
            if (root->item[i]->kind == NN_PICKLED_TEXT && nn__text_is(root->item[i]->text, keys[k]) &&
                root->item[i + 1]->kind == NN_PICKLED_DICT)
                return root->item[i + 1];
    return root;
}

mn_err nn_pickle_parse(nn_pickle **out, const void *bytes, size_t size, const char *what, size_t *used)
{
    mn_err err = MN_OK;
    nn_pickle *p = mn_calloc(1, sizeof *p);
    p->what = what;
    MN_TRY_OUT(err, nn__pickle_run(p, bytes, size, used));
    MN_TRY_OUT(err, walk(p, weights_of(p->root), "", 0));
out:
    *out = err == MN_OK ? p : NULL;
    if (err != MN_OK) nn_pickle_free(p);
    return err;
}

void nn_pickle_free(nn_pickle *p)
{
    if (!p) return;
    for (int64_t i = 0; i < p->values; i++) {
        nn__pickled *v = &p->block[i / NN_PICKLE_BLOCK][i % NN_PICKLE_BLOCK];
        free(v->item);
        free(v->tensor);
    }
    for (int64_t i = 0; i < p->blocks; i++)
        free(p->block[i]);
    free(p->block);
    free(p->storage);
    free(p->tensor);
    free(p);
}

int nn_pickle_count(const nn_pickle *p)
{
    return p->tensors;
}

const nn_pickle_tensor *nn_pickle_at(const nn_pickle *p, int i)
{
    return &p->tensor[i];
}

int nn_pickle_storages(const nn_pickle *p)
{
    return p->storages;
}

const nn_pickle_storage *nn_pickle_storage_at(const nn_pickle *p, int i)
{
    return &p->storage[i];
}

int nn_pickle_integer(const nn_pickle *p, int64_t *value)
{
    *value = p->root->integer;
    return p->root->kind == NN_PICKLED_INTEGER;
}

int64_t nn_pickle_texts(const nn_pickle *p)
{
    return p->root->kind == NN_PICKLED_LIST ? p->root->n : 0;
}

int nn_pickle_text_at(const nn_pickle *p, int64_t i, nn_pickle_text *text)
{
    *text = p->root->item[i]->text;
    return p->root->item[i]->kind == NN_PICKLED_TEXT;
}
