// Feature folders: what is written is read, a killed writer goes on, features of other programs open, damage is found.
#include "data/features.h"
#include "data/half.h"
#include "data/verify.h"
#include "nn/base/fault.h"
#include "nn/base/mem.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <hdf5.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

static const data_feature_source source = {.run = "demo", .weights_digest = "00ff", .model = "swin", .step = 7};

enum { DIM = 5 };

static data_track make_track(const char *video, int64_t frames, float *x, int64_t *t_us)
{
    for (int64_t i = 0; i < frames; i++) {
        t_us[i] = i * 40000 + (int64_t)strlen(video);
        for (int k = 0; k < DIM; k++)
            x[i * DIM + k] = (float)(i * 10 + k) + (float)video[0] / 256;
    }
    return (data_track){.video = video, .frames = frames, .dim = DIM, .x = x, .t_us = t_us};
}

static void add(data_feature_writer *w, const char *video, int64_t frames)
{
    float x[64 * DIM];
    int64_t t[64];
    data_track track = make_track(video, frames, x, t);
    must(data_feature_writer_add(w, &track));
}

static void check(const data_features *f, const char *video, int64_t frames)
{
    float x[64 * DIM];
    int64_t t[64];
    data_track want = make_track(video, frames, x, t), have;
    must(data_features_track(f, data_features_find(f, video), &have));
    cr_assert_str_eq(have.video, video);
    cr_assert(have.frames == frames && have.dim == DIM);
    cr_assert(memcmp(have.x, want.x, (size_t)frames * DIM * sizeof(float)) == 0);
    cr_assert(memcmp(have.t_us, want.t_us, (size_t)frames * sizeof(int64_t)) == 0);
}

Test(features, parts_are_one_folder)
{
    char *dir = support_folder();
    data_feature_writer *w;
    for (int part = 0; part < 2; part++) {
        must(data_feature_writer_open(&w, dir, part, &source));
        add(w, part ? "b" : "video59_right", 30 + part);
        add(w, part ? "a" : "c", 3);
        must(data_feature_writer_close(w));
    }
    must(data_features_finish(dir, &source));
    data_features *f;
    must(data_features_open(&f, dir));
    cr_assert(data_features_count(f) == 4 && data_features_dim(f) == DIM);
    cr_assert_str_eq(data_features_weights(f), "00ff");
    check(f, "video59_right", 30);
    check(f, "b", 31);
    check(f, "a", 3);
    cr_assert(data_features_find(f, "a_left") == data_features_find(f, "a")); // the sound of both people
    cr_assert(data_features_find(f, "video59_left") == -1 && data_features_find(f, "video59") == -1);
    data_features_close(f);
    support_remove(dir);
}

Test(features, interpolation_is_linear_and_clamped)
{
    float x[] = {0, 10, 1, 20, 5, 0}, y[2], scratch[2];
    int64_t t[] = {100, 200, 600};
    data_track track = {.video = "v", .frames = 3, .dim = 2, .x = x, .t_us = t};
    static const struct {
        int64_t t;
        float y[2];
    } row[] = {{0, {0, 10}},   {100, {0, 10}}, {150, {0.5f, 15}}, {200, {1, 20}},
               {300, {2, 15}}, {600, {5, 0}},  {9999, {5, 0}}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        data_track_at(&track, row[i].t, y, scratch);
        cr_assert(fabsf(y[0] - row[i].y[0]) < 1e-6f && fabsf(y[1] - row[i].y[1]) < 1e-5f, "t %lld",
                  (long long)row[i].t);
    }
    track.frames = 1;
    data_track_at(&track, 100, y, scratch);
    cr_assert(y[0] == 0 && y[1] == 10);
}

