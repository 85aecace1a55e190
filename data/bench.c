#include "data/bench.h"

#include "data/image.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct stored {
    uint8_t *bytes;
    size_t size;
} stored;

typedef struct picture_set {
    data_set base;
    data_augment augment;
    int n;
    stored *picture;
} picture_set;

// Random values at the corners of squares of `cell` pixels, smooth between them.
static void add_octave(mn_stream_rng *r, float *plane, int side, int cell, float amplitude)
{
    int n = side / cell + 2;
    float *corner = mn_calloc((size_t)n * (size_t)n, sizeof *corner);
    for (int i = 0; i < n * n; i++)
        corner[i] = amplitude * (2 * mn_rng_uniform(r) - 1);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const float *c = corner + y / cell * n + x / cell;
            float fx = (float)(x % cell) / (float)cell, fy = (float)(y % cell) / (float)cell;
            plane[y * side + x] += (c[0] * (1 - fx) + c[1] * fx) * (1 - fy) + (c[n] * (1 - fx) + c[n + 1] * fx) * fy;
        }
    free(corner);
}

// Amplitudes fall with frequency as in photographs, colour is smoother than brightness, and an oval like a face has an
// edge: 250 pixels at quality 92 come to about 12 KiB, as face crops do.
static void draw_picture(mn_stream_rng *r, int side, uint8_t *rgb)
{
    size_t pixels = (size_t)side * (size_t)side;
    float *luma = mn_calloc(pixels * 3, sizeof *luma), *red = luma + pixels, *blue = red + pixels;
    for (int cell = 64; cell >= 1; cell /= 2) {
        float amplitude = 60.0f * powf((float)cell / 64, 0.9f);
        add_octave(r, luma, side, cell, amplitude);
        if (cell >= 8) add_octave(r, red, side, cell, amplitude / 3);
        if (cell >= 8) add_octave(r, blue, side, cell, amplitude / 3);
    }
    float half = (float)side / 2;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            float dx = ((float)x - half) / (half * 0.62f), dy = ((float)y - half) / (half * 0.8f);
            size_t at = (size_t)y * (size_t)side + (size_t)x;
            float base = dx * dx + dy * dy < 1 ? 150 : 90;
            float value[3] = {base + luma[at] + red[at], base + luma[at] - (red[at] + blue[at]) / 2,
                              base + luma[at] + blue[at]};
            for (int c = 0; c < 3; c++)
                rgb[at * 3 + (size_t)c] = (uint8_t)fminf(fmaxf(value[c], 0), 255);
        }
    free(luma);
}

static mn_err open_scratch(data_set *base, void **out)
{
    data_augmenter *a;
    MN_TRY(data_augmenter_open(&a, &((picture_set *)base)->augment));
    *out = a;
    return MN_OK;
}

static void close_scratch(data_set *base, void *scratch)
{
    for (int k = DATA_STAGE_DECODE; k < DATA_STAGES; k++)
        base->stage[k] += data_augmenter_stages(scratch)[k];
    data_augmenter_close(scratch);
}

static mn_err read_picture(data_set *base, void *scratch, int64_t index, data_draw draw, void *const *field)
{
    const stored *p = &((picture_set *)base)->picture[index];
    *(float *)field[1] = 1;
    return data_augment_picture(scratch, p->bytes, p->size, draw, field[0]);
}

static uint64_t id_of(const data_set *base, int64_t index)
{
    (void)base;
    return (uint64_t)index;
}

static void close_pictures(data_set *base)
{
    picture_set *s = (picture_set *)base;
    for (int i = 0; i < s->n; i++)
        free(s->picture[i].bytes);
    free(s->picture);
    free(s);
}

static const data_set_ops picture_ops = {.name = "generated pictures",
                                         .read = read_picture,
                                         .id = id_of,
                                         .scratch_open = open_scratch,
                                         .scratch_close = close_scratch,
                                         .close = close_pictures};

static mn_err encode_pictures(picture_set *s, const data_bench_cfg *cfg)
{
    data_coder *coder;
    MN_TRY(data_coder_open(&coder));
    mn_err err = MN_OK;
    uint8_t *rgb = mn_calloc((size_t)cfg->side * (size_t)cfg->side, 3);
    for (; err == MN_OK && s->n < cfg->pictures; s->n++) {
        mn_stream_rng r = mn_rng_open(mn_rng_key(1, "bench.picture"), (uint64_t)s->n, 0);
        const uint8_t *bytes;
        stored *p = &s->picture[s->n];
        draw_picture(&r, cfg->side, rgb);
        err = data_jpeg_encode(coder, rgb, cfg->side, cfg->side, cfg->quality, 0, &bytes, &p->size);
        if (err != MN_OK) break;
        p->bytes = mn_calloc(p->size, 1);
        memcpy(p->bytes, bytes, p->size);
    }
    free(rgb);
    data_coder_close(coder);
    return err;
}

