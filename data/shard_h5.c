#include "data/shard_h5.h"

#include "data/shard.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digests are over the little-endian bytes of the file");

enum { PAGE = 4096 }; // alignment of anything this large, so that a reader may map it

static void start_library(void)
{
    (void)H5dont_atexit();          // fails only when HDF5 is in use already: then it is a caller's choice
    (void)H5PLset_loading_state(0); // never load a filter from a path of the environment
}

static void quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start_library);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL); // per thread; the message comes from data__h5_fail
}

static hid_t type_id(data__type t)
{
    switch (t) {
    case DATA__U8:
        return H5T_STD_U8LE;
    case DATA__I8:
        return H5T_STD_I8LE;
    case DATA__U16:
        return H5T_STD_U16LE;
    case DATA__U32:
        return H5T_STD_U32LE;
    case DATA__I32:
        return H5T_STD_I32LE;
    case DATA__U64:
        return H5T_STD_U64LE;
    case DATA__I64:
        return H5T_STD_I64LE;
    case DATA__F32:
        return H5T_IEEE_F32LE;
    case DATA__F16:
    case DATA__BF16:
        break;
    }
    return H5I_INVALID_HID;
}

// A type of its own, to be closed. HDF5 has no name for floats of 16 bits before 1.14.4: sign, exponent, fraction, bias.
static hid_t open_type(data__type t)
{
    int f16 = t == DATA__F16;
    if (!f16 && t != DATA__BF16) return H5Tcopy(type_id(t));
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 && H5Tset_fields(type, 15, f16 ? 10 : 7, f16 ? 5 : 8, 0, f16 ? 10 : 7) >= 0 &&
        H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, f16 ? 15 : 127) >= 0)
        return type;
    if (type >= 0) (void)H5Tclose(type);
    return H5I_INVALID_HID;
}

int data__h5_is(hid_t type, data__type t)
{
    hid_t want = open_type(t);
    int is = want >= 0 && H5Tequal(type, want) > 0;
    if (want >= 0) (void)H5Tclose(want);
    return is;
}

static herr_t first_cause(unsigned n, const H5E_error2_t *e, void *text)
{
    (void)n;
    if (e->desc && *e->desc) *(const char **)text = e->desc;
    return 1; // the innermost entry is enough
}

mn_err data__h5_fail(mn_err e, const char *path, const char *what)
{
    const char *cause = "no reason given";
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_cause, &cause);
    (void)mn_fail(e, "%s: %s (HDF5: %s)", path, what, cause);
    (void)H5Eclear2(H5E_DEFAULT);
    return e;
}

mn_err data__h5_open(hid_t *file, const char *path)
{
    quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t f = H5I_INVALID_HID;
    // Locks fail on many cluster file systems, and an immutable file needs none.
    if (access >= 0 && H5Pset_file_locking(access, 0, 1) >= 0) f = H5Fopen(path, H5F_ACC_RDONLY, access);
    mn_err err = f >= 0 ? MN_OK : data__h5_fail(MN_EDATA, path, "cannot be opened as an HDF5 file");
    if (access >= 0) (void)H5Pclose(access);
    *file = f;
    return err;
}

mn_err data__h5_create(hid_t *file, const char *path, uint64_t user_block)
{
    quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    hid_t f = H5I_INVALID_HID;
    // The earliest format: a file whose writer was killed stays readable, and every HDF5 since 1.8 reads it.
    if (access >= 0 && create >= 0 && H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
        H5Pset_alignment(access, PAGE, PAGE) >= 0 && H5Pset_file_locking(access, 0, 1) >= 0 &&
        H5Pset_userblock(create, user_block) >= 0)
        f = H5Fcreate(path, H5F_ACC_EXCL, create, access);
    mn_err err = f >= 0 ? MN_OK : data__h5_fail(MN_ECREATE, path, "cannot be created");
    if (access >= 0) (void)H5Pclose(access);
    if (create >= 0) (void)H5Pclose(create);
    *file = f;
    return err;
}

mn_err data__h5_close(hid_t file, const char *path)
{
    return H5Fclose(file) < 0 ? data__h5_fail(MN_EIO, path, "closing failed") : MN_OK;
}

mn_err data__h5_put_text(hid_t at, const char *path, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), a = H5I_INVALID_HID;
    size_t n = strlen(text) + 1;
    int ok = type >= 0 && space >= 0 && H5Tset_size(type, n) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0;
    if (ok) a = H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ok = ok && a >= 0 && H5Awrite(a, type, text) >= 0;
    mn_err err = ok ? MN_OK : data__h5_fail(MN_EIO, path, "writing an attribute failed");
    if (a >= 0 && H5Aclose(a) < 0 && err == MN_OK) err = data__h5_fail(MN_EIO, path, "writing an attribute failed");
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    return err;
}

mn_err data__h5_put_int(hid_t at, const char *path, const char *name, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR), a = H5I_INVALID_HID;
    if (space >= 0) a = H5Acreate2(at, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    int ok = a >= 0 && H5Awrite(a, H5T_NATIVE_INT64, &value) >= 0;
    mn_err err = ok ? MN_OK : data__h5_fail(MN_EIO, path, "writing an attribute failed");
    if (a >= 0 && H5Aclose(a) < 0 && err == MN_OK) err = data__h5_fail(MN_EIO, path, "writing an attribute failed");
    if (space >= 0) (void)H5Sclose(space);
    return err;
}

int data__h5_has_attribute(hid_t at, const char *name)
{
    return H5Aexists(at, name) > 0;
}

