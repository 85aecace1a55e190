#include "loader_support.h"

#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>

float counting_pixel(int64_t index, data_draw draw, int pixel)
{
    mn_rng4 r =
        mn_rng_block(mn_rng_key(draw.seed, "pixel"), (uint64_t)draw.row, (uint64_t)draw.epoch, (uint32_t)(pixel / 4));
    return (float)index + mn_uniform(r.v[pixel % 4]);
}

static void prefetch_counting(const data_set *base, int64_t index)
{
    (void)index;
    ((counting_set *)(uintptr_t)base)->prefetched++;
}

// The scratch is used for real: a loader that gives one to two threads at once is found by the comparison, or by TSan.
static mn_err read_counting(data_set *base, void *scratch, int64_t index, data_draw draw, void *const *field)
{
    counting_set *s = (counting_set *)base;
    float *row = scratch, *image = field[0], *target = field[1], *weight = field[2];
    int64_t ahead = s->prefetched - s->reads++;
    if (s->reads <= s->watched && ahead < s->ahead) s->ahead = ahead;
    if (index == s->bad) return mn_fail(MN_EDATA, "shard-7.h5: record %lld is damaged", (long long)index);
    for (int i = 0; i < PIXELS; i++)
        row[i] = counting_pixel(index, draw, i);
    for (int i = 0; i < PIXELS; i++)
        image[i] = row[i];
    for (int k = 0; k < 4; k++)
        target[k] = k == index % 4;
    *weight = 1;
    return MN_OK;
}

static uint64_t id_counting(const data_set *base, int64_t index)
{
    (void)base;
    return (uint64_t)3 << 48 | (uint64_t)index;
}

static mn_err open_scratch(data_set *base, void **out)
{
    ((counting_set *)base)->scratches++;
    *out = mn_calloc(PIXELS, sizeof(float));
    return MN_OK;
}

static void close_scratch(data_set *base, void *scratch)
{
    ((counting_set *)base)->scratches--;
    free(scratch);
}

static const data_set_ops counting_ops = {.name = "counting",
                                          .read = read_counting,
                                          .prefetch = prefetch_counting,
                                          .id = id_counting,
                                          .scratch_open = open_scratch,
                                          .scratch_close = close_scratch};

counting_set counting_set_make(int64_t count)
{
    return (counting_set){.base = {.ops = &counting_ops,
                                   .count = count,
                                   .n_fields = 3,
                                   .field = {{"image", MN_F32, MN_SHAPE(2, 4, 3)},
                                             {"expr", MN_F32, MN_SHAPE(4)},
                                             {.name = "weight", .dtype = MN_F32}},
                                   .weight_field = 2},
                          .bad = -1};
}
