#include "dist/shared.h"

#include "dist/backend.h"
#include "nn/base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct offer { // of a group's leader to its members
    int64_t pid;
    int32_t fd; // -1: none
    int32_t ok;
    uint64_t token; // in the memory's first word while it is being opened: proof that both mean the same memory
} offer;

static int refuse(dist_shared *m, const char *what)
{
    snprintf(m->why, sizeof m->why, "%s: %s", what, strerror(errno));
    return 0;
}

// Maps fd; returns 0 and says why when that is not possible.
static int map(dist_shared *m, int fd, size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return refuse(m, "mmap");
    m->base = p;
    m->bytes = bytes;
    return 1;
}

static int create(dist_shared *m, size_t bytes, int *fd)
{
    struct rlimit limit;
    // Over this limit ftruncate would not fail but end the process with SIGXFSZ.
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur) {
        errno = EFBIG;
        return refuse(m, "file size limit");
    }
    if (mn_fault("shared.open")) {
        errno = ENOSPC;
        return refuse(m, "injected");
    }
    *fd = memfd_create("mien-shared", MFD_CLOEXEC);
    if (*fd < 0) return refuse(m, "memfd_create");
    if (ftruncate(*fd, (off_t)bytes) != 0) return refuse(m, "ftruncate");
    return map(m, *fd, bytes);
}

static int join(dist_shared *m, size_t bytes, const offer *from)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%d", (long long)from->pid, from->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return refuse(m, path);
    off_t size = lseek(fd, 0, SEEK_END);
    int ok = 0;
    errno = ESTALE;
    if (size < (off_t)bytes)
        refuse(m, path); // another process of that number, in another process namespace
    else
        ok = map(m, fd, bytes);
    close(fd);
    errno = ESTALE;
    if (ok && *(const uint64_t *)m->base != from->token) ok = refuse(m, path);
    return ok;
}

// Makes this rank's part of the memory exist now, near this rank's cores.
static int touch(dist_shared *m, int part, int parts)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = m->bytes / page;
    size_t from = pages * (size_t)part / (size_t)parts * page, to = pages * ((size_t)part + 1) / (size_t)parts * page;
    char *p = (char *)m->base + from;
    if (to == from) return 1;
    (void)madvise(p, to - from, MADV_HUGEPAGE); // a wish: most systems have it switched off for shared memory
    if (madvise(p, to - from, MADV_POPULATE_WRITE) == 0) return 1;
    if (errno != EINVAL) return refuse(m, "no memory");
    return 1; // before Linux 5.14: touched as it is used
}

static mn_err agree(dist_comm *c, int *ok)
{
    offer mine = {.ok = *ok};
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 2, &mine, sizeof mine));
    for (int r = 0; r < c->at.world; r++)
        *ok = *ok && ((const offer *)dist__from(c, r))->ok;
    return MN_OK;
}

static uint64_t token_of(const dist_comm *c)
{
    return ((uint64_t)getpid() << 32) ^ (uint64_t)dist_now_ns() ^ (uint64_t)c->at.rank;
}

mn_err dist_shared_open(dist_comm *c, size_t bytes, dist_shared *out)
{
    *out = (dist_shared){0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) / page * page;
    int fd = -1, leads = c->at.group_rank == 0, ok = 1;
    offer mine = {.pid = getpid(), .token = token_of(c)};
    if (leads && (ok = create(out, bytes, &fd))) *(uint64_t *)out->base = mine.token;
    mine.fd = ok ? fd : -1;
    mn_err err;
    MN_TRY_OUT(err, dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 1, &mine, sizeof mine));
    offer from = *(const offer *)dist__from(c, c->leader[c->at.group]);
    if (!leads) ok = from.fd >= 0 && join(out, bytes, &from);
    MN_TRY_OUT(err, agree(c, &ok)); // all have looked at the token: it may be overwritten, and fd closed
    if (ok && leads) *(uint64_t *)out->base = 0;
    if (ok) ok = touch(out, c->at.group_rank, c->at.group_size);
    MN_TRY_OUT(err, agree(c, &ok));
out:
    if (fd >= 0) close(fd);
    if (err != MN_OK || !ok) dist_shared_close(out);
    return err;
}

void dist_shared_close(dist_shared *m)
{
    if (m->base) munmap(m->base, m->bytes);
    m->base = NULL;
    m->bytes = 0;
}
