#include "nn/device_cuda.h"

#include "nn/base/mem.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const nn_op *const ops[] = {
#define NN_OP(name) &nn_op_##name,
#include "nn/ops.def"
#undef NN_OP
};

// Beside the binary; MIEN_CUDA_MODULE names another one (the tests' own).
static char *module_path(void)
{
    const char *named = getenv("MIEN_CUDA_MODULE");
    char self[4096];
    if (named && *named) return mn_strdup(named);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return mn_strdup("mien_cuda.so");
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    return mn_sprintf("%s/mien_cuda.so", self);
}

// dlerror names a file and a reason: what a user needs when a library is missing.
static mn_err open_at(const char *path, const nn_cuda_api **out)
{
    if (access(path, F_OK) != 0) return mn_fail(MN_EDEVICE, "this build has no CUDA module (%s is not there)", path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return mn_fail(MN_EDEVICE, "the CUDA module cannot be loaded: %s", dlerror());
    const nn_cuda_api *api = dlsym(handle, "nn_cuda_module");
    if (!api) {
        mn_err err = mn_fail(MN_EDEVICE, "%s is not a CUDA module of mien", path);
        dlclose(handle);
        return err;
    }
    if (api->abi != NN_CUDA_ABI || strcmp(api->version, MIEN_VERSION) != 0) {
        mn_err err = mn_fail(MN_EDEVICE, "%s belongs to mien %s, this is %s: build both together", path, api->version,
                             MIEN_VERSION);
        dlclose(handle);
        return err;
    }
    *out = api; // never closed: libraries it brings do not like to go
    return MN_OK;
}

mn_err nn_cuda_module_open(const nn_cuda_api **out)
{
    static const nn_cuda_api *opened;
    if (!opened) {
        char *path = module_path();
        mn_err err = open_at(path, &opened);
        free(path);
        MN_TRY(err);
    }
    *out = opened;
    return MN_OK;
}

int nn_cuda_module_present(void)
{
    char *path = module_path();
    int present = access(path, R_OK) == 0;
    free(path);
    return present;
}

// Without a driver the module is of no use, and it brings 200 MiB of tables with cuBLASLt and takes half a second: a job
// on CPUs would pay that in every rank. A module that was named may need no driver.
static int has_driver(void)
{
    const char *named = getenv("MIEN_CUDA_MODULE");
    if ((named && *named) || access("/dev/nvidiactl", F_OK) == 0) return 1;
    return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != NULL; // stays for the module, which opens it too
}

mn_err nn_device_cuda_open(const nn_device **out, int local_rank)
{
    const nn_cuda_api *api;
    int devices;
    if (nn_cuda_module_present() && !has_driver()) return mn_fail(MN_EDEVICE, "this host has no NVIDIA driver");
    MN_TRY(nn_cuda_module_open(&api));
    MN_TRY(api->count(&devices));
    return api->open(out, devices == 1 ? 0 : local_rank, ops);
}

void nn_device_cuda_close(const nn_device *d)
{
    const nn_cuda_api *api;
    if (d && !d->on_host && nn_cuda_module_open(&api) == MN_OK) api->close(d);
}
