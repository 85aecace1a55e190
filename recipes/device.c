#include "recipes/device.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/device_cuda.h"
#include "recipes/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct offer { // what a rank has found
    int has;
    char host[64], id[32], why[256];
} offer;

static mn_err collect(dist_comm *c, const nn_device *d, mn_err err, offer *all)
{
    offer mine = {.has = err == MN_OK};
    snprintf(mine.host, sizeof mine.host, "%s", c ? dist_where(c)->host : "this host");
    if (err == MN_OK)
        snprintf(mine.id, sizeof mine.id, "%s", d->id);
    else
        snprintf(mine.why, sizeof mine.why, "%.255s", mn_errmsg());
    if (c) return dist_gather(c, &mine, sizeof mine, all);
    all[0] = mine;
    return MN_OK;
}

static mn_err check_shared(const offer *all, int world)
{
    for (int a = 0; a < world; a++)
        for (int b = 0; b < a; b++)
            if (strcmp(all[a].host, all[b].host) == 0 && strcmp(all[a].id, all[b].id) == 0)
                return mn_fail(
                    MN_EDEVICE,
                    "ranks %d and %d of host %s would share the GPU %s; start one rank per GPU (mpirun -n GPUS, "
                    "srun --gpus-per-task=1), or use device: cpu",
                    b, a, all[a].host, all[a].id);
    return MN_OK;
}

// The same verdict on every rank. *use: every rank has a GPU of its own.
static mn_err judge(const offer *all, int world, int wanted, int *use, char why[256])
{
    int with = 0, without = -1;
    for (int r = 0; r < world; r++) {
        with += all[r].has;
        if (!all[r].has && without < 0) without = r;
    }
    *use = with == world;
    if (*use) return check_shared(all, world);
    if (with > 0)
        return mn_fail(MN_EDEVICE,
                       "%d of %d ranks have a GPU, rank %d on host %s has not (%s); start one rank per GPU, or use "
                       "device: cpu",
                       with, world, without, all[without].host, all[without].why);
    if (wanted == MIEN_CUDA)
        return mn_fail(MN_EDEVICE, "device: cuda: %s; use device: auto or cpu to compute on the processor",
                       all[without].why);
    memcpy(why, all[without].why, sizeof all[without].why);
    return MN_OK;
}

mn_err mien_device_find(dist_comm *c, int wanted, const nn_device **out, char why[256])
{
    *why = '\0';
    const nn_device *d = NULL;
    int world = c ? dist_world(c) : 1, use = 0;
    *out = nn_device_cpu();
    if (wanted == MIEN_CPU) return MN_OK;
    offer *all = mn_calloc((size_t)world, sizeof *all);
    mn_err err = nn_device_cuda_open(&d, c ? dist_where(c)->local_rank : 0);
    err = collect(c, d, err, all);
    if (err == MN_OK) err = judge(all, world, wanted, &use, why);
    free(all);
    if (err == MN_OK && use)
        *out = d;
    else
        nn_device_cuda_close(d);
    return err;
}

mn_err mien_device_open(dist_comm *c, int wanted, const nn_device **out)
{
    char why[256];
    MN_TRY(mien_device_find(c, wanted, out, why));
    if (*why && (!c || dist_rank(c) == 0)) mn_info("computing on the processor: %s", why);
    return MN_OK;
}

void mien_device_close(const nn_device *d)
{
    if (d && !d->on_host) nn_device_cuda_close(d);
}
