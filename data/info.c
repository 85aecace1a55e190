#include "data/info.h"

#include "data/counts.h"
#include "data/shard.h"
#include "data/shard_manifest.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SPLITS = 4, EXAMPLES = 5, KINDS = DATA_TASKS + 1 };

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
    if (l->n == l->capacity) {
        l->capacity = l->capacity * 2 + 256;
        l->p = mn_realloc(l->p, (size_t)l->capacity, sizeof(*l->p));
    }
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

static mn_err count_shards(const char *dir, const data__manifest *m, data_counts *counts, people *identities,
                           people *videos)
{
    for (int i = 0; i < m->n_shards; i++) {
        char *path = mn_sprintf("%s/%s", dir, m->shards[i].file);
        data_shard *s;
        mn_err err = data_shard_open(&s, path);
        free(path);
        MN_TRY(err);
        data_counts_add(counts, s);
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
    MN_TRY(data__manifest_read(dir, &m));
    data_counts *counts = data_counts_new();
    mn_err err = MN_OK;
    MN_TRY_OUT(err, count_shards(dir, &m, counts, &identities, &videos));
    for (int i = 0; i < m.n_shards; i++) {
        bytes += m.shards[i].file_bytes;
        if (strcmp(m.shards[i].stream, "image") == 0) records += m.shards[i].records;
    }
    *report = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "path", dir, "dataset",
                        m.dataset, "importer", m.importer, "shards", m.n_shards, "records", (json_int_t)records,
                        "bytes", (json_int_t)bytes, "created_utc", copy_of(m.root, "created_utc"), "options",
                        copy_of(m.root, "options"), "splits", data_counts_json(counts), "overlap",
                        overlap_json(&identities, &videos), "rejects", copy_of(m.root, "rejects"), "notes",
                        copy_of(json_object_get(m.root, "import"), "notes"));
    if (!*report) err = mn_fail(MN_EUSAGE, "the path is not UTF-8");
out:
    free_people(&identities);
    free_people(&videos);
    data_counts_free(counts);
    data__manifest_free(&m);
    return err;
}

// Text

static int64_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void print_share(FILE *to, const char *name, int64_t n, int64_t of)
{
    fprintf(to, "    %-12s %10lld  %5.1f %%\n", name, (long long)n, of ? 100.0 * (double)n / (double)of : 0);
}

static void print_affect(const json_t *split, const char *name, FILE *to)
{
    const json_t *o = json_object_get(split, name);
    if (!o) return;
    fprintf(to, "    %-12s %10lld  mean %6.3f  sd %.3f\n", name, (long long)number(o, "valid"),
            json_real_value(json_object_get(o, "mean")), json_real_value(json_object_get(o, "sd")));
}

static int64_t sum_of(const json_t *array)
{
    int64_t sum = 0;
    for (size_t i = 0; i < json_array_size(array); i++)
        sum += json_integer_value(json_array_get(array, i));
    return sum;
}

static void print_people(const json_t *split, FILE *to)
{
    static const char *const gender[] = {"female", "male"};
    const json_t *ages = json_object_get(split, "age_decades"), *genders = json_object_get(split, "gender");
    int64_t sum = sum_of(ages);
    if (sum) fprintf(to, "  age: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < json_array_size(ages); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "from %zu", 10 * i);
        if (json_integer_value(json_array_get(ages, i)))
            print_share(to, name, json_integer_value(json_array_get(ages, i)), sum);
    }
    sum = sum_of(genders);
    if (sum) fprintf(to, "  gender: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < 2; i++)
        print_share(to, gender[i], json_integer_value(json_array_get(genders, i)), sum);
}

// Of each kind of label, if there is one at all in this split.
static void print_labels(const json_t *split, FILE *to)
{
    const json_t *expr = json_object_get(split, "expr"), *valid = json_object_get(split, "au_valid");
    const json_t *active = json_object_get(split, "au_active");
    const json_t *valence = json_object_get(split, "valence"), *arousal = json_object_get(split, "arousal");
    int64_t sum = sum_of(expr);
    if (sum) fprintf(to, "  expression: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < DATA_EXPRESSIONS; i++)
        print_share(to, data_expression[i], json_integer_value(json_array_get(expr, i)), sum);
    sum = sum_of(valid);
    if (sum) fprintf(to, "  action units, active of those with a label:\n");
    for (size_t i = 0; sum && i < DATA_AUS; i++)
        print_share(to, data_au[i], json_integer_value(json_array_get(active, i)),
                    json_integer_value(json_array_get(valid, i)));
    print_people(split, to);
    if (number(valence, "valid") + number(arousal, "valid") == 0) return;
    fprintf(to, "  valence and arousal:\n");
    print_affect(split, "valence", to);
    print_affect(split, "arousal", to);
}

static void print_table(const char *head, const json_t *o, FILE *to)
{
    const char *key;
    json_t *v;
    if (json_object_size(o)) fprintf(to, "%s\n", head);
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        fprintf(to, "  %-60s %10lld\n", key, (long long)json_integer_value(v));
}

// One line for each pair of splits that share people, or one that there is none.
static void print_overlap(const json_t *overlap, FILE *to)
{
    const char *kind, *pair;
    json_t *pairs, *o;
    json_object_foreach((json_t *)(uintptr_t)overlap, kind, pairs)
    {
        int shared = 0;
        json_object_foreach(pairs, pair, o)
        {
            if (number(o, "people") == 0) continue;
            const char *example = json_string_value(json_array_get(json_object_get(o, "examples"), 0));
            fprintf(to, "people in both %s (%s): %lld%s%s\n", pair, kind, (long long)number(o, "people"),
                    example ? ", for one " : "", example ? example : "");
            shared = 1;
        }
        if (!shared) fprintf(to, "people in two splits (%s): 0\n", kind);
    }
}

void data_info_print(const json_t *report, FILE *to)
{
    const char *name;
    json_t *split;
    fprintf(to, "%s: %s, %lld records in %lld shards, %.1f MiB\n", json_string_value(json_object_get(report, "path")),
            json_string_value(json_object_get(report, "dataset")), (long long)number(report, "records"),
            (long long)number(report, "shards"), (double)number(report, "bytes") / 1048576);
    json_object_foreach(json_object_get(report, "splits"), name, split)
    {
        fprintf(to, "%s: %lld records, %lld with a picture", name, (long long)number(split, "records"),
                (long long)number(split, "pictures"));
        if (json_object_get(split, "videos")) fprintf(to, ", %lld videos", (long long)number(split, "videos"));
        if (json_object_get(split, "sounds"))
            fprintf(to, ", %lld sounds of %.0f s", (long long)number(split, "sounds"),
                    json_real_value(json_object_get(split, "sound_seconds")));
        fprintf(to, "\n");
        print_labels(split, to);
    }
    print_overlap(json_object_get(report, "overlap"), to);
    print_table("rejected", json_object_get(report, "rejects"), to);
    print_table("worth knowing", json_object_get(report, "notes"), to);
}
