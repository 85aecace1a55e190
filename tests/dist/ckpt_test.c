// Checkpoints under faults: killed at every fault point, every kind of damage, a full disk, planted links.
#include "dist/ckpt.h"

#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"
#include "nn/device.h"
#include "nn/op.h"
#include "nn/optim.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];

static void make_root(void)
{
    // In memory where possible: what is tested is the order of the calls, and each fsync of a disk takes its time.
    strcpy(root, access("/dev/shm", W_OK) ? "ckpt_test_XXXXXX" : "/dev/shm/ckpt_test_XXXXXX");
    cr_assert(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
    cr_assert_eq(mn_dir_make("run/ckpt"), MN_OK);
    mn_log_level((mn_level)(MN_ERROR + 1)); // refusals are expected here
    omp_set_num_threads(1);                 // a team of threads does not live on in a forked child
}

static void remove_root(void)
{
    cr_assert_eq(chdir(*root == '/' ? "/" : ".."), 0);
    (void)!mn_tree_remove(root);
}

TestSuite(ckpt, .init = make_root, .fini = remove_root, .timeout = 120);

// --- a network whose every value is a function of (name, element, step) ---

static mn_err use_shape(nn_node *n)
{
    nn_set_out(n, 0, MN_F64, (mn_shape){0});
    return MN_OK;
}
static mn_err use_nothing(const nn_call *c)
{
    (void)c;
    return MN_OK;
}
static const nn_op use = {.name = "use", .shape = use_shape, .cpu = {.fwd = use_nothing, .bwd = use_nothing}};

typedef struct net {
    nn_params *params;
    nn_graph *graph;
    nn_optim *optim;
} net;

static net make_net_on(const nn_device *d, int64_t width)
{
    static const char *const names[] = {"net.weight", "net.bias", "frozen.weight", "norm.running_mean"};
    net n = {.params = nn_params_new(1)};
    n.graph = nn_graph_new(n.params, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32});
    for (int i = 0; i < 4; i++) {
        nn_param_spec p = {.shape = i == 1 ? MN_SHAPE(width) : MN_SHAPE(width, 5), .buffer = i == 3};
        nn_tensor *t = nn_param_get(n.graph, names[i], &p);
        nn_emit(n.graph, &use, names[i], 1, &t, NULL);
    }
    nn_params_freeze(n.params, "frozen");
    cr_assert_eq(nn_params_layout(n.params, n.graph, &(nn_layout_cfg){.dtype = MN_F32, .device = d}), MN_OK, "%s",
                 mn_errmsg());
    nn_optim_cfg cfg = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .layer_decay = 1};
    cr_assert_eq(nn_optim_new(&n.optim, n.params, &cfg), MN_OK, "%s", mn_errmsg());
    return n;
}

static net make_net(int64_t width)
{
    return make_net_on(NULL, width);
}

static void free_net(net n)
{
    nn_optim_free(n.optim);
    nn_graph_free(n.graph);
    nn_params_free(n.params);
}

static float value(const char *name, const char *kind, int64_t i, int64_t step)
{
    uint64_t key = mn_rng_key((uint64_t)step, name) ^ mn_rng_key(0, kind);
    return mn_uniform(mn_rng_block(key, (uint64_t)i, 0, 0).v[0]) - 0.5f;
}

// Sets everything to what it is after `step`, or counts what differs from that.
static int64_t visit(net n, int64_t step, int set)
{
    int64_t wrong = 0;
    for (int i = 0; i < nn_params_count(n.params); i++) {
        const nn_param *p = nn_params_at(n.params, i);
        int has_moments = !p->frozen && !p->spec.buffer;
        float *data[3] = {nn_param_master(n.params, p), has_moments ? nn_optim_m(n.optim, p) : NULL,
                          has_moments ? nn_optim_v(n.optim, p) : NULL};
        for (int k = 0; k < 3; k++)
            for (int64_t e = 0; data[k] && e < p->count; e++) {
                float want = value(p->name, (const char *[]){"w", "m", "v"}[k], e, step);
                if (set) data[k][e] = want;
                wrong += data[k][e] != want;
            }
    }
    if (set) nn_optim_set_updates(n.optim, step + 7);
    return wrong + (nn_optim_updates(n.optim) != step + 7);
}

