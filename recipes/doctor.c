// mien doctor [--json] [--data DIR] [--runs DIR]
#include "recipes/verbs.h"

#include "data/media.h"
#include "data/shard.h"
#include "dist/cores.h"
#include "dist/launch.h"
#include "dist/machine.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/device_cuda.h"
#include "nn/onednn.h"
#include "recipes/device.h"
#include "recipes/recipe.h"
#include "recipes/usage.h"
#include "recipes/version.h"

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "One JSON object, to paste into a report of a problem", 0},
    {"data", 'd', "DIR", 0, "paths.data of the recipes (default $MIEN_DATA or ./mien-data)", 0},
    {"runs", 'r', "DIR", 0, "paths.runs of the recipes (default ./runs)", 0},
    {0},
};

typedef struct doctor_arguments {
    int json;
    const char *data, *runs;
} doctor_arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    doctor_arguments *a = state->input;
    switch (key) {
    case 'j':
        a->json = 1;
        return 0;
    case 'd':
        a->data = arg;
        return 0;
    case 'r':
        a->runs = arg;
        return 0;
    case ARGP_KEY_ARG:
        return mien_usage(state, "one argument too many: '%s'", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .doc =
        "Looks at the machine and says what would go wrong or slow, with a cure for each. Started like a job it looks "
        "at the job too: ranks, cores, clocks. Exit 0 when nothing fails, else 69.\v"
        "Example:\n  mpirun -n 2 mien doctor"};

// --- the report ---

typedef enum level { OK, WARN, FAIL } level;
static const char *const levels[] = {"ok", "warn", "fail"};

typedef struct report {
    json_t *checks;
    int count[3];
} report;

static const char *text_of(const json_t *check, const char *key)
{
    return json_string_value(json_object_get(check, key));
}

// fix: what to do; "" with OK.
static MN_PRINTF(5, 6) void add(report *r, const char *name, level l, const char *fix, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    r->count[l]++;
    json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s, s:s}", "check", name, "level", levels[l], "found", text,
                                               "fix", l == OK ? "" : fix));
}

static mn_err print(const report *r, int json)
{
    size_t i;
    json_t *check;
    if (json) {
        json_t *all = json_pack("{s:s, s:O, s:i, s:i, s:i}", "mien", MIEN_VERSION, "checks", r->checks, "ok",
                                r->count[OK], "warn", r->count[WARN], "fail", r->count[FAIL]);
        int failed = json_dumpf(all, stdout, JSON_INDENT(1)) != 0 || puts("") < 0;
        json_decref(all);
        return failed ? mn_fail(MN_EIO, "cannot write to stdout") : MN_OK;
    }
    json_array_foreach(r->checks, i, check)
    {
        printf("%-5s %-11s %s\n", text_of(check, "level"), text_of(check, "check"), text_of(check, "found"));
        if (*text_of(check, "fix")) printf("%18s-> %s\n", "", text_of(check, "fix"));
    }
    printf("\n%d ok, %d to look at, %d failed\n", r->count[OK], r->count[WARN], r->count[FAIL]);
    return ferror(stdout) ? mn_fail(MN_EIO, "cannot write to stdout") : MN_OK;
}

// --- the processor and its libraries ---

static void check_processor(report *r)
{
    char name[128], features[128];
    dist_machine_features(features, sizeof features);
    add(r, "processor", strstr(features, "avx2") ? OK : WARN,
        "it works, slowly: use a machine with AVX2 or better for more than a trial", "%s: %s",
        dist_machine_processor(name, sizeof name), *features ? features : "no vector extension that is used");
    add(r, "bf16", nn_cpu_has_bf16() ? OK : WARN, "use precision: fp32, which is faster here",
        nn_cpu_has_bf16() ? "the processor multiplies bf16%s" : "bf16 is stored but computed in fp32%s",
        strstr(features, "amx_bf16") ? ", and has AMX" : "");
}

static void check_onednn(report *r)
{
    char version[32];
    const char *limit = getenv("DNNL_MAX_CPU_ISA");
    if (!limit) limit = getenv("ONEDNN_MAX_CPU_ISA");
    add(r, "oneDNN", limit ? WARN : OK, "unset DNNL_MAX_CPU_ISA and ONEDNN_MAX_CPU_ISA unless that is meant",
        "%s, uses %s%s%s", nn_onednn_version(version, sizeof version), nn_onednn_isa(), limit ? ", limited to " : "",
        limit ? limit : "");
}

