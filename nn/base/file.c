#include "nn/base/file.h"

#include "nn/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { BLOCK = 1 << 20 };

mn_err mn_file_open(int *fd, const char *path, int64_t *size)
{
    *fd = -1;
    // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever; it means nothing for regular files.
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0) return mn_fail(MN_ENOINPUT, "cannot open %s: %s", path, strerror(errno));
    struct stat info;
    mn_err err = MN_OK;
    if (fstat(f, &info))
        err = mn_fail(MN_EIO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        err = mn_fail(MN_ENOINPUT, "%s is not a regular file", path);
    if (err) {
        close(f); // opened for reading: nothing can be lost
        return err;
    }
    *size = (int64_t)info.st_size;
    *fd = f;
    return MN_OK;
}

mn_err mn_file_read_at(int fd, void *data, size_t size, int64_t offset, const char *path)
{
    char *at = data;
    while (size) {
        ssize_t n = pread(fd, at, size < (size_t)1 << 30 ? size : (size_t)1 << 30, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mn_fail(MN_EIO, "%s: cannot read at byte %lld: %s", path, (long long)offset, strerror(errno));
        if (n == 0) return mn_fail(MN_EDATA, "%s: ends at byte %lld", path, (long long)offset);
        at += n;
        offset += n;
        size -= (size_t)n;
    }
    return MN_OK;
}

mn_err mn_file_read(const char *path, size_t cap, char **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    int fd;
    int64_t length = 0;
    char *text = NULL;
    MN_TRY(mn_file_open(&fd, path, &length));
    mn_err err = MN_OK;
    if ((uint64_t)length > cap) {
        err = mn_fail(MN_EDATA, "%s: %lld bytes, more than the %zu allowed", path, (long long)length, cap);
        goto out;
    }
    text = malloc((size_t)length + 1);
    if (!text) {
        err = mn_fail(MN_EMEM, "%s: no memory for %lld bytes", path, (long long)length);
        goto out;
    }
    MN_TRY_OUT(err, mn_file_read_at(fd, text, (size_t)length, 0, path));
    text[length] = 0;
    *data = text;
    *size = (size_t)length;
    text = NULL;
out:
    free(text);
    close(fd); // opened for reading: nothing can be lost
    return err;
}

// A full disk or a failing one is not a wrong place: what writes again and again may go on and try later.
static mn_err cannot_create(const char *path)
{
    int passing = errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EMFILE || errno == ENFILE;
    return mn_fail(passing ? MN_EIO : MN_ECREATE, "cannot create %s: %s", path, strerror(errno));
}

mn_err mn_file_create(int *fd, const char *path)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    return *fd < 0 ? cannot_create(path) : MN_OK;
}

mn_err mn_file_write(int fd, const void *data, size_t size, const char *path)
{
    const char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size < (size_t)1 << 30 ? size : (size_t)1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mn_fail(MN_EIO, "cannot write %s: %s", path, strerror(errno));
        at += n;
        size -= (size_t)n;
    }
    return MN_OK;
}

mn_err mn_file_close(int fd, int durable, const char *path)
{
    mn_err err = MN_OK;
    if (durable && fsync(fd)) err = mn_fail(MN_EIO, "cannot make %s durable: %s", path, strerror(errno));
    // Linux has closed the file even when close reports an error, EINTR included.
    if (close(fd) && err == MN_OK && errno != EINTR)
        err = mn_fail(MN_EIO, "cannot close %s: %s", path, strerror(errno));
    return err;
}

mn_err mn_output_open(mn_output *o, const char *path)
{
    static atomic_uint turn; // two threads of one process must not meet in one temporary file
    o->path = mn_strdup(path);
    o->temporary = mn_sprintf("%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&turn, 1u));
    (void)unlink(o->temporary); // left by a dead process of the same number; if it stays, creating it says so
    mn_err err = mn_file_create(&o->fd, o->temporary);
    if (err == MN_OK) return MN_OK;
    free(o->path);
    free(o->temporary);
    *o = (mn_output){.fd = -1};
    return err;
}

mn_err mn_output_write(mn_output *o, const void *data, size_t size)
{
    return mn_file_write(o->fd, data, size, o->temporary);
}

static mn_err sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mn_sprintf("%.*s", (int)(slash == path ? 1 : slash - path), path) : mn_strdup(".");
    mn_err err = mn_dir_sync(folder);
    free(folder);
    return err;
}

mn_err mn_output_close(mn_output *o, mn_err err)
{
    if (err == MN_OK)
        err = mn_file_close(o->fd, 1, o->temporary);
    else
        close(o->fd); // it is thrown away
    if (err == MN_OK && rename(o->temporary, o->path))
        err = mn_fail(MN_EIO, "cannot rename %s to %s: %s", o->temporary, o->path, strerror(errno));
    if (err == MN_OK)
        err = sync_folder_of(o->path);
    else
        (void)unlink(o->temporary); // the first error is the one to report
    free(o->path);
    free(o->temporary);
    *o = (mn_output){.fd = -1};
    return err;
}

mn_err mn_file_replace(const char *path, const void *data, size_t size)
{
    mn_output o;
    MN_TRY(mn_output_open(&o, path));
    return mn_output_close(&o, mn_output_write(&o, data, size));
}

