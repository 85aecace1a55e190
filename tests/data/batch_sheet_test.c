#include "data/batch_sheet.h"

#include "data/image.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 6, TOKENS = 2, ROWS = 10, GAP = 4 };
static const float mean[3] = {0.5f, 0.25f, 0.4f}, deviation[3] = {0.5f, 0.25f, 0.2f};

static uint8_t value(int row, int y, int x, int c)
{
    return (uint8_t)(row * 20 + y * 5 + x * 3 + c);
}

// Ten pictures: a row of eight and a row of two; one cell of four is masked.
Test(batch_sheet, pictures_are_denormalised_and_masks_are_dark)
{
    static const data_set_ops ops = {.name = "test"};
    static float image[ROWS][SIDE][SIDE][3];
    static uint8_t mask[ROWS][TOKENS][TOKENS];
    data_set set = {.ops = &ops};
    char folder[] = "/tmp/mien-test-XXXXXX";
    cr_assert(mkdtemp(folder));
    char *path = mn_sprintf("%s/sheet.png", folder);
    data_set_add_field(&set, "image", MN_F32, MN_SHAPE(SIDE, SIDE, 3));
    data_set_add_field(&set, "mask", MN_U8, MN_SHAPE(TOKENS * TOKENS));
    for (int i = 0; i < ROWS; i++) {
        mask[i][1][0] = 1;
        for (int k = 0; k < SIDE * SIDE * 3; k++) {
            int y = k / 3 / SIDE, x = k / 3 % SIDE, c = k % 3;
            image[i][y][x][c] = ((float)value(i, y, x, c) / 255 - mean[c]) / deviation[c];
        }
    }
    data_batch b = {.n_fields = 2, .rows = ROWS};
    b.field[0] = image;
    b.field[1] = mask;
    cr_assert_eq(data_batch_sheet(&set, &b, mean, deviation, path), MN_OK);
    cr_assert_eq(data_batch_sheet(&set, &b, mean, deviation, path), MN_ECREATE, "a file that is there is kept");

    char *bytes;
    size_t size;
    data_coder *coder;
    data_image png = {0};
    cr_assert_eq(mn_file_read(path, 1 << 20, &bytes, &size), MN_OK);
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    cr_assert_eq(data_image_decode(coder, bytes, size, 0, &png), MN_OK);
    cr_assert(png.width == GAP + 8 * (SIDE + GAP) && png.height == GAP + 2 * (SIDE + GAP));
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < SIDE * SIDE * 3; k++) {
            int y = k / 3 / SIDE, x = k / 3 % SIDE, c = k % 3;
            int at = ((GAP + i / 8 * (SIDE + GAP) + y) * png.width + GAP + i % 8 * (SIDE + GAP) + x) * 3 + c;
            int dark = y >= SIDE / 2 && x < SIDE / 2;
            double want = dark ? value(i, y, x, c) / 4.0 : value(i, y, x, c);
            cr_assert_float_eq((double)png.rgb[at], want, 0.51, "picture %d, pixel %d, %d", i, x, y);
        }
    cr_assert_eq(png.rgb[0], 255);
    data_image_release(&png);
    data_coder_close(coder);
    free(bytes);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rmdir(folder), 0);
    free(path);
}

Test(batch_sheet, sets_without_pictures_are_refused)
{
    static const data_set_ops ops = {.name = "test"};
    data_set set = {.ops = &ops};
    data_batch b = {0};
    data_set_add_field(&set, "image", MN_F32, MN_SHAPE(100, 768));
    cr_assert_eq(data_batch_sheet(&set, &b, mean, deviation, "/nowhere/sheet.png"), MN_ECONFIG);
}
