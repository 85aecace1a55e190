#include "data/verify.h"

#include "data/counts.h"
#include "data/features.h"
#include "data/features_file.h"
#include "data/file.h"
#include "data/shard.h"
#include "data/verify_parts.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOBS_MOST = 64 };
static const int64_t progress_bytes = (int64_t)16 << 20;

typedef struct work {
    const data_verify_cfg *cfg;
    const char *dir;
    const data__manifest *manifest; // NULL: it is damaged or not there
    char **files;                   // what to check
    int64_t n_files;
    data__findings *found; // (n_files)
    data__findings folder; // of the folder itself
    int features;          // it is a feature folder
    atomic_llong next, read;
    pthread_mutex_t lock; // of what follows
    data__verify_state state;
    int64_t resumed, told, bytes;
    mn_err err; // the first of the threads
    char *message;
} work;

// A file system that fails is no damage: the exit status tells them apart.
static data__problem kind_of(mn_err err, data__problem damaged)
{
    return err == MN_ENOINPUT ? DATA__PROBLEM_MISSING : err == MN_EIO ? DATA__PROBLEM_READ : damaged;
}

static void find_in_folder(work *w, const char *file, data__problem kind, const char *text)
{
    data__report_problem(&w->folder, file, kind, -1, NULL, -1, text);
}

// Shards

static void take_read(void *ctx, int64_t bytes)
{
    work *w = ctx;
    int64_t now = atomic_fetch_add(&w->read, bytes) + bytes;
    if (!w->cfg->progress || now / progress_bytes == (now - bytes) / progress_bytes) return;
    (void)pthread_mutex_lock(&w->lock);
    if (now > w->told) w->cfg->progress(w->cfg->ctx, w->told = now, w->bytes);
    (void)pthread_mutex_unlock(&w->lock);
}

static mn_err check_file(work *w, data_coder *coder, int64_t i)
{
    const data__shard_check c = {.dir = w->dir,
                                 .file = w->files[i],
                                 .manifest = w->manifest,
                                 .coder = coder,
                                 .decode = w->cfg->decode,
                                 .read = take_read,
                                 .ctx = w};
    if (w->state.done && data__verify_state_has(&w->state, w->dir, c.file, &w->found[i])) {
        take_read(w, w->found[i].bytes);
        (void)pthread_mutex_lock(&w->lock);
        w->resumed++;
        (void)pthread_mutex_unlock(&w->lock);
        return MN_OK;
    }
    json_t *identity = w->state.done ? data__verify_identity(w->dir, c.file) : NULL;
    data__check_shard(&c, &w->found[i]);
    mn_err err = MN_OK;
    if (identity) { // without one the file cannot be read: nothing to remember
        (void)pthread_mutex_lock(&w->lock);
        err = data__verify_state_add(&w->state, c.file, identity, &w->found[i]);
        (void)pthread_mutex_unlock(&w->lock);
        json_decref(identity);
    }
    return err;
}

static void *run(void *p)
{
    work *w = p;
    data_coder *coder = NULL;
    mn_err err = data_coder_open(&coder);
    for (int64_t i; err == MN_OK && (i = atomic_fetch_add(&w->next, 1)) < w->n_files;)
        err = check_file(w, coder, i);
    if (err != MN_OK) {
        (void)pthread_mutex_lock(&w->lock);
        if (w->err == MN_OK) {
            w->err = err;
            w->message = mn_strdup(mn_errmsg());
        }
        (void)pthread_mutex_unlock(&w->lock);
    }
    data_coder_close(coder);
    return NULL;
}

