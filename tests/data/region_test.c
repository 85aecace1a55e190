#include "data/region.h"

#include "data/image.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

// A picture with edges and texture, so that a pixel in the wrong place is another value.
static uint8_t *picture(int width, int height)
{
    uint8_t *rgb = mn_calloc((size_t)width * (size_t)height, 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                double v = 128 + 60 * sin(0.11 * x * (c + 1) + 0.05 * y) + 40 * cos(0.07 * y * (3 - c)) +
                           (x / 9 % 2 ^ y / 7 % 2 ? 20 : -20);
                rgb[(y * width + x) * 3 + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    return rgb;
}

typedef struct jpeg {
    unsigned char *bytes;
    unsigned long size;
} jpeg;

static jpeg encode(const uint8_t *rgb, int width, int height, int sampling, int flags)
{
    jpeg j = {0};
    tjhandle h = tjInitCompress();
    cr_assert_eq(tjCompress2(h, rgb, width, 0, height, TJPF_RGB, &j.bytes, &j.size, sampling, 92, flags), 0);
    tjDestroy(h);
    return j;
}

static uint8_t *decode_whole(jpeg j, int width, int height)
{
    uint8_t *rgb = mn_calloc((size_t)width * (size_t)height, 3);
    tjhandle h = tjInitDecompress();
    cr_assert_eq(tjDecompress2(h, j.bytes, j.size, rgb, width, 0, height, TJPF_RGB, 0), 0);
    tjDestroy(h);
    return rgb;
}

static const int samplings[] = {TJSAMP_420, TJSAMP_422, TJSAMP_444, TJSAMP_440, TJSAMP_GRAY};
enum { SAMPLINGS = sizeof samplings / sizeof samplings[0] };

static void check_box(const data_region *p, const uint8_t *full, int full_width, int x, int y, int w, int h)
{
    cr_assert(p->x <= x && p->x + p->width >= x + w && p->y <= y && p->y + p->height >= y + h);
    for (int row = y; row < y + h; row++) {
        const uint8_t *a = p->rgb + (size_t)(row - p->y) * p->stride + (size_t)(x - p->x) * 3;
        cr_assert_eq(memcmp(a, full + (row * full_width + x) * 3, (size_t)w * 3), 0, "row %d of %d %d %d %d", row, x, y,
                     w, h);
    }
}

Test(region, pixels_are_those_of_a_full_decode)
{
    static const int sizes[][2] = {{250, 250}, {178, 218}, {112, 112}, {33, 61}, {1, 1}, {17, 3}, {300, 8}};
    data_region_reader *r;
    cr_assert_eq(data_region_open(&r), MN_OK);
    mn_stream_rng rng = mn_rng_open(1, 0, 0);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int k = 0; k < SAMPLINGS; k++) {
            int width = sizes[s][0], height = sizes[s][1], w, h;
            uint8_t *rgb = picture(width, height);
            jpeg j = encode(rgb, width, height, samplings[k], 0);
            uint8_t *full = decode_whole(j, width, height);
            for (int n = 0; n < 40; n++) {
                int x = (int)mn_rng_below(&rng, width), y = (int)mn_rng_below(&rng, height);
                int cw = 1 + (int)mn_rng_below(&rng, width - x), ch = 1 + (int)mn_rng_below(&rng, height - y);
                data_region p;
                cr_assert_eq(data_region_begin(r, j.bytes, j.size, &w, &h), MN_OK);
                cr_assert(w == width && h == height);
                cr_assert_eq(data_region_decode(r, x, y, cw, ch, 0, 0, &p), MN_OK, "%s", mn_errmsg());
                check_box(&p, full, width, x, y, cw, ch);
            }
            tjFree(j.bytes);
            free(full);
            free(rgb);
        }
    data_region_close(r);
}

Test(region, large_boxes_are_reduced_as_the_library_does)
{
    enum { W = 501, H = 403 };
    data_region_reader *r;
    cr_assert_eq(data_region_open(&r), MN_OK);
    uint8_t *rgb = picture(W, H);
    for (int k = 0; k < SAMPLINGS; k++) {
        jpeg j = encode(rgb, W, H, samplings[k], 0);
        static const int least[] = {300, 150, 80, 40, 3}, want[] = {1, 2, 4, 8, 8};
        for (int n = 0; n < 5; n++) {
            int w, h, sw = (W + want[n] - 1) / want[n], sh = (H + want[n] - 1) / want[n];
            uint8_t *full = decode_whole(j, sw, sh); // tjDecompress2 scales to fit
            data_region p;
            cr_assert_eq(data_region_begin(r, j.bytes, j.size, &w, &h), MN_OK);
            cr_assert_eq(data_region_decode(r, 100, 60, 350, 202, least[n], least[n] / 2, &p), MN_OK);
            cr_assert_eq(p.reduced, want[n], "least %d: 1/%d", least[n], p.reduced);
            int x = 100 / want[n], y = 60 / want[n];
            check_box(&p, full, sw, x, y, 450 / want[n] - x, 262 / want[n] - y);
            free(full);
        }
        tjFree(j.bytes);
    }
    free(rgb);
    data_region_close(r);
}

Test(region, other_kinds_are_decoded_whole)
{
    enum { W = 50, H = 40 };
    data_region_reader *r;
    data_coder *c;
    cr_assert_eq(data_region_open(&r), MN_OK);
    cr_assert_eq(data_coder_open(&c), MN_OK);
    uint8_t *rgb = picture(W, H);
    data_region p;
    int w, h;
    jpeg j = encode(rgb, W, H, TJSAMP_420, TJFLAG_PROGRESSIVE);
    uint8_t *full = decode_whole(j, W, H);
    cr_assert_eq(data_region_begin(r, j.bytes, j.size, &w, &h), MN_OK);
    cr_assert_eq(data_region_decode(r, 10, 10, 20, 20, 1, 1, &p), MN_OK);
    check_box(&p, full, W, 10, 10, 20, 20);
    const uint8_t *png;
    size_t size;
    cr_assert_eq(data_png_encode(c, rgb, W, H, 3, &png, &size), MN_OK);
    cr_assert_eq(data_region_begin(r, png, size, &w, &h), MN_OK);
    cr_assert(w == W && h == H);
    cr_assert_eq(data_region_decode(r, 10, 10, 20, 20, 1, 1, &p), MN_OK);
    check_box(&p, rgb, W, 10, 10, 20, 20);
    tjFree(j.bytes);
    free(full);
    free(rgb);
    data_coder_close(c);
    data_region_close(r);
}

// A reader that met damage reads the next picture as if nothing had happened.
Test(region, damage_is_an_error_and_leaves_the_reader_usable)
{
    enum { W = 96, H = 96 };
    data_region_reader *r;
    cr_assert_eq(data_region_open(&r), MN_OK);
    uint8_t *rgb = picture(W, H);
    jpeg j = encode(rgb, W, H, TJSAMP_420, 0);
    uint8_t *full = decode_whole(j, W, H);
    int failed = 0, w, h;
    for (size_t cut = 0; cut < j.size; cut += 29) {
        data_region p;
        uint8_t *piece = malloc(cut + 1); // exact size, so that ASan sees a read beyond it
        memcpy(piece, j.bytes, cut);
        mn_err err = data_region_begin(r, piece, cut, &w, &h);
        if (err == MN_OK) err = data_region_decode(r, 0, 0, W, H, 0, 0, &p);
        cr_assert_eq(err, MN_EDATA, "%zu of %lu bytes", cut, j.size);
        failed++;
        free(piece);
        cr_assert_eq(data_region_begin(r, j.bytes, j.size, &w, &h), MN_OK);
        cr_assert_eq(data_region_decode(r, 3, 5, 60, 70, 0, 0, &p), MN_OK);
        check_box(&p, full, W, 3, 5, 60, 70);
    }
    cr_assert_gt(failed, 20);
    tjFree(j.bytes);
    free(full);
    free(rgb);
    data_region_close(r);
}
