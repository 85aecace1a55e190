#include "data/randaugment.h"

#include "data/erase.h"
#include "data/mixup.h"
#include "data/warp.h"
#include "golden_file_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 28, HEIGHT = 24, BYTES = WIDTH * HEIGHT * 3 };
static const uint8_t grey_fill[3] = {124, 116, 104}, black[3] = {0};
static const char *const filters[] = {"bilinear", "bicubic"};
static const char *const names[] = {
#define NAME(kind, text) text,
    DATA_RAND_OPS(NAME)
#undef NAME
};

// tests/golden/randaugment.py: plain()
static void draw_plain(uint8_t rgb[BYTES + 1])
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                int v = (x * 7 + y * 3 * (c + 1) + c * 50 + x * y % 23 * 5) % 256;
                rgb[(y * WIDTH + x) * 3 + c] = (uint8_t)(30 + v * 3 / 5);
            }
}

static void check_equal(const golden_file *g, const char *name, const uint8_t *have)
{
    int64_t n;
    const uint8_t *want = golden_file_bytes(g, name, &n);
    cr_assert_eq(n, BYTES);
    for (int i = 0; i < BYTES; i++)
        cr_assert_eq(have[i], want[i], "%s: value %d is %d, not %d", name, i, have[i], want[i]);
}

static int has_direction(data_rand_kind k)
{
    return k == DATA_RAND_ROTATE || k >= DATA_RAND_COLOUR;
}

static int has_filter(data_rand_kind k)
{
    return k == DATA_RAND_ROTATE || k >= DATA_RAND_SHEAR_X;
}

// Value for value: these are operations on whole numbers.
Test(randaugment, operations_are_timms)
{
    static const struct {
        const char *text;
        double value;
    } magnitude[] = {{"3.3", 3.3}, {"9.4", 9.4}, {"10", 10}};
    golden_file *g = golden_file_open("randaugment.safetensors");
    static uint8_t rgb[BYTES + 1], scratch[BYTES + 1];
    int compared = 0;
    for (int k = 0; k < DATA_RAND_KINDS; k++)
        for (int m = 0; m < (k == DATA_RAND_POSTERIZE ? 2 : 3); m++)
            for (int negative = 0; negative <= has_direction((data_rand_kind)k); negative++)
                for (int f = 0; f <= has_filter((data_rand_kind)k); f++) {
                    char name[64];
                    data_rand_op op = {(data_rand_kind)k, magnitude[m].value, negative};
                    draw_plain(rgb);
                    data_rand_apply(&op, WIDTH, HEIGHT, (data_filter)f, grey_fill, rgb, scratch);
                    snprintf(name, sizeof name, "%s.%s.%d.%s", names[k], magnitude[m].text, negative, filters[f]);
                    check_equal(g, name, rgb);
                    compared++;
                }
    cr_assert_eq(compared, 101);
    golden_file_close(g);
}

Test(randaugment, posterizing_at_full_magnitude_is_black)
{
    static uint8_t rgb[BYTES + 1], scratch[BYTES + 1], none[BYTES];
    draw_plain(rgb);
    data_rand_apply(&(data_rand_op){DATA_RAND_POSTERIZE, 10, 0}, WIDTH, HEIGHT, DATA_BILINEAR, black, rgb, scratch);
    cr_assert_eq(memcmp(rgb, none, BYTES), 0);
}

