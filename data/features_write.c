// Writing feature folders. Tracks go to the part's journal at once; closing makes the part's HDF5 file of it (and of what
// an earlier run had put in that file), under a temporary name, verified, synced, renamed; then the journal goes.
#include "data/features_file.h"
#include "data/features_journal.h"
#include "data/file.h"
#include "data/half.h"
#include "data/shard_h5.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct data_feature_writer {
    char *dir, *path, *run, *weights, *model;
    data_feature_source source; // own copies
    data__journal journal;
    int64_t n_before, before_capacity; // videos that the folder held at the start, sorted
    char **before;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static mn_err check_source(const data__feature_file *f, const char *dir, const data_feature_source *s)
{
    const char *store = data__store_names[s->store];
    if (strcmp(f->weights, s->weights_digest) == 0 && strcmp(f->model, s->model) == 0) {
        if (!f->dtype || strcmp(f->dtype, store) == 0) return MN_OK;
        return mn_fail(MN_ECREATE,
                       "%s: %s holds these features as %s, not as %s: choose another folder, or set "
                       "features.store",
                       dir, f->path, f->dtype, store);
    }
    return mn_fail(
        MN_ECREATE,
        "%s: %s holds features of %s with weights %.12s, not of %s with weights %.12s: choose another folder, "
        "or remove this one",
        dir, f->path, *f->model ? f->model : "an unknown model", *f->weights ? f->weights : "unknown", s->model,
        s->weights_digest);
}

// What the folder holds

static void remember(data_feature_writer *w, const char *video)
{
    w->before = mn_grow(w->before, w->n_before, &w->before_capacity, sizeof(*w->before));
    w->before[w->n_before++] = mn_strdup(video);
}

static mn_err remember_part(data_feature_writer *w, const char *name)
{
    char *path = mn_sprintf("%s/%s", w->dir, name);
    data__feature_file f;
    mn_err err = data__feature_file_open(&f, path, 1);
    if (err == MN_OK) {
        err = check_source(&f, w->dir, &w->source);
        for (int64_t i = 0; i < f.n && err == MN_OK; i++)
            remember(w, f.tracks[i].video);
        data__feature_file_close(&f);
    }
    free(path);
    return err;
}

static mn_err remember_journal(data_feature_writer *w, const char *name)
{
    char *path = mn_sprintf("%s/%s", w->dir, name);
    data__journal j;
    mn_err err = data__journal_read(&j, path, &w->source);
    if (err == MN_OK) {
        for (int64_t i = 0; i < j.n; i++)
            remember(w, j.entries[i].video);
        data__journal_close(&j);
    }
    free(path);
    return err;
}

static mn_err for_each(data_feature_writer *w, const char *end, mn_err (*visit)(data_feature_writer *, const char *))
{
    char **names;
    int64_t n;
    MN_TRY(data_dir_like(w->dir, "part-", end, &names, &n));
    mn_err err = MN_OK;
    for (int64_t i = 0; i < n && err == MN_OK; i++)
        err = visit(w, names[i]);
    mn_names_free(names, n);
    return err;
}

static void release(data_feature_writer *w)
{
    data__journal_close(&w->journal);
    mn_names_free(w->before, w->n_before);
    free(w->run);
    free(w->weights);
    free(w->model);
    free(w->path);
    free(w->dir);
    free(w);
}

static data_feature_writer *make(const char *dir, const char *part, const data_feature_source *source)
{
    data_feature_writer *w = mn_calloc(1, sizeof(*w));
    w->dir = mn_strdup(dir);
    w->path = mn_sprintf("%s/%s.h5", dir, part);
    w->run = mn_strdup(source->run ? source->run : "");
    w->weights = mn_strdup(source->weights_digest ? source->weights_digest : "");
    w->model = mn_strdup(source->model ? source->model : "");
    w->source = (data_feature_source){
        .run = w->run, .weights_digest = w->weights, .model = w->model, .step = source->step, .store = source->store};
    w->journal.fd = -1;
    return w;
}

static mn_err open_journal(data_feature_writer *w)
{
    char *path = mn_sprintf("%.*s.journal", (int)(strlen(w->path) - 3), w->path);
    mn_err err = data__journal_open(&w->journal, path, &w->source);
    free(path);
    return err;
}

mn_err data_feature_writer_open(data_feature_writer **out, const char *dir, int part, const data_feature_source *source)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "part-%05d", part);
    data_feature_writer *w = make(dir, name, source);
    mn_err err = MN_OK;
    MN_TRY_OUT(err, mn_dir_make(dir));
    MN_TRY_OUT(err, for_each(w, ".h5", remember_part));
    MN_TRY_OUT(err, for_each(w, ".journal", remember_journal));
    if (w->n_before) qsort(w->before, (size_t)w->n_before, sizeof(*w->before), by_text);
    MN_TRY_OUT(err, open_journal(w));
