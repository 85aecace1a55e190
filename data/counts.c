#include "data/counts.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPLITS = 4, BINS = 20, ATTRS = 40, DECADES = 12 };
enum { HAS_EXPR, HAS_AU, HAS_VA, HAS_ATTR, HAS_AGE, HAS_GENDER, HAS_IDENTITY, HAS_VIDEO, HAS_AUDIO, HAS };
static const double UNIT = 1 << 30; // of sums of valence and arousal: integers add up to the same in any order

typedef struct split_counts {
    int64_t records, pictures, videos, sounds, bytes, audio_bytes;
    int64_t expr[DATA_EXPRESSIONS], au_valid[DATA_AUS], au_active[DATA_AUS];
    int64_t va_valid[2], va_bins[2][BINS]; // equal bins over [-1, 1]
    int64_t va_sum[2], va_squares[2];      // in 1 / UNIT
    int64_t attr_valid[ATTRS], attr_set[ATTRS], identified;
    int64_t ages[DECADES], genders[2]; // the last decade and all after it; female, male
} split_counts;

struct data_counts { // all int64_t: see data_counts_values
    split_counts split[SPLITS];
    int64_t has[HAS]; // not 0: there is such a column
};

data_counts *data_counts_new(void)
{
    return mn_calloc(1, sizeof(data_counts));
}

void data_counts_free(data_counts *c)
{
    free(c);
}

int64_t *data_counts_values(data_counts *c, int64_t *n)
{
    *n = sizeof(*c) / sizeof(int64_t);
    return (int64_t *)c;
}

void data_counts_merge(data_counts *c, const data_counts *more)
{
    int64_t *to = (int64_t *)c;
    const int64_t *from = (const int64_t *)more;
    for (size_t i = 0; i < sizeof(*c) / sizeof(int64_t); i++)
        to[i] += from[i];
}

