// Copies of shards on a node: read from, shared, refused, killed, full.
#include "data/copies.h"
#include "data/copies_files.h"

#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { SHARDS = 3, RECORDS = 40 };

typedef struct scene {
    char *dir, *node, *copies; // dataset, disk of the node, folder of the copies
    data_folder *folder;
    int64_t bytes; // of the largest shard
} scene;

static scene scene_open(void)
{
    scene c = {.dir = support_folder(), .node = support_folder()};
    support_dataset(c.dir, SHARDS, RECORDS);
    c.copies = mn_sprintf("%s/mien-stage-%lu", c.node, (unsigned long)geteuid());
    must(data_folder_open(&c.folder, c.dir, NULL, DATA_TASKS, "image"));
    cr_assert_eq(data_folder_shards(c.folder), SHARDS);
    for (int k = 0; k < SHARDS; k++) {
        int64_t n = (int64_t)data_shard_about(data_folder_shard(c.folder, k))->file_bytes;
        if (n > c.bytes) c.bytes = n;
    }
    return c;
}

static void scene_close(scene *c)
{
    data_folder_close(c->folder);
    support_remove(c->dir);
    support_remove(c->node);
    free(c->copies);
}

static data_copies *start(const scene *c, int64_t limit, int from, int to)
{
    data_copies *st;
    data_copies_open(&st, &(data_copies_cfg){.where = c->node, .limit = limit});
    cr_assert_not_null(st);
    for (int k = from; k < to; k++)
        data_copies_add(st, data_folder_shard(c->folder, k));
    data_copies_start(st);
    return st;
}

