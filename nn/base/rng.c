#include "nn/base/rng.h"

#include "nn/base/err.h"
#include "nn/base/simd.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

uint64_t mn_rng_key(uint64_t seed, const char *purpose)
{
    return seed ^ XXH3_64bits(purpose, strlen(purpose));
}

// The 128-bit counter: row (48 bits), tick (48 bits), block (32 bits).
mn_rng4 mn_rng_block(uint64_t key, uint64_t row, uint64_t tick, uint32_t block)
{
    philox4x32_ctr_t counter = {
        {(uint32_t)row, (uint32_t)(row >> 32 & 0xffff) | (uint32_t)(tick >> 32) << 16, (uint32_t)tick, block}};
    philox4x32_key_t words = {{(uint32_t)key, (uint32_t)(key >> 32)}};
    philox4x32_ctr_t out = philox4x32_R(10, counter, words);
    return (mn_rng4){{out.v[0], out.v[1], out.v[2], out.v[3]}};
}

// Philox written out so that the compiler runs one block per vector lane; the library's form handles one at a time.
MN_SIMD void mn_rng_blocks(uint64_t key, uint64_t row, uint64_t tick, uint32_t first, int64_t n, uint32_t *out)
{
    uint32_t c0 = (uint32_t)row, c1 = (uint32_t)(row >> 32 & 0xffff) | (uint32_t)(tick >> 32) << 16;

    for (int64_t i = 0; i < n; i++) {
        uint32_t a = c0, b = c1, c = (uint32_t)tick, d = first + (uint32_t)i;
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < 10; round++) {
            uint64_t p = (uint64_t)PHILOX_M4x32_0 * a, q = (uint64_t)PHILOX_M4x32_1 * c;
            a = (uint32_t)(q >> 32) ^ b ^ k0;
            b = (uint32_t)q;
            c = (uint32_t)(p >> 32) ^ d ^ k1;
            d = (uint32_t)p;
            k0 += PHILOX_W32_0;
            k1 += PHILOX_W32_1;
        }
        out[4 * i] = a;
        out[4 * i + 1] = b;
        out[4 * i + 2] = c;
        out[4 * i + 3] = d;
    }
}

mn_stream_rng mn_rng_open(uint64_t key, uint64_t row, uint64_t tick)
{
    return (mn_stream_rng){.key = key, .row = row, .tick = tick};
}

uint32_t mn_rng_u32(mn_stream_rng *r)
{
    if (r->next % 4 == 0) r->block = mn_rng_block(r->key, r->row, r->tick, r->next / 4);
    return r->block.v[r->next++ % 4];
}

float mn_rng_uniform(mn_stream_rng *r)
{
    return mn_uniform(mn_rng_u32(r));
}

// 53 bits: [0, 1).
static double uniform53(mn_stream_rng *r)
{
    uint64_t high = mn_rng_u32(r), low = mn_rng_u32(r);
    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

double mn_rng_range(mn_stream_rng *r, double a, double b)
{
    double x = a + (b - a) * uniform53(r);
    return x < b || !(a < b) ? x : a; // rounding may reach b
}

float mn_rng_normal(mn_stream_rng *r)
{
    double radius = sqrt(-2.0 * log(1.0 - uniform53(r))); // 1 - u is never 0
    return (float)(radius * cos(2.0 * M_PI * uniform53(r)));
}

// Lemire's multiply-and-reject (2019, "Fast Random Integer Generation in an Interval"), on 64 bits.
int64_t mn_rng_below(mn_stream_rng *r, int64_t n)
{
    mn_assert(n >= 1);
    uint64_t range = (uint64_t)n, floor = (0 - range) % range;
    for (;;) {
        uint64_t high = mn_rng_u32(r), low = mn_rng_u32(r);
        unsigned __int128 product = (unsigned __int128)(high << 32 | low) * range;
        if ((uint64_t)product >= floor) return (int64_t)(product >> 64);
    }
}

// Both parameters at most 1: Joehnk's, in logarithms so that small parameters do not underflow. Else: Cheng's BA
// (1978, "Generating beta variates with nonintegral shape parameters").
double mn_rng_beta(mn_stream_rng *r, double a, double b)
{
    mn_assert(a > 0 && b > 0 && isfinite(a) && isfinite(b));
    if (a <= 1 && b <= 1) {
        for (;;) {
            double x = log(1.0 - uniform53(r)) / a, y = log(1.0 - uniform53(r)) / b; // logs of u^(1/a), v^(1/b)
            double top = x > y ? x : y, sum = top + log(exp(x - top) + exp(y - top));
            if (sum <= 0) return exp(x - sum);
        }
    }
    double alpha = a + b, least = a < b ? a : b;
    double beta = least > 1 ? sqrt((alpha - 2) / (2 * a * b - alpha)) : 1 / least;
    double gamma = a + 1 / beta;
    for (;;) {
        double u = 1.0 - uniform53(r), v = 1.0 - uniform53(r);
        if (u >= 1) continue;
        double t = beta * log(u / (1 - u)), w = a * exp(t);
        if (!isfinite(w)) return 1;
        if (alpha * log(alpha / (b + w)) + gamma * t - log(4.0) >= log(u * u * v)) return w / (b + w);
    }
}

// The finaliser of MurmurHash3 (Appleby): every bit of the input moves every bit of the output.
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

// A balanced Feistel network on the smallest even number of bits that holds n is a bijection of at most 4n values, or
// of 256; walking along its cycle until the value is below n again is one of [0, n) (Black and Rogaway, 2002).
int64_t mn_rng_permute(uint64_t key, int64_t n, int64_t index)
{
    mn_assert(n >= 1 && index >= 0 && index < n);
    enum { ROUNDS = 6 };
    int bits = n > 1 ? 64 - __builtin_clzll((uint64_t)n - 1) : 1;
    int half = bits < 8 ? 4 : (bits + 1) / 2; // on fewer bits the orders are measurably not equally likely
    uint64_t mask = ((uint64_t)1 << half) - 1, x = (uint64_t)index;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 1; round <= ROUNDS; round++) {
            uint64_t next = left ^ (mix(right ^ (key + round * 0x9e3779b97f4a7c15ull)) & mask);
            left = right;
            right = next;
        }
        x = left << half | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
