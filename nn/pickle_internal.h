// The values that pickle_vm.c makes and pickle.c reads.
#ifndef NN_PICKLE_INTERNAL_H
#define NN_PICKLE_INTERNAL_H

#include "nn/pickle.h"

typedef enum nn__pickled_kind {
    NN_PICKLED_MARK,
    NN_PICKLED_NONE,
    NN_PICKLED_INTEGER,
    NN_PICKLED_LONG, // wider than 64 bits: only that it is there
    NN_PICKLED_FLOAT,
    NN_PICKLED_TEXT,
    NN_PICKLED_LIST, // lists and tuples
    NN_PICKLED_DICT, // item: key, value, key, value
    NN_PICKLED_NAME, // of a class or function
    NN_PICKLED_STORAGE,
    NN_PICKLED_TENSOR,
    NN_PICKLED_OBJECT, // of a class we do not know
} nn__pickled_kind;

typedef struct nn__pickled {
    nn__pickled_kind kind;
    int64_t integer;
    nn_pickle_text text, module; // TEXT; NAME: module and name
    struct nn__pickled **item;
    int64_t n, capacity;
    int storage;              // STORAGE: index
    nn_pickle_tensor *tensor; // TENSOR: storage, offset, shape and strides
} nn__pickled;

struct nn_pickle {
    const char *what; // for messages
    nn__pickled **block;
    int64_t blocks, values; // values are allocated in blocks, in order
    nn__pickled *root;
    nn_pickle_storage *storage;
    int storages;
    nn_pickle_tensor *tensor;
    int tensors;
    int64_t visits;
};

enum { NN_PICKLE_BLOCK = 256 };

int nn__text_is(nn_pickle_text t, const char *text);
nn__pickled *nn__pickled_new(nn_pickle *p, nn__pickled_kind kind);
void nn__pickled_push(nn__pickled *list, nn__pickled *v);
// Runs the opcodes; sets p->root and p->storage.
mn_err nn__pickle_run(nn_pickle *p, const unsigned char *bytes, size_t size, size_t *used);
// What PyTorch's two functions make of their arguments; every number is checked against the storage.
mn_err nn__rebuild_storage(nn_pickle *p, const nn__pickled *id, nn__pickled **out);
mn_err nn__rebuild_tensor(nn_pickle *p, const nn__pickled *arguments, nn__pickled **out);

#endif
