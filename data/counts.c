#include "data/counts.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPLITS = 4, BINS = 20, ATTRS = 40, DECADES = 12 };

typedef struct split_counts {
    int64_t records, pictures, videos, sounds, bytes, audio_bytes;
    int64_t expr[DATA_EXPRESSIONS], au_valid[DATA_AUS], au_active[DATA_AUS];
    int64_t va_valid[2], va_bins[2][BINS]; // equal bins over [-1, 1]
    double va_sum[2], va_squares[2];
    int64_t attr_valid[ATTRS], attr_set[ATTRS], identified;
    int64_t ages[DECADES], genders[2]; // the last decade and all after it; female, male
} split_counts;

struct data_counts {
    split_counts split[SPLITS];
    int has_expr, has_au, has_va, has_attr, has_age, has_gender, has_identity, has_video, has_audio;
};

data_counts *data_counts_new(void)
{
    return mn_calloc(1, sizeof(data_counts));
}

void data_counts_free(data_counts *c)
{
    free(c);
}

static void add_va(split_counts *k, const float *va)
{
    for (int i = 0; i < 2; i++) {
        if (!isfinite(va[i])) continue;
        int bin = (int)floorf((va[i] + 1) * BINS / 2);
        k->va_valid[i]++;
        k->va_sum[i] += va[i];
        k->va_squares[i] += (double)va[i] * va[i];
        k->va_bins[i][bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    }
}

static void add_record(data_counts *c, const data_index *x, int64_t r, const int split[DATA_TASKS + 1])
{
    split_counts *any = &c->split[split[DATA_TASKS]];
    any->records++;
    any->pictures += x->offset[r + 1] > x->offset[r];
    any->bytes += (int64_t)(x->offset[r + 1] - x->offset[r]);
    if (x->identity && (x->mask[r] & DATA_HAS_IDENTITY)) any->identified++;
    if (x->attr && (x->mask[r] & DATA_HAS_ATTR))
        for (int a = 0; a < ATTRS; a++) {
            any->attr_valid[a]++;
            any->attr_set[a] += x->attr[r * ATTRS + a] > 0;
        }
    if (x->age && x->age[r] >= 0) any->ages[x->age[r] < 10 * DECADES ? (int)(x->age[r] / 10) : DECADES - 1]++;
    if (x->gender && (x->gender[r] & ~1) == 0) any->genders[x->gender[r]]++;
    if (x->expr && x->expr[r] >= 0 && x->expr[r] < DATA_EXPRESSIONS) c->split[split[DATA_EXPR]].expr[x->expr[r]]++;
    if (x->au)
        for (int a = 0; a < DATA_AUS; a++) {
            c->split[split[DATA_AU]].au_valid[a] += x->au[r * DATA_AUS + a] >= 0;
            c->split[split[DATA_AU]].au_active[a] += x->au[r * DATA_AUS + a] > 0;
        }
    if (x->va) add_va(&c->split[split[DATA_VA]], x->va + 2 * r);
}

// Splits of record r: per task, and the strictest of them (see data_folder_open).
static void splits_of(const data_index *x, int shard_split, int32_t video, int split[DATA_TASKS + 1])
{
    split[DATA_TASKS] = DATA_SPLIT_NONE;
    for (int t = 0; t < DATA_TASKS; t++) {
        split[t] = video >= 0 ? x->videos[video].split[t] : shard_split;
        if (split[t] > split[DATA_TASKS]) split[DATA_TASKS] = split[t];
    }
}

static void add_audio(data_counts *c, const data_index *x, int shard_split)
{
    c->has_audio = 1;
    for (int64_t r = 0; r < x->n; r++) {
        int split[DATA_TASKS + 1];
        splits_of(x, shard_split, x->video ? x->video[r] : -1, split);
        c->split[split[DATA_TASKS]].sounds += x->offset[r + 1] > x->offset[r];
        c->split[split[DATA_TASKS]].audio_bytes += (int64_t)(x->offset[r + 1] - x->offset[r]);
    }
}

void data_counts_add(data_counts *c, const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    int split[DATA_TASKS + 1], shard_split = data_split_number(data_shard_about(s)->split);
    if (shard_split < 0) shard_split = DATA_SPLIT_NONE; // "all": the videos say
    if (strcmp(data_shard_about(s)->stream, "audio") == 0) {
        add_audio(c, x, shard_split);
        return;
    }
    c->has_expr |= x->expr != NULL;
    c->has_au |= x->au != NULL;
    c->has_va |= x->va != NULL;
    c->has_attr |= x->attr != NULL;
    c->has_age |= x->age != NULL;
    c->has_gender |= x->gender != NULL;
    c->has_identity |= x->identity != NULL;
    c->has_video |= x->video != NULL;
    for (int64_t r = 0; r < x->n; r++) {
        splits_of(x, shard_split, x->video ? x->video[r] : -1, split);
        add_record(c, x, r, split);
    }
    for (int v = 0; v < x->n_videos; v++) {
        splits_of(x, shard_split, v, split);
        c->split[split[DATA_TASKS]].videos++;
    }
}

// JSON

static json_t *array(const int64_t *v, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(a, json_integer(v[i]));
    return a;
}

static void put(json_t *o, const char *key, json_t *v)
{
    mn_assert(v && json_object_set_new(o, key, v) == 0);
}

static json_t *va_json(const split_counts *k, int i)
{
    double n = (double)k->va_valid[i], mean = n > 0 ? k->va_sum[i] / n : 0;
    double variance = n > 0 ? k->va_squares[i] / n - mean * mean : 0;
    json_t *o = json_object();
    put(o, "valid", json_integer(k->va_valid[i]));
    put(o, "mean", json_real(mean));
    put(o, "sd", json_real(variance > 0 ? sqrt(variance) : 0));
    put(o, "bins", array(k->va_bins[i], BINS));
    return o;
}

static json_t *split_json(const data_counts *c, const split_counts *k)
{
    json_t *o = json_object();
    put(o, "records", json_integer(k->records));
    put(o, "pictures", json_integer(k->pictures));
    put(o, "bytes", json_integer(k->bytes));
    if (c->has_video) put(o, "videos", json_integer(k->videos));
    if (c->has_audio) {
        put(o, "sounds", json_integer(k->sounds));
        put(o, "sound_seconds", json_real((double)k->audio_bytes / 32000));
    }
    if (c->has_identity) put(o, "identified", json_integer(k->identified));
    if (c->has_expr) put(o, "expr", array(k->expr, DATA_EXPRESSIONS));
    if (c->has_au) {
        put(o, "au_valid", array(k->au_valid, DATA_AUS));
        put(o, "au_active", array(k->au_active, DATA_AUS));
    }
    if (c->has_va) {
        put(o, "valence", va_json(k, 0));
        put(o, "arousal", va_json(k, 1));
    }
    if (c->has_age) put(o, "age_decades", array(k->ages, DECADES));
    if (c->has_gender) put(o, "gender", array(k->genders, 2));
    if (c->has_attr) {
        put(o, "attr_valid", array(k->attr_valid, ATTRS));
        put(o, "attr_set", array(k->attr_set, ATTRS));
    }
    return o;
}

json_t *data_counts_json(const data_counts *c)
{
    static const split_counts nothing;
    json_t *o = json_object();
    for (int i = 0; i < SPLITS; i++)
        if (memcmp(&c->split[i], &nothing, sizeof(nothing)) != 0)
            put(o, data_split_name(i), split_json(c, &c->split[i]));
    return o;
}
