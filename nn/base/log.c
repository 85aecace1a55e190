#include "nn/base/log.h"

#include "nn/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Process-wide on purpose: a log is one place. Guarded by `lock`, but for the two that are read on every call.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int file = -1;
static _Atomic int least_level = MN_INFO;
static _Atomic int own_rank;

enum { LINE_SIZE = 4096, STAMP_SIZE = 21 };

void mn_log_level(mn_level least)
{
    least_level = (int)least;
}

void mn_log_rank(int rank)
{
    own_rank = rank;
}

mn_err mn_log_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) return mn_fail(MN_ECREATE, "cannot open the log %s: %s", path, strerror(errno));
    mn_log_close();
    pthread_mutex_lock(&lock);
    file = fd;
    pthread_mutex_unlock(&lock);
    return MN_OK;
}

void mn_log_close(void)
{
    pthread_mutex_lock(&lock);
    if (file >= 0) close(file); // lines were written as they came; nothing is left that could fail
    file = -1;
    pthread_mutex_unlock(&lock);
}

// One write: O_APPEND keeps lines of several processes whole. A log that cannot be written must not stop a run.
static void put(int fd, const char *text, size_t size)
{
    while (size) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text += n;
        size -= (size_t)n;
    }
}

// Formats "2026-01-31T12:34:56Z [rank 1] warning: text\n" into line; returns its length.
static size_t format_line(char line[LINE_SIZE], mn_level level, const char *format, va_list args)
{
    static const char *const prefix[] = {
        [MN_DEBUG] = "debug: ", [MN_INFO] = "", [MN_WARN] = "warning: ", [MN_ERROR] = "error: "};
    mn_utc_text(line, LINE_SIZE);
    size_t used = strlen(line);
    line[used++] = ' ';
    if (own_rank) used += (size_t)snprintf(line + used, LINE_SIZE - used, "[rank %d] ", own_rank);
    used += (size_t)snprintf(line + used, LINE_SIZE - used, "%s", prefix[level]);
    size_t start = used;
    int n = vsnprintf(line + used, LINE_SIZE - used, format, args);
    if (n > 0) used += (size_t)n;
    if (used > LINE_SIZE - 1) {
        used = LINE_SIZE - 1;
        memcpy(line + used - 3, "...", 3);
    }
    for (size_t i = start; i < used; i++) // what comes from outside must not fake a second line
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f) line[i] = ' ';
    line[used++] = '\n';
    return used;
}

void mn_log(mn_level level, const char *format, ...)
{
    int to_stderr = (int)level >= least_level && (own_rank == 0 || level >= MN_WARN);
    if (own_rank && level < MN_WARN) return;
    int saved = errno;
    char line[LINE_SIZE];
    va_list args;
    va_start(args, format);
    size_t size = format_line(line, level, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    if (to_stderr) put(STDERR_FILENO, line + STAMP_SIZE, size - STAMP_SIZE); // the time is for the file only
    if (file >= 0) put(file, line, size);
    pthread_mutex_unlock(&lock);
    errno = saved;
}
