#include "data/select.h"

#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct data_selection {
    data_select_cfg cfg;
    char *split;
    data_folder *folder;
    int64_t n;
    int64_t *sample; // (n) numbers in the folder, increasing
    int64_t *border; // (shards + 1) first sample of each shard that has any
    data_source source;
    data_select_counts counts;
    uint64_t digest;
    char text[256];
};

typedef struct scan { // where the selection stands in the folder
    const data_shard *shard;
    int32_t video;
    int64_t videos;
    int keep; // the video at hand
} scan;

// Borders, text and digest, after the samples are known.
static void finish(data_selection *s)
{
    int shards = 0;
    const data_shard *last = NULL;
    for (int64_t i = 0, record; i < s->n; i++) {
        const data_shard *shard = data_folder_at(s->folder, s->sample[i], &record);
        if (shard != last) s->border[shards++] = i;
        last = shard;
    }
    s->border[shards] = s->n;
    s->source = (data_source){.count = s->n, .per_epoch = s->n, .n_shards = shards, .shard = s->border};
    data_select_counts *c = &s->counts;
    c->used = s->n;
    struct {
        int64_t n;
        const char *text;
    } reasons[] = {{c->other_video, "of other videos"},
                   {c->strided, "left out by stride"},
                   {c->no_picture, "without a picture"},
                   {c->no_target, "without a valid label"},
                   {c->no_sound, "without sound"}};
    int at = snprintf(s->text, sizeof s->text, "%lld of %lld records used", (long long)s->n, (long long)c->records);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].n)
            at += snprintf(s->text + at, sizeof s->text - (size_t)at, ", %lld %s", (long long)reasons[i].n,
                           reasons[i].text);
    char options[128];
    int n = snprintf(options, sizeof options, "%s %d %d %d", s->cfg.split ? s->cfg.split : "-", s->cfg.task,
                     s->cfg.labelled, (int)s->cfg.invalid);
    uint64_t h = XXH3_64bits_withSeed(options, (size_t)n, data_folder_digest(s->folder));
    s->digest = XXH3_64bits_withSeed(s->sample, (size_t)s->n * sizeof *s->sample, h);
}

static int of_kept_video(data_selection *s, scan *at, const data_shard *shard, const data_index *x, int64_t record)
{
    int32_t video = x->video ? x->video[record] : -1;
    if (!s->cfg.keep || video < 0) return 1;
    if (shard != at->shard || video != at->video) {
        at->shard = shard;
        at->video = video;
        at->keep = s->cfg.keep(s->cfg.context, at->videos++, &x->videos[video]);
    }
    return at->keep;
}

static int on_stride(const data_selection *s, const data_index *x, int64_t i, int64_t record)
{
    if (s->cfg.stride <= 1) return 1;
    int has_video = x->video && x->frame && x->video[record] >= 0;
    return (has_video ? x->frame[record] - 1 : i) % s->cfg.stride == 0;
}

static int selects(data_selection *s, scan *at, int64_t i)
{
    int64_t record;
    const data_shard *shard = data_folder_at(s->folder, i, &record);
    const data_index *x = data_shard_index(shard);
    int64_t *left_out = NULL;
    if (!of_kept_video(s, at, shard, x, record))
        left_out = &s->counts.other_video;
    else if (!on_stride(s, x, i, record))
        left_out = &s->counts.strided;
    else if (s->cfg.pictures && x->offset[record + 1] == x->offset[record])
        left_out = &s->counts.no_picture;
    else if (s->cfg.labelled && !data_target_valid(x, record, s->cfg.task, s->cfg.invalid))
        left_out = &s->counts.no_target;
    if (left_out) ++*left_out;
    return !left_out;
}

static mn_err check_any(const data_selection *s)
{
    if (s->n > 0 || s->cfg.keep) return MN_OK;
    return mn_fail(MN_ENOINPUT, "%s: nothing to use in split '%s'%s%s: %s", s->cfg.dir,
                   s->cfg.split ? s->cfg.split : "all", s->cfg.labelled ? " for " : "",
                   s->cfg.labelled ? data_target_name(s->cfg.task) : "", s->text);
}