static void check_hdf5(report *r)
{
    char version[32];
    int safe;
    data_hdf5_version(version, sizeof version, &safe);
    add(r, "HDF5", safe ? OK : WARN, "install libhdf5-dev, whose serial flavour is thread-safe, and build again",
        "%s, %s", version, safe ? "thread-safe" : "not thread-safe");
}

static void check_helpers(report *r)
{
    char path[1024];
    if (data_media_program(path, sizeof path) == MN_OK)
        add(r, "mien-media", OK, "", "%s", path);
    else
        add(r, "mien-media", WARN, "videos and sound cannot be imported without it: sh bootstrap.sh build", "%s",
            mn_errmsg());
}

// --- GPUs ---

static double gib(double bytes)
{
    return bytes / (1 << 30);
}

// Of a driver, whether or not it works.
static int has_nvidia(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/proc/driver/nvidia", F_OK) == 0;
}

static void check_gpu(report *r, const nn_cuda_info *info, int i)
{
    char peers[64] = "";
    size_t at = 0;
    for (int k = 0; k < info->devices; k++)
        if (info->device[i].peers >> k & 1u)
            at += (size_t)snprintf(peers + at, sizeof peers - at, "%s%d", at ? ", " : "; reads the memory of GPU ", k);
    int old = info->device[i].major < 8, used = info->device[i].free < info->device[i].memory / 10 * 9;
    add(r, "GPU", old || used ? WARN : OK,
        old ? "kernels are made for compute capability 8.0 and later: use device: cpu here"
            : "another program holds memory of it: a plan may not fit (nvidia-smi names it)",
        "%d: %s at %s, compute capability %d.%d, %d multiprocessors, %.1f GiB, %.1f GiB free%s", i,
        info->device[i].name, info->device[i].bus, info->device[i].major, info->device[i].minor,
        info->device[i].multiprocessors, gib((double)info->device[i].memory), gib((double)info->device[i].free), peers);
}

static void check_cuda_libraries(report *r, const nn_cuda_info *info)
{
    int driver = info->driver, built = info->runtime;
    char text[64] = "no driver";
    if (driver) snprintf(text, sizeof text, "driver for CUDA up to %d.%d", driver / 1000, driver % 1000 / 10);
    add(r, "CUDA", driver && driver / 1000 < built / 1000 ? WARN : OK,
        "update the NVIDIA driver, or build with an older CUDA toolkit",
        "module built with CUDA %d.%d; %s; cuBLASLt %s, cuDNN %s", built / 1000, built % 1000 / 10, text,
        info->cublaslt, info->cudnn);
    add(r, "NCCL", info->has_nccl || info->devices < 2 ? OK : WARN,
        "one rank per GPU needs it: install libnccl2 or NVIDIA's wheel nvidia-nccl-cu13", "%s", info->nccl);
}

// What there is on this host, a line for each thing that is missing.
static void check_cuda(report *r)
{
    const nn_cuda_api *api;
    const level l = has_nvidia() ? WARN : OK;
    if (nn_cuda_module_open(&api) != MN_OK) {
        int present = nn_cuda_module_present();
        add(r, "CUDA", present ? WARN : l,
            present ? "install what is missing, or build again where CUDA and cuDNN are now"
                    : "there is an NVIDIA driver here: install the CUDA toolkit and cuDNN, and build again",
            "%s", mn_errmsg());
        return;
    }
    nn_cuda_info *info = mn_calloc(1, sizeof *info);
    char why[256] = "";
    if (api->info(info) != MN_OK) snprintf(why, sizeof why, "%.255s", mn_errmsg());
    check_cuda_libraries(r, info);
    if (*why) add(r, "GPU", l, "nvidia-smi must list a GPU before this can use it", "%s", why);
    for (int i = 0; i < info->devices; i++)
        check_gpu(r, info, i);
    free(info);
}

