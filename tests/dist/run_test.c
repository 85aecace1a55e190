// metrics.jsonl stays a file of whole lines: after a torn one, and on a full disk.
#include "dist/run.h"

#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/log.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char root[64];
static dist_comm *comm;

static void open_root(void)
{
    strcpy(root, "/tmp/run_test_XXXXXX");
    cr_assert(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
    cr_assert_eq(mn_dir_make("runs/a/ckpt"), MN_OK);
    cr_assert_eq(mn_dir_make("runs/a/faults"), MN_OK);
    cr_assert_eq(dist_open(&comm), MN_OK, "%s", mn_errmsg());
    mn_log_level((mn_level)(MN_ERROR + 1)); // warnings are expected here
}

static void remove_root(void)
{
    dist_close(comm);
    static const char *const parts[] = {"runs/a/ckpt", "runs/a/faults", "runs/a", "runs"};
    for (int i = 0; i < 4; i++)
        cr_expect_eq(mn_dir_remove(parts[i]), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(chdir("/"), 0);
    cr_expect_eq(rmdir(root), 0);
}

TestSuite(run, .init = open_root, .fini = remove_root, .timeout = 60);

static dist_run *open_run(void)
{
    dist_run *r;
    cr_assert_eq(dist_run_open(&r, comm, "runs", "a"), MN_OK, "%s", mn_errmsg());
    return r;
}

static void put(dist_run *r, int first, int last)
{
    for (int i = first; i <= last; i++)
        cr_expect_eq(dist_run_event(r, "step", "\"step\":%d", i), MN_OK, "%s", mn_errmsg());
}

// Every line but number `torn` (0: none) is whole; the beginnings of the lines are those of `want`.
static void check(const char *const *want, int n, int torn)
{
    char *text, *rest, *line;
    size_t size;
    int lines = 0;
    cr_assert_eq(mn_file_read("runs/a/metrics.jsonl", 1 << 24, &text, &size), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(text[size - 1], '\n');
    text[size - 1] = 0;
    for (rest = text; (line = strsep(&rest, "\n"));) {
        cr_assert_lt(lines, n, "one line too many: %s", line);
        cr_expect_eq(strncmp(line, want[lines], strlen(want[lines])), 0, "line %d is %s", lines + 1, line);
        if (++lines != torn) cr_expect_eq(line[strlen(line) - 1], '}', "line %d is %s", lines, line);
    }
    cr_expect_eq(lines, n);
    free(text);
}

Test(run, a_torn_line_ends_before_the_next_start)
{
    static const char *const want[] = {"{\"event\":\"step\",\"step\":1,", "{\"event\":\"st",
                                       "{\"event\":\"step\",\"step\":2,", "{\"event\":\"step\",\"step\":3,"};
    dist_run *r = open_run();
    put(r, 1, 1);
    dist_run_close(r);
    FILE *f = fopen("runs/a/metrics.jsonl", "a");
    cr_assert(f && fputs(want[1], f) >= 0 && fclose(f) == 0);
    r = open_run();
    put(r, 2, 3);
    dist_run_close(r);
    check(want, 4, 2);
}

// The disk gets full within line 2 and has room again for line 5.
Test(run, a_full_disk_loses_whole_lines)
{
    static const char *const want[] = {"{\"event\":\"step\",\"step\":1,", "{\"event\":\"step\",\"step\":5,",
                                       "{\"event\":\"fault\",\"kind\":\"lines_lost\",\"lines\":3,",
                                       "{\"event\":\"step\",\"step\":6,"};
    setenv("MIEN_FAULT", "run.append:2=full,run.append:3=full,run.append:4=full", 1);
    mn_fault_init(0);
    dist_run *r = open_run();
    put(r, 1, 6);
    dist_run_close(r);
    check(want, 4, 0);
}

Test(run, a_disk_that_is_really_full)
{
    char block[4096];
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", "runs", "tmpfs", 0, "size=64k"))
        cr_skip_test("no right to mount a small file system");
    memset(block, 'x', sizeof block);
    dist_run *r = open_run();
    put(r, 1, 1);
    FILE *f = fopen("runs/filler", "w");
    cr_assert(f);
    setvbuf(f, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, f) == sizeof block) {
    }
    fclose(f);
    put(r, 2, 200);
    cr_assert_eq(unlink("runs/filler"), 0);
    put(r, 201, 201);
    dist_run_close(r);
    char *text;
    size_t size;
    cr_assert_eq(mn_file_read("runs/a/metrics.jsonl", 1 << 24, &text, &size), MN_OK, "%s", mn_errmsg());
    cr_expect(strstr(text, "\"step\":201,") && strstr(text, "\"kind\":\"lines_lost\""), "%s", text);
    for (char *at = strchr(text, '{'); at; at = strchr(at + 1, '{'))
        cr_expect(at == text || memcmp(at - 2, "}\n", 2) == 0, "a torn line before %s", at);
    free(text);
    cr_assert_eq(umount2("runs", MNT_DETACH), 0);
}
