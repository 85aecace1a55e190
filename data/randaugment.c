#include "data/randaugment.h"

#include "data/warp.h"
#include "nn/base/rng.h"
#include "nn/base/simd.h"

#include <math.h>
#include <string.h>

int data_rand_draw(const data_rand *cfg, data_draw draw, data_rand_op ops[DATA_RAND_LAYERS])
{
    mn_assert(cfg->layers <= DATA_RAND_LAYERS);
    mn_stream_rng r = mn_rng_open(mn_rng_key(draw.seed, "augment.rand"), (uint64_t)draw.row, (uint64_t)draw.epoch);
    int n = 0;
    for (int i = 0; i < cfg->layers; i++) { // all numbers of a layer are drawn, used or not: layers stay independent
        data_rand_kind kind = (data_rand_kind)mn_rng_below(&r, DATA_RAND_KINDS);
        int used = mn_rng_range(&r, 0, 1) < cfg->probability, negative = mn_rng_below(&r, 2) == 1;
        double magnitude = cfg->magnitude + cfg->std * (double)mn_rng_normal(&r);
        if (used) ops[n++] = (data_rand_op){kind, fmin(fmax(magnitude, 0), 10), negative};
    }
    return n;
}

// --- tables of 256 values a channel ---

typedef uint8_t table[3][256];

static void look_up(uint8_t *rgb, int64_t pixels, table t)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = t[c][rgb[3 * i + c]];
}

static void count_values(const uint8_t *rgb, int64_t pixels, int64_t count[3][256])
{
    memset(count, 0, 3 * 256 * sizeof **count);
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            count[c][rgb[3 * i + c]]++;
}

static uint8_t cut(double v)
{
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
}

static void keep_values(uint8_t t[256])
{
    for (int v = 0; v < 256; v++)
        t[v] = (uint8_t)v;
}

// ImageOps.autocontrast: every channel is stretched to 0..255.
static void fill_auto_contrast(int64_t count[3][256], table t)
{
    for (int c = 0; c < 3; c++) {
        int low = 0, high = 255;
        while (low < 255 && !count[c][low])
            low++;
        while (high > 0 && !count[c][high])
            high--;
        keep_values(t[c]);
        double scale = high > low ? 255.0 / (high - low) : 1, offset = -low * scale;
        for (int v = 0; v < 256 && high > low; v++)
            t[c][v] = cut(v * scale + offset);
    }
}

// ImageOps.equalize: every channel gets a flat histogram.
static void fill_equalize(int64_t count[3][256], int64_t pixels, table t)
{
    for (int c = 0; c < 3; c++) {
        int values = 0, last = 0;
        for (int v = 0; v < 256; v++)
            if (count[c][v]) {
                values++;
                last = v;
            }
        int64_t step = (pixels - count[c][last]) / 255, n = step / 2;
        keep_values(t[c]);
        if (values <= 1 || !step) continue;
        for (int v = 0; v < 256; n += count[c][v], v++)
            t[c][v] = (uint8_t)(n / step > 255 ? 255 : n / step);
    }
}

// The operations that depend on the value alone.
static uint8_t map_value(const data_rand_op *op, int v)
{
    double share = op->magnitude / 10;
    switch (op->kind) {
    case DATA_RAND_INVERT:
        return (uint8_t)(255 - v);
    case DATA_RAND_POSTERIZE: { // 4 bits are kept at magnitude 0, none (black) at 10
        int bits = 4 - (int)(share * 4);
        return (uint8_t)(v & ~((1 << (8 - bits)) - 1));
    }
    case DATA_RAND_SOLARIZE:
        return (uint8_t)(v < 256 - (int)(share * 256) ? v : 255 - v);
    case DATA_RAND_SOLARIZE_ADD:
        return (uint8_t)(v < 128 ? v + (int)(share * 110) : v);
    default:
        return (uint8_t)v;
    }
}

static void apply_table(const data_rand_op *op, int64_t pixels, uint8_t *rgb)
{
    table t;
    int64_t count[3][256];
    if (op->kind == DATA_RAND_AUTO_CONTRAST || op->kind == DATA_RAND_EQUALIZE) {
        count_values(rgb, pixels, count);
        if (op->kind == DATA_RAND_EQUALIZE)
            fill_equalize(count, pixels, t);
        else
            fill_auto_contrast(count, t);
    } else
        for (int c = 0; c < 3; c++)
            for (int v = 0; v < 256; v++)
                t[c][v] = map_value(op, v);
    look_up(rgb, pixels, t);
}

// --- blends with a weaker picture ---

// Image.convert("L").
static inline int luma(const uint8_t *p)
{
    return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16;
}

