#include "dist/window.h"

#include "dist/backend.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct dist_window {
    dist_comm *comm;
    dist_shared memory;
    void *plain; // instead of it
    size_t bytes, stride;
};

mn_err dist_window_new(dist_window **out, dist_comm *c)
{
    dist_window *w = mn_calloc(1, sizeof *w);
    w->comm = c;
    *out = w;
    return MN_OK;
}

void dist_window_free(dist_window *w)
{
    if (!w) return;
    dist_shared_close(&w->memory);
    mn_large_free(w->plain, w->bytes);
    free(w);
}

size_t dist_window_bytes(const dist_window *w)
{
    return w->bytes;
}

float *dist_window_segment(const dist_window *w, int group_rank)
{
    if (!w->memory.base) return group_rank == w->comm->at.group_rank ? w->plain : NULL;
    return (float *)((char *)w->memory.base + (size_t)group_rank * w->stride);
}

static mn_err check_size(dist_comm *c, size_t bytes)
{
    int64_t mine = (int64_t)bytes;
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 4, &mine, sizeof mine));
    for (int r = 0; r < c->at.world; r++) {
        int64_t other = *(const int64_t *)dist__from(c, r);
        if (other != mine)
            return mn_fail(
                MN_ECONFIG,
                "rank %d has %lld bytes of gradients, rank %d has %lld: the ranks do not build the same model",
                c->at.rank, (long long)mine, r, (long long)other);
    }
    return MN_OK;
}

enum { SEGMENT_ALIGN = 1 << 21 }; // of huge pages

mn_err dist_window_alloc(void *window, size_t bytes, void **out)
{
    dist_window *w = window;
    dist_comm *c = w->comm;
    mn_assert(!w->bytes);
    MN_TRY(check_size(c, bytes));
    w->stride = (bytes + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
    if (c->at.groups < c->at.world) {
        size_t all;
        MN_TRY(mn_mul_size(w->stride, (size_t)c->at.group_size, &all));
        MN_TRY(dist_shared_open(c, all, &w->memory));
        if (!w->memory.base && w->memory.why[0])
            mn_warn("gradients of %s cannot be shared (%s): they go through %s, which is slower", c->at.host,
                    w->memory.why, dist_library());
    }
    if (!w->memory.base) {
        dist__ungroup(c);
        MN_TRY(mn_large_alloc(&w->plain, bytes, "the gradients"));
        memset(w->plain, 0, bytes);
    }
    w->bytes = bytes;
    *out = dist_window_segment(w, c->at.group_rank);
    return MN_OK;
}
