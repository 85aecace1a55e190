#include "data/features_file.h"

#include "data/half.h"
#include "data/shard_h5.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPANSION = 1100, PIECE = 4096 }; // what deflate can make of a byte; floats looked at together

const char *const data__store_names[] = {"f32", "f16", "bf16"};

// Values [at, at + n) of a track, counted over its rows, at most PIECE of them in `space`.
static const float *piece(const data_track *t, int64_t at, int64_t n, float *space)
{
    if (t->x) return t->x + at;
    (t->store == DATA_FP16 ? data_from_f16 : data_from_bf16)(t->half + at, n, space);
    return space;
}

int data__feature_name_ok(const char *video)
{
    return *video && strlen(video) < 200 && !strchr(video, '/') && strcmp(video, ".") != 0;
}

mn_err data__feature_track_check(const data_track *t, const char *path)
{
    if (t->frames < 1 || t->dim < 1) return mn_fail(MN_EDATA, "%s: video %s has no features", path, t->video);
    for (int64_t i = 1; i < t->frames; i++)
        if (t->t_us[i] <= t->t_us[i - 1])
            return mn_fail(MN_EDATA, "%s: video %s: the times do not increase at frame %lld", path, t->video,
                           (long long)i);
    float space[PIECE];
    for (int64_t at = 0, n; at < t->frames * t->dim; at += n) {
        n = t->frames * t->dim - at < PIECE ? t->frames * t->dim - at : PIECE;
        const float *x = piece(t, at, n, space);
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return mn_fail(MN_EDATA, "%s: video %s: value %lld of frame %lld is not a finite number", path,
                               t->video, (long long)((at + i) % t->dim), (long long)((at + i) / t->dim));
    }
    return MN_OK;
}

mn_err data__feature_track_digest(const data_track *t, char text[DATA__DIGEST_TEXT])
{
    XXH3_state_t *h = XXH3_createState();
    if (!h || XXH3_128bits_reset(h) != XXH_OK) return mn_fail(MN_EMEM, "no memory for a digest");
    int64_t extent[2] = {t->frames, t->dim};
    (void)XXH3_128bits_update(h, t->video, strlen(t->video) + 1);
    (void)XXH3_128bits_update(h, extent, sizeof(extent));
    (void)XXH3_128bits_update(h, t->t_us, (size_t)t->frames * sizeof(*t->t_us));
    float space[PIECE];
    for (int64_t at = 0, n; at < t->frames * t->dim; at += n) {
        n = t->frames * t->dim - at < PIECE ? t->frames * t->dim - at : PIECE;
        (void)XXH3_128bits_update(h, piece(t, at, n, space), (size_t)n * sizeof(float));
    }
    data__digest_text(XXH3_128bits_digest(h), text);
    (void)XXH3_freeState(h);
    return MN_OK;
}

// Reading

typedef struct source { // a dataset of any number type and storage
    hid_t id;
    int64_t extent[2];
    int plain; // it can be used where it lies, as `store`
    data_store store;
    size_t element;  // bytes of a number
    uint64_t offset; // when plain
} source;

static int find_store(hid_t type, data_store *store)
{
    static const data__type types[] = {DATA__F32, DATA__F16, DATA__BF16}; // order of data_store
    for (int i = 0; i < 3; i++)
        if (data__h5_is(type, types[i])) {
            *store = (data_store)i;
            return 1;
        }
    return 0;
}

