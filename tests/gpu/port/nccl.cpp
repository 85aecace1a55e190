// NCCL's calls over MPI, for nn/cuda_nccl.h: sums are work of a stream like the kernels, wait for their peers without
// holding up the host, and add in rank order.
//
// CUDA_PORT_NCCL=FAULT:N@RANK makes something go wrong at the N-th sum (from 1) of a rank:
//   async  the communicator reports an error from then on        hang   the sum never comes
//   late   it comes a second later                               count  it has another number of elements
// and CUDA_PORT_NCCL=abort@RANK makes an abort that does not come back.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "nn/cuda_nccl.h"
}

#include <memory>
#define OMPI_SKIP_MPICXX 1 // its C++ names
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <time.h>
#include <unistd.h>
#include <vector>

struct comm {
    MPI_Comm mpi;
    int rank, world, state;
    bool aborted;
    long sums;                 // that have started
    std::shared_ptr<int> held; // by every sum that waits or is recorded
    bool finalizing;
};

// The real library's communicator ends when the last recording with a sum of it is gone.
static bool is_held(const comm *c)
{
    return c->held.use_count() > 1;
}

static bool fault(const comm *c, const char *kind, long n)
{
    char text[64];
    const char *env = getenv("CUDA_PORT_NCCL");
    snprintf(text, sizeof text, "%s:%ld@%d", kind, n, c->rank);
    return env && std::string(env) == text;
}

static int version(int *out)
{
    *out = 22800;
    return NN_NCCL_OK;
}

static int unique_id(nn_nccl_id *out)
{
    snprintf(out->bytes, sizeof out->bytes, "%ld", (long)getpid());
    return NN_NCCL_OK;
}

static int init(void **out, int world, nn_nccl_id, int rank, nn_nccl_config *cfg)
{
    comm *c = new comm{MPI_COMM_NULL, rank, world, NN_NCCL_OK, false, 0, std::make_shared<int>(0), false};
    if (cfg->magic != 0xcafebeef || cfg->size != 44) return 4;
    MPI_Comm_dup(MPI_COMM_WORLD, &c->mpi);
    *out = c;
    return NN_NCCL_IN_PROGRESS; // as a communicator that does not block
}

static int async_error(void *p, int *state)
{
    const comm *c = (comm *)p;
    *state = c->finalizing && is_held(c) ? NN_NCCL_IN_PROGRESS : c->state;
    return NN_NCCL_OK;
}

static double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t size_of(int type)
{
    return type == NN_NCCL_F64 ? 8 : type == NN_NCCL_F32 ? 4 : 2;
}

template <class T> static void add_all(T *to, const T *all, size_t count, int world)
{
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (int r = 0; r < world; r++)
            sum += (double)all[(size_t)r * count + i];
        to[i] = (T)sum;
    }
}

// One sum: the counts of all ranks, then their values.
struct sum {
    comm *c;
    void *at;
    size_t count;
    int type;
    long number = 0;
    int stage = 0;
    double since = 0;
    unsigned long long mine = 0;
    std::vector<unsigned long long> counts;
    std::vector<char> all;
    MPI_Request request = MPI_REQUEST_NULL;

    bool finished()
    {
        int done = 0;
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        return done;
    }

    bool run()
    {
        if (c->aborted || c->state != NN_NCCL_OK) return true;
        if (stage == 0) {
            number = ++c->sums;
            since = now();
            stage = 1;
        }
        if (stage == 1) {
            if (fault(c, "hang", number) || (fault(c, "late", number) && now() - since < 1)) return false;
            if (fault(c, "async", number)) {
                c->state = 2; // ncclSystemError
                return true;
            }
            mine = count + (fault(c, "count", number) ? 1 : 0);
            counts.resize((size_t)c->world);
            MPI_Iallgather(&mine, 1, MPI_UNSIGNED_LONG_LONG, counts.data(), 1, MPI_UNSIGNED_LONG_LONG, c->mpi,
                           &request);
            stage = 2;
        }
        if (stage == 2) {
            if (!finished()) return false;
            for (unsigned long long other : counts)
                if (other != mine) {
                    c->state = 5; // ncclInvalidUsage; the real library would hang or mix up the values
                    return true;
                }
            all.resize(count * size_of(type) * (size_t)c->world);
            MPI_Iallgather(at, (int)(count * size_of(type)), MPI_BYTE, all.data(), (int)(count * size_of(type)),
                           MPI_BYTE, c->mpi, &request);
            stage = 3;
        }
        if (!finished()) return false;
        if (type == NN_NCCL_F64)
            add_all((double *)at, (const double *)all.data(), count, c->world);
        else if (type == NN_NCCL_F32)
            add_all((float *)at, (const float *)all.data(), count, c->world);
        else
            add_all((__nv_bfloat16 *)at, (const __nv_bfloat16 *)all.data(), count, c->world);
        return true;
    }
};

static int all_reduce(const void *from, void *to, size_t count, int type, int op, void *p, void *stream)
{
    comm *c = (comm *)p;
    if (from != to || op != NN_NCCL_SUM) return 4;
    // A sum that was recorded starts anew with every replay.
    auto current = std::make_shared<std::shared_ptr<sum>>();
    std::shared_ptr<int> hold = c->held;
    cuda_port_enqueue_poll((cudaStream_t)stream, "ncclAllReduce", [=] {
        (void)hold;
        if (!*current) *current = std::make_shared<sum>(sum{.c = c, .at = to, .count = count, .type = type});
        bool done = (*current)->run();
        if (done) current->reset();
        return done;
    });
    return NN_NCCL_IN_PROGRESS;
}

static int finalize(void *p)
{
    ((comm *)p)->finalizing = true;
    return NN_NCCL_IN_PROGRESS;
}

static int destroy(void *p)
{
    delete (comm *)p;
    return NN_NCCL_OK;
}

static int abort_comm(void *p)
{
    comm *c = (comm *)p;
    char text[32];
    const char *env = getenv("CUDA_PORT_NCCL");
    snprintf(text, sizeof text, "abort@%d", c->rank);
    while (env && std::string(env) == text)
        sleep(1);
    c->aborted = true; // never freed: work in a stream may still look at it
    while (is_held(c))
        usleep(1000);
    return NN_NCCL_OK;
}

static const char *error_string(int result)
{
    static const char *const text[] = {
        "no error",         "unhandled cuda error", "unhandled system error", "internal error",
        "invalid argument", "invalid usage",        "remote process exited",  "in progress"};
    return result >= 0 && result < 8 ? text[result] : "unknown result";
}

mn_err nn_cuda_nccl(const nn_nccl **out)
{
    static const nn_nccl table = {version,  unique_id, init,       all_reduce,  async_error,
                                  finalize, destroy,   abort_comm, error_string};
    *out = &table;
    return MN_OK;
}
