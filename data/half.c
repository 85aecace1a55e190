#include "data/half.h"

#include "nn/base/shape.h"

typedef union bits {
    float f;
    uint32_t u;
} bits;

// Numbers below 2^-14 have no hidden bit: added to 0.5, whose last bit is 2^-24 as theirs is, they are rounded by the
// addition, and what is behind the bits of 0.5 is the result. Above, the exponent is moved by 127 - 15, and the carry of
// rounding the 13 lost bits may go into it, up to infinity.
static uint16_t to_f16(float x)
{
    bits v = {x}, small, half = {.f = 0.5f};
    uint32_t sign = v.u >> 16 & 0x8000, size = v.u & 0x7fffffff;
    small.u = size;
    small.f += half.f;
    uint32_t tiny = small.u - half.u, normal = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t finite = size < 113u << 23 ? tiny : normal;
    uint32_t large = size > 0x7f800000 ? 0x7e00 | (size >> 13 & 0x3ff) : 0x7c00;
    return (uint16_t)(sign | (size < 0x47800000 ? finite : large)); // 65536 and more
}

// Exponent and fraction moved into place, then times 2^112: right for numbers without a hidden bit as well.
static float from_f16(uint16_t x)
{
    bits v = {.u = (uint32_t)(x & 0x7fff) << 13}, scale = {.u = (127u + 112u) << 23};
    uint32_t special = (x & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
    v.f *= scale.f;
    v.u |= special | (uint32_t)(x & 0x8000) << 16;
    return v.f;
}

void data_to_f16(const float *x, int64_t n, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = to_f16(x[i]);
}

void data_to_bf16(const float *x, int64_t n, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = mn_f32_to_bf16(x[i]);
}

void data_from_f16(const uint16_t *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = from_f16(x[i]);
}

void data_from_bf16(const uint16_t *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = mn_bf16_to_f32(x[i]);
}
