#include "data/file.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { READ_ATTEMPTS = 3 };

// Takes fd over: closes it unless it is a regular file.
static mn_err accept_regular(int *out, int fd, const char *path, uint64_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        mn_err e = mn_fail(MN_EIO, "%s: %s", path, strerror(errno));
        (void)close(fd);
        return e;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)close(fd);
        return mn_fail(MN_EDATA, "%s: not a regular file", path);
    }
    *out = fd;
    *size = (uint64_t)st.st_size;
    return MN_OK;
}

mn_err data_file_open(int *fd, const char *path, uint64_t *size)
{
    // O_NONBLOCK: opening a FIFO must not wait for its writer. It has no meaning for regular files.
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0) {
        mn_err e = errno == ENOENT || errno == ENOTDIR ? MN_ENOINPUT : MN_EIO;
        return mn_fail(e, "%s: %s", path, strerror(errno));
    }
    return accept_regular(fd, f, path, size);
}

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

mn_err data_file_open_beneath(int *fd, int root, const char *name, uint64_t *size)
{
    if (leaves_folder(name)) return mn_fail(MN_EDATA, "%s: the name leads out of the dataset's folder", name);
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
    return accept_regular(fd, f, name, size);
}

mn_err data_file_pread(int fd, const char *path, void *buffer, size_t n, uint64_t offset)
{
    char *p = buffer;
    int failures = 0;
    for (size_t done = 0; done < n;) {
        ssize_t k = pread(fd, p + done, n - done, (off_t)(offset + done));
        if (k > 0) {
            done += (size_t)k;
        } else if (k == 0) {
            return mn_fail(MN_EDATA, "%s: ends at byte %llu, %zu bytes early: the file was cut", path,
                           (unsigned long long)(offset + done), n - done);
        } else if (errno != EINTR && ++failures == READ_ATTEMPTS) {
            return mn_fail(MN_EIO, "%s: reading at byte %llu failed %d times: %s", path,
                           (unsigned long long)(offset + done), failures, strerror(errno));
        }
    }
    return MN_OK;
}

mn_err data_file_write(int fd, const char *path, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return mn_fail(MN_EIO, "%s: writing %zu bytes: %s", path, n, strerror(k < 0 ? errno : ENOSPC));
        p += k;
        n -= (size_t)k;
    }
    return MN_OK;
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

mn_err data_file_read(char **text, size_t *size, const char *path, uint64_t most)
{
    int fd;
    uint64_t bytes;
    MN_TRY(data_file_open(&fd, path, &bytes));
    mn_err err = MN_OK;
    char *p = NULL;
    if (bytes > most || bytes > SIZE_MAX - 1) {
        err = mn_fail(MN_EDATA, "%s: %llu bytes, more than the %llu such a file may have", path,
                      (unsigned long long)bytes, (unsigned long long)most);
        goto out;
    }
    p = malloc((size_t)bytes + 1);
    if (!p) {
        err = mn_fail(MN_EMEM, "%s: no memory for its %llu bytes", path, (unsigned long long)bytes);
        goto out;
    }
    MN_TRY_OUT(err, data_file_pread(fd, path, p, (size_t)bytes, 0));
    p[bytes] = 0;
    *text = p;
    *size = (size_t)bytes;
    p = NULL;
out:
    free(p);
    (void)close(fd);
    return err;
}

static mn_err sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? mn_strdup(".") : mn_sprintf("%.*s", slash == path ? 1 : (int)(slash - path), path);
    mn_err err = MN_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) err = mn_fail(MN_EIO, "%s: cannot sync the folder: %s", dir, strerror(errno));
    if (fd >= 0) (void)close(fd);
    free(dir);
    return err;
}

mn_err data_file_publish(const char *temporary, const char *path)
{
    if (rename(temporary, path) != 0)
        return mn_fail(MN_EIO, "%s: cannot take its final name %s: %s", temporary, path, strerror(errno));
    return sync_folder_of(path);
}

mn_err data_file_replace(const char *path, const void *bytes, size_t n)
{
    char *temporary = mn_sprintf("%s.tmp", path);
    (void)unlink(temporary); // left by a killed process
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    mn_err err = MN_OK;
    if (fd < 0) {
        err = mn_fail(MN_ECREATE, "%s: %s", temporary, strerror(errno));
        goto out;
    }
    MN_TRY_OUT(err, data_file_write(fd, temporary, bytes, n));
    if (fsync(fd) != 0) {
        err = mn_fail(MN_EIO, "%s: fsync: %s", temporary, strerror(errno));
        goto out;
    }
    int closed = close(fd);
    fd = -1;
    if (closed != 0) {
        err = mn_fail(MN_EIO, "%s: close: %s", temporary, strerror(errno));
        goto out;
    }
    MN_TRY_OUT(err, data_file_publish(temporary, path));
out:
    if (fd >= 0) (void)close(fd);
    if (err != MN_OK) (void)unlink(temporary);
    free(temporary);
    return err;
}

mn_err data_dir_make(const char *path)
{
    if (!*path) return mn_fail(MN_ECREATE, "an empty folder name");
    char *p = mn_strdup(path);
    mn_err err = MN_OK;
    for (char *s = p + 1; err == MN_OK; s++) {
        if (*s != '/' && *s != 0) continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0777) != 0 && errno != EEXIST)
            err = mn_fail(MN_ECREATE, "%s: cannot create the folder: %s", p, strerror(errno));
        *s = c;
        if (c == 0) break;
    }
    struct stat st;
    if (err == MN_OK && (stat(p, &st) != 0 || !S_ISDIR(st.st_mode))) err = mn_fail(MN_ECREATE, "%s: not a folder", p);
    free(p);
    return err;
}