// A child adds two videos and is killed in the middle of the third; the folder goes on from there with another part.
Test(features, a_killed_writer_goes_on)
{
    char *dir = support_folder();
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        data_feature_writer *w;
        setenv("MIEN_FAULT", "features.write:3=kill", 1);
        mn_fault_init(0);
        if (data_feature_writer_open(&w, dir, 1, &source) != MN_OK) _exit(1);
        add(w, "a", 10);
        add(w, "b", 20);
        add(w, "c", 30);
        _exit(2);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    data_feature_writer *w, *second;
    must(data_feature_writer_open(&w, dir, 0, &source)); // now with one rank
    cr_assert(data_feature_writer_has(w, "a") && data_feature_writer_has(w, "b") && !data_feature_writer_has(w, "c"));
    cr_assert(data_feature_writer_open(&second, dir, 0, &source) == MN_ECREATE); // two on one part
    add(w, "c", 30);
    must(data_feature_writer_close(w));
    must(data_feature_writer_open(&w, dir, 0, &source)); // and again: the part grows
    cr_assert(data_feature_writer_has(w, "c"));
    add(w, "d", 2);
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    data_features *f;
    must(data_features_open(&f, dir));
    cr_assert(data_features_count(f) == 4);
    check(f, "a", 10);
    check(f, "b", 20);
    check(f, "c", 30);
    check(f, "d", 2);
    data_features_close(f);
    data_feature_source other = source;
    other.weights_digest = "1234";
    cr_assert(data_feature_writer_open(&w, dir, 0, &other) == MN_ECREATE);
    cr_assert(data_features_finish(dir, &other) == MN_ECREATE);
    support_remove(dir);
}

// Ranks that go on look at all journals while the one that a journal belongs to cuts off its torn end.
typedef struct rank {
    const char *dir;
    int part, delay;
    pthread_barrier_t *both; // have opened: as the ranks do it
    mn_err err;
    char message[400];
} rank;

static void *go_on(void *p)
{
    rank *r = p;
    data_feature_writer *w;
    for (volatile int i = 0; i < r->delay; i++)
        continue;
    r->err = data_feature_writer_open(&w, r->dir, r->part, &source);
    if (r->err == MN_OK && !data_feature_writer_has(w, "a")) r->err = MN_EINTERNAL;
    snprintf(r->message, sizeof r->message, "%s", r->err == MN_OK ? "" : mn_errmsg());
    (void)pthread_barrier_wait(r->both);
    if (r->err == MN_OK) r->err = data_feature_writer_close(w);
    return NULL;
}

Test(features, ranks_go_on_together, .timeout = 60)
{
    enum { ROUNDS = 300, FRAMES = 4096 };
    char *dir = support_folder(), path[600];
    static float x[FRAMES * DIM];
    static int64_t t[FRAMES];
    data_track track = make_track("a", FRAMES, x, t);
    data_feature_writer *w;
    size_t size;
    must(data_feature_writer_open(&w, dir, 0, &source));
    must(data_feature_writer_add(w, &track));
    track.video = "b";
    must(data_feature_writer_add(w, &track));
    snprintf(path, sizeof path, "%s/part-00000.journal", dir);
    unsigned char *bytes = support_read(path, &size);
    must(data_feature_writer_close(w));
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_t both;
        rank r[2] = {{.dir = dir, .both = &both}, {.dir = dir, .part = 1, .delay = round * 100, .both = &both}};
        pthread_t thread;
        cr_assert_eq(pthread_barrier_init(&both, NULL, 2), 0);
        snprintf(path, sizeof path, "%s/part-00000.h5", dir);
        cr_assert(unlink(path) == 0);
        snprintf(path, sizeof path, "%s/part-00000.journal", dir);
        support_write(path, bytes, size - 5);
        cr_assert_eq(pthread_create(&thread, NULL, go_on, &r[1]), 0);
        go_on(&r[0]);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(pthread_barrier_destroy(&both), 0);
        for (int k = 0; k < 2; k++)
            cr_assert(r[k].err == MN_OK, "round %d, rank %d: %s", round, k, r[k].message);
    }
    free(bytes);
    support_remove(dir);
}

