// Our reader of the HDF5 in shards against the library: what one says of a shard the other says too, and what the library
// can write and shards never hold is refused.
#include "data/hdf5_read.h"
#include "data/shard_h5.h"
#include "shard_support.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE = 4096 };

static mn_err read_file(data__hdf5 *h, const char *path, unsigned char **bytes, size_t *size)
{
    *bytes = support_read(path, size);
    data__part_file file = {*bytes, *bytes, *size, *size, *size};
    return data__hdf5_read(h, &file, BASE, path);
}

static herr_t compare_dataset(hid_t at, const char *name, const H5L_info_t *link, void *ctx)
{
    (void)link;
    const data__hdf5 *h = ctx;
    hid_t object = H5Oopen(at, name, H5P_DEFAULT);
    int is_group = H5Iget_type(object) == H5I_GROUP;
    H5Oclose(object);
    if (is_group) return 0;
    const data__hdf5_dataset *d = data__hdf5_find(h, name);
    cr_assert_not_null(d, "%s is missing", name);
    hid_t set = H5Dopen2(at, name, H5P_DEFAULT), type = H5Dget_type(set), space = H5Dget_space(set);
    hsize_t extent[2] = {0, 1};
    cr_assert_eq(H5Sget_simple_extent_dims(space, extent, NULL), d->dims, "%s", name);
    cr_assert(extent[0] == d->extent[0] && extent[1] == d->extent[1], "%s", name);
    cr_assert(data__h5_is(type, d->type), "%s", name);
    cr_assert_eq(H5Dget_storage_size(set), d->bytes, "%s", name);
    if (d->bytes) cr_assert_eq(H5Dget_offset(set), d->at, "%s", name);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
    return 0;
}

static herr_t compare_attribute(hid_t at, const char *name, const H5A_info_t *info, void *ctx)
{
    (void)info;
    const data__hdf5_attribute *a = data__hdf5_attribute_of(ctx, name);
    cr_assert_not_null(a, "%s is missing", name);
    hid_t attribute = H5Aopen(at, name, H5P_DEFAULT), type = H5Aget_type(attribute);
    if (a->text) {
        char *text = mn_calloc(1, H5Tget_size(type) + 1);
        cr_assert_geq(H5Aread(attribute, type, text), 0);
        cr_assert_str_eq(text, a->text, "%s", name);
        free(text);
    } else {
        int64_t number;
        cr_assert_geq(H5Aread(attribute, H5T_NATIVE_INT64, &number), 0);
        cr_assert_eq(number, a->number, "%s", name);
    }
    H5Tclose(type);
    H5Aclose(attribute);
    return 0;
}

static herr_t count_dataset(hid_t at, const char *name, const H5L_info_t *link, void *ctx)
{
    (void)link;
    hid_t object = H5Oopen(at, name, H5P_DEFAULT);
    *(int *)ctx += H5Iget_type(object) == H5I_DATASET;
    H5Oclose(object);
    return 0;
}

static void compare(const char *path)
{
    data__hdf5 *h = mn_calloc(1, sizeof *h);
    unsigned char *bytes;
    size_t size;
    int datasets = 0;
    cr_assert_eq(read_file(h, path, &bytes, &size), MN_OK, "%s", mn_errmsg());
    hid_t file;
    cr_assert_eq(data__h5_open(&file, path), MN_OK);
    cr_assert_geq(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, count_dataset, &datasets), 0);
    cr_assert_eq(h->n_datasets, datasets);
    cr_assert_geq(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, compare_dataset, h), 0);
    cr_assert_geq(H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, compare_attribute, h), 0);
    hid_t top = H5Gopen2(file, "/", H5P_DEFAULT);
    cr_assert_eq(H5Aget_num_attrs(top), h->n_attributes);
    H5Gclose(top);
    cr_assert_eq(data__h5_close(file, path), MN_OK);
    free(bytes);
    free(h);
}

Test(hdf5_read, says_what_the_library_says)
{
    static const int64_t records[] = {0, 1, 60, 5000};
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        char *dir = support_folder(), path[600];
        support_shard(dir, 0, 1, records[i]);
        snprintf(path, sizeof path, "%s/made-all-00000-of-00001.h5", dir);
        compare(path);
        support_remove(dir);
    }
}

// Every column there is, no payload, and a text as long as an attribute takes.
Test(hdf5_read, extremes_are_read_as_they_were_written)
{
    enum { LONGEST = 64000 };
    static char options[LONGEST + 1];
    memset(options, 'x', LONGEST);
    for (int full = 0; full < 2; full++) {
        char *dir = support_folder(), path[600];
        data_writer_cfg cfg = {
            .dir = dir, .dataset = "made", .split = "all", .stream = "image", .importer = "test", .count = 1};
        if (full) {
            cfg.options_json = options;
            cfg.has_expr = cfg.has_au = cfg.has_va = cfg.has_identity = cfg.has_attr = cfg.has_votes = 1;
            cfg.has_age = cfg.has_gender = cfg.has_box = cfg.has_original = cfg.has_video = 1;
        }
        for (int records = 0; records < 2; records++) {
            data_writer *w;
            data_shard *s;
            cr_assert_eq(data_writer_open(&w, &cfg), MN_OK);
            data_record r = {.name = "a", .expr = -1, .video = -1};
            if (records) cr_assert_eq(data_writer_add(w, &r), MN_OK);
            cr_assert_eq(data_writer_close(w), MN_OK, "%s", mn_errmsg());
            snprintf(path, sizeof path, "%s/made-all-00000-of-00001.h5", dir);
            compare(path);
            cr_assert_eq(data_shard_open(&s, path), MN_OK, "%s", mn_errmsg());
            const data_shard_info *info = data_shard_about(s);
            cr_assert(info->records == records && info->payload_bytes == 0 && info->videos == 0);
            cr_assert_str_eq(info->options, full ? options : "{}");
            cr_assert_eq(data_shard_index(s)->n, records);
            cr_assert_eq(data_shard_verify(s, NULL), MN_OK, "%s", mn_errmsg());
            data_shard_close(s);
        }
        support_remove(dir);
    }
}

