#include "data/features.h"

#include "data/features_file.h"
#include "data/file.h"
#include "data/half.h"
#include "data/video_name.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct data_features {
    int n_files;
    data__feature_file *files;
    int64_t n, dim;
    data_track *tracks; // of all files, by name
    char weights[128];
    uint64_t digest;
};

static int by_video(const void *a, const void *b)
{
    return strcmp(((const data_track *)a)->video, ((const data_track *)b)->video);
}

// Tracks of all files in one sorted table.
static mn_err collect(data_features *f, const char *dir)
{
    for (int i = 0; i < f->n_files; i++)
        f->n += f->files[i].n;
    if (f->n == 0) return mn_fail(MN_EDATA, "%s: holds no features of any video", dir);
    f->tracks = mn_calloc((size_t)f->n, sizeof(*f->tracks));
    for (int64_t i = 0, at = 0; i < f->n_files; i++) {
        memcpy(f->tracks + at, f->files[i].tracks, (size_t)f->files[i].n * sizeof(*f->tracks));
        at += f->files[i].n;
    }
    qsort(f->tracks, (size_t)f->n, sizeof(*f->tracks), by_video);
    f->dim = f->tracks[0].dim;
    for (int64_t i = 0; i < f->n; i++) {
        if (i > 0 && strcmp(f->tracks[i].video, f->tracks[i - 1].video) == 0)
            return mn_fail(MN_EDATA, "%s: video %s is in it twice", dir, f->tracks[i].video);
        if (f->tracks[i].dim != f->dim)
            return mn_fail(MN_EDATA, "%s: video %s has %lld features a frame, others %lld", dir, f->tracks[i].video,
                           (long long)f->tracks[i].dim, (long long)f->dim);
    }
    return MN_OK;
}

// Without a manifest: of the content. (With one it is what the manifest says of the content.)
static mn_err digest_tracks(data_features *f)
{
    char text[DATA__DIGEST_TEXT];
    for (int64_t i = 0; i < f->n; i++) {
        MN_TRY(data__feature_track_digest(&f->tracks[i], text));
        f->digest = XXH3_64bits_withSeed(text, 32, f->digest);
    }
    return MN_OK;
}

// With a manifest

static mn_err check_part(const json_t *part, const char *dir, char **path)
{
    const char *file = json_string_value(json_object_get(part, "file"));
    const char *want = json_string_value(json_object_get(part, "xxh3"));
    char have[DATA__DIGEST_TEXT];
    int64_t bytes;
    if (!file || !want || strchr(file, '/') || *file == '.' || *file == 0)
        return mn_fail(MN_EDATA, "%s/" DATA__MANIFEST ": an entry of its parts lacks a field", dir);
    *path = mn_sprintf("%s/%s", dir, file);
    MN_TRY(mn_file_digest(*path, have, &bytes));
    if (strcmp(have, want) != 0)
        return mn_fail(MN_EDATA, "%s: damaged or exchanged: it has digest %s, the manifest says %s: extract again",
                       *path, have, want);
    return MN_OK;
}

// The digest covers (name, frames, digest) of every video, in the manifest's order, which is by name.
static mn_err digest_manifest(data_features *f, const json_t *videos, const char *path)
{
    const char *name;
    json_t *v;
    if ((int64_t)json_object_size(videos) != f->n)
        return mn_fail(MN_EDATA, "%s: lists %zu videos, the parts hold %lld", path, json_object_size(videos),
                       (long long)f->n);
    json_object_foreach((json_t *)(uintptr_t)videos, name, v)
    {
        const char *d = json_string_value(v);
        if (!d || !data__is_digest(d) || data_features_find(f, name) < 0)
            return mn_fail(MN_EDATA, "%s: its entry of video %s is wrong", path, name);
        f->digest = XXH3_64bits_withSeed(d, 32, f->digest);
    }
    return MN_OK;
}

static mn_err open_parts(data_features *f, const char *dir, const json_t *root)
{
    const json_t *parts = json_object_get(root, "parts");
    size_t n = json_array_size(parts);
    mn_err err = MN_OK;
    f->files = mn_calloc(n + 1, sizeof(*f->files));
    for (size_t i = 0; i < n && err == MN_OK; i++) {
        char *path = NULL;
        err = check_part(json_array_get(parts, i), dir, &path);
        if (err == MN_OK) err = data__feature_file_open(&f->files[i], path, 1);
        if (err == MN_OK) f->n_files++;
        free(path);
    }
    return err;
}

static mn_err open_with_manifest(data_features *f, const char *dir, const char *path, const char *text, size_t size)
{
    json_t *root;
    mn_err err = MN_OK;
    MN_TRY(data__signed_json_parse(text, size, path, &root));
    const char *format = json_string_value(json_object_get(root, "format"));
    const char *weights = json_string_value(json_object_get(root, "weights_digest"));
    if (!format || strcmp(format, DATA__FEATURES_FORMAT) != 0 ||
        json_integer_value(json_object_get(root, "format_version")) != 1 || !weights ||
        strlen(weights) >= sizeof(f->weights)) {
        err = mn_fail(MN_EDATA, "%s: not the manifest of mien features of format version 1: extract again", path);
        goto out;
    }
    memcpy(f->weights, weights, strlen(weights) + 1);
    MN_TRY_OUT(err, open_parts(f, dir, root));
    MN_TRY_OUT(err, collect(f, dir));
    MN_TRY_OUT(err, digest_manifest(f, json_object_get(root, "videos"), path));
out:
    json_decref(root);
    return err;
}

