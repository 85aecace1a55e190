#include "data/mixup.h"

#include "nn/base/rng.h"
#include "nn/base/simd.h"

#include <math.h>
#include <string.h>

static int within(int v, int n)
{
    return v < 0 ? 0 : v > n ? n : v;
}

// timm's rand_bbox: a box of the picture's shape, cut at its borders, and cutmix_bbox_and_lam's correction for that.
data_mixture data_mixup_box(double keep, int y, int x, int height, int width)
{
    double side = sqrt(1 - keep);
    int h = (int)(height * side), w = (int)(width * side);
    data_mixture m = {.cut = 1,
                      .top = within(y - h / 2, height),
                      .bottom = within(y + (h + 1) / 2, height),
                      .left = within(x - w / 2, width),
                      .right = within(x + (w + 1) / 2, width)};
    double area = (double)(m.bottom - m.top) * (m.right - m.left);
    m.keep = (float)(1 - area / ((double)height * width));
    return m;
}

// The share of mixup has a stream of its own: what else is on does not change it.
data_mixture data_mixup_draw(const data_mixup *cfg, uint64_t seed, int64_t epoch, int64_t position, int height,
                             int width)
{
    mn_stream_rng choice = mn_rng_open(mn_rng_key(seed, "mixup.choice"), (uint64_t)position, (uint64_t)epoch);
    double mixed = mn_rng_range(&choice, 0, 1), kind = mn_rng_range(&choice, 0, 1);
    int cut = cfg->cutmix_alpha > 0 && (!(cfg->alpha > 0) || kind < cfg->cutmix_share);
    if (!data_mixup_on(cfg) || (cfg->probability > 0 && mixed >= cfg->probability)) return (data_mixture){.keep = 1};
    if (!cut) {
        mn_stream_rng r = mn_rng_open(mn_rng_key(seed, "mixup"), (uint64_t)position, (uint64_t)epoch);
        return (data_mixture){.keep = (float)mn_rng_beta(&r, cfg->alpha, cfg->alpha)};
    }
    double keep = mn_rng_beta(&choice, cfg->cutmix_alpha, cfg->cutmix_alpha);
    int y = (int)mn_rng_below(&choice, height), x = (int)mn_rng_below(&choice, width);
    return data_mixup_box(keep, y, x, height, width);
}

MN_SIMD static void blend(float *restrict a, float *restrict b, int64_t n, float keep)
{
    for (int64_t i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = keep * x + (1 - keep) * y;
        b[i] = keep * y + (1 - keep) * x;
    }
}

static void exchange(float *restrict a, float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

void data_mixup_pair(const data_mixture *m, mn_shape row, float *a, float *b)
{
    if (m->keep == 1) return;
    if (!m->cut || !data_mixup_is_picture(row)) {
        blend(a, b, mn_count(row), m->keep);
        return;
    }
    int64_t width = row.d[1], channels = row.d[2];
    for (int64_t y = m->top; y < m->bottom; y++) {
        int64_t at = (y * width + m->left) * channels;
        exchange(a + at, b + at, (m->right - m->left) * channels);
    }
}
