#include "data/copies.h"

#include "data/copies_files.h"
#include "nn/base/clock.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { AGAIN_MS = 100 };

typedef struct entry {
    const data_shard *shard;
    int fd;   // of its copy, -1: none
    int done; // staged, or given up
} entry;

struct data_copies {
    data_copies_cfg cfg;
    data__copies_files files;
    int only_network; // "auto"
    int n, staged;
    int64_t capacity;
    int64_t bytes;
    entry *entry;
    int started, finished;
    atomic_int stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; // stop, finished
};

// Numbers of statfs(2) and of the file systems' own sources. Fuse: sshfs, BeeGFS and others of the kind.
static int is_network(const char *path)
{
    static const unsigned long magic[] = {0x6969 /* NFS */,
                                          0x0bd00bd0 /* Lustre */,
                                          0x47504653 /* GPFS */,
                                          0x19830326 /* BeeGFS */,
                                          0x00c36400 /* Ceph */,
                                          0xff534d42 /* CIFS */,
                                          0xfe534d42 /* SMB2 */,
                                          0x517b /* SMB */,
                                          0x5346414f /* AFS */,
                                          0x20030528 /* OrangeFS */,
                                          0x65735546 /* Fuse */,
                                          0x01021997 /* 9P */,
                                          0xaad7aaea /* PanFS */};
    struct statfs v;
    if (statfs(path, &v) != 0) return 0;
    for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
        if (((unsigned long)v.f_type & 0xffffffff) == magic[i]) return 1;
    return 0;
}

static int is_memory(const char *path)
{
    struct statfs v;
    return statfs(path, &v) == 0 && (v.f_type == 0x01021994 /* tmpfs */ || v.f_type == (long)0x858458f6 /* ramfs */);
}

static const char *choose(const char *where)
{
    static const char *const names[] = {"SLURM_TMPDIR", "TMPDIR"};
    if (strcmp(where, "off") == 0 || !*where) return NULL;
    if (strcmp(where, "auto") != 0) return where;
    for (int i = 0; i < 2; i++) {
        const char *dir = getenv(names[i]);
        if (dir && *dir == '/' && !is_memory(dir) && !is_network(dir)) return dir;
    }
    return NULL;
}

void data_copies_open(data_copies **out, const data_copies_cfg *cfg)
{
    const char *base = choose(cfg->where);
    *out = NULL;
    if (!base) return;
    data_copies *st = mn_calloc(1, sizeof *st);
    st->cfg = *cfg;
    st->only_network = strcmp(cfg->where, "auto") == 0;
    st->files.limit = cfg->limit;
    st->files.stop = &st->stop;
    int failed = pthread_mutex_init(&st->lock, NULL) || pthread_cond_init(&st->changed, NULL);
    mn_assert(!failed); // glibc never refuses these
    if (data__copies_files_open(&st->files, base) == MN_OK) {
        *out = st;
        return;
    }
    if (cfg->lead) mn_warn("no copies of shards on this node, they are read where they are: %s", mn_errmsg());
    data_copies_close(st);
}

void data_copies_add(data_copies *st, const data_shard *s)
{
    if (!st || (st->only_network && !is_network(data_shard_about(s)->path))) return;
    mn_assert(!st->started);
    for (int i = 0; i < st->n; i++)
        if (st->entry[i].shard == s) return;
    st->entry = mn_grow(st->entry, st->n, &st->capacity, sizeof *st->entry);
    st->entry[st->n++] = (entry){.shard = s, .fd = -1};
}

static void tell(const data_copies *st, double seconds, int left, const char *why)
{
    if (!st->cfg.lead) return;
    if (left > 0)
        mn_warn("%s: %d of %d shards have no copy on this node and are read where they are: %s", st->files.dir, left,
                st->n, why);
    if (st->staged > 0)
        mn_info("%d shards, %.2f GB, are read from copies in %s, made or found within %.1f s", st->staged,
                (double)st->bytes / 1e9, st->files.dir, seconds);
}

// One look at every shard that has no answer yet. How many are still being copied by others.
static int look_once(data_copies *st, char *why, size_t size)
{
    int busy = 0;
    for (int i = 0; i < st->n && !atomic_load(&st->stop); i++) {
        entry *e = &st->entry[i];
        if (e->done) continue;
        data__copied r = data__copies_fetch(&st->files, e->shard, &e->fd);
        busy += r == DATA__BUSY;
        e->done = r != DATA__BUSY;
        if (r == DATA__COPIED) {
            data_shard_use_copy(e->shard, e->fd);
            st->staged++;
            st->bytes += (int64_t)data_shard_about(e->shard)->file_bytes;
        }
        if (r == DATA__FAILED) (void)snprintf(why, size, "%s", mn_errmsg());
        if (r == DATA__NO_ROOM) (void)snprintf(why, size, "no room for more copies there (stage.limit_gb, the disk)");
    }
    return busy;
}

// Waits for others, not longer than until the end.
static int wait_a_little(data_copies *st)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += AGAIN_MS * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&st->lock);
    if (!atomic_load(&st->stop)) (void)pthread_cond_timedwait(&st->changed, &st->lock, &at);
    pthread_mutex_unlock(&st->lock);
    return !atomic_load(&st->stop);
}

static void *stage_all(void *argument)
{
    data_copies *st = argument;
    char why[1024] = "";
    double began = mn_seconds();
    while (look_once(st, why, sizeof why) > 0 && wait_a_little(st))
        ;
    if (!atomic_load(&st->stop)) tell(st, mn_seconds() - began, st->n - st->staged, why);
    pthread_mutex_lock(&st->lock);
    st->finished = 1;
    pthread_cond_broadcast(&st->changed);
    pthread_mutex_unlock(&st->lock);
    return NULL;
}

void data_copies_start(data_copies *st)
{
    sigset_t all, before;
    if (!st || st->n == 0) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
    st->started = pthread_create(&st->thread, NULL, stage_all, st) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!st->started && st->cfg.lead) mn_warn("no thread for copies of shards: they are read where they are");
}

int data_copies_wait(data_copies *st)
{
    if (!st || !st->started) return 0;
    pthread_mutex_lock(&st->lock);
    while (!st->finished)
        pthread_cond_wait(&st->changed, &st->lock);
    pthread_mutex_unlock(&st->lock);
    return st->staged;
}

void data_copies_close(data_copies *st)
{
    if (!st) return;
    pthread_mutex_lock(&st->lock);
    atomic_store(&st->stop, 1);
    pthread_cond_broadcast(&st->changed);
    pthread_mutex_unlock(&st->lock);
    if (st->started) pthread_join(st->thread, NULL);
    for (int i = 0; i < st->n; i++) {
        if (st->entry[i].fd < 0) continue;
        data_shard_use_copy(st->entry[i].shard, -1);
        (void)close(st->entry[i].fd); // opened for reading; its lock goes with it
    }
    data__copies_files_close(&st->files);
    pthread_cond_destroy(&st->changed);
    pthread_mutex_destroy(&st->lock);
    free(st->entry);
    free(st);
}
