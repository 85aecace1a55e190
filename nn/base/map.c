#include "nn/base/map.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct mn_map_entry {
    const char *_Atomic begin; // NULL: of no map now
    _Atomic size_t bytes;
    char *text; // "mien: PATH: cannot read at byte "
    struct mn_map_entry *next;
} mn_map_entry;

// What the signal handler must see. It runs in the thread that reads a map, and only reads the list, while other threads
// open and close theirs: so an entry stays in the list, and is used again.
static mn_map_entry *_Atomic entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of changes to the list
static struct sigaction before;

static size_t put_number(char *to, size_t v)
{
    char digit[24];
    size_t n = 0, at = 0;
    do
        digit[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    while (n > 0)
        to[at++] = digit[--n];
    return at;
}

// Only what is safe in a signal handler.
static void on_fault(int number, siginfo_t *info, void *context)
{
    static const char rest[] =
        ": the file system failed, or the file was cut: check the disk, or copy the file again\n";
    const char *at = info->si_addr;
    int is_sent = info->si_code <= 0; // by a process: there is no address
    (void)context;
    for (mn_map_entry *e = is_sent ? NULL : atomic_load(&entries); e; e = e->next) {
        char digits[24];
        const char *begin = atomic_load(&e->begin);
        if (!begin || at < begin || at >= begin + atomic_load(&e->bytes)) continue;
        struct iovec line[] = {{e->text, strlen(e->text)},
                               {digits, put_number(digits, (size_t)(at - begin))},
                               {(void *)(uintptr_t)rest, sizeof rest - 1}};
        // At once, between the lines of other ranks; there is nobody left to tell of a failure.
        (void)!writev(STDERR_FILENO, line, 3);
        _exit(mn_exit_code(MN_EIO));
    }
    (void)sigaction(number, &before, NULL); // not ours: the instruction is tried again, and fails as it would have
    if (is_sent) (void)raise(number);
}

static void watch_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, &before); // without it such a fault ends the process too, without a word
}

static void add_entry(mn_map *m, const char *path)
{
    (void)pthread_mutex_lock(&lock);
    mn_map_entry *first = atomic_load(&entries), *e = first;
    while (e && atomic_load(&e->begin))
        e = e->next;
    int is_new = !e;
    if (is_new) e = mn_calloc(1, sizeof *e);
    if (is_new) e->next = first;
    e->text = mn_sprintf("mien: %s: cannot read at byte ", path);
    atomic_store(&e->bytes, m->bytes);
    atomic_store(&e->begin, m->at);
    if (is_new) atomic_store(&entries, e);
    (void)pthread_mutex_unlock(&lock);
    m->entry = e;
}

static void remove_entry(mn_map_entry *e)
{
    (void)pthread_mutex_lock(&lock);
    char *text = e->text; // nobody reads a map that is being closed
    e->text = NULL;
    atomic_store(&e->begin, NULL);
    (void)pthread_mutex_unlock(&lock);
    free(text);
}

mn_err mn_map_open(mn_map *out, const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int fd;
    int64_t bytes;
    *out = (mn_map){0};
    (void)pthread_once(&once, watch_faults);
    MN_TRY(mn_file_open(&fd, path, &bytes));
    mn_err err = MN_OK;
    if (bytes == 0) {
        err = mn_fail(MN_EDATA, "%s: is empty", path);
    } else {
        void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            err = mn_fail(MN_EIO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *out = (mn_map){.at = map, .bytes = (size_t)bytes};
    }
    (void)close(fd); // was only read
    if (err == MN_OK) add_entry(out, path);
    return err;
}

void mn_map_close(mn_map *m)
{
    if (m->at) {
        remove_entry(m->entry);
        (void)munmap((void *)(uintptr_t)m->at, m->bytes);
    }
    *m = (mn_map){0};
}
