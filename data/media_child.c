#include "data/media_child.h"

#include "nn/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// posix_spawn and not fork: the parent may be a rank with gigabytes of memory and threads. A socket and not a pipe:
// writing to a child that died is an error there, not a signal.
mn_err data__child_start(data__child *c, char *const argv[], int file, const char *name, double seconds)
{
    int pair[2], rc;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return mn_fail(MN_EIO, "%s: socketpair: %s", name, strerror(errno));
    rc = posix_spawn_file_actions_init(&actions);
    if (!rc) rc = posix_spawnattr_init(&attributes);
    if (!rc) rc = posix_spawn_file_actions_adddup2(&actions, file >= 0 ? file : pair[1], STDIN_FILENO);
    if (!rc && file >= 0) rc = posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    if (!rc && file >= 0) rc = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    // A blocked or ignored signal must not be inherited: the child is ended by signals.
    sigemptyset(&none);
    if (!rc) rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (!rc) rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (!rc) rc = posix_spawn(&c->pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(pair[1]);
    if (rc) {
        close(pair[0]);
        return mn_fail(MN_EIO, "%s: cannot start %s: %s", name, argv[0], strerror(rc));
    }
    c->socket = pair[0];
    c->name = name;
    c->deadline = mn_seconds() + seconds;
    return MN_OK;
}

static mn_err wait_ready(const data__child *c, short events)
{
    for (;;) {
        double left = c->deadline - mn_seconds();
        struct pollfd p = {c->socket, events, 0};
        int rc = left > 0 ? poll(&p, 1, left > 1000 ? 1000000 : (int)(left * 1000) + 1) : 0;
        if (rc > 0) return MN_OK;
        if (rc < 0 && errno != EINTR) return mn_fail(MN_EIO, "%s: poll: %s", c->name, strerror(errno));
        if (rc == 0 && left <= 0)
            return mn_fail(MN_ERETRY, "%s: not done within its time limit; the helper was ended", c->name);
    }
}

mn_err data__child_read(data__child *c, void *data, size_t size, size_t *n)
{
    for (;;) {
        MN_TRY(wait_ready(c, POLLIN));
        ssize_t got = recv(c->socket, data, size, 0);
        if (got >= 0) {
            *n = (size_t)got;
            return MN_OK;
        }
        if (errno == ECONNRESET) { // it died with unread input
            *n = 0;
            return MN_OK;
        }
        if (errno != EINTR) return mn_fail(MN_EIO, "%s: reading from the helper: %s", c->name, strerror(errno));
    }
}

mn_err data__child_read_whole(data__child *c, void *data, size_t size, int *end)
{
    char *p = data;
    *end = 0;
    while (size > 0) {
        size_t n;
        MN_TRY(data__child_read(c, p, size, &n));
        if (n == 0) {
            *end = 1;
            return MN_OK;
        }
        p += n;
        size -= n;
    }
    return MN_OK;
}

mn_err data__child_write(data__child *c, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        MN_TRY(wait_ready(c, POLLOUT));
        ssize_t n = send(c->socket, p, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n < 0) return mn_fail(MN_EIO, "%s: writing to the helper: %s", c->name, strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return MN_OK;
}

mn_err data__child_end(data__child *c, int kill_it, int *status)
{
    if (kill_it) kill(c->pid, SIGKILL);
    if (!kill_it) shutdown(c->socket, SHUT_WR);
    // What it still has to do is bounded by its own limit of processor time; a deadline bounds the waiting here.
    for (;;) {
        char rest[256];
        size_t n = 0;
        mn_err err = kill_it ? MN_OK : data__child_read(c, rest, sizeof rest, &n);
        if (err == MN_OK && n > 0) continue;
        if (err != MN_OK) kill(c->pid, SIGKILL);
        close(c->socket);
        while (waitpid(c->pid, status, 0) < 0)
            if (errno != EINTR) return mn_fail(MN_EIO, "%s: waitpid: %s", c->name, strerror(errno));
        return err;
    }
}

mn_err data__child_verdict(const char *name, int status, const char *failure)
{
    if (failure[0]) return mn_fail(MN_EDATA, "%s", failure);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return mn_fail(MN_ERETRY, "%s: reading it took too much processor time", name);
    if (WIFSIGNALED(status))
        return mn_fail(MN_EDATA, "%s: the helper that reads it died of signal %d (%s): damaged or hostile", name,
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    return mn_fail(MN_EDATA, "%s: the helper that reads it gave up with status %d", name, WEXITSTATUS(status));
}
