// The only file that knows MPI. All waiting is done with MPI_Test and dist__wait, so that ranks that share cores yield,
// and a rank whose peers are gone finds out.
#include "dist/backend.h"
#include "dist/reduce.h"
#include "nn/base/mem.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct flight { // a sum over leaders that is under way
    float *v;           // (n)
    mn_dtype wire;
    void *data;     // (n): what is sent and comes back: v, or its bf16
    void *received; // (groups, own slice)
    void *buffer;   // of this flight
    int64_t n;
    MPI_Request *request; // (2 * groups)
    int n_requests;
    enum { IDLE, SCATTER, GATHER } phase;
} flight;

typedef struct ranks { // state of the backend
    MPI_Comm comm;
    flight flight[DIST_FLIGHTS];
    const void **from; // (groups)
    void *buffer;      // of all flights
    size_t buffer_bytes;
    int64_t capacity; // largest n that was reserved
} ranks;

static mn_err failed(dist_comm *c, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int size = 0;
    if (MPI_Error_string(code, text, &size) != MPI_SUCCESS) size = 0;
    text[size < (int)sizeof text ? size : 0] = 0;
    return mn_fail(dist__lost(c), "%s failed on rank %d (%s): %s; run again, the last checkpoint is used", what,
                   c->at.rank, c->at.host, text);
}

