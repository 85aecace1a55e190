// What all importers share: threads and ranks that make the same bytes, kills and full disks that leave nothing half
// done, and folders that hold something else.
#include "data/image.h"
#include "data/import.h"
#include "data/shard.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "import_support.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { PICTURES = 60, SIDE = 600, NUMBER = 8, EMPTY = 17 }; // 24 MB: a handful of shards

typedef struct place {
    char *top, src[600], out[600];
} place;

// One noisy picture under many names, each with its number in a comment; and one empty file.
static void make_pictures(const char *dir)
{
    static uint8_t rgb[SIDE * SIDE * 3];
    const uint8_t *bytes;
    data_coder *c;
    size_t size;
    uint32_t state = 1;
    must(data_coder_open(&c));
    for (size_t i = 0; i < sizeof(rgb); i++) {
        state = state * 1664525 + 1013904223;
        rgb[i] = (uint8_t)(state >> 24);
    }
    must(data_jpeg_encode(c, rgb, SIDE, SIDE, 90, 0, &bytes, &size));
    uint8_t *file = malloc(size + 4 + NUMBER);
    for (int i = 0; i < PICTURES; i++) {
        char path[700], number[NUMBER + 1];
        snprintf(number, sizeof(number), "%08d", i);
        memcpy(file, bytes, 2);
        memcpy(file + 2, "\xff\xfe\x00\x0a", 4);
        memcpy(file + 6, number, NUMBER);
        memcpy(file + 6 + NUMBER, bytes + 2, size - 2);
        snprintf(path, sizeof(path), "%s/%03d.jpg", dir, i);
        support_write(path, file, i == EMPTY ? 0 : size + 4 + NUMBER);
    }
    free(file);
    data_coder_close(c);
}

static place make_place(void)
{
    place p = {.top = support_folder()};
    snprintf(p.src, sizeof(p.src), "%s/src", p.top);
    snprintf(p.out, sizeof(p.out), "%s/shards", p.top);
    cr_assert(mkdir(p.src, 0777) == 0);
    mn_log_level(MN_WARN);
    make_pictures(p.src);
    return p;
}

static data_import_cfg config(const place *p)
{
    return (data_import_cfg){.kind = "folder", .src = p->src, .out = p->out, .reject_most = 1, .headers_only = 1};
}

static int64_t count(const data_import_report *r, const char *key)
{
    return json_integer_value(json_object_get(r->json, key));
}

static int64_t import(const data_import_cfg *cfg) // returns how many shards were kept
{
    data_import_report r;
    must(data_import(cfg, &r));
    int64_t kept = count(&r, "shards_kept");
    data_import_report_free(&r);
    return kept;
}

// The same shards and the same list of rejects, byte by byte; nothing else beside the manifest.
static void same_bytes(const char *a, const char *b)
{
    char **name;
    int64_t n, files[2];
    for (int k = 0; k < 2; k++) {
        must(mn_dir_list(k ? b : a, &name, &files[k]));
        if (k == 0) mn_names_free(name, files[k]);
    }
    n = files[1];
    cr_assert(files[0] == files[1], "%lld files in %s, %lld in %s", (long long)files[0], a, (long long)n, b);
    for (int64_t i = 0; i < n; i++) {
        char path[900];
        size_t size[2];
        unsigned char *bytes[2];
        if (strcmp(name[i], "manifest.json") == 0) continue; // it says when it was made
        cr_assert(name[i][0] != '.', "%s/%s was left", b, name[i]);
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof(path), "%s/%s", k ? b : a, name[i]);
            bytes[k] = support_read(path, &size[k]);
        }
        cr_assert(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0, "%s differs", name[i]);
        free(bytes[0]);
        free(bytes[1]);
    }
    mn_names_free(name, n);
}

