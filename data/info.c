#include "data/info.h"

#include "data/counts.h"
#include "data/info_parts.h"
#include "data/shard.h"
#include "data/shard_manifest.h"
#include "data/verify.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SPLITS = 4, EXAMPLES = 5, KINDS = DATA_TASKS + 1, STREAMS = 2 };

// People: an identity, or a video by its recording. in[k]: bit of each split it is in, for task k; DATA_TASKS: identities,
// or the videos whatever the task.
typedef struct person {
    char *name;
    unsigned char in[KINDS];
} person;
typedef struct people {
    int64_t n, capacity;
    person *p;
} people;

static void add_person(people *l, const char *name, const unsigned char in[KINDS])
{
    l->p = mn_grow(l->p, l->n, &l->capacity, sizeof(*l->p));
    l->p[l->n].name = mn_strdup(name);
    memcpy(l->p[l->n++].in, in, KINDS);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const person *)a)->name, ((const person *)b)->name);
}

// One entry a person, with the splits of all its entries.
static void merge(people *l)
{
    int64_t kept = 0;
    if (l->n) qsort(l->p, (size_t)l->n, sizeof(*l->p), by_name);
    for (int64_t i = 0; i < l->n; i++) {
        if (kept && strcmp(l->p[kept - 1].name, l->p[i].name) == 0) {
            for (int k = 0; k < KINDS; k++)
                l->p[kept - 1].in[k] |= l->p[i].in[k];
            free(l->p[i].name);
        } else {
            l->p[kept++] = l->p[i];
        }
    }
    l->n = kept;
}

static void free_people(people *l)
{
    for (int64_t i = 0; i < l->n; i++)
        free(l->p[i].name);
    free(l->p);
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// Identities of a shard, each once.
static void add_identities(people *l, const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    unsigned char in[KINDS] = {0};
    int split = data_split_number(data_shard_about(s)->split);
    in[DATA_TASKS] = (unsigned char)(1u << (split < 0 ? 0 : split));
    int32_t *numbers = mn_calloc((size_t)x->n + 1, sizeof(*numbers));
    int64_t n = 0;
    for (int64_t i = 0; i < x->n; i++)
        if (x->mask[i] & DATA_HAS_IDENTITY) numbers[n++] = x->identity[i];
    qsort(numbers, (size_t)n, sizeof(*numbers), by_number);
    for (int64_t i = 0; i < n; i++) {
        char name[32];
        if (i > 0 && numbers[i] == numbers[i - 1]) continue;
        (void)snprintf(name, sizeof(name), "%d", numbers[i]);
        add_person(l, name, in);
    }
    free(numbers);
}

static void add_videos(people *l, const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    for (int v = 0; v < x->n_videos; v++) {
        unsigned char in[KINDS] = {0};
        for (int t = 0; t < DATA_TASKS; t++) {
            if (x->videos[v].split[t] != DATA_SPLIT_NONE) in[t] = (unsigned char)(1u << x->videos[v].split[t]);
            in[DATA_TASKS] |= in[t];
        }
        add_person(l, x->videos[v].source, in);
    }
}

// JSON

static void put(json_t *o, const char *key, json_t *v)
{
    mn_assert(json_object_set_new(o, key, v) == 0);
}

static json_t *pair_json(const people *l, int kind, int a, int b)
{
    unsigned both = (1u << a) | (1u << b);
    int64_t n = 0;
    json_t *examples = json_array();
    for (int64_t i = 0; i < l->n; i++)
        if ((l->p[i].in[kind] & both) == both && n++ < EXAMPLES) {
            json_t *name = json_string(l->p[i].name);
            if (name) mn_assert(json_array_append_new(examples, name) == 0);
        }
    return json_pack("{s:I, s:o}", "people", (json_int_t)n, "examples", examples);
}

// For every pair of splits that both have someone.
static json_t *kind_json(const people *l, int kind)
{
    json_t *o = json_object();
    unsigned any = 0;
    for (int64_t i = 0; i < l->n; i++)
        any |= l->p[i].in[kind];
    for (int a = DATA_SPLIT_TRAIN; a < SPLITS; a++)
        for (int b = a + 1; b < SPLITS; b++) {
            char key[64];
            if (!(any >> a & 1) || !(any >> b & 1)) continue;
            (void)snprintf(key, sizeof(key), "%s and %s", data_split_name(a), data_split_name(b));
            put(o, key, pair_json(l, kind, a, b));
        }
    return o;
}

static json_t *overlap_json(people *identities, people *videos)
{
    static const char *const task[KINDS] = {"expr", "au", "va", "any task"};
    json_t *o = json_object();
    merge(identities);
    merge(videos);
    if (identities->n) put(o, "identity", kind_json(identities, DATA_TASKS));
    if (videos->n)
        for (int k = 0; k < KINDS; k++) {
            char key[32];
            (void)snprintf(key, sizeof(key), "video, %s", task[k]);
            put(o, key, kind_json(videos, k));
        }
    return o;
}

static json_t *copy_of(const json_t *root, const char *key)
{
    json_t *v = json_object_get(root, key);
    return v ? json_deep_copy(v) : json_object();
}

// Streams: what there is of pictures and of sound, whatever the split.

typedef struct stream_counts {
    int64_t shards, records, empty, bytes, payload;
    int width[2], height[2]; // of the pictures: least, most
} stream_counts;
typedef struct streams {
    stream_counts of[STREAMS];
} streams;
static const char *const stream_name[STREAMS] = {"image", "audio"};

static void widen(int range[2], int v)
{
    if (range[0] == 0 || v < range[0]) range[0] = v;
    if (v > range[1]) range[1] = v;
}

static void add_stream(streams *st, const data_shard *s)
{
    const data_shard_info *about = data_shard_about(s);
    const data_index *x = data_shard_index(s);
    stream_counts *c = &st->of[strcmp(about->stream, stream_name[1]) == 0];
    c->shards++;
    c->records += x->n;
    c->bytes += (int64_t)about->file_bytes;
    c->payload += (int64_t)about->payload_bytes;
    for (int64_t i = 0; i < x->n; i++) {
        c->empty += x->offset[i] == x->offset[i + 1];
        if (x->codec[i] != DATA_CODEC_JPEG && x->codec[i] != DATA_CODEC_PNG) continue;
        widen(c->width, x->width[i]);
        widen(c->height, x->height[i]);
    }
}

static json_t *streams_json(const streams *st)
{
    json_t *all = json_object();
    for (int k = 0; k < STREAMS; k++) {
        const stream_counts *c = &st->of[k];
        if (c->shards == 0) continue;
        json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I}", "shards", (json_int_t)c->shards, "records",
                              (json_int_t)c->records, "empty", (json_int_t)c->empty, "bytes", (json_int_t)c->bytes,
                              "payload_bytes", (json_int_t)c->payload);
        if (c->width[0]) {
            put(o, "width", json_pack("[i, i]", c->width[0], c->width[1]));
            put(o, "height", json_pack("[i, i]", c->height[0], c->height[1]));
        }
        put(all, stream_name[k], o);
    }
    return all;
}