// Image.blend(weaker, picture, factor): float, cut to whole numbers.
static inline uint8_t blend(int weak, int strong, float factor)
{
    float v = (float)weak + factor * (float)(strong - weak);
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
}

MN_SIMD static void blend_colour(uint8_t *rgb, int64_t pixels, float factor)
{
    for (int64_t i = 0; i < pixels; i++) {
        int grey = luma(rgb + 3 * i);
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = blend(grey, rgb[3 * i + c], factor);
    }
}

MN_SIMD static void blend_constant(uint8_t *rgb, int64_t values, int weak, float factor)
{
    for (int64_t i = 0; i < values; i++)
        rgb[i] = blend(weak, rgb[i], factor);
}

MN_SIMD static void blend_row(uint8_t *restrict to, const uint8_t *restrict above, const uint8_t *restrict here,
                              const uint8_t *restrict below, int n, float factor)
{
    for (int i = 3; i < n - 3; i++) { // ImageFilter.SMOOTH: 5 for the pixel itself, 1 for its 8 neighbours, over 13
        int sum = above[i - 3] + above[i] + above[i + 3] + here[i - 3] + 5 * here[i] + here[i + 3] + below[i - 3] +
                  below[i] + below[i + 3];
        to[i] = blend((2 * sum + 13) / 26, here[i], factor);
    }
}

// The border has no smooth version and stays.
static void blend_smooth(uint8_t *rgb, int width, int height, float factor, uint8_t *scratch)
{
    int n = width * 3;
    memcpy(scratch, rgb, (size_t)n * (size_t)height);
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *here = scratch + (size_t)y * (size_t)n;
        blend_row(rgb + (size_t)y * (size_t)n, here - n, here, here + n, n, factor);
    }
}

static int mean_luma(const uint8_t *rgb, int64_t pixels)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < pixels; i++)
        sum += luma(rgb + 3 * i);
    return (int)((double)sum / (double)pixels + 0.5);
}

static void enhance(const data_rand_op *op, int width, int height, uint8_t *rgb, uint8_t *scratch)
{
    double away = op->magnitude / 10 * 0.9; // from 1, at which nothing changes
    float factor = (float)fmax(0.1, 1 + (op->negative ? -away : away));
    int64_t pixels = (int64_t)width * height;
    if (op->kind == DATA_RAND_COLOUR)
        blend_colour(rgb, pixels, factor);
    else if (op->kind == DATA_RAND_SHARPNESS)
        blend_smooth(rgb, width, height, factor, scratch);
    else
        blend_constant(rgb, pixels * 3, op->kind == DATA_RAND_CONTRAST ? mean_luma(rgb, pixels) : 0, factor);
}

// --- moves ---

static void move(const data_rand_op *op, int width, int height, data_filter filter, const uint8_t fill[3], uint8_t *rgb,
                 uint8_t *scratch)
{
    double share = (op->negative ? -op->magnitude : op->magnitude) / 10, m[6] = {1, 0, 0, 0, 1, 0};
    switch (op->kind) {
    case DATA_RAND_ROTATE: // Image.rotate turns anticlockwise
        data_warp_matrix(&(data_warp_draw){.angle = -30 * share, .zoom = 1}, width, height, m);
        break;
    case DATA_RAND_SHEAR_X:
        m[1] = 0.3 * share;
        break;
    case DATA_RAND_SHEAR_Y:
        m[3] = 0.3 * share;
        break;
    case DATA_RAND_TRANSLATE_X:
        m[2] = 0.45 * share * width;
        break;
    default:
        m[5] = 0.45 * share * height;
        break;
    }
    size_t bytes = (size_t)width * (size_t)height * 3;
    memcpy(scratch, rgb, bytes);
    data_warp(scratch, rgb, width, height, m, filter, fill);
}

void data_rand_apply(const data_rand_op *op, int width, int height, data_filter filter, const uint8_t fill[3],
                     uint8_t *rgb, uint8_t *scratch)
{
    switch (op->kind) {
    case DATA_RAND_COLOUR:
    case DATA_RAND_CONTRAST:
    case DATA_RAND_BRIGHTNESS:
    case DATA_RAND_SHARPNESS:
        enhance(op, width, height, rgb, scratch);
        break;
    case DATA_RAND_ROTATE:
    case DATA_RAND_SHEAR_X:
    case DATA_RAND_SHEAR_Y:
    case DATA_RAND_TRANSLATE_X:
    case DATA_RAND_TRANSLATE_Y:
        move(op, width, height, filter, fill, rgb, scratch);
        break;
    default:
        apply_table(op, (int64_t)width * height, rgb);
        break;
    }
}