// What device: auto would take; collective.
static void check_device(report *r, dist_comm *c)
{
    const nn_device *d = NULL;
    char why[256];
    int ranks = dist_world(c);
    if (mien_device_find(c, MIEN_AUTO, &d, why) != MN_OK)
        add(r, "device", FAIL, "one rank per GPU: mpirun -n GPUS, srun --gpus-per-task=1; or device: cpu", "auto: %s",
            mn_errmsg());
    else if (d->on_host)
        add(r, "device", OK, "", "auto: the processor: %s", why);
    else
        add(r, "device", OK, "", "auto: %s%s", d->text, ranks > 1 ? ", a GPU for each rank" : "");
    mien_device_close(d);
}

// --- the job ---

static void check_launch(report *r, dist_comm *c)
{
    dist_launch l;
    if (dist_launch_detect(&l) != MN_OK) {
        add(r, "MPI", FAIL, "use srun --mpi=pmix, or mpirun inside the allocation", "%s", mn_errmsg());
        return;
    }
    add(r, "MPI", OK, "", "%s; %s%s, ranks: %d, of them on this host: %d", dist_library(),
        *l.name ? "started by " : "started by hand", l.name, dist_world(c), dist_where(c)->local_size);
}

// Collective.
static mn_err check_ranks(report *r, dist_comm *c)
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
    add(r, "binary", others ? FAIL : OK, "start the same file on every host",
        others ? "%d ranks run another one than the first" : "the same on all ranks%.0d", others);
    add(r, "clocks", high - low > 1 ? WARN : OK, "start a time service (chrony) on every host",
        "within %.3f s over the ranks", high - low);
    return MN_OK;
}

// Collective.
static mn_err check_cores(report *r, dist_comm *c)
{
    dist_cores k;
    const char *policy = getenv("OMP_WAIT_POLICY");
    MN_TRY(dist_cores_plan(c, 0, &k));
    add(r, "cores", k.warning[0] ? WARN : OK, k.warning, "%s", k.report);
    int active = policy && strcasecmp(policy, "active") == 0;
    int crowded = k.threads * dist_where(c)->local_size > k.node;
    add(r, "waiting", active || (crowded && !policy) ? WARN : OK,
        "OMP_WAIT_POLICY=passive: threads that wait by spinning take time from those that work",
        "OMP_WAIT_POLICY %s, OMP_NUM_THREADS %s", policy ? policy : "not set",
        getenv("OMP_NUM_THREADS") ? getenv("OMP_NUM_THREADS") : "not set");
    return MN_OK;
}

// --- limits ---

static void check_memory(report *r)
{
    struct statvfs shm;
    double have = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    add(r, "memory", OK, "", "%.1f GiB, %.1f GiB of it not in use", gib(all), gib(have));
    if (statvfs("/dev/shm", &shm) != 0) {
        add(r, "/dev/shm", WARN, "mount a tmpfs there: the MPI library passes messages through it", "not there");
        return;
    }
    double room = (double)shm.f_bavail * (double)shm.f_frsize;
    add(r, "/dev/shm", room < 64e6 ? WARN : OK,
        "make it larger (docker run --shm-size=1g): the MPI library passes messages through it", "%.2f GiB free",
        gib(room));
}

static void limit_text(rlim_t v, int bytes, char text[32])
{
    if (v == RLIM_INFINITY)
        snprintf(text, 32, "no limit");
    else if (bytes)
        snprintf(text, 32, "at most %.1f MiB", (double)v / 1048576);
    else
        snprintf(text, 32, "at most %llu", (unsigned long long)v);
}

static void check_limits(report *r)
{
    struct rlimit files = {0}, locked = {0};
    char text[32];
    (void)getrlimit(RLIMIT_NOFILE, &files); // fails for no reason but a wrong number
    (void)getrlimit(RLIMIT_MEMLOCK, &locked);
    limit_text(files.rlim_cur, 0, text);
    add(r, "open files", files.rlim_cur < 1024 ? WARN : OK,
        "ulimit -n 4096: a dataset needs one for each of its shards", "%s", text);
    limit_text(locked.rlim_cur, 1, text);
    int fabric = access("/sys/class/infiniband", F_OK) == 0;
    add(r, "locked mem", fabric && locked.rlim_cur < 1 << 30 ? WARN : OK,
        "memlock unlimited in limits.conf: the network of this host registers memory", "%s%s", text,
        fabric ? "" : ", no InfiniBand here");
}

// --- folders ---