static dist_state state_of(int64_t step)
{
    return (dist_state){.step = step,
                        .data = {UINT64_MAX - 5, step / 3, 1000 * step},
                        .best = 0.1 * (double)step,
                        .best_step = 1,
                        .recipe = 0xfedcba9876543210u,
                        .trained = 0xf000000000000001u,
                        .unscored = step % 2 == 1,
                        .machine = "AVX2, 2 threads",
                        .world = 3};
}

// What became of a save is told once, and is what waiting for it has returned.
static mn_err check_told(dist_ckpt *k, int64_t step, mn_err err)
{
    dist_saved s;
    cr_expect_eq(dist_ckpt_ended(k, &s), 1);
    cr_expect(s.err == err && s.step == step && s.stall_s >= 0);
    cr_expect_eq(dist_ckpt_ended(k, &s), 0);
    return err;
}

// Saves step after step with one writer that has gone on from step `from`; returns the error of the last one.
static mn_err save_from(int64_t from, int64_t attempt, int keep, int64_t first, int64_t last)
{
    net n = make_net(11);
    dist_ckpt *k;
    dist_ckpt_cfg cfg = {.dir = "run/ckpt",
                         .keep = keep,
                         .binary = 5,
                         .attempt = attempt,
                         .from_step = from,
                         .params = n.params,
                         .optim = n.optim};
    mn_err err = dist_ckpt_open(&k, &cfg);
    for (int64_t step = first; step <= last && err == MN_OK; step++) {
        visit(n, step, 1);
        dist_state s = state_of(step);
        err = dist_ckpt_save(k, &s);
        visit(n, 99, 1); // training goes on while the copy is written
        if (err == MN_OK) err = check_told(k, step, dist_ckpt_wait(k));
    }
    dist_ckpt_close(k);
    free_net(n);
    return err;
}

static mn_err save(int64_t first, int64_t last)
{
    return save_from(first - 1, 1, 2, first, last);
}

// The step of the newest valid checkpoint, its content checked to the last bit; 0 when there is none, -1 on error.
static int64_t newest(void)
{
    char path[DIST_CKPT_PATH];
    if (dist_ckpt_latest("run/ckpt", path, sizeof path) != MN_OK) return -1;
    if (!*path) return 0;
    net n = make_net(11);
    dist_state s;
    cr_assert_eq(dist_ckpt_load(path, n.params, n.optim, &s), MN_OK, "%s", mn_errmsg());
    dist_state want = state_of(s.step);
    cr_expect_eq(visit(n, s.step, 0), 0, "%s: wrong values", path);
    cr_expect(s.data.seed == want.data.seed && s.data.epoch == want.data.epoch &&
              s.data.position == want.data.position);
    cr_expect(s.best == want.best && s.best_step == 1 && s.recipe == want.recipe && s.world == 3);
    cr_expect(s.trained == want.trained && s.unscored == want.unscored);
    cr_expect_str_eq(s.machine, want.machine);
    free_net(n);
    return s.step;
}

static int64_t count_names(const char *prefix)
{
    char **names;
    int64_t n, hits = 0;
    cr_assert_eq(mn_dir_list("run/ckpt", &names, &n), MN_OK);
    for (int64_t i = 0; i < n; i++)
        hits += strncmp(names[i], prefix, strlen(prefix)) == 0;
    mn_names_free(names, n);
    return hits;
}

Test(ckpt, none_is_a_fresh_start)
{
    cr_expect_eq(newest(), 0);
}

Test(ckpt, round_trip_and_retention)
{
    cr_assert_eq(save(1, 5), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 5);
    cr_expect_eq(count_names("step-"), 3); // the newest two, and the best
    cr_expect_eq(access("run/ckpt/step-00000001", F_OK), 0);
    cr_expect_eq(access("run/ckpt/step-00000004", F_OK), 0);
    cr_expect_eq(count_names(".tmp-"), 0);
    cr_assert_eq(save(5, 5), MN_OK, "%s", mn_errmsg()); // again: after a roll back
    cr_expect_eq(newest(), 5);
    cr_expect_eq(dist_ckpt_verify("run/ckpt/abandoned-000001/step-00000005"), MN_OK, "%s", mn_errmsg());
}

