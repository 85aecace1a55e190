// Damage and hostile input as the data plane meets it, one test for each kind of it, by its number:
//
//     d1-d5    pictures: empty, cut, no picture, 65,535 a side, CMYK, grey, turned      here; image_test
//     d6       bits flipped in shards, files cut                                        here; dist's ckpt_test
//     d7       shards missing, short, twice, out of order                               here; shard_test folder/*
//     d8       labels: -5, -1, NaN, 2.0, text, columns, line ends, byte order mark      affwild2_test labels/*,
//              import_test affectnet and celeba_in_both_forms; fuzz labels, lists; finite losses: nn's losses_test
//     d9       counts of frames and labels differ, frames are missing                   affwild2_test both_editions,
//              windows_test prediction_fills_gaps_in_the_records, recipes' submission_test sample_order
//     d10      sound that is shorter, longer, absent, of another rate, late             affwild2_test
//              times_and_sound_come_from_the_media_files, media_test, sound_test
//     d11      mutated files of every format                                            fuzz/*, media_test damaged_files
//     d12      reads that fail or stall                                                 here
//     d13      many threads, every sample right                                         loader_stress, scale
//     d14      no sample, one, fewer than ranks                                         here; loader_test, frames_test
//     x6       paths that lead away, links, devices, pipes                              here; import_test folder
//     x7       lengths at the ends of their types                                       here; npy_test, recordio_test,
//              nn's safetensors_test refuses_impossible_lengths
#include "data/export.h"
#include "data/file.h"
#include "data/frames.h"
#include "data/image.h"
#include "data/import.h"
#include "data/info.h"
#include "data/loader.h"
#include "data/shard_manifest.h"
#include "data/sheet.h"
#include "data/verify.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "shard_support.h"
#include "videos_support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <turbojpeg.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

static const made_corpus corpus = {.shards = 2, .videos_each = 2, .frames = 9};

// Reads that fail, flip a bit or take their time: every pread of the program, HDF5's too, comes through here.
static struct {
    atomic_llong calls;
    int64_t from, count; // which calls
    int error, flip, stall_ms;
} fault;

static ssize_t faulty_read(int fd, void *buffer, size_t n, off_t offset)
{
    int64_t call = atomic_fetch_add(&fault.calls, 1);
    if (call >= fault.from && call < fault.from + fault.count) {
        if (fault.stall_ms) nanosleep(&(struct timespec){0, fault.stall_ms * 1000000L}, NULL);
        if (fault.error) {
            errno = fault.error;
            return -1;
        }
    }
    ssize_t got = syscall(SYS_pread64, fd, buffer, n, offset);
    if (fault.flip && call >= fault.from && call < fault.from + fault.count && got > 0) ((char *)buffer)[got / 2] ^= 4;
    return got;
}

ssize_t pread(int fd, void *buffer, size_t n, off_t offset)
{
    return faulty_read(fd, buffer, n, offset);
}

ssize_t pread64(int fd, void *buffer, size_t n, off64_t offset)
{
    return faulty_read(fd, buffer, n, offset);
}

static char *made_folder(void)
{
    char *dir = support_folder();
    made_write(dir, &corpus);
    return dir;
}

static uint64_t add(uint64_t h, const void *p, size_t n)
{
    return XXH3_64bits_withSeed(p, n, h);
}

// d1 .. d5: pictures. Each is imported, converted or rejected, with its reason, and the counts are exact.

enum { SIDE = 48, CUTS = 50 };

static void put(const char *dir, const char *name, const void *bytes, size_t size)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    support_write(path, bytes, size);
}

static int64_t of(const json_t *report, const char *object, const char *key)
{
    if (object) report = json_object_get(report, object);
    return json_integer_value(json_object_get(report, key));
}

