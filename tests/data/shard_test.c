// Shards and dataset folders: what is written is read; damage anywhere is found or does not matter.
#include "data/shard.h"
#include "nn/base/fault.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

static int same_label(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void check_record(const data_shard *s, int64_t i, int64_t made)
{
    const data_index *x = data_shard_index(s);
    unsigned char want[4096], have[4096];
    char name[64];
    size_t n = support_bytes(made, want), size = 1;
    must(data_shard_read(s, i, have, sizeof(have), &size));
    cr_assert(size == n && memcmp(want, have, n) == 0, "record %lld", (long long)i);
    snprintf(name, sizeof(name), "/%05lld.jpg", (long long)i);
    cr_assert(strstr(data_shard_name(s, i), name) != NULL);
    cr_assert(x->width[i] == i + 1 && x->height[i] == 112 && x->channels[i] == 3 && x->codec[i] == DATA_CODEC_JPEG);
    cr_assert(x->expr[i] == i % 9 - 1 && x->au[12 * i] == i % 2 && x->au[12 * i + 1] == i % 3 - 1);
    cr_assert(same_label(x->va[2 * i], i % 4 ? (float)(i % 21) / 10 - 1 : NAN) && x->va[2 * i + 1] == 0.5f);
    cr_assert(x->mask[i] == (DATA_HAS_EXPR | DATA_HAS_ATTR | DATA_HAS_IDENTITY) && x->identity[i] == i / 7);
    cr_assert(x->attr[40 * i + i % 40] == (i % 2 ? 1 : -1));
    cr_assert(x->video[i] == i / 7 && x->frame[i] == i % 7 + 1 && x->t_us[i] == i * 33367);
    cr_assert(x->source_row[i] == i + 2);
}

Test(shard, what_is_written_is_read)
{
    char *dir = support_folder(), path[600];
    support_shard(dir, 2, 4, 60);
    snprintf(path, sizeof(path), "%s/made-all-00002-of-00004.h5", dir);
    data_shard *s;
    must(data_shard_open(&s, path));
    must(data_shard_verify(s, NULL));
    const data_index *x = data_shard_index(s);
    const data_shard_info *info = data_shard_about(s);
    cr_assert(x->n == 60 && x->n_videos == 9 && info->shard == 2 && info->shards == 4);
    cr_assert_str_eq(info->dataset, "made");
    cr_assert_str_eq(info->options, "{\"size\": 0}");
    for (int64_t i = 0; i < 60; i++)
        check_record(s, i, i + 2000);
    const data_video *v = &x->videos[8];
    cr_assert_str_eq(v->name, "video2_8_left");
    cr_assert_str_eq(v->source, "video2_8");
    cr_assert(v->first_record == 56 && v->n_records == 4 && v->split[0] == 3 && v->split[1] == 1 && v->subject == 1);
    cr_assert(v->fps_num == 30000 && v->fps_den == 1001 && v->labels[1] == 8 && v->audio_offset_us == -5);
    data_shard_close(s);
    support_remove(dir);
}

static void check_attribute(const char *path, const char *name, const char *want)
{
    char have[300] = "";
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    cr_assert(file >= 0 && (H5Aexists(file, name) > 0) == (want != NULL), "%s", name);
    if (want) {
        hid_t a = H5Aopen(file, name, H5P_DEFAULT), type = H5Aget_type(a);
        cr_assert(H5Tget_size(type) <= sizeof(have) && H5Aread(a, type, have) >= 0);
        cr_assert_str_eq(have, want);
        H5Tclose(type);
        H5Aclose(a);
    }
    H5Fclose(file);
}

Test(shard, names_of_classes_are_in_the_file)
{
    char *dir = support_folder(), path[600];
    data_writer_cfg cfg = {
        .dir = dir, .dataset = "plain", .split = "train", .stream = "image", .importer = "test", .count = 1};
    for (int labelled = 0; labelled < 2; labelled++) {
        data_writer *w;
        cfg.has_expr = cfg.has_au = labelled;
        cfg.dataset = labelled ? "labelled" : "plain";
        must(data_writer_open(&w, &cfg));
        must(data_writer_add(w, &(data_record){.name = "a.png", .expr = -1}));
        must(data_writer_close(w));
        snprintf(path, sizeof(path), "%s/%s-train-00000-of-00001.h5", dir, cfg.dataset);
        check_attribute(path, "expressions",
                        labelled ? "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other" : NULL);
        check_attribute(path, "action_units",
                        labelled ? "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26" : NULL);
    }
    support_remove(dir);
}

Test(shard, what_training_keeps_is_the_same_and_names_are_read_anew)
{
    char *dir = support_folder(), path[600];
    support_shard(dir, 0, 1, 60);
    snprintf(path, sizeof(path), "%s/made-all-00000-of-00001.h5", dir);
    data_shard *all, *some;
    must(data_shard_open(&all, path));
    must(data_shard_open_with(&some, path, DATA_KEEP_VA | DATA_KEEP_IDENTITY));
    const data_index *x = data_shard_index(all), *y = data_shard_index(some);
    cr_assert(y->n == 60 && !y->expr && !y->au && !y->attr && !y->width && !y->codec && !y->source_row);
    cr_assert(memcmp(x->offset, y->offset, 61 * sizeof *x->offset) == 0 && memcmp(x->crc, y->crc, 60 * 4) == 0);
    cr_assert(memcmp(x->va, y->va, 120 * sizeof *x->va) == 0 && memcmp(x->identity, y->identity, 60 * 4) == 0);
    cr_assert(memcmp(x->mask, y->mask, 60 * 4) == 0 && memcmp(x->t_us, y->t_us, 60 * 8) == 0);
    cr_assert(memcmp(x->video, y->video, 60 * 4) == 0 && memcmp(x->frame, y->frame, 60 * 4) == 0);
    for (int v = 0; v < x->n_videos; v++) {
        cr_assert_str_eq(x->videos[v].name, y->videos[v].name);
        cr_assert_str_eq(x->videos[v].source, y->videos[v].source);
    }
    must(data_shard_verify(some, NULL));
    for (int64_t i = 0; i < 60; i++)
        cr_assert_str_eq(data_shard_name(some, i), data_shard_name(all, i));
    data_shard_close(some);
    must(data_shard_open_with(&some, path, 0));
    cr_assert_eq(truncate(path, 4096), 0);
    cr_assert_str_eq(data_shard_name(some, 3), "?");
    data_shard_close(some);
    data_shard_close(all);
    support_remove(dir);
}

Test(shard, only_columns_that_the_dataset_has)
{
    char *dir = support_folder(), path[600];
    data_writer *w;
    must(data_writer_open(
        &w, &(data_writer_cfg){
                .dir = dir, .dataset = "plain", .split = "train", .stream = "image", .importer = "test", .count = 1}));
    for (int i = 0; i < 3; i++) // all empty: a shard without a payload
        must(data_writer_add(w, &(data_record){.name = "a b/ü.png", .source_row = (uint32_t)i}));
    must(data_writer_close(w));
    snprintf(path, sizeof(path), "%s/plain-train-00000-of-00001.h5", dir);
    data_shard *s;
    must(data_shard_open(&s, path));
    const data_index *x = data_shard_index(s);
    cr_assert(x->n == 3 && x->n_videos == 0 && !x->expr && !x->au && !x->va && !x->video && !x->attr && !x->identity);
    cr_assert_str_eq(data_shard_name(s, 2), "a b/ü.png");
    char byte;
    size_t size = 1;
    must(data_shard_read(s, 1, &byte, 1, &size));
    cr_assert(size == 0);
    data_shard_close(s);
    support_remove(dir);
}

static int64_t selected(const char *dir, const char *split, int task)
{
    data_folder *f;
    must(data_folder_open(&f, dir, split, task, "image"));
    int64_t n = data_folder_count(f);
    for (int64_t i = 0, before = -1; i < n; i++) { // every record is of the split, in manifest order
        int64_t r;
        const data_shard *s = data_folder_at(f, i, &r);
        const data_video *v = &data_shard_index(s)->videos[data_shard_index(s)->video[r]];
        int64_t order = data_shard_about(s)->shard * 1000 + r;
        if (split && task < DATA_TASKS) cr_assert(v->split[task] == (strcmp(split, "train") == 0 ? 1 : 2));
        cr_assert(order > before);
        before = order;
    }
    data_folder_close(f);
    return n;
}

Test(folder, records_of_a_split_are_those_of_its_videos)
{
    char *dir = support_folder();
    support_dataset(dir, 3, 63);
    cr_assert(selected(dir, NULL, 0) == 189);
    cr_assert(selected(dir, "train", DATA_EXPR) == 63 && selected(dir, "validation", DATA_EXPR) == 63);
    cr_assert(selected(dir, "train", DATA_AU) == 189 && selected(dir, "validation", DATA_AU) == 0);
    cr_assert(selected(dir, "train", DATA_TASKS) == 63); // not where any task validates or tests
    support_remove(dir);
}

Test(folder, the_digest_is_of_the_content)
{
    char *a = support_folder(), *b = support_folder();
    support_dataset(a, 2, 20);
    support_dataset(b, 2, 20);
    data_folder *f, *g;
    must(data_folder_open(&f, a, NULL, 0, "image"));
    must(data_folder_open(&g, b, "train", 1, "image"));
    cr_assert(data_folder_digest(f) == data_folder_digest(g));
    data_folder_close(g);
    support_dataset(b, 2, 21);
    must(data_folder_open(&g, b, NULL, 0, "image"));
    cr_assert(data_folder_digest(f) != data_folder_digest(g));
    data_folder_close(f);
    data_folder_close(g);
    support_remove(a);
    support_remove(b);
}

Test(folder, missing_short_and_exchanged_shards_are_named)
{
    char *dir = support_folder(), a[600], b[600], away[600], manifest[600];
    data_folder *f;
    support_dataset(dir, 2, 20);
    snprintf(a, sizeof(a), "%s/made-all-00000-of-00002.h5", dir);
    snprintf(b, sizeof(b), "%s/made-all-00001-of-00002.h5", dir);
    snprintf(away, sizeof(away), "%s/away", dir);
    snprintf(manifest, sizeof(manifest), "%s/manifest.json", dir);
    cr_assert(rename(b, away) == 0);
    cr_assert(data_folder_open(&f, dir, NULL, 0, "image") == MN_ENOINPUT && strstr(mn_errmsg(), "00001-of-00002"));
    cr_assert(rename(a, b) == 0 && rename(away, a) == 0); // in each other's place
    cr_assert(data_folder_open(&f, dir, NULL, 0, "image") == MN_EDATA && strstr(mn_errmsg(), "import again"));
    cr_assert(truncate(b, 5000) == 0);
    cr_assert(data_folder_open(&f, dir, NULL, 0, "image") == MN_EDATA && strstr(mn_errmsg(), "import again"));
    cr_assert(unlink(manifest) == 0);
    cr_assert(data_folder_open(&f, dir, NULL, 0, "image") == MN_ENOINPUT);
    cr_assert(data_folder_open(&f, dir, "valid", 0, "image") == MN_ECONFIG);
    support_remove(dir);
}

// Hands out everything of the folder; 1 when all of it is what was written, 0 when an error said otherwise.
static int hands_out_all(const char *dir, int64_t records_each)
{
    data_folder *f;
    unsigned char want[4096], have[4096];
    int sound = 1;
    if (data_folder_open(&f, dir, NULL, 0, "image") != MN_OK) return 0;
    for (int64_t i = 0; i < data_folder_count(f) && sound; i++) {
        int64_t r;
        size_t size;
        const data_shard *s = data_folder_at(f, i, &r);
        int64_t shard = i / records_each;
        if (data_shard_read(s, r, have, sizeof(have), &size) != MN_OK) {
            sound = 0;
            break;
        }
        cr_assert(size == support_bytes(r + 1000 * shard, want) && memcmp(want, have, size) == 0);
        check_record(s, r, r + 1000 * shard);
    }
    data_folder_close(f);
    return sound;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

// One bit of one file after another: the folder refuses, or hands out every byte and label as written.
Test(damage, every_flip_and_every_cut_is_found)
{
    char *dir = support_folder();
    static const char *const file[] = {"made-all-00000-of-00002.h5", "made-all-00001-of-00002.h5", "manifest.json"};
    uint64_t seed = 7;
    int found = 0;
    support_dataset(dir, 2, 25);
    cr_assert(hands_out_all(dir, 25) == 1);
    for (int k = 0; k < 350; k++) {
        char path[600];
        size_t size;
        snprintf(path, sizeof(path), "%s/%s", dir, file[k % 3]);
        unsigned char *bytes = support_read(path, &size);
        size_t at = (size_t)(next_random(&seed) % size);
        if (k < 300) {
            unsigned char bit = (unsigned char)(1u << next_random(&seed) % 8);
            bytes[at] ^= bit;
            support_write(path, bytes, size);
            bytes[at] ^= bit;
        } else {
            support_write(path, bytes, at);
        }
        found += !hands_out_all(dir, 25);
        support_write(path, bytes, size);
        free(bytes);
    }
    cr_assert(found == 350, "%d of 350", found); // this format has no bytes that may change unseen
    cr_assert(hands_out_all(dir, 25) == 1);
    support_remove(dir);
}

static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

// A failure at any point of writing leaves neither a shard under its final name nor a temporary file.
Test(damage, a_failed_write_leaves_nothing)
{
    static const char *const point[] = {"shard.write:5=fail", "shard.sync:1=fail", "shard.rename:1=fail"};
    for (int k = 0; k < 3; k++) {
        char *dir = support_folder();
        data_writer *w;
        setenv("MIEN_FAULT", point[k], 1);
        mn_fault_init(0);
        must(data_writer_open(
            &w,
            &(data_writer_cfg){
                .dir = dir, .dataset = "plain", .split = "train", .stream = "image", .importer = "test", .count = 1}));
        mn_err err = MN_OK;
        for (int i = 0; i < 9 && err == MN_OK; i++)
            err = data_writer_add(w, &(data_record){.name = "a", .payload = "xyz", .size = 3});
        if (err == MN_OK)
            err = data_writer_close(w);
        else
            data_writer_abort(w);
        cr_assert(err == MN_EIO && files_in(dir) == 0, "%s", point[k]);
        unsetenv("MIEN_FAULT");
        mn_fault_init(0);
        support_remove(dir);
    }
}