static mn_err check_shards(work *w)
{
    pthread_t thread[JOBS_MOST];
    int started = 0, jobs = w->cfg->jobs;
    cpu_set_t cores;
    w->found = mn_calloc((size_t)w->n_files + 1, sizeof(*w->found));
    if (jobs < 1) jobs = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
    if (jobs > w->n_files) jobs = (int)w->n_files;
    if (jobs > JOBS_MOST) jobs = JOBS_MOST;
    while (started < jobs - 1 && pthread_create(&thread[started], NULL, run, w) == 0)
        started++;
    (void)run(w); // this thread works too, alone if there are no others
    for (int i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
    return w->err == MN_OK ? MN_OK : mn_fail(w->err, "%s", w->message);
}

// Folders of shards

static void check_rejects(work *w)
{
    const char *want = json_string_value(json_object_get(json_object_get(w->manifest->root, "import"), "rejects_xxh3"));
    char *path = mn_sprintf("%s/rejects.csv", w->dir), have[MN_DIGEST_SIZE];
    int64_t size;
    mn_err err = want ? mn_file_digest(path, have, &size) : MN_OK;
    if (err != MN_OK)
        find_in_folder(w, "rejects.csv", kind_of(err, DATA__PROBLEM_MANIFEST), mn_errmsg());
    else if (want && strcmp(want, have) != 0)
        find_in_folder(w, "rejects.csv", DATA__PROBLEM_MANIFEST, "it is not the list that the import wrote");
    free(path);
}

// What both count is equal: another version may count other things. Fractions may differ in their last digits: versions
// before this one summed them up as doubles, and a machine may round once where this one rounds twice (fused
// multiply-add). So labels on the edge of two bins of a histogram may be in either; mean and deviation speak for them.
static int same_count(const json_t *told, const json_t *counted)
{
    const double last_digits = 1e-6;
    const char *key;
    json_t *of;
    if (json_is_real(told) && json_is_real(counted))
        return fabs(json_real_value(told) - json_real_value(counted)) <= last_digits;
    if (!json_is_object(told) || !json_is_object(counted)) return json_equal(told, counted);
    json_object_foreach((json_t *)(uintptr_t)told, key, of)
    {
        const json_t *other = json_object_get(counted, key);
        if (other && strcmp(key, "bins") != 0 && !same_count(of, other)) return 0;
    }
    return 1;
}

// Splits are the same too.
static int same_counts(const json_t *told, const json_t *counted)
{
    const char *split;
    json_t *of;
    if (json_object_size(told) != json_object_size(counted)) return 0;
    json_object_foreach((json_t *)(uintptr_t)told, split, of)
    {
        const json_t *mine = json_object_get(counted, split);
        if (!mine || !same_count(of, mine)) return 0;
    }
    return 1;
}

// Of shards that were found sound: their indices once more, which are a hundredth of what was read.
static void check_counts(work *w)
{
    data_counts *c = data_counts_new();
    mn_err err = MN_OK;
    for (int i = 0; i < w->manifest->n_shards && err == MN_OK; i++) {
        char *path = mn_sprintf("%s/%s", w->dir, w->manifest->shards[i].file);
        data_shard *s = NULL;
        err = data_shard_open(&s, path);
        if (err == MN_OK) data_counts_add(c, s);
        if (err != MN_OK)
            find_in_folder(w, w->manifest->shards[i].file, kind_of(err, DATA__PROBLEM_INDEX), mn_errmsg());
        data_shard_close(s);
        free(path);
    }
    json_t *counted = data_counts_json(c);
    if (err == MN_OK && !same_counts(json_object_get(w->manifest->root, "labels"), counted))
        find_in_folder(w, DATA__MANIFEST, DATA__PROBLEM_MANIFEST, "its counts of labels are not those of the shards");
    json_decref(counted);
    data_counts_free(c);
}

static int is_sound(const work *w)
{
    int64_t n = w->folder.n_problems;
    for (int64_t i = 0; i < w->n_files; i++)
        n += w->found[i].n_problems;
    return n == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// The shards that the manifest names and those in the folder, each once.
static mn_err list_shards(work *w)
{
    MN_TRY(data_dir_like(w->dir, "", ".h5", &w->files, &w->n_files)); // in byte order
    for (int i = 0; w->manifest && i < w->manifest->n_shards; i++) {
        const char *file = w->manifest->shards[i].file;
        w->bytes += w->manifest->shards[i].payload_bytes;
        if (w->n_files == 0 || !bsearch(&file, w->files, (size_t)w->n_files, sizeof(*w->files), by_text))
            find_in_folder(w, file, DATA__PROBLEM_MISSING, "the manifest names this shard, but it is not there");
    }
    return MN_OK;
}

// Refuses a state inside the folder that is checked, which stays as it is.
static mn_err open_state(work *w)
{
    const char *path = w->cfg->state, *slash = path ? strrchr(path, '/') : NULL;
    char real[PATH_MAX], beside[PATH_MAX];
    if (!path) return MN_OK;
    char *dir = !slash ? mn_strdup(".") : mn_sprintf("%.*s", slash == path ? 1 : (int)(slash - path), path);
    const char *there = realpath(dir, beside);
    free(dir);
    if (!there) return mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
    if (!realpath(w->dir, real)) return mn_fail(MN_ENOINPUT, "%s: %s", w->dir, strerror(errno));
    size_t n = strlen(real);
    if (strncmp(real, beside, n) == 0 && (beside[n] == 0 || beside[n] == '/'))
        return mn_fail(MN_EUSAGE, "%s: the folder that is checked stays as it is: name a file elsewhere", path);
    char *what = mn_sprintf("%s%s", real, w->cfg->decode ? ", pictures decoded" : "");
    mn_err err = data__verify_state_open(&w->state, path, what);
    free(what);
    return err;
}

static mn_err check_dataset(work *w)
{
    data__manifest m;
    mn_err err = data__manifest_read(w->dir, &m);
    int missing = err == MN_ENOINPUT;
    if (err == MN_OK)
        w->manifest = &m;
    else
        find_in_folder(w, DATA__MANIFEST, kind_of(err, DATA__PROBLEM_MANIFEST), mn_errmsg());
    err = list_shards(w);
    if (err == MN_OK && missing && w->n_files == 0)
        err = mn_fail(MN_ENOINPUT,
                      "%s: neither manifest.json nor shards are there: the folder of one dataset is wanted", w->dir);
    if (err == MN_OK) err = open_state(w);
    if (err == MN_OK) err = check_shards(w);
    if (err == MN_OK && w->manifest) check_rejects(w);
    if (err == MN_OK && w->manifest && is_sound(w)) check_counts(w);
    if (w->state.done) {
        mn_err closed = data__verify_state_close(&w->state, err == MN_OK);
        if (err == MN_OK) err = closed;
    }
    if (w->manifest) data__manifest_free(&m);
    w->manifest = NULL;
    return err;
}

// Feature folders. Opening one checks all of it, up to the first damage; these name the rest.

// HDF5 must not see a part that is not what the manifest says.
static void check_parts(work *w, const json_t *root)
{
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(root, "parts"), i, part)
    {
        const char *file = json_string_value(json_object_get(part, "file"));
        const char *want = json_string_value(json_object_get(part, "xxh3"));
        char have[MN_DIGEST_SIZE];
        int64_t bytes;
        if (!file || !want || strchr(file, '/') || *file == '.') continue; // the folder's own check says so
        char *path = mn_sprintf("%s/%s", w->dir, file);
        mn_err err = mn_file_digest(path, have, &bytes);
        if (err != MN_OK)
            find_in_folder(w, file, kind_of(err, DATA__PROBLEM_FEATURES), mn_errmsg());
        else if (strcmp(have, want) != 0)
            find_in_folder(w, file, DATA__PROBLEM_FEATURES, "damaged or exchanged: not the bytes that were extracted");
        free(path);
    }
}

static void check_plain(work *w)
{
    char **names = NULL;
    int64_t n = 0;
    if (data_dir_like(w->dir, "", ".h5", &names, &n) != MN_OK) n = 0;
    for (int64_t i = 0; i < n; i++) {
        data__feature_file file;
        char *path = mn_sprintf("%s/%s", w->dir, names[i]);
        mn_err err = data__feature_file_open(&file, path, 0);
        if (err == MN_OK)
            data__feature_file_close(&file);
        else
            find_in_folder(w, names[i], kind_of(err, DATA__PROBLEM_FEATURES), mn_errmsg());
        free(path);
    }
    mn_names_free(names, n);
}

static void check_features(work *w)
{
    data_features *f;
    w->features = 1;
    mn_err refused = data_features_open(&f, w->dir);
    if (refused == MN_OK) {
        w->folder.records = data_features_count(f);
        data_features_close(f);
        return;
    }
    char *first = mn_strdup(mn_errmsg()), *path = mn_sprintf("%s/" DATA__MANIFEST, w->dir), *text = NULL;
    json_t *root = NULL;
    size_t size;
    mn_err err = mn_file_read(path, DATA__MANIFEST_MOST, &text, &size);
    if (err == MN_ENOINPUT)
        check_plain(w);
    else if (err == MN_OK && data__signed_json_parse(text, size, path, &root) == MN_OK)
        check_parts(w, root);
    if (w->folder.n_problems == 0) find_in_folder(w, w->dir, kind_of(refused, DATA__PROBLEM_FEATURES), first);
    json_decref(root);
    free(text);
    free(path);
    free(first);
}

int data_is_features(const char *dir)
{
    static const char magic[8] = "\x89HDF\r\n\x1a\n";
    char **names = NULL, first[sizeof(magic)];
    int64_t n = 0, size;
    int fd = -1, found = data_dir_like(dir, "part-", ".h5", &names, &n) == MN_OK && n > 0;
    mn_names_free(names, n);
    if (found || data_dir_like(dir, "", ".h5", &names, &n) != MN_OK) return found;
    char *path = n > 0 ? mn_sprintf("%s/%s", dir, names[0]) : NULL;
    if (path && mn_file_open(&fd, path, &size) == MN_OK && size >= (int64_t)sizeof(magic) &&
        data_file_pread(fd, path, first, sizeof(first), 0) == MN_OK)
        found = memcmp(first, magic, sizeof(magic)) == 0;
    if (fd >= 0) (void)close(fd); // was only read
    free(path);
    mn_names_free(names, n);
    return found;
}

static mn_err check_path(work *w)
{
    const char *path = w->cfg->path;
    struct stat st;
    if (stat(path, &st) != 0) return mn_fail(MN_ENOINPUT, "%s: %s", path, strerror(errno));
    int features = S_ISDIR(st.st_mode) && data_is_features(path);
    if (w->cfg->state && (features || !S_ISDIR(st.st_mode)))
        return mn_fail(MN_EUSAGE, "%s: is checked in one go: --state is for folders of shards", path);
    if (features) {
        check_features(w);
        return MN_OK;
    }
    if (S_ISDIR(st.st_mode)) return check_dataset(w);
    const char *slash = strrchr(path, '/'); // one shard
    char *dir = slash ? mn_sprintf("%.*s", slash == path ? 1 : (int)(slash - path), path) : mn_strdup(".");
    w->dir = dir;
    w->files = mn_calloc(1, sizeof(*w->files));
    w->files[w->n_files++] = mn_strdup(slash ? slash + 1 : path);
    mn_err err = check_shards(w);
    w->dir = path;
    free(dir);
    return err;
}

// Report

static void extend(json_t *all, const data__findings *f)
{
    if (f->problems) mn_assert(json_array_extend(all, f->problems) == 0);
}

static json_t *report_of(const work *w)
{
    data__findings sum = w->folder;
    json_t *problems = json_array();
    extend(problems, &w->folder);
    for (int64_t i = 0; w->found && i < w->n_files; i++) {
        extend(problems, &w->found[i]);
        sum.records += w->found[i].records;
        sum.sounds += w->found[i].sounds;
        sum.bytes += w->found[i].bytes;
        sum.n_problems += w->found[i].n_problems;
        sum.n_read += w->found[i].n_read;
    }
    return json_pack("{s:o, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "path", data__json_text(w->cfg->path),
                     "ok", sum.n_problems == 0, "features", w->features, "shards", (json_int_t)w->n_files, "resumed",
                     (json_int_t)w->resumed, "records", (json_int_t)sum.records, "sounds", (json_int_t)sum.sounds,
                     "bytes", (json_int_t)sum.bytes, "n_problems", (json_int_t)sum.n_problems, "n_unreadable",
                     (json_int_t)sum.n_read, "problems", problems);
}

mn_err data_verify(const data_verify_cfg *cfg, json_t **report)
{
    work w = {.cfg = cfg, .dir = cfg->path, .state.fd = -1};
    (void)pthread_mutex_init(&w.lock, NULL); // cannot fail with default attributes
    mn_err err = check_path(&w);
    if (err == MN_OK) {
        *report = report_of(&w);
        mn_assert(*report != NULL);
    }
    for (int64_t i = 0; w.found && i < w.n_files; i++)
        json_decref(w.found[i].problems);
    json_decref(w.folder.problems);
    free(w.found);
    free(w.message);
    if (w.files) mn_names_free(w.files, w.n_files);
    (void)pthread_mutex_destroy(&w.lock);
    return err;
}
