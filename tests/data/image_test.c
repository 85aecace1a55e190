// Pictures: round trips, every stored form comes out as RGB, and hostile bytes are refused with their reason.
#include "data/image.h"
#include "data/shard.h"
#include "nn/base/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { W = 50, H = 37 };

// A smooth picture that no turn or mirror leaves as it is.
static void paint(uint8_t *rgb, int width, int height)
{
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint8_t *p = rgb + ((size_t)y * (size_t)width + (size_t)x) * 3;
            p[0] = (uint8_t)(20 + 200 * x / width);
            p[1] = (uint8_t)(30 + 180 * y / height);
            p[2] = (uint8_t)(x < width / 3 && y < height / 4 ? 220 : 60);
        }
    }
}

static double mean_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += abs(a[i] - b[i]);
    return sum / (double)n;
}

static data_coder *open_coder(void)
{
    data_coder *c;
    cr_assert_eq(data_coder_open(&c), MN_OK);
    return c;
}

// A copy of an encoder's output in exact-size heap memory, so that a sanitizer sees any read behind its end.
static uint8_t *copy(const uint8_t *bytes, size_t size)
{
    uint8_t *p = malloc(size ? size : 1);
    cr_assert_not_null(p);
    memcpy(p, bytes, size);
    return p;
}

static uint8_t *jpeg(data_coder *c, size_t *size)
{
    static uint8_t rgb[W * H * 3];
    const uint8_t *bytes;
    paint(rgb, W, H);
    cr_assert_eq(data_jpeg_encode(c, rgb, W, H, 92, 1, &bytes, size), MN_OK);
    return copy(bytes, *size);
}

Test(image, jpeg_round_trip)
{
    data_coder *c = open_coder();
    data_image im = {0};
    data_image_info info;
    uint8_t rgb[W * H * 3];
    size_t size;
    paint(rgb, W, H);
    uint8_t *bytes = jpeg(c, &size);
    cr_assert_eq(data_image_probe(c, bytes, size, &info), MN_OK);
    cr_assert(info.codec == DATA_CODEC_JPEG && info.width == W && info.height == H && info.channels == 3);
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_OK);
    cr_assert(im.width == W && im.height == H);
    cr_assert_lt(mean_difference(im.rgb, rgb, sizeof rgb), 3);
    cr_assert_eq(data_image_decode(c, bytes, size, 18, &im), MN_OK);
    cr_assert(im.width == 25 && im.height == 19, "%d x %d", im.width, im.height);
    free(bytes);
    data_image_release(&im);
    data_coder_close(c);
}

Test(image, png_round_trip_is_exact)
{
    data_coder *c = open_coder();
    data_image im = {0};
    uint8_t rgb[W * H * 3], grey[W * H];
    const uint8_t *bytes;
    size_t size;
    data_image_info info;
    paint(rgb, W, H);
    cr_assert_eq(data_png_encode(c, rgb, W, H, 3, &bytes, &size), MN_OK);
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_OK);
    cr_assert_arr_eq(im.rgb, rgb, sizeof rgb);
    for (int i = 0; i < W * H; i++)
        grey[i] = rgb[3 * i];
    cr_assert_eq(data_png_encode(c, grey, W, H, 1, &bytes, &size), MN_OK);
    cr_assert_eq(data_image_probe(c, bytes, size, &info), MN_OK);
    cr_assert(info.codec == DATA_CODEC_PNG && info.channels == 1 && info.width == W && info.height == H);
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_OK);
    for (int i = 0; i < W * H; i++)
        cr_assert(im.rgb[3 * i] == grey[i] && im.rgb[3 * i + 2] == grey[i]);
    data_image_release(&im);
    data_coder_close(c);
}

Test(image, grey_jpeg_is_spread)
{
    data_coder *c = open_coder();
    data_image im = {0};
    uint8_t grey[W * H];
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    data_image_info info;
    for (int i = 0; i < W * H; i++)
        grey[i] = (uint8_t)(40 + 150 * (i % W) / W);
    tjhandle h = tjInitCompress();
    cr_assert_eq(tjCompress2(h, grey, W, 0, H, TJPF_GRAY, &bytes, &size, TJSAMP_GRAY, 95, 0), 0);
    cr_assert_eq(data_image_probe(c, bytes, size, &info), MN_OK);
    cr_assert_eq(info.channels, 1);
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_OK);
    for (int i = 0; i < W * H; i++)
        cr_assert(im.rgb[3 * i] == im.rgb[3 * i + 1] && abs(im.rgb[3 * i] - grey[i]) < 12);
    tjFree(bytes);
    tjDestroy(h);
    data_image_release(&im);
    data_coder_close(c);
}