static mn_err open_source(source *s, hid_t file, const char *path, const char *name, int dims, H5T_class_t kind)
{
    hsize_t extent[2] = {0, 1};
    s->id = data__h5_has(file, name) ? H5Dopen2(file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (s->id < 0)
        return mn_fail(MN_EDATA, "%s: there is no dataset %s (each video is a group of x and t_us)", path, name);
    hid_t space = H5Dget_space(s->id), type = H5Dget_type(s->id), create = H5Dget_create_plist(s->id);
    int ok = space >= 0 && type >= 0 && create >= 0 && H5Sget_simple_extent_ndims(space) == dims &&
             H5Sget_simple_extent_dims(space, extent, NULL) == dims && extent[0] < INT32_MAX && extent[1] < INT32_MAX &&
             H5Tget_class(type) == kind && H5Pget_external_count(create) == 0;
    s->plain = ok && H5Pget_layout(create) == H5D_CONTIGUOUS && find_store(type, &s->store);
    s->element = ok ? H5Tget_size(type) : 0;
    haddr_t at = s->plain ? H5Dget_offset(s->id) : HADDR_UNDEF;
    if (at == HADDR_UNDEF || at % s->element != 0) s->plain = 0;
    s->offset = at;
    s->extent[0] = (int64_t)extent[0];
    s->extent[1] = (int64_t)extent[1];
    if (create >= 0) (void)H5Pclose(create);
    if (type >= 0) (void)H5Tclose(type);
    if (space >= 0) (void)H5Sclose(space);
    if (ok) return MN_OK;
    (void)H5Dclose(s->id);
    return mn_fail(MN_EDATA, "%s: %s is not %s", path, name,
                   dims == 2 ? "an array (T, D) of floating-point numbers" : "an array (T) of integers");
}

static mn_err read_source(const source *s, hid_t type, size_t element, const data__feature_file *f, const char *name,
                          void **values)
{
    size_t bytes;
    MN_TRY(mn_mul_size((size_t)s->extent[0] * (size_t)s->extent[1], element, &bytes));
    if (bytes / EXPANSION > f->map.bytes)
        return mn_fail(MN_EDATA, "%s: %s claims %zu bytes, more than the file can hold", f->path, name, bytes);
    void *p = malloc(bytes + 1);
    if (!p) return mn_fail(MN_EMEM, "%s: no memory for the %zu bytes of %s", f->path, bytes, name);
    if (bytes > 0 && H5Dread(s->id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, p) < 0) {
        free(p);
        return data__h5_fail(MN_EDATA, f->path, "reading features failed");
    }
    *values = p;
    return MN_OK;
}

static void note_dtype(data__feature_file *f, const source *x)
{
    const char *dtype = x->plain          ? data__store_names[x->store]
                        : x->element == 2 ? "f16"
                        : x->element == 4 ? "f32"
                        : x->element == 8 ? "f64"
                                          : "float";
    if (f->dtype && strcmp(f->dtype, dtype) != 0) dtype = "mixed";
    f->dtype = dtype;
}

static mn_err read_values(data__feature_file *f, const source *x, const char *name, int64_t i)
{
    data_track *t = &f->tracks[i];
    size_t bytes;
    t->frames = x->extent[0];
    t->dim = x->extent[1];
    MN_TRY(mn_mul_size((size_t)t->frames * (size_t)t->dim, x->element, &bytes));
    if (x->plain && bytes <= f->map.bytes && x->offset <= f->map.bytes - bytes) {
        const void *at = f->map.at + x->offset;
        t->store = x->store;
        if (t->store == DATA_FP32)
            t->x = at;
        else
            t->half = at;
        return MN_OK;
    }
    MN_TRY(read_source(x, H5T_NATIVE_FLOAT, sizeof(float), f, name, (void **)&f->owned[i]));
    t->x = (const float *)(const void *)f->owned[i];
    return MN_OK;
}

static mn_err read_track(data__feature_file *f, hid_t file, char *video, int64_t i)
{
    char *name = mn_sprintf("%s/x", video), *times = mn_sprintf("%s/t_us", video);
    source x = {.id = -1}, t = {.id = -1};
    mn_err err = MN_OK;
    f->tracks[i].video = video;
    MN_TRY_OUT(err, open_source(&x, file, f->path, name, 2, H5T_FLOAT));
    note_dtype(f, &x);
    err = read_values(f, &x, name, i);
    (void)H5Dclose(x.id);
    if (err != MN_OK) goto out;
    MN_TRY_OUT(err, open_source(&t, file, f->path, times, 1, H5T_INTEGER));
    err = t.extent[0] != x.extent[0]
              ? mn_fail(MN_EDATA, "%s: video %s has %lld feature rows but %lld times", f->path, video,
                        (long long)x.extent[0], (long long)t.extent[0])
              : read_source(&t, H5T_NATIVE_INT64, sizeof(int64_t), f, times, (void **)(uintptr_t)&f->tracks[i].t_us);
    (void)H5Dclose(t.id);
out:
    free(times);
    free(name);
    return err;
}

static mn_err read_tracks(data__feature_file *f, hid_t file, int own)
{
    char **names;
    int64_t n, read = 0;
    mn_err err = MN_OK;
    MN_TRY(data__h5_names(file, f->path, &names, &n));
    f->tracks = mn_calloc((size_t)n + 1, sizeof(*f->tracks));
    f->owned = mn_calloc((size_t)n + 1, sizeof(*f->owned));
    f->n = n;
    for (; read < n && err == MN_OK; read++) {
        err = read_track(f, file, names[read], read); // takes the name
        if (err == MN_OK && !own) err = data__feature_track_check(&f->tracks[read], f->path);
    }
    for (int64_t i = read; i < n; i++)
        free(names[i]);
    free(names);
    return err;
}

mn_err data__feature_file_open(data__feature_file *out, const char *path, int own)
{
    data__feature_file f = {.path = mn_strdup(path)};
    hid_t file = H5I_INVALID_HID;
    mn_err err = MN_OK;
    MN_TRY_OUT(err, mn_map_open(&f.map, path));
    MN_TRY_OUT(err, data__h5_open(&file, path));
    if (data__h5_has_attribute(file, "weights_digest"))
        MN_TRY_OUT(err, data__h5_get_text(file, path, "weights_digest", f.weights, sizeof(f.weights)));
    if (data__h5_has_attribute(file, "model"))
        MN_TRY_OUT(err, data__h5_get_text(file, path, "model", f.model, sizeof(f.model)));
    MN_TRY_OUT(err, read_tracks(&f, file, own));
out:
    if (file >= 0 && H5Fclose(file) < 0 && err == MN_OK) err = data__h5_fail(MN_EDATA, path, "closing failed");
    if (err != MN_OK)
        data__feature_file_close(&f);
    else
        *out = f;
    return err;
}

void data__feature_file_close(data__feature_file *f)
{
    for (int64_t i = 0; f->tracks && i < f->n; i++) {
        free((void *)(uintptr_t)f->tracks[i].video);
        free((void *)(uintptr_t)f->tracks[i].t_us);
        free(f->owned[i]);
    }
    free(f->tracks);
    free(f->owned);
    mn_map_close(&f->map);
    free(f->path);
    memset(f, 0, sizeof(*f));
}
