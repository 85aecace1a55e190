#include "data/augment.h"

#include "data/image.h"
#include "golden_file_support.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 50, HEIGHT = 40, SIZE = 24 };

// tests/golden/augment.py: picture()
static uint8_t *picture(int width, int height)
{
    uint8_t *rgb = mn_calloc((size_t)width * (size_t)height, 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                rgb[(y * width + x) * 3 + c] = (uint8_t)((x * 7 + y * 3 * (c + 1) + c * 50 + x * y % 23 * 5) % 256);
    return rgb;
}

static void check_close(const float *have, const float *want, int64_t n, double tolerance, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        cr_assert(fabs((double)have[i] - (double)want[i]) <= tolerance, "%s: value %lld is %g, not %g", what,
                  (long long)i, (double)have[i], (double)want[i]);
}

static void resample(const uint8_t *rgb, const int box[4], data_filter filter, int mirrored, float *out)
{
    static const float one[3] = {1, 1, 1}, zero[3] = {0};
    data_taps across = {0}, down = {0};
    data_axis x = {box[0], box[2], box[0], box[0] + box[2], SIZE, mirrored};
    data_axis y = {box[1], box[3], box[1], box[1] + box[3], SIZE, 0};
    cr_assert_eq(data_taps_fill(&across, &x, filter), MN_OK);
    cr_assert_eq(data_taps_fill(&down, &y, filter), MN_OK);
    float *row = mn_calloc((size_t)data_resample_scratch(&across), sizeof *row);
    data_resample(rgb + (box[1] * WIDTH + box[0]) * 3, WIDTH * 3, &across, &down, one, zero, 1, row, MN_F32, out);
    free(row);
    data_taps_free(&across);
    data_taps_free(&down);
}

static const char *const filters[] = {"bilinear", "bicubic"};

Test(augment, resized_crops_are_torchvisions)
{
    static const struct {
        const char *name;
        int box[4];
    } boxes[] = {
        {"down", {5, 3, 37, 29}}, {"up", {10, 4, 13, 17}}, {"whole", {0, 0, 50, 40}}, {"corner", {38, 31, 12, 9}}};
    golden_file *g = golden_file_open("augment.safetensors");
    uint8_t *rgb = picture(WIDTH, HEIGHT);
    static float out[SIZE * SIZE * 3], mirrored[SIZE * SIZE * 3];
    for (int f = 0; f < 2; f++)
        for (size_t b = 0; b < sizeof boxes / sizeof boxes[0]; b++) {
            char name[64];
            int64_t n;
            snprintf(name, sizeof name, "%s.%s", filters[f], boxes[b].name);
            const float *want = golden_file_get(g, name, &n);
            cr_assert_eq(n, SIZE * SIZE * 3);
            resample(rgb, boxes[b].box, (data_filter)f, 0, out);
            check_close(out, want, n, 2e-6, name);
            resample(rgb, boxes[b].box, (data_filter)f, 1, mirrored);
            for (int i = 0; i < SIZE * SIZE; i++) {
                int other = i / SIZE * SIZE + SIZE - 1 - i % SIZE;
                check_close(mirrored + i * 3, out + other * 3, 3, 1e-6, "mirrored");
            }
        }
    free(rgb);
    golden_file_close(g);
}

Test(augment, evaluation_takes_torchvisions_middle)
{
    golden_file *g = golden_file_open("augment.safetensors");
    uint8_t *rgb = picture(WIDTH, HEIGHT);
    data_coder *c;
    const uint8_t *png;
    size_t size;
    cr_assert_eq(data_coder_open(&c), MN_OK);
    cr_assert_eq(data_png_encode(c, rgb, WIDTH, HEIGHT, 3, &png, &size), MN_OK);
    static float out[SIZE * SIZE * 3];
    for (int f = 0; f < 2; f++)
        for (int k = 0; k < 2; k++) {
            char name[64];
            int64_t n;
            data_augment cfg = {.size = SIZE, .centre = k ? 1 : 0.875, .filter = (data_filter)f};
            data_augmenter *a;
            cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
            cr_assert_eq(data_augment_picture(a, png, size, (data_draw){0}, out), MN_OK);
            snprintf(name, sizeof name, "%s.centre%s", filters[f], k ? "1.0" : "0.875");
            const float *want = golden_file_get(g, name, &n);
            // Resize and crop are one box here: the bicubic overshoot is cut once, after both passes, in both.
            check_close(out, want, n, 3e-6, name);
            data_augmenter_close(a);
        }
    data_coder_close(c);
    free(rgb);
    golden_file_close(g);
}

Test(augment, colour_jitter_is_torchvisions)
{
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}, {1, 3, 0, 2}};
    golden_file *g = golden_file_open("augment.safetensors");
    uint8_t *rgb = picture(16, 16);
    for (int k = 0; k < 4; k++) {
        char name[32];
        float image[16 * 16 * 3];
        for (int i = 0; i < 16 * 16 * 3; i++)
            image[i] = (float)rgb[i] / 255;
        data_jitter j = {.brightness = 1.3f, .contrast = 0.7f, .saturation = 1.4f, .hue = 0.13f};
        memcpy(j.order, orders[k], sizeof j.order);
        data_jitter_apply(&j, image, 16 * 16);
        snprintf(name, sizeof name, "jitter.%d%d%d%d", orders[k][0], orders[k][1], orders[k][2], orders[k][3]);
        int64_t n;
        const float *want = golden_file_get(g, name, &n);
        check_close(image, want, n, 2e-5, name);
    }
    free(rgb);
    golden_file_close(g);
}

