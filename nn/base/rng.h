// Randomness as a pure function (Philox4x32-10, Random123): a number depends on the seed, what it is for, which row of
// the global data it is for, when, and which element; never on rank, thread, or how often it is asked for.
//
//     uint64_t key = mn_rng_key(seed, "augment");               // purpose, or the path of a graph node
//     mn_rng4 u = mn_rng_block(key, row, step, element / 4);    // four 32-bit numbers
//     float x = mn_uniform(u.v[element % 4]);
//
// Threading: pure functions.
#ifndef MN_RNG_H
#define MN_RNG_H

#include <stdint.h>

typedef struct mn_rng4 {
    uint32_t v[4];
} mn_rng4;

// seed mixed with the XXH3-64 hash of the purpose.
uint64_t mn_rng_key(uint64_t seed, const char *purpose);
// row < 2^48: global position of the row; tick < 2^48: step or epoch; block: element / 4.
mn_rng4 mn_rng_block(uint64_t key, uint64_t row, uint64_t tick, uint32_t block);

// The same for n consecutive blocks starting at `first`, many at a time: out[4 i + j] is number j of block first + i.
void mn_rng_blocks(uint64_t key, uint64_t row, uint64_t tick, uint32_t first, int64_t n, uint32_t *out);

// [0, 1), 24 bits.
static inline float mn_uniform(uint32_t u)
{
    return (float)(u >> 8) * 0x1p-24f;
}

// A stream over the blocks of one (key, row, tick), for code that needs an unknown number of values.
typedef struct mn_stream_rng {
    uint64_t key, row, tick;
    uint32_t next;
    mn_rng4 block;
} mn_stream_rng;
mn_stream_rng mn_rng_open(uint64_t key, uint64_t row, uint64_t tick);
uint32_t mn_rng_u32(mn_stream_rng *r);
float mn_rng_uniform(mn_stream_rng *r);                    // [0, 1)
double mn_rng_range(mn_stream_rng *r, double a, double b); // [a, b)
float mn_rng_normal(mn_stream_rng *r);                     // N(0, 1), Box-Muller
int64_t mn_rng_below(mn_stream_rng *r, int64_t n);         // [0, n), without modulo bias
double mn_rng_beta(mn_stream_rng *r, double a, double b);  // Beta(a, b), Joehnk / Cheng

// Keyed permutation of [0, n): where `index` goes. Cycle-walking Feistel network: O(1) memory, any n >= 1.
int64_t mn_rng_permute(uint64_t key, int64_t n, int64_t index);

#endif