// One colour, one pixel, one row: no division by nothing, nothing read outside (the sanitizers look).
Test(randaugment, degenerate_pictures_pass)
{
    static const int sizes[][2] = {{1, 1}, {2, 1}, {1, 3}, {5, 2}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int k = 0; k < DATA_RAND_KINDS; k++)
            for (int f = 0; f < 2; f++) {
                size_t bytes = (size_t)sizes[s][0] * (size_t)sizes[s][1] * 3;
                uint8_t *rgb = calloc(bytes + 1, 1), *scratch = calloc(bytes + 1, 1);
                memset(rgb, 77, bytes);
                data_rand_op op = {(data_rand_kind)k, 9, 0};
                data_rand_apply(&op, sizes[s][0], sizes[s][1], (data_filter)f, (uint8_t[]){77, 77, 77}, rgb, scratch);
                if (has_filter(op.kind) || k == DATA_RAND_EQUALIZE || k == DATA_RAND_AUTO_CONTRAST)
                    for (size_t i = 0; i < bytes; i++)
                        cr_assert_eq(rgb[i], 77, "%s changes a picture of one colour", names[k]);
                free(rgb);
                free(scratch);
            }
}

Test(randaugment, affine_changes_are_torchvisions)
{
    static const struct {
        const char *name;
        data_warp_draw draw;
    } changes[] = {{"affine.turn", {.angle = 37, .zoom = 1}},
                   {"affine.move", {.x = 4, .y = -3, .zoom = 1}},
                   {"affine.zoom", {.zoom = 0.8}},
                   {"affine.slant", {.zoom = 1, .shear = 12}},
                   {"affine.all", {-21, -2, 5, 1.25, -9}},
                   {"rotate", {.angle = -25, .zoom = 1}}}; // rotate is anticlockwise, affine is not
    golden_file *g = golden_file_open("randaugment.safetensors");
    static uint8_t rgb[BYTES + 1], out[BYTES];
    draw_plain(rgb);
    for (size_t k = 0; k < sizeof changes / sizeof *changes; k++)
        for (int f = 0; f < 2; f++) {
            char name[64];
            double m[6];
            data_warp_matrix(&changes[k].draw, WIDTH, HEIGHT, m);
            data_warp(rgb, out, WIDTH, HEIGHT, m, (data_filter)f, black);
            snprintf(name, sizeof name, "%s.%s", changes[k].name, filters[f]);
            check_equal(g, name, out);
        }
    golden_file_close(g);
}

Test(randaugment, draws_follow_the_configuration_and_the_row)
{
    data_rand cfg = {.layers = 2, .magnitude = 9, .std = 0.5, .probability = 0.5};
    data_rand_op ops[DATA_RAND_LAYERS], again[DATA_RAND_LAYERS];
    int kinds[DATA_RAND_KINDS] = {0}, applied = 0, negative = 0, most = 0;
    double sum = 0, squares = 0;
    enum { DRAWS = 30000 };
    for (int i = 0; i < DRAWS; i++) {
        int n = data_rand_draw(&cfg, (data_draw){1, 2, i}, ops);
        cr_assert(n >= 0 && n <= 2);
        cr_assert_eq(data_rand_draw(&cfg, (data_draw){1, 2, i}, again), n);
        for (int k = 0; k < n; k++) {
            cr_assert(ops[k].kind == again[k].kind && ops[k].magnitude == again[k].magnitude);
            cr_assert(ops[k].magnitude >= 0 && ops[k].magnitude <= 10);
            kinds[ops[k].kind]++;
            negative += ops[k].negative;
            most += ops[k].magnitude == 10;
            sum += ops[k].magnitude;
            squares += ops[k].magnitude * ops[k].magnitude;
        }
        applied += n;
    }
    cr_assert(abs(applied - DRAWS) < 5 * 173 && abs(negative - applied / 2) < 5 * 87, "%d %d", applied, negative);
    for (int k = 0; k < DATA_RAND_KINDS; k++)
        cr_assert(abs(kinds[k] - applied / DATA_RAND_KINDS) < 220, "%s: %d of %d", names[k], kinds[k], applied);
    double mean = sum / applied, deviation = sqrt(squares / applied - mean * mean);
    cr_assert(fabs(mean - 9) < 0.02 && fabs(deviation - 0.5) < 0.02, "%g +- %g", mean, deviation);
    double share = (double)most / applied; // 2.3 % of N(9, 0.5) lie above 10
    cr_assert(fabs(share - 0.0228) < 0.005, "%g at the limit", share);
}

