// A dataset folder: which records of which shards a (split, task, stream) selects, as runs of neighbouring records.
#include "data/file.h"
#include "data/label.h"
#include "data/shard.h"
#include "data/shard_manifest.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct run {
    int64_t begin; // number of its first record in the selection
    int64_t record, count;
    int shard;
} run;

struct data_folder {
    int n_shards;
    data_shard **shards; // of the stream, with at least one selected record
    int64_t n_runs, capacity, count;
    run *runs;
    uint64_t digest;
};

// The split of a video for a task; without one: where no label may be learned from, the strictest of all tasks.
static int video_split(const data_video *v, int task)
{
    if (task >= 0 && task < DATA_TASKS) return v->split[task];
    int most = DATA_SPLIT_NONE;
    for (int t = 0; t < DATA_TASKS; t++)
        if (v->split[t] > most) most = v->split[t];
    return most;
}

static void add_run(data_folder *f, int shard, int64_t record, int64_t count)
{
    if (count == 0) return;
    run *last = f->n_runs ? &f->runs[f->n_runs - 1] : NULL;
    if (last && last->shard == shard && last->record + last->count == record) {
        last->count += count;
    } else {
        f->runs = mn_grow(f->runs, f->n_runs, &f->capacity, sizeof(*f->runs));
        f->runs[f->n_runs++] = (run){.begin = f->count, .record = record, .count = count, .shard = shard};
    }
    f->count += count;
}

static void select_records(data_folder *f, int shard, const data_shard *s, int split, int task)
{
    const data_index *x = data_shard_index(s);
    if (split == DATA_SPLIT_NONE || strcmp(data_shard_about(s)->split, "all") != 0) {
        add_run(f, shard, 0, x->n);
        return;
    }
    for (int v = 0; v < x->n_videos; v++)
        if (video_split(&x->videos[v], task) == split)
            add_run(f, shard, x->videos[v].first_record, x->videos[v].n_records);
}

// What to do about a damaged shard, after what is wrong with it.
static mn_err advise(mn_err err, const char *dir)
{
    if (err != MN_EDATA) return err;
    char *why = mn_strdup(mn_errmsg());
    (void)mn_fail(err, "%s (copy the file again, or import again; 'mien data verify %s' finds all that is damaged)",
                  why, dir);
    free(why);
    return err;
}

// Every shard of the manifest is there in full, before any is read: a missing one is named at once.
static mn_err check_sizes(const data__manifest *m, const char *dir)
{
    mn_err err = MN_OK;
    for (int i = 0; i < m->n_shards && err == MN_OK; i++) {
        char *path = mn_sprintf("%s/%s", dir, m->shards[i].file);
        struct stat st;
        if (stat(path, &st) != 0)
            err = mn_fail(errno == ENOENT ? MN_ENOINPUT : MN_EIO, "%s: named by the manifest, but: %s", path,
                          strerror(errno));
        else if (!S_ISREG(st.st_mode) || st.st_size != m->shards[i].file_bytes)
            err = mn_fail(MN_EDATA, "%s: has %lld bytes, the manifest says %lld: cut, or of another import", path,
                          (long long)st.st_size, (long long)m->shards[i].file_bytes);
        free(path);
    }
    return advise(err, dir);
}

static mn_err open_shard(data_shard **out, const char *dir, const data__manifest *m, int i, int keep)
{
    const data__manifest_shard *want = &m->shards[i];
    char *path = mn_sprintf("%s/%s", dir, want->file);
    data_shard *s = NULL;
    mn_err err = data_shard_open_with(&s, path, keep);
    if (err == MN_OK) {
        const data_shard_info *have = data_shard_about(s);
        if (strcmp(have->dataset, m->dataset) != 0 || strcmp(have->split, want->split) != 0 ||
            strcmp(have->stream, want->stream) != 0 || have->records != want->records || have->videos != want->videos ||
            strcmp(have->payload, want->payload) != 0 || strcmp(have->index, want->index) != 0)
            err = mn_fail(MN_EDATA, "%s: is a sound shard, but not the one that the manifest names", path);
    }
    err = advise(err, dir);
    free(path);
    if (err != MN_OK)
        data_shard_close(s);
    else
        *out = s;
    return err;
}

