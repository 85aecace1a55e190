#include "data/frames.h"

#include "data/copies.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

typedef struct frame_set {
    data_set base;
    data_frames_cfg cfg;
    data_selection *selection;
    int target;  // field of the target, -1: none
    size_t most; // bytes of the largest record
} frame_set;

typedef struct scratch {
    data_augmenter *augmenter;
    uint8_t *bytes;
    double read_s;
} scratch;

static void close_scratch(data_set *base, void *memory)
{
    scratch *t = memory;
    base->stage[DATA_STAGE_READ] += t->read_s;
    for (int k = DATA_STAGE_DECODE; k < DATA_STAGES && t->augmenter; k++)
        base->stage[k] += data_augmenter_stages(t->augmenter)[k];
    data_augmenter_close(t->augmenter);
    free(t->bytes);
    free(t);
}

static mn_err open_scratch(data_set *base, void **out)
{
    const frame_set *s = (const frame_set *)base;
    scratch *t = mn_calloc(1, sizeof *t);
    mn_err err = data_augmenter_open(&t->augmenter, &s->cfg.augment);
    if (err == MN_OK) {
        t->bytes = malloc(s->most ? s->most : 1);
        if (!t->bytes) err = mn_fail(MN_EMEM, "no memory for a record of %zu bytes", s->most);
    }
    if (err != MN_OK) {
        close_scratch(base, t);
        return err;
    }
    *out = t;
    return MN_OK;
}

static mn_err read_frame(data_set *base, void *memory, int64_t index, data_draw draw, void *const *field)
{
    const frame_set *s = (const frame_set *)base;
    scratch *t = memory;
    int64_t record;
    size_t size;
    const data_shard *shard = data_selection_place(s->selection, index, &record);
    double began = mn_seconds();
    MN_TRY(data_shard_read(shard, record, t->bytes, s->most, &size));
    t->read_s += mn_seconds() - began;
    mn_err err = data_augment_picture(t->augmenter, t->bytes, size, draw, field[0]);
    if (err != MN_OK)
        return mn_while(err, "decoding record %lld of %s (%s)", (long long)record, data_shard_about(shard)->path,
                        data_shard_name(shard, record));
    if (s->cfg.mask_cells) data_mask_draw(s->cfg.mask_cells, s->cfg.mask_tokens, s->cfg.mask_ratio, draw, field[1]);
    if (s->target >= 0)
        data_selection_target(s->selection, index, field[s->target], field[base->weight_field]);
    else
        *(float *)field[base->weight_field] = 1;
    return MN_OK;
}

static void prefetch_frame(const data_set *base, int64_t index)
{
    int64_t record;
    const data_shard *shard = data_selection_place(((const frame_set *)base)->selection, index, &record);
    data_shard_prefetch(shard, record);
}

static uint64_t id_of(const data_set *base, int64_t index)
{
    return (uint64_t)data_selection_record(((const frame_set *)base)->selection, index);
}

static void close_frames(data_set *base)
{
    frame_set *s = (frame_set *)base;
    data_selection_close(s->selection);
    free(s);
}

static void copy_shard(const data_set *base, data_copies *to, int source, int shard)
{
    (void)source;
    data_copies_add(to, data_selection_shard(((const frame_set *)base)->selection, shard));
}

static const data_set_ops frame_ops = {.name = "frames",
                                       .copy = copy_shard,
                                       .read = read_frame,
                                       .prefetch = prefetch_frame,
                                       .id = id_of,
                                       .scratch_open = open_scratch,
                                       .scratch_close = close_scratch,
                                       .close = close_frames};

static void add_fields(frame_set *s)
{
    int64_t side = s->cfg.augment.size, tokens = (int64_t)s->cfg.mask_cells * s->cfg.mask_tokens;
    data_set_add_field(&s->base, "image", s->cfg.augment.dtype, MN_SHAPE(side, side, 3));
    if (tokens) data_set_add_field(&s->base, "mask", MN_U8, MN_SHAPE(tokens * tokens));
    s->target = s->cfg.select.labelled ? s->base.n_fields : -1;
    data_selection_add_fields(s->selection, &s->base);
}

// Everything that decides what a sample holds.
static uint64_t digest_of(const frame_set *s)
{
    const data_augment *a = &s->cfg.augment;
    char text[1024];
    int n =
        snprintf(text, sizeof text, "frames %d %d %d %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %d %d",
                 a->size, a->train, (int)a->filter, a->scale[0], a->scale[1], a->ratio[0], a->ratio[1], a->flip,
                 a->brightness, a->contrast, a->saturation, a->hue, a->centre, a->grey, s->cfg.mask_cells);
    for (int c = 0; c < 3; c++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %.9g %.9g", (double)a->mean[c], (double)a->std[c]);
    n += snprintf(text + n, sizeof text - (size_t)n, " %d %.17g", s->cfg.mask_tokens, s->cfg.mask_ratio);
    const data_affine *f = &a->affine;
    if (f->probability > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, " affine %.17g %.17g %.17g %.17g %.17g %.17g", f->probability,
                      f->degrees, f->translate, f->zoom[0], f->zoom[1], f->shear);
    if (a->rand.layers > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, " rand %d %.17g %.17g %.17g", a->rand.layers,
                      a->rand.magnitude, a->rand.std, a->rand.probability);
    if (a->erase.probability > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, " erase %.17g %d", a->erase.probability, (int)a->erase.fill);
    return XXH3_64bits_withSeed(text, (size_t)n, data_selection_digest(s->selection));
}

static size_t largest_record(const data_folder *f)
{
    size_t most = 0;
    for (int k = 0; k < data_folder_shards(f); k++) {
        const data_shard *shard = data_folder_shard(f, k);
        for (int64_t i = 0, n = data_shard_index(shard)->n; i < n; i++)
            if (data_shard_size(shard, i) > most) most = data_shard_size(shard, i);
    }
    return most;
}

mn_err data_frames_open(data_set **out, const data_frames_cfg *cfg)
{
    mn_assert(cfg->augment.size >= 1 && (!cfg->mask_cells || cfg->mask_tokens >= 1));
    frame_set *s = mn_calloc(1, sizeof *s);
    s->cfg = *cfg;
    s->cfg.select.pictures = 1;
    mn_err err = data_selection_open(&s->selection, &s->cfg.select);
    if (err != MN_OK) {
        free(s);
        return err;
    }
    s->base.ops = &frame_ops;
    s->most = largest_record(data_selection_folder(s->selection));
    add_fields(s);
    s->base.digest = digest_of(s);
    *out = &s->base;
    return MN_OK;
}

const data_selection *data_frames_selection(const data_set *s)
{
    mn_assert(s->ops == &frame_ops);
    return ((const frame_set *)s)->selection;
}

size_t data_frames_largest(const data_set *s)
{
    mn_assert(s->ops == &frame_ops);
    return ((const frame_set *)s)->most;
}