// Attribute texts written by us are fixed-length; h5py writes variable-length ones.
static int read_text(hid_t a, hid_t type, char *text, size_t size)
{
    if (H5Tis_variable_str(type) > 0) {
        char *s = NULL;
        hid_t memory = H5Tcopy(H5T_C_S1);
        int ok = memory >= 0 && H5Tset_size(memory, H5T_VARIABLE) >= 0 && H5Tset_cset(memory, H5Tget_cset(type)) >= 0 &&
                 H5Aread(a, memory, &s) >= 0 && s && strlen(s) < size;
        if (ok) memcpy(text, s, strlen(s) + 1);
        if (s) (void)H5free_memory(s);
        if (memory >= 0) (void)H5Tclose(memory);
        return ok;
    }
    size_t n = H5Tget_size(type);
    if (n == 0 || n > size) return 0;
    memset(text, 0, size);
    return H5Aread(a, type, text) >= 0 && memchr(text, 0, size) != NULL;
}

mn_err data__h5_get_text(hid_t at, const char *path, const char *name, char *text, size_t size)
{
    hid_t a = H5Aopen(at, name, H5P_DEFAULT), type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    if (a >= 0) type = H5Aget_type(a);
    if (a >= 0) space = H5Aget_space(a);
    int ok = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1 &&
             read_text(a, type, text, size);
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (a >= 0) (void)H5Aclose(a);
    if (!ok) (void)H5Eclear2(H5E_DEFAULT);
    return ok ? MN_OK : mn_fail(MN_EDATA, "%s: no text attribute '%s' of at most %zu bytes", path, name, size - 1);
}

int data__h5_has(hid_t at, const char *name)
{
    char step[256];
    size_t n = strlen(name);
    if (n >= sizeof(step)) return 0;
    for (size_t i = 1; i <= n; i++) { // H5Lexists wants every group on the way to exist
        if (name[i] != '/' && name[i] != 0) continue;
        memcpy(step, name, i);
        step[i] = 0;
        if (H5Lexists(at, step, H5P_DEFAULT) <= 0) return 0;
    }
    return 1;
}

typedef struct name_list {
    char **names;
    int64_t n, capacity;
} name_list;

static herr_t keep_name(hid_t at, const char *name, const H5L_info_t *link, void *list)
{
    name_list *l = list;
    (void)at;
    (void)link;
    l->names = mn_grow(l->names, l->n, &l->capacity, sizeof(*l->names));
    l->names[l->n++] = mn_strdup(name);
    return 0;
}

mn_err data__h5_names(hid_t at, const char *path, char ***names, int64_t *n)
{
    name_list l = {0};
    if (H5Literate(at, H5_INDEX_NAME, H5_ITER_INC, NULL, keep_name, &l) < 0) {
        mn_names_free(l.names, l.n);
        return data__h5_fail(MN_EDATA, path, "listing its groups failed");
    }
    *names = l.names;
    *n = l.n;
    return MN_OK;
}

// Creates a contiguous dataset, allocated at once and never filled, with the groups on the way to it.
static hid_t create_dataset(hid_t at, const char *name, hid_t type, int dims, const hsize_t *extent)
{
    hid_t space = H5Screate_simple(dims, extent, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), link = H5Pcreate(H5P_LINK_CREATE), d = H5I_INVALID_HID;
    if (space >= 0 && create >= 0 && link >= 0 && H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 && H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 &&
        H5Pset_obj_track_times(create, 0) >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        d = H5Dcreate2(at, name, type, space, link, create, H5P_DEFAULT);
    if (link >= 0) (void)H5Pclose(link);
    if (create >= 0) (void)H5Pclose(create);
    if (space >= 0) (void)H5Sclose(space);
    return d;
}

mn_err data__h5_write(hid_t at, const char *path, const char *name, data__type type, int64_t rows, int64_t width,
                      const void *values)
{
    hsize_t extent[2] = {(hsize_t)rows, (hsize_t)width};
    hid_t stored = open_type(type), d = create_dataset(at, name, stored, width == 0 ? 1 : 2, extent);
    int ok = d >= 0 && (rows == 0 || H5Dwrite(d, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    mn_err err = ok ? MN_OK : data__h5_fail(MN_EIO, path, "writing a dataset failed");
    if (d >= 0 && H5Dclose(d) < 0 && err == MN_OK) err = data__h5_fail(MN_EIO, path, "writing a dataset failed");
    if (stored >= 0) (void)H5Tclose(stored);
    return err;
}

mn_err data__h5_reserve(hid_t at, const char *path, const char *name, uint64_t bytes, uint64_t *offset)
{
    hsize_t extent[1] = {bytes};
    hid_t d = create_dataset(at, name, H5T_STD_U8LE, 1, extent);
    haddr_t where = d >= 0 && bytes > 0 ? H5Dget_offset(d) : 0;
    mn_err err = d >= 0 && where != HADDR_UNDEF ? MN_OK : data__h5_fail(MN_EIO, path, "cannot allocate the payload");
    if (d >= 0 && H5Dclose(d) < 0 && err == MN_OK) err = data__h5_fail(MN_EIO, path, "cannot allocate the payload");
    *offset = where;
    return err;
}

const char *data_hdf5_version(char *text, size_t size, int *thread_safe)
{
    unsigned major = 0, minor = 0, release = 0;
    hbool_t safe = 0;
    quiet();
    (void)H5get_libversion(&major, &minor, &release); // a failure leaves 0.0.0
    (void)H5is_library_threadsafe(&safe);
    *thread_safe = safe;
    snprintf(text, size, "%u.%u.%u", major, minor, release);
    return text;
}
