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

void data_erase_apply(const data_erase *cfg, data_draw draw, int width, int height, float *rgb)
{
    data_box box = data_erase_box(cfg, width, height, draw);
    mn_stream_rng r = stream(draw, "augment.erase.noise");
    float value[3] = {0};
    if (cfg->fill == DATA_ERASE_COLOUR)
        for (int c = 0; c < 3; c++)
            value[c] = mn_rng_normal(&r);
    for (int y = box.y; y < box.y + box.height; y++) {
        float *row = rgb + ((size_t)y * (size_t)width + (size_t)box.x) * 3;
        for (int i = 0; i < box.width * 3; i++)
            row[i] = cfg->fill == DATA_ERASE_PIXELS ? mn_rng_normal(&r) : value[i % 3];
    }
}