// Without one

static mn_err open_one(data_features *f, const char *path)
{
    MN_TRY(data__feature_file_open(&f->files[f->n_files], path, 0));
    f->n_files++;
    return MN_OK;
}

static mn_err open_plain(data_features *f, const char *dir)
{
    char **names = NULL;
    int64_t n = 0;
    mn_err err = MN_OK;
    struct stat st;
    if (stat(dir, &st) != 0) return mn_fail(errno == ENOENT ? MN_ENOINPUT : MN_EIO, "%s: %s", dir, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        MN_TRY_OUT(err, data_dir_like(dir, "", ".h5", &names, &n));
        if (n == 0) {
            err = mn_fail(MN_ENOINPUT, "%s: no feature files (*.h5) in this folder", dir);
            goto out;
        }
    }
    f->files = mn_calloc((size_t)n + 1, sizeof(*f->files));
    if (n == 0) MN_TRY_OUT(err, open_one(f, dir));
    for (int64_t i = 0; i < n && err == MN_OK; i++) {
        char *path = mn_sprintf("%s/%s", dir, names[i]);
        err = open_one(f, path);
        free(path);
    }
    if (err == MN_OK) err = collect(f, dir);
    if (err == MN_OK) err = digest_tracks(f);
out:
    mn_names_free(names, n);
    return err;
}

mn_err data_features_open(data_features **out, const char *dir)
{
    data_features *f = mn_calloc(1, sizeof(*f));
    char *path = mn_sprintf("%s/" DATA__MANIFEST, dir), *text = NULL;
    size_t size;
    mn_err err = mn_file_read(path, DATA__MANIFEST_MOST, &text, &size);
    if (err == MN_OK)
        err = open_with_manifest(f, dir, path, text, size);
    else if (err == MN_ENOINPUT && access(dir, F_OK) != 0)
        err = mn_fail(MN_ENOINPUT, "%s: no such folder of features: 'mien extract' makes it", dir);
    else if (err == MN_ENOINPUT)
        err = open_plain(f, dir);
    free(text);
    free(path);
    if (err != MN_OK)
        data_features_close(f);
    else
        *out = f;
    return err;
}

void data_features_close(data_features *f)
{
    if (!f) return;
    for (int i = 0; i < f->n_files; i++)
        data__feature_file_close(&f->files[i]);
    free(f->files);
    free(f->tracks);
    free(f);
}

int64_t data_features_count(const data_features *f)
{
    return f->n;
}

int64_t data_features_dim(const data_features *f)
{
    return f->dim;
}

const char *data_features_weights(const data_features *f)
{
    return f->weights;
}

uint64_t data_features_digest(const data_features *f)
{
    return f->digest;
}

const char *data_features_dtype(const data_features *f)
{
    const char *dtype = NULL;
    for (int i = 0; i < f->n_files; i++)
        if (f->files[i].dtype) dtype = !dtype || strcmp(dtype, f->files[i].dtype) == 0 ? f->files[i].dtype : "mixed";
    return dtype ? dtype : "mixed";
}

static int64_t find(const data_features *f, const char *video)
{
    data_track key = {.video = video};
    const data_track *t = bsearch(&key, f->tracks, (size_t)f->n, sizeof(*f->tracks), by_video);
    return t ? t - f->tracks : -1;
}

int64_t data_features_find(const data_features *f, const char *video)
{
    int64_t i = find(f, video);
    size_t n = data_video_stem(video, NULL);
    if (i >= 0 || video[n] == 0) return i;
    char *stem = mn_sprintf("%.*s", (int)n, video);
    i = find(f, stem);
    free(stem);
    return i;
}

mn_err data_features_track(const data_features *f, int64_t i, data_track *out)
{
    if (i < 0 || i >= f->n)
        return mn_fail(MN_EINTERNAL, "features of video %lld of %lld asked for", (long long)i, (long long)f->n);
    *out = f->tracks[i];
    return MN_OK;
}

void data_track_rows(const data_track *t, int64_t first, int64_t n, float *x)
{
    int64_t at = first * t->dim, count = n * t->dim;
    if (t->store == DATA_FP16)
        data_from_f16(t->half + at, count, x);
    else if (t->store == DATA_BF16)
        data_from_bf16(t->half + at, count, x);
    else
        memcpy(x, t->x + at, (size_t)count * sizeof(*x));
}

void data_track_at(const data_track *t, int64_t t_us, float *y, float *scratch)
{
    int64_t low = 0, high = t->frames - 1; // t_us[low] <= t_us < t_us[high] where the ends allow it
    if (t_us <= t->t_us[low]) high = low;
    if (t_us >= t->t_us[high]) low = high;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (t->t_us[middle] <= t_us)
            low = middle;
        else
            high = middle;
    }
    double span = (double)(t->t_us[high] - t->t_us[low]);
    float w = span > 0 ? (float)((double)(t_us - t->t_us[low]) / span) : 0;
    data_track_rows(t, low, 1, y);
    if (w == 0) return;
    data_track_rows(t, high, 1, scratch);
    for (int64_t i = 0; i < t->dim; i++)
        y[i] += w * (scratch[i] - y[i]);
}
