// Floats in 16 bits as feature files store them: IEEE 754 binary16 ("f16", 11 bits of precision, up to 65504) and
// bfloat16 ("bf16", 8 bits, the range of float). To 16 bits: to the nearest, halves to even, NaN stays NaN; beyond the
// range is infinity. From 16 bits: exact. Loops without branches, which compilers vectorise.
// Threading: pure functions.
#ifndef DATA_HALF_H
#define DATA_HALF_H

#include <stdint.h>

void data_to_f16(const float *x, int64_t n, uint16_t *y);
void data_to_bf16(const float *x, int64_t n, uint16_t *y);
void data_from_f16(const uint16_t *x, int64_t n, float *y);
void data_from_bf16(const uint16_t *x, int64_t n, float *y);

#endif