// Copies and parts in the folder.
static void count(const scene *c, int *copies, int *parts)
{
    char **names;
    int64_t n;
    *copies = *parts = 0;
    must(mn_dir_list(c->copies, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        *copies += names[i][0] != '.';
        *parts += strstr(names[i], ".part") != NULL;
    }
    mn_names_free(names, n);
}

static void check_files(const scene *c, int copies, int parts)
{
    int have_copies, have_parts;
    count(c, &have_copies, &have_parts);
    cr_assert(have_copies == copies && have_parts == parts, "%d copies, %d parts", have_copies, have_parts);
}

static void check_reads(const scene *c)
{
    unsigned char want[4096], have[4096];
    for (int64_t i = 0; i < data_folder_count(c->folder); i++) {
        int64_t record;
        const data_shard *s = data_folder_at(c->folder, i, &record);
        size_t n = support_bytes(data_shard_about(s)->shard * 1000 + record, want), size;
        must(data_shard_read(s, record, have, sizeof have, &size));
        cr_assert(size == n && memcmp(want, have, n) == 0, "record %lld", (long long)i);
    }
}

// Inverts the whole payload of a file.
static void damage(const char *path, const data_shard_info *about)
{
    int fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    unsigned char *bytes = mn_calloc(1, (size_t)about->payload_bytes);
    cr_assert_eq(pread(fd, bytes, about->payload_bytes, (off_t)about->payload_offset), (ssize_t)about->payload_bytes);
    for (uint64_t i = 0; i < about->payload_bytes; i++)
        bytes[i] ^= 0xff;
    cr_assert_eq(pwrite(fd, bytes, about->payload_bytes, (off_t)about->payload_offset), (ssize_t)about->payload_bytes);
    close(fd);
    free(bytes);
}

static char *copy_path(const scene *c, int k)
{
    char key[33];
    data_shard_key(data_folder_shard(c->folder, k), key);
    return mn_sprintf("%s/%s.h5", c->copies, key);
}

static void fault(const char *text)
{
    setenv("MIEN_FAULT", text, 1);
    mn_fault_init(0);
}

Test(copies, records_come_from_the_copy_and_damage_there_from_the_original)
{
    scene c = scene_open();
    data_copies *st = start(&c, 0, 0, SHARDS);
    cr_assert_eq(data_copies_wait(st), SHARDS);
    check_files(&c, SHARDS, 0);
    const data_shard_info *about = data_shard_about(data_folder_shard(c.folder, 1));
    damage(about->path, about); // the original is no longer readable: what comes out is from the copy
    check_reads(&c);
    damage(about->path, about);
    char *path = copy_path(&c, 1);
    chmod(path, 0600);
    damage(path, about);
    check_reads(&c);
    free(path);
    data_copies_close(st);
    st = start(&c, 0, 0, SHARDS); // and the next job finds them
    cr_assert_eq(data_copies_wait(st), SHARDS);
    data_copies_close(st);
    check_reads(&c);
    scene_close(&c);
}

Test(copies, a_cap_is_kept_and_unused_copies_give_way)
{
    scene c = scene_open();
    data_copies *first = start(&c, c.bytes * 2, 0, 2), *second;
    cr_assert_eq(data_copies_wait(first), 2);
    second = start(&c, c.bytes * 2, 2, 3); // both are in use
    cr_assert_eq(data_copies_wait(second), 0);
    check_files(&c, 2, 0);
    check_reads(&c);
    data_copies_close(first);
    data_copies_close(second);
    second = start(&c, c.bytes * 2, 2, 3);
    cr_assert_eq(data_copies_wait(second), 1);
    check_files(&c, 2, 0);
    char *oldest = copy_path(&c, 0);
    cr_assert_eq(access(oldest, F_OK), -1);
    free(oldest);
    data_copies_close(second);
    first = start(&c, c.bytes / 2, 0, SHARDS); // nothing fits, and nothing is evicted for it
    cr_assert_eq(data_copies_wait(first), 1 + 1);
    check_files(&c, 2, 0);
    data_copies_close(first);
    scene_close(&c);
}

Test(copies, a_full_disk_and_a_failing_one_leave_nothing_behind)
{
    static const char *const faults[] = {"copies.reserve:0=fail", "copies.write:0=fail", "copies.write:2=fail"};
    static const int staged[] = {0, 0, SHARDS - 1};
    for (int k = 0; k < 3; k++) {
        scene c = scene_open();
        fault(faults[k]);
        data_copies *st = start(&c, 0, 0, SHARDS);
        cr_assert_eq(data_copies_wait(st), staged[k], "%s", faults[k]);
        check_files(&c, staged[k], 0);
        check_reads(&c);
        data_copies_close(st);
        scene_close(&c);
    }
    fault("");
}

Test(copies, a_killed_copier_leaves_no_copy_and_keeps_nobody_waiting)
{
    scene c = scene_open();
    pid_t child = fork();
    if (child == 0) {
        fault("copies.copy:2=kill");
        data_copies_wait(start(&c, 0, 0, SHARDS));
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_files(&c, 1, 1);
    data_copies *st;
    data_copies_open(&st, &(data_copies_cfg){.where = c.node});
    check_files(&c, 1, 0); // the part was nobody's
    data_copies_close(st);
    st = start(&c, 0, 0, SHARDS);
    cr_assert_eq(data_copies_wait(st), SHARDS);
    check_files(&c, SHARDS, 0);
    check_reads(&c);
    data_copies_close(st);
    scene_close(&c);
}

Test(copies, processes_share_one_copy)
{
    enum { PROCESSES = 6 };
    scene c = scene_open();
    pid_t child[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        if (child[p] > 0) continue;
        if (p == 0) fault("copies.copy:1=kill"); // one dies while the others may wait for it
        data_copies *st = start(&c, 0, 0, SHARDS);
        int staged = data_copies_wait(st);
        check_reads(&c);
        _exit(staged == SHARDS ? 0 : 1);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        cr_assert_eq(waitpid(child[p], &status, 0), child[p]);
        cr_assert(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : p == 0, "process %d: %d", p, status);
    }
    int copies, parts;
    count(&c, &copies, &parts);
    cr_assert_eq(copies, SHARDS);
    scene_close(&c);
}

// What another process holds is left alone until it lets go, whether it copies or has just finished.
Test(copies, locks_of_others_are_kept)
{
    scene c = scene_open();
    atomic_int stop = 0;
    data__copies_files f = {.stop = &stop};
    const data_shard *s = data_folder_shard(c.folder, 0);
    char key[33];
    int fd;
    must(data__copies_files_open(&f, c.node));
    data_shard_key(s, key);
    char *part = mn_sprintf("%s/.%s.part", c.copies, key), *copy = copy_path(&c, 0);
    int held = open(part, O_RDWR | O_CREAT, 0600);
    cr_assert_eq(flock(held, LOCK_EX), 0);
    cr_assert_eq(write(held, "half", 4), 4);
    cr_assert_eq(data__copies_fetch(&f, s, &fd), DATA__BUSY);
    check_files(&c, 0, 1);
    close(held);
    cr_assert_eq(data__copies_fetch(&f, s, &fd), DATA__COPIED);
    check_files(&c, 1, 0);
    close(fd);
    held = open(copy, O_RDONLY);
    cr_assert_eq(flock(held, LOCK_EX), 0);
    cr_assert_eq(data__copies_fetch(&f, s, &fd), DATA__BUSY);
    check_files(&c, 1, 0);
    close(held);
    free(part);
    free(copy);
    data__copies_files_close(&f);
    scene_close(&c);
}

Test(copies, stopping_in_the_middle_leaves_whole_copies_only)
{
    scene c = scene_open();
    data_copies_close(start(&c, 0, 0, SHARDS));
    int copies, parts;
    count(&c, &copies, &parts);
    cr_assert_eq(parts, 0);
    check_reads(&c);
    scene_close(&c);
}

Test(copies, what_is_damaged_is_not_staged_and_half_a_copy_is_made_anew)
{
    scene c = scene_open();
    const data_shard_info *about = data_shard_about(data_folder_shard(c.folder, 0));
    damage(about->path, about);
    data_copies *st = start(&c, 0, 0, SHARDS);
    cr_assert_eq(data_copies_wait(st), SHARDS - 1);
    check_files(&c, SHARDS - 1, 0);
    data_copies_close(st);
    damage(about->path, about);
    char *path = copy_path(&c, 1);
    cr_assert_eq(truncate(path, c.bytes / 2), 0);
    free(path);
    st = start(&c, 0, 0, SHARDS);
    cr_assert_eq(data_copies_wait(st), SHARDS);
    check_reads(&c);
    data_copies_close(st);
    scene_close(&c);
}

Test(copies, a_folder_of_others_is_not_used_and_old_copies_go)
{
    scene c = scene_open();
    data_copies *st = start(&c, 0, 0, SHARDS);
    cr_assert_eq(data_copies_wait(st), SHARDS);
    data_copies_close(st);
    char *path = copy_path(&c, 1);
    struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    cr_assert_eq(utimensat(AT_FDCWD, path, old, 0), 0);
    free(path);
    data_copies_open(&st, &(data_copies_cfg){.where = c.node});
    check_files(&c, SHARDS - 1, 0);
    data_copies_close(st);
    cr_assert_eq(chmod(c.copies, 0755), 0);
    data_copies_open(&st, &(data_copies_cfg){.where = c.node});
    cr_assert_null(st);
    char *elsewhere = mn_sprintf("%s/elsewhere", c.node);
    cr_assert_eq(rename(c.copies, elsewhere), 0);
    cr_assert_eq(chmod(elsewhere, 0700), 0);
    cr_assert_eq(symlink(elsewhere, c.copies), 0);
    data_copies_open(&st, &(data_copies_cfg){.where = c.node});
    cr_assert_null(st);
    free(elsewhere);
    data_copies_open(&st, &(data_copies_cfg){.where = "off"});
    cr_assert_null(st);
    unsetenv("SLURM_TMPDIR");
    unsetenv("TMPDIR");
    data_copies_open(&st, &(data_copies_cfg){.where = "auto"});
    cr_assert_null(st);
    scene_close(&c);
}
