// What `mien data verify` and `mien data info` say.
#include "data/counts.h"
#include "data/export.h"
#include "data/features.h"
#include "data/image.h"
#include "data/info.h"
#include "data/label.h"
#include "data/sheet.h"
#include "data/shard_manifest.h"
#include "data/verify.h"
#include "data/verify_parts.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 12, RECORDS = 40 };
#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

// Number of problems; `part` (or NULL) must be in one of them.
static int64_t problems(const char *path, const char *part)
{
    json_t *r, *o;
    size_t i;
    int found = part == NULL;
    must(data_verify(&(data_verify_cfg){.path = path, .jobs = 2}, &r));
    int64_t n = json_integer_value(json_object_get(r, "n_problems"));
    cr_assert(json_is_true(json_object_get(r, "ok")) == (n == 0));
    json_array_foreach(json_object_get(r, "problems"), i, o) found |=
        part && strstr(json_string_value(json_object_get(o, "problem")), part) != NULL;
    cr_assert(found, "%s", part);
    json_decref(r);
    return n;
}

// A grey picture of its own for each i, as PNG.
static size_t picture(int i, unsigned char *bytes, size_t capacity)
{
    data_coder *c;
    const uint8_t *png;
    size_t size;
    uint8_t pixels[SIDE * SIDE];
    memset(pixels, 0, sizeof(pixels));
    for (int k = 0; k < SIDE * SIDE; k++)
        pixels[k] = (uint8_t)(k * 7 + i * (k % 13));
    must(data_coder_open(&c));
    must(data_png_encode(c, pixels, SIDE, SIDE, 1, &png, &size));
    cr_assert(size <= capacity);
    memcpy(bytes, png, size);
    data_coder_close(c);
    return size;
}

// Labels that agree with their masks, as support_shard's on purpose do not.
static void sound_dataset(const char *dir)
{
    data_writer *w;
    must(data_writer_open(&w, &(data_writer_cfg){.dir = dir,
                                                 .dataset = "made",
                                                 .split = "train",
                                                 .stream = "image",
                                                 .importer = "test",
                                                 .count = 1,
                                                 .has_expr = 1,
                                                 .has_va = 1,
                                                 .has_identity = 1}));
    for (int i = 0; i < RECORDS; i++) {
        unsigned char bytes[4096];
        data_record r = {.name = "n", .payload = bytes, .va = {NAN, 0.25f}};
        if (i % 5 < 4) r.size = picture(i, bytes, sizeof(bytes));
        r.codec = r.size ? DATA_CODEC_PNG : DATA_CODEC_NONE;
        r.width = r.height = SIDE;
        r.expr = (int8_t)(i % 8);
        r.identity = i / 4;
        r.mask = DATA_HAS_EXPR | DATA_HAS_AROUSAL | DATA_HAS_IDENTITY;
        must(data_writer_add(w, &r));
    }
    must(data_writer_close(w));
    const char *file = "made-train-00000-of-00001.h5";
    must(data_folder_finish(
        &(data_manifest_cfg){.dir = dir, .dataset = "made", .importer = "test", .files = &file, .n_files = 1}));
}