// One picture in every form that is taken: colour, grey, CMYK, turned by its EXIF.
static void put_good(const char *dir, const uint8_t *jpeg, size_t size)
{
    uint8_t rgb[SIDE * SIDE * 4], turned[8192];
    static const uint8_t exif[] = "\xff\xe1\0\x22"
                                  "Exif\0\0"
                                  "II*\0\x08\0\0\0"
                                  "\x01\0"
                                  "\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0";
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    put(dir, "colour.jpg", jpeg, size);
    memcpy(turned, jpeg, 2);
    memcpy(turned + 2, exif, 36);
    memcpy(turned + 38, jpeg + 2, size - 2);
    put(dir, "turned.jpg", turned, size + 36);
    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(i * 7);
    tjhandle h = tjInitCompress();
    cr_assert(tjCompress2(h, rgb, SIDE, 0, SIDE, TJPF_CMYK, &bytes, &n, TJSAMP_444, 90, 0) == 0);
    put(dir, "cmyk.jpg", bytes, n);
    cr_assert(tjCompress2(h, rgb, SIDE, 0, SIDE, TJPF_GRAY, &bytes, &n, TJSAMP_GRAY, 90, 0) == 0);
    put(dir, "grey.jpg", bytes, n);
    tjFree(bytes);
    tjDestroy(h);
}

Test(damage, d1_to_d5_pictures_are_converted_or_rejected_by_reason)
{
    char *top = support_folder(), src[600], out[600], name[64];
    uint8_t rgb[SIDE * SIDE * 3], copy[8192];
    const uint8_t *jpeg;
    size_t size;
    data_coder *c;
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(out, sizeof(out), "%s/out", top);
    cr_assert(mkdir(src, 0777) == 0);
    mn_log_level(MN_WARN);
    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(i * 31 + i / 144 * 17);
    must(data_coder_open(&c));
    must(data_jpeg_encode(c, rgb, SIDE, SIDE, 90, 0, &jpeg, &size));
    cr_assert(size + 36 < sizeof(copy));
    put_good(src, jpeg, size);
    put(src, "d1.jpg", "", 0);
    for (size_t k = 0; k < CUTS; k++) {
        snprintf(name, sizeof(name), "d2-%02zu.jpg", k);
        put(src, name, jpeg, 1 + k * (size - 2) / CUTS);
    }
    put(src, "d3.jpg", "a text, whatever its name says", 30);
    memcpy(copy, jpeg, size);
    uint8_t *frame = memmem(copy, size, "\xff\xc0\0\x11\x08", 5);
    cr_assert(frame != NULL);
    memset(frame + 5, 0xff, 4); // 65,535 x 65,535: more than the library has a header for
    put(src, "d4.jpg", copy, size);
    memcpy(frame + 5, "\xea\x60\xea\x60", 4); // 60,000 x 60,000: 10 GB as RGB
    put(src, "d4-large.jpg", copy, size);
    data_import_report r;
    must(data_import(&(data_import_cfg){.kind = "folder", .src = src, .out = out, .reject_most = 1}, &r));
    cr_assert(of(r.json, NULL, "records") == 4 && of(r.json, NULL, "rejected") == CUTS + 4);
    cr_assert(of(r.json, "rejects", "empty file") == 1 && of(r.json, "rejects", "too many pixels") == 1);
    const char *const cut[] = {"damaged or cut off", "damaged header", "not a JPEG or PNG"};
    int64_t of_cuts = 0;
    for (int k = 0; k < 3; k++)
        of_cuts += of(r.json, "rejects", cut[k]);
    cr_assert(of_cuts == CUTS + 2); // the text, and the first of d4
    data_import_report_free(&r);
    json_t *report;
    must(data_verify(&(data_verify_cfg){.path = out, .decode = 1}, &report));
    cr_assert(json_is_true(json_object_get(report, "ok")));
    json_decref(report);
    data_coder_close(c);
    support_remove(top);
}