static mn_err count_shards(const char *dir, const data__manifest *m, data_counts *counts, streams *st,
                           people *identities, people *videos)
{
    for (int i = 0; i < m->n_shards; i++) {
        char *path = mn_sprintf("%s/%s", dir, m->shards[i].file);
        data_shard *s;
        mn_err err = data_shard_open(&s, path);
        free(path);
        MN_TRY(err);
        data_counts_add(counts, s);
        add_stream(st, s);
        if (strcmp(data_shard_about(s)->stream, "image") == 0) {
            if (data_shard_index(s)->identity) add_identities(identities, s);
            add_videos(videos, s);
        }
        data_shard_close(s);
    }
    return MN_OK;
}

mn_err data_info(const char *dir, json_t **report)
{
    data__manifest m;
    people identities = {0}, videos = {0};
    int64_t bytes = 0, records = 0;
    if (data_is_features(dir)) return data__info_features(dir, report);
    MN_TRY(data__manifest_read(dir, &m));
    data_counts *counts = data_counts_new();
    streams st = {0};
    mn_err err = MN_OK;
    MN_TRY_OUT(err, count_shards(dir, &m, counts, &st, &identities, &videos));
    for (int i = 0; i < m.n_shards; i++) {
        bytes += m.shards[i].file_bytes;
        if (strcmp(m.shards[i].stream, "image") == 0) records += m.shards[i].records;
    }
    *report =
        json_pack("{s:s, s:s, s:s, s:o, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "path", dir, "dataset",
                  m.dataset, "importer", m.importer, "importer_version", copy_of(m.root, "importer_version"), "shards",
                  m.n_shards, "records", (json_int_t)records, "bytes", (json_int_t)bytes, "created_utc",
                  copy_of(m.root, "created_utc"), "options", copy_of(m.root, "options"), "streams", streams_json(&st),
                  "splits", data_counts_json(counts), "overlap", overlap_json(&identities, &videos), "rejects",
                  copy_of(m.root, "rejects"), "notes", copy_of(json_object_get(m.root, "import"), "notes"));
    if (!*report) err = mn_fail(MN_EUSAGE, "the path is not UTF-8");
out:
    free_people(&identities);
    free_people(&videos);
    data_counts_free(counts);
    data__manifest_free(&m);
    return err;
}
