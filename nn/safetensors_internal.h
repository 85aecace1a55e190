// Shared by safetensors_parse.c (the header as a pure function over its bytes) and safetensors.c (files and values).
#ifndef NN_SAFETENSORS_INTERNAL_H
#define NN_SAFETENSORS_INTERNAL_H

#include "nn/safetensors.h"

enum {
    NN__MAX_HEADER = 100000000,
    NN__MAX_TENSORS = 131072,
    NN__MAX_PAIRS = 4096,
    NN__MAX_METADATA = 16 << 20, // bytes of keys and values
};

typedef struct nn__tensors {
    nn_safetensor *tensor; // (n) in the order of the data
    int64_t n, room;
    const nn_safetensor **by_name; // (n)
    char *text;                    // keys and values of the metadata, each ended by a 0 byte
    size_t text_size, text_room;
    size_t pair[NN__MAX_PAIRS]; // where in text each key starts; its value follows
    int64_t n_pairs;
} nn__tensors;

// header: what stands behind the length; data_bytes: what stands behind the header. `out` is released by nn__tensors_free,
// also after an error.
MN_MUST_CHECK mn_err nn__safetensors_parse(nn__tensors *out, const char *header, size_t size, size_t data_bytes,
                                           const char *file);
void nn__tensors_free(nn__tensors *t);

#endif