// A child is killed between the part's taking its name and the journal's going: both hold the same videos.
Test(features, a_part_and_its_journal_may_both_be_there)
{
    for (int more = 0; more < 2; more++) {
        char *dir = support_folder();
        data_feature_writer *w;
        data_features *f;
        pid_t child = fork();
        cr_assert(child >= 0);
        if (child == 0) {
            setenv("MIEN_FAULT", "features.clean:1=kill", 1);
            mn_fault_init(0);
            if (data_feature_writer_open(&w, dir, 0, &source) != MN_OK) _exit(1);
            add(w, "a", 10);
            add(w, "b", 20);
            _exit(data_feature_writer_close(w) == MN_OK ? 2 : 3);
        }
        int status;
        cr_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (more) { // the same part goes on; else its journal is adopted at the end
            must(data_feature_writer_open(&w, dir, 0, &source));
            cr_assert(data_feature_writer_has(w, "a") && data_feature_writer_has(w, "b"));
            add(w, "c", 30);
            must(data_feature_writer_close(w));
        }
        must(data_features_finish(dir, &source));
        must(data_features_open(&f, dir));
        cr_assert(data_features_count(f) == 2 + more);
        check(f, "a", 10);
        check(f, "b", 20);
        if (more) check(f, "c", 30);
        data_features_close(f);
        support_remove(dir);
    }
}

// A record of the journal that is whole but not what was written ends it.
Test(features, a_damaged_journal_is_used_up_to_the_damage)
{
    char *dir = support_folder(), path[600];
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        data_feature_writer *w;
        if (data_feature_writer_open(&w, dir, 0, &source) != MN_OK) _exit(1);
        add(w, "a", 10);
        add(w, "b", 20);
        _exit(0); // as if killed: nothing was closed
    }
    int status;
    size_t size;
    cr_assert(waitpid(child, &status, 0) == child && status == 0);
    snprintf(path, sizeof(path), "%s/part-00000.journal", dir);
    unsigned char *bytes = support_read(path, &size);
    bytes[size - 100] ^= 1; // of "b"
    support_write(path, bytes, size);
    free(bytes);
    data_feature_writer *w;
    must(data_feature_writer_open(&w, dir, 0, &source));
    cr_assert(data_feature_writer_has(w, "a") && !data_feature_writer_has(w, "b"));
    add(w, "b", 20);
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    data_features *f;
    must(data_features_open(&f, dir));
    check(f, "a", 10);
    check(f, "b", 20);
    data_features_close(f);
    support_remove(dir);
}

Test(features, impossible_tracks_are_refused)
{
    char *dir = support_folder();
    data_feature_writer *w;
    float x[2 * DIM] = {0};
    int64_t t[2] = {0, 1};
    must(data_feature_writer_open(&w, dir, 0, &source));
    data_track track = {.video = "a", .frames = 2, .dim = DIM, .x = x, .t_us = t};
    x[7] = NAN;
    cr_assert(data_feature_writer_add(w, &track) == MN_EDATA && strstr(mn_errmsg(), "frame 1"));
    x[7] = 0;
    t[1] = 0;
    cr_assert(data_feature_writer_add(w, &track) == MN_EDATA);
    t[1] = 5;
    track.video = "a/b";
    cr_assert(data_feature_writer_add(w, &track) == MN_EDATA);
    track.video = "a";
    track.frames = 0;
    cr_assert(data_feature_writer_add(w, &track) == MN_EDATA);
    must(data_feature_writer_close(w));
    cr_assert(data_features_finish(dir, &source) == MN_EDATA); // nothing in it
    data_features *f;
    cr_assert(data_features_open(&f, dir) == MN_ENOINPUT);
    support_remove(dir);
}

