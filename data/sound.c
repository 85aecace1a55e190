#include "data/sound.h"

#include "data/tracks.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <xxhash.h>

enum { FIELD_WAVE, FIELD_TARGET };

typedef struct sound_set {
    data_set base;
    data_selection *selection;
    data_tracks *tracks;
    int64_t samples; // of a wave
    int labelled;
} sound_set;

static int64_t first_sample(const sound_set *s, int64_t t_us)
{
    return llround((double)t_us * 1e-6 * DATA_SOUND_RATE) - s->samples / 2;
}

static int64_t track_of(const sound_set *s, const data_frame *f)
{
    return f->video ? data_tracks_find(s->tracks, f->video->source) : -1;
}

static int is_silent(const void *context, const data_frame *f)
{
    const sound_set *s = context;
    int64_t k = track_of(s, f);
    return k < 0 || first_sample(s, f->t_us) >= data_tracks_samples(s->tracks, k);
}

static mn_err open_scratch(data_set *base, void **out)
{
    *out = mn_calloc((size_t)((sound_set *)base)->samples, sizeof(int16_t));
    return MN_OK;
}

static void close_scratch(data_set *base, void *scratch)
{
    (void)base;
    free(scratch);
}

static mn_err read_sound(data_set *base, void *scratch, int64_t index, data_draw draw, void *const *field)
{
    sound_set *s = (sound_set *)base;
    data_frame f;
    (void)draw;
    data_selection_at(s->selection, index, &f);
    MN_TRY(
        data_tracks_wave(s->tracks, track_of(s, &f), first_sample(s, f.t_us), s->samples, scratch, field[FIELD_WAVE]));
    if (s->labelled)
        data_selection_target(s->selection, index, field[FIELD_TARGET], field[base->weight_field]);
    else
        *(float *)field[base->weight_field] = 1;
    return MN_OK;
}

static uint64_t id_of(const data_set *base, int64_t index)
{
    return (uint64_t)data_selection_record(((const sound_set *)base)->selection, index);
}

static void close_sound(data_set *base)
{
    sound_set *s = (sound_set *)base;
    data_selection_close(s->selection);
    data_tracks_close(s->tracks);
    free(s);
}

static const data_set_ops sound_ops = {.name = "sound",
                                       .read = read_sound,
                                       .id = id_of,
                                       .scratch_open = open_scratch,
                                       .scratch_close = close_scratch,
                                       .close = close_sound};

static mn_err open_parts(sound_set *s, const data_sound_cfg *cfg)
{
    const data_select_cfg *c = &cfg->select;
    MN_TRY(data_selection_open(&s->selection, c));
    MN_TRY(data_tracks_open(&s->tracks, c->dir, NULL, DATA_TASKS)); // a file may serve videos of several splits
    data_selection_drop(s->selection, is_silent, s);
    if (data_selection_count(s->selection) == 0 && !c->keep)
        return mn_fail(MN_ENOINPUT, "%s: no frame with sound in split '%s': %s", c->dir, c->split ? c->split : "all",
                       data_selection_text(s->selection));
    return MN_OK;
}

mn_err data_sound_open(data_set **out, const data_sound_cfg *cfg)
{
    sound_set *s = mn_calloc(1, sizeof *s);
    s->base.ops = &sound_ops;
    s->samples = llround(cfg->seconds * DATA_SOUND_RATE);
    s->labelled = cfg->select.labelled;
    mn_assert(s->samples >= 1);
    mn_err err = open_parts(s, cfg);
    if (err != MN_OK) {
        close_sound(&s->base);
        return err;
    }
    data_set_add_field(&s->base, "wave", MN_F32, MN_SHAPE(s->samples));
    data_selection_add_fields(s->selection, &s->base);
    s->base.digest = XXH3_64bits_withSeed(&s->samples, sizeof s->samples, data_selection_digest(s->selection));
    *out = &s->base;
    return MN_OK;
}

const data_selection *data_sound_selection(const data_set *s)
{
    mn_assert(s->ops == &sound_ops);
    return ((const sound_set *)s)->selection;
}
