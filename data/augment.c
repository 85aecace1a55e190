#include "data/augment.h"

#include "data/region.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/base/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct data_augmenter {
    data_augment cfg;
    data_region_reader *reader;
    data_taps across, down;
    float *row;
    int64_t row_capacity;
    float *whole; // (S, S, 3), where steps between resampling and bf16 are done; or NULL
    double stage[DATA_STAGES];
    uint8_t *eight, *eight_scratch; // (S, S, 3) and one byte more: where 8-bit steps are done; or NULL
};

data_augment data_augment_simmim(int size, int train)
{
    return (data_augment){.size = size,
                          .train = train,
                          .scale = {0.67, 1},
                          .ratio = {3.0 / 4, 4.0 / 3},
                          .flip = 0.5,
                          .dtype = MN_F32,
                          .mean = {0.485f, 0.456f, 0.406f},
                          .std = {0.229f, 0.224f, 0.225f}};
}

static int in_eight_bits(const data_augment *cfg)
{
    return cfg->train && (cfg->affine.probability > 0 || cfg->rand.layers > 0);
}

static int has_jitter(const data_augment *cfg)
{
    return cfg->train && (cfg->brightness > 0 || cfg->contrast > 0 || cfg->saturation > 0 || cfg->hue > 0);
}

// Does something come between resampling and normalisation?
static int has_steps(const data_augment *cfg)
{
    return has_jitter(cfg) || cfg->grey || in_eight_bits(cfg);
}

static int has_erase(const data_augment *cfg)
{
    return cfg->train && cfg->erase.probability > 0;
}

mn_err data_augmenter_open(data_augmenter **out, const data_augment *cfg)
{
    mn_assert(cfg->size >= 1);
    data_augmenter *a = mn_calloc(1, sizeof *a);
    a->cfg = *cfg;
    if (in_eight_bits(cfg)) {
        size_t bytes = (size_t)cfg->size * (size_t)cfg->size * 3 + 1;
        a->eight = mn_calloc(bytes, 1);
        a->eight_scratch = mn_calloc(bytes, 1);
    }
    if (cfg->dtype == MN_BF16 && (has_steps(cfg) || has_erase(cfg)))
        a->whole = mn_calloc((size_t)cfg->size * (size_t)cfg->size * 3, sizeof *a->whole);
    for (int c = 0; c < 3; c++)
        if (a->cfg.std[c] == 0) a->cfg.std[c] = 1;
    mn_err err = data_region_open(&a->reader);
    if (err != MN_OK) {
        data_augmenter_close(a);
        return err;
    }
    *out = a;
    return MN_OK;
}

void data_augmenter_close(data_augmenter *a)
{
    if (!a) return;
    data_region_close(a->reader);
    data_taps_free(&a->across);
    data_taps_free(&a->down);
    free(a->row);
    free(a->whole);
    free(a->eight);
    free(a->eight_scratch);
    free(a);
}

const double *data_augmenter_stages(const data_augmenter *a)
{
    return a->stage;
}

static mn_stream_rng stream(data_draw d, const char *purpose)
{
    return mn_rng_open(mn_rng_key(d.seed, purpose), (uint64_t)d.row, (uint64_t)d.epoch);
}

static data_crop whole_pixels(int x, int y, int width, int height)
{
    return (data_crop){x, y, width, height, x, x + width, y, y + height, 0};
}

// torchvision.transforms.RandomResizedCrop.get_params: ten tries, then the largest middle crop of a permitted ratio.
static data_crop random_crop(const data_augment *cfg, int width, int height, data_draw draw)
{
    mn_stream_rng r = stream(draw, "augment.crop");
    double area = (double)width * height, low = log(cfg->ratio[0]), high = log(cfg->ratio[1]);
    for (int i = 0; i < 10; i++) {
        double target = area * mn_rng_range(&r, cfg->scale[0], cfg->scale[1]);
        double ratio = exp(mn_rng_range(&r, low, high));
        double w = rint(sqrt(target * ratio)), h = rint(sqrt(target / ratio)); // halves to even, as Python's round
        if (w < 1 || h < 1 || w > width || h > height) continue;
        int y = (int)mn_rng_below(&r, height - (int)h + 1), x = (int)mn_rng_below(&r, width - (int)w + 1);
        return whole_pixels(x, y, (int)w, (int)h);
    }
    double ratio = (double)width / height;
    int w = width, h = height;
    if (ratio < cfg->ratio[0])
        h = (int)rint(w / cfg->ratio[0]);
    else if (ratio > cfg->ratio[1])
        w = (int)rint(h * cfg->ratio[1]);
    return whole_pixels((width - w) / 2, (height - h) / 2, w < 1 ? 1 : w, h < 1 ? 1 : h);
}

