// Files: regular files opened without surprises, whole reads and writes, and publishing a file so that a reader sees the
// old one or the new one and nothing else.
//
//     int fd; uint64_t size; MN_TRY(data_file_open(&fd, path, &size));
//     MN_TRY(data_file_pread(fd, path, buffer, n, offset));
//
// Threading: pure functions on descriptors; any thread.
#ifndef DATA_FILE_H
#define DATA_FILE_H

#include "nn/base/err.h"

#include <stdint.h>

// Opens a regular file for reading. Never blocks: a FIFO, a device or a folder is refused (MN_EDATA); a file that is not
// there is MN_ENOINPUT.
MN_MUST_CHECK mn_err data_file_open(int *fd, const char *path, uint64_t *size);
// The same below the open folder `root`: an absolute name, "..", or a link that leads out of the folder is MN_EDATA.
MN_MUST_CHECK mn_err data_file_open_beneath(int *fd, int root, const char *name, uint64_t *size);
// Reads exactly n bytes at `offset`. An early end is MN_EDATA; a failing read is tried three times, then MN_EIO.
MN_MUST_CHECK mn_err data_file_pread(int fd, const char *path, void *buffer, size_t n, uint64_t offset);
MN_MUST_CHECK mn_err data_file_write(int fd, const char *path, const void *bytes, size_t n);
MN_MUST_CHECK mn_err data_file_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t offset);
// Whole file into memory (the caller frees), with a 0 byte after it. Larger than `most` is MN_EDATA.
MN_MUST_CHECK mn_err data_file_read(char **text, size_t *size, const char *path, uint64_t most);
// Replaces `path` atomically: temporary name, fsync, rename, fsync of the folder.
MN_MUST_CHECK mn_err data_file_replace(const char *path, const void *bytes, size_t n);
// The last two steps of that for a file that is written and synced already.
MN_MUST_CHECK mn_err data_file_publish(const char *temporary, const char *path);
// mkdir -p.
MN_MUST_CHECK mn_err data_dir_make(const char *path);

#endif