// The library writes Adobe's marker, which says inverted: 255 is no ink. Without it (renamed here) 0 is no ink.
Test(image, cmyk_both_ways)
{
    data_coder *c = open_coder();
    data_image im = {0};
    uint8_t cmyk[W * H * 4], want[3];
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    data_image_info info;
    for (int i = 0; i < W * H; i++)
        memcpy(cmyk + 4 * i, (uint8_t[]){200, 100, 50, 204}, 4);
    tjhandle h = tjInitCompress();
    cr_assert_eq(tjCompress2(h, cmyk, W, 0, H, TJPF_CMYK, &bytes, &size, TJSAMP_444, 98, 0), 0);
    for (int marked = 1; marked >= 0; marked--) {
        cr_assert_eq(data_image_probe(c, bytes, size, &info), MN_OK);
        cr_assert_eq(info.channels, 4);
        cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_OK);
        for (int k = 0; k < 3; k++)
            want[k] = (uint8_t)(marked ? cmyk[k] * 204 / 255 : (255 - cmyk[k]) * (255 - 204) / 255);
        for (int i = 0; i < W * H * 3; i++)
            cr_assert(abs(im.rgb[i] - want[i % 3]) < 6, "marked %d: %d, want %d", marked, im.rgb[i], want[i % 3]);
        if (!marked) break;
        unsigned char *adobe = memmem(bytes, size, "Adobe", 5);
        cr_assert_not_null(adobe);
        adobe[0] = 'X';
        if (adobe[11] == 2) break; // YCCK needs its marker to be decoded at all
    }
    tjFree(bytes);
    tjDestroy(h);
    data_image_release(&im);
    data_coder_close(c);
}

static const struct {
    const char *what;
    int orientation;
    int blue_right, blue_bottom; // where the picture's blue corner (stored top left) is when upright
} turns[] = {
    {"as stored", 1, 0, 0},  {"mirrored", 2, 1, 0},   {"half turn", 3, 1, 1},   {"flipped", 4, 0, 1},
    {"transposed", 5, 0, 0}, {"right turn", 6, 1, 0}, {"transversed", 7, 1, 1}, {"left turn", 8, 0, 1},
};

Test(image, exif_orientation_is_applied)
{
    data_coder *c = open_coder();
    data_image im = {0};
    size_t size;
    uint8_t *plain = jpeg(c, &size);
    for (size_t t = 0; t < sizeof turns / sizeof *turns; t++) {
        for (int big = 0; big < 2; big++) {
            uint8_t segment[] = "\xff\xe1\0\x22"
                                "Exif\0\0"
                                "II*\0\x08\0\0\0"
                                "\x01\0"
                                "\x12\x01\x03\0\x01\0\0\0\0\0\0\0";
            uint8_t swapped[] = "\xff\xe1\0\x22"
                                "Exif\0\0"
                                "MM\0*\0\0\0\x08"
                                "\0\x01"
                                "\x01\x12\0\x03\0\0\0\x01\0\0\0\0";
            uint8_t *bytes = malloc(size + 36), *s = big ? swapped : segment;
            s[big ? 29 : 28] = (uint8_t)turns[t].orientation;
            memcpy(bytes, plain, 2);
            memcpy(bytes + 2, s, 32);
            memset(bytes + 34, 0, 4);
            memcpy(bytes + 38, plain + 2, size - 2);
            data_image_info info;
            cr_assert_eq(data_image_probe(c, bytes, size + 36, &info), MN_OK);
            cr_assert_eq(info.orientation, turns[t].orientation, "%s, big %d", turns[t].what, big);
            cr_assert_eq(data_image_decode(c, bytes, size + 36, 0, &im), MN_OK);
            cr_assert_eq(im.width, turns[t].orientation >= 5 ? H : W);
            cr_assert_eq(info.width, im.width);
            int x = turns[t].blue_right ? im.width - 3 : 2, y = turns[t].blue_bottom ? im.height - 3 : 2;
            cr_assert_gt(im.rgb[(y * im.width + x) * 3 + 2], 150, "%s, big %d", turns[t].what, big);
            free(bytes);
        }
    }
    free(plain);
    data_image_release(&im);
    data_coder_close(c);
}

