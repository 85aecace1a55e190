// What the readers and writers of this folder need of files beyond nn/base/file.h.
//
//     int fd; int64_t size; MN_TRY(data_file_open_beneath(&fd, root, "cropped/1/00001.jpg", &size));
//     MN_TRY(data_file_pread(fd, name, buffer, n, 0));
//
// Threading: pure functions on descriptors; any thread.
#ifndef DATA_FILE_H
#define DATA_FILE_H

#include "nn/base/err.h"

#include <stdint.h>

// Opens a regular file below the open folder `root`, for names out of lists that came with a dataset: an absolute name,
// "..", or a link that leads out of the folder is MN_EDATA; what is not there, or is no regular file, is MN_ENOINPUT.
MN_MUST_CHECK mn_err data_file_open_beneath(int *fd, int root, const char *name, int64_t *size);
// mn_file_read_at that tries three times where reading fails (MN_EIO), as network file systems do now and then.
MN_MUST_CHECK mn_err data_file_pread(int fd, const char *path, void *buffer, size_t n, uint64_t offset);
MN_MUST_CHECK mn_err data_file_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t offset);
// The last step of writing a file whose bytes are durable: rename, then sync of the folder.
MN_MUST_CHECK mn_err data_file_publish(const char *temporary, const char *path);
// Names in the folder that begin and end with these texts, in byte order, hidden ones left out; mn_names_free.
MN_MUST_CHECK mn_err data_dir_like(const char *dir, const char *begin, const char *end, char ***names, int64_t *n);
// Raises the soft limit of open descriptors, often 1024, so that `n` more can be opened, as far as the hard one lets it.
void data_file_allow(int64_t n);

#endif