mn_err data_bench_pictures_open(data_set **out, const data_bench_cfg *cfg)
{
    mn_assert(cfg->pictures >= 1 && cfg->side >= 1 && cfg->augment.size >= 1);
    picture_set *s = mn_calloc(1, sizeof *s);
    int size = cfg->augment.size;
    s->base = (data_set){
        .ops = &picture_ops,
        .count = cfg->pictures,
        .n_fields = 2,
        .field = {{"image", cfg->augment.dtype, MN_SHAPE(size, size, 3)}, {.name = "weight", .dtype = MN_F32}},
        .weight_field = 1};
    s->augment = cfg->augment;
    s->picture = mn_calloc((size_t)cfg->pictures, sizeof *s->picture);
    mn_err err = encode_pictures(s, cfg);
    if (err != MN_OK) {
        close_pictures(&s->base);
        return err;
    }
    *out = &s->base;
    return MN_OK;
}

double data_bench_pictures_bytes(const data_set *base)
{
    const picture_set *s = (const picture_set *)base;
    double sum = 0;
    for (int i = 0; i < s->n; i++)
        sum += (double)s->picture[i].size;
    return sum / s->n;
}

mn_err data_bench_pictures_write(const data_set *base, const char *dir)
{
    const picture_set *s = (const picture_set *)base;
    for (int i = 0; i < s->n; i++) {
        char *path = mn_sprintf("%s/%05d.jpg", dir, i);
        FILE *f = fopen(path, "wb");
        int failed = !f || fwrite(s->picture[i].bytes, 1, s->picture[i].size, f) != s->picture[i].size;
        if (f && fclose(f)) failed = 1;
        mn_err err = failed ? mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno)) : MN_OK;
        free(path);
        MN_TRY(err);
    }
    return MN_OK;
}

static double cpu_seconds(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)) return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mn_err take_batches(data_loader *l, const data_loader_cfg *cfg, double seconds, data_bench_result *out)
{
    const data_batch *b;
    for (int i = 0; i <= cfg->ahead; i++) { // all memory is touched for the first time
        MN_TRY(data_loader_next(l, &b));
        data_loader_release(l, b);
    }
    int ready;
    double began = mn_seconds(), cpu = cpu_seconds();
    int64_t before = data_loader_progress(l, &ready);
    do {
        MN_TRY(data_loader_next(l, &b));
        data_loader_release(l, b);
        out->seconds = mn_seconds() - began;
    } while (out->seconds < seconds);
    out->rows = data_loader_progress(l, &ready) - before; // rows under way count on both sides
    out->cpu_s = cpu_seconds() - cpu;
    out->rows_per_s = (double)out->rows / out->seconds;
    return MN_OK;
}

mn_err data_bench_loader(const data_loader_cfg *cfg, double seconds, data_bench_result *out)
{
    mn_assert(cfg->train);
    data_loader *l;
    double before[DATA_STAGES], began = mn_seconds();
    memcpy(before, cfg->set->stage, sizeof before);
    MN_TRY(data_loader_open(&l, cfg, (data_state){.seed = 1}));
    mn_err err = take_batches(l, cfg, seconds, out);
    data_loader_close(l); // threads end where they are: what they had is all of their time
    out->threads_s = cfg->threads * (mn_seconds() - began);
    for (int k = 0; k < DATA_STAGES; k++)
        out->stage[k] = cfg->set->stage[k] - before[k];
    return err;
}

mn_err data_bench_decode(const data_set *base, double seconds, double *per_s)
{
    const picture_set *s = (const picture_set *)base;
    data_coder *coder;
    data_image image = {0};
    MN_TRY(data_coder_open(&coder));
    mn_err err = MN_OK;
    int64_t n = 0;
    double began = mn_seconds(), spent = 0;
    for (; err == MN_OK && spent < seconds; n++, spent = mn_seconds() - began)
        err = data_image_decode(coder, s->picture[n % s->n].bytes, s->picture[n % s->n].size, 0, &image);
    *per_s = (double)n / spent;
    data_image_release(&image);
    data_coder_close(coder);
    return err;
}