static data_augment cropping(void)
{
    data_augment cfg = data_augment_simmim(SIZE, 1);
    cfg.scale[0] = 0.2;
    return cfg;
}

Test(augment, crops_have_the_drawn_area_ratio_and_place)
{
    data_augment cfg = cropping();
    int flips = 0, left = 0, top = 0, n = 4000;
    double area = 0;
    for (int i = 0; i < n; i++) {
        data_crop c = data_augment_crop(&cfg, 200, 160, (data_draw){3, 1, i});
        double ratio = c.width / c.height;
        cr_assert(c.x >= 0 && c.y >= 0 && c.x + c.width <= 200 && c.y + c.height <= 160);
        cr_assert(c.low_x == (int)c.x && c.high_x == (int)(c.x + c.width), "the filter stays inside the crop");
        cr_assert(ratio > 0.73 && ratio < 1.37, "ratio %g", ratio);
        area += c.width * c.height / (200 * 160);
        flips += c.flip;
        left += c.x < (200 - c.width) / 2;
        top += c.y < (160 - c.height) / 2;
    }
    // Areas are uniform over (0.2, 1) but for those too large for their ratio, which are drawn again.
    cr_assert(area / n > 0.5 && area / n < 0.6, "mean area %g", area / n);
    cr_assert(abs(flips - n / 2) < 160 && abs(left - n / 2) < 200 && abs(top - n / 2) < 200, "%d %d %d", flips, left,
              top);
}

Test(augment, crops_without_a_fit_fall_back_to_the_middle)
{
    data_augment cfg = cropping();
    cfg.scale[0] = cfg.scale[1] = 1; // the whole area at a ratio of 3/4..4/3 never fits into 300 x 100
    data_crop c = data_augment_crop(&cfg, 300, 100, (data_draw){0});
    cr_assert(c.width == 133 && c.height == 100 && c.x == 83 && c.y == 0, "%g x %g at %g, %g", c.width, c.height, c.x,
              c.y);
    c = data_augment_crop(&cfg, 100, 300, (data_draw){0});
    cr_assert(c.width == 100 && c.height == 133 && c.x == 0 && c.y == 83);
}