Test(verify, finds_damage_and_goes_on)
{
    char *dir = support_folder(), path[600], away[600];
    size_t size;
    json_t *r;
    sound_dataset(dir);
    cr_assert(problems(dir, NULL) == 0);
    snprintf(path, sizeof(path), "%s/made-train-00000-of-00001.h5", dir);
    cr_assert(problems(path, NULL) == 0); // one shard
    unsigned char *bytes = support_read(path, &size);
    data_shard *s;
    must(data_shard_open(&s, path));
    uint64_t first = 0;
    for (uint64_t at = 4096; at < size && !first; at++) {
        unsigned char record[4096];
        size_t n;
        must(data_shard_read(s, 0, record, sizeof(record), &n));
        if (memcmp(bytes + at, record, n) == 0) first = at;
    }
    uint64_t second = first + data_shard_index(s)->offset[2];
    data_shard_close(s);
    cr_assert(first > 0);
    bytes[first + 3] ^= 1;
    bytes[second] ^= 0x80;
    support_write(path, bytes, size);
    cr_assert(problems(dir, "CRC32C") == 2); // both are named
    must(data_verify(&(data_verify_cfg){.path = dir}, &r));
    const json_t *found = json_object_get(r, "problems");
    for (size_t k = 0; k < 2; k++) { // with their places
        const json_t *o = json_array_get(found, k);
        cr_assert(strcmp(json_string_value(json_object_get(o, "kind")), "record") == 0);
        cr_assert(json_integer_value(json_object_get(o, "record")) == (k ? 2 : 0));
        cr_assert(json_integer_value(json_object_get(o, "byte")) == (json_int_t)(k ? second : first));
    }
    json_decref(r);
    bytes[first + 3] ^= 1;
    bytes[second] ^= 0x80;
    bytes[size - 1] ^= 4;
    support_write(path, bytes, size);
    cr_assert(problems(dir, "index") == 1);
    bytes[size - 1] ^= 4;
    support_write(path, bytes, size);
    cr_assert(problems(dir, NULL) == 0);
    snprintf(away, sizeof(away), "%s/other.h5", dir);
    cr_assert(rename(path, away) == 0);
    cr_assert(problems(dir, "not there") == 2); // and one that nobody names
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    cr_assert(unlink(path) == 0);
    cr_assert(problems(dir, "manifest") == 1);
    cr_assert(unlink(away) == 0);
    cr_assert(data_verify(&(data_verify_cfg){.path = dir}, &r) == MN_ENOINPUT);
    cr_assert(data_verify(&(data_verify_cfg){.path = "/nowhere/at/all"}, &r) == MN_ENOINPUT);
    free(bytes);
    support_remove(dir);
}

// A manifest whose own digest is right, but not what it says of the labels: edited and signed, or of another import.
Test(verify, counts_of_the_manifest_are_those_of_the_shards)
{
    char *dir = support_folder(), path[600];
    json_t *root;
    size_t size;
    sound_dataset(dir);
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    char *text = (char *)support_read(path, &size);
    must(data__signed_json_parse(text, size, path, &root));
    free(text);
    cr_assert(json_object_del(root, "manifest_xxh3") == 0);
    json_t *train = json_object_get(json_object_get(root, "labels"), "train");
    json_t *expr = json_object_get(train, "expr"), *arousal = json_object_get(train, "arousal");
    json_int_t was = json_integer_value(json_array_get(expr, 3));
    double sd = json_real_value(json_object_get(arousal, "sd"));
    for (int wrong = -1; wrong < 4; wrong++) { // -1: last digits, as of another machine
        double off = wrong == -1 ? 1e-15 : wrong == 1 ? 0.001 : 0;
        cr_assert(json_array_set_new(expr, 3, json_integer(was + (wrong == 2))) == 0);
        cr_assert(json_object_set_new(arousal, "sd", json_real(sd + off)) == 0);
        cr_assert(json_array_set_new(json_object_get(arousal, "bins"), 0, json_integer(wrong == -1)) == 0);
        if (wrong == 3) cr_assert(json_object_set(json_object_get(root, "labels"), "test", train) == 0);
        text = data__signed_json(root, &size);
        support_write(path, text, size);
        free(text);
        cr_assert(problems(dir, wrong > 0 ? "counts of labels" : NULL) == (wrong > 0), "%d", wrong);
    }
    json_decref(root);
    support_remove(dir);
}