// The folder itself or the nearest one above it that is there.
static char *existing(const char *path)
{
    char *at = mn_strdup(path);
    while (access(at, F_OK) != 0) {
        char *slash = strrchr(at, '/');
        if (!slash) {
            free(at);
            return mn_strdup(".");
        }
        slash[slash == at] = '\0';
    }
    return at;
}

static const char *file_system(const char *path)
{
    static const struct {
        unsigned magic;
        const char *name;
    } known[] = {{0x6969, " on NFS"}, {0x0bd00bd0, " on Lustre"}, {0x47504653, " on GPFS"}, {0x01021994, " on tmpfs"}};
    struct statfs st;
    if (statfs(path, &st) != 0) return "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((unsigned)st.f_type == known[i].magic) return known[i].name;
    return "";
}

static double free_bytes(const char *path)
{
    struct statvfs st;
    return statvfs(path, &st) == 0 ? (double)st.f_bavail * (double)st.f_frsize : 0;
}

static void check_data(report *r, const char *data)
{
    if (access(data, R_OK | X_OK) != 0) {
        add(r, "paths.data", WARN, "set MIEN_DATA, or paths.data of the recipe, to the folder of the imported datasets",
            "%s is not there", data);
        return;
    }
    add(r, "paths.data", OK, "", "%s%s, %.1f GiB free", data, file_system(data), gib(free_bytes(data)));
}

enum { PROBE = 16 << 20 };

// Seconds until 16 MiB are on the disk; the file is gone afterwards.
static mn_err time_sync(const char *dir, double *seconds)
{
    char *path = mn_sprintf("%s/.mien-doctor-%ld", dir, (long)getpid()), *data = mn_calloc(PROBE, 1);
    int fd = -1;
    double start = mn_seconds();
    mn_err err = mn_file_create(&fd, path);
    if (err == MN_OK) {
        mn_err written = mn_file_write(fd, data, PROBE, path), closed = mn_file_close(fd, 1, path);
        err = written != MN_OK ? written : closed;
        if (unlink(path) != 0 && err == MN_OK) err = mn_fail(MN_EIO, "%s: cannot be removed", path);
    }
    *seconds = mn_seconds() - start;
    free(data);
    free(path);
    return err;
}

static void check_runs(report *r, const char *runs)
{
    double seconds, room;
    char *dir = existing(runs);
    room = free_bytes(dir);
    if (time_sync(dir, &seconds) != MN_OK)
        add(r, "paths.runs", FAIL, "runs are written there: choose another with paths.runs", "%s", mn_errmsg());
    else
        add(r, "paths.runs", seconds > 2 || room < 2e9 ? WARN : OK,
            room < 2e9 ? "less than 2 GB: checkpoints of larger networks will not fit"
                       : "checkpoints are written in the background, but the last one is waited for",
            "%s%s, %.1f GiB free, 16 MiB durable in %.3f s", runs, file_system(dir), gib(room), seconds);
    free(dir);
}

// --- the verb ---

static mn_err examine(dist_comm *c, report *r, const doctor_arguments *a)
{
    check_processor(r);
    check_onednn(r);
    check_launch(r, c);
    MN_TRY(check_ranks(r, c));
    MN_TRY(check_cores(r, c));
    if (dist_rank(c) == 0) check_cuda(r);
    check_device(r, c);
    if (dist_rank(c) != 0) return MN_OK;
    check_memory(r);
    check_limits(r);
    check_hdf5(r);
    check_data(r, a->data);
    check_runs(r, a->runs);
    check_helpers(r);
    return MN_OK;
}

mn_err mien_doctor(int argc, char **argv)
{
    const char *env = getenv("MIEN_DATA");
    doctor_arguments a = {.data = env && *env ? env : "./mien-data", .runs = "./runs"};
    report r = {0};
    dist_comm *c;
    char name[] = "mien doctor";
    argv[0] = name;
    MN_TRY(mien_parse(&parser, argc, argv, &a));
    MN_TRY(dist_open(&c));
    r.checks = json_array();
    mn_err err = examine(c, &r, &a);
    if (err == MN_OK && dist_rank(c) == 0) {
        err = print(&r, a.json);
        if (err == MN_OK && r.count[FAIL] > 0) err = mn_fail(MN_EDEVICE, "%d checks failed", r.count[FAIL]);
    }
    json_decref(r.checks);
    dist_close(c);
    return err;
}