Test(augment, draws_depend_on_seed_epoch_and_row_and_options_do_not_disturb_each_other)
{
    data_augment cfg = cropping(), other = cfg;
    cfg.brightness = other.brightness = 0.4;
    other.flip = 1;
    other.saturation = 0.4;
    static const data_draw draws[] = {{1, 2, 3}, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
    data_crop base = data_augment_crop(&cfg, 200, 160, draws[0]);
    for (int i = 0; i < 4; i++) {
        data_crop c = data_augment_crop(&other, 200, 160, draws[i]);
        cr_assert_eq(c.x == base.x && c.y == base.y && c.width == base.width, i == 0);
        cr_assert_eq(data_augment_jitter(&other, draws[i]).brightness == data_augment_jitter(&cfg, draws[0]).brightness,
                     i == 0);
    }
}

Test(augment, jitter_factors_have_their_range)
{
    data_augment cfg = {.brightness = 0.4, .contrast = 0.3, .saturation = 2, .hue = 0.1};
    int first[4] = {0};
    double low = 9, high = 0;
    for (int i = 0; i < 4000; i++) {
        data_jitter j = data_augment_jitter(&cfg, (data_draw){5, 0, i});
        first[j.order[0]]++;
        cr_assert_eq(1 << j.order[0] | 1 << j.order[1] | 1 << j.order[2] | 1 << j.order[3], 15);
        cr_assert(j.brightness >= 0.6f && j.brightness <= 1.4f && j.contrast >= 0.7f && j.contrast <= 1.3f);
        cr_assert(j.saturation >= 0 && j.saturation <= 3 && fabsf(j.hue) <= 0.1f);
        low = fmin(low, (double)j.brightness);
        high = fmax(high, (double)j.brightness);
    }
    cr_assert(low < 0.61 && high > 1.39);
    for (int k = 0; k < 4; k++)
        cr_assert(first[k] > 850 && first[k] < 1150);
    data_jitter none = data_augment_jitter(&(data_augment){0}, (data_draw){5, 0, 0});
    cr_assert(none.brightness == 1 && none.contrast == 1 && none.saturation == 1 && none.hue == 0);
}

// One pass of a training picture is the same as its steps one after the other.
Test(augment, the_fused_pass_is_its_steps)
{
    enum { W = 120, H = 90 };
    uint8_t *rgb = picture(W, H);
    data_coder *coder;
    data_augmenter *a;
    const uint8_t *jpeg;
    size_t size;
    data_image full = {0};
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    cr_assert_eq(data_jpeg_encode(coder, rgb, W, H, 95, 0, &jpeg, &size), MN_OK);
    data_augment cfg = data_augment_simmim(SIZE, 1);
    cfg.brightness = cfg.contrast = cfg.saturation = 0.4;
    cfg.hue = 0.1;
    cfg.scale[0] = 0.05; // small crops, so that nothing is decoded at a reduced size
    cfg.scale[1] = 0.1;
    cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
    cr_assert_eq(data_image_decode(coder, jpeg, size, 0, &full), MN_OK);
    static float out[SIZE * SIZE * 3], want[SIZE * SIZE * 3];
    static const float one[3] = {1, 1, 1}, zero[3] = {0};
    data_taps across = {0}, down = {0};
    static float row[4 * (W * 3 + 1 + SIZE * 3)];
    for (int i = 0; i < 50; i++) {
        data_draw draw = {9, 1, i};
        cr_assert_eq(data_augment_picture(a, jpeg, size, draw, out), MN_OK);
        data_crop c = data_augment_crop(&cfg, W, H, draw);
        data_axis x = {c.x, c.width, c.low_x, c.high_x, SIZE, c.flip}, y = {c.y, c.height, c.low_y, c.high_y, SIZE, 0};
        cr_assert_eq(data_taps_fill(&across, &x, DATA_BILINEAR), MN_OK);
        cr_assert_eq(data_taps_fill(&down, &y, DATA_BILINEAR), MN_OK);
        cr_assert_leq(data_resample_scratch(&across), (int64_t)(sizeof row / sizeof *row));
        data_resample(full.rgb + (c.low_y * W + c.low_x) * 3, W * 3, &across, &down, one, zero, 0, row, MN_F32, want);
        data_jitter j = data_augment_jitter(&cfg, draw);
        data_jitter_apply(&j, want, SIZE * SIZE);
        for (int p = 0; p < SIZE * SIZE * 3; p++)
            want[p] = (want[p] - cfg.mean[p % 3]) / cfg.std[p % 3];
        check_close(out, want, SIZE * SIZE * 3, 1e-5, "training picture");
    }
    data_taps_free(&across);
    data_taps_free(&down);
    data_image_release(&full);
    data_augmenter_close(a);
    data_coder_close(coder);
    free(rgb);
}

// A picture that needs no resizing: what comes out are the steps on its own values, in the documented order.
Test(augment, steps_on_eight_bits_come_in_order)
{
    enum { VALUES = SIZE * SIZE * 3 };
    uint8_t *drawn = picture(SIZE, SIZE), rgb[VALUES + 1] = {0}; // data_warp reads one byte more
    memcpy(rgb, drawn, VALUES);
    free(drawn);
    data_coder *coder;
    const uint8_t *png;
    size_t size;
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    cr_assert_eq(data_png_encode(coder, rgb, SIZE, SIZE, 3, &png, &size), MN_OK);
    data_augment all = data_augment_simmim(SIZE, 1);
    all.scale[1] = 0;
    all.flip = 0;
    all.filter = DATA_BICUBIC;
    all.affine = (data_affine){0.7, 20, 0.2, {0.8, 1}, 5};
    all.rand = (data_rand){2, 9, 0.5, 0.5};
    all.erase = (data_erase){0.25, DATA_ERASE_PIXELS};
    all.brightness = all.contrast = 0.3;
    int changed[3] = {0};
    for (int which = 1; which < 16; which++) { // each step alone, and together
        data_augment cfg = all;
        data_augmenter *a;
        if (!(which & 1)) cfg.affine.probability = 0;
        if (!(which & 2)) cfg.brightness = cfg.contrast = 0;
        if (!(which & 4)) cfg.rand.layers = 0;
        if (!(which & 8)) cfg.erase.probability = 0;
        cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
        for (int i = 0; i < 12; i++) {
            static float out[VALUES], want[VALUES];
            static uint8_t eight[VALUES + 1], scratch[VALUES + 1];
            data_draw draw = {9, 1, i};
            data_warp_draw w;
            data_rand_op ops[DATA_RAND_LAYERS];
            double m[6];
            cr_assert_eq(data_augment_picture(a, png, size, draw, out), MN_OK);
            memcpy(eight, rgb, VALUES);
            if (data_augment_warp(&cfg.affine, SIZE, SIZE, draw, &w)) {
                data_warp_matrix(&w, SIZE, SIZE, m);
                data_warp(rgb, eight, SIZE, SIZE, m, DATA_BICUBIC, (uint8_t[]){0, 0, 0});
                changed[0]++;
            }
            for (int k = 0; k < VALUES; k++)
                want[k] = (float)eight[k] / 255;
            data_jitter j = data_augment_jitter(&cfg, draw);
            data_jitter_apply(&j, want, SIZE * SIZE);
            int n = data_rand_draw(&cfg.rand, draw, ops);
            if (cfg.rand.layers)
                for (int k = 0; k < VALUES; k++)
                    eight[k] = (uint8_t)(want[k] * 255 + 0.5f);
            for (int k = 0; k < n; k++)
                data_rand_apply(&ops[k], SIZE, SIZE, DATA_BICUBIC, (uint8_t[]){124, 116, 104}, eight, scratch);
            changed[1] += n > 0;
            for (int k = 0; k < VALUES; k++) {
                if (cfg.rand.layers) want[k] = (float)eight[k] / 255;
                want[k] = (want[k] - cfg.mean[k % 3]) / cfg.std[k % 3];
            }
            data_erase_apply(&cfg.erase, draw, SIZE, SIZE, want);
            changed[2] += data_erase_box(&cfg.erase, SIZE, SIZE, draw).width > 0;
            check_close(out, want, VALUES, 1e-5, "picture");
        }
        data_augmenter_close(a);
    }
    cr_assert(changed[0] && changed[1] && changed[2]);
    data_coder_close(coder);
}

// The same numbers, rounded once, whatever is done to the picture.
Test(augment, bf16_is_f32_rounded_at_the_end)
{
    enum { W = 120, H = 90, VALUES = SIZE * SIZE * 3 };
    uint8_t *rgb = picture(W, H);
    data_coder *coder;
    const uint8_t *jpeg;
    size_t size;
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    cr_assert_eq(data_jpeg_encode(coder, rgb, W, H, 95, 0, &jpeg, &size), MN_OK);
    for (int which = 0; which < 16; which++) {
        static float wide[VALUES];
        static mn_bf16 narrow[VALUES + 1];
        data_augment cfg = data_augment_simmim(SIZE, which != 15);
        data_augmenter *a, *b;
        if (which & 1) cfg.rand = (data_rand){2, 9, 0.5, 0.5};
        if (which & 2) cfg.erase = (data_erase){0.5, DATA_ERASE_PIXELS};
        if (which & 4) cfg.saturation = 0.4;
        if (which & 8) cfg.filter = DATA_BICUBIC;
        cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
        cfg.dtype = MN_BF16;
        cr_assert_eq(data_augmenter_open(&b, &cfg), MN_OK);
        for (int i = 0; i < 8; i++) {
            narrow[VALUES] = 0x1234;
            cr_assert_eq(data_augment_picture(a, jpeg, size, (data_draw){9, 1, i}, wide), MN_OK);
            cr_assert_eq(data_augment_picture(b, jpeg, size, (data_draw){9, 1, i}, narrow), MN_OK);
            for (int k = 0; k < VALUES; k++)
                cr_assert_eq(narrow[k], mn_f32_to_bf16(wide[k]), "options %d, value %d", which, k);
            cr_assert_eq(narrow[VALUES], 0x1234, "written behind the picture");
        }
        data_augmenter_close(a);
        data_augmenter_close(b);
    }
    data_coder_close(coder);
    free(rgb);
}

Test(augment, grey_is_the_brightness_in_all_channels)
{
    uint8_t *rgb = picture(WIDTH, HEIGHT);
    data_coder *c;
    const uint8_t *png;
    size_t size;
    static float colour[SIZE * SIZE * 3], grey[SIZE * SIZE * 3];
    cr_assert_eq(data_coder_open(&c), MN_OK);
    cr_assert_eq(data_png_encode(c, rgb, WIDTH, HEIGHT, 3, &png, &size), MN_OK);
    for (int k = 0; k < 2; k++) {
        data_augment cfg = {.size = SIZE, .grey = k};
        data_augmenter *a;
        cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
        cr_assert_eq(data_augment_picture(a, png, size, (data_draw){0}, k ? grey : colour), MN_OK);
        data_augmenter_close(a);
    }
    for (int i = 0; i < SIZE * SIZE; i++) {
        const float *p = colour + 3 * i;
        float want = 0.2989f * p[0] + 0.587f * p[1] + 0.114f * p[2];
        for (int k = 0; k < 3; k++)
            cr_assert_float_eq(grey[3 * i + k], want, 1e-6);
    }
    data_coder_close(c);
    free(rgb);
}

// Decoding at 1/2 .. 1/8 replaces part of the antialiasing filter: the result stays close to the exact one.
Test(augment, reduced_decoding_stays_close)
{
    enum { W = 640, H = 480 };
    uint8_t *rgb = mn_calloc(W * H, 3);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++)
                rgb[(y * W + x) * 3 + c] =
                    (uint8_t)(128 + 60 * sin(0.05 * x + c) + 50 * cos(0.043 * y) + 10 * ((x / 3 + y / 5) % 2));
    data_coder *coder;
    const uint8_t *bytes;
    size_t size;
    cr_assert_eq(data_coder_open(&coder), MN_OK);
    cr_assert_eq(data_jpeg_encode(coder, rgb, W, H, 95, 1, &bytes, &size), MN_OK);
    uint8_t *jpeg = mn_calloc(size, 1);
    memcpy(jpeg, bytes, size);
    size_t jpeg_size = size;
    cr_assert_eq(data_png_encode(coder, rgb, W, H, 3, &bytes, &size), MN_OK); // PNG is never reduced
    data_augment cfg = {.size = 56, .train = 1, .scale = {0.5, 1}, .ratio = {0.8, 1.25}, .flip = 0.5};
    data_augmenter *a;
    cr_assert_eq(data_augmenter_open(&a, &cfg), MN_OK);
    static float x[56 * 56 * 3], y[56 * 56 * 3];
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(data_augment_picture(a, jpeg, jpeg_size, (data_draw){1, 0, i}, x), MN_OK);
        cr_assert_eq(data_augment_picture(a, bytes, size, (data_draw){1, 0, i}, y), MN_OK);
        double sum = 0;
        for (int p = 0; p < 56 * 56 * 3; p++)
            sum += (double)((x[p] - y[p]) * (x[p] - y[p]));
        double rms = 255 * sqrt(sum / (56 * 56 * 3));
        cr_assert_lt(rms, 2, "rms %g of 255", rms);
    }
    data_augmenter_close(a);
    data_coder_close(coder);
    free(jpeg);
    free(rgb);
}

