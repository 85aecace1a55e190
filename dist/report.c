#include "dist/report.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 64, STACK_WAIT_MS = 1000, PIPE_BYTES = 16384 };

// What the handler must see.
static _Atomic int stack_fd = -1, stack_done;

static int stack_signal(void)
{
    return SIGRTMIN + 5; // the real-time signals are free in Open MPI and OpenMP
}

static void on_stack_wanted(int number)
{
    (void)number;
    void *frame[FRAMES];
    int saved = errno, fd = stack_fd;
    if (fd >= 0) backtrace_symbols_fd(frame, backtrace(frame, FRAMES), fd);
    stack_done = 1;
    errno = saved;
}

mn_err dist__report_prepare(void)
{
    void *frame[1];
    (void)backtrace(frame, 1); // the first call loads a library, which the handler must not do
    struct sigaction action = {.sa_handler = on_stack_wanted, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(stack_signal(), &action, NULL) != 0)
        return mn_fail(MN_EINTERNAL, "cannot prepare for reports: %s", strerror(errno));
    return MN_OK;
}

static void put_quoted(int fd, const char *text, size_t size)
{
    char out[512];
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < size && text[i] && n < sizeof out - 3; i++) {
        if (text[i] == '"' || text[i] == '\\') out[n++] = '\\';
        if ((unsigned char)text[i] >= 0x20) out[n++] = text[i];
    }
    out[n++] = '"';
    out[n] = 0;
    dist_put_text(fd, out);
}

static void put_name(int fd, const char *name)
{
    dist_put_text(fd, ",\n  \"");
    dist_put_text(fd, name);
    dist_put_text(fd, "\": ");
}

static void put_string(int fd, const char *name, const char *text)
{
    put_name(fd, name);
    put_quoted(fd, text, strlen(text));
}

static void put_number(int fd, const char *name, int64_t v)
{
    put_name(fd, name);
    dist_put_int(fd, v);
}

// The main thread writes its stack into a pipe; it is not waited for longer than a second.
static void put_stack(int fd, pthread_t main_thread)
{
    int ends[2], first = 1;
    char text[PIPE_BYTES];
    ssize_t size = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        stack_fd = ends[1];
        int sent = pthread_kill(main_thread, stack_signal()) == 0;
        for (int ms = 0; sent && !stack_done && ms < STACK_WAIT_MS; ms += 10)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        size = read(ends[0], text, sizeof text);
    }
    put_name(fd, "stack");
    dist_put_text(fd, "[");
    for (ssize_t at = 0; at < size; first = 0) {
        const char *end = memchr(text + at, '\n', (size_t)(size - at));
        ssize_t length = end ? end - (text + at) : size - at;
        dist_put_text(fd, first ? "\n    " : ",\n    ");
        put_quoted(fd, text + at, (size_t)length);
        at += length + 1;
    }
    dist_put_text(fd, "]");
}

static void put_peers(int fd, dist_comm *c)
{
    put_name(fd, "host_ranks");
    dist_put_text(fd, "[");
    for (int i = 0; c->board && i < c->board_size; i++) {
        dist_status *s = &c->status[i];
        dist_put_text(fd, i ? ",\n    {\"rank\": " : "\n    {\"rank\": ");
        dist_put_int(fd, s->rank);
        dist_put_text(fd, ", \"pid\": ");
        dist_put_int(fd, s->pid);
        dist_put_text(fd, ", \"phase\": ");
        const char *phase = dist_phase_name((dist_phase)s->phase);
        put_quoted(fd, phase, strlen(phase));
        dist_put_text(fd, ", \"step\": ");
        dist_put_int(fd, s->step);
        dist_put_text(fd, ", \"collectives\": ");
        dist_put_int(fd, s->entered);
        dist_put_text(fd, ", \"newest\": ");
        const char *op = dist_op_name((dist_op_kind)s->op);
        put_quoted(fd, op, strlen(op));
        dist_put_text(fd, s->closed ? ", \"closed\": true}" : "}");
    }
    dist_put_text(fd, "]");
}

static void put_report(int fd, const dist_report *r)
{
    dist_put_text(fd, "{\n  \"kind\": ");
    put_quoted(fd, r->kind, strlen(r->kind));
    put_string(fd, "what", r->text);
    put_number(fd, "rank", r->comm->at.rank);
    put_string(fd, "host", r->comm->at.host);
    put_number(fd, "pid", getpid());
    put_number(fd, "attempt", r->attempt);
    put_number(fd, "unix_time", (int64_t)time(NULL));
    put_string(fd, "phase", dist_phase_name(r->phase));
    put_number(fd, "step", r->step);
    put_number(fd, "in_phase_ms", r->in_phase_ns / 1000000);
    put_number(fd, "limit_ms", r->limit_ns / 1000000);
    if (r->suspect >= 0) put_number(fd, "suspect_rank", r->suspect);
    put_peers(fd, r->comm);
    put_name(fd, "collectives");
    dist_trace_write(&r->comm->trace, fd);
    put_stack(fd, r->main);
    dist_put_text(fd, "\n}\n");
}

// One line, so that a reader of the run's history sees that and where it ended. A run without that file has no history.
static void put_event(const dist_report *r, int faults)
{
    char line[256];
    int fd = openat(faults, "../metrics.jsonl", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    int n = snprintf(
        line, sizeof line,
        "{\"event\":\"fault\",\"kind\":\"%s\",\"rank\":%d,\"phase\":\"%s\",\"step\":%lld,\"suspect_rank\":%d,"
        "\"attempt\":%lld}\n",
        r->kind, r->comm->at.rank, dist_phase_name(r->phase), (long long)r->step, r->suspect, (long long)r->attempt);
    if (n > 0 && n < (int)sizeof line) dist_put_text(fd, line);
    close(fd);
}

void dist__report_write(const dist_report *r, int faults)
{
    char name[48], temporary[56];
    snprintf(name, sizeof name, "rank-%d.json", r->comm->at.rank);
    snprintf(temporary, sizeof temporary, ".%s.tmp", name);
    int fd = faults < 0 ? -1 : openat(faults, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    put_report(fd < 0 ? STDERR_FILENO : fd, r);
    if (fd < 0) return;
    close(fd);
    (void)renameat(faults, temporary, faults, name); // if not, the report keeps its temporary name
    put_event(r, faults);
}
