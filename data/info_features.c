// `mien data info` of a feature folder: videos, their rate and extent, and the run that made them.
#include "data/features.h"
#include "data/info_parts.h"
#include "data/shard_manifest.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct totals {
    int64_t frames, first, last, shortest, longest;
    double rate; // the median video's
} totals;

static mn_err add_up(const data_features *f, totals *t)
{
    int64_t n = data_features_count(f), rates = 0;
    double *rate = mn_calloc((size_t)n + 1, sizeof(*rate));
    mn_err err = MN_OK;
    for (int64_t i = 0; i < n; i++) {
        data_track k;
        MN_TRY_OUT(err, data_features_track(f, i, &k));
        int64_t span = k.t_us[k.frames - 1] - k.t_us[0];
        if (k.frames > 1) rate[rates++] = 1e6 * (double)(k.frames - 1) / (double)span;
        t->frames += k.frames;
        if (i == 0 || k.t_us[0] < t->first) t->first = k.t_us[0];
        if (i == 0 || k.t_us[k.frames - 1] > t->last) t->last = k.t_us[k.frames - 1];
        if (i == 0 || k.frames < t->shortest) t->shortest = k.frames;
        if (k.frames > t->longest) t->longest = k.frames;
    }
    if (rates) qsort(rate, (size_t)rates, sizeof(*rate), by_value);
    t->rate = rates ? rate[rates / 2] : 0;
out:
    free(rate);
    return err;
}

// What the manifest says of where they come from; null: features of another program.
static json_t *source_of(const char *dir, int64_t *parts)
{
    static const char *const key[] = {"run", "step", "model", "weights_digest", "created_utc"};
    char *path = mn_sprintf("%s/" DATA__MANIFEST, dir), *text = NULL;
    json_t *root = NULL, *o = NULL;
    size_t size;
    if (mn_file_read(path, DATA__MANIFEST_MOST, &text, &size) == MN_OK &&
        data__signed_json_parse(text, size, path, &root) == MN_OK) {
        o = json_object();
        for (size_t i = 0; i < sizeof(key) / sizeof(key[0]); i++)
            if (json_object_get(root, key[i]))
                mn_assert(json_object_set(o, key[i], json_object_get(root, key[i])) == 0);
        *parts = (int64_t)json_array_size(json_object_get(root, "parts"));
    }
    json_decref(root);
    free(text);
    free(path);
    return o ? o : json_null();
}

static int64_t bytes_of(const char *dir, char **names, int64_t n)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        struct stat st;
        char *path = mn_sprintf("%s/%s", dir, names[i]);
        size_t at = strlen(names[i]);
        if (at > 3 && strcmp(names[i] + at - 3, ".h5") == 0 && stat(path, &st) == 0) bytes += st.st_size;
        free(path);
    }
    return bytes;
}

mn_err data__info_features(const char *dir, json_t **report)
{
    data_features *f;
    totals t = {0};
    char **names = NULL;
    int64_t n = 0, parts = 0;
    MN_TRY(data_features_open(&f, dir));
    mn_err err = MN_OK;
    MN_TRY_OUT(err, add_up(f, &t));
    MN_TRY_OUT(err, mn_dir_list(dir, &names, &n));
    json_t *source = source_of(dir, &parts);
    *report =
        json_pack("{s:s, s:b, s:I, s:I, s:[I, I], s:I, s:s, s:I, s:I, s:[I, I], s:f, s:o}", "path", dir, "features", 1,
                  "videos", (json_int_t)data_features_count(f), "frames", (json_int_t)t.frames, "frames_range",
                  (json_int_t)t.shortest, (json_int_t)t.longest, "dim", (json_int_t)data_features_dim(f), "dtype",
                  data_features_dtype(f), "bytes", (json_int_t)bytes_of(dir, names, n), "parts", (json_int_t)parts,
                  "t_us", (json_int_t)t.first, (json_int_t)t.last, "rate", t.rate, "source", source);
    if (!*report) err = mn_fail(MN_EUSAGE, "the path is not UTF-8");
out:
    mn_names_free(names, n);
    data_features_close(f);
    return err;
}

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && *s ? s : "unknown";
}

void data__info_print_features(const json_t *r, FILE *to)
{
    const json_t *source = json_object_get(r, "source"), *range = json_object_get(r, "frames_range");
    fprintf(to, "%s: features of %lld videos, %lld rows of %lld %s, %.1f MiB\n", text_of(r, "path"),
            number(r, "videos"), number(r, "frames"), number(r, "dim"), text_of(r, "dtype"),
            (double)number(r, "bytes") / 1048576);
    fprintf(to, "  %lld to %lld rows a video, %.2f a second (the median video's)\n",
            (long long)json_integer_value(json_array_get(range, 0)),
            (long long)json_integer_value(json_array_get(range, 1)), json_real_value(json_object_get(r, "rate")));
    if (json_is_null(source))
        fprintf(to, "  without a manifest: made by another program\n");
    else
        fprintf(to, "  model %s, run %s at step %lld, weights %s, made %s\n", text_of(source, "model"),
                text_of(source, "run"), number(source, "step"), text_of(source, "weights_digest"),
                text_of(source, "created_utc"));
}