// Of every byte and label of a stream that the folder hands out, or its error when it refuses.
static mn_err digest_stream(const char *dir, const char *stream, uint64_t *h)
{
    data_folder *f;
    mn_err err = MN_OK;
    size_t most = 1 << 20, size;
    MN_TRY(data_folder_open(&f, dir, NULL, DATA_TASKS, stream));
    unsigned char *bytes = malloc(most);
    for (int64_t i = 0, r; i < data_folder_count(f) && err == MN_OK; i++) {
        const data_shard *s = data_folder_at(f, i, &r);
        const data_index *x = data_shard_index(s);
        err = data_shard_read(s, r, bytes, most, &size);
        if (err != MN_OK) break;
        *h = add(*h, bytes, size);
        *h = add(*h, data_shard_name(s, r), strlen(data_shard_name(s, r)));
        if (x->expr) *h = add(*h, &x->expr[r], 1);
        if (x->au) *h = add(*h, x->au + r * DATA_AUS, DATA_AUS);
        if (x->va) *h = add(*h, x->va + 2 * r, 2 * sizeof(float));
        *h = add(*h, &x->mask[r], sizeof(uint32_t));
        *h = add(*h, &x->frame[r], sizeof(int32_t));
        *h = add(*h, &x->t_us[r], sizeof(int64_t));
        *h = add(*h, &x->width[r], sizeof(uint16_t));
    }
    free(bytes);
    data_folder_close(f);
    return err;
}

static mn_err digest_of(const char *dir, uint64_t *h)
{
    *h = 1;
    MN_TRY(digest_stream(dir, "image", h));
    return digest_stream(dir, "audio", h);
}

static int64_t problems(const char *dir)
{
    json_t *r;
    must(data_verify(&(data_verify_cfg){.path = dir, .jobs = 1}, &r));
    int64_t n = json_integer_value(json_object_get(r, "n_problems"));
    json_decref(r);
    return n;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

typedef struct target { // a file that is damaged and made whole again
    char path[700];
    unsigned char *bytes;
    size_t size;
} target;

static int open_targets(const char *dir, target *t, int most)
{
    char **names;
    int n = 0;
    static const char *const ends[] = {".h5", "manifest.json"};
    for (int k = 0; k < 2; k++) {
        int64_t found;
        must(data_dir_like(dir, "", ends[k], &names, &found));
        for (int64_t i = 0; i < found && n < most; i++, n++) {
            snprintf(t[n].path, sizeof(t[n].path), "%s/%s", dir, names[i]);
            t[n].bytes = support_read(t[n].path, &t[n].size);
        }
        mn_names_free(names, found);
    }
    return n;
}

// Found when it is read, and by verify; or every byte and label is handed out as it was written.
static int is_found(const char *dir, uint64_t sound, int *seen)
{
    uint64_t h;
    mn_err err = digest_of(dir, &h);
    cr_assert(err == MN_OK || err == MN_EDATA, "%d: %s", err, mn_errmsg());
    cr_assert(err != MN_OK || h == sound);
    *seen += err != MN_OK;
    return problems(dir) > 0;
}

Test(damage, d6_of_1000_flips_and_200_cuts_every_one_is_found, .timeout = 120)
{
    char *dir = made_folder();
    target t[8];
    uint64_t sound, seed = 11;
    int n = open_targets(dir, t, 8), verified = 0, seen = 0;
    cr_assert(n >= 3 && problems(dir) == 0);
    must(digest_of(dir, &sound));
    for (int k = 0; k < 1200; k++) {
        const target *a = &t[k % n];
        size_t at = (size_t)(next_random(&seed) % a->size);
        int fd = open(a->path, O_WRONLY);
        if (k < 1000) {
            unsigned char other = a->bytes[at] ^ (unsigned char)(1u << next_random(&seed) % 8);
            cr_assert(fd >= 0 && pwrite(fd, &other, 1, (off_t)at) == 1);
        } else {
            cr_assert(fd >= 0 && ftruncate(fd, (off_t)at) == 0);
        }
        verified += is_found(dir, sound, &seen);
        cr_assert(pwrite(fd, a->bytes + at, k < 1000 ? 1 : a->size - at, (off_t)at) > 0 && close(fd) == 0);
    }
    cr_assert(verified == 1200, "%d of 1200", verified);
    cr_assert(seen == 1200, "%d of 1200", seen);
    cr_assert(problems(dir) == 0);
    for (int i = 0; i < n; i++)
        free(t[i].bytes);
    support_remove(dir);
}

// What was damaged on its way, once, is read again.
Test(damage, d6_a_damaged_read_is_repeated)
{
    char *dir = made_folder();
    data_folder *f;
    unsigned char bytes[4096];
    size_t size;
    int64_t r;
    must(data_folder_open(&f, dir, NULL, DATA_TASKS, "image"));
    const data_shard *s = data_folder_at(f, 0, &r);
    fault.from = fault.calls;
    fault.count = 1;
    fault.flip = 1;
    must(data_shard_read(s, r, bytes, sizeof(bytes), &size));
    fault.from = fault.calls;
    fault.count = 2;
    cr_assert(data_shard_read(s, r, bytes, sizeof(bytes), &size) == MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "record 0 (") && strstr(mn_errmsg(), "at byte "), "%s", mn_errmsg());
    fault.count = 0;
    data_folder_close(f);
    support_remove(dir);
}