mn_err data_selection_open(data_selection **out, const data_select_cfg *cfg)
{
    mn_assert(!cfg->labelled || (cfg->task >= 0 && cfg->task < DATA_TASKS));
    mn_err err;
    size_t bytes;
    data_selection *s = mn_calloc(1, sizeof *s);
    s->cfg = *cfg;
    if (cfg->split) s->cfg.split = s->split = mn_strdup(cfg->split);
    static const int label[] = {DATA_KEEP_EXPR, DATA_KEEP_AU, DATA_KEEP_VA}; // of DATA_EXPR, DATA_AU, DATA_VA
    int keep = cfg->task >= 0 && cfg->task < DATA_TASKS ? label[cfg->task] : 0;
    if (cfg->columns) keep = cfg->columns == DATA_KEEP_ALL ? DATA_KEEP_ALL : keep | cfg->columns;
    MN_TRY_OUT(err, data_folder_open_with(&s->folder, cfg->dir, cfg->split, cfg->task, "image", keep));
    s->counts.records = data_folder_count(s->folder);
    MN_TRY_OUT(err, mn_mul_size((size_t)s->counts.records + 1, sizeof *s->sample, &bytes));
    s->sample = malloc(bytes);
    if (!s->sample) {
        err = mn_fail(MN_EMEM, "%s: no memory to list %lld records", cfg->dir, (long long)s->counts.records);
        goto out;
    }
    s->border = mn_calloc((size_t)data_folder_shards(s->folder) + 1, sizeof *s->border);
    scan at = {.video = -1};
    for (int64_t i = 0; i < s->counts.records; i++)
        if (selects(s, &at, i)) s->sample[s->n++] = i;
    finish(s);
    MN_TRY_OUT(err, check_any(s));
    *out = s;
    return MN_OK;
out:
    data_selection_close(s);
    return err;
}

void data_selection_close(data_selection *s)
{
    if (!s) return;
    data_folder_close(s->folder);
    free(s->sample);
    free(s->border);
    free(s->split);
    free(s);
}

void data_selection_drop(data_selection *s, int (*drop)(const void *context, const data_frame *f), const void *context)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->n; i++) {
        data_frame f;
        data_selection_at(s, i, &f);
        if (!drop(context, &f)) s->sample[kept++] = s->sample[i];
    }
    s->counts.no_sound += s->n - kept;
    s->n = kept;
    finish(s);
}

int64_t data_selection_count(const data_selection *s)
{
    return s->n;
}

int64_t data_selection_record(const data_selection *s, int64_t i)
{
    mn_assert(i >= 0 && i < s->n);
    return s->sample[i];
}

const data_shard *data_selection_place(const data_selection *s, int64_t i, int64_t *record)
{
    return data_folder_at(s->folder, data_selection_record(s, i), record);
}

void data_selection_at(const data_selection *s, int64_t i, data_frame *out)
{
    int64_t record;
    const data_shard *shard = data_selection_place(s, i, &record);
    const data_index *x = data_shard_index(shard);
    int32_t video = x->video ? x->video[record] : -1;
    *out = (data_frame){.shard = shard,
                        .record = record,
                        .video = video >= 0 ? &x->videos[video] : NULL,
                        .frame = x->frame ? x->frame[record] : 0,
                        .t_us = x->t_us ? x->t_us[record] : 0};
}

data_select_counts data_selection_counts(const data_selection *s)
{
    return s->counts;
}

const char *data_selection_text(const data_selection *s)
{
    return s->text;
}

const data_folder *data_selection_folder(const data_selection *s)
{
    return s->folder;
}

uint64_t data_selection_digest(const data_selection *s)
{
    return s->digest;
}

