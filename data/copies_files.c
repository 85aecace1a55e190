#include "data/copies_files.h"

#include "data/file.h"
#include "data/shard_seal.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { CHUNK = 1 << 20, NAME = 64, OLD_S = 7 * 24 * 3600 };

static void close_fd(int fd)
{
    if (fd >= 0) (void)close(fd); // a lock or a copy that can be made again: nothing to lose
}

// --- the folder ---

// Nobody else may have planted anything in it: the folder above is often one that all users write to.
static mn_err check_own(const data__copies_files *f)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0) return mn_fail(MN_EIO, "%s: %s", f->dir, strerror(errno));
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return mn_fail(MN_ECREATE, "%s: belongs to another user or is open to others", f->dir);
    return MN_OK;
}

// All accounting happens while this is held, for moments only.
static int lock_folder(const data__copies_files *f)
{
    int fd = openat(f->fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            close_fd(fd);
            return -1;
        }
    return fd;
}

static int is_copy(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '.' && n > 3 && strcmp(name + n - 3, ".h5") == 0;
}

static int is_part(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '.' && n > 5 && strcmp(name + n - 5, ".part") == 0;
}

// Removes a file that no process uses. 1: it is gone.
static int remove_unused(const data__copies_files *f, const char *name)
{
    int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int gone = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(f->fd, name, 0) == 0;
    close_fd(fd);
    return gone;
}