static void finish(const char *dir, const char *const *files, int n)
{
    must(data_folder_finish(
        &(data_manifest_cfg){.dir = dir, .dataset = "made", .importer = "test", .files = files, .n_files = n}));
}

Test(damage, d7_shards_missing_short_twice_or_out_of_order)
{
    enum { MANY = 1000 };
    char *dir = support_folder(), a[600], b[600];
    static const char *const files[] = {"made-all-00000-of-00002.h5", "made-all-00001-of-00002.h5"};
    const char *wrong[] = {files[1], files[0]}, *twice[] = {files[0], "copy.h5"};
    uint64_t h;
    size_t size;
    support_dataset(dir, 2, 20);
    snprintf(a, sizeof(a), "%s/%s", dir, files[1]);
    snprintf(b, sizeof(b), "%s/copy.h5", dir);
    unsigned char *bytes = support_read(a, &size);
    cr_assert(truncate(a, (off_t)size - 1) == 0);
    cr_assert(digest_of(dir, &h) == MN_EDATA && strstr(mn_errmsg(), files[1]), "%s", mn_errmsg());
    support_write(a, bytes, size);
    finish(dir, wrong, 2);
    cr_assert(digest_of(dir, &h) == MN_EDATA && strstr(mn_errmsg(), files[1]), "%s", mn_errmsg());
    cr_assert(problems(dir) > 0);
    char first[600];
    snprintf(first, sizeof(first), "%s/%s", dir, files[0]);
    cr_assert(link(first, b) == 0);
    finish(dir, twice, 2);
    cr_assert(digest_of(dir, &h) == MN_EDATA && strstr(mn_errmsg(), "copy.h5"), "%s", mn_errmsg());
    const char *same[] = {files[0], files[0]};
    finish(dir, same, 2);
    cr_assert(digest_of(dir, &h) == MN_EDATA && strstr(mn_errmsg(), "twice"), "%s", mn_errmsg());

    char *many[MANY]; // the missing one is named at once
    for (int i = 0; i < MANY; i++) {
        many[i] = malloc(32);
        snprintf(many[i], 32, "many-%05d.h5", i);
        snprintf(b, sizeof(b), "%s/%s", dir, many[i]);
        cr_assert(link(first, b) == 0);
    }
    finish(dir, (const char *const *)many, MANY);
    cr_assert(unlink(b) == 0);
    double start = mn_seconds();
    cr_assert(digest_of(dir, &h) == MN_ENOINPUT && strstr(mn_errmsg(), many[MANY - 1]), "%s", mn_errmsg());
    cr_assert(mn_seconds() - start < 2);
    for (int i = 0; i < MANY; i++)
        free(many[i]);
    free(bytes);
    support_remove(dir);
}