// A shard of two records, the second with one thing wrong.
typedef void (*spoil)(data_record *r);
static void wrong_expression(data_record *r)
{
    r->expr = 8;
}
static void unmarked_expression(data_record *r)
{
    r->mask &= ~(uint32_t)DATA_HAS_EXPR;
}
static void marked_expression(data_record *r)
{
    r->expr = -1;
}
static void wrong_au(data_record *r)
{
    r->au[3] = 2;
}
static void unmarked_au(data_record *r)
{
    r->mask &= ~((uint32_t)DATA_HAS_AU0 << 11);
}
static void wrong_affect(data_record *r)
{
    r->va[1] = 1.5f;
}
static void unmarked_affect(data_record *r)
{
    r->va[0] = NAN;
}
static void other_size(data_record *r)
{
    r->width = SIDE + 1;
}
static void other_format(data_record *r)
{
    r->codec = DATA_CODEC_JPEG;
}
static void other_channels(data_record *r)
{
    r->channels = 3;
}
static void no_picture(data_record *r)
{
    r->payload = "not a picture at all, whatever the index says of it";
    r->size = 51;
}
static void half_a_sample(data_record *r)
{
    r->codec = DATA_CODEC_PCM16K;
    r->size = 3;
}
static void no_codec(data_record *r)
{
    r->codec = DATA_CODEC_NONE;
}
static void wrong_orientation(data_record *r)
{
    r->orientation = 9;
}
static void same_frame(data_record *r)
{
    r->frame = 4;
}
static void earlier(data_record *r)
{
    r->t_us = -1;
}

static void wrong_age(data_record *r)
{
    r->age = -3;
}
static void wrong_gender(data_record *r)
{
    r->gender = 2;
}

static void spoiled_shard(const char *dir, spoil spoil_record)
{
    data_writer *w;
    int32_t video;
    const data_video row = {.name = "v", .source = "v", .fps_num = 30, .fps_den = 1, .decoded = 9};
    must(data_writer_open(&w, &(data_writer_cfg){.dir = dir,
                                                 .dataset = "made",
                                                 .split = "all",
                                                 .stream = "image",
                                                 .importer = "test",
                                                 .count = 1,
                                                 .has_expr = 1,
                                                 .has_au = 1,
                                                 .has_va = 1,
                                                 .has_age = 1,
                                                 .has_gender = 1,
                                                 .has_video = 1}));
    must(data_writer_video(w, &row, &video));
    for (int i = 0; i < 2; i++) {
        unsigned char bytes[4096];
        data_record r = {.name = "n", .payload = bytes, .codec = DATA_CODEC_PNG, .width = SIDE, .height = SIDE};
        r.size = picture(i, bytes, sizeof(bytes));
        r.mask = DATA_HAS_EXPR | DATA_HAS_VALENCE | DATA_HAS_AROUSAL | (0xfffu << 16);
        r.video = video;
        r.frame = 4 + i;
        r.t_us = i;
        if (i == 1 && spoil_record) spoil_record(&r);
        must(data_writer_add(w, &r));
    }
    must(data_writer_close(w));
}

Test(verify, every_contradiction_is_named)
{
    static const struct {
        spoil spoil;
        const char *text;
    } row[] = {{wrong_expression, "expression is out of range"},
               {unmarked_expression, "expression disagrees"},
               {marked_expression, "expression disagrees"},
               {wrong_au, "action unit is out of range"},
               {unmarked_au, "action unit disagrees"},
               {wrong_affect, "arousal is out of range"},
               {unmarked_affect, "arousal disagrees"},
               {other_size, "its index says"},
               {other_format, "its index says"},
               {other_channels, "its index says"},
               {no_picture, "not a JPEG or PNG"},
               {half_a_sample, "half a sample"},
               {no_codec, "codec"},
               {wrong_orientation, "orientation"},
               {same_frame, "frame number is not larger"},
               {wrong_age, "age is out of range"},
               {wrong_gender, "gender is out of range"},
               {earlier, "before that of the frame before"}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char *dir = support_folder(), path[600];
        spoiled_shard(dir, row[i].spoil);
        snprintf(path, sizeof(path), "%s/made-all-00000-of-00001.h5", dir);
        cr_assert(problems(path, row[i].text) == 1, "%s", row[i].text);
        spoiled_shard(dir, NULL);
        cr_assert(problems(path, NULL) == 0);
        support_remove(dir);
    }
}

