// PyTorch's files as a container of arrays: the zip form (data.pkl beside one raw file per storage) and the form before
// torch 1.6 (five pickles, then the storages one after the other).
#include "nn/weights_internal.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/pickle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum { MAX_PICKLE = 64 << 20 };

typedef struct pth {
    char *path;
    char *text; // the pickle, into which its texts point
    nn_pickle *pickle;
    void *storage; // the one that was read last: tensors of one storage stand together
    size_t bytes;
    int current; // its index, -1: none
    // Zip.
    zip_t *zip;
    char *folder; // inside the zip, with its slash
    // Legacy.
    int fd;
    int64_t *place; // of each storage's elements in the file
} pth;

static void close_pth(void *handle)
{
    pth *f = handle;
    if (!f) return;
    nn_pickle_free(f->pickle);
    if (f->zip) zip_discard(f->zip);
    if (f->fd >= 0) close(f->fd); // opened for reading: nothing can be lost
    mn_large_free(f->storage, f->bytes);
    free(f->place);
    free(f->text);
    free(f->folder);
    free(f->path);
    free(f);
}

static mn_err damaged(const pth *f, const char *why)
{
    return mn_fail(MN_EDATA, "%s: %s", f->path, why);
}

static int find_storage(const nn_pickle *p, nn_pickle_text key)
{
    for (int i = 0; i < nn_pickle_storages(p); i++) {
        nn_pickle_text k = nn_pickle_storage_at(p, i)->key;
        if (k.size == key.size && memcmp(k.at, key.at, k.size) == 0) return i;
    }
    return -1;
}

// --- elements ---

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, fraction = h & 1023;
    union {
        uint32_t u;
        float f;
    } x;
    if (exponent == 0) return (sign ? -1 : 1) * (float)fraction * 0x1p-24f;
    x.u = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    return x.f;
}

static float element(const unsigned char *storage, nn_pickle_type type, int64_t i)
{
    float f;
    double d;
    uint16_t h;
    switch (type) {
    case NN_PICKLE_F32:
        memcpy(&f, storage + i * 4, 4);
        return f;
    case NN_PICKLE_F64:
        memcpy(&d, storage + i * 8, 8);
        return (float)d;
    case NN_PICKLE_F16:
        memcpy(&h, storage + i * 2, 2);
        return half_to_float(h);
    case NN_PICKLE_BF16:
        memcpy(&h, storage + i * 2, 2);
        return mn_bf16_to_f32(h);
    case NN_PICKLE_INTEGER:
        break;
    }
    return 0;
}

// 0: a value is not finite.
static int gather(const nn_pickle_tensor *t, const unsigned char *storage, float *dst)
{
    int64_t index[MN_MAX_DIMS] = {0}, at = t->offset;
    for (int64_t i = 0; i < mn_count(t->shape); i++) {
        dst[i] = element(storage, t->type, at);
        if (!isfinite(dst[i])) return 0;
        for (int k = t->shape.n - 1; k >= 0; k--) {
            at += t->stride[k];
            if (++index[k] < t->shape.d[k]) break;
            at -= index[k] * t->stride[k];
            index[k] = 0;
        }
    }
    return 1;
}

// --- zip ---

