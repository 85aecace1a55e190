// PyTorch pickles from outside. Whatever is accepted has named tensors whose every element lies in its storage.
// fuzz-sources: nn/pickle.c nn/pickle_vm.c
#include "nn/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static const nn_pickle_storage *storage_of(const nn_pickle *p, const nn_pickle_tensor *t)
{
    for (int i = 0; i < nn_pickle_storages(p); i++) {
        const nn_pickle_storage *s = nn_pickle_storage_at(p, i);
        if (s->key.size == t->storage.size && memcmp(s->key.at, t->storage.at, s->key.size) == 0) return s;
    }
    return NULL;
}

static void check(const nn_pickle *p, const nn_pickle_tensor *t)
{
    const nn_pickle_storage *s = storage_of(p, t);
    int64_t last = t->offset, elements = 1;
    require(s && s->type == t->type, "a tensor without its storage");
    require(t->name[0] && strlen(t->name) < sizeof t->name, "a tensor without a name");
    for (int i = 0; i < t->shape.n; i++) {
        require(t->shape.d[i] >= 0 && t->stride[i] >= 0, "a negative size");
        elements *= t->shape.d[i];
        last += t->shape.d[i] ? (t->shape.d[i] - 1) * t->stride[i] : 0;
    }
    require(elements == 0 || last < s->count, "an element beyond its storage");
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size)
{
    nn_pickle *p;
    size_t used = 0;
    int64_t value;
    nn_pickle_text text;
    if (nn_pickle_parse(&p, bytes, size, "fuzz", &used) != MN_OK) return 0;
    require(used <= size, "more was used than there is");
    for (int i = 0; i < nn_pickle_count(p); i++)
        check(p, nn_pickle_at(p, i));
    nn_pickle_integer(p, &value);
    for (int64_t i = 0; i < nn_pickle_texts(p); i++)
        nn_pickle_text_at(p, i, &text);
    nn_pickle_free(p);
    return 0;
}