// Writes nothing, and puts back the time at which it was written: only the time of change is another.
static void touch(const char *path)
{
    struct stat before, after;
    cr_assert(stat(path, &before) == 0);
    do { // until the clock of the file system has moved
        struct timespec times[2] = {before.st_atim, before.st_mtim};
        cr_assert(utimensat(AT_FDCWD, path, times, 0) == 0 && stat(path, &after) == 0);
    } while (after.st_ctim.tv_sec == before.st_ctim.tv_sec && after.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
}

// An interrupted check goes on where it stopped, by a state that is trusted only as far as it may be.
Test(verify, a_state_goes_on)
{
    char *dir = support_folder(), *aside = support_folder(), state[600], path[600];
    data_verify_cfg cfg = {.path = dir, .jobs = 1, .state = state};
    json_t *r;
    size_t size;
    sound_dataset(dir);
    snprintf(state, sizeof(state), "%s/inside", dir);
    cr_assert(data_verify(&cfg, &r) == MN_EUSAGE);
    snprintf(state, sizeof(state), "%s/state", aside);
    support_write(state, "a user's own file\n", 18);
    cr_assert(data_verify(&cfg, &r) == MN_ECREATE);
    unsigned char *bytes = support_read(state, &size);
    cr_assert(size == 18);
    free(bytes);
    cr_assert(unlink(state) == 0);
    must(data_verify(&cfg, &r)); // finished: the file is gone
    json_decref(r);
    cr_assert(access(state, F_OK) != 0);

    data__verify_state s; // as a check leaves it that was ended after its only shard, in which it found something
    data__findings found = {.records = RECORDS, .bytes = 7};
    const char *file = "made-train-00000-of-00001.h5";
    data__report_problem(&found, file, DATA__PROBLEM_LABEL, 3, "n\xff", -1, "remembered");
    char *real = realpath(dir, NULL);
    must(data__verify_state_open(&s, state, real));
    json_t *who = data__verify_identity(dir, file);
    must(data__verify_state_add(&s, file, who, &found));
    cr_assert(data_verify(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "another check is using it"));
    must(data__verify_state_close(&s, 0));
    bytes = support_read(state, &size);
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    for (int torn = 0; torn < 4; torn++) { // sound, torn in its last line, a bit flipped there, the shard written anew
        if (torn == 2) bytes[size - 9] ^= 1;
        support_write(state, bytes, torn == 1 ? size - 1 : size);
        if (torn == 2) bytes[size - 9] ^= 1;
        if (torn == 3) touch(path);
        must(data_verify(&cfg, &r));
        cr_assert(json_integer_value(json_object_get(r, "resumed")) == (torn == 0), "%d", torn);
        cr_assert(json_integer_value(json_object_get(r, "n_problems")) == (torn == 0), "%d", torn);
        json_decref(r);
        cr_assert(access(state, F_OK) != 0);
    }
    support_write(state, bytes, size);
    cfg.path = path; // one shard
    cr_assert(data_verify(&cfg, &r) == MN_EUSAGE);
    cfg.path = dir;
    cfg.decode = 1; // another check
    cr_assert(data_verify(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "another check"));
    cfg.decode = 0;
    cr_assert(unlink(state) == 0 && symlink("/etc/passwd", state) == 0);
    cr_assert(data_verify(&cfg, &r) == MN_ECREATE);
    json_decref(found.problems);
    json_decref(who);
    free(bytes);
    free(real);
    support_remove(dir);
    support_remove(aside);
}

static int64_t at(const json_t *o, const char *a, const char *b, const char *c)
{
    return json_integer_value(json_object_get(json_object_get(json_object_get(o, a), b), c));
}

Test(info, counts_labels_per_split_and_people_in_two)
{
    char *dir = support_folder();
    json_t *r;
    sound_dataset(dir);
    must(data_info(dir, &r));
    cr_assert(at(r, "splits", "train", "records") == 40 && at(r, "splits", "train", "pictures") == 32);
    cr_assert(at(r, "splits", "train", "identified") == 40);
    const json_t *train = json_object_get(json_object_get(r, "splits"), "train");
    for (size_t k = 0; k < 8; k++)
        cr_assert(json_integer_value(json_array_get(json_object_get(train, "expr"), k)) == 5);
    cr_assert(json_integer_value(json_object_get(json_object_get(train, "valence"), "valid")) == 0);
    cr_assert(json_real_value(json_object_get(json_object_get(train, "arousal"), "mean")) == 0.25);
    FILE *nowhere = fopen("/dev/null", "w");
    data_info_print(r, nowhere);
    json_decref(r);
    support_remove(dir);
    dir = support_folder();
    support_dataset(dir, 2, 63); // videos: EXPR in turns train, validation, test; AU all train
    must(data_info(dir, &r));
    data_info_print(r, nowhere);
    fclose(nowhere);
    const json_t *overlap = json_object_get(r, "overlap");
    cr_assert(at(overlap, "video, expr", "train and validation", "people") == 0);
    cr_assert(at(overlap, "video, any task", "train and validation", "people") == 6);
    cr_assert(at(r, "splits", "train", "videos") == 6); // the strictest split counts
    json_decref(r);
    support_remove(dir);
}

Test(info, of_features_their_run_and_extent)
{
    char *dir = support_folder();
    const data_feature_source source = {.run = "demo", .weights_digest = "00ff", .model = "swin", .step = 7};
    data_feature_writer *w;
    json_t *r;
    must(data_feature_writer_open(&w, dir, 0, &source));
    for (int v = 0; v < 3; v++) {
        float x[30 * 4] = {0};
        int64_t t[30];
        for (int i = 0; i < 30; i++)
            t[i] = i * 40000;
        must(data_feature_writer_add(w, &(data_track){.video = v == 0   ? "a"
                                                               : v == 1 ? "b"
                                                                        : "c",
                                                      .frames = 10 * (v + 1),
                                                      .dim = 4,
                                                      .x = x,
                                                      .t_us = t}));
    }
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    must(data_info(dir, &r));
    cr_assert(json_integer_value(json_object_get(r, "videos")) == 3);
    cr_assert(json_integer_value(json_object_get(r, "frames")) == 60);
    cr_assert(json_integer_value(json_object_get(r, "dim")) == 4);
    cr_assert(fabs(json_real_value(json_object_get(r, "rate")) - 25) < 1e-9);
    cr_assert_str_eq(json_string_value(json_object_get(r, "dtype")), "f32");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(r, "source"), "run")), "demo");
    FILE *nowhere = fopen("/dev/null", "w");
    data_info_print(r, nowhere);
    fclose(nowhere);
    json_decref(r);
    support_remove(dir);
}