// One read after another fails, once and for good: what is tried again succeeds, what fails three times is an I/O error.
Test(damage, d12_every_failing_read, .timeout = 120)
{
    char *dir = made_folder();
    uint64_t sound, h;
    fault.calls = 0;
    must(digest_of(dir, &sound));
    int64_t calls = fault.calls;
    fault.error = EIO;
    for (int64_t k = 0; k < calls; k++) {
        fault.calls = 0;
        fault.from = k;
        fault.count = 1;
        cr_assert(digest_of(dir, &h) == MN_OK && h == sound, "read %lld of %lld: %s", (long long)k, (long long)calls,
                  mn_errmsg());
        fault.calls = 0;
        fault.count = INT64_MAX / 2;
        cr_assert(digest_of(dir, &h) == MN_EIO, "read %lld of %lld: %s", (long long)k, (long long)calls, mn_errmsg());
    }
    fault.calls = fault.count = 0;
    // A disk with a bad place: verify goes on behind it, and says that it is the file system.
    json_t *r;
    must(data_verify(&(data_verify_cfg){.path = dir, .jobs = 1}, &r));
    json_decref(r);
    int64_t all = fault.calls;
    for (int64_t k = 0; k < all; k++) { // of the manifest, of a shard: never called damage
        fault.calls = 0;
        fault.from = k;
        fault.count = INT64_MAX / 2;
        must(data_verify(&(data_verify_cfg){.path = dir, .jobs = 1}, &r));
        json_int_t n = json_integer_value(json_object_get(r, "n_problems"));
        cr_assert(n > 0 && json_integer_value(json_object_get(r, "n_unreadable")) == n, "read %lld of %lld",
                  (long long)k, (long long)all);
        json_decref(r);
    }
    fault.calls = 0;
    fault.from = all - 12;
    fault.count = 3;
    must(data_verify(&(data_verify_cfg){.path = dir, .jobs = 1}, &r));
    cr_assert(json_integer_value(json_object_get(r, "n_problems")) == 1);
    cr_assert(json_integer_value(json_object_get(r, "n_unreadable")) == 1);
    json_decref(r);
    support_remove(dir);
}

Test(damage, d12_a_stall_shows_as_waiting)
{
    char *dir = made_folder();
    data_frames_cfg frames = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR}, .augment = {.size = 8}};
    data_set *set;
    data_loader *l;
    const data_batch *b;
    must(data_frames_open(&set, &frames));
    data_loader_cfg cfg = {.set = set, .batch = 2, .world = 1, .threads = 1, .ahead = 1, .train = 1};
    fault.from = fault.calls;
    fault.count = INT64_MAX / 2;
    fault.stall_ms = 30;
    must(data_loader_open(&l, &cfg, (data_state){0}));
    must(data_loader_next(l, &b));
    cr_assert(b->wait_s > 0.03, "%f", b->wait_s);
    data_loader_release(l, b);
    data_loader_close(l);
    fault.count = 0;
    data_set_close(set);
    support_remove(dir);
}

// A split without samples is refused; with one sample, three ranks hand it out once.
Test(damage, d14_no_sample_one_sample_fewer_than_ranks)
{
    char *dir = made_folder();
    data_frames_cfg frames = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR}, .augment = {.size = 8}};
    data_set *set;
    json_t *r;
    frames.select.split = "test";
    cr_assert(data_frames_open(&set, &frames) == MN_EDATA || strstr(mn_errmsg(), "nothing to use"), "%s", mn_errmsg());
    frames.select.split = "train";
    must(data_frames_open(&set, &frames));
    set->count = 1;
    int64_t rows = 0;
    for (int rank = 0; rank < 3; rank++) {
        data_loader_cfg cfg = {.set = set, .batch = 6, .rank = rank, .world = 3, .threads = 2, .ahead = 1};
        data_loader *l;
        const data_batch *b;
        must(data_loader_open(&l, &cfg, (data_state){0}));
        for (;;) {
            must(data_loader_next(l, &b));
            if (!b) break;
            rows += b->rows;
            data_loader_release(l, b);
        }
        data_loader_close(l);
    }
    cr_assert(rows == 1);
    data_set_close(set);
    support_remove(dir);

    dir = support_folder(); // a dataset without a record
    finish(dir, NULL, 0);
    data_folder *f;
    must(data_folder_open(&f, dir, NULL, DATA_TASKS, "image"));
    cr_assert(data_folder_count(f) == 0);
    data_folder_close(f);
    cr_assert(problems(dir) == 0);
    must(data_info(dir, &r));
    json_decref(r);
    cr_assert(data_sheet(&(data_sheet_cfg){.dir = dir, .out = "/nowhere.png", .pictures = 1}) == MN_EDATA);
    cr_assert(data_frames_open(&set, &(data_frames_cfg){.select = {.dir = dir, .task = DATA_TASKS},
                                                        .augment = {.size = 8}}) != MN_OK);
    support_remove(dir);
}

