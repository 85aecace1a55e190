// What a PyTorch pickle says about tensors, without running anything from it. The reader knows the opcodes of plain
// data and a short list of names (tensor and storage types, OrderedDict);
// any other class becomes an object without meaning, and nothing is ever called.
//
//     nn_pickle *p;
//     MN_TRY(nn_pickle_parse(&p, bytes, size, "model.pth"));
//     for (int i = 0; i < nn_pickle_count(p); i++) ... nn_pickle_at(p, i)->name, ->storage, ->shape, ->stride ...
//     nn_pickle_free(p);
//
// Errors: MN_EDATA for anything that is not such a pickle; memory is bounded by a small multiple of the size.
// Threading: pure functions of (bytes, size); texts of the result point into `bytes`.
#ifndef NN_PICKLE_H
#define NN_PICKLE_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

#include <stdint.h>

typedef enum nn_pickle_type {
    NN_PICKLE_F32,
    NN_PICKLE_F64,
    NN_PICKLE_F16,
    NN_PICKLE_BF16,
    NN_PICKLE_INTEGER, // any integer or boolean type: not for weights
} nn_pickle_type;

// A piece of text inside the pickle, not ended by 0.
typedef struct nn_pickle_text {
    const char *at;
    size_t size;
} nn_pickle_text;

typedef struct nn_pickle_tensor {
    char name[160]; // keys on the way to it, joined by dots, below "model" or "state_dict" if there is one
    nn_pickle_type type;
    nn_pickle_text storage; // key of the storage: data/<key> in a zip
    int64_t offset;         // in elements
    mn_shape shape;
    int64_t stride[MN_MAX_DIMS]; // in elements
} nn_pickle_tensor;

typedef struct nn_pickle nn_pickle;
// Reads one pickle from the start of bytes; *used, if not NULL, gets its length (legacy files hold several).
MN_MUST_CHECK mn_err nn_pickle_parse(nn_pickle **out, const void *bytes, size_t size, const char *what, size_t *used);
void nn_pickle_free(nn_pickle *p);

int nn_pickle_count(const nn_pickle *p);
const nn_pickle_tensor *nn_pickle_at(const nn_pickle *p, int i);

// The storages the pickle mentions, in the order of first mention.
typedef struct nn_pickle_storage {
    nn_pickle_text key;
    nn_pickle_type type;
    int width;     // bytes per element
    int64_t count; // elements
} nn_pickle_storage;
int nn_pickle_storages(const nn_pickle *p);
const nn_pickle_storage *nn_pickle_storage_at(const nn_pickle *p, int i);

// For pickles that are plain data: whether the root is an integer; the length of the list that it is, and item i of it,
// if that is a text.
int nn_pickle_integer(const nn_pickle *p, int64_t *value);
int64_t nn_pickle_texts(const nn_pickle *p);
int nn_pickle_text_at(const nn_pickle *p, int64_t i, nn_pickle_text *text);

#endif
