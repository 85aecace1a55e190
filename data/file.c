#include "data/file.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { READ_ATTEMPTS = 3, OTHERS = 256 }; // descriptors for everything else

static int leaves_folder(const char *name)
{
    if (name[0] == '/') return 1;
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') return 1;
        p += n;
        while (*p == '/')
            p++;
    }
    return 0;
}

mn_err data_file_open_beneath(int *fd, int root, const char *name, int64_t *size)
{
    struct stat st;
    if (leaves_folder(name)) return mn_fail(MN_EDATA, "%s: the name leads out of the dataset's folder", name);
    // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for regular files.
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_BENEATH};
    int f = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
    if (f < 0 && (errno == ENOSYS || errno == EPERM)) // older kernels, strict containers
        f = openat(root, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (f < 0 && (errno == EXDEV || errno == ELOOP))
        return mn_fail(MN_EDATA, "%s: a link leads out of the dataset's folder", name);
    if (f < 0) {
        mn_err e = errno == ENOENT || errno == ENOTDIR ? MN_ENOINPUT : MN_EIO;
        return mn_fail(e, "%s: %s", name, strerror(errno));
    }
    if (fstat(f, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(f); // opened for reading: nothing can be lost
        return mn_fail(MN_ENOINPUT, "%s: not a regular file", name);
    }
    *fd = f;
    *size = (int64_t)st.st_size;
    return MN_OK;
}

mn_err data_file_pread(int fd, const char *path, void *buffer, size_t n, uint64_t offset)
{
    mn_err err = MN_EIO;
    for (int i = 0; i < READ_ATTEMPTS && err == MN_EIO; i++)
        err = mn_file_read_at(fd, buffer, n, (int64_t)offset, path);
    return err;
}

mn_err data_file_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t offset)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n, (off_t)offset);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return mn_fail(MN_EIO, "%s: writing %zu bytes: %s", path, n, strerror(k < 0 ? errno : ENOSPC));
        p += k;
        n -= (size_t)k;
        offset += (uint64_t)k;
    }
    return MN_OK;
}

mn_err data_file_publish(const char *temporary, const char *path)
{
    if (rename(temporary, path) != 0)
        return mn_fail(MN_EIO, "%s: cannot take its final name %s: %s", temporary, path, strerror(errno));
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? mn_strdup(".") : mn_sprintf("%.*s", slash == path ? 1 : (int)(slash - path), path);
    mn_err err = mn_dir_sync(dir);
    free(dir);
    return err;
}

static int is_like(const char *name, const char *begin, const char *end)
{
    size_t n = strlen(name), a = strlen(begin), b = strlen(end);
    return name[0] != '.' && n >= a + b && memcmp(name, begin, a) == 0 && memcmp(name + n - b, end, b) == 0;
}

mn_err data_dir_like(const char *dir, const char *begin, const char *end, char ***names, int64_t *n)
{
    int64_t all, kept = 0;
    MN_TRY(mn_dir_list(dir, names, &all));
    for (int64_t i = 0; i < all; i++) {
        char *name = (*names)[i];
        if (is_like(name, begin, end))
            (*names)[kept++] = name;
        else
            free(name);
    }
    *n = kept;
    return MN_OK;
}

void data_file_allow(int64_t n)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    DIR *open_now = opendir("/proc/self/fd");
    rlim_t want = (rlim_t)n + OTHERS;
    while (open_now && readdir(open_now))
        want++;
    if (open_now) (void)closedir(open_now);
    if (limit.rlim_cur >= want || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); // opening says what is wrong when this does not help
}