typedef enum stranger {
    STRANGER_NONE, // a file as shards are: the test of this test
    STRANGER_CHUNKS,
    STRANGER_FILTER,
    STRANGER_EXTERNAL,
    STRANGER_COMPACT,
    STRANGER_TYPE,
    STRANGER_VARIABLE_TEXT,
    STRANGER_ARRAY_ATTRIBUTE,
    STRANGER_DATASET_ATTRIBUTE,
    STRANGER_SOFT_LINK,
    STRANGER_DEEP,
    STRANGERS
} stranger;

static void put_dataset(hid_t file, stranger what)
{
    hsize_t extent[1] = {100}, chunk[1] = {10};
    hid_t space = H5Screate_simple(1, extent, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t link = H5Pcreate(H5P_LINK_CREATE);
    uint8_t values[800] = {0};
    H5Pset_create_intermediate_group(link, 1);
    if (what == STRANGER_CHUNKS || what == STRANGER_FILTER) H5Pset_chunk(create, 1, chunk);
    if (what == STRANGER_FILTER) H5Pset_deflate(create, 6);
    if (what == STRANGER_EXTERNAL) H5Pset_external(create, "/etc/hostname", 0, 100);
    if (what == STRANGER_COMPACT) H5Pset_layout(create, H5D_COMPACT);
    hid_t type = what == STRANGER_TYPE ? H5T_STD_U16BE : H5T_STD_U8LE;
    hid_t d =
        H5Dcreate2(file, what == STRANGER_DEEP ? "a/b/c/d/e/f/x" : "label/x", type, space, link, create, H5P_DEFAULT);
    cr_assert_geq(d, 0);
    if (what != STRANGER_EXTERNAL) cr_assert_geq(H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    if (what == STRANGER_DATASET_ATTRIBUTE) cr_assert_eq(data__h5_put_int(d, "x", "n", 1), MN_OK);
    H5Dclose(d);
    H5Pclose(link);
    H5Pclose(create);
    H5Sclose(space);
}

static void put_attribute(hid_t file, stranger what)
{
    hsize_t extent[1] = {3};
    hid_t space = what == STRANGER_ARRAY_ATTRIBUTE ? H5Screate_simple(1, extent, NULL) : H5Screate(H5S_SCALAR);
    hid_t type = H5Tcopy(what == STRANGER_ARRAY_ATTRIBUTE ? H5T_STD_I64LE : H5T_C_S1);
    if (what == STRANGER_VARIABLE_TEXT) H5Tset_size(type, H5T_VARIABLE);
    hid_t a = H5Acreate2(file, "strange", type, space, H5P_DEFAULT, H5P_DEFAULT);
    const char *text = "x";
    int64_t numbers[3] = {1, 2, 3};
    cr_assert_geq(H5Awrite(a, type, what == STRANGER_ARRAY_ATTRIBUTE ? (const void *)numbers : (const void *)&text), 0);
    H5Aclose(a);
    H5Tclose(type);
    H5Sclose(space);
}

Test(hdf5_read, refuses_what_shards_never_hold)
{
    for (int what = 0; what < STRANGERS; what++) {
        char *dir = support_folder(), path[600];
        snprintf(path, sizeof path, "%s/strange.h5", dir);
        hid_t file;
        cr_assert_eq(data__h5_create(&file, path, BASE), MN_OK);
        cr_assert_eq(data__h5_put_text(file, path, "format", "mien-shard"), MN_OK);
        put_dataset(file, (stranger)what);
        if (what == STRANGER_VARIABLE_TEXT || what == STRANGER_ARRAY_ATTRIBUTE) put_attribute(file, (stranger)what);
        if (what == STRANGER_SOFT_LINK)
            cr_assert_geq(H5Lcreate_soft("/label/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
        cr_assert_eq(data__h5_close(file, path), MN_OK);
        data__hdf5 *h = mn_calloc(1, sizeof *h);
        unsigned char *bytes;
        size_t size;
        mn_err err = read_file(h, path, &bytes, &size);
        cr_assert_eq(err, what == STRANGER_NONE ? MN_OK : MN_EDATA, "case %d: %s", what, mn_errmsg());
        if (err != MN_OK) cr_assert_not_null(strstr(mn_errmsg(), path), "%s", mn_errmsg());
        free(bytes);
        free(h);
        support_remove(dir);
    }
}