const data_shard *data_selection_shard(const data_selection *s, int k)
{
    int64_t record;
    mn_assert(k >= 0 && k < s->source.n_shards);
    return data_folder_at(s->folder, s->sample[s->border[k]], &record);
}

void data_selection_target(const data_selection *s, int64_t i, float *target, float *weight)
{
    int64_t record;
    const data_shard *shard = data_folder_at(s->folder, data_selection_record(s, i), &record);
    data_target_read(data_shard_index(shard), record, s->cfg.task, s->cfg.invalid, target, weight);
}

void data_selection_add_fields(const data_selection *s, data_set *set)
{
    int64_t weights = 1;
    if (s->cfg.labelled) {
        data_set_add_field(set, data_target_name(s->cfg.task), MN_F32, MN_SHAPE(data_target_columns(s->cfg.task)));
        weights = data_target_weights(s->cfg.task, s->cfg.invalid);
    }
    set->weight_field = set->n_fields;
    data_set_add_field(set, "weight", MN_F32, weights > 1 ? MN_SHAPE(weights) : (mn_shape){0});
    set->count = s->n;
    if (s->n == 0) return; // an order needs samples; a rank may be left without a video
    set->source = &s->source;
    set->n_sources = 1;
}

// -1: none.
static int class_of(const data_selection *s, int64_t i)
{
    float target[DATA_EXPRESSIONS], weight;
    mn_assert(s->cfg.task == DATA_EXPR);
    data_selection_target(s, i, target, &weight);
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        if (target[k] == 1) return k;
    return -1;
}

void data_selection_classes(const data_selection *s, int64_t count[DATA_EXPRESSIONS])
{
    memset(count, 0, DATA_EXPRESSIONS * sizeof *count);
    for (int64_t i = 0; i < s->n; i++) {
        int k = class_of(s, i);
        if (k >= 0) count[k]++;
    }
}

static int32_t expression_of(const data_index *x, int64_t record)
{
    int valid = (x->mask[record] & DATA_HAS_EXPR) && x->expr[record] >= 0 && x->expr[record] < DATA_EXPRESSIONS;
    return valid ? x->expr[record] : DATA_EXPRESSIONS;
}

// Samples are in the order of the folder: those of a video follow each other.
static void number_videos(const data_selection *s, int32_t *group, int64_t *n_groups)
{
    const data_video *last = NULL;
    *n_groups = 0;
    for (int64_t i = 0; i < s->n; i++) {
        data_frame f;
        data_selection_at(s, i, &f);
        if (i == 0 || f.video != last) ++*n_groups;
        last = f.video;
        group[i] = (int32_t)(*n_groups - 1);
    }
}

mn_err data_selection_groups(const data_selection *s, data_group by, int32_t *group, int64_t *n_groups)
{
    static const char *const name[] = {"expressions", "videos", "persons"};
    int32_t most = by == DATA_BY_EXPRESSION ? DATA_EXPRESSIONS : -1;
    for (int64_t i = 0, record; i < s->n; i++) {
        const data_index *x = data_shard_index(data_folder_at(s->folder, s->sample[i], &record));
        int has = by == DATA_BY_EXPRESSION ? x->expr && x->mask
                  : by == DATA_BY_VIDEO    ? x->video != NULL
                                           : x->identity != NULL;
        if (!has) return mn_fail(MN_ECONFIG, "%s: its records have no %s to sample by", s->cfg.dir, name[by]);
        if (by == DATA_BY_VIDEO) continue;
        group[i] = by == DATA_BY_EXPRESSION ? expression_of(x, record) : x->identity[record];
        if (group[i] > most) most = group[i];
    }
    if (by == DATA_BY_VIDEO) {
        number_videos(s, group, n_groups);
        return MN_OK;
    }
    for (int64_t i = 0; i < s->n; i++)
        if (group[i] < 0) group[i] = most + 1;
    *n_groups = (int64_t)most + 2;
    return MN_OK;
}
