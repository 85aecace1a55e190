#include "data/import/find.h"

#include "data/import/run.h"
#include "data/shard_manifest.h"
#include "nn/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static data__kind kind_of(int dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type == DT_REG) return DATA__FILE;
    if (e->d_type == DT_DIR) return DATA__FOLDER;
    if (e->d_type != DT_LNK && e->d_type != DT_UNKNOWN) return DATA__OTHER;
    if (fstatat(dir, e->d_name, &st, 0) != 0) return DATA__FILE; // opening it will say what is wrong
    if (S_ISREG(st.st_mode)) return DATA__FILE;
    if (!S_ISDIR(st.st_mode)) return DATA__OTHER;
    return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) ? DATA__FOLDER_LINK
                                                                                         : DATA__FOLDER;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const data__entry *)a)->name, ((const data__entry *)b)->name);
}

// What systems leave behind: hidden files; beside what a Mac packed, files of the same names without content.
static int is_litter(const char *name)
{
    return name[0] == '.' || strcmp(name, "__MACOSX") == 0 || strcasecmp(name, "Thumbs.db") == 0 ||
           strcasecmp(name, "desktop.ini") == 0;
}

static int has(int dir, const char *folder, const char *file)
{
    char *path = mn_sprintf("%s/%s", folder, file);
    int there = faccessat(dir, path, F_OK, 0) == 0;
    free(path);
    return there;
}

// The shards of an import, finished or not, that lie in its source or in another's: no source. Asked of every folder, of
// thousands on a network's disk: no question too many.
static int is_shards(int dir, const char *name)
{
    return has(dir, name, DATA__IMPORT_WORK) || (has(dir, name, DATA__MANIFEST) && has(dir, name, DATA__REJECTS));
}

mn_err data__entries_of(data__entries *out, const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return mn_fail(MN_ENOINPUT, "%s: %s", dir, strerror(errno));
    data__entries l = {0};
    int64_t capacity = 0;
    errno = 0;
    for (struct dirent *e; (e = readdir(d)); errno = 0) {
        if (is_litter(e->d_name)) {
            l.hidden += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
            continue;
        }
        data__kind kind = kind_of(dirfd(d), e);
        if ((kind == DATA__FOLDER || kind == DATA__FOLDER_LINK) && is_shards(dirfd(d), e->d_name)) continue;
        l.e = mn_grow(l.e, l.n, &capacity, sizeof(*l.e));
        l.e[l.n++] = (data__entry){data__strings_add(&l.names, e->d_name, strlen(e->d_name)), kind};
    }
    int failure = errno;
    (void)closedir(d);
    if (failure) {
        data__entries_free(&l);
        return mn_fail(MN_EIO, "%s: %s", dir, strerror(failure));
    }
    if (l.n) qsort(l.e, (size_t)l.n, sizeof(*l.e), by_name);
    *out = l;
    return MN_OK;
}

void data__entries_free(data__entries *l)
{
    data__strings_free(&l->names);
    free(l->e);
    *l = (data__entries){0};
}

mn_err data__walk(const char *root, int depth, data__visit visit, void *ctx)
{
    data__entries l;
    MN_TRY(data__entries_of(&l, root));
    mn_err err = MN_OK;
    for (int64_t i = 0; i < l.n && err == MN_OK; i++) {
        char *path = mn_sprintf("%s/%s", root, l.e[i].name);
        int enter = visit(ctx, path, l.e[i].name, l.e[i].kind);
        if (enter && depth > 1 && (l.e[i].kind == DATA__FOLDER || l.e[i].kind == DATA__FOLDER_LINK))
            err = data__walk(path, depth - 1, visit, ctx);
        free(path);
    }
    data__entries_free(&l);
    return err;
}

typedef struct search {
    const char *name;
    data__kind kind;
    char *found;
} search;

// Folders of thousands of pictures are never what is looked for, but they are listed at most once.
static int match(void *ctx, const char *path, const char *name, data__kind kind)
{
    search *s = ctx;
    int folder = kind == DATA__FOLDER || kind == DATA__FOLDER_LINK;
    if (s->found) return 0;
    if (strcasecmp(name, s->name) == 0 && folder == (s->kind == DATA__FOLDER)) s->found = mn_strdup(path);
    return !s->found;
}

mn_err data__find(char **out, const char *root, const char *const *names, data__kind kind, int depth)
{
    *out = NULL;
    for (; *names; names++)
        for (int d = 1; d <= depth; d++) {
            search s = {.name = *names, .kind = kind};
            MN_TRY(data__walk(root, d, match, &s));
            *out = s.found;
            if (s.found) return MN_OK;
        }
    return MN_OK;
}

static int match_archive(void *ctx, const char *path, const char *name, data__kind kind)
{
    static const char *const ends[] = {".zip", ".rar", ".7z", ".7z.001", ".zip.001", ".tar", ".tgz", ".tar.gz"};
    char **found = ctx;
    size_t n = strlen(name);
    if (*found) return 0;
    for (size_t i = 0; kind == DATA__FILE && i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strcasecmp(name + n - k, ends[i]) == 0) *found = mn_strdup(path);
    }
    return !*found;
}

mn_err data__find_archive(char **out, const char *root)
{
    *out = NULL;
    return data__walk(root, 2, match_archive, out);
}

int data__is_folder(const char *path, const struct stat *folder)
{
    struct stat st;
    return folder->st_ino && stat(path, &st) == 0 && st.st_ino == folder->st_ino && st.st_dev == folder->st_dev;
}

mn_err data__open_folder(int *fd, const char *path)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? MN_OK : mn_fail(MN_ENOINPUT, "%s: %s", path, strerror(errno));
}

mn_err data__find_pictures(int *fd, char **path, const char *root, const char *const *names, int depth)
{
    char *inner;
    MN_TRY(data__find(path, root, names, DATA__FOLDER, depth));
    if (!*path) return mn_fail(MN_ENOINPUT, "%s: there is no folder %s (of pictures) in it", root, names[0]);
    MN_TRY(data__find(&inner, *path, names, DATA__FOLDER, 1));
    if (inner) {
        free(*path);
        *path = inner;
    }
    return data__open_folder(fd, *path);
}
