#include "nn/base/cache.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char key[] = "gemm m=3 n=5 H100 130001";

static char *fresh_folder(void)
{
    char name[] = "cache_test_XXXXXX", *dir;

    cr_assert_not_null(mkdtemp(name));
    dir = realpath(name, NULL);
    cr_assert_not_null(dir);
    cr_assert_eq(setenv("XDG_CACHE_HOME", dir, 1), 0);
    return dir;
}

// Path of the only file of the cache.
static char *only_file(const char *dir)
{
    char **names, *folder = mn_sprintf("%s/mien", dir), *path;
    int64_t n;

    cr_assert_eq(mn_dir_list(folder, &names, &n), MN_OK);
    cr_assert_eq(n, 1, "%lld files", (long long)n);
    path = mn_sprintf("%s/%s", folder, names[0]);
    mn_names_free(names, n);
    free(folder);
    return path;
}

static void drop(char *dir)
{
    char *folder = mn_sprintf("%s/mien", dir);

    (void)!mn_dir_remove(folder);
    (void)rmdir(dir);
    free(folder);
    free(dir);
}

Test(cache, keeps_what_came_first)
{
    char *dir = fresh_folder();
    uint64_t first = 0x123456789abcdef0u, second = 7, found = 0;

    cr_assert_not(mn_cache_get(key, &found, sizeof found));
    cr_assert(mn_cache_put(key, &first, sizeof first));
    cr_assert(mn_cache_get(key, &found, sizeof found));
    cr_assert_eq(found, first);
    cr_assert(mn_cache_put(key, &second, sizeof second));
    cr_assert_eq(second, first, "the second process goes on with the value of the first");
    cr_assert_not(mn_cache_get("another key", &found, sizeof found));
    cr_assert_not(mn_cache_get(key, &found, sizeof found / 2), "a value of another size is not the same thing");
    cr_assert_not(mn_cache_put("two\nlines", &first, sizeof first));
    drop(dir);
}

Test(cache, damage_counts_as_absent_and_is_repaired)
{
    char *dir = fresh_folder(), *text, *path;
    uint64_t value = 42, found = 1;
    size_t size;

    cr_assert(mn_cache_put(key, &value, sizeof value));
    path = only_file(dir);
    cr_assert_eq(mn_file_read(path, 4096, &text, &size), MN_OK);
    for (size_t i = 0; i <= size; i++) { // one byte changed; at last, the file cut short
        char *changed = mn_strdup(text);
        if (i < size) changed[i] = (char)(changed[i] ^ 1);
        cr_assert_eq(mn_file_replace(path, changed, i < size ? size : size / 2), MN_OK);
        cr_assert_not(mn_cache_get(key, &found, sizeof found), "byte %zu", i);
        free(changed);
    }
    cr_assert_eq(found, 1, "a failed look-up leaves the value alone");
    value = 43;
    cr_assert(mn_cache_put(key, &value, sizeof value));
    cr_assert(mn_cache_get(key, &found, sizeof found));
    cr_assert_eq(found, 43);
    free(text);
    free(path);
    free(only_file(dir)); // and nothing temporary is left
    drop(dir);
}

Test(cache, processes_agree)
{
    enum { PROCESSES = 8 };
    char *dir = fresh_folder();
    pid_t child[PROCESSES];
    unsigned char found = 0;

    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        cr_assert_geq(child[i], 0);
        if (child[i]) continue;
        unsigned char value = (unsigned char)(i + 1);
        _exit(mn_cache_put(key, &value, 1) ? value : 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        cr_assert_eq(waitpid(child[i], &status, 0), child[i]);
        cr_assert(mn_cache_get(key, &found, 1));
        cr_assert_eq(WEXITSTATUS(status), found);
    }
    drop(dir);
}

Test(cache, without_a_folder_nothing_is_kept)
{
    char *dir = fresh_folder(), *file = mn_sprintf("%s/file", dir);
    int value = 1;

    cr_assert_eq(mn_file_replace(file, "", 0), MN_OK);
    cr_assert_eq(setenv("XDG_CACHE_HOME", file, 1), 0);
    cr_assert_not(mn_cache_usable());
    cr_assert_not(mn_cache_put(key, &value, sizeof value));
    cr_assert_not(mn_cache_get(key, &value, sizeof value));
    cr_assert_eq(setenv("XDG_CACHE_HOME", "relative", 1), 0);
    cr_assert_eq(unsetenv("HOME"), 0);
    cr_assert_not(mn_cache_usable());
    cr_assert_eq(setenv("HOME", dir, 1), 0);
    cr_assert(mn_cache_usable());
    cr_assert_eq(unlink(file), 0);
    free(file);
    char *home = mn_sprintf("%s/.cache/mien", dir);
    cr_assert_eq(mn_dir_remove(home), MN_OK);
    free(home);
    home = mn_sprintf("%s/.cache", dir);
    cr_assert_eq(rmdir(home), 0);
    free(home);
    drop(dir);
}
