// Tensors in files that other tools read: a length (u64, little-endian), a JSON header, the data.
// (huggingface/safetensors, README "Format".)
//
//     nn_safetensors *f; MN_TRY(nn_safetensors_open(&f, "model.safetensors"));
//     const nn_safetensor *t = nn_safetensors_find(f, "head.weight");
//     if (t) MN_TRY(nn_safetensors_read_f32(f, t, values));          // (mn_count(t->shape))
//     nn_safetensors_close(f);
//
//     nn_safetensor e[] = {{.name = "head.weight", .dtype = NN_SAFETENSORS_BF16, .shape = MN_SHAPE(8, 768)}};
//     MN_TRY(nn_safetensors_write("out.safetensors", e, (const float *[]){values}, 1, NULL, 0));
//
// Files are not trusted: every length is held against the size of the file, names are unique UTF-8, spans are disjoint
// and leave no hole, a header of more than 100 MB or 131,072 tensors is refused, and memory stays in proportion to the
// header. Whatever is wrong is MN_EDATA with the byte where it is; a missing file is MN_ENOINPUT.
// Data is read with pread, not mapped: a disk that fails or a file that shrinks is an error, not a signal.
// Threading: an open file may be read by any thread.
#ifndef NN_SAFETENSORS_H
#define NN_SAFETENSORS_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

// X(name, text in the header, bytes)
#define NN_SAFETENSORS_DTYPES(X)                                                                                       \
    X(F32, "F32", 4)                                                                                                   \
    X(BF16, "BF16", 2)                                                                                                 \
    X(F16, "F16", 2)                                                                                                   \
    X(F64, "F64", 8)                                                                                                   \
    X(I64, "I64", 8)                                                                                                   \
    X(I32, "I32", 4)                                                                                                   \
    X(I16, "I16", 2)                                                                                                   \
    X(I8, "I8", 1)                                                                                                     \
    X(U64, "U64", 8)                                                                                                   \
    X(U32, "U32", 4)                                                                                                   \
    X(U16, "U16", 2)                                                                                                   \
    X(U8, "U8", 1)                                                                                                     \
    X(BOOL, "BOOL", 1)                                                                                                 \
    X(F8_E4M3, "F8_E4M3", 1)                                                                                           \
    X(F8_E5M2, "F8_E5M2", 1)
typedef enum nn_safetensors_dtype {
#define NN_SAFETENSORS_ENUM(name, text, bytes) NN_SAFETENSORS_##name,
    NN_SAFETENSORS_DTYPES(NN_SAFETENSORS_ENUM)
#undef NN_SAFETENSORS_ENUM
} nn_safetensors_dtype;
size_t nn_safetensors_dtype_size(nn_safetensors_dtype t);
const char *nn_safetensors_dtype_name(nn_safetensors_dtype t);

typedef struct nn_safetensor {
    char name[256];
    nn_safetensors_dtype dtype;
    mn_shape shape;
    size_t begin, end; // bytes, from the start of the data
} nn_safetensor;

typedef struct nn_safetensors_pair { // of the metadata
    const char *key, *value;
} nn_safetensors_pair;

typedef struct nn_safetensors nn_safetensors;

MN_MUST_CHECK mn_err nn_safetensors_open(nn_safetensors **out, const char *path);
// A whole file in memory, borrowed until close; `name` stands for it in messages.
MN_MUST_CHECK mn_err nn_safetensors_parse(nn_safetensors **out, const void *bytes, size_t size, const char *name);
void nn_safetensors_close(nn_safetensors *f);

int64_t nn_safetensors_count(const nn_safetensors *f);
const nn_safetensor *nn_safetensors_at(const nn_safetensors *f, int64_t i);          // in the order of the data
const nn_safetensor *nn_safetensors_find(const nn_safetensors *f, const char *name); // NULL if absent
const char *nn_safetensors_metadata(const nn_safetensors *f, const char *key);       // NULL if absent

// All values as float: F32, BF16, F16 and F64. Other types and values that are not finite are MN_EDATA.
MN_MUST_CHECK mn_err nn_safetensors_read_f32(const nn_safetensors *f, const nn_safetensor *t, float *out);

// What goes before the data when the tensors follow in this order without gaps: length and padded JSON. Fills begin and
// end. For callers that stream the data themselves. *bytes is freed by the caller.
MN_MUST_CHECK mn_err nn_safetensors_header(nn_safetensor *tensors, int64_t n, const nn_safetensors_pair *metadata,
                                           int64_t n_metadata, char **bytes, size_t *size);
// Writes a file, whole or not at all: larger elements first, then by name. data[i] holds the values of tensors[i],
// stored as its dtype says: F32 or BF16.
MN_MUST_CHECK mn_err nn_safetensors_write(const char *path, const nn_safetensor *tensors, const float *const *data,
                                          int64_t n, const nn_safetensors_pair *metadata, int64_t n_metadata);

#endif