// torchvision's Resize (shorter side to size / centre, the longer one cut to whole pixels) and CenterCrop (size), as one
// box of the input.
static data_crop middle_crop(const data_augment *cfg, int width, int height)
{
    double keep = cfg->centre > 0 ? cfg->centre : 1;
    int shorter = width < height ? width : height, resized = (int)(cfg->size / keep);
    int across = (int)((double)resized * width / shorter), down = (int)((double)resized * height / shorter);
    double x = rint((across - cfg->size) / 2.0) * width / across, y = rint((down - cfg->size) / 2.0) * height / down;
    return (data_crop){x,      y, (double)cfg->size * width / across, (double)cfg->size * height / down, 0, width, 0,
                       height, 0};
}

data_crop data_augment_crop(const data_augment *cfg, int width, int height, data_draw draw)
{
    if (!cfg->train) return middle_crop(cfg, width, height);
    data_crop c = cfg->scale[1] > 0 ? random_crop(cfg, width, height, draw) : middle_crop(cfg, width, height);
    mn_stream_rng r = stream(draw, "augment.flip");
    c.flip = mn_rng_range(&r, 0, 1) < cfg->flip;
    return c;
}

// torchvision.transforms.ColorJitter.get_params.
data_jitter data_augment_jitter(const data_augment *cfg, data_draw draw)
{
    mn_stream_rng r = stream(draw, "augment.jitter");
    data_jitter j = {.order = {0, 1, 2, 3}};
    for (int i = 3; i > 0; i--) {
        int other = (int)mn_rng_below(&r, i + 1), was = j.order[i];
        j.order[i] = j.order[other];
        j.order[other] = was;
    }
    const double range[3] = {cfg->brightness, cfg->contrast, cfg->saturation};
    float factor[3];
    for (int i = 0; i < 3; i++)
        factor[i] = range[i] > 0 ? (float)mn_rng_range(&r, fmax(0, 1 - range[i]), 1 + range[i]) : 1;
    j.brightness = factor[0];
    j.contrast = factor[1];
    j.saturation = factor[2];
    j.hue = cfg->hue > 0 ? (float)mn_rng_range(&r, -cfg->hue, cfg->hue) : 0;
    return j;
}

// torchvision.transforms.RandomAffine.get_params.
int data_augment_warp(const data_affine *cfg, int width, int height, data_draw draw, data_warp_draw *out)
{
    mn_stream_rng r = stream(draw, "augment.affine");
    if (mn_rng_range(&r, 0, 1) >= cfg->probability) return 0;
    double across = cfg->translate * width, down = cfg->translate * height;
    out->angle = mn_rng_range(&r, -cfg->degrees, cfg->degrees);
    out->x = rint(mn_rng_range(&r, -across, across));
    out->y = rint(mn_rng_range(&r, -down, down));
    out->zoom = cfg->zoom[1] > 0 ? mn_rng_range(&r, cfg->zoom[0], cfg->zoom[1]) : 1;
    out->shear = mn_rng_range(&r, -cfg->shear, cfg->shear);
    return 1;
}