out:
    if (err != MN_OK)
        release(w);
    else
        *out = w;
    return err;
}

int data_feature_writer_has(const data_feature_writer *w, const char *video)
{
    return w->n_before && bsearch(&video, w->before, (size_t)w->n_before, sizeof(*w->before), by_text) != NULL;
}

static void to_half(data_store store, const float *x, int64_t n, uint16_t *half)
{
    (store == DATA_FP16 ? data_to_f16 : data_to_bf16)(x, n, half);
}

// The journal is of floats that 16 bits hold exactly, so that what is checked and digested there is what is stored.
static mn_err add_rounded(data_feature_writer *w, const data_track *t)
{
    int64_t count = t->frames * t->dim;
    uint16_t *half = mn_calloc((size_t)count, sizeof(*half));
    float *x = mn_calloc((size_t)count, sizeof(*x));
    data_track rounded = *t;
    to_half(w->source.store, t->x, count, half);
    (w->source.store == DATA_FP16 ? data_from_f16 : data_from_bf16)(half, count, x);
    rounded.x = x;
    mn_err err = MN_OK;
    if (data__feature_track_check(&rounded, w->path) != MN_OK)
        err =
            mn_fail(MN_EDATA, "%s: video %s has values that %s does not hold (f16 ends at 65504): features.store=fp32",
                    w->path, t->video, data__store_names[w->source.store]);
    if (err == MN_OK) err = data__journal_add(&w->journal, &rounded);
    free(half);
    free(x);
    return err;
}

mn_err data_feature_writer_add(data_feature_writer *w, const data_track *t)
{
    if (!data__feature_name_ok(t->video))
        return mn_fail(MN_EDATA, "'%s' cannot be the name of a video in a feature file", t->video);
    MN_TRY(data__feature_track_check(t, w->path));
    return w->source.store == DATA_FP32 ? data__journal_add(&w->journal, t) : add_rounded(w, t);
}

// Assembling a part

// A track of floats as `store`; one that is stored so already as it is.
static mn_err put_values(hid_t file, const char *path, const char *name, const data_track *t, data_store store)
{
    data__type type = store == DATA_FP16 ? DATA__F16 : DATA__BF16;
    if (store == DATA_FP32) return data__h5_write(file, path, name, DATA__F32, t->frames, t->dim, t->x);
    if (t->half) return data__h5_write(file, path, name, type, t->frames, t->dim, t->half);
    uint16_t *half = mn_calloc((size_t)(t->frames * t->dim), sizeof(*half));
    to_half(store, t->x, t->frames * t->dim, half);
    mn_err err = data__h5_write(file, path, name, type, t->frames, t->dim, half);
    free(half);
    return err;
}

static mn_err put_track(hid_t file, const char *path, const data_track *t, data_store store)
{
    char *x = mn_sprintf("%s/x", t->video), *times = mn_sprintf("%s/t_us", t->video);
    mn_err err = put_values(file, path, x, t, store);
    if (err == MN_OK) err = data__h5_write(file, path, times, DATA__I64, t->frames, 0, t->t_us);
    free(times);
    free(x);
    return err;
}

static mn_err put_tracks(data_feature_writer *w, hid_t file, const char *path, const data__feature_file *old)
{
    for (int64_t i = 0; i < old->n; i++)
        MN_TRY(put_track(file, path, &old->tracks[i], w->source.store));
    for (int64_t i = 0; i < w->journal.n; i++) {
        data_track t;
        MN_TRY(data__journal_track(&w->journal, i, &t));
        mn_err err = put_track(file, path, &t, w->source.store);
        free((void *)(uintptr_t)t.t_us);
        MN_TRY(err);
    }
    return MN_OK;
}

static mn_err write_part(data_feature_writer *w, const char *path, const data__feature_file *old)
{
    hid_t file;
    mn_err err = MN_OK;
    (void)unlink(path); // left by a killed process
    MN_TRY(data__h5_create(&file, path, 0));
    MN_TRY_OUT(err, data__h5_put_text(file, path, "format", DATA__FEATURES_FORMAT));
    MN_TRY_OUT(err, data__h5_put_int(file, path, "format_version", 1));
    MN_TRY_OUT(err, data__h5_put_text(file, path, "model", w->model));
    MN_TRY_OUT(err, data__h5_put_text(file, path, "weights_digest", w->weights));
    MN_TRY_OUT(err, data__h5_put_text(file, path, "run", w->run));
    MN_TRY_OUT(err, data__h5_put_int(file, path, "step", w->source.step));
    MN_TRY_OUT(err, put_tracks(w, file, path, old));
out:
    if (err == MN_OK) return data__h5_close(file, path);
    (void)H5Fclose(file); // the first failure is the one to report
    return err;
}

