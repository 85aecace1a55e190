// GPUs: what is on this host, and what a job would take of it.
#include "recipes/doctor.h"

#include "nn/base/mem.h"
#include "nn/device_cuda.h"
#include "recipes/device.h"
#include "recipes/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Of a driver, whether or not it works.
static int has_nvidia(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/proc/driver/nvidia", F_OK) == 0;
}

static void check_gpu(mien_report *r, const nn_cuda_info *info, int i)
{
    char peers[128] = ""; // 16 GPUs
    size_t at = 0;
    for (int k = 0; k < info->devices; k++)
        if (info->device[i].peers >> k & 1u)
            at += (size_t)snprintf(peers + at, sizeof peers - at, "%s%d", at ? ", " : "; reads the memory of GPU ", k);
    int old = info->device[i].major < 8, used = info->device[i].free < info->device[i].memory / 10 * 9;
    mien_report_add(r, "GPU", old || used ? MIEN_WARN : MIEN_OK,
                    old ? "kernels are made for compute capability 8.0 and later: use device: cpu here"
                        : "another program holds memory of it: a plan may not fit (nvidia-smi names it)",
                    "%d: %s at %s, compute capability %d.%d, %d multiprocessors, %.1f GiB, %.1f GiB free%s", i,
                    info->device[i].name, info->device[i].bus, info->device[i].major, info->device[i].minor,
                    info->device[i].multiprocessors, mien_gib((double)info->device[i].memory),
                    mien_gib((double)info->device[i].free), peers);
}

static void check_cuda_libraries(mien_report *r, const nn_cuda_info *info)
{
    int driver = info->driver, built = info->runtime;
    char text[64] = "no driver";
    if (driver) snprintf(text, sizeof text, "driver for CUDA up to %d.%d", driver / 1000, driver % 1000 / 10);
    mien_report_add(r, "CUDA", driver && driver / 1000 < built / 1000 ? MIEN_WARN : MIEN_OK,
                    "update the NVIDIA driver, or build with an older CUDA toolkit",
                    "module built with CUDA %d.%d; %s; cuBLASLt %s, cuDNN %s", built / 1000, built % 1000 / 10, text,
                    info->cublaslt, info->cudnn);
    mien_report_add(r, "NCCL", info->has_nccl || info->devices < 2 ? MIEN_OK : MIEN_WARN,
                    "one rank per GPU needs it: install libnccl2 or NVIDIA's wheel nvidia-nccl-cu13", "%s", info->nccl);
}

// A line for each thing that is missing.
void mien_check_cuda(mien_report *r)
{
    const nn_cuda_api *api;
    const mien_level l = has_nvidia() ? MIEN_WARN : MIEN_OK;
    if (nn_cuda_module_open(&api) != MN_OK) {
        int present = nn_cuda_module_present();
        mien_report_add(r, "CUDA", present ? MIEN_WARN : l,
                        present ? "install what is missing, or build again where CUDA and cuDNN are now"
                                : "there is an NVIDIA driver here: install the CUDA toolkit and cuDNN, and build again",
                        "%s", mn_errmsg());
        return;
    }
    nn_cuda_info *info = mn_calloc(1, sizeof *info);
    char why[256] = "";
    if (api->info(info) != MN_OK) snprintf(why, sizeof why, "%.255s", mn_errmsg());
    check_cuda_libraries(r, info);
    if (*why) mien_report_add(r, "GPU", l, "nvidia-smi must list a GPU before this can use it", "%s", why);
    for (int i = 0; i < info->devices; i++)
        check_gpu(r, info, i);
    free(info);
}

void mien_check_device(mien_report *r, dist_comm *c)
{
    const nn_device *d = NULL;
    char why[256];
    int ranks = dist_world(c);
    if (mien_device_find(c, MIEN_AUTO, &d, why) != MN_OK)
        mien_report_add(r, "device", MIEN_FAIL,
                        "one rank per GPU: mpirun -n GPUS, srun --gpus-per-task=1; or device: cpu", "auto: %s",
                        mn_errmsg());
    else if (d->on_host)
        mien_report_add(r, "device", MIEN_OK, "", "auto: the processor: %s", why);
    else
        mien_report_add(r, "device", MIEN_OK, "", "auto: %s%s", d->text, ranks > 1 ? ", a GPU for each rank" : "");
    mien_device_close(d);
}