static void clean(const data__copies_files *f)
{
    char **names;
    int64_t n;
    int lock = lock_folder(f);
    if (lock < 0 || mn_dir_list(f->dir, &names, &n) != MN_OK) {
        close_fd(lock);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        struct stat st;
        if (fstatat(f->fd, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (is_part(names[i]) || (is_copy(names[i]) && time(NULL) - st.st_mtime > OLD_S))
            (void)remove_unused(f, names[i]);
    }
    mn_names_free(names, n);
    close_fd(lock);
}

mn_err data__copies_files_open(data__copies_files *f, const char *base)
{
    f->fd = -1;
    f->dir = mn_sprintf("%s/mien-stage-%lu", base, (unsigned long)geteuid());
    if (mkdir(f->dir, 0700) != 0 && errno != EEXIST)
        return mn_fail(MN_ECREATE, "%s: cannot be made: %s", f->dir, strerror(errno));
    f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0) return mn_fail(MN_ECREATE, "%s: %s", f->dir, strerror(errno));
    MN_TRY(check_own(f));
    clean(f);
    return MN_OK;
}

void data__copies_files_close(data__copies_files *f)
{
    close_fd(f->fd);
    free(f->dir);
    *f = (data__copies_files){.fd = -1};
}

// --- room ---

typedef struct usage {
    int64_t bytes;
    char oldest[NAME + 8]; // copy, "" none is left to try
    struct timespec used;
} usage;

static int is_before(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

// What is there, and the copy that was not used for the longest time, later than `after`.
static mn_err look(const data__copies_files *f, const struct timespec *after, usage *u)
{
    char **names;
    int64_t n;
    MN_TRY(mn_dir_list(f->dir, &names, &n));
    *u = (usage){0};
    for (int64_t i = 0; i < n; i++) {
        struct stat st;
        if (fstatat(f->fd, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (is_copy(names[i]) || is_part(names[i])) u->bytes += (int64_t)st.st_size;
        if (!is_copy(names[i]) || !is_before(*after, st.st_mtim)) continue;
        if (*u->oldest && !is_before(st.st_mtim, u->used)) continue;
        u->used = st.st_mtim;
        (void)snprintf(u->oldest, sizeof u->oldest, "%s", names[i]);
    }
    mn_names_free(names, n);
    return MN_OK;
}

static int fits(const data__copies_files *f, int64_t used, int64_t bytes)
{
    struct statvfs v;
    if (f->limit > 0 && used + bytes > f->limit) return 0;
    if (fstatvfs(f->fd, &v) != 0) return 1;
    double free_bytes = (double)v.f_bavail * (double)v.f_frsize, all = (double)v.f_blocks * (double)v.f_frsize;
    return free_bytes - (double)bytes >= (f->limit > 0 ? 0 : all / 10);
}

static int allocate(int fd, int64_t bytes)
{
    if (mn_fault("copies.reserve")) return ENOSPC;
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0) return 0;
    if (errno != EOPNOTSUPP) return errno;
    return ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno; // the size alone counts for the others
}

// Room for `bytes` in part, which is empty; copies that nobody uses give way.
static data__copied reserve(const data__copies_files *f, int part, int64_t bytes)
{
    usage u;
    struct timespec after = {0};
    data__copied result = DATA__FAILED;
    int lock = lock_folder(f);
    if (lock < 0) {
        (void)mn_fail(MN_EIO, "%s/.lock: %s", f->dir, strerror(errno));
        return DATA__FAILED;
    }
    while (look(f, &after, &u) == MN_OK) {
        if (f->limit > 0 && bytes > f->limit) *u.oldest = 0; // nothing that could go would help
        int full = !fits(f, u.bytes, bytes), why = full ? ENOSPC : allocate(part, bytes);
        if (why == 0) {
            result = DATA__COPIED;
            break;
        }
        if (why != ENOSPC && why != EDQUOT) {
            (void)mn_fail(MN_EIO, "%s: reserving %lld bytes: %s", f->dir, (long long)bytes, strerror(why));
            break;
        }
        if (ftruncate(part, 0) != 0 || !*u.oldest) {
            result = DATA__NO_ROOM;
            break;
        }
        (void)remove_unused(f, u.oldest);
        after = u.used; // in use: the next one then
    }
    close_fd(lock);
    return result;
}

// --- one copy ---

// Is it the whole copy of this shard? The seal has the digest that it is named by.
static int is_whole(const char *name, const data_shard *s, int fd)
{
    struct stat st;
    unsigned char seal[DATA__SEAL_BYTES];
    char key[DATA__DIGEST_TEXT];
    XXH128_canonical_t c;
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != data_shard_about(s)->file_bytes ||
        data_file_pread(fd, name, seal, sizeof seal, 0) != MN_OK)
        return 0;
    memcpy(&c, seal + sizeof seal - sizeof c, sizeof c);
    data__digest_text(XXH128_hashFromCanonical(&c), key);
    return strncmp(key, name, sizeof key - 1) == 0;
}

// A copy that is there already, locked for use. FAILED: there is none.
static data__copied open_copy(const data__copies_files *f, const char *name, const data_shard *s, int *fd)
{
    *fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0) return DATA__FAILED;
    data__copied result = DATA__FAILED;
    if (flock(*fd, LOCK_SH | LOCK_NB) != 0)
        result = DATA__BUSY; // it got its name this moment, or is being removed
    else if (is_whole(name, s, *fd) && futimens(*fd, NULL) == 0)
        return DATA__COPIED;
    else
        (void)unlinkat(f->fd, name, 0); // damaged
    close_fd(*fd);
    *fd = -1;
    return result;
}

// The part of a copy, locked.
static data__copied open_part(const data__copies_files *f, const char *name, int *fd)
{
    struct stat mine, named;
    *fd = openat(f->fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) {
        int full = errno == ENOSPC || errno == EDQUOT;
        (void)mn_fail(MN_EIO, "%s/%s: %s", f->dir, name, strerror(errno));
        return full ? DATA__NO_ROOM : DATA__FAILED;
    }
    // Between open and lock it may have become a copy, or been removed.
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0 && fstat(*fd, &mine) == 0 &&
        fstatat(f->fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == named.st_ino &&
        mine.st_dev == named.st_dev)
        return DATA__COPIED;
    close_fd(*fd);
    return DATA__BUSY;
}

// Bytes [begin, end) of the chunk at `at` that are payload go into the digest.
static void add_payload(XXH3_state_t *h, const data_shard_info *i, const unsigned char *chunk, uint64_t at, size_t n)
{
    uint64_t begin = i->payload_offset, end = begin + i->payload_bytes;
    uint64_t from = at > begin ? at : begin, to = at + n < end ? at + n : end;
    if (from < to) (void)XXH3_128bits_update(h, chunk + (from - at), (size_t)(to - from));
}

static data__copied copy_bytes(const data__copies_files *f, const data_shard *s, int from, int part, XXH3_state_t *h)
{
    const data_shard_info *i = data_shard_about(s);
    unsigned char *chunk = mn_calloc(1, CHUNK);
    data__copied result = DATA__COPIED;
    for (uint64_t at = 0; at < i->file_bytes && result == DATA__COPIED;) {
        size_t n = i->file_bytes - at < CHUNK ? (size_t)(i->file_bytes - at) : CHUNK;
        mn_err err = data_file_pread(from, i->path, chunk, n, at);
        if (err == MN_OK && mn_fault("copies.write")) err = mn_fail(MN_EIO, "%s: injected failure of a write", f->dir);
        if (err == MN_OK) err = data_file_pwrite(part, f->dir, chunk, n, at);
        if (err != MN_OK) result = DATA__FAILED;
        add_payload(h, i, chunk, at, n);
        at += n;
        (void)mn_fault("copies.copy"); // where a process may be killed
        if (result == DATA__COPIED && atomic_load(f->stop)) result = DATA__STOPPED;
    }
    free(chunk);
    return result;
}

static mn_err check_copy(const data__copies_files *f, const data_shard *s, int part, XXH3_state_t *h)
{
    const data_shard_info *i = data_shard_about(s);
    data__seal seal;
    char text[DATA__DIGEST_TEXT];
    data__digest_text(XXH3_128bits_digest(h), text);
    if (strcmp(text, i->payload) != 0)
        return mn_fail(MN_EDATA, "%s: its payload has digest %s, was written with %s", i->path, text, i->payload);
    return data__seal_check(part, f->dir, i->file_bytes, &seal);
}

static data__copied make_copy(const data__copies_files *f, const data_shard *s, int part)
{
    int from = -1;
    int64_t size;
    data__copied result = DATA__FAILED;
    XXH3_state_t *h = XXH3_createState();
    if (!h || XXH3_128bits_reset(h) != XXH_OK)
        (void)mn_fail(MN_EMEM, "%s: no memory for a digest", f->dir);
    else if (mn_file_open(&from, data_shard_about(s)->path, &size) == MN_OK)
        result = copy_bytes(f, s, from, part, h);
    if (result == DATA__COPIED && check_copy(f, s, part, h) != MN_OK) result = DATA__FAILED;
    close_fd(from);
    (void)XXH3_freeState(h);
    return result;
}

// Fills the part and gives it its name. While it is locked nobody else touches it, under either name.
static data__copied fill_part(const data__copies_files *f, const data_shard *s, int part, const char *temporary,
                              const char *name)
{
    if (ftruncate(part, 0) != 0) { // what a dead process has left
        (void)mn_fail(MN_EIO, "%s/%s: %s", f->dir, temporary, strerror(errno));
        return DATA__FAILED;
    }
    data__copied result = reserve(f, part, (int64_t)data_shard_about(s)->file_bytes);
    if (result == DATA__COPIED) result = make_copy(f, s, part);
    if (result != DATA__COPIED) return result;
    if (renameat(f->fd, temporary, f->fd, name) == 0 && flock(part, LOCK_SH) == 0) return DATA__COPIED;
    (void)mn_fail(MN_EIO, "%s/%s: %s", f->dir, name, strerror(errno));
    return DATA__FAILED;
}

data__copied data__copies_fetch(const data__copies_files *f, const data_shard *s, int *fd)
{
    char key[DATA__DIGEST_TEXT], name[NAME], temporary[NAME];
    int part;
    data_shard_key(s, key);
    (void)snprintf(name, sizeof name, "%s.h5", key);
    (void)snprintf(temporary, sizeof temporary, ".%s.part", key);
    data__copied result = open_copy(f, name, s, fd);
    if (result != DATA__FAILED) return result;
    result = open_part(f, temporary, &part);
    if (result != DATA__COPIED) return result;
    result = open_copy(f, name, s, fd); // made since the first look
    if (result == DATA__FAILED) {
        result = fill_part(f, s, part, temporary, name);
        if (result == DATA__COPIED) {
            *fd = part;
            return result;
        }
    }
    (void)unlinkat(f->fd, temporary, 0); // it is ours
    close_fd(part);
    return result;
}
