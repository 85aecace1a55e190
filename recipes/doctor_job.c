// The job that doctor was started as: its ranks, their clocks, their cores.
#include "recipes/doctor.h"

#include "dist/cores.h"
#include "dist/launch.h"
#include "nn/base/mem.h"
#include "recipes/recipe.h"
#include "recipes/version.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

void mien_check_launch(mien_report *r, dist_comm *c)
{
    dist_launch l;
    if (dist_launch_detect(&l) != MN_OK) {
        mien_report_add(r, "MPI", MIEN_FAIL, "use srun --mpi=pmix, or mpirun inside the allocation", "%s", mn_errmsg());
        return;
    }
    mien_report_add(r, "MPI", MIEN_OK, "", "%s; %s%s, ranks: %d, of them on this host: %d", dist_library(),
                    *l.name ? "started by " : "started by hand", l.name, dist_world(c), dist_where(c)->local_size);
}

mn_err mien_check_ranks(mien_report *r, dist_comm *c)
{
    struct rank {
        uint64_t binary;
        double time;
    } mine = {.binary = mien_binary_digest()}, *all = mn_calloc((size_t)dist_world(c), sizeof *all);
    struct timespec now;
    double low = INFINITY, high = -INFINITY;
    int others = 0;
    mn_err err = dist_barrier(c);
    (void)clock_gettime(CLOCK_REALTIME, &now); // this clock cannot fail
    mine.time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (err == MN_OK) err = dist_gather(c, &mine, sizeof mine, all);
    for (int i = 0; err == MN_OK && i < dist_world(c); i++) {
        low = fmin(low, all[i].time);
        high = fmax(high, all[i].time);
        others += all[i].binary != mine.binary;
    }
    free(all);
    if (err != MN_OK || dist_world(c) == 1) return err;
    mien_report_add(r, "binary", others ? MIEN_FAIL : MIEN_OK, "start the same file on every host",
                    others ? "%d ranks run another one than the first" : "the same on all ranks%.0d", others);
    mien_report_add(r, "clocks", high - low > 1 ? MIEN_WARN : MIEN_OK, "start a time service (chrony) on every host",
                    "within %.3f s over the ranks", high - low);
    return MN_OK;
}

mn_err mien_check_cores(mien_report *r, dist_comm *c)
{
    dist_cores k;
    const char *policy = getenv("OMP_WAIT_POLICY");
    MN_TRY(dist_cores_plan(c, 0, &k));
    mien_report_add(r, "cores", k.warning[0] ? MIEN_WARN : MIEN_OK, k.warning, "%s", k.report);
    int active = policy && strcasecmp(policy, "active") == 0;
    int crowded = k.threads * dist_where(c)->local_size > k.node;
    mien_report_add(r, "waiting", active || (crowded && !policy) ? MIEN_WARN : MIEN_OK,
                    "OMP_WAIT_POLICY=passive: threads that wait by spinning take time from those that work",
                    "OMP_WAIT_POLICY %s, OMP_NUM_THREADS %s", policy ? policy : "not set",
                    getenv("OMP_NUM_THREADS") ? getenv("OMP_NUM_THREADS") : "not set");
    return MN_OK;
}