// Paths that lead out of a folder, links, devices and pipes in place of files: refused, and nothing waits for them.
Test(damage, x6_paths_links_devices_and_pipes, .timeout = 20)
{
    char *dir = made_folder(), path[700], away[700];
    target t[8];
    uint64_t h;
    json_t *r;
    int n = open_targets(dir, t, 8);
    for (int i = 0; i < n; i++) {
        snprintf(away, sizeof(away), "%s/away", dir);
        cr_assert(rename(t[i].path, away) == 0);
        for (int kind = 0; kind < 4; kind++) {
            if (kind == 0) cr_assert(mkfifo(t[i].path, 0666) == 0);
            if (kind == 1) cr_assert(symlink("/dev/zero", t[i].path) == 0);
            if (kind == 2) cr_assert(mkdir(t[i].path, 0777) == 0);
            if (kind == 3) cr_assert(symlink(t[i].path, t[i].path) == 0);
            cr_assert(digest_of(dir, &h) != MN_OK, "%d", kind);
            cr_assert(problems(dir) > 0, "%d", kind);
            if (kind != 2) { // named alone
                mn_err err = data_verify(&(data_verify_cfg){.path = t[i].path}, &r);
                cr_assert(err != MN_OK || !json_is_true(json_object_get(r, "ok")));
                if (err == MN_OK) json_decref(r);
            }
            cr_assert(kind == 2 ? rmdir(t[i].path) == 0 : unlink(t[i].path) == 0);
        }
        cr_assert(rename(away, t[i].path) == 0);
        free(t[i].bytes);
    }
    must(digest_of(dir, &h));
    // A manifest that names files elsewhere, correctly signed.
    static const char *const names[] = {"../x.h5", "/etc/passwd", "a/b.h5", "..", ".hidden.h5", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t size;
        json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:[{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:s}]}", "format",
                                 "mien-dataset", "format_version", 1, "dataset", "made", "importer", "test", "shards",
                                 "file", names[i], "split", "all", "stream", "image", "records", 1, "videos", 0,
                                 "file_bytes", 9, "payload_bytes", 1, "payload_xxh3",
                                 "00000000000000000000000000000000", "index_xxh3", "00000000000000000000000000000000");
        char *text = data__signed_json(root, &size);
        snprintf(path, sizeof(path), "%s/manifest.json", dir);
        support_write(path, text, size);
        cr_assert(digest_of(dir, &h) == MN_EDATA && strstr(mn_errmsg(), "entry 0"), "%s: %s", names[i], mn_errmsg());
        free(text);
        json_decref(root);
    }
    support_remove(dir);
}

// Lengths at the ends of their types: refused or harmless, without memory for what they promise.
Test(damage, x7_impossible_lengths_in_a_seal)
{
    static const uint64_t edge[] = {0,
                                    1,
                                    4095,
                                    4096,
                                    8192,
                                    (uint64_t)1 << 31,
                                    (uint64_t)1 << 32,
                                    INT64_MAX,
                                    (uint64_t)INT64_MAX + 1,
                                    UINT64_MAX - 4096,
                                    UINT64_MAX - 1,
                                    UINT64_MAX};
    enum { EDGES = sizeof(edge) / sizeof(edge[0]) };
    char *dir = support_folder(), path[700];
    unsigned char block[2 * DATA__SEAL_BYTES] = {0};
    snprintf(path, sizeof(path), "%s/x.h5", dir);
    for (int a = 0; a < EDGES; a++)
        for (int b = 0; b < EDGES; b++)
            for (int c = 0; c < EDGES; c++) {
                data__seal s = {.file_bytes = edge[a], .payload_offset = edge[b], .payload_bytes = edge[c]}, out;
                data__seal_format(&s, block);
                if (data__seal_parse(block, DATA__SEAL_BYTES, "x", &out) == MN_OK)
                    cr_assert(out.payload_bytes == 0 ||
                              (out.payload_offset >= DATA__SEAL_BYTES && out.payload_bytes <= out.file_bytes &&
                               out.payload_offset <= out.file_bytes - out.payload_bytes));
                if (a != 4 || b % 3) continue;
                data_shard *shard; // and as a file of 8192 bytes
                support_write(path, block, sizeof(block));
                cr_assert(data_shard_open(&shard, path) == MN_EDATA);
            }
    support_remove(dir);
}