// Without repeats, the same for the same seed, never over a file that is there; damage is drawn, not hidden.
Test(sheet, draws_what_there_is)
{
    char *dir = support_folder(), *aside = support_folder(), a[600], b[600], path[600];
    data_coder *c;
    data_image first = {0}, second = {0};
    size_t size;
    sound_dataset(dir);
    snprintf(a, sizeof(a), "%s/a.png", aside);
    snprintf(b, sizeof(b), "%s/b.png", aside);
    data_sheet_cfg cfg = {.dir = dir, .out = a, .pictures = 100, .seed = 5}; // more than there are
    must(data_sheet(&cfg));
    cr_assert(data_sheet(&cfg) == MN_ECREATE);
    must(data_coder_open(&c));
    unsigned char *bytes = support_read(a, &size);
    must(data_image_decode(c, bytes, size, 0, &first));
    cr_assert(first.width > 128 && first.height > 128);
    free(bytes);
    snprintf(path, sizeof(path), "%s/made-train-00000-of-00001.h5", dir);
    data_shard *s;
    must(data_shard_open(&s, path));
    uint64_t byte = data_shard_byte(s, 1);
    data_shard_close(s);
    bytes = support_read(path, &size);
    bytes[byte] ^= 1;
    support_write(path, bytes, size);
    free(bytes);
    cfg.out = b;
    must(data_sheet(&cfg));
    bytes = support_read(b, &size);
    must(data_image_decode(c, bytes, size, 0, &second));
    cr_assert(second.width == first.width && second.height == first.height);
    int64_t other = 0, n = (int64_t)first.width * first.height;
    for (int64_t i = 0; i < n; i++)
        other += memcmp(first.rgb + 3 * i, second.rgb + 3 * i, 3) != 0;
    cr_assert(other > 50 && other <= 130 * 130, "%lld", (long long)other); // one picture of 32 is another
    free(bytes);
    cfg.split = "test";
    cfg.out = path;
    snprintf(path, sizeof(path), "%s/c.png", aside);
    cr_assert(data_sheet(&cfg) == MN_EDATA);
    data_image_release(&first);
    data_image_release(&second);
    data_coder_close(c);
    support_remove(dir);
    support_remove(aside);
}

