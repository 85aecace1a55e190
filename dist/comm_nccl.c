#include "dist/comm_nccl.h"

#include "dist/backend.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ABORT_SECONDS = 10, GRAPHS = 4 };

struct dist_nccl {
    dist_comm *comm;
    const nn_device *device;
    const nn_nccl *call;
    void *nccl;
    nn_graph *graph[GRAPHS]; // that sum through it
    int graphs;
    dist_wait wait; // of the idle function: restarted when something has come
    mn_err failed;  // nothing more may be put there
    char why[512];
};

// --- aborting ---

typedef struct aborting {
    const nn_nccl *call;
    void *nccl;
    atomic_int done;
} aborting;

static void *abort_thread(void *arg)
{
    aborting *a = arg;
    (void)mn_fault("nccl.abort"); // the tests' abort that hangs
    (void)a->call->abort(a->nccl);
    atomic_store(&a->done, 1);
    return NULL;
}

static void forget_recordings(dist_nccl *n)
{
    for (int i = 0; i < n->graphs; i++)
        nn_graph_forget(n->graph[i]);
    n->graphs = 0;
}

// The library's abort may itself hang on a broken fabric: it gets a thread, and a time. It ends what is on the GPUs first,
// then waits for the recordings to be gone. 1: the library came back; 0: it did not, and the process should end.
static int abort_library(dist_nccl *n)
{
    pthread_t thread;
    if (!n->nccl) return 1;
    aborting *a = mn_calloc(1, sizeof *a);
    *a = (aborting){.call = n->call, .nccl = n->nccl};
    n->nccl = NULL;
    if (n->failed == MN_OK) {
        n->failed = MN_ERETRY;
        snprintf(n->why, sizeof n->why, "the communicator of the GPUs was aborted; run again");
    }
    if (pthread_create(&thread, NULL, abort_thread, a) != 0) return 0;
    forget_recordings(n);
    for (int i = 0; i < ABORT_SECONDS * 100 && !atomic_load(&a->done); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    int done = atomic_load(&a->done);
    if (done) {
        (void)pthread_join(thread, NULL);
        free(a);
    } else {
        (void)pthread_detach(thread); // keeps *a
    }
    return done;
}

// The library cannot go on, and only this rank knows: the others wait for a sum on their GPUs, where no agreement reaches
// them. So this rank gives up, which they notice while they wait.
MN_NORETURN static void give_up(dist_nccl *n, const char *what, int result)
{
    char why[512];
    snprintf(why, sizeof why, "rank %d (host %s): NCCL: %s: %s; run again", n->comm->at.rank, n->comm->at.host, what,
             n->call->error_string(result));
    if (!abort_library(n)) mn_warn("NCCL does not come back from its abort; the process ends without it");
    (void)mn_fail(MN_ERETRY, "%s", why);
    dist_abort(n->comm, MN_ERETRY);
}

mn_err dist_nccl_check(dist_nccl *n)
{
    int state = NN_NCCL_OK;
    if (!n) return MN_OK;
    if (n->failed != MN_OK) return mn_fail(n->failed, "%s", n->why);
    int result = n->nccl ? n->call->async_error(n->nccl, &state) : NN_NCCL_OK;
    if (result != NN_NCCL_OK) give_up(n, "asking for errors", result);
    if (state != NN_NCCL_OK && state != NN_NCCL_IN_PROGRESS) give_up(n, "a sum over ranks", state);
    return MN_OK;
}

// Called while this rank waits for its GPU: it may wait for a sum that will never come.
static mn_err idle(void *ctx)
{
    dist_nccl *n = ctx;
    MN_TRY(dist_nccl_check(n));
    mn_err err = dist__wait(n->comm, &n->wait);
    if (err != MN_OK && n->failed == MN_OK) {
        n->failed = err;
        snprintf(n->why, sizeof n->why, "%s", mn_errmsg());
    }
    return err;
}

// What a call of a non-blocking communicator leaves behind: in progress, until it is done. Some versions return success
// from a call that still is: the communicator itself is asked.
static mn_err settle(dist_nccl *n, const char *what, int result)
{
    int state = result == NN_NCCL_OK ? NN_NCCL_IN_PROGRESS : result;
    n->wait = (dist_wait){0};
    while (state == NN_NCCL_IN_PROGRESS) {
        result = n->call->async_error(n->nccl, &state);
        if (result != NN_NCCL_OK) give_up(n, what, result);
        if (state == NN_NCCL_IN_PROGRESS) MN_TRY(dist__wait(n->comm, &n->wait));
    }
    n->wait = (dist_wait){0};
    if (state != NN_NCCL_OK) give_up(n, what, state);
    return MN_OK;
}

static mn_err join(dist_nccl *n)
{
    nn_nccl_id id = {{0}};
    nn_nccl_config cfg = {.size = offsetof(nn_nccl_config, split_share) + sizeof cfg.split_share, // without padding
                          .magic = 0xcafebeef,
                          .version = NN_NCCL_LEAST,
                          .blocking = 0,
                          .cga_cluster_size = INT_MIN, // the library's own choice
                          .min_ctas = INT_MIN,
                          .max_ctas = INT_MIN,
                          .split_share = INT_MIN};
    mn_err err = n->device->nccl(n->device, &n->call);
    if (err == MN_OK && n->comm->at.rank == 0) {
        int result = n->call->unique_id(&id);
        if (result != NN_NCCL_OK) err = mn_fail(MN_EDEVICE, "NCCL cannot start: %s", n->call->error_string(result));
    }
    MN_TRY(dist_agree(n->comm, err));
    MN_TRY(dist_broadcast(n->comm, &id, sizeof id, 0));
    (void)mn_fault("nccl.init");
    return settle(n, "joining the ranks", n->call->init(&n->nccl, n->comm->at.world, id, n->comm->at.rank, &cfg));
}

mn_err dist_nccl_open(dist_nccl **out, dist_comm *c, const nn_device *d)
{
    *out = NULL;
    if (dist_world(c) == 1 || d->on_host) return MN_OK;
    dist_nccl *n = mn_calloc(1, sizeof *n);
    n->comm = c;
    n->device = d;
    mn_err err = join(n);
    if (err != MN_OK) {
        dist_nccl_close(n, err);
        return err;
    }
    d->set_idle(d, idle, n);
    *out = n;
    return MN_OK;
}

// --- ending ---

void dist_nccl_close(dist_nccl *n, mn_err err)
{
    if (!n) return;
    if (n->device->set_idle) n->device->set_idle(n->device, NULL, NULL);
    if (n->nccl && (err != MN_OK || n->failed != MN_OK)) {
        char *why = mn_strdup(mn_errmsg());
        int back = abort_library(n);
        if (!back) mn_warn("NCCL does not come back from its abort; the process ends without it");
        mn_err e = err != MN_OK ? err : n->failed;
        mn_fail(e, "%s", *why ? why : n->why);
        free(why);
        if (!back) dist_abort(n->comm, e);
    } else if (n->nccl) {
        forget_recordings(n);
        if (settle(n, "finishing", n->call->finalize(n->nccl)) == MN_OK)
            (void)n->call->destroy(n->nccl);
        else
            (void)abort_library(n);
    }
    free(n);
}

// --- sums ---

mn_err dist_nccl_sum(dist_nccl *n, void *v, int64_t count, int type, void *stream)
{
    if (!n) return MN_OK;
    if (n->failed != MN_OK) return mn_fail(n->failed, "%s", n->why);
    if (mn_fault("nccl.sum") == 1) give_up(n, "a sum over ranks", 1);
    dist__entered(n->comm, DIST_OP_GRADIENTS);
    return settle(n, "a sum over ranks", n->call->all_reduce(v, v, (size_t)count, type, NN_NCCL_SUM, n->nccl, stream));
}

static mn_err sum_batch(void *ctx, double *v, int64_t count)
{
    dist_nccl *n = ctx;
    return dist_nccl_sum(n, v, count, NN_NCCL_F64, n->device->stream);
}

void dist_nccl_attach(dist_nccl *n, nn_graph *g)
{
    if (!n || !g) return;
    mn_assert(n->graphs < GRAPHS);
    n->graph[n->graphs++] = g;
    nn_graph_set_sum(g, sum_batch, n);
}
