#include "dist/cores.h"

#include "dist/backend.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BY_USER = 1, BY_LIBRARY };
typedef struct place { // what each rank tells the others
    cpu_set_t own;     // hardware threads it may use
    int own_cores, node_cores;
    int threads, host; // host: its lowest rank
    int wanted;        // threads were asked for: BY_USER (an option or key), BY_LIBRARY (OMP_NUM_THREADS)
    char name[64];
} place;

// First hardware thread of the core that `cpu` belongs to.
static int core_of(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    if (!f) return cpu;
    if (fscanf(f, "%d", &first) != 1) first = cpu;
    fclose(f);
    return first;
}

static int count_cores(const cpu_set_t *set)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, set)) CPU_SET(core_of(i) % CPU_SETSIZE, &cores);
    int n = CPU_COUNT(&cores);
    return n ? n : 1;
}

// Processors' worth of time that a container may use, from the innermost cgroup; INT_MAX-like when there is no limit.
static int quota(void)
{
    enum { NO_LIMIT = 1 << 20 };
    char path[4096] = "", line[4096];
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::", 3) == 0)
            snprintf(path, sizeof path, "/sys/fs/cgroup%.3900s/cpu.max", (line[strcspn(line, "\n")] = 0, line + 3));
    if (f) fclose(f);
    long long most = 0, period = 0;
    f = path[0] ? fopen(path, "re") : NULL;
    int n = f ? fscanf(f, "%lld %lld", &most, &period) : 0; // "max 100000" is no limit
    if (f) fclose(f);
    if (n != 2 || most <= 0 || period <= 0) return NO_LIMIT;
    long long cores = (most + period - 1) / period;
    return cores < NO_LIMIT ? (int)cores : NO_LIMIT;
}

// A launcher binds a process by its mask; what the job as a whole may use is what remains when all are asked for.
static void find_cores(place *p)
{
    cpu_set_t all, allowed;
    CPU_ZERO(&p->own);
    if (sched_getaffinity(0, sizeof p->own, &p->own) != 0) CPU_SET(0, &p->own);
    allowed = p->own;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) == 0) {
        if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) allowed = p->own;
        if (sched_setaffinity(0, sizeof p->own, &p->own) != 0) p->own = allowed; // then it is unbound from now on
    }
    int limit = quota(), own = count_cores(&p->own), node = count_cores(&allowed);
    p->own_cores = own < limit ? own : limit;
    p->node_cores = node < limit ? node : limit;
}

static int threads_for(const place *p, int wanted, int local_size)
{
    const char *text = getenv("OMP_NUM_THREADS");
    if (!wanted && text) wanted = (int)strtol(text, NULL, 10);
    if (wanted > 0) return wanted;
    int share = p->node_cores / local_size;
    if (share > p->own_cores) share = p->own_cores;
    return share > 0 ? share : 1;
}

// "0-3,8" of a set.
static void list_cpus(const cpu_set_t *set, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < CPU_SETSIZE && used + 24 < size; i++) {
        if (!CPU_ISSET(i, set)) continue;
        int last = i;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        used += (size_t)snprintf(text + used, size - used, last > i ? "%s%d-%d" : "%s%d", used ? "," : "", i, last);
        i = last;
    }
}

static void write_report(const dist_comm *c, char *text, size_t size)
{
    enum { LISTED = 4 };
    char cpus[80];
    const place *first = dist__from(c, 0);
    int same = 1, world = c->at.world;
    for (int r = 1; r < world; r++)
        same = same && ((const place *)dist__from(c, r))->threads == first->threads;
    size_t used = (size_t)snprintf(text, size, "%d rank%s x %d%s thread%s", world, world > 1 ? "s" : "", first->threads,
                                   same ? "" : " (or other)", first->threads > 1 ? "s" : "");
    for (int r = 0; r < world && r < LISTED && used < size; r++) {
        const place *p = dist__from(c, r);
        list_cpus(&p->own, cpus, sizeof cpus);
        used += (size_t)snprintf(text + used, size - used, "%s rank %d on cores %s of %.20s", r ? "," : ":", r, cpus,
                                 p->name);
    }
    if (world > LISTED && used < size) snprintf(text + used, size - used, ", ...");
}

static int is_inside(const cpu_set_t *a, const cpu_set_t *b)
{
    cpu_set_t both;
    CPU_AND(&both, a, b);
    return CPU_EQUAL(&both, a);
}

static int has_launcher(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("SLURM_STEP_NUM_TASKS") || getenv("PMIX_RANK");
}

// The cure for a rank that is bound to fewer cores than it has threads, or could have.
static void write_cure(const place *p, int threads, char *text, size_t size)
{
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        snprintf(text, size, "start with mpirun --bind-to none (or --map-by slot:PE=%d)", threads);
    else if (getenv("SLURM_STEP_NUM_TASKS"))
        snprintf(text, size, "start with srun --cpus-per-task=%d (or --cpu-bind=none)", threads);
    else
        snprintf(text, size, "let it use more cores (taskset -p, cpuset), or set OMP_NUM_THREADS=%d", p->own_cores);
}

static void write_warning(const dist_comm *c, char *text, size_t size)
{
    char cure[160];
    text[0] = 0;
    for (int r = 0; r < c->at.world; r++) {
        const place *p = dist__from(c, r);
        int threads = 0, ranks = 0, all = 0;
        for (int s = 0; s < c->at.world; s++) {
            const place *q = dist__from(c, s);
            if (q->host != p->host) continue;
            ranks++;
            all += q->threads;
            if (is_inside(&q->own, &p->own)) threads += q->threads;
        }
        int share = p->node_cores / ranks > 0 ? p->node_cores / ranks : 1;
        if (all > p->node_cores && threads > p->own_cores && p->threads > share)
            snprintf(text, size, "%d threads share %d cores of %.40s: %s%d", all, p->node_cores, p->name,
                     p->wanted == BY_USER ? "threads of the recipe (--jobs of an import) should be at most "
                                          : "set OMP_NUM_THREADS=",
                     share);
        else if (all > p->node_cores && threads > p->own_cores)
            snprintf(text, size, "%d ranks share %d cores of %.40s: start at most %d ranks there", ranks, p->node_cores,
                     p->name, p->node_cores);
        else if (threads > p->own_cores || (!p->wanted && p->own_cores < share && has_launcher())) {
            write_cure(p, p->wanted ? p->threads : share, cure, sizeof cure);
            snprintf(text, size, "rank %d is bound to %d of the %d cores of %.40s%s: %s", r, p->own_cores,
                     p->node_cores, p->name,
                     threads > p->own_cores ? ", where threads share a core" : ", the others stay idle", cure);
        }
        if (text[0]) return;
    }
}

mn_err dist_cores_plan(dist_comm *c, int wanted, dist_cores *out)
{
    place mine = {.host = c->host_of[c->at.rank]};
    find_cores(&mine);
    memcpy(mine.name, c->at.host, sizeof mine.name);
    mine.threads = threads_for(&mine, wanted, c->at.local_size);
    mine.wanted = wanted > 0 ? BY_USER : getenv("OMP_NUM_THREADS") ? BY_LIBRARY : 0;
    MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 9, &mine, sizeof mine));
    *out = (dist_cores){.threads = mine.threads, .own = mine.own_cores, .node = mine.node_cores};
    write_report(c, out->report, sizeof out->report);
    write_warning(c, out->warning, sizeof out->warning);
    return MN_OK;
}
