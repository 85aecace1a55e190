// Resizing of relative position tables, against scipy's bivariate spline (tests/golden/bias_table.py).
#include "nn/bias_table.h"
#include "golden_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { HEADS = 3 };

Test(bias_table, agrees_with_scipy)
{
    static const int windows[][2] = {{6, 7}, {12, 14}, {6, 8}, {6, 12}, {7, 6}, {4, 3}, {3, 4}};
    golden *gold = golden_open("bias_table.safetensors");
    for (size_t k = 0; k < sizeof windows / sizeof windows[0]; k++) {
        int64_t from = 2 * windows[k][0] - 1, to = 2 * windows[k][1] - 1;
        char *input = mn_sprintf("input.table.%d", windows[k][0]);
        char *stored = mn_sprintf("%dto%d", windows[k][0], windows[k][1]);
        float *src = mn_calloc((size_t)(from * from * HEADS), sizeof *src);
        float *dst = mn_calloc((size_t)(to * to * HEADS), sizeof *dst);
        for (int64_t i = 0; i < from * from * HEADS; i++)
            src[i] = golden_value(input, MN_SHAPE(from, from, HEADS), i);
        cr_assert_eq(nn_bias_table_resize(src, from, dst, to, HEADS), MN_OK, "%s", mn_errmsg());
        double norm = 0, distance = golden_distance(gold, stored, dst, to * to * HEADS, &norm);
        cr_expect(distance >= 0 && distance <= 1e-6 * norm, "%s: off by %g of %g", stored, distance, norm);
        free(src);
        free(dst);
        free(input);
        free(stored);
    }
    golden_close(gold);
}

Test(bias_table, windows_of_one_and_two)
{
    static const float one[1] = {3}, nine[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    float dst[9 * 9];
    cr_assert_eq(nn_bias_table_resize(one, 1, dst, 5, 1), MN_OK);
    for (int i = 0; i < 25; i++)
        cr_expect_eq(dst[i], 3);
    // A plane stays a plane, and the middle stays in the middle.
    cr_assert_eq(nn_bias_table_resize(nine, 3, dst, 3, 1), MN_OK);
    for (int i = 0; i < 9; i++)
        cr_expect_float_eq(dst[i], nine[i], 1e-5f, "%d: %g", i, (double)dst[i]);
    cr_assert_eq(nn_bias_table_resize(nine, 3, dst, 9, 1), MN_OK);
    cr_expect_float_eq(dst[40], 5, 1e-5f);
    for (int i = 0; i < 81; i++)
        cr_expect(isfinite(dst[i]) && dst[i] >= 1 - 1e-5f && dst[i] <= 9 + 1e-5f, "%d: %g", i, (double)dst[i]);
}

Test(bias_table, refuses_even_and_huge_sides)
{
    float x[1] = {0};
    cr_expect_eq(nn_bias_table_resize(x, 2, x, 3, 1), MN_ECONFIG);
    cr_expect_eq(nn_bias_table_resize(x, 3, x, 257, 1), MN_ECONFIG);
    cr_expect_eq(nn_bias_table_resize(x, 0, x, 3, 1), MN_ECONFIG);
}
