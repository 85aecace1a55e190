#include "nn/base/file.h"

#include "nn/base/utf8.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void make_root(void)
{
    strcpy(root, "file_test_XXXXXX");
    cr_assert(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
}

static void remove_root(void)
{
    cr_assert_eq(chdir(".."), 0);
    cr_expect_eq(mn_dir_remove(root), MN_OK, "%s", mn_errmsg());
}

TestSuite(file, .init = make_root, .fini = remove_root);

Test(file, replaces_and_reads_back)
{
    char *data;
    size_t size;
    cr_assert_eq(mn_file_replace("a", "one", 3), MN_OK);
    cr_assert_eq(mn_file_replace("a", "second", 6), MN_OK);
    cr_assert_eq(mn_file_read("a", 6, &data, &size), MN_OK);
    cr_expect_eq(size, 6);
    cr_expect_str_eq(data, "second");
    free(data);
    cr_expect_eq(mn_file_read("a", 5, &data, &size), MN_EDATA);
    cr_expect_eq(mn_file_read("b", 5, &data, &size), MN_ENOINPUT);
    cr_expect_eq(mn_file_read(".", 5, &data, &size), MN_ENOINPUT);
    char **names;
    int64_t n;
    cr_assert_eq(mn_dir_list(".", &names, &n), MN_OK);
    cr_expect_eq(n, 1); // no temporary file stays
    mn_names_free(names, n);
}

Test(file, failed_output_leaves_the_old_file)
{
    mn_output o;
    char *data;
    size_t size;
    cr_assert_eq(mn_file_replace("a", "old", 3), MN_OK);
    cr_assert_eq(mn_output_open(&o, "a"), MN_OK);
    cr_assert_eq(mn_output_write(&o, "new", 3), MN_OK);
    cr_expect_eq(mn_output_close(&o, MN_EIO), MN_EIO);
    cr_assert_eq(mn_file_read("a", 99, &data, &size), MN_OK);
    cr_expect_str_eq(data, "old");
    free(data);
    char **names;
    int64_t n;
    cr_assert_eq(mn_dir_list(".", &names, &n), MN_OK);
    cr_expect_eq(n, 1); // the temporary file is gone
    mn_names_free(names, n);
    cr_expect_eq(mn_file_replace("none/a", "x", 1), MN_ECREATE);
}

Test(file, creates_only_what_is_not_there)
{
    int fd;
    cr_assert_eq(mn_file_create(&fd, "a"), MN_OK);
    cr_expect_eq(mn_file_close(fd, 1, "a"), MN_OK);
    cr_expect_eq(mn_file_create(&fd, "a"), MN_ECREATE);
    cr_assert_eq(symlink("victim", "link"), 0);
    cr_expect_eq(mn_file_create(&fd, "link"), MN_ECREATE);
    cr_expect_neq(access("victim", F_OK), 0);
}

Test(file, full_disk_is_an_error)
{
    int fd = -1;
    FILE *full = fopen("/dev/full", "w");
    if (!full) cr_skip_test("no /dev/full");
    fd = fileno(full);
    cr_expect_eq(mn_file_write(fd, "x", 1, "/dev/full"), MN_EIO);
    cr_expect(strstr(mn_errmsg(), "No space left"));
    fclose(full);
}

// A link planted where a folder is about to be removed: what it points to stays.
Test(file, removes_links_and_not_their_targets)
{
    cr_assert_eq(mn_dir_make("precious"), MN_OK);
    cr_assert_eq(mn_file_replace("precious/a", "x", 1), MN_OK);
    cr_assert_eq(symlink("precious", "link"), 0);
    cr_expect_eq(mn_dir_remove("link"), MN_OK, "%s", mn_errmsg());
    cr_expect_neq(access("link", F_OK), 0);
    cr_expect_eq(access("precious/a", F_OK), 0);
    cr_assert_eq(mn_dir_make("folder"), MN_OK);
    cr_assert_eq(symlink("../precious/a", "folder/b"), 0);
    cr_expect_eq(mn_dir_remove("folder"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(access("precious/a", F_OK), 0);
    cr_expect_eq(mn_dir_remove("precious"), MN_OK);
    cr_expect_eq(mn_dir_remove("precious"), MN_EIO);
}

// XXH3-128 of "" and "a" as `xxhsum -H2` prints them.
Test(file, digests)
{
    char hex[MN_DIGEST_SIZE], other[MN_DIGEST_SIZE];
    int64_t size;
    mn_digest("", 0, hex);
    cr_expect_str_eq(hex, "99aa06d3014798d86001c324468d497f");
    mn_digest("a", 1, hex);
    cr_expect_str_eq(hex, "a96faf705af16834e6c632b61e964e1f");
    char *big = malloc(3000001);
    for (int i = 0; i < 3000001; i++)
        big[i] = (char)(i * 7 + i / 251);
    cr_assert_eq(mn_file_replace("big", big, 3000001), MN_OK);
    mn_digest(big, 3000001, hex);
    cr_assert_eq(mn_file_digest("big", other, &size), MN_OK);
    cr_expect_str_eq(hex, other);
    cr_expect_eq(size, 3000001);
    free(big);
}

Test(file, folders)
{
    cr_expect_eq(mn_dir_make("x/y//z/"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(mn_dir_make("x/y/z"), MN_OK);
    cr_expect_eq(mn_file_replace("x/y/z/b", "", 0), MN_OK);
    cr_expect_eq(mn_file_replace("x/y/z/a", "", 0), MN_OK);
    cr_expect_eq(mn_dir_make("x/y/z/a"), MN_ECREATE); // a file
    cr_expect_eq(mn_dir_make("x/y/z/a/c"), MN_ECREATE);
    cr_expect_eq(mn_dir_make(""), MN_ECREATE);
    char **names;
    int64_t n;
    cr_assert_eq(mn_dir_list("x/y/z", &names, &n), MN_OK);
    cr_assert_eq(n, 2);
    cr_expect_str_eq(names[0], "a");
    cr_expect_str_eq(names[1], "b");
    mn_names_free(names, n);
    cr_expect_neq(mn_dir_remove("x"), MN_OK); // has a folder inside: nothing is removed
    cr_expect_eq(access("x/y/z/a", F_OK), 0);
    cr_expect_eq(mn_dir_remove("x/y/z"), MN_OK);
    cr_expect_eq(mn_dir_make("kept"), MN_OK);
    cr_expect_eq(mn_file_replace("kept/file", "", 0), MN_OK);
    cr_expect_eq(mn_dir_make("x/y/w"), MN_OK);
    cr_expect_eq(mn_file_replace("x/y/w/a", "", 0), MN_OK);
    cr_expect_eq(symlink("../../kept", "x/y/link"), 0);
    cr_expect_eq(mn_tree_remove("x"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(access("kept/file", F_OK), 0);
    cr_expect_eq(mn_dir_remove("kept"), MN_OK);
    cr_expect_eq(mn_dir_list("x", &names, &n), MN_ENOINPUT);
}

Test(utf8, decodes)
{
    static const struct {
        const char *text;
        size_t size, length;
        uint32_t code;
    } rows[] = {
        {"a", 1, 1, 'a'},
        {"\xc3\xa9", 2, 2, 0xe9},
        {"\xe4\xb8\xad", 3, 3, 0x4e2d},
        {"\xf0\x9f\x98\x80", 4, 4, 0x1f600},
        {"", 0, 0, 0},
        {"\xc3", 1, 0, 0},
        {"\xc0\x80", 2, 0, 0},
        {"\xe0\x80\xaf", 3, 0, 0},
        {"\xed\xa0\x80", 3, 0, 0},
        {"\xf4\x90\x80\x80", 4, 0, 0},
        {"\x80", 1, 0, 0},
        {"\xf8\x88\x80\x80", 4, 0, 0},
        {"\xc3(", 2, 0, 0},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t code = 0;
        cr_expect_eq(mn_utf8(rows[i].text, rows[i].size, &code), rows[i].length, "row %zu", i);
        if (rows[i].length) cr_expect_eq(code, rows[i].code, "row %zu", i);
    }
}
