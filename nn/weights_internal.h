// What weights.c (our view of a file) and the readers of containers share.
#ifndef NN_WEIGHTS_INTERNAL_H
#define NN_WEIGHTS_INTERNAL_H

#include "nn/weights.h"

// A file as its container shows it: named arrays, under the names of whoever wrote it.
typedef struct nn__array {
    char *name;
    mn_shape shape;
    const char *stored; // "F32", ...; NULL: a type that weights do not have (indices, counters)
} nn__array;

typedef struct nn__container {
    const char *kind;
    void *handle;
    nn__array *array;
    int n;
    mn_err (*read)(void *handle, int i, float *dst);
    void (*close)(void *handle);
} nn__container;

void nn__container_close(nn__container *c);
// By the first bytes of the file.
MN_MUST_CHECK mn_err nn__open_container(nn__container *c, const char *path);
MN_MUST_CHECK mn_err nn__open_pth(nn__container *c, const char *path, int zip); // zip, or the form before it

#endif