// Shards of a split come in the order of their numbers, which is that of the sample ids, each once.
typedef struct place {
    char split[16];
    int next;
} place;
enum { PLACES = 8 };

static mn_err check_place(place *places, const data_shard *s)
{
    const data_shard_info *i = data_shard_about(s);
    place *p = places;
    while (p < places + PLACES - 1 && p->split[0] && strcmp(p->split, i->split) != 0)
        p++;
    if (!p->split[0]) memcpy(p->split, i->split, sizeof(p->split));
    if (i->shard == p->next++) return MN_OK;
    return mn_fail(MN_EDATA, "%s: is shard %d of %d of its split, but the manifest has it in place %d: import again",
                   i->path, i->shard, i->shards, p->next - 1);
}

static uint64_t manifest_digest(const data__manifest *m)
{
    uint64_t h = XXH3_64bits(m->dataset, strlen(m->dataset));
    for (int i = 0; i < m->n_shards; i++) {
        const data__manifest_shard *s = &m->shards[i];
        char text[160];
        int n = snprintf(text, sizeof(text), "%s %s %lld %s %s", s->split, s->stream, (long long)s->records, s->payload,
                         s->index);
        h = XXH3_64bits_withSeed(text, (size_t)n, h);
    }
    return h;
}

mn_err data_folder_open(data_folder **out, const char *dir, const char *split, int task, const char *stream)
{
    return data_folder_open_with(out, dir, split, task, stream, DATA_KEEP_ALL);
}

mn_err data_folder_open_with(data_folder **out, const char *dir, const char *split, int task, const char *stream,
                             int keep)
{
    data_folder *f = mn_calloc(1, sizeof(*f));
    data__manifest m = {0};
    place places[PLACES] = {0};
    mn_err err = MN_OK;
    int number = split ? data_split_number(split) : DATA_SPLIT_NONE;
    if (number < 0 || (split && number == DATA_SPLIT_NONE)) {
        err = mn_fail(MN_ECONFIG, "%s: split '%s' is none of train, validation, test", dir, split);
        goto out;
    }
    MN_TRY_OUT(err, data__manifest_read(dir, &m));
    MN_TRY_OUT(err, check_sizes(&m, dir));
    data_file_allow(2 * m.n_shards); // a copy of each may be staged
    f->digest = manifest_digest(&m);
    f->shards = mn_calloc((size_t)m.n_shards + 1, sizeof(*f->shards));
    for (int i = 0; i < m.n_shards; i++) {
        const data__manifest_shard *s = &m.shards[i];
        if (strcmp(s->stream, stream) != 0) continue;
        if (split && strcmp(s->split, "all") != 0 && strcmp(s->split, split) != 0) continue;
        MN_TRY_OUT(err, open_shard(&f->shards[f->n_shards], dir, &m, i, keep));
        f->n_shards++;
        MN_TRY_OUT(err, check_place(places, f->shards[f->n_shards - 1]));
        int64_t before = f->count;
        select_records(f, f->n_shards - 1, f->shards[f->n_shards - 1], number, task);
        if (f->count == before) data_shard_close(f->shards[--f->n_shards]);
    }
    *out = f;
    f = NULL;
out:
    data__manifest_free(&m);
    data_folder_close(f);
    return err;
}

void data_folder_close(data_folder *f)
{
    if (!f) return;
    for (int i = 0; i < f->n_shards; i++)
        data_shard_close(f->shards[i]);
    free(f->shards);
    free(f->runs);
    free(f);
}

int64_t data_folder_count(const data_folder *f)
{
    return f->count;
}

const data_shard *data_folder_at(const data_folder *f, int64_t i, int64_t *record)
{
    mn_assert(i >= 0 && i < f->count);
    int64_t low = 0, high = f->n_runs;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (f->runs[middle].begin <= i)
            low = middle;
        else
            high = middle;
    }
    *record = f->runs[low].record + (i - f->runs[low].begin);
    return f->shards[f->runs[low].shard];
}

int data_folder_shards(const data_folder *f)
{
    return f->n_shards;
}

const data_shard *data_folder_shard(const data_folder *f, int k)
{
    mn_assert(k >= 0 && k < f->n_shards);
    return f->shards[k];
}

uint64_t data_folder_digest(const data_folder *f)
{
    return f->digest;
}
