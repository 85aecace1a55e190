#include "data/chunks.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <xxhash.h>

enum { FIELD_WAVE, FIELD_VALID, FIELD_WEIGHT };

typedef struct piece {
    int64_t track, number; // of the chunk in its track
} piece;

typedef struct chunk_set {
    data_set base;
    data_tracks *tracks;
    int64_t samples, step; // of a chunk; from one chunk to the next, a multiple of hop
    int64_t hop, field, tokens;
    int64_t capacity;
    piece *piece;
} chunk_set;

static int64_t tokens_in(const chunk_set *s, int64_t samples)
{
    return samples < s->field ? 0 : (samples - s->field) / s->hop + 1;
}

static int64_t track_tokens(const chunk_set *s, int64_t track)
{
    return tokens_in(s, data_tracks_samples(s->tracks, track));
}

// Chunks until the last token of the track lies in one.
static int64_t chunks_of(const chunk_set *s, int64_t track)
{
    int64_t n = track_tokens(s, track), step = s->step / s->hop;
    if (n == 0) return 0;
    return n <= s->tokens ? 1 : 1 + (n - s->tokens + step - 1) / step;
}

static void list_chunks(chunk_set *s, const data_chunks_cfg *cfg)
{
    for (int64_t k = 0; k < data_tracks_count(s->tracks); k++) {
        if (cfg->keep && !cfg->keep(cfg->context, k, data_tracks_name(s->tracks, k))) continue;
        int64_t n = chunks_of(s, k);
        if (s->base.count + n > s->capacity) {
            s->capacity = (s->base.count + n) * 2;
            s->piece = mn_realloc(s->piece, (size_t)s->capacity, sizeof *s->piece);
        }
        for (int64_t i = 0; i < n; i++)
            s->piece[s->base.count++] = (piece){k, i};
    }
}

// Where two chunks overlap, the first half of the tokens they share counts of the earlier one, the rest of the later.
void data_chunks_at(const data_set *base, int64_t sample, data_chunk *out)
{
    const chunk_set *s = (const chunk_set *)base;
    mn_assert(sample >= 0 && sample < base->count);
    piece p = s->piece[sample];
    int64_t n = track_tokens(s, p.track), start = p.number * (s->step / s->hop);
    int64_t shared = s->tokens - s->step / s->hop, last = p.number + 1 == chunks_of(s, p.track);
    int64_t from = p.number == 0 ? 0 : shared / 2, to = last ? n - start : s->step / s->hop + shared / 2;
    *out = (data_chunk){.name = data_tracks_name(s->tracks, p.track),
                        .track = p.track,
                        .first = start + from,
                        .from = from,
                        .tokens = to - from,
                        .track_tokens = n,
                        .last = (int)last};
}

int64_t data_chunks_us(const data_set *base, int64_t token)
{
    const chunk_set *s = (const chunk_set *)base;
    return (token * s->hop + s->field / 2) * 1000000 / DATA_SOUND_RATE;
}

int64_t data_chunks_tokens(const data_set *base)
{
    return ((const chunk_set *)base)->tokens;
}

static mn_err open_scratch(data_set *base, void **out)
{
    *out = mn_calloc((size_t)((chunk_set *)base)->samples, sizeof(int16_t));
    return MN_OK;
}

static void close_scratch(data_set *base, void *scratch)
{
    (void)base;
    free(scratch);
}

static mn_err read_chunk(data_set *base, void *scratch, int64_t index, data_draw draw, void *const *field)
{
    chunk_set *s = (chunk_set *)base;
    piece p = s->piece[index];
    int64_t first = p.number * s->step, left = tokens_in(s, data_tracks_samples(s->tracks, p.track) - first);
    float *valid = field[FIELD_VALID];
    (void)draw;
    MN_TRY(data_tracks_wave(s->tracks, p.track, first, s->samples, scratch, field[FIELD_WAVE]));
    for (int64_t i = 0; i < s->tokens; i++)
        valid[i] = i < left;
    *(float *)field[FIELD_WEIGHT] = 1;
    return MN_OK;
}

static uint64_t id_of(const data_set *base, int64_t index)
{
    const chunk_set *s = (const chunk_set *)base;
    piece p = s->piece[index];
    return (uint64_t)data_tracks_record(s->tracks, p.track) << 24 | (uint64_t)p.number;
}

static void close_chunks(data_set *base)
{
    chunk_set *s = (chunk_set *)base;
    data_tracks_close(s->tracks);
    free(s->piece);
    free(s);
}

static const data_set_ops chunk_ops = {.name = "chunks",
                                       .read = read_chunk,
                                       .id = id_of,
                                       .scratch_open = open_scratch,
                                       .scratch_close = close_scratch,
                                       .close = close_chunks};

static mn_err measure(chunk_set *s, const data_chunks_cfg *cfg)
{
    double seconds = cfg->seconds > 0 ? cfg->seconds : 20, overlap = cfg->seconds > 0 ? cfg->overlap : 1;
    s->hop = cfg->hop ? cfg->hop : 320;
    s->field = cfg->field ? cfg->field : 400;
    s->samples = llround(seconds * DATA_SOUND_RATE);
    s->step = llround((seconds - overlap) * DATA_SOUND_RATE) / s->hop * s->hop;
    s->tokens = tokens_in(s, s->samples);
    if (s->step >= s->hop && s->tokens >= s->step / s->hop) return MN_OK;
    return mn_fail(MN_ECONFIG,
                   "chunks of %g s that overlap by %g s: they must be longer than that and overlap by at least "
                   "one frame of the network (%lld samples)",
                   seconds, overlap, (long long)s->field);
}

static mn_err open_tracks(chunk_set *s, const data_chunks_cfg *cfg)
{
    MN_TRY(measure(s, cfg));
    MN_TRY(data_tracks_open(&s->tracks, cfg->dir, cfg->split, cfg->task));
    list_chunks(s, cfg);
    return MN_OK;
}

mn_err data_chunks_open(data_set **out, const data_chunks_cfg *cfg)
{
    chunk_set *s = mn_calloc(1, sizeof *s);
    s->base.ops = &chunk_ops;
    mn_err err = open_tracks(s, cfg);
    if (err != MN_OK) {
        close_chunks(&s->base);
        return err;
    }
    data_set_add_field(&s->base, "wave", MN_F32, MN_SHAPE(s->samples));
    data_set_add_field(&s->base, "valid", MN_F32, MN_SHAPE(s->tokens));
    data_set_add_field(&s->base, "weight", MN_F32, (mn_shape){0});
    s->base.weight_field = FIELD_WEIGHT;
    int64_t all[] = {s->samples, s->step, s->hop, s->field, s->base.count};
    s->base.digest = XXH3_64bits_withSeed(all, sizeof all, data_tracks_digest(s->tracks));
    *out = &s->base;
    return MN_OK;
}