static inline float clamp01(float v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

// Luma of torchvision's rgb_to_grayscale.
static inline float grey(const float *p)
{
    return 0.2989f * p[0] + 0.587f * p[1] + 0.114f * p[2];
}

// v -> share v + rest: brightness (rest 0) and contrast (rest (1 - share) mean grey).
MN_SIMD static void blend_constant(float *rgb, int64_t values, float share, float rest)
{
    for (int64_t i = 0; i < values; i++)
        rgb[i] = clamp01(share * rgb[i] + rest);
}

MN_SIMD static void blend_grey(float *rgb, int64_t pixels, float share)
{
    for (int64_t i = 0; i < pixels; i++) {
        float rest = (1 - share) * grey(rgb + 3 * i);
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = clamp01(share * rgb[3 * i + c] + rest);
    }
}

// Sums of rows of 64 pixels in float, of these in double: the order is fixed, the error small.
static float mean_grey(const float *rgb, int64_t pixels)
{
    double sum = 0;
    for (int64_t i = 0; i < pixels;) {
        float part = 0;
        for (int64_t end = i + 64 < pixels ? i + 64 : pixels; i < end; i++)
            part += grey(rgb + 3 * i);
        sum += (double)part;
    }
    return (float)(sum / (double)pixels);
}

// Through hue (in sixths of the circle), saturation and value; no branches, so that it becomes vector code.
MN_SIMD static void turn_hue(float *rgb, int64_t pixels, float turn)
{
    for (int64_t i = 0; i < pixels; i++) {
        float *p = rgb + 3 * i, r = p[0], g = p[1], b = p[2];
        float most = r > g ? r : g, least = r < g ? r : g;
        most = b > most ? b : most;
        least = b < least ? b : least;
        float span = most - least, inverse = 1 / (span > 0 ? span : 1);
        float by_red = (g - b) * inverse, by_green = 2 + (b - r) * inverse, by_blue = 4 + (r - g) * inverse;
        float h = (most == r ? by_red : most == g ? by_green : by_blue) + 6 * turn + 6; // in (2, 14)
        for (int c = 0; c < 3; c++) { // k = (5, 3, 1) + h: v - v s max(0, min(k, 4 - k, 1)), the usual closed form
            float k = h + (float)(5 - 2 * c);
            k -= k >= 18 ? 18.0f : k >= 12 ? 12.0f : k >= 6 ? 6.0f : 0.0f;
            float rest = 4 - k;
            p[c] = most - span * clamp01(k < rest ? k : rest);
        }
    }
}

void data_jitter_apply(const data_jitter *j, float *rgb, int64_t pixels)
{
    for (int i = 0; i < 4; i++) {
        if (j->order[i] == 0 && j->brightness != 1) blend_constant(rgb, pixels * 3, j->brightness, 0);
        if (j->order[i] == 1 && j->contrast != 1)
            blend_constant(rgb, pixels * 3, j->contrast, (1 - j->contrast) * mean_grey(rgb, pixels));
        if (j->order[i] == 2 && j->saturation != 1) blend_grey(rgb, pixels, j->saturation);
        if (j->order[i] == 3 && j->hue != 0) turn_hue(rgb, pixels, j->hue);
    }
}

MN_SIMD static void normalise(float *restrict rgb, int64_t pixels, const float *restrict scale,
                              const float *restrict bias)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = rgb[3 * i + c] * scale[c] + bias[c];
}

// The pixels that the box's filter reaches, one more than needed at most.
static void reach(double start, double length, int n, data_filter filter, int low, int high, int *first, int *end)
{
    double step = length / n, support = (filter == DATA_BICUBIC ? 2 : 1) * fmax(step, 1) + 1;
    *first = (int)fmax(low, floor(start - support));
    *end = (int)fmin(high, ceil(start + length + support));
}

// Weights of one axis for a region decoded at 1/reduced that starts at pixel `at` and has `have` pixels.
static mn_err fill_axis(data_taps *t, const data_augment *cfg, double start, double length, int low, int high,
                        int reduced, int at, int have, int mirrored)
{
    data_axis axis = {.start = start / reduced,
                      .length = length / reduced,
                      .low = low / reduced > at ? low / reduced : at,
                      .high = (high + reduced - 1) / reduced,
                      .n = cfg->size,
                      .mirrored = mirrored};
    if (axis.high > at + have) axis.high = at + have;
    return data_taps_fill(t, &axis, cfg->filter);
}

static mn_err decode_crop(data_augmenter *a, const data_crop *c, data_region *p)
{
    const data_augment *cfg = &a->cfg;
    int x, right, y, bottom;
    reach(c->x, c->width, cfg->size, cfg->filter, c->low_x, c->high_x, &x, &right);
    reach(c->y, c->height, cfg->size, cfg->filter, c->low_y, c->high_y, &y, &bottom);
    // The box, not what its filter reaches, must keep the output's resolution.
    int least_x = (int)ceil(cfg->size * ((right - x) / c->width)),
        least_y = (int)ceil(cfg->size * ((bottom - y) / c->height));
    MN_TRY(data_region_decode(a->reader, x, y, right - x, bottom - y, least_x, least_y, p));
    MN_TRY(fill_axis(&a->across, cfg, c->x, c->width, c->low_x, c->high_x, p->reduced, p->x, p->width, c->flip));
    return fill_axis(&a->down, cfg, c->y, c->height, c->low_y, c->high_y, p->reduced, p->y, p->height, 0);
}

// 0..1 to 8 bits and back.
MN_SIMD static void to_eight(const float *restrict from, int64_t values, uint8_t *restrict to)
{
    for (int64_t i = 0; i < values; i++)
        to[i] = (uint8_t)(int)(clamp01(from[i]) * 255 + 0.5f);
}

MN_SIMD static void from_eight(const uint8_t *restrict from, int64_t values, float *restrict to)
{
    for (int64_t i = 0; i < values; i++)
        to[i] = (float)from[i] * (1 / 255.0f);
}

static void warp_eight(data_augmenter *a, data_draw draw)
{
    static const uint8_t black[3] = {0};
    int size = a->cfg.size;
    data_warp_draw w;
    double m[6];
    if (!data_augment_warp(&a->cfg.affine, size, size, draw, &w)) return;
    data_warp_matrix(&w, size, size, m);
    data_warp(a->eight, a->eight_scratch, size, size, m, a->cfg.filter, black);
    uint8_t *was = a->eight;
    a->eight = a->eight_scratch;
    a->eight_scratch = was;
}