static void to_hex(XXH128_hash_t hash, char hex[MN_DIGEST_SIZE])
{
    snprintf(hex, MN_DIGEST_SIZE, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

void mn_digest(const void *data, size_t size, char hex[MN_DIGEST_SIZE])
{
    to_hex(XXH3_128bits(data, size), hex);
}

mn_err mn_file_digest(const char *path, char hex[MN_DIGEST_SIZE], int64_t *size)
{
    int fd;
    MN_TRY(mn_file_open(&fd, path, size));
    XXH3_state_t *state = XXH3_createState();
    char *block = mn_calloc(1, BLOCK);
    mn_assert(state);
    mn_err err = XXH3_128bits_reset(state) == XXH_OK ? MN_OK : mn_fail(MN_EINTERNAL, "xxhash refuses to start");
    for (int64_t at = 0; err == MN_OK && at < *size;) {
        size_t n = *size - at < BLOCK ? (size_t)(*size - at) : BLOCK;
        MN_TRY_OUT(err, mn_file_read_at(fd, block, n, at, path));
        if (XXH3_128bits_update(state, block, n) != XXH_OK) err = mn_fail(MN_EINTERNAL, "xxhash failed");
        at += (int64_t)n;
    }
    if (err == MN_OK) to_hex(XXH3_128bits_digest(state), hex);
out:
    XXH3_freeState(state);
    free(block);
    close(fd); // opened for reading: nothing can be lost
    return err;
}

mn_err mn_dir_make(const char *path)
{
    if (!*path) return mn_fail(MN_ECREATE, "cannot create a folder without a name");
    char *copy = mn_strdup(path);
    mn_err err = MN_OK;
    for (char *at = copy + 1; err == MN_OK; at++) {
        char kept = *at;
        if (kept && kept != '/') continue;
        *at = 0;
        struct stat info;
        if (mkdir(copy, 0755) && (errno != EEXIST || stat(copy, &info) || !S_ISDIR(info.st_mode)))
            err = cannot_create(copy);
        *at = kept;
        if (!kept) break;
    }
    free(copy);
    return err;
}

mn_err mn_dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return mn_fail(MN_EIO, "cannot open the folder %s: %s", path, strerror(errno));
    return mn_file_close(fd, 1, path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void mn_names_free(char **names, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

// Takes over fd.
static mn_err list_folder(int fd, const char *path, char ***names, int64_t *n)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        mn_err err = mn_fail(MN_EIO, "cannot read the folder %s: %s", path, strerror(errno));
        close(fd); // opened for reading: nothing can be lost
        return err;
    }
    char **list = NULL;
    int64_t count = 0, room = 0;
    struct dirent *entry;
    for (errno = 0; (entry = readdir(dir)); errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (count == room) list = mn_realloc(list, (size_t)(room = room ? 2 * room : 16), sizeof *list);
        list[count++] = mn_strdup(entry->d_name);
    }
    mn_err err = errno ? mn_fail(MN_EIO, "cannot read the folder %s: %s", path, strerror(errno)) : MN_OK;
    closedir(dir); // opened for reading: nothing can be lost
    if (err) {
        mn_names_free(list, count);
        return err;
    }
    if (count) qsort(list, (size_t)count, sizeof *list, by_name);
    *names = list;
    *n = count;
    return MN_OK;
}

mn_err mn_dir_list(const char *path, char ***names, int64_t *n)
{
    *names = NULL;
    *n = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return mn_fail(MN_ENOINPUT, "cannot read the folder %s: %s", path, strerror(errno));
    return list_folder(fd, path, names, n);
}

static mn_err cannot_remove(const char *path)
{
    return mn_fail(MN_EIO, "cannot remove %s: %s", path, strerror(errno));
}

static mn_err remove_files(int folder, const char *path, int deep);

static mn_err remove_folder(int folder, const char *path, const char *name)
{
    char *inner = mn_sprintf("%s/%s", path, name);
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    mn_err err = fd < 0 ? cannot_remove(inner) : remove_files(fd, inner, 1);
    if (fd >= 0) close(fd); // opened for reading: nothing can be lost
    if (err == MN_OK && unlinkat(folder, name, AT_REMOVEDIR)) err = cannot_remove(inner);
    free(inner);
    return err;
}

// Names are looked up below the opened folder: one that is exchanged for a link meanwhile leads nowhere else.
static mn_err remove_files(int folder, const char *path, int deep)
{
    char **names;
    int64_t n;
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return cannot_remove(path);
    MN_TRY(list_folder(copy, path, &names, &n));
    mn_err err = MN_OK;
    for (int64_t i = 0; i < n && err == MN_OK; i++)
        if (unlinkat(folder, names[i], 0))
            err = deep && errno == EISDIR ? remove_folder(folder, path, names[i]) : cannot_remove(path);
    mn_names_free(names, n);
    return err;
}

static mn_err remove_path(const char *path, int deep)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 && (errno == ELOOP || errno == ENOTDIR)) return unlink(path) ? cannot_remove(path) : MN_OK;
    if (folder < 0) return cannot_remove(path);
    mn_err err = remove_files(folder, path, deep);
    close(folder); // opened for reading: nothing can be lost
    if (err == MN_OK && rmdir(path)) err = cannot_remove(path);
    return err;
}

mn_err mn_dir_remove(const char *path)
{
    return remove_path(path, 0);
}

mn_err mn_tree_remove(const char *path)
{
    return remove_path(path, 1);
}
