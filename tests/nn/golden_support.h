// Golden values of the public reference implementations: closed-form weights and inputs, and stored results to compare
// with. tests/golden/README.md defines both; tests/golden/golden.py is the same in Python.
#ifndef GOLDEN_SUPPORT_H
#define GOLDEN_SUPPORT_H

#include "nn/params.h"

// Element i of a tensor, by its name and shape alone.
float golden_value(const char *name, mn_shape shape, int64_t i);
// The same before centre and amplitude: [-1, 1).
double golden_uniform(const char *name, int64_t i);
// Sets every parameter and buffer to its closed form.
void golden_fill(nn_params *ps);

typedef struct golden golden;
golden *golden_open(const char *file); // in tests/golden; aborts when it cannot be read
void golden_close(golden *g);
int golden_count(const golden *g);
const char *golden_name(const golden *g, int i);
// Values of a stored tensor, NULL if it is not there.
const float *golden_get(const golden *g, const char *name, int64_t *count);

// How far x is from the stored tensor `name` (whole, or projected) in L2: estimated from the projections when only those
// are stored. *norm is that of the stored one. Negative: it is not stored, or the sizes differ.
double golden_distance(const golden *g, const char *name, const float *x, int64_t count, double *norm);

#endif