// timm fills what RandAugment moves in with the mean of the normalisation.
static void rand_eight(data_augmenter *a, data_draw draw)
{
    data_rand_op op[DATA_RAND_LAYERS];
    uint8_t fill[3];
    for (int c = 0; c < 3; c++)
        fill[c] = (uint8_t)fminf(255, rintf(255 * a->cfg.mean[c]));
    int n = data_rand_draw(&a->cfg.rand, draw, op);
    for (int i = 0; i < n; i++)
        data_rand_apply(&op[i], a->cfg.size, a->cfg.size, a->cfg.filter, fill, a->eight, a->eight_scratch);
}

// What comes between resampling and normalisation, on numbers of 0..1.
static void change_picture(data_augmenter *a, data_draw draw, float *out)
{
    const data_augment *cfg = &a->cfg;
    int64_t pixels = (int64_t)cfg->size * cfg->size;
    int jitter = has_jitter(cfg), warp = cfg->train && cfg->affine.probability > 0,
        rand = cfg->train && cfg->rand.layers > 0;
    if (warp) {
        to_eight(out, pixels * 3, a->eight);
        warp_eight(a, draw);
        if (jitter || !rand) from_eight(a->eight, pixels * 3, out);
    }
    if (jitter) {
        data_jitter j = data_augment_jitter(cfg, draw);
        data_jitter_apply(&j, out, pixels);
    }
    if (rand) {
        if (jitter || !warp) to_eight(out, pixels * 3, a->eight);
        rand_eight(a, draw);
        from_eight(a->eight, pixels * 3, out);
    }
    if (cfg->grey) blend_grey(out, pixels, 0);
}

mn_err data_augment_picture(data_augmenter *a, const void *bytes, size_t size, data_draw draw, void *out)
{
    const data_augment *cfg = &a->cfg;
    int width, height;
    data_region p;
    double began = mn_seconds();
    MN_TRY(data_region_begin(a->reader, bytes, size, &width, &height));
    data_crop c = data_augment_crop(cfg, width, height, draw);
    MN_TRY(decode_crop(a, &c, &p));
    double decoded = mn_seconds();
    int64_t need = data_resample_scratch(&a->across);
    if (need > a->row_capacity) {
        a->row = mn_realloc(a->row, (size_t)need, sizeof *a->row);
        a->row_capacity = need;
    }
    float scale[3], bias[3];
    static const float one[3] = {1, 1, 1}, zero[3] = {0};
    for (int i = 0; i < 3; i++) {
        scale[i] = 1 / cfg->std[i];
        bias[i] = -cfg->mean[i] / cfg->std[i];
    }
    int steps = has_steps(cfg);
    const uint8_t *first = p.rgb + (size_t)(a->down.low - p.y) * p.stride + (size_t)(a->across.low - p.x) * 3;
    data_resample(first, p.stride, &a->across, &a->down, steps ? one : scale, steps ? zero : bias,
                  cfg->filter == DATA_BICUBIC, a->row, a->whole ? MN_F32 : cfg->dtype, a->whole ? a->whole : out);
    double resized = mn_seconds();
    float *change = a->whole ? a->whole : out;
    int64_t pixels = (int64_t)cfg->size * cfg->size;
    if (steps) {
        change_picture(a, draw, change);
        normalise(change, pixels, scale, bias);
    }
    if (has_erase(cfg)) data_erase_apply(&cfg->erase, draw, cfg->size, cfg->size, change);
    if (a->whole) data_narrow(a->whole, pixels * 3, out);
    a->stage[DATA_STAGE_DECODE] += decoded - began;
    a->stage[DATA_STAGE_RESIZE] += resized - decoded;
    a->stage[DATA_STAGE_CHANGE] += mn_seconds() - resized;
    return MN_OK;
}

void data_mask_draw(int cells, int tokens, double ratio, data_draw draw, uint8_t *mask)
{
    mn_rng4 r = mn_rng_block(mn_rng_key(draw.seed, "augment.mask"), (uint64_t)draw.row, (uint64_t)draw.epoch, 0);
    uint64_t key = (uint64_t)r.v[0] << 32 | r.v[1];
    int64_t n = (int64_t)cells * cells, masked = (int64_t)ceil(ratio * (double)n), side = (int64_t)cells * tokens;
    for (int64_t cell = 0; cell < n; cell++) {
        uint8_t value = mn_rng_permute(key, n, cell) < masked;
        uint8_t *corner = mask + (cell / cells) * tokens * side + (cell % cells) * tokens;
        for (int y = 0; y < tokens; y++)
            memset(corner + y * side, value, (size_t)tokens);
    }
}