Test(image, cut_files_are_refused)
{
    data_coder *c = open_coder();
    data_image im = {0};
    uint8_t rgb[W * H * 3];
    const uint8_t *png;
    size_t sizes[2];
    uint8_t *whole[2];
    paint(rgb, W, H);
    whole[0] = jpeg(c, &sizes[0]);
    cr_assert_eq(data_png_encode(c, rgb, W, H, 3, &png, &sizes[1]), MN_OK);
    whole[1] = copy(png, sizes[1]);
    for (int f = 0; f < 2; f++) {
        for (size_t i = 0; i < 50; i++) {
            size_t cut = i * (sizes[f] - 1) / 49;
            uint8_t *bytes = copy(whole[f], cut);
            cr_assert_eq(data_image_decode(c, bytes, cut, 0, &im), MN_EDATA, "format %d, %zu of %zu", f, cut, sizes[f]);
            cr_assert_neq(data_coder_fault(c), DATA_IMAGE_FINE);
            free(bytes);
        }
        cr_assert_eq(data_image_decode(c, whole[f], sizes[f], 0, &im), MN_OK, "%d %s", f, mn_errmsg());
        free(whole[f]);
    }
    data_image_release(&im);
    data_coder_close(c);
}

Test(image, faults_are_told_apart)
{
    data_coder *c = open_coder();
    data_image im = {0};
    size_t size;
    cr_assert_eq(data_image_decode(c, "", 0, 0, &im), MN_EDATA);
    cr_assert_eq(data_coder_fault(c), DATA_IMAGE_EMPTY);
    cr_assert_eq(data_image_decode(c, "a text named .jpg", 17, 0, &im), MN_EDATA);
    cr_assert_eq(data_coder_fault(c), DATA_IMAGE_FORMAT);
    cr_assert_eq(data_image_decode(c, "GIF89a\1\0\1\0", 10, 0, &im), MN_EDATA);
    cr_assert_eq(data_coder_fault(c), DATA_IMAGE_FORMAT);
    uint8_t *bytes = jpeg(c, &size);
    uint8_t *frame = memmem(bytes, size, "\xff\xc0", 2);
    cr_assert_not_null(frame);
    memset(frame + 5, 0xff, 4); // height and width 65535: more than the library takes
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_EDATA);
    cr_assert_eq(data_coder_fault(c), DATA_IMAGE_HEADER);
    frame[6] = frame[8] = 0; // 65280: 12 GiB of RGB
    cr_assert_eq(data_image_decode(c, bytes, size, 0, &im), MN_EDATA);
    cr_assert_eq(data_coder_fault(c), DATA_IMAGE_LARGE);
    cr_assert_eq(im.capacity, 0);
    free(bytes);
    data_coder_close(c);
}

// Damage inside the scan may decode to other pixels (records carry a CRC for that); it must never crash.
Test(image, random_damage_never_crashes)
{
    data_coder *c = open_coder();
    data_image im = {0};
    uint8_t rgb[W * H * 3];
    size_t size, png_size;
    const uint8_t *png;
    mn_stream_rng r = mn_rng_open(mn_rng_key(1, "image_test"), 0, 0);
    uint8_t *bytes = jpeg(c, &size);
    paint(rgb, W, H);
    cr_assert_eq(data_png_encode(c, rgb, W, H, 3, &png, &png_size), MN_OK);
    uint8_t *bytes2 = copy(png, png_size);
    int refused = 0;
    for (int i = 0; i < 600; i++) {
        uint8_t *b = copy(i % 2 ? bytes : bytes2, i % 2 ? size : png_size);
        size_t n = i % 2 ? size : png_size;
        for (int k = 0; k < 3; k++)
            b[mn_rng_below(&r, (int64_t)n)] = (uint8_t)mn_rng_u32(&r);
        refused += data_image_decode(c, b, n, 0, &im) != MN_OK;
        free(b);
    }
    cr_assert_gt(refused, 300); // every PNG: its chunks carry CRCs
    free(bytes);
    free(bytes2);
    data_image_release(&im);
    data_coder_close(c);
}

