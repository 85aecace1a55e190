// Feature vectors as the fusion networks take them: standardised each by itself, and stretched to one width.
// Source: the released CCA code (namho-96/ABAW2024). Threading: any thread.
#ifndef DATA_VECTOR_H
#define DATA_VECTOR_H

#include <stdint.h>

// out (width) = (v - mean) / (deviation + 1e-6) of vector (dim), which is overwritten; where the widths differ by linear
// interpolation along channels, as PyTorch's with align_corners=False.
void data_vector_fit(float *vector, int64_t dim, float *out, int64_t width);

#endif