Test(augment, masks_have_exactly_their_cells_and_prefer_none)
{
    enum { CELLS = 6, TOKENS = 8, SIDE = CELLS * TOKENS, DRAWS = 20000 };
    static uint8_t mask[SIDE * SIDE];
    int64_t seen[CELLS * CELLS] = {0}, pairs = 0;
    for (int i = 0; i < DRAWS; i++) {
        data_mask_draw(CELLS, TOKENS, 0.6, (data_draw){4, 2, i}, mask);
        int masked = 0;
        for (int cell = 0; cell < CELLS * CELLS; cell++) {
            const uint8_t *corner = mask + cell / CELLS * TOKENS * SIDE + cell % CELLS * TOKENS;
            masked += corner[0];
            seen[cell] += corner[0];
            if (i < 50)
                for (int y = 0; y < TOKENS; y++)
                    for (int x = 0; x < TOKENS; x++)
                        cr_assert_eq(corner[y * SIDE + x], corner[0], "a cell is masked in part");
        }
        cr_assert_eq(masked, 22);
        pairs += mask[0] && mask[TOKENS];
    }
    double share = 22.0 / 36, chi = 0;
    for (int cell = 0; cell < CELLS * CELLS; cell++)
        chi += pow((double)seen[cell] - DRAWS * share, 2) / (DRAWS * share * (1 - share));
    cr_assert(chi < 36 + 6 * sqrt(72.0), "cells are preferred: %g", chi);
    double both = DRAWS * 22.0 * 21 / (36 * 35);
    cr_assert(fabs((double)pairs - both) < 6 * sqrt(both), "neighbours are not independent: %lld", (long long)pairs);
    data_mask_draw(CELLS, TOKENS, 0.6, (data_draw){4, 2, 7}, mask);
    uint8_t again[SIDE * SIDE], next[SIDE * SIDE];
    data_mask_draw(CELLS, TOKENS, 0.6, (data_draw){4, 2, 7}, again);
    data_mask_draw(CELLS, TOKENS, 0.6, (data_draw){4, 3, 7}, next);
    cr_assert_eq(memcmp(mask, again, sizeof again), 0);
    cr_assert_neq(memcmp(mask, next, sizeof next), 0);
}