Test(export, one_record_and_its_labels)
{
    char *dir = support_folder(), *aside = support_folder(), path[600], labels[620], shard[600], *out;
    unsigned char want[4096];
    size_t size, n = picture(7, want, sizeof(want));
    json_t *r;
    sound_dataset(dir);
    snprintf(path, sizeof(path), "%s/seven.png", aside);
    snprintf(labels, sizeof(labels), "%s.json", path);
    snprintf(shard, sizeof(shard), "%s/made-train-00000-of-00001.h5", dir);
    data_export_cfg cfg = {.path = dir, .record = "7", .stream = "image", .out = path, .write = 1};
    must(data_export(&cfg, &r, &out));
    cr_assert_str_eq(out, path);
    free(out);
    const json_t *l = json_object_get(r, "labels");
    cr_assert_str_eq(json_string_value(json_object_get(l, "expression")), data_expression[7]);
    cr_assert(json_is_null(json_object_get(l, "valence")));
    cr_assert(json_real_value(json_object_get(l, "arousal")) == 0.25);
    unsigned char *bytes = support_read(path, &size);
    cr_assert(size == n && memcmp(bytes, want, n) == 0);
    free(bytes);
    json_t *kept = json_load_file(labels, 0, NULL);
    cr_assert(json_equal(kept, r));
    json_decref(kept);
    json_decref(r);
    cr_assert(data_export(&cfg, &r, &out) == MN_ECREATE);
    cr_assert(unlink(path) == 0);
    cr_assert(data_export(&cfg, &r, &out) == MN_ECREATE && access(path, F_OK) != 0); // the labels are there still
    cr_assert(unlink(labels) == 0);
    cfg.record = "4"; // a frame without a picture: labels alone
    cfg.path = shard;
    must(data_export(&cfg, &r, &out));
    cr_assert(out == NULL && access(path, F_OK) != 0 && access(labels, F_OK) == 0);
    json_decref(r);
    cfg.record = "40";
    cr_assert(data_export(&cfg, &r, &out) == MN_ENOINPUT && strstr(mn_errmsg(), "0 to 39"));
    cfg.record = "n"; // all are called that
    cr_assert(data_export(&cfg, &r, &out) == MN_EDATA && strstr(mn_errmsg(), "of 40 records"));
    cfg.record = "video7.jpg";
    cr_assert(data_export(&cfg, &r, &out) == MN_ENOINPUT && strstr(mn_errmsg(), "no record has"));
    support_remove(dir);
    support_remove(aside);
}
