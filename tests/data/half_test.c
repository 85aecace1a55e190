// 16-bit floats: every one of them, every number half way between two neighbours, and the floats beside those.
#include "data/half.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

// The value of a binary16 by its definition.
static double value(unsigned h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -v : v;
}

static unsigned narrow(float x)
{
    uint16_t y;
    data_to_f16(&x, 1, &y);
    return y;
}

Test(half, every_binary16_comes_back)
{
    for (unsigned h = 0; h < 0x10000; h++) {
        uint16_t x = (uint16_t)h;
        float y;
        data_from_f16(&x, 1, &y);
        if ((h & 0x7c00) == 0x7c00) {
            cr_assert(h & 1023 ? isnan(y) : isinf(y) && !signbit(y) == !(h >> 15), "%04x", h);
            if (h & 1023) {
                cr_assert((narrow(y) & 0x7c00) == 0x7c00 && (narrow(y) & 1023), "%04x", h);
                continue;
            }
        } else {
            cr_assert(y == value(h) && !signbit(y) == !(h >> 15), "%04x is %g", h, (double)y);
        }
        cr_assert_eq(narrow(y), h, "%04x became %04x", h, narrow(y));
    }
}

Test(half, halves_go_to_even)
{
    for (unsigned h = 0; h < 0x7c00; h++) { // 0x7c00, infinity, stands for 65536 here
        double next = h == 0x7bff ? 65536 : value(h + 1), middle = (value(h) + next) / 2; // exact in float
        unsigned even = h & 1 ? h + 1 : h;
        float m = (float)middle;
        cr_assert_eq((double)m, middle);
        cr_assert_eq(narrow(m), even, "between %04x and the next: %04x", h, narrow(m));
        cr_assert_eq(narrow(-m), even | 0x8000);
        cr_assert_eq(narrow(nextafterf(m, 0)), h);
        cr_assert_eq(narrow(nextafterf(m, INFINITY)), h + 1);
    }
    cr_assert(narrow(1e30f) == 0x7c00 && narrow(-INFINITY) == 0xfc00 && narrow(0x1p-149f) == 0);
}

Test(half, bfloat16)
{
    float x[] = {1, 1.00390625f, 1.01171875f, -0.0f, INFINITY, NAN, 1e-40f}, y[7];
    uint16_t b[7];
    data_to_bf16(x, 7, b);
    data_from_bf16(b, 7, y);
    cr_assert(y[0] == 1 && y[1] == 1 && y[2] == 1.015625f && signbit(y[3]) && isinf(y[4]) && isnan(y[5]));
    cr_assert_float_eq(y[6], 1e-40f, 0x1p-134f);
}