#define TRY_MPI(c, call)                                                                                               \
    do {                                                                                                               \
        int code_ = (call);                                                                                            \
        if (code_ != MPI_SUCCESS) return failed(c, #call, code_);                                                      \
    } while (0)

static mn_err finish(dist_comm *c, MPI_Request *request)
{
    int done = 0;
    for (dist_wait w = {0}; !done;) {
        TRY_MPI(c, MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (!done) MN_TRY(dist__wait(c, &w));
    }
    return MN_OK;
}

static mn_err allgather(dist_comm *c, const void *mine, size_t bytes, void *all)
{
    ranks *k = c->state;
    MPI_Request request;
    mn_assert(bytes <= INT_MAX);
    TRY_MPI(c, MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, k->comm, &request));
    return finish(c, &request);
}

enum { BROADCAST_BYTES = 64 << 20 };

static mn_err broadcast(dist_comm *c, void *p, size_t bytes, int root)
{
    ranks *k = c->state;
    for (size_t at = 0; at < bytes; at += BROADCAST_BYTES) {
        MPI_Request request;
        size_t part = bytes - at < BROADCAST_BYTES ? bytes - at : BROADCAST_BYTES;
        TRY_MPI(c, MPI_Ibcast((char *)p + at, (int)part, MPI_BYTE, root, k->comm, &request));
        MN_TRY(finish(c, &request));
    }
    return MN_OK;
}

// Slice g of the n elements, in whole cache lines: [begin(g), begin(g + 1)).
static int64_t slice_begin(int64_t n, int g, int groups)
{
    return g == groups ? n : n / 16 * g / groups * 16;
}

static mn_err sum_reserve(dist_comm *c, int64_t n)
{
    ranks *k = c->state;
    size_t groups = (size_t)c->at.groups;
    mn_assert(n <= INT_MAX);
    if (!k->from) k->from = (const void **)mn_calloc(groups, sizeof *k->from);
    if (n <= k->capacity) return MN_OK;
    if (k->buffer) mn_large_free(k->buffer, k->buffer_bytes);
    k->buffer = NULL;
    k->capacity = 0;
    size_t each = (size_t)n + 32 * groups; // a slice is at most n / groups and two cache lines; twice that as bf16
    k->buffer_bytes = each * DIST_FLIGHTS * sizeof(float);
    MN_TRY(mn_large_alloc(&k->buffer, k->buffer_bytes, "the buffer of sums between nodes"));
    k->capacity = n;
    for (int i = 0; i < DIST_FLIGHTS; i++) {
        k->flight[i].buffer = (float *)k->buffer + (size_t)i * each;
        if (!k->flight[i].request) k->flight[i].request = mn_calloc(groups * 2, sizeof(MPI_Request));
    }
    return MN_OK;
}

enum { TAG_SCATTER = 1, TAG_GATHER = 2, TAGS = 4 };

// The element of what goes over the wire.
static void *element(const flight *f, void *base, int64_t i)
{
    return (char *)base + (size_t)i * mn_dtype_size(f->wire);
}

// Scatter: each leader gets its slice of the data. Gather: each gets the sum of this one's slice.
static mn_err exchange(dist_comm *c, flight *f, int tag)
{
    ranks *k = c->state;
    int groups = c->at.groups, me = c->at.group;
    int64_t begin = slice_begin(f->n, me, groups), own = slice_begin(f->n, me + 1, groups) - begin;
    MPI_Datatype type = f->wire == MN_BF16 ? MPI_UINT16_T : MPI_FLOAT;
    tag += (int)(f - k->flight) * TAGS;
    f->n_requests = 0;
    for (int g = 0; g < groups; g++) {
        int64_t at = slice_begin(f->n, g, groups), size = slice_begin(f->n, g + 1, groups) - at;
        int scatter = f->phase == SCATTER;
        if (g == me) continue;
        void *to = scatter ? element(f, f->received, own * g) : element(f, f->data, at);
        TRY_MPI(c, MPI_Irecv(to, (int)(scatter ? own : size), type, c->leader[g], tag, k->comm,
                             &f->request[f->n_requests++]));
        TRY_MPI(c, MPI_Isend(element(f, f->data, scatter ? at : begin), (int)(scatter ? size : own), type, c->leader[g],
                             tag, k->comm, &f->request[f->n_requests++]));
    }
    return MN_OK;
}

// First every leader sends slice g to leader g; what it receives of its own slice it adds up in group order.
static mn_err sum_start(dist_comm *c, int slot, float *v, int64_t n, mn_dtype wire)
{
    ranks *k = c->state;
    flight *f = &k->flight[slot];
    mn_assert(f->phase == IDLE && n <= k->capacity);
    f->v = v;
    f->n = n;
    f->wire = wire;
    f->data = wire == MN_BF16 ? f->buffer : v;
    f->received = wire == MN_BF16 ? (mn_bf16 *)f->buffer + n : f->buffer;
    f->phase = SCATTER;
    if (wire == MN_BF16) dist_narrow(f->data, v, n);
    return exchange(c, f, TAG_SCATTER);
}

static void add_slices(dist_comm *c, flight *f)
{
    ranks *k = c->state;
    int groups = c->at.groups, me = c->at.group;
    int64_t begin = slice_begin(f->n, me, groups), own = slice_begin(f->n, me + 1, groups) - begin;
    for (int g = 0; g < groups; g++)
        k->from[g] = g == me ? element(f, f->data, begin) : element(f, f->received, own * g);
    if (f->wire == MN_BF16)
        dist_sum_bf16((const mn_bf16 *const *)k->from, groups, element(f, f->data, begin), own);
    else
        dist_sum_floats((const float *const *)k->from, groups, &(float *){f->v + begin}, 1, own);
}

static mn_err sum_poll(dist_comm *c, int slot, int *done)
{
    ranks *k = c->state;
    flight *f = &k->flight[slot];
    int all = 0;
    *done = 0;
    TRY_MPI(c, MPI_Testall(f->n_requests, f->request, &all, MPI_STATUSES_IGNORE));
    if (!all) return MN_OK;
    if (f->phase == SCATTER) {
        add_slices(c, f);
        f->phase = GATHER;
        return exchange(c, f, TAG_GATHER);
    }
    if (f->wire == MN_BF16) dist_widen(f->v, f->data, f->n);
    f->phase = IDLE;
    *done = 1;
    return MN_OK;
}

static mn_err library_sum(dist_comm *c, float *v, int64_t n)
{
    ranks *k = c->state;
    mn_assert(n <= INT_MAX);
    TRY_MPI(c, MPI_Allreduce(MPI_IN_PLACE, v, (int)n, MPI_FLOAT, MPI_SUM, k->comm));
    return MN_OK;
}

static void abort_ranks(dist_comm *c, int status)
{
    ranks *k = c->state;
    MPI_Abort(k->comm, status);
}

static void close_ranks(dist_comm *c)
{
    ranks *k = c->state;
    if (!k) return;
    if (k->buffer) mn_large_free(k->buffer, k->buffer_bytes);
    for (int i = 0; i < DIST_FLIGHTS; i++)
        free(k->flight[i].request);
    free(k->from);
    if (k->comm != MPI_COMM_NULL) MPI_Comm_free(&k->comm);
    MPI_Finalize();
    free(k);
}

static mn_err find_hosts(dist_comm *c)
{
    ranks *k = c->state;
    MPI_Comm local;
    TRY_MPI(c, MPI_Comm_split_type(k->comm, MPI_COMM_TYPE_SHARED, c->at.rank, MPI_INFO_NULL, &local));
    TRY_MPI(c, MPI_Comm_rank(local, &c->at.local_rank));
    TRY_MPI(c, MPI_Comm_size(local, &c->at.local_size));
    int lowest = c->at.rank;
    TRY_MPI(c, MPI_Bcast(&lowest, 1, MPI_INT, 0, local));
    TRY_MPI(c, MPI_Comm_free(&local));
    c->host_of = mn_calloc((size_t)c->at.world, sizeof(int));
    TRY_MPI(c, MPI_Allgather(&lowest, 1, MPI_INT, c->host_of, 1, MPI_INT, k->comm));
    return MN_OK;
}

static const dist_backend backend = {.allgather = allgather,
                                     .broadcast = broadcast,
                                     .sum_reserve = sum_reserve,
                                     .sum_start = sum_start,
                                     .sum_poll = sum_poll,
                                     .library_sum = library_sum,
                                     .abort = abort_ranks,
                                     .close = close_ranks};

mn_err dist__mpi_open(dist_comm *c)
{
    int provided = 0, initialized = 0;
    TRY_MPI(c, MPI_Initialized(&initialized));
    if (initialized) return mn_fail(MN_EINTERNAL, "the communicator was opened twice in one process");
    TRY_MPI(c, MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    ranks *k = mn_calloc(1, sizeof *k);
    k->comm = MPI_COMM_NULL;
    c->state = k;
    c->backend = &backend;
    if (provided < MPI_THREAD_FUNNELED)
        return mn_fail(MN_EDEVICE, "%s offers no thread support (MPI_THREAD_FUNNELED): use a build with threads",
                       dist_library());
    TRY_MPI(c, MPI_Comm_dup(MPI_COMM_WORLD, &k->comm));
    TRY_MPI(c, MPI_Comm_set_errhandler(k->comm, MPI_ERRORS_RETURN));
    TRY_MPI(c, MPI_Comm_rank(k->comm, &c->at.rank));
    TRY_MPI(c, MPI_Comm_size(k->comm, &c->at.world));
    return find_hosts(c);
}

const char *dist_library(void)
{
    static char text[64]; // of the library that was loaded, which is one per process
#if defined(OPEN_MPI)
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int size = 0;
    if (!text[0] && MPI_Get_library_version(version, &size) == MPI_SUCCESS) {
        // "Open MPI v4.1.4, package: ..."
        version[strcspn(version, ",\n")] = 0;
        snprintf(text, sizeof text, "%.60s", version);
    }
#endif
    if (!text[0]) snprintf(text, sizeof text, "MPI %d.%d", MPI_VERSION, MPI_SUBVERSION);
    return text;
}