Test(image, resize_means_and_borders)
{
    data_image in = {0}, out = {0};
    uint8_t rgb[W * H * 3];
    paint(rgb, W, H);
    in = (data_image){.width = W, .height = H, .rgb = rgb};
    cr_assert_eq(data_image_resize(&in, (double[]){0, 0, W, H}, W, H, &out), MN_OK);
    cr_assert_arr_eq(out.rgb, rgb, sizeof rgb); // the same grid: unchanged
    // A ramp stays a ramp: red at the middle of output column x is red at the matching input position.
    cr_assert_eq(data_image_resize(&in, (double[]){0, 0, W, H}, 10, 9, &out), MN_OK);
    for (int x = 1; x < 9; x++)
        cr_assert_lt(abs(out.rgb[(4 * 10 + x) * 3] - (20 + 200 * (5 * x + 2) / W)), 4);
    // Outside: the border repeated.
    cr_assert_eq(data_image_resize(&in, (double[]){-40, -40, 30, 30}, 6, 6, &out), MN_OK);
    for (int i = 0; i < 36; i++)
        cr_assert(out.rgb[3 * i] == rgb[0] && out.rgb[3 * i + 1] == rgb[1] && out.rgb[3 * i + 2] == rgb[2]);
    cr_assert_eq(data_image_resize(&in, (double[]){0, 0, 1e300, 5}, 6, 6, &out), MN_EDATA);
    cr_assert_eq(data_image_resize(&in, (double[]){0, 0, -5, 5}, 6, 6, &out), MN_EDATA);
    data_image_release(&out);
}

// One row by every kernel, against Pillow 12's BILINEAR, BOX, BICUBIC and LANCZOS (away from the borders, which Pillow
// does not repeat).
Test(image, kernels_are_those_of_pillow)
{
    enum { IN = 18, LESS = 7, MORE = 23, FROM = 5, TO = 17 };
    static const uint8_t row[IN] = {0, 0, 200, 10, 0, 255, 30, 90, 0, 0, 255, 0, 0, 128, 64, 0, 255, 255};
    static const struct {
        data_kernel kernel;
        int middle; // of LESS
        uint8_t more[TO - FROM + 1];
    } want[] = {{DATA_KERNEL_TRIANGLE, 58, {2, 150, 172, 39, 86, 25, 0, 72, 238, 39, 0, 53, 115}},
                {DATA_KERNEL_BOX, 0, {0, 255, 255, 30, 90, 0, 0, 0, 255, 0, 0, 0, 128}},
                {DATA_KERNEL_CUBIC, 52, {0, 171, 195, 25, 90, 23, 0, 68, 252, 30, 0, 53, 128}},
                {DATA_KERNEL_LANCZOS, 51, {0, 185, 201, 17, 87, 36, 0, 83, 253, 42, 0, 63, 134}}};
    uint8_t rgb[IN * 3];
    data_image in = {.width = IN, .height = 1, .rgb = rgb}, out = {0};
    for (int i = 0; i < IN * 3; i++)
        rgb[i] = row[i / 3];
    for (size_t k = 0; k < sizeof want / sizeof want[0]; k++) {
        const char *name = data_kernel_name(want[k].kernel);
        cr_assert_eq(data_kernel_number(name), (int)want[k].kernel);
        cr_assert_eq(data_image_resize_by(&in, (double[]){0, 0, IN, 1}, LESS, 1, want[k].kernel, &out), MN_OK);
        cr_assert(abs(out.rgb[3 * (LESS / 2)] - want[k].middle) <= 1, "%s: %d", name, out.rgb[3 * (LESS / 2)]);
        cr_assert_eq(data_image_resize_by(&in, (double[]){0, 0, IN, 1}, MORE, 1, want[k].kernel, &out), MN_OK);
        for (int i = FROM; i <= TO; i++)
            cr_assert(abs(out.rgb[3 * i + 1] - want[k].more[i - FROM]) <= 1, "%s at %d: %d, not %d", name, i,
                      out.rgb[3 * i + 1], want[k].more[i - FROM]);
    }
    cr_assert_eq(data_kernel_number("bicubic"), -1);
    data_image_release(&out);
}
