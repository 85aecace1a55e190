#include "data/tracks.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct track {
    const char *name; // borrowed from the shard
    const data_shard *shard;
    int64_t record, samples;
    atomic_int checked;
} track;

struct data_tracks {
    data_folder *folder;
    int64_t n;
    track *track;
    int64_t *by_name; // (n) numbers of tracks, sorted by name
};

typedef struct entry { // while sorting
    const char *name;
    int64_t number;
} entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static mn_err sort_names(data_tracks *t, const char *dir)
{
    entry *e = mn_calloc((size_t)t->n + 1, sizeof *e);
    mn_err err = MN_OK;
    for (int64_t k = 0; k < t->n; k++)
        e[k] = (entry){t->track[k].name, k};
    qsort(e, (size_t)t->n, sizeof *e, compare_entries);
    for (int64_t k = 0; k < t->n; k++) {
        t->by_name[k] = e[k].number;
        if (k > 0 && strcmp(e[k].name, e[k - 1].name) == 0)
            err = mn_fail(MN_EDATA, "%s: two tracks of '%s'; import it again", dir, e[k].name);
    }
    free(e);
    return err;
}

static mn_err add_track(data_tracks *t, int64_t i)
{
    track *to = &t->track[i];
    to->shard = data_folder_at(t->folder, i, &to->record);
    const data_index *x = data_shard_index(to->shard);
    const char *path = data_shard_about(to->shard)->path;
    int32_t video = x->video ? x->video[to->record] : -1;
    if (video < 0 || x->codec[to->record] != DATA_CODEC_PCM16K)
        return mn_fail(MN_EDATA, "%s: record %lld is no sound of a video", path, (long long)to->record);
    to->name = x->videos[video].name; // the file: stem of the videos of its people
    to->samples = (int64_t)(data_shard_size(to->shard, to->record) / sizeof(int16_t));
    return MN_OK;
}

mn_err data_tracks_open(data_tracks **out, const char *dir, const char *split, int task)
{
    mn_err err;
    data_tracks *t = mn_calloc(1, sizeof *t);
    MN_TRY_OUT(err, data_folder_open(&t->folder, dir, split, task, "audio"));
    t->n = data_folder_count(t->folder);
    t->track = mn_calloc((size_t)t->n + 1, sizeof *t->track);
    t->by_name = mn_calloc((size_t)t->n + 1, sizeof *t->by_name);
    for (int64_t k = 0; k < t->n; k++)
        MN_TRY_OUT(err, add_track(t, k));
    MN_TRY_OUT(err, sort_names(t, dir));
    *out = t;
    return MN_OK;
out:
    data_tracks_close(t);
    return err;
}

void data_tracks_close(data_tracks *t)
{
    if (!t) return;
    data_folder_close(t->folder);
    free(t->track);
    free(t->by_name);
    free(t);
}

int64_t data_tracks_count(const data_tracks *t)
{
    return t->n;
}

int64_t data_tracks_find(const data_tracks *t, const char *stem)
{
    int64_t low = 0, high = t->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, k = t->by_name[middle];
        int order = strcmp(stem, t->track[k].name);
        if (order == 0) return k;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const char *data_tracks_name(const data_tracks *t, int64_t k)
{
    return t->track[k].name;
}

int64_t data_tracks_samples(const data_tracks *t, int64_t k)
{
    return t->track[k].samples;
}

int64_t data_tracks_record(const data_tracks *t, int64_t k)
{
    mn_assert(k >= 0 && k < t->n);
    return k;
}

uint64_t data_tracks_digest(const data_tracks *t)
{
    return data_folder_digest(t->folder);
}

// Two threads may both check; then both find the same.
static mn_err check_once(track *k)
{
    if (atomic_load_explicit(&k->checked, memory_order_relaxed)) return MN_OK;
    MN_TRY(data_shard_check(k->shard, k->record));
    atomic_store_explicit(&k->checked, 1, memory_order_relaxed);
    return MN_OK;
}

static void normalise(const int16_t *pcm, int64_t n, float *wave)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pcm[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (pcm[i] - mean) * (pcm[i] - mean);
    const double full = 32768; // the extractor's eps is meant for waves of -1..1
    float scale = (float)(1 / full / sqrt(square / (double)n / (full * full) + 1e-7)), shift = (float)mean;
    for (int64_t i = 0; i < n; i++)
        wave[i] = ((float)pcm[i] - shift) * scale;
}

mn_err data_tracks_pcm(data_tracks *t, int64_t k, int64_t first, int64_t n, int16_t *pcm)
{
    mn_assert(k >= 0 && k < t->n && first >= 0 && n >= 0 && first + n <= t->track[k].samples);
    track *from = &t->track[k];
    MN_TRY(check_once(from));
    return data_shard_slice(from->shard, from->record, (size_t)first * sizeof *pcm, pcm, (size_t)n * sizeof *pcm);
}

mn_err data_tracks_wave(data_tracks *t, int64_t k, int64_t first, int64_t n, int16_t *pcm, float *wave)
{
    mn_assert(k >= 0 && k < t->n);
    track *from = &t->track[k];
    int64_t begin = first < 0 ? 0 : first, end = first + n < from->samples ? first + n : from->samples;
    memset(wave, 0, (size_t)n * sizeof *wave);
    if (begin >= end) return MN_OK;
    MN_TRY(data_tracks_pcm(t, k, begin, end - begin, pcm));
    normalise(pcm, end - begin, wave + (begin - first));
    return MN_OK;
}