// Every file with a shard's name is a whole shard. Returns how many there are.
static int whole_shards(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[900];
        data_shard *s;
        size_t k = strlen(e->d_name);
        if (e->d_name[0] == '.' || k < 3 || strcmp(e->d_name + k - 3, ".h5") != 0) continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        must(data_shard_open(&s, path));
        must(data_shard_verify(s, NULL));
        data_shard_close(s);
        n++;
    }
    if (d) closedir(d);
    return n;
}

Test(import_engine, threads_and_ranks_make_the_same_bytes)
{
    place p = make_place();
    data_import_cfg cfg = config(&p);
    char first[600];
    snprintf(first, sizeof(first), "%s", p.out);
    import(&cfg);
    cr_assert(whole_shards(first) > 4, "%d", whole_shards(first));
    static const struct {
        int ranks, jobs;
    } how[] = {{1, 2}, {1, 5}, {1, 64}, {3, 1}, {2, 3}};
    for (size_t k = 0; k < sizeof(how) / sizeof(how[0]); k++) {
        snprintf(p.out, sizeof(p.out), "%s/again%zu", p.top, k);
        cfg.jobs = how[k].jobs;
        if (how[k].ranks > 1)
            support_import_ranks(&cfg, how[k].ranks, PICTURES - 1);
        else
            import(&cfg);
        same_bytes(first, p.out);
    }
    support_remove(p.top);
}

static void run_with_fault(const data_import_cfg *cfg, const char *fault, int expected_signal)
{
    pid_t child = fork();
    int status;
    cr_assert(child >= 0);
    if (child == 0) {
        data_import_report r;
        setenv("MIEN_FAULT", fault, 1);
        mn_fault_init(0);
        _exit(data_import(cfg, &r) == MN_OK ? 0 : mn_exit_code(MN_EIO));
    }
    cr_assert(waitpid(child, &status, 0) == child);
    if (expected_signal)
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == expected_signal, "%s: status %x", fault, status);
    else
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == mn_exit_code(MN_EIO), "%s: status %x", fault, status);
}

// At any of these moments: what is there is whole, and the next start makes the rest.
Test(import_engine, killed_anywhere_it_goes_on_to_the_same_bytes, .timeout = 120)
{
    static const char *const moments[] = {"import.plan:1",    "import.shard:1",   "shard.write:5",
                                          "shard.write:30",   "shard.sync:3",     "shard.rename:1",
                                          "shard.rename:4",   "import.sidecar:2", "import.rejects:1",
                                          "manifest.write:1", "import.finish:1",  "shard.structure:2"};
    place p = make_place();
    data_import_cfg cfg = config(&p);
    char first[600], fault[64];
    snprintf(first, sizeof(first), "%s", p.out);
    import(&cfg);
    int all = whole_shards(first);
    for (size_t k = 0; k < sizeof(moments) / sizeof(moments[0]); k++)
        for (int how = 0; how < 2; how++) { // killed; failed
            snprintf(p.out, sizeof(p.out), "%s/%s%d", p.top, moments[k], how);
            snprintf(fault, sizeof(fault), "%s=%s", moments[k], how ? "fail" : "kill");
            cfg.jobs = how ? 2 : 1;
            run_with_fault(&cfg, fault, how ? 0 : SIGKILL);
            int there = whole_shards(p.out);
            cr_assert(there <= all);
            cfg.jobs = 3;
            int64_t kept = import(&cfg);
            if (strcmp(moments[k], "import.finish:1") != 0) // its manifest was there: it was finished
                cr_assert(kept == there, "%s: %d were there, %lld were kept", fault, there, (long long)kept);
            same_bytes(first, p.out);
            char path[900];
            snprintf(path, sizeof(path), "%s/.import", p.out);
            cr_assert(access(path, F_OK) != 0, "%s", fault);
        }
    support_remove(p.top);
}

