// A set whose every byte is a known function of (sample, draw), for tests of the loader and the order.
#ifndef TESTS_DATA_LOADER_SUPPORT_H
#define TESTS_DATA_LOADER_SUPPORT_H

#include "data/loader.h"

enum { PIXELS = 24 };

typedef struct counting_set {
    data_set base;
    int64_t bad; // reading this sample fails; -1: none
    _Atomic int64_t scratches;
    _Atomic int64_t prefetched, reads; // calls
    // In the first `watched` reads: the fewest samples that were asked for and not read yet.
    int64_t watched;
    _Atomic int64_t ahead;
} counting_set;

counting_set counting_set_make(int64_t count);
float counting_pixel(int64_t index, data_draw draw, int pixel);
#endif
