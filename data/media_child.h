// A child process with a stream socket at its standard input or output: what data/media.c needs of the system.
// Internal to data/. Threading: any thread; a child belongs to one thread.
#ifndef DATA_MEDIA_CHILD_H
#define DATA_MEDIA_CHILD_H

#include "nn/base/err.h"

#include <sys/types.h>

typedef struct data__child {
    pid_t pid;
    int socket;       // our end
    double deadline;  // mn_seconds() after which waiting for it fails
    const char *name; // of its file, for messages; borrowed
} data__child;

// Starts argv (ended by NULL). file >= 0 becomes its standard input and our end reads its standard output; file -1:
// our end writes its standard input. Its standard error goes to /dev/null when it has another way to say what is wrong.
MN_MUST_CHECK mn_err data__child_start(data__child *c, char *const argv[], int file, const char *name, double seconds);
// Up to `size` bytes; *n = 0 at its end.
MN_MUST_CHECK mn_err data__child_read(data__child *c, void *data, size_t size, size_t *n);
// Exactly `size` bytes; *end 1: it ended before.
MN_MUST_CHECK mn_err data__child_read_whole(data__child *c, void *data, size_t size, int *end);
MN_MUST_CHECK mn_err data__child_write(data__child *c, const void *data, size_t size);
// Closes our end and waits; kill: does not let it finish. *status as of waitpid.
MN_MUST_CHECK mn_err data__child_end(data__child *c, int kill_it, int *status);

// What it means that a child which reads the file `name` ended with this status before it was done. failure: what it said
// itself, "" for nothing.
mn_err data__child_verdict(const char *name, int status, const char *failure);

#endif
