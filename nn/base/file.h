// Files that survive a crash, and files that are not trusted: raw system calls, every result checked (a full disk shows
// only in write, fsync or close), no following of planted links, no blocking on a pipe with a file's name.
//
//     MN_TRY(mn_file_read("a.yaml", 1 << 20, &text, &size));       // free(text)
//     MN_TRY(mn_file_replace("runs/a/recipe.yaml", text, size));   // old or new after a crash, never a mixture
//
// Errors: MN_ENOINPUT missing or not a regular file, MN_EDATA larger than the cap, MN_ECREATE cannot create here, MN_EIO
// the rest, a full disk among it; errno is kept. Threading: any thread; two writers of one path are the caller's problem.
#ifndef MN_FILE_H
#define MN_FILE_H

#include "nn/base/err.h"

#include <stdint.h>

// Opens a regular file for reading (fd is the caller's) and tells its size.
MN_MUST_CHECK mn_err mn_file_open(int *fd, const char *path, int64_t *size);
// The whole file and a 0 byte behind it; *data is freed by the caller.
MN_MUST_CHECK mn_err mn_file_read(const char *path, size_t cap, char **data, size_t *size);
// Exactly `size` bytes at `offset`; the file being shorter is MN_EDATA. `path` is for the message.
MN_MUST_CHECK mn_err mn_file_read_at(int fd, void *data, size_t size, int64_t offset, const char *path);

// Creates `path`, which must not exist (not even as a link), for writing.
MN_MUST_CHECK mn_err mn_file_create(int *fd, const char *path);
MN_MUST_CHECK mn_err mn_file_write(int fd, const void *data, size_t size, const char *path);
// fsync when `durable`, then close; both are checked and the file is closed in any case.
MN_MUST_CHECK mn_err mn_file_close(int fd, int durable, const char *path);

// A file written as a whole: a temporary one beside `path`, made durable, renamed over `path`, folder made durable.
//
//     mn_output o; MN_TRY(mn_output_open(&o, path));
//     mn_err err = mn_output_write(&o, data, size); ...
//     return mn_output_close(&o, err);      // an error before or in it leaves `path` as it was
typedef struct mn_output {
    int fd;
    char *path, *temporary;
} mn_output;
MN_MUST_CHECK mn_err mn_output_open(mn_output *o, const char *path);
MN_MUST_CHECK mn_err mn_output_write(mn_output *o, const void *data, size_t size);
MN_MUST_CHECK mn_err mn_output_close(mn_output *o, mn_err err); // err: of what came before; the first is returned
// All of it in one call.
MN_MUST_CHECK mn_err mn_file_replace(const char *path, const void *data, size_t size);

#define MN_DIGEST_SIZE 33 // 32 hexadecimal digits of an XXH3-128 and a 0
void mn_digest(const void *data, size_t size, char hex[MN_DIGEST_SIZE]);
MN_MUST_CHECK mn_err mn_file_digest(const char *path, char hex[MN_DIGEST_SIZE], int64_t *size);

// Creates the folder and those above it; existing ones are fine.
MN_MUST_CHECK mn_err mn_dir_make(const char *path);
MN_MUST_CHECK mn_err mn_dir_sync(const char *path);
// Names in the folder in byte order, without "." and ".."; free with mn_names_free.
MN_MUST_CHECK mn_err mn_dir_list(const char *path, char ***names, int64_t *n);
void mn_names_free(char **names, int64_t n);
// Removes a folder and the files in it; a folder inside it is an error, for nothing here writes one. A link or a file of
// that name is removed itself, never what it points to.
MN_MUST_CHECK mn_err mn_dir_remove(const char *path);
// The same with the folders in it.
MN_MUST_CHECK mn_err mn_tree_remove(const char *path);

#endif