// Compares what reads back with the journal: a full disk shows here and not in HDF5's return codes.
static mn_err read_back(data_feature_writer *w, const char *path, int64_t n_old)
{
    data__feature_file f;
    MN_TRY(data__feature_file_open(&f, path, 0));
    mn_err err = f.n == n_old + w->journal.n ? MN_OK : mn_fail(MN_EIO, "%s: reads back with other videos", path);
    for (int64_t i = 0; i < w->journal.n && err == MN_OK; i++) {
        data_track t;
        char want[DATA__DIGEST_TEXT] = "", have[DATA__DIGEST_TEXT] = "-";
        MN_TRY_OUT(err, data__journal_track(&w->journal, i, &t));
        err = data__feature_track_digest(&t, want);
        for (int64_t k = 0; k < f.n && err == MN_OK; k++)
            if (strcmp(f.tracks[k].video, t.video) == 0) err = data__feature_track_digest(&f.tracks[k], have);
        free((void *)(uintptr_t)t.t_us);
        if (err == MN_OK && strcmp(want, have) != 0)
            err = mn_fail(MN_EIO, "%s: video %s reads back otherwise than it was written", path, t.video);
    }
out:
    data__feature_file_close(&f);
    return err;
}

static mn_err sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    mn_err err = MN_OK;
    if (fd < 0 || fsync(fd) != 0) err = mn_fail(MN_EIO, "%s: fsync: %s", path, strerror(errno));
    if (fd >= 0 && close(fd) != 0 && err == MN_OK) err = mn_fail(MN_EIO, "%s: close: %s", path, strerror(errno));
    return err;
}

static int is_in(const data__feature_file *f, const char *video)
{
    for (int64_t i = 0; i < f->n; i++)
        if (strcmp(f->tracks[i].video, video) == 0) return 1;
    return 0;
}

// A process that is killed after its part has taken its name leaves the journal of tracks that the part holds already.
static void forget_known(data__journal *j, const data__feature_file *old)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < j->n; i++) {
        if (is_in(old, j->entries[i].video))
            free(j->entries[i].video);
        else
            j->entries[kept++] = j->entries[i];
    }
    j->n = kept;
}

// The journal's tracks, and what the part's file holds already, become the part's file.
static mn_err assemble(data_feature_writer *w)
{
    char *temporary = mn_sprintf("%s.tmp", w->path);
    data__feature_file old = {0};
    mn_err err = MN_OK;
    if (w->journal.n == 0) goto remove; // nothing new
    err = access(w->path, F_OK) == 0 ? data__feature_file_open(&old, w->path, 1) : MN_OK;
    if (err != MN_OK) goto out;
    forget_known(&w->journal, &old);
    if (w->journal.n == 0) goto remove;
    MN_TRY_OUT(err, write_part(w, temporary, &old));
    MN_TRY_OUT(err, read_back(w, temporary, old.n));
    MN_TRY_OUT(err, sync_file(temporary));
    if (mn_fault("features.rename")) {
        err = mn_fail(MN_EIO, "%s: injected failure of a rename", w->path);
        goto out;
    }
    MN_TRY_OUT(err, data_file_publish(temporary, w->path));
remove:
    (void)mn_fault("features.clean"); // where a process may be killed
    if (unlink(w->journal.path) != 0) err = mn_fail(MN_EIO, "%s: %s", w->journal.path, strerror(errno));
out:
    if (err != MN_OK) (void)unlink(temporary);
    data__feature_file_close(&old);
    free(temporary);
    return err;
}

mn_err data_feature_writer_close(data_feature_writer *w)
{
    if (!w) return MN_OK;
    mn_err err = assemble(w);
    release(w);
    return err;
}

// Finishing

// A journal that nobody closed (its rank is gone after a restart on fewer ranks) becomes a part like any other.
static mn_err adopt_journal(data_feature_writer *w, const char *name)
{
    char *part = mn_sprintf("%.*s", (int)(strlen(name) - strlen(".journal")), name);
    data_feature_writer *left = make(w->dir, part, &w->source);
    free(part);
    mn_err err = open_journal(left);
    if (err == MN_OK) return data_feature_writer_close(left);
    release(left);
    return err;
}

