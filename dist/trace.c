#include "dist/trace.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

const char *dist_op_name(dist_op_kind op)
{
    static const char *const names[] = {
#define ROW(name, text) text,
        DIST_OP_MAP(ROW)
#undef ROW
    };
    return (size_t)op < sizeof names / sizeof names[0] ? names[op] : "unknown";
}

int64_t dist_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); // cannot fail: the clock exists on every Linux
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#define PUT(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

uint64_t dist_trace_begin(dist_trace *t, dist_op_kind op, int64_t count, int64_t bytes)
{
    uint64_t seq = GET(t->last) + 1;
    dist_trace_entry *e = &t->entry[seq % DIST_TRACE_ENTRIES];
    PUT(e->end_ns, 0);
    PUT(e->op, (uint32_t)op);
    PUT(e->count, count);
    PUT(e->bytes, bytes);
    PUT(e->start_ns, dist_now_ns());
    PUT(e->seq, seq);
    atomic_store_explicit(&t->last, seq, memory_order_release);
    return seq;
}

void dist_trace_end(dist_trace *t, uint64_t seq)
{
    PUT(t->entry[seq % DIST_TRACE_ENTRIES].end_ns, dist_now_ns());
}

void dist_put_text(int fd, const char *text)
{
    size_t size = strlen(text);
    while (size) {
        ssize_t n = write(fd, text, size);
        if (n <= 0) return; // a report that cannot be written must not keep the process alive
        text += n;
        size -= (size_t)n;
    }
}

void dist_put_int(int fd, int64_t v)
{
    char digits[24];
    int at = (int)sizeof digits - 1;
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (v < 0) digits[--at] = '-';
    dist_put_text(fd, digits + at);
}

static void put_field(int fd, const char *name, int64_t v)
{
    dist_put_text(fd, ", \"");
    dist_put_text(fd, name);
    dist_put_text(fd, "\": ");
    dist_put_int(fd, v);
}

void dist_trace_write(const dist_trace *t, int fd)
{
    uint64_t last = atomic_load_explicit(&t->last, memory_order_acquire);
    uint64_t first = last > DIST_TRACE_ENTRIES ? last - DIST_TRACE_ENTRIES + 1 : 1;
    int64_t now = dist_now_ns();
    dist_put_text(fd, "[");
    for (uint64_t seq = first; seq <= last; seq++) {
        const dist_trace_entry *e = &t->entry[seq % DIST_TRACE_ENTRIES];
        int64_t end = GET(e->end_ns);
        dist_put_text(fd, seq > first ? ",\n    {\"op\": \"" : "\n    {\"op\": \"");
        dist_put_text(fd, dist_op_name((dist_op_kind)GET(e->op)));
        dist_put_text(fd, "\"");
        put_field(fd, "seq", (int64_t)GET(e->seq));
        put_field(fd, "count", GET(e->count));
        put_field(fd, "bytes", GET(e->bytes));
        put_field(fd, "started_us_ago", (now - GET(e->start_ns)) / 1000);
        if (end)
            put_field(fd, "took_us", (end - GET(e->start_ns)) / 1000);
        else
            dist_put_text(fd, ", \"running\": true");
        dist_put_text(fd, "}");
    }
    dist_put_text(fd, "]");
}
