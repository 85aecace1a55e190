// Folders of a dataset: sorted listings that tell files from folders, and searches for the folders and lists whose
// official names are known, wherever an archive was unpacked.
#ifndef DATA_IMPORT_FIND_H
#define DATA_IMPORT_FIND_H

#include "data/import/strings.h"
#include "nn/base/err.h"

#include <stdint.h>
#include <sys/stat.h>

typedef enum data__kind { DATA__FILE, DATA__FOLDER, DATA__FOLDER_LINK, DATA__OTHER } data__kind;
typedef struct data__entry {
    char *name;
    data__kind kind; // a link to a file is DATA__FILE
} data__entry;
typedef struct data__entries {
    data__strings names;
    // In byte order; what systems leave behind (.DS_Store, Thumbs.db) is counted, not listed; folders of shards are not there.
    data__entry *e;
    int64_t n, hidden;
} data__entries;

MN_MUST_CHECK mn_err data__entries_of(data__entries *out, const char *dir);
void data__entries_free(data__entries *e);

// Calls visit for everything down to `depth` levels below root, folders before what is in them, in byte order. path
// starts with root. Returning 0 for a folder keeps the walk out of it.
typedef int (*data__visit)(void *ctx, const char *path, const char *name, data__kind kind);
MN_MUST_CHECK mn_err data__walk(const char *root, int depth, data__visit visit, void *ctx);

// The first file or folder below root with one of these names (ignoring case; the list ends with NULL), names before
// depth; the caller frees. NULL: there is none.
MN_MUST_CHECK mn_err data__find(char **out, const char *root, const char *const *names, data__kind kind, int depth);
// The first archive (zip, rar, 7z, tar) in root or in a folder of it; the caller frees. NULL: there is none.
MN_MUST_CHECK mn_err data__find_archive(char **out, const char *root);
// Whether path is the folder of which `folder` is the stat; st_ino 0: there is none. For shards that go into their source.
int data__is_folder(const char *path, const struct stat *folder);
// Opens a folder for data_file_open_beneath.
MN_MUST_CHECK mn_err data__open_folder(int *fd, const char *path);
// Finds the folder below root that has one of these names, or the one in it of the same name where an archive was unpacked
// twice, and opens it; the caller closes and frees. MN_ENOINPUT names the first when there is none.
MN_MUST_CHECK mn_err data__find_pictures(int *fd, char **path, const char *root, const char *const *names, int depth);

#endif