// What the Python writer of data/README.md makes: doubles, chunked and compressed here, 32-bit times, no attributes.
static void foreign_video(hid_t file, const char *video, hsize_t frames, int first_time)
{
    double x[40];
    int t[10];
    hsize_t extent[2] = {frames, 4};
    for (int i = 0; i < 40; i++)
        x[i] = i * 0.5;
    for (int i = 0; i < 10; i++)
        t[i] = first_time + i;
    hid_t group = H5Gcreate2(file, video, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, extent, NULL);
    H5Pset_chunk(create, 2, (hsize_t[]){2, 4});
    H5Pset_deflate(create, 1);
    hid_t d = H5Dcreate2(group, "x", H5T_IEEE_F64LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    cr_assert(H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Dclose(d);
    H5Sclose(space);
    space = H5Screate_simple(1, extent, NULL);
    d = H5Dcreate2(group, "t_us", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert(H5Dwrite(d, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, t) >= 0);
    H5Dclose(d);
    H5Sclose(space);
    H5Pclose(create);
    H5Gclose(group);
}

// What `mien data verify` says of a feature folder.
static int verified(const char *dir)
{
    json_t *r;
    must(data_verify(&(data_verify_cfg){.path = dir}, &r));
    cr_assert(json_is_true(json_object_get(r, "features")));
    int ok = json_is_true(json_object_get(r, "ok"));
    json_decref(r);
    return ok;
}

Test(features, those_of_other_programs_open)
{
    char *dir = support_folder(), path[600];
    snprintf(path, sizeof(path), "%s/mine.h5", dir);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    foreign_video(file, "z", 10, 0);
    foreign_video(file, "video 1 ü", 3, 100);
    H5Fclose(file);
    data_features *f, *g;
    must(data_features_open(&f, dir));
    must(data_features_open(&g, path)); // the file alone
    data_track t;
    must(data_features_track(f, data_features_find(f, "video 1 ü"), &t));
    cr_assert(data_features_count(f) == 2 && t.frames == 3 && t.dim == 4 && t.x[11] == 5.5f && t.t_us[2] == 102);
    cr_assert(data_features_digest(f) == data_features_digest(g) && data_features_weights(f)[0] == 0);
    data_features_close(f);
    data_features_close(g);
    cr_assert(verified(dir));
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "empty", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    cr_assert(data_features_open(&f, dir) == MN_EDATA && strstr(mn_errmsg(), "empty/x"));
    cr_assert(!verified(dir));
    support_remove(dir);
}

// Values that 16 bits round, through a kill, into a file and back; what has been written in another precision stays alone.
Test(features, sixteen_bits)
{
    static const data_store stores[] = {DATA_FP16, DATA_BF16};
    static const char *const names[] = {"f16", "bf16"};
    enum { ROWS = 700 };
    float *x = mn_calloc(ROWS * DIM, sizeof *x), *y = mn_calloc(ROWS * DIM, sizeof *y),
          *want = mn_calloc(ROWS * DIM, sizeof *x);
    uint16_t *half = mn_calloc(ROWS * DIM, sizeof *half);
    int64_t t_us[ROWS];
    for (int64_t i = 0; i < ROWS * DIM; i++)
        x[i] = (float)(sin((double)i) * pow(10, (double)(i % 9) - 5));
    for (int i = 0; i < ROWS; i++)
        t_us[i] = i * 20000;
    for (int k = 0; k < 2; k++) {
        char *dir = support_folder();
        data_feature_source from = source, other = source;
        data_feature_writer *w;
        data_features *f;
        data_track t, add_one = {.video = "a", .frames = ROWS, .dim = DIM, .x = x, .t_us = t_us};
        from.store = stores[k];
        (k ? data_to_bf16 : data_to_f16)(x, ROWS * DIM, half);
        (k ? data_from_bf16 : data_from_f16)(half, ROWS * DIM, want);
        must(data_feature_writer_open(&w, dir, 0, &from));
        must(data_feature_writer_add(w, &add_one));
        must(data_feature_writer_close(w));
        must(data_feature_writer_open(&w, dir, 0, &from)); // the part is opened again and grows
        add_one.video = "b";
        must(data_feature_writer_add(w, &add_one));
        x[5] = 65520; // the first number that becomes infinity in f16
        add_one.video = "c";
        mn_err err = data_feature_writer_add(w, &add_one);
        cr_assert(k == 0 ? err == MN_EDATA && strstr(mn_errmsg(), "65504") : err == MN_OK, "%s", mn_errmsg());
        x[5] = (float)sin(5);
        must(data_feature_writer_close(w));
        must(data_features_finish(dir, &from));
        cr_assert_eq(data_feature_writer_open(&w, dir, 1, &other), MN_ECREATE);
        cr_assert_not_null(strstr(mn_errmsg(), names[k]), "%s", mn_errmsg());
        must(data_features_open(&f, dir));
        cr_assert_str_eq(data_features_dtype(f), names[k]);
        for (int v = 0; v < 2; v++) {
            must(data_features_track(f, v, &t));
            cr_assert(t.x == NULL && t.half != NULL && t.store == stores[k]); // where it lies in the file
            data_track_rows(&t, 0, ROWS, y);
            cr_assert(memcmp(y, want, ROWS * DIM * sizeof *y) == 0);
            data_track_rows(&t, 13, 2, y);
            cr_assert(memcmp(y, want + 13 * DIM, 2 * DIM * sizeof *y) == 0);
            data_track_at(&t, 30000, y, y + DIM);
            cr_assert_float_eq(y[0], want[DIM] + 0.5f * (want[2 * DIM] - want[DIM]), 1e-6f);
        }
        data_features_close(f);
        cr_assert(verified(dir));
        support_remove(dir);
    }
    free(x);
    free(y);
    free(want);
    free(half);
}

Test(features, damage_is_found)
{
    char *dir = support_folder();
    static const char *const file[] = {"part-00000.h5", "manifest.json"};
    data_feature_writer *w;
    data_features *f;
    must(data_feature_writer_open(&w, dir, 0, &source));
    add(w, "a", 20);
    add(w, "b", 20);
    must(data_feature_writer_close(w));
    must(data_features_finish(dir, &source));
    for (int k = 0; k < 60; k++) {
        char path[600];
        size_t size;
        snprintf(path, sizeof(path), "%s/%s", dir, file[k % 2]);
        unsigned char *bytes = support_read(path, &size);
        size_t at = (size_t)(k * 7919 + 13) % size;
        bytes[at] ^= (unsigned char)(1u << k % 8);
        support_write(path, bytes, k < 40 ? size : at);
        cr_assert(data_features_open(&f, dir) == MN_EDATA, "%s byte %zu", path, at);
        bytes[at] ^= (unsigned char)(1u << k % 8);
        support_write(path, bytes, size);
        free(bytes);
    }
    must(data_features_open(&f, dir));
    data_features_close(f);
    support_remove(dir);
}

// A mapped file cannot report an error of its disk but by a signal; cutting it gives the same one.
static int read_cut(const char *dir, const char *path, int other, char *said, size_t size)
{
    int ends[2], status;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        data_features *f;
        data_track t;
        float row[DIM];
        dup2(ends[1], STDERR_FILENO);
        if (data_features_open(&f, dir) != MN_OK || data_features_track(f, 0, &t) != MN_OK || truncate(path, 0) != 0)
            _exit(3);
        if (other) raise(SIGBUS); // of nothing that is mapped
        data_track_rows(&t, 0, 1, row);
        _exit(2);
    }
    cr_assert(child > 0);
    close(ends[1]);
    size_t have = 0;
    for (ssize_t n = 1; n > 0 && have<size - 1; have += n> 0 ? (size_t)n : 0)
        n = read(ends[0], said + have, size - 1 - have);
    said[have] = 0;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

Test(features, a_map_that_cannot_be_read_is_named)
{
    char path[600], said[600], want[800];
    data_feature_writer *w;
    for (int other = 0; other < 2; other++) {
        char *dir = support_folder();
        must(data_feature_writer_open(&w, dir, 0, &source));
        add(w, "a", 20);
        must(data_feature_writer_close(w));
        must(data_features_finish(dir, &source));
        snprintf(path, sizeof path, "%s/part-00000.h5", dir);
        int status = read_cut(dir, path, other, said, sizeof said);
        snprintf(want, sizeof want, "mien: %s: cannot read at byte ", path);
        int sanitized = WIFEXITED(status) && WEXITSTATUS(status) != 2 && WEXITSTATUS(status) != 74;
        if (other) // a sanitizer's handler has a status of its own
            cr_assert((WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : sanitized) && strncmp(said, "mien: ", 6) != 0,
                      "%d %s", status, said);
        else
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 74 && strncmp(said, want, strlen(want)) == 0 &&
                          strtoll(said + strlen(want), NULL, 10) > 0,
                      "%d %s", status, said);
        support_remove(dir);
    }
}
