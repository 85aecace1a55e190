// nn/ops/math.h against libm in double, over every magnitude.
#include "nn/ops/math.h"

#include <criterion/criterion.h>
#include <float.h>

#define CHUNK 1024

MN_SIMD static void many(int which, const float *restrict x, float *restrict y)
{
    if (which == 0)
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__exp(x[i]);
    else if (which == 1)
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__erf(x[i]);
    else if (which == 2)
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__tanh(x[i]);
    else if (which == 3)
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__gelu(x[i]);
    else if (which == 4)
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__gelu_grad(x[i]);
    else
        for (int i = 0; i < CHUNK; i++)
            y[i] = nn__sigmoid(x[i]);
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double exact(int which, double x)
{
    switch (which) {
    case 0:
        return exp(x);
    case 1:
        return erf(x);
    case 2:
        return tanh(x);
    case 3:
        return x * normal_cdf(x);
    case 4:
        return normal_cdf(x) + x * exp(-0.5 * x * x) / sqrt(2.0 * M_PI);
    default:
        return 1.0 / (1.0 + exp(-x));
    }
}

// One unit in the last place of the float nearest to y, at least `floor` of them.
static double ulp(double y, double least)
{
    int e;
    frexp(fmax(fabs(y), least), &e);
    return ldexp(1.0, e - 24);
}

// Largest error in ulp over a grid of [a, b]; values below `least` count as if they were that large.
static double worst(int which, double a, double b, double least)
{
    enum { CHUNKS = 300 };
    double bad = 0;

    for (int c = 0; c < CHUNKS; c++) {
        float x[CHUNK], y[CHUNK];
        for (int i = 0; i < CHUNK; i++)
            x[i] = (float)(a + (b - a) * (c * CHUNK + i) / (CHUNKS * CHUNK - 1.0));
        many(which, x, y);
        for (int i = 0; i < CHUNK; i++) {
            double want = exact(which, x[i]);
            bad = fmax(bad, fabs(y[i] - want) / ulp(want, least));
        }
    }
    return bad;
}

Test(math, accuracy)
{
    static const struct {
        const char *name;
        int which;
        double a, b, least, tol;
    } rows[] = {
        {"exp", 0, -86.8, 88.7, 0, 1.5},       {"erf near", 1, -1, 1, 0, 1.6}, {"erf", 1, -6, 6, 0, 1.6},
        {"erf tiny", 1, -1e-20, 1e-20, 0, 1},  {"tanh near", 2, -1, 1, 0, 2},  {"tanh", 2, -12, 12, 0, 2},
        {"tanh tiny", 2, -1e-20, 1e-20, 0, 1}, {"gelu", 3, -3, 8, 0, 9},       {"gelu tail", 3, -14, 0, 1e-3, 9},
        {"gelu'", 4, -14, 14, 0.5, 3},         {"sigmoid", 5, -80, 80, 0, 3},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double bad = worst(rows[i].which, rows[i].a, rows[i].b, rows[i].least);
        cr_log_info("%s: %.2f ulp", rows[i].name, bad);
        cr_expect(bad <= rows[i].tol, "%s: %.2f ulp, want %.2f", rows[i].name, bad, rows[i].tol);
    }
}

Test(math, edges)
{
    float x[CHUNK] = {0, -0.0f, INFINITY, -INFINITY, NAN, -87, -FLT_MAX, FLT_MAX, 88.722f, 88.73f, 1e20f, -1e20f};
    float y[CHUNK];

    many(0, x, y);
    cr_assert(y[0] == 1 && y[1] == 1 && y[2] == INFINITY && y[3] == 0 && isnan(y[4]));
    cr_assert(y[5] == 0 && y[6] == 0 && y[7] == INFINITY && isfinite(y[8]) && y[9] == INFINITY);
    for (int f = 1; f <= 2; f++) {
        many(f, x, y);
        cr_assert(y[0] == 0 && signbit(y[1]) && y[2] == 1 && y[3] == -1 && isnan(y[4]));
        cr_assert(y[6] == -1 && y[7] == 1);
    }
    many(3, x, y);
    cr_assert(y[0] == 0 && y[2] == INFINITY && isnan(y[4]) && y[10] == 1e20f && y[11] == 0);
    many(4, x, y);
    cr_assert(y[0] == 0.5f && isnan(y[4]) && y[10] == 1 && y[11] == 0);
}

Test(math, rows)
{
    float x[37], back[37], sum[37];
    mn_bf16 h[40];

    for (int i = 0; i < 37; i++)
        x[i] = (float)i * 0.37f - 5;
    x[5] = NAN;
    nn__store_row(h, MN_BF16, 3, x, 37);
    nn__load_row(back, h, MN_BF16, 3, 37);
    for (int i = 0; i < 37; i++)
        cr_assert(i == 5 ? isnan(back[i]) : fabsf(back[i] - x[i]) <= fabsf(x[i]) / 256, "%d", i);
    memcpy(sum, back, sizeof sum);
    nn__add_row(sum, MN_F32, 1, x, 36);
    nn__add_row(h, MN_BF16, 3, x, 37);
    cr_assert_eq(sum[1], back[1] + x[0]);
    cr_assert_eq(h[3], mn_f32_to_bf16(back[0] + x[0]));
}