// Twice into a file system too small, first for one shard, then for all: an error each time, then there is room.
Test(import_engine, a_disk_that_is_really_full)
{
    place p = make_place();
    data_import_cfg cfg = config(&p);
    data_import_report r;
    char first[600], options[64];
    snprintf(first, sizeof(first), "%s", p.out);
    import(&cfg);
    snprintf(p.out, sizeof(p.out), "%s/small", p.top);
    cr_assert(mkdir(p.out, 0777) == 0);
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", p.out, "tmpfs", 0, "size=64m"))
        cr_skip_test("no right to mount a small file system");
    char filler[700];
    snprintf(filler, sizeof(filler), "%s/filler", p.out);
    for (int k = 0; k < 2; k++) {
        // Room enough when the import looks, and a file that grows meanwhile: so it is filled behind its check.
        pid_t child = fork();
        int status;
        cr_assert(child >= 0);
        if (child == 0) {
            snprintf(options, sizeof(options), "size=%dm", k ? 12 : 6);
            setenv("MIEN_FAULT", "import.space:1=fail", 1); // the check says that there is room
            mn_fault_init(0);
            if (mount("tmpfs", p.out, "tmpfs", MS_REMOUNT, options) != 0) _exit(1);
            mn_err err = data_import(&cfg, &r);
            _exit(err == MN_EIO || err == MN_ECREATE ? 0 : 2);
        }
        cr_assert(waitpid(child, &status, 0) == child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
        cr_assert(whole_shards(p.out) >= k, "%d", whole_shards(p.out));
    }
    cr_assert(mount("tmpfs", p.out, "tmpfs", MS_REMOUNT, "size=36m") == 0); // for the rest, not for all of it again
    cr_assert(import(&cfg) >= 1);
    same_bytes(first, p.out);
    cr_assert(umount2(p.out, MNT_DETACH) == 0);
    support_remove(p.top);
}

Test(import_engine, a_folder_that_is_too_small_is_refused_before_anything_is_written)
{
    place p = make_place();
    data_import_cfg cfg = config(&p);
    data_import_report r;
    cr_assert(mkdir(p.out, 0777) == 0);
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", p.out, "tmpfs", 0, "size=8m"))
        cr_skip_test("no right to mount a small file system");
    cr_assert(data_import(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "are free"), "%s", mn_errmsg());
    cr_assert(whole_shards(p.out) == 0);
    cr_assert(umount2(p.out, MNT_DETACH) == 0);
    support_remove(p.top);
}

Test(import_engine, an_unfinished_import_is_not_mixed_with_another)
{
    place p = make_place();
    data_import_cfg cfg = config(&p);
    data_import_report r;
    run_with_fault(&cfg, "shard.rename:3=kill", SIGKILL);
    cr_assert(whole_shards(p.out) == 2);
    cfg.size = 64;
    cr_assert(data_import(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "size was 0, is 64"), "%s", mn_errmsg());
    cfg.size = 0;
    char path[700];
    snprintf(path, sizeof(path), "%s/one-more.jpg", p.src);
    support_write(path, "text", 4);
    cr_assert(data_import(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "have changed since"), "%s", mn_errmsg());
    cr_assert(whole_shards(p.out) == 2);
    cr_assert(unlink(path) == 0);
    cr_assert(import(&cfg) == 2);
    support_remove(p.top);
}

Test(import_engine, encoding_anew_is_recorded)
{
    place p = make_place();
    data_import_cfg cfg = config(&p);
    data_folder *f;
    double bytes[3];
    static const struct {
        int quality, kernel;
        const char *quality_text, *filter_text;
    } how[3] = {{0, DATA_KERNEL_TRIANGLE, "\"jpeg_quality\": 95", "\"filter\": \"triangle\""},
                {50, DATA_KERNEL_TRIANGLE, "\"jpeg_quality\": 50", "\"filter\": \"triangle\""},
                {50, DATA_KERNEL_LANCZOS, "\"jpeg_quality\": 50", "\"filter\": \"lanczos\""}};
    cfg.size = 48;
    for (int k = 0; k < 3; k++) {
        snprintf(p.out, sizeof(p.out), "%s/encoded%d", p.top, k);
        cfg.quality = how[k].quality;
        cfg.filter = how[k].kernel;
        import(&cfg);
        must(data_folder_open(&f, p.out, NULL, 0, "image"));
        const data_shard *s = data_folder_shard(f, 0);
        const char *options = data_shard_about(s)->options;
        cr_assert(strstr(options, how[k].quality_text) && strstr(options, how[k].filter_text), "%s", options);
        cr_assert(data_shard_index(s)->width[0] == 48 && data_shard_index(s)->original[0] != 0);
        bytes[k] = (double)data_shard_about(s)->payload_bytes;
        data_folder_close(f);
    }
    cr_assert(bytes[1] < 0.6 * bytes[0] && bytes[2] > bytes[1], "%g %g %g", bytes[0], bytes[1], bytes[2]);
    support_remove(p.top);
}

// More pictures than are looked at whole; every 1000th is cut off, which only a whole look finds.
Test(import_engine, a_dry_run_of_many_says_what_it_did_not_see, .timeout = 60)
{
    enum { MANY = 20000, CUT_EVERY = 1000 };
    place p = {.top = support_folder()};
    char name[700], whole[640], cut[640];
    const uint8_t *bytes;
    uint8_t rgb[16 * 16 * 3] = {0};
    size_t size;
    data_coder *c;
    data_import_report r, dry;
    snprintf(p.src, sizeof(p.src), "%s/src", p.top);
    snprintf(p.out, sizeof(p.out), "%s/shards", p.top);
    snprintf(whole, sizeof(whole), "%s/whole", p.top);
    snprintf(cut, sizeof(cut), "%s/cut", p.top);
    cr_assert(mkdir(p.src, 0777) == 0);
    mn_log_level(MN_WARN);
    must(data_coder_open(&c));
    must(data_jpeg_encode(c, rgb, 16, 16, 90, 0, &bytes, &size));
    support_write(whole, bytes, size);
    support_write(cut, bytes, size - 8);
    data_coder_close(c);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%s/%05d.jpg", p.src, i);
        cr_assert(link(i % CUT_EVERY == 0 ? cut : whole, name) == 0);
    }
    data_import_cfg cfg = {.kind = "folder", .src = p.src, .out = p.out, .dry_run = 1, .jobs = 2};
    must(data_import(&cfg, &dry));
    cr_assert(access(p.out, F_OK) != 0);
    const json_t *looked = json_object_get(dry.json, "looked_at"), *disk = json_object_get(dry.json, "disk");
    int64_t damaged = json_integer_value(json_object_get(looked, "damaged"));
    int64_t expected = json_integer_value(json_object_get(looked, "damaged_expected"));
    cr_assert(json_integer_value(json_object_get(looked, "pictures_whole")) == MANY / 2);
    cr_assert(json_is_false(json_object_get(looked, "exact")));
    cr_assert(damaged > 0 && count(&dry, "rejected") == damaged && expected > damaged);
    cr_assert(json_real_value(json_object_get(dry.json, "seconds_expected")) > 0);
    cr_assert(strstr(json_string_value(json_object_get(dry.json, "first_rejects")), "damaged or cut off,00000.jpg"));
    cfg.dry_run = 0;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, "records") == MANY - MANY / CUT_EVERY);
    cr_assert(count(&dry, "records") == MANY - damaged && count(&dry, "records") > count(&r, "records") - 1);
    data_folder *f;
    must(data_folder_open(&f, p.out, NULL, 0, "image"));
    int64_t needed = json_integer_value(json_object_get(disk, "needed_bytes")), written = 0;
    for (int k = 0; k < data_folder_shards(f); k++)
        written += (int64_t)data_shard_about(data_folder_shard(f, k))->file_bytes;
    cr_assert(needed >= written && needed < 3 * written, "%lld needed, %lld written", (long long)needed,
              (long long)written);
    data_folder_close(f);
    data_import_report_free(&r);
    data_import_report_free(&dry);
    support_remove(p.top);
}