// --- a device whose memory is not the host's: the CPU's functions, which count ---

static int64_t host_bytes; // that it has handed out

static mn_err counted_alloc(const nn_device *d, void **out, size_t bytes, const char *what)
{
    host_bytes += (int64_t)bytes;
    return nn_device_cpu()->host_alloc(d, out, bytes, what);
}

static void counted_release(const nn_device *d, void *p, size_t bytes)
{
    host_bytes -= (int64_t)bytes;
    nn_device_cpu()->host_release(d, p, bytes);
}

// Only who saves or resumes has moments in host memory; what is saved there is what the device has.
Test(ckpt, moments_of_a_gpu_are_copied_when_asked_for)
{
    nn_device away = *nn_device_cpu();
    away.on_host = 0;
    away.host_alloc = counted_alloc;
    away.host_release = counted_release;
    net n = make_net_on(&away, 11);
    const nn_param *w = nn_params_find(n.params, "net.weight");
    int64_t moments = 2 * nn_params_arenas(n.params)->trained * (int64_t)sizeof(float), before = host_bytes;
    cr_expect(!nn_optim_m(n.optim, w) && !nn_optim_v(n.optim, w));
    cr_assert_eq(nn_optim_fetch(n.optim), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(host_bytes, before + moments);
    cr_assert(nn_optim_m(n.optim, w) && nn_optim_v(n.optim, w));
    visit(n, 3, 1);
    cr_assert_eq(nn_params_sync(n.params), MN_OK);
    cr_assert_eq(nn_optim_sync(n.optim), MN_OK);
    cr_expect_eq(host_bytes, before, "the copies stay behind");

    dist_ckpt *k;
    dist_state s = state_of(3);
    dist_ckpt_cfg cfg = {.dir = "run/ckpt", .keep = 2, .binary = 5, .attempt = 1, .params = n.params, .optim = n.optim};
    cr_assert_eq(dist_ckpt_open(&k, &cfg), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(dist_ckpt_save(k, &s), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(dist_ckpt_wait(k), MN_OK, "%s", mn_errmsg());
    dist_ckpt_close(k);
    free_net(n);
    cr_expect_eq(host_bytes, 0);
    cr_expect_eq(newest(), 3); // into the memory of the CPU

    n = make_net_on(&away, 11);
    before = host_bytes;
    cr_assert_eq(dist_ckpt_load("run/ckpt/step-00000003", n.params, n.optim, &s), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(host_bytes, before, "the copies stay behind");
    visit(n, 99, 1); // of the host's parameters only
    nn_optim_set_updates(n.optim, 3 + 7);
    cr_assert_eq(nn_params_fetch(n.params), MN_OK);
    cr_assert_eq(nn_optim_fetch(n.optim), MN_OK);
    cr_assert(nn_optim_m(n.optim, w = nn_params_find(n.params, "net.weight")) && nn_optim_v(n.optim, w));
    cr_expect_eq(visit(n, 3, 0), 0, "what was loaded did not reach the device");
    free_net(n);
    cr_expect_eq(host_bytes, 0);
}

// From an older step, or from none: later checkpoints are neither resumed from, nor do they push out newer work.
// Also when the next has ended before anybody asks: then the one before is told first.
Test(ckpt, every_save_is_told)
{
    net n = make_net(11);
    dist_ckpt *k;
    dist_saved told;
    dist_ckpt_cfg cfg = {.dir = "run/ckpt", .keep = 1, .attempt = 1, .params = n.params, .optim = n.optim};
    cr_assert_eq(dist_ckpt_open(&k, &cfg), MN_OK);
    for (int64_t step = 2; step <= 3; step++) {
        dist_state s = state_of(step);
        cr_assert_eq(dist_ckpt_save(k, &s), MN_OK);
    }
    while (count_names("step-00000002")) // until retention, the last that the second does, has removed the first
        sched_yield();
    for (int i = 0; i < 1000; i++)
        sched_yield();
    cr_expect_eq(dist_ckpt_ended(k, &told), 1);
    cr_expect_eq(told.step, 2);
    check_told(k, 3, dist_ckpt_wait(k));
    dist_ckpt_close(k);
    free_net(n);
}

Test(ckpt, an_abandoned_course_is_set_aside)
{
    cr_assert_eq(save_from(0, 1, 3, 1, 9), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(save_from(7, 2, 3, 8, 8), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 8);
    cr_expect_eq(count_names("step-"), 3); // the new 8, and of before 7 and the best
    cr_expect_eq(dist_ckpt_verify("run/ckpt/abandoned-000002/step-00000008"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(dist_ckpt_verify("run/ckpt/abandoned-000002/step-00000009"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(save_from(0, 3, 1, 2, 3), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 3);
    cr_expect_eq(count_names("step-"), 1);
    cr_expect_eq(dist_ckpt_verify("run/ckpt/abandoned-000003/step-00000001"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(dist_ckpt_verify("run/ckpt/abandoned-000003/step-00000008"), MN_OK, "%s", mn_errmsg());
}

// A newer one that was refused takes the place of none that is whole.
Test(ckpt, damaged_ones_do_not_count)
{
    cr_assert_eq(save(1, 2), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(save(6, 6), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(truncate("run/ckpt/step-00000006/state.json", 3), 0);
    cr_expect_eq(newest(), 2);
    cr_expect_eq(save_from(2, 2, 1, 3, 3), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 3);
    cr_expect_neq(access("run/ckpt/step-00000002", F_OK), 0);
}

// What cannot be removed costs a warning, not the save, and no longer looks like a checkpoint.
Test(ckpt, one_that_cannot_be_removed)
{
    cr_assert_eq(save(1, 3), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(mn_dir_make("run/ckpt/step-00000002/folder"), MN_OK);
    cr_expect_eq(save(4, 4), MN_OK, "%s", mn_errmsg());
    cr_expect_neq(access("run/ckpt/step-00000002", F_OK), 0);
    cr_expect_eq(save(5, 5), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 5);
}

Test(ckpt, refuses_other_networks)
{
    cr_assert_eq(save(1, 1), MN_OK);
    net n = make_net(12);
    dist_state s;
    cr_expect_eq(dist_ckpt_load("run/ckpt/step-00000001", n.params, n.optim, &s), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "(11"), "%s", mn_errmsg());
    free_net(n);
}

Test(ckpt, reads_a_state_without_later_members)
{
    static const char path[] = "run/ckpt/step-00000001/state.json";
    char *text, *trained, *world;
    size_t size;
    dist_state s;
    cr_assert_eq(save(1, 1), MN_OK);
    cr_assert_eq(mn_file_read(path, 1 << 16, &text, &size), MN_OK, "%s", mn_errmsg());
    trained = strstr(text, "\"trained\"");
    world = strstr(text, "\"world\"");
    cr_assert(trained && world && trained < world, "%s", text);
    memmove(trained, world, strlen(world) + 1);
    cr_assert_eq(mn_file_replace(path, text, strlen(text)), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(dist_ckpt_state("run/ckpt/step-00000001", &s), MN_OK, "%s", mn_errmsg());
    cr_expect(s.step == 1 && s.trained == 0 && s.unscored == 0 && s.world == 3);
    free(text);
}

// A step that is saved again once it was scored: the new one takes the place of the old.
Test(ckpt, replaces_the_same_step)
{
    cr_assert_eq(save(1, 2), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(save_from(2, 1, 2, 2, 2), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 2);
    cr_expect_eq(count_names(".tmp-") + count_names("abandoned-"), 0);
}

Test(ckpt, values_that_are_not_finite_are_not_saved)
{
    net n = make_net(11);
    dist_ckpt *k;
    dist_state s = state_of(1);
    cr_assert_eq(
        dist_ckpt_open(
            &k, &(dist_ckpt_cfg){.dir = "run/ckpt", .keep = 2, .attempt = 1, .params = n.params, .optim = n.optim}),
        MN_OK);
    nn_param_master(n.params, nn_params_find(n.params, "net.bias"))[3] = NAN;
    cr_expect_eq(dist_ckpt_save(k, &s), MN_EDATA);
    cr_expect(strstr(mn_errmsg(), "net.bias"), "%s", mn_errmsg());
    dist_ckpt_close(k);
    free_net(n);
    cr_expect_eq(newest(), 0);
}

// --- damage ---

static const char *const parts[] = {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"};

static char *part_path(int step, int i)
{
    return mn_sprintf("run/ckpt/step-%08d/%s", step, parts[i]);
}

// Flips one bit of a part, asks, and flips it back.
static void flip(int part, int64_t at, int bit)
{
    char *path = part_path(1, part), byte;
    FILE *f = fopen(path, "r+b");
    cr_assert(f && pread(fileno(f), &byte, 1, at) == 1);
    byte = (char)(byte ^ 1 << bit);
    cr_assert_eq(pwrite(fileno(f), &byte, 1, at), 1);
    cr_expect_neq(dist_ckpt_verify("run/ckpt/step-00000001"), MN_OK, "%s byte %lld bit %d", path, (long long)at, bit);
    byte = (char)(byte ^ 1 << bit);
    cr_assert_eq(pwrite(fileno(f), &byte, 1, at), 1);
    fclose(f);
    free(path);
}

// Every bit of the small files, 300 of each of the others.
Test(ckpt, every_flipped_bit_is_found)
{
    cr_assert_eq(save(1, 1), MN_OK);
    mn_stream_rng r = mn_rng_open(1, 2, 3);
    for (int part = 0; part < 4; part++) {
        char *path = part_path(1, part);
        struct stat info;
        cr_assert_eq(stat(path, &info), 0);
        if (part < 2)
            for (int i = 0; i < 300; i++)
                flip(part, mn_rng_below(&r, info.st_size), (int)mn_rng_below(&r, 8));
        else
            for (int64_t i = 0; i < 8 * info.st_size; i++)
                flip(part, i / 8, (int)(i % 8));
        free(path);
    }
    cr_expect_eq(newest(), 1);
}

// A file of a checkpoint that is named by itself, or through a link, is no less verified; other files are not looked at.
Test(ckpt, a_single_file_is_verified)
{
    char found[DIST_CKPT_PATH];
    const char *model = "run/ckpt/step-00000001/model.safetensors";
    cr_assert_eq(save(1, 1), MN_OK);
    cr_assert_eq(symlink(model, "link.safetensors"), 0);
    cr_expect_eq(dist_ckpt_find_model(model, "runs", 0, found, sizeof found), MN_OK, "%s", mn_errmsg());
    cr_expect_str_eq(found, model);
    char *whole;
    size_t size;
    cr_assert_eq(mn_file_read(model, 1 << 24, &whole, &size), MN_OK);
    whole[size - 1] ^= 1;
    cr_assert_eq(mn_file_replace(model, whole, size), MN_OK);
    cr_assert_eq(mn_file_replace("alone.safetensors", whole, size), MN_OK);
    free(whole);
    cr_expect_eq(dist_ckpt_find_model(model, "runs", 0, found, sizeof found), MN_EDATA);
    cr_expect_eq(dist_ckpt_find_model("link.safetensors", "runs", 0, found, sizeof found), MN_EDATA);
    cr_expect_eq(dist_ckpt_find_model("alone.safetensors", "runs", 0, found, sizeof found), MN_OK, "%s", mn_errmsg());
}

Test(ckpt, stops_when_none_verifies)
{
    char found[DIST_CKPT_PATH];
    cr_assert_eq(save(1, 2), MN_OK);
    cr_assert_eq(truncate("run/ckpt/step-00000001/state.json", 3), 0);
    cr_assert_eq(unlink("run/ckpt/step-00000002/manifest.json"), 0);
    cr_expect_eq(dist_ckpt_latest("run/ckpt", found, sizeof found), MN_EIO);
}

Test(ckpt, every_cut_is_found_and_the_older_one_taken)
{
    cr_assert_eq(save(1, 2), MN_OK);
    mn_stream_rng r = mn_rng_open(1, 2, 4);
    for (int trial = 0; trial < 60; trial++) {
        char *path = part_path(2, trial % 4), *whole;
        size_t size;
        cr_assert_eq(mn_file_read(path, 1 << 24, &whole, &size), MN_OK);
        cr_assert_eq(truncate(path, trial < 4 ? 0 : mn_rng_below(&r, (int64_t)size)), 0);
        if (trial >= 56) cr_assert_eq(unlink(path), 0);
        cr_expect_eq(newest(), 1, "%s", path);
        cr_assert_eq(mn_file_replace(path, whole, size), MN_OK);
        free(whole);
        free(path);
    }
    cr_expect_eq(newest(), 2);
}

// --- killed, and failing, at every point ---

static const char *const points[] = {"ckpt.mkdir",  "ckpt.create",     "ckpt.write",  "ckpt.fsync", "ckpt.dirsync",
                                     "ckpt.rename", "ckpt.parentsync", "ckpt.latest", "ckpt.prune"};

// Runs save(first, last) in a child with the fault; returns its wait status.
static int save_with_fault(const char *point, int nth, const char *action, int64_t first, int64_t last)
{
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        char *spec = mn_sprintf("%s:%d=%s", point, nth, action);
        setenv("MIEN_FAULT", spec, 1);
        mn_fault_init(0);
        _exit(save(first, last) == MN_OK ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

Test(ckpt, killed_anywhere_the_newest_valid_one_is_found)
{
    int kills = 0;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int nth = 1; nth <= 16; nth++) {
            cr_assert_eq(mn_tree_remove("run/ckpt"), MN_OK);
            cr_assert_eq(mn_dir_make("run/ckpt"), MN_OK);
            cr_assert_eq(save(1, 3), MN_OK);
            int status = save_with_fault(points[i], nth, "kill", 4, 4);
            if (!WIFSIGNALED(status)) break; // passed fewer than nth times
            kills++;
            int64_t found = newest();
            cr_expect(found == 3 || found == 4, "%s:%d: found %lld", points[i], nth, (long long)found);
            cr_expect_eq(save(5, 5), MN_OK, "%s", mn_errmsg());
            cr_expect_eq(newest(), 5);
            cr_expect_eq(count_names(".tmp-"), 0);
        }
    cr_expect_geq(kills, 20);
}

Test(ckpt, failing_anywhere_leaves_the_old_one)
{
    int failures = 0;
    for (size_t i = 0; i + 1 < sizeof points / sizeof points[0]; i++)
        for (int nth = 1; nth <= 16; nth++) {
            cr_assert_eq(mn_tree_remove("run/ckpt"), MN_OK);
            cr_assert_eq(mn_dir_make("run/ckpt"), MN_OK);
            cr_assert_eq(save(1, 3), MN_OK);
            int status = save_with_fault(points[i], nth, "fail", 4, 4);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
            failures++;
            int64_t found = newest();
            cr_expect(found == 3 || found == 4);
            cr_expect_eq(count_names(".tmp-"), 0);
        }
    cr_expect_geq(failures, 20);
}

// The move fails or the program dies in it: nothing is lost, and the next save completes it.
Test(ckpt, setting_aside_may_fail)
{
    static const char *const actions[] = {"fail", "kill"};
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(mn_tree_remove("run/ckpt"), MN_OK);
        cr_assert_eq(mn_dir_make("run/ckpt"), MN_OK);
        cr_assert_eq(save_from(0, 1, 9, 1, 6), MN_OK);
        cr_expect_neq(save_with_fault("ckpt.aside", 2, actions[i], 4, 4), 0);
        cr_expect_eq(count_names("step-"), 5);
        cr_expect_eq(newest(), 5);
        cr_expect_eq(save(4, 4), MN_OK, "%s", mn_errmsg());
        cr_expect_eq(newest(), 4);
        for (int step = 4; step <= 6; step++) {
            char *path = mn_sprintf("run/ckpt/abandoned-000001/step-%08d", step);
            cr_expect_eq(dist_ckpt_verify(path), MN_OK, "%s", mn_errmsg());
            free(path);
        }
    }
}

// --- the place ---

static void fill_disk(const char *path)
{
    static const char block[4096];
    FILE *f = fopen(path, "w");
    cr_assert(f);
    setvbuf(f, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, f) == sizeof block) {
    }
    fclose(f);
}

Test(ckpt, full_disk)
{
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", "run", "tmpfs", 0, "size=256k"))
        cr_skip_test("no right to mount a small file system");
    cr_assert_eq(mn_dir_make("run/ckpt"), MN_OK);
    cr_assert_eq(save(1, 1), MN_OK, "%s", mn_errmsg());
    fill_disk("run/filler");
    cr_expect_eq(save(2, 2), MN_EIO, "%s", mn_errmsg());
    cr_expect_eq(newest(), 1);
    cr_expect_eq(count_names(".tmp-"), 0);
    cr_assert_eq(unlink("run/filler"), 0);
    cr_expect_eq(save(3, 3), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 3);
    cr_assert_eq(umount("run"), 0);
}

Test(ckpt, planted_links_lead_nowhere)
{
    cr_assert_eq(mn_dir_make("victim"), MN_OK);
    cr_assert_eq(mn_file_replace("victim/a", "x", 1), MN_OK);
    cr_assert_eq(symlink("../../victim", "run/ckpt/.tmp-step-00000001-1"), 0);
    cr_assert_eq(symlink("../../victim", "run/ckpt/step-00000002"), 0);
    cr_expect_eq(save(1, 2), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(newest(), 2);
    char **names;
    int64_t n;
    cr_assert_eq(mn_dir_list("victim", &names, &n), MN_OK);
    cr_expect_eq(n, 1);
    mn_names_free(names, n);
}

// --- attempts ---

Test(ckpt, attempts_rise_and_an_older_one_stops)
{
    dist_attempt a, b;
    cr_assert_eq(dist_attempt_open(&a, "run"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(a.number, 1);
    cr_expect_eq(dist_attempt_open(&b, "run"), MN_ECREATE); // the same run, alive
    dist_attempt_close(&a);
    cr_assert_eq(dist_attempt_open(&b, "run"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(b.number, 2);
    dist_attempt_close(&b);
    cr_expect_eq(save(1, 1), MN_ECREATE); // saves as attempt 1
    cr_expect_eq(newest(), 0);
}

static void claim_attempt(int64_t number)
{
    dist_attempt a;
    cr_assert_eq(dist_attempt_open(&a, "run"), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(a.number, number);
    dist_attempt_close(&a);
}

// Half-written folders of the dead are removed, those of a later attempt are not.
Test(ckpt, a_later_attempt_keeps_what_it_is_writing)
{
    static const char *const half[] = {"run/ckpt/.tmp-step-00000007-1", "run/ckpt/.tmp-step-00000007-2",
                                       "run/ckpt/.tmp-step-00000007-3"};
    for (int i = 0; i < 3; i++) {
        char *file = mn_sprintf("%s/model.safetensors", half[i]);
        cr_assert_eq(mn_dir_make(half[i]), MN_OK);
        cr_assert_eq(mn_file_replace(file, "x", 1), MN_OK);
        free(file);
    }
    claim_attempt(1);
    claim_attempt(2);
    cr_expect_eq(save_from(0, 1, 2, 1, 1), MN_ECREATE); // refused: it touches nothing
    cr_expect_eq(count_names(".tmp-"), 3);
    cr_expect_eq(access("run/ckpt/.tmp-step-00000007-2/model.safetensors", F_OK), 0);
    cr_expect_eq(save_from(0, 2, 2, 1, 1), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(count_names(".tmp-"), 1);
    cr_expect_eq(access("run/ckpt/.tmp-step-00000007-3/model.safetensors", F_OK), 0);
}
