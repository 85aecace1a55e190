#include "dist/launch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static int env_int(const char *name, int otherwise)
{
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    return errno || *end || v < 0 || v > INT_MAX ? otherwise : (int)v;
}

mn_err dist_launch_detect(dist_launch *out)
{
    // In this order: mpirun inside a Slurm step passes the step's variables on.
    static const struct {
        const char *name, *tasks, *task;
    } launchers[] = {{"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                     {"the launcher", "PMI_SIZE", "PMI_RANK"},
                     {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
    *out = (dist_launch){.name = "", .tasks = 1};
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        if (!getenv(launchers[i].tasks)) continue;
        out->name = launchers[i].name;
        out->tasks = env_int(launchers[i].tasks, 1);
        out->task = env_int(launchers[i].task, 0);
        break;
    }
    // PMIx gives a rank but no count; alone it still means that a launcher which MPI can talk to is there.
    int connected = getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
    out->use_mpi = connected && (out->tasks > 1 || !out->name[0]);
    if (out->tasks > 1 && !connected) {
        if (out->task) return mn_fail(MN_EDEVICE, "%s", "");
        return mn_fail(
            MN_EDEVICE,
            "%s started %d tasks that cannot find each other, nothing was run: use srun --mpi=pmix, or mpirun "
            "inside the allocation",
            out->name, out->tasks);
    }
    return MN_OK;
}

mn_err dist_launch_mismatch(const dist_launch *l, int world, const char *library)
{
    if (l->task) return mn_fail(MN_EDEVICE, "%s", "");
    return mn_fail(MN_EDEVICE,
                   "%s started %d tasks but %s sees %d, nothing was run: use the mpirun of that library, or srun "
                   "--mpi=pmix",
                   l->name, l->tasks, library, world);
}