typedef struct listing {
    json_t *parts, *videos;
    int64_t dim;
} listing;

static mn_err list_tracks(listing *l, const data__feature_file *f)
{
    for (int64_t i = 0; i < f->n; i++) {
        const data_track *t = &f->tracks[i];
        char digest[DATA__DIGEST_TEXT];
        if (json_object_get(l->videos, t->video))
            return mn_fail(MN_EDATA, "%s: video %s is in another part too: remove one of them", f->path, t->video);
        if (l->dim == 0) l->dim = t->dim;
        if (t->dim != l->dim)
            return mn_fail(MN_EDATA, "%s: video %s has %lld features a frame, others %lld", f->path, t->video,
                           (long long)t->dim, (long long)l->dim);
        MN_TRY(data__feature_track_digest(t, digest));
        if (json_object_set_new(l->videos, t->video, json_string(digest)) != 0)
            return mn_fail(MN_EDATA, "%s: the name of video %s is not UTF-8", f->path, t->video);
    }
    return MN_OK;
}

static mn_err list_part(listing *l, const data_feature_writer *w, const char *name)
{
    char *path = mn_sprintf("%s/%s", w->dir, name), digest[DATA__DIGEST_TEXT];
    data__feature_file f = {0};
    int64_t bytes;
    mn_err err = MN_OK;
    MN_TRY_OUT(err, mn_file_digest(path, digest, &bytes));
    MN_TRY_OUT(err, data__feature_file_open(&f, path, 1));
    MN_TRY_OUT(err, check_source(&f, w->dir, &w->source));
    MN_TRY_OUT(err, list_tracks(l, &f));
    json_t *o = json_pack("{s:s, s:I, s:I, s:s}", "file", name, "bytes", (json_int_t)bytes, "videos", (json_int_t)f.n,
                          "xxh3", digest);
    if (!o || json_array_append_new(l->parts, o) != 0) err = mn_fail(MN_EMEM, "no memory for a manifest");
out:
    data__feature_file_close(&f);
    free(path);
    return err;
}

// json_t keeps the order of insertion; the digest of the folder wants the order of names.
static json_t *sorted(json_t *object)
{
    json_t *o = json_object();
    size_t n = json_object_size(object), i = 0;
    const char **names = mn_calloc(n + 1, sizeof(*names)), *name;
    json_t *v;
    json_object_foreach(object, name, v) names[i++] = name;
    if (n) qsort(names, n, sizeof(*names), by_text);
    for (i = 0; i < n; i++)
        mn_assert(json_object_set(o, names[i], json_object_get(object, names[i])) == 0);
    free(names);
    return o;
}

static mn_err write_manifest(const data_feature_writer *w, const listing *l)
{
    char utc[32];
    size_t size;
    json_t *root =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:O, s:o}", "format", DATA__FEATURES_FORMAT,
                  "format_version", 1, "model", w->model, "weights_digest", w->weights, "run", w->run, "step",
                  (json_int_t)w->source.step, "dim", (json_int_t)l->dim, "dtype", data__store_names[w->source.store],
                  "created_utc", mn_utc_text(utc, sizeof(utc)), "parts", l->parts, "videos", sorted(l->videos));
    if (!root) return mn_fail(MN_EINTERNAL, "%s: the names of run or model are not UTF-8", w->dir);
    char *text = data__signed_json(root, &size), *path = mn_sprintf("%s/" DATA__MANIFEST, w->dir);
    mn_err err = mn_file_replace(path, text, size);
    free(path);
    free(text);
    json_decref(root);
    return err;
}

mn_err data_features_finish(const char *dir, const data_feature_source *source)
{
    data_feature_writer *w = make(dir, "part", source);
    listing l = {.parts = json_array(), .videos = json_object()};
    char **names = NULL;
    int64_t n = 0;
    mn_err err = MN_OK;
    MN_TRY_OUT(err, for_each(w, ".journal", adopt_journal));
    MN_TRY_OUT(err, data_dir_like(dir, "part-", ".h5", &names, &n));
    for (int64_t i = 0; i < n; i++)
        MN_TRY_OUT(err, list_part(&l, w, names[i]));
    if (json_object_size(l.videos) == 0) {
        err = mn_fail(MN_EDATA, "%s: no features of any video were written", dir);
        goto out;
    }
    MN_TRY_OUT(err, write_manifest(w, &l));
out:
    mn_names_free(names, n);
    json_decref(l.parts);
    json_decref(l.videos);
    release(w);
    return err;
}