Test(randaugment, erased_boxes_are_timms)
{
    golden_file *g = golden_file_open("randaugment.safetensors");
    int64_t n;
    const float *row = golden_file_get(g, "erase", &n);
    cr_assert_eq(n % 8, 0);
    for (int64_t i = 0; i < n; i += 8, row += 8) { // share, ratio, top, left -> y, x, height, width
        data_box box;
        double area = (double)row[0] * WIDTH * HEIGHT, ratio = exp(log(0.3) + (double)row[1] * -2 * log(0.3));
        cr_assert(data_erase_fit(area, ratio, WIDTH, HEIGHT, &box));
        cr_assert(box.height == (int)row[6] && box.width == (int)row[7], "%d x %d", box.width, box.height);
    }
    golden_file_close(g);
}

Test(randaugment, erasing_takes_its_share_and_fills_as_told)
{
    enum { SIDE = 40, DRAWS = 4000 };
    static float rgb[SIDE * SIDE * 3], again[SIDE * SIDE * 3];
    int erased = 0;
    double share = 0, sum = 0, squares = 0, values = 0;
    for (int i = 0; i < DRAWS; i++) {
        data_erase cfg = {0.25, (data_erase_fill)(i % 3)};
        data_draw draw = {7, 1, i};
        data_box box = data_erase_box(&cfg, SIDE, SIDE, draw);
        for (int k = 0; k < SIDE * SIDE * 3; k++)
            rgb[k] = again[k] = 5;
        data_erase_apply(&cfg, draw, SIDE, SIDE, rgb);
        data_erase_apply(&cfg, draw, SIDE, SIDE, again);
        cr_assert_eq(memcmp(rgb, again, sizeof rgb), 0);
        cr_assert(box.x >= 0 && box.y >= 0 && box.x + box.width <= SIDE && box.y + box.height <= SIDE);
        erased += box.width > 0;
        share += (double)box.width * box.height / (SIDE * SIDE);
        for (int k = 0; k < SIDE * SIDE * 3; k++) {
            int x = k / 3 % SIDE, y = k / 3 / SIDE;
            int inside = x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
            int first = (box.y * SIDE + box.x) * 3 + k % 3;
            cr_assert(inside || rgb[k] == 5, "outside the box");
            if (!inside) continue;
            cr_assert(rgb[k] != 5);
            if (cfg.fill == DATA_ERASE_MEAN) cr_assert_eq(rgb[k], 0);
            if (cfg.fill == DATA_ERASE_COLOUR) cr_assert_eq(rgb[k], rgb[first]);
            if (cfg.fill != DATA_ERASE_PIXELS) continue;
            sum += (double)rgb[k];
            squares += (double)(rgb[k] * rgb[k]);
            values++;
        }
    }
    cr_assert(abs(erased - DRAWS / 4) < 140, "%d of %d", erased, DRAWS);
    cr_assert(share / erased > 0.15 && share / erased < 0.19, "share %g", share / erased);
    cr_assert(fabs(sum / values) < 0.02 && fabs(squares / values - 1) < 0.02, "noise is not N(0, 1)");
}

Test(randaugment, cut_boxes_are_timms)
{
    golden_file *g = golden_file_open("randaugment.safetensors");
    int64_t n;
    const float *row = golden_file_get(g, "cut", &n);
    cr_assert_eq(n % 8, 0);
    for (int64_t i = 0; i < n; i += 8, row += 8) { // share, y, x -> top, bottom, left, right, corrected share
        data_mixture m = data_mixup_box((double)row[0], (int)row[1], (int)row[2], HEIGHT, WIDTH);
        cr_assert(m.top == (int)row[3] && m.bottom == (int)row[4] && m.left == (int)row[5] && m.right == (int)row[6],
                  "%d..%d, %d..%d", m.top, m.bottom, m.left, m.right);
        cr_assert_float_eq(m.keep, row[7], 1e-7);
    }
    golden_file_close(g);
}
