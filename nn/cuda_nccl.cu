extern "C" {
#include "nn/cuda_nccl.h"
}

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// Where a build found the library's folder, for hosts that have it only in NVIDIA's Python wheels.
#ifndef MIEN_NCCL_DIR
#define MIEN_NCCL_DIR ""
#endif

static mn_err find(void *handle, const char *name, void *to)
{
    void *f = dlsym(handle, name);
    if (!f) return mn_fail(MN_EDEVICE, "NCCL has no function %s: 2.19 or later is needed", name);
    memcpy(to, &f, sizeof f);
    return MN_OK;
}

static mn_err find_all(void *handle, nn_nccl *t)
{
    int version = 0;
    MN_TRY(find(handle, "ncclGetVersion", &t->version));
    if (t->version(&version) != NN_NCCL_OK || version < NN_NCCL_LEAST)
        return mn_fail(MN_EDEVICE, "NCCL %d.%d is too old: 2.19 or later is needed", version / 10000,
                       version / 100 % 100);
    MN_TRY(find(handle, "ncclGetUniqueId", &t->unique_id));
    MN_TRY(find(handle, "ncclCommInitRankConfig", &t->init));
    MN_TRY(find(handle, "ncclAllReduce", &t->all_reduce));
    MN_TRY(find(handle, "ncclCommGetAsyncError", &t->async_error));
    MN_TRY(find(handle, "ncclCommFinalize", &t->finalize));
    MN_TRY(find(handle, "ncclCommDestroy", &t->destroy));
    MN_TRY(find(handle, "ncclCommAbort", &t->abort));
    return find(handle, "ncclGetErrorString", &t->error_string);
}

static mn_err open_library(const char *path, nn_nccl *t)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return mn_fail(MN_EDEVICE, "several ranks on GPUs need NCCL: %s; install it, or name the file in MIEN_NCCL",
                       dlerror());
    mn_err err = find_all(handle, t);
    if (err != MN_OK) (void)dlclose(handle);
    return err;
}

// The system's, unless it is missing or too old.
static mn_err open_any(nn_nccl *t)
{
    const char *named = getenv("MIEN_NCCL");
    if (named && *named) return open_library(named, t);
    mn_err err = open_library("libnccl.so.2", t);
    return err == MN_OK || !*MIEN_NCCL_DIR ? err : open_library(MIEN_NCCL_DIR "/libnccl.so.2", t);
}

mn_err nn_cuda_nccl(const nn_nccl **out)
{
    static nn_nccl table;
    static int opened;
    if (!opened) MN_TRY(open_any(&table));
    opened = 1;
    *out = &table;
    return MN_OK;
}
