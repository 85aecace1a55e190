// Element types and shapes, below everything else so that every layer can name them.
// Shapes are row-major and contiguous, always; the last dimension is the fastest.
// Threading: pure functions.
#ifndef MN_SHAPE_H
#define MN_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#define MN_MAX_DIMS 6

typedef enum mn_dtype { MN_F32, MN_BF16, MN_F64, MN_I32, MN_I64, MN_U8 } mn_dtype;

typedef struct mn_shape {
    int n;
    int64_t d[MN_MAX_DIMS];
} mn_shape;

// MN_SHAPE(8, 3, 192): a shape literal.
#define MN_SHAPE(...) ((mn_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})

size_t mn_dtype_size(mn_dtype t);      // bytes
const char *mn_dtype_name(mn_dtype t); // "f32", "bf16", ...
int64_t mn_count(mn_shape s);          // product of the dimensions, 1 for a scalar (n = 0)
int mn_shape_equal(mn_shape a, mn_shape b);
int64_t mn_last(mn_shape s); // size of the last dimension
int64_t mn_rows(mn_shape s); // mn_count / mn_last
// "(8, 3, 192)" into text; returns text.
const char *mn_shape_text(mn_shape s, char *text, size_t size);

// bfloat16 <-> float, round to nearest even; NaN stays NaN.
typedef uint16_t mn_bf16;
static inline float mn_bf16_to_f32(mn_bf16 v)
{
    union {
        uint32_t u;
        float f;
    } x = {(uint32_t)v << 16};
    return x.f;
}
static inline mn_bf16 mn_f32_to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f};
    uint32_t rounded = x.u + 0x7fffu + ((x.u >> 16) & 1u), quiet_nan = x.u | 0x400000u;
    return (mn_bf16)((f != f ? quiet_nan : rounded) >> 16); // in whole words, which vectorises well
}

#endif
