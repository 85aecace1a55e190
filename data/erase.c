#include "data/erase.h"

#include "nn/base/rng.h"

#include <math.h>

static const double least = 0.02, most = 1.0 / 3, narrowest = 0.3;

static mn_stream_rng stream(data_draw d, const char *purpose)
{
    return mn_rng_open(mn_rng_key(d.seed, purpose), (uint64_t)d.row, (uint64_t)d.epoch);
}

int data_erase_fit(double area, double ratio, int width, int height, data_box *out)
{
    double h = rint(sqrt(area * ratio)), w = rint(sqrt(area / ratio)); // halves to even, as Python's round
    *out = (data_box){.width = (int)w, .height = (int)h};
    return w >= 1 && h >= 1 && w < width && h < height;
}

data_box data_erase_box(const data_erase *cfg, int width, int height, data_draw draw)
{
    mn_stream_rng r = stream(draw, "augment.erase");
    data_box box;
    if (mn_rng_range(&r, 0, 1) >= cfg->probability) return (data_box){0};
    for (int i = 0; i < 10; i++) {
        double area = mn_rng_range(&r, least, most) * width * height;
        double ratio = exp(mn_rng_range(&r, log(narrowest), -log(narrowest)));
        if (!data_erase_fit(area, ratio, width, height, &box)) continue;
        box.y = (int)mn_rng_below(&r, height - box.height + 1);
        box.x = (int)mn_rng_below(&r, width - box.width + 1);
        return box;
    }
    return (data_box){0};
}

// N(0, 1), Box and Muller with both of its results, from numbers [first, first + n) of the stream; first % 4 == 0. Single
// precision: a picture has tens of thousands of them, and nothing beyond 5.8 either way.
static void fill_normal(uint64_t key, data_draw draw, uint32_t first, int n, float *out)
{
    enum { AT_ONCE = 256 };
    uint32_t u[AT_ONCE];
    for (int done = 0; done < n; done += AT_ONCE) {
        int m = n - done < AT_ONCE ? n - done : AT_ONCE;
        uint32_t block = (first + (uint32_t)done) / 4;
        mn_rng_blocks(key, (uint64_t)draw.row, (uint64_t)draw.epoch, block, (m + 3) / 4, u);
        for (int i = 0; i < m; i += 2) {
            float radius = sqrtf(-2 * logf(1 - mn_uniform(u[i]))), s, c;
            sincosf(2 * (float)M_PI * mn_uniform(u[i + 1]), &s, &c);
            out[done + i] = radius * c;
            if (i + 1 < m) out[done + i + 1] = radius * s;
        }
    }
}

void data_erase_apply(const data_erase *cfg, data_draw draw, int width, int height, float *rgb)
{
    data_box box = data_erase_box(cfg, width, height, draw);
    uint64_t key = mn_rng_key(draw.seed, "augment.erase.noise");
    float value[3] = {0};
    int n = box.width * 3;
    if (cfg->fill == DATA_ERASE_COLOUR) fill_normal(key, draw, 0, 3, value);
    for (int y = 0; y < box.height; y++) {
        float *row = rgb + ((size_t)(box.y + y) * (size_t)width + (size_t)box.x) * 3;
        if (cfg->fill == DATA_ERASE_PIXELS)
            fill_normal(key, draw, (uint32_t)y * (uint32_t)((n + 3) / 4 * 4), n, row);
        else
            for (int i = 0; i < n; i++)
                row[i] = value[i % 3];
    }
}
