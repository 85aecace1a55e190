// A mapped file cannot report an error of its disk but by a signal; cutting the file gives the same one.
#include "nn/base/map.h"

#include "nn/base/file.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 4, PAGE = 4096, BYTES = 3 * PAGE };
static char root[64];

static void make_root(void)
{
    char name[2] = "a";
    static char bytes[BYTES];
    strcpy(root, "map_test_XXXXXX");
    cr_assert(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
    for (; *name < 'a' + FILES; ++*name) {
        memset(bytes, *name, sizeof bytes);
        cr_assert_eq(mn_file_replace(name, bytes, sizeof bytes), MN_OK);
    }
}

static void remove_root(void)
{
    cr_assert_eq(chdir(".."), 0);
    cr_expect_eq(mn_dir_remove(root), MN_OK, "%s", mn_errmsg());
}

TestSuite(map, .init = make_root, .fini = remove_root);

Test(map, opens_and_closes)
{
    mn_map m = {0};
    mn_map_close(&m);
    cr_assert_eq(mn_map_open(&m, "a"), MN_OK);
    cr_assert(m.bytes == BYTES && m.at[0] == 'a' && m.at[BYTES - 1] == 'a');
    mn_map_close(&m);
    cr_assert(!m.at && !m.bytes);
    cr_assert_eq(mn_map_open(&m, "none"), MN_ENOINPUT);
    cr_assert_eq(mn_file_replace("empty", "", 0), MN_OK);
    cr_assert_eq(mn_map_open(&m, "empty"), MN_EDATA);
    mn_map_close(&m);
}

static atomic_int stop;

static void *open_and_close(void *name)
{
    while (!stop) {
        mn_map m;
        if (mn_map_open(&m, name) != MN_OK) _exit(4);
        mn_map_close(&m);
    }
    return NULL;
}

// Reads behind the cut while other threads open and close theirs; only ends as it should by the signal.
static void read_cut_file(void)
{
    static char names[2][2] = {"a", "b"};
    pthread_t thread[2];
    mn_map first, m, other;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, open_and_close, names[i])) _exit(4);
    if (mn_map_open(&first, "d") != MN_OK || mn_map_open(&other, "a") != MN_OK) _exit(4);
    mn_map_close(&first); // what was known of it is used again
    if (mn_map_open(&m, "c") != MN_OK || truncate("c", PAGE) != 0) _exit(4);
    volatile char c = m.at[PAGE - 1];
    if (c != 'c') _exit(5);
    c = m.at[PAGE + 77];
    _exit(6);
}

Test(map, names_the_file_and_the_byte, .timeout = 60)
{
    enum { ROUNDS = 50 };
    for (int round = 0; round < ROUNDS; round++) {
        char said[300] = "";
        int ends[2], status;
        size_t have = 0;
        cr_assert_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], STDERR_FILENO);
            read_cut_file();
        }
        cr_assert(child > 0 && close(ends[1]) == 0);
        for (ssize_t n; have < sizeof said - 1 && (n = read(ends[0], said + have, sizeof said - 1 - have)) > 0;)
            have += (size_t)n;
        cr_assert(close(ends[0]) == 0 && waitpid(child, &status, 0) == child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 74, "%#x %s", (unsigned)status, said);
        cr_assert(strncmp(said, "mien: c: cannot read at byte 4173: ", 35) == 0 && said[have - 1] == '\n', "%s", said);
        char *bytes = malloc(BYTES);
        memset(bytes, 'c', BYTES);
        cr_assert_eq(mn_file_replace("c", bytes, BYTES), MN_OK);
        free(bytes);
    }
}