static void add_va(split_counts *k, const float *va)
{
    for (int i = 0; i < 2; i++) {
        if (!isfinite(va[i])) continue;
        double v = fmin(fmax((double)va[i], -2), 2); // out of range only in a shard of another program
        int bin = (int)floor((v + 1) * BINS / 2);
        k->va_valid[i]++;
        k->va_sum[i] += llround(v * UNIT);
        k->va_squares[i] += llround(v * v * UNIT);
        k->va_bins[i][bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    }
}

// Splits of a record: per task, and the strictest of them (see data_folder_open).
static void splits_of(const data_writer_cfg *of, const data_video *v, int split[DATA_TASKS + 1])
{
    int shard_split = data_split_number(of->split);
    if (shard_split < 0) shard_split = DATA_SPLIT_NONE; // "all": the videos say
    split[DATA_TASKS] = DATA_SPLIT_NONE;
    for (int t = 0; t < DATA_TASKS; t++) {
        split[t] = v ? v->split[t] : shard_split;
        if (split[t] > split[DATA_TASKS]) split[DATA_TASKS] = split[t];
    }
}

static int is_audio(const data_writer_cfg *of)
{
    return strcmp(of->stream, "audio") == 0;
}

void data_counts_columns(data_counts *c, const data_writer_cfg *of)
{
    c->has[HAS_AUDIO] += is_audio(of);
    if (is_audio(of)) return;
    c->has[HAS_EXPR] += of->has_expr != 0;
    c->has[HAS_AU] += of->has_au != 0;
    c->has[HAS_VA] += of->has_va != 0;
    c->has[HAS_ATTR] += of->has_attr != 0;
    c->has[HAS_AGE] += of->has_age != 0;
    c->has[HAS_GENDER] += of->has_gender != 0;
    c->has[HAS_IDENTITY] += of->has_identity != 0;
    c->has[HAS_VIDEO] += of->has_video != 0;
}

void data_counts_video(data_counts *c, const data_writer_cfg *of, const data_video *v)
{
    int split[DATA_TASKS + 1];
    splits_of(of, v, split);
    if (!is_audio(of)) c->split[split[DATA_TASKS]].videos++;
}

static void add_labels(data_counts *c, const data_writer_cfg *of, const data_record *r, const int split[DATA_TASKS + 1])
{
    split_counts *any = &c->split[split[DATA_TASKS]];
    if (of->has_identity && (r->mask & DATA_HAS_IDENTITY)) any->identified++;
    if (of->has_attr && r->attr && (r->mask & DATA_HAS_ATTR))
        for (int a = 0; a < ATTRS; a++) {
            any->attr_valid[a]++;
            any->attr_set[a] += r->attr[a] > 0;
        }
    if (of->has_age && r->age >= 0) any->ages[r->age < 10 * DECADES ? (int)(r->age / 10) : DECADES - 1]++;
    if (of->has_gender && (r->gender & ~1) == 0) any->genders[r->gender]++;
    if (of->has_expr && r->expr >= 0 && r->expr < DATA_EXPRESSIONS) c->split[split[DATA_EXPR]].expr[r->expr]++;
    for (int a = 0; of->has_au && a < DATA_AUS; a++) {
        c->split[split[DATA_AU]].au_valid[a] += r->au[a] >= 0;
        c->split[split[DATA_AU]].au_active[a] += r->au[a] > 0;
    }
    if (of->has_va) add_va(&c->split[split[DATA_VA]], r->va);
}

void data_counts_record(data_counts *c, const data_writer_cfg *of, const data_video *v, const data_record *r)
{
    int split[DATA_TASKS + 1];
    splits_of(of, v, split);
    split_counts *any = &c->split[split[DATA_TASKS]];
    if (is_audio(of)) {
        any->sounds += r->size > 0;
        any->audio_bytes += (int64_t)r->size;
        return;
    }
    any->records++;
    any->pictures += r->size > 0;
    any->bytes += (int64_t)r->size;
    add_labels(c, of, r, split);
}

// The labels of record i, as the writer got them.
static void labels_at(const data_index *x, int64_t i, data_record *r)
{
    *r = (data_record){.size = (size_t)(x->offset[i + 1] - x->offset[i]), .mask = x->mask[i]};
    if (x->expr) r->expr = x->expr[i];
    if (x->au) memcpy(r->au, x->au + i * DATA_AUS, sizeof(r->au));
    if (x->va) memcpy(r->va, x->va + 2 * i, sizeof(r->va));
    if (x->attr) r->attr = x->attr + i * ATTRS;
    if (x->age) r->age = x->age[i];
    if (x->gender) r->gender = x->gender[i];
}

void data_counts_add(data_counts *c, const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    const data_writer_cfg of = {.split = data_shard_about(s)->split,
                                .stream = data_shard_about(s)->stream,
                                .has_expr = x->expr != NULL,
                                .has_au = x->au != NULL,
                                .has_va = x->va != NULL,
                                .has_attr = x->attr != NULL,
                                .has_age = x->age != NULL,
                                .has_gender = x->gender != NULL,
                                .has_identity = x->identity != NULL,
                                .has_video = x->video != NULL};
    data_counts_columns(c, &of);
    for (int v = 0; v < x->n_videos; v++)
        data_counts_video(c, &of, &x->videos[v]);
    for (int64_t i = 0; i < x->n; i++) {
        data_record r;
        labels_at(x, i, &r);
        data_counts_record(c, &of, x->video && x->video[i] >= 0 ? &x->videos[x->video[i]] : NULL, &r);
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
    double n = (double)k->va_valid[i], mean = n > 0 ? (double)k->va_sum[i] / UNIT / n : 0;
    double variance = n > 0 ? (double)k->va_squares[i] / UNIT / n - mean * mean : 0;
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
    if (c->has[HAS_VIDEO]) put(o, "videos", json_integer(k->videos));
    if (c->has[HAS_AUDIO]) {
        put(o, "sounds", json_integer(k->sounds));
        put(o, "sound_seconds", json_real((double)k->audio_bytes / 32000));
    }
    if (c->has[HAS_IDENTITY]) put(o, "identified", json_integer(k->identified));
    if (c->has[HAS_EXPR]) put(o, "expr", array(k->expr, DATA_EXPRESSIONS));
    if (c->has[HAS_AU]) {
        put(o, "au_valid", array(k->au_valid, DATA_AUS));
        put(o, "au_active", array(k->au_active, DATA_AUS));
    }
    if (c->has[HAS_VA]) {
        put(o, "valence", va_json(k, 0));
        put(o, "arousal", va_json(k, 1));
    }
    if (c->has[HAS_AGE]) put(o, "age_decades", array(k->ages, DECADES));
    if (c->has[HAS_GENDER]) put(o, "gender", array(k->genders, 2));
    if (c->has[HAS_ATTR]) {
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