// Reads an entry whose size must be `bytes`.
static mn_err read_entry(const pth *f, const char *name, void *to, size_t bytes)
{
    zip_file_t *in = zip_fopen(f->zip, name, 0);
    if (!in) return mn_fail(MN_EDATA, "%s: '%s': %s", f->path, name, zip_strerror(f->zip));
    size_t done = 0;
    while (done < bytes) {
        zip_int64_t n = zip_fread(in, (char *)to + done, bytes - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    int closed = zip_fclose(in); // checks the CRC
    if (done == bytes && closed == 0) return MN_OK;
    return mn_fail(MN_EDATA, "%s: '%s' is damaged", f->path, name);
}

static mn_err storage_name(const pth *f, int i, char **name)
{
    const nn_pickle_storage *s = nn_pickle_storage_at(f->pickle, i);
    zip_stat_t stat;
    *name = mn_sprintf("%sdata/%.*s", f->folder, (int)s->key.size, s->key.at);
    if (zip_stat(f->zip, *name, 0, &stat) == 0 && stat.valid & ZIP_STAT_SIZE &&
        stat.size == (zip_uint64_t)s->count * (zip_uint64_t)s->width)
        return MN_OK;
    mn_err err = mn_fail(MN_EDATA, "%s: '%s' is missing or has another size than data.pkl says", f->path, *name);
    free(*name);
    *name = NULL;
    return err;
}

static mn_err read_zipped(const pth *f, int i, void *to)
{
    char *name;
    MN_TRY(storage_name(f, i, &name));
    mn_err err = read_entry(f, name, to, f->bytes);
    free(name);
    return err;
}

// The folder is whatever the writer's file was called.
static mn_err find_pickle(pth *f, zip_uint64_t *bytes)
{
    static const char end[] = "/data.pkl";
    for (zip_int64_t i = 0; i < zip_get_num_entries(f->zip, 0); i++) {
        const char *name = zip_get_name(f->zip, (zip_uint64_t)i, 0);
        size_t n = name ? strlen(name) : 0;
        zip_stat_t stat;
        if (n < sizeof end || strcmp(name + n - (sizeof end - 1), end) != 0) continue;
        if (zip_stat_index(f->zip, (zip_uint64_t)i, 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE)) continue;
        if (stat.size > MAX_PICKLE) return damaged(f, "data.pkl is larger than 64 MiB");
        f->folder = mn_sprintf("%.*s/", (int)(n - (sizeof end - 1)), name);
        *bytes = stat.size;
        return MN_OK;
    }
    return damaged(f, "a zip without data.pkl is no PyTorch file");
}

static mn_err check_byte_order(const pth *f)
{
    char *name = mn_sprintf("%sbyteorder", f->folder), text[6];
    mn_err err = MN_OK;
    if (zip_name_locate(f->zip, name, 0) >= 0) {
        err = read_entry(f, name, text, sizeof text);
        if (err != MN_OK || memcmp(text, "little", sizeof text) != 0)
            err = damaged(f, "written on a big-endian machine");
    }
    free(name);
    return err;
}

static mn_err open_zip(pth *f)
{
    int code = 0;
    zip_uint64_t bytes = 0;
    f->zip = zip_open(f->path, ZIP_RDONLY, &code);
    if (!f->zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        mn_err err = mn_fail(MN_EDATA, "%s: %s", f->path, zip_error_strerror(&error));
        zip_error_fini(&error);
        return err;
    }
    MN_TRY(find_pickle(f, &bytes));
    MN_TRY(check_byte_order(f));
    f->text = mn_calloc((size_t)bytes + 1, 1);
    char *name = mn_sprintf("%sdata.pkl", f->folder);
    mn_err err = read_entry(f, name, f->text, (size_t)bytes);
    free(name);
    if (err != MN_OK) return err;
    MN_TRY(nn_pickle_parse(&f->pickle, f->text, (size_t)bytes, f->path, NULL));
    for (int i = 0; i < nn_pickle_storages(f->pickle); i++) {
        MN_TRY(storage_name(f, i, &name));
        free(name);
    }
    return MN_OK;
}

// --- legacy ---

// Each storage: its number of elements, then the elements; in the order of the last pickle's list of keys.
static mn_err find_storages(pth *f, const nn_pickle *keys, int64_t at, int64_t size)
{
    int found = 0;
    f->place = mn_calloc((size_t)nn_pickle_storages(f->pickle) + 1, sizeof *f->place);
    for (int64_t i = 0; i < nn_pickle_texts(keys); i++) {
        nn_pickle_text key;
        int64_t count;
        int k = nn_pickle_text_at(keys, i, &key) ? find_storage(f->pickle, key) : -1;
        if (k < 0 || f->place[k]) return damaged(f, "its list of storages does not go with its tensors");
        const nn_pickle_storage *s = nn_pickle_storage_at(f->pickle, k);
        MN_TRY(mn_file_read_at(f->fd, &count, sizeof count, at, f->path));
        at += (int64_t)sizeof count;
        if (count != s->count || (size - at) / s->width < count) return damaged(f, "truncated");
        f->place[k] = at;
        at += count * s->width;
        found++;
    }
    return found == nn_pickle_storages(f->pickle) ? MN_OK : damaged(f, "some of its storages are missing");
}

static mn_err read_placed(const pth *f, int i, void *to)
{
    return mn_file_read_at(f->fd, to, f->bytes, f->place[i], f->path);
}

static mn_err open_legacy(pth *f)
{
    enum { MAGIC, PROTOCOL, SYSTEM, TENSORS, KEYS, PICKLES };
    int64_t size;
    size_t at = 0;
    nn_pickle *pickle[PICKLES] = {NULL};
    mn_err err = MN_OK;
    MN_TRY(mn_file_open(&f->fd, f->path, &size));
    size_t head = size < MAX_PICKLE ? (size_t)size : MAX_PICKLE; // the pickles stand before the storages
    f->text = mn_calloc(head + 1, 1);
    MN_TRY(mn_file_read_at(f->fd, f->text, head, 0, f->path));
    for (int i = MAGIC; i < PICKLES; i++) {
        size_t used = 0;
        MN_TRY_OUT(err, nn_pickle_parse(&pickle[i], f->text + at, head - at, f->path, &used));
        at += used;
    }
    f->pickle = pickle[TENSORS];
    pickle[TENSORS] = NULL;
    err = find_storages(f, pickle[KEYS], (int64_t)at, size);
out:
    for (int i = MAGIC; i < PICKLES; i++)
        nn_pickle_free(pickle[i]);
    return err;
}

// --- container ---

static mn_err hold_storage(pth *f, int i)
{
    const nn_pickle_storage *s = nn_pickle_storage_at(f->pickle, i);
    if (f->current == i) return MN_OK;
    mn_large_free(f->storage, f->bytes);
    f->storage = NULL;
    f->current = -1;
    f->bytes = (size_t)s->count * (size_t)s->width;
    MN_TRY(mn_large_alloc(&f->storage, f->bytes, "a storage of a .pth file"));
    MN_TRY(f->zip ? read_zipped(f, i, f->storage) : read_placed(f, i, f->storage));
    f->current = i;
    return MN_OK;
}

static mn_err read_array(void *handle, int i, float *dst)
{
    pth *f = handle;
    const nn_pickle_tensor *t = nn_pickle_at(f->pickle, i);
    MN_TRY(hold_storage(f, find_storage(f->pickle, t->storage)));
    if (gather(t, f->storage, dst)) return MN_OK;
    return mn_fail(MN_EDATA, "%s: '%s' has values that are not finite", f->path, t->name);
}

static void list_arrays(const pth *f, nn__container *c)
{
    static const char *const stored[] = {[NN_PICKLE_F32] = "F32",
                                         [NN_PICKLE_F64] = "F64",
                                         [NN_PICKLE_F16] = "F16",
                                         [NN_PICKLE_BF16] = "BF16",
                                         [NN_PICKLE_INTEGER] = NULL};
    c->n = nn_pickle_count(f->pickle);
    c->array = mn_calloc((size_t)c->n + 1, sizeof *c->array);
    for (int i = 0; i < c->n; i++) {
        const nn_pickle_tensor *t = nn_pickle_at(f->pickle, i);
        c->array[i] = (nn__array){mn_strdup(t->name), t->shape, stored[t->type]};
    }
}

mn_err nn__open_pth(nn__container *c, const char *path, int zip)
{
    pth *f = mn_calloc(1, sizeof *f);
    f->path = mn_strdup(path);
    f->current = f->fd = -1;
    mn_err err = zip ? open_zip(f) : open_legacy(f);
    if (err != MN_OK) {
        close_pth(f);
        return err;
    }
    *c = (nn__container){
        .kind = zip ? "zip of pickle" : "legacy pickle", .handle = f, .read = read_array, .close = close_pth};
    list_arrays(f, c);
    return MN_OK;
}
