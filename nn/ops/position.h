// The sinusoidal position table (Vaswani et al. 2017, section 3.5), made once at plan time for every device.
// Threading: pure function.
#ifndef NN_OPS_POSITION_H
#define NN_OPS_POSITION_H

#include <math.h>
#include <stdint.h>

static inline void nn__position_table(float *table, int64_t frames, int64_t width) // (T, C)
{
    for (int64_t t = 0; t < frames; t++) {
        for (int64_t k = 0; k < width; k++) {
            double angle = (double)t * pow(10000.0, -(double)(k & ~(int64_t)1) / (double)width);
            table[t * width + k] = (float)(k & 1 ? cos(angle) : sin(angle));
        }
    }
}

#endif
