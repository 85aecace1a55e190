#include "data/verify.h"

#include "data/features.h"
#include "data/file.h"
#include "data/shard.h"
#include "data/shard_manifest.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PROBLEMS_MOST = 1000, THREADS_MOST = 64, ATTRS = 40, AGE_MOST = 150 };

typedef struct work {
    const char *dir;
    const data__manifest *manifest; // NULL: it is damaged or not there
    char **files;                   // what to check
    int64_t n_files;
    atomic_llong next;
    pthread_mutex_t lock; // of what follows
    json_t *problems;
    int64_t n_problems, records, bytes;
    int features; // it is a feature folder
} work;

static void problem(work *w, const char *file, const char *text)
{
    (void)pthread_mutex_lock(&w->lock);
    if (w->n_problems++ < PROBLEMS_MOST) {
        json_t *o = json_pack("{s:s, s:s}", "file", file, "problem", text);
        if (!o) o = json_pack("{s:s, s:s}", "file", "(a name that is not UTF-8)", "problem", "damaged");
        mn_assert(o && json_array_append_new(w->problems, o) == 0);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

// Labels

static int valid(uint32_t mask, uint32_t bit)
{
    return (mask & bit) != 0;
}

static const char *bad_affect(const data_index *x, int64_t i)
{
    static const uint32_t bit[] = {DATA_HAS_VALENCE, DATA_HAS_AROUSAL};
    for (int k = 0; k < 2; k++) {
        float v = x->va[2 * i + k];
        if (valid(x->mask[i], bit[k]) != !isnan(v)) return "its valence or arousal disagrees with its mask";
        if (!isnan(v) && !(v >= -1 && v <= 1)) return "its valence or arousal is out of range";
    }
    return NULL;
}

static const char *bad_label(const data_index *x, int64_t i)
{
    uint32_t mask = x->mask[i];
    if (x->expr) {
        if (x->expr[i] < -1 || x->expr[i] >= DATA_EXPRESSIONS) return "its expression is out of range";
        if (valid(mask, DATA_HAS_EXPR) != (x->expr[i] >= 0)) return "its expression disagrees with its mask";
    }
    for (int a = 0; x->au && a < DATA_AUS; a++) {
        int8_t v = x->au[i * DATA_AUS + a];
        if (v < -1 || v > 1) return "an action unit is out of range";
        if (valid(mask, (uint32_t)DATA_HAS_AU0 << a) != (v >= 0)) return "an action unit disagrees with its mask";
    }
    if (x->va && bad_affect(x, i)) return bad_affect(x, i);
    for (int a = 0; x->attr && a < ATTRS; a++)
        if (x->attr[i * ATTRS + a] < -1 || x->attr[i * ATTRS + a] > 1) return "an attribute is out of range";
    for (int k = 0; x->votes && k < DATA_VOTES; k++)
        if (x->votes[i * DATA_VOTES + k] > 10) return "a count of votes is out of range";
    if (x->age && !isnan(x->age[i]) && !(x->age[i] >= 0 && x->age[i] <= AGE_MOST)) return "its age is out of range";
    if (x->gender && (x->gender[i] < -1 || x->gender[i] > 1)) return "its gender is out of range";
    return NULL;
}

static const char *bad_picture(const data_index *x, int64_t i)
{
    int empty = x->offset[i] == x->offset[i + 1];
    if (x->codec[i] > DATA_CODEC_PCM16K || (x->codec[i] == DATA_CODEC_NONE) != empty) return "its codec is impossible";
    if (!empty && x->codec[i] != DATA_CODEC_PCM16K && (x->width[i] == 0 || x->height[i] == 0)) return "it has no size";
    return x->orientation[i] > 8 ? "its orientation is impossible" : NULL;
}

static const char *bad_order(const data_index *x, int64_t i)
{
    if (!x->video || x->video[i] < 0) return NULL;
    if (x->frame[i] < 1) return "its frame number is impossible";
    if (i == 0 || x->video[i - 1] != x->video[i]) return NULL;
    if (x->frame[i] <= x->frame[i - 1]) return "its frame number is not larger than the one before";
    return x->t_us[i] < x->t_us[i - 1] ? "its time is before that of the frame before" : NULL;
}

static void check_labels(work *w, const char *file, const data_shard *s)
{
    static const char *(*const check[])(const data_index *, int64_t) = {bad_label, bad_picture, bad_order};
    const data_index *x = data_shard_index(s);
    for (int64_t i = 0; i < x->n; i++)
        for (int k = 0; k < 3; k++) {
            const char *what = check[k](x, i);
            if (!what) continue;
            char *text = mn_sprintf("record %lld (%s): %s", (long long)i, data_shard_name(s, i), what);
            problem(w, file, text);
            free(text);
        }
}

// Shards

static const data__manifest_shard *entry_of(const work *w, const char *file)
{
    for (int i = 0; w->manifest && i < w->manifest->n_shards; i++)
        if (strcmp(w->manifest->shards[i].file, file) == 0) return &w->manifest->shards[i];
    return NULL;
}

static void compare(work *w, const char *file, const data_shard *s)
{
    const data_shard_info *have = data_shard_about(s);
    const data__manifest_shard *want = entry_of(w, file);
    if (!want) {
        if (w->manifest) problem(w, file, "the manifest does not name this shard");
        return;
    }
    if (strcmp(have->dataset, w->manifest->dataset) != 0 || strcmp(have->split, want->split) != 0 ||
        strcmp(have->stream, want->stream) != 0 || have->records != want->records || have->videos != want->videos ||
        (int64_t)have->file_bytes != want->file_bytes || (int64_t)have->payload_bytes != want->payload_bytes ||
        strcmp(have->payload, want->payload) != 0 || strcmp(have->index, want->index) != 0)
        problem(w, file, "it is another shard than the manifest says");
}

typedef struct shard_damage {
    work *w;
    const char *file;
} shard_damage;

static void take_damage(void *ctx, const char *message)
{
    const shard_damage *d = ctx;
    problem(d->w, d->file, message);
}

static void check_shard(work *w, const char *file)
{
    char *path = mn_sprintf("%s/%s", w->dir, file);
    shard_damage damage = {w, file};
    data_shard *s = NULL;
    if (data_shard_open(&s, path) != MN_OK) {
        problem(w, file, mn_errmsg());
    } else {
        compare(w, file, s);
        if (data_shard_verify(s, take_damage, &damage) != MN_OK) problem(w, file, mn_errmsg());
        check_labels(w, file, s);
        (void)pthread_mutex_lock(&w->lock);
        w->records += data_shard_about(s)->records;
        w->bytes += (int64_t)data_shard_about(s)->file_bytes;
        (void)pthread_mutex_unlock(&w->lock);
    }
    data_shard_close(s);
    free(path);
}

static void *run(void *p)
{
    work *w = p;
    for (;;) {
        int64_t i = atomic_fetch_add(&w->next, 1);
        if (i >= w->n_files) return NULL;
        check_shard(w, w->files[i]);
    }
}

static void check_shards(work *w, int threads)
{
    pthread_t thread[THREADS_MOST];
    int started = 0;
    cpu_set_t cores;
    if (threads < 1) threads = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    if (threads > w->n_files) threads = (int)w->n_files;
    if (threads > THREADS_MOST) threads = THREADS_MOST;
    while (started < threads - 1 && pthread_create(&thread[started], NULL, run, w) == 0)
        started++;
    (void)run(w); // this thread works too, alone if there are no others
    for (int i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
}

// Folders

static void check_rejects(work *w)
{
    const char *want = json_string_value(json_object_get(json_object_get(w->manifest->root, "import"), "rejects_xxh3"));
    char *path = mn_sprintf("%s/rejects.csv", w->dir), have[MN_DIGEST_SIZE];
    int64_t size;
    if (want && mn_file_digest(path, have, &size) != MN_OK)
        problem(w, "rejects.csv", mn_errmsg());
    else if (want && strcmp(want, have) != 0)
        problem(w, "rejects.csv", "it is not the list that the import wrote");
    free(path);
}

// The shards that the manifest names and those in the folder, each once.
static mn_err list_shards(work *w)
{
    MN_TRY(data_dir_like(w->dir, "", ".h5", &w->files, &w->n_files));
    for (int i = 0; w->manifest && i < w->manifest->n_shards; i++) {
        const char *file = w->manifest->shards[i].file;
        int there = 0;
        for (int64_t k = 0; k < w->n_files && !there; k++)
            there = strcmp(w->files[k], file) == 0;
        if (!there) problem(w, file, "the manifest names this shard, but it is not there");
    }
    return MN_OK;
}

static mn_err check_dataset(work *w, int threads)
{
    data__manifest m;
    mn_err err = data__manifest_read(w->dir, &m);
    int missing = err == MN_ENOINPUT;
    if (err == MN_OK)
        w->manifest = &m;
    else
        problem(w, DATA__MANIFEST, mn_errmsg());
    err = list_shards(w);
    if (err == MN_OK && missing && w->n_files == 0)
        err = mn_fail(MN_ENOINPUT,
                      "%s: neither manifest.json nor shards are there: the folder of one dataset is wanted", w->dir);
    if (err == MN_OK) check_shards(w, threads);
    if (err == MN_OK && w->manifest) check_rejects(w);
    if (w->manifest) data__manifest_free(&m);
    w->manifest = NULL;
    return err;
}

// Opening features checks all of them.
static void check_features(work *w)
{
    data_features *f;
    w->features = 1;
    if (data_features_open(&f, w->dir) != MN_OK) {
        problem(w, w->dir, mn_errmsg());
        return;
    }
    w->records = data_features_count(f);
    data_features_close(f);
}

// Files of features are plain HDF5; a shard begins with its seal, and its folder has a manifest.
static int is_features(const char *dir)
{
    static const char magic[8] = "\x89HDF\r\n\x1a\n";
    char **names = NULL, first[sizeof magic] = {0};
    int64_t n = 0;
    int found = data_dir_like(dir, "part-", ".h5", &names, &n) == MN_OK && n > 0;
    mn_names_free(names, n);
    if (found || data_dir_like(dir, "", ".h5", &names, &n) != MN_OK) return found;
    char *path = n > 0 ? mn_sprintf("%s/%s", dir, names[0]) : NULL;
    FILE *f = path ? fopen(path, "rb") : NULL;
    found = f && fread(first, sizeof first, 1, f) == 1 && memcmp(first, magic, sizeof magic) == 0;
    if (f) (void)fclose(f); // was only read
    free(path);
    mn_names_free(names, n);
    return found;
}

static mn_err check_path(work *w, const char *path, int threads)
{
    struct stat st;
    if (stat(path, &st) != 0) return mn_fail(MN_ENOINPUT, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode) && is_features(path)) {
        check_features(w);
        return MN_OK;
    }
    if (S_ISDIR(st.st_mode)) return check_dataset(w, threads);
    const char *slash = strrchr(path, '/'); // one shard
    char *dir = slash ? mn_sprintf("%.*s", slash == path ? 1 : (int)(slash - path), path) : mn_strdup(".");
    w->dir = dir;
    w->n_files = 1;
    check_shard(w, slash ? slash + 1 : path);
    free(dir);
    return MN_OK;
}

mn_err data_verify(const char *path, int threads, json_t **report)
{
    work w = {.dir = path, .problems = json_array()};
    (void)pthread_mutex_init(&w.lock, NULL); // cannot fail with default attributes
    mn_err err = check_path(&w, path, threads);
    if (err == MN_OK) {
        *report =
            json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:O}", "path", path, "ok", w.n_problems == 0, "features",
                      w.features, "shards", (json_int_t)w.n_files, "records", (json_int_t)w.records, "bytes",
                      (json_int_t)w.bytes, "n_problems", (json_int_t)w.n_problems, "problems", w.problems);
        if (!*report) err = mn_fail(MN_EUSAGE, "the path is not UTF-8");
    }
    json_decref(w.problems);
    if (w.files) mn_names_free(w.files, w.n_files);
    (void)pthread_mutex_destroy(&w.lock);
    return err;
}
