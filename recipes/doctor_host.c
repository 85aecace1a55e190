// This host: the processor, memory and limits, the folders of data and of runs.
#include "recipes/doctor.h"

#include "dist/machine.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/onednn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

void mien_check_processor(mien_report *r)
{
    char name[128], features[128];
    dist_machine_features(features, sizeof features);
    mien_report_add(r, "processor", strstr(features, "avx2") ? MIEN_OK : MIEN_WARN,
                    "it works, slowly: use a machine with AVX2 or better for more than a trial", "%s: %s",
                    dist_machine_processor(name, sizeof name),
                    *features ? features : "no vector extension that is used");
    mien_report_add(r, "bf16", nn_cpu_has_bf16() ? MIEN_OK : MIEN_WARN, "use precision: fp32, which is faster here",
                    nn_cpu_has_bf16() ? "the processor multiplies bf16%s" : "bf16 is stored but computed in fp32%s",
                    strstr(features, "amx_bf16") ? ", and has AMX" : "");
}

// --- memory and limits ---

void mien_check_memory(mien_report *r)
{
    struct statvfs shm;
    double have = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    mien_report_add(r, "memory", MIEN_OK, "", "%.1f GiB, %.1f GiB of it not in use", mien_gib(all), mien_gib(have));
    if (statvfs("/dev/shm", &shm) != 0) {
        mien_report_add(r, "/dev/shm", MIEN_WARN, "mount a tmpfs there: the MPI library passes messages through it",
                        "not there");
        return;
    }
    double room = (double)shm.f_bavail * (double)shm.f_frsize;
    mien_report_add(r, "/dev/shm", room < 64e6 ? MIEN_WARN : MIEN_OK,
                    "make it larger (docker run --shm-size=1g): the MPI library passes messages through it",
                    "%.2f GiB free", mien_gib(room));
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

void mien_check_limits(mien_report *r)
{
    struct rlimit files = {0}, locked = {0};
    char text[32];
    (void)getrlimit(RLIMIT_NOFILE, &files); // fails for no reason but a wrong number
    (void)getrlimit(RLIMIT_MEMLOCK, &locked);
    limit_text(files.rlim_cur, 0, text);
    mien_report_add(r, "open files", files.rlim_cur < 1024 ? MIEN_WARN : MIEN_OK,
                    "ulimit -n 4096: a dataset needs one for each of its shards", "%s", text);
    limit_text(locked.rlim_cur, 1, text);
    int fabric = access("/sys/class/infiniband", F_OK) == 0;
    mien_report_add(r, "locked mem", fabric && locked.rlim_cur < 1 << 30 ? MIEN_WARN : MIEN_OK,
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

void mien_check_data(mien_report *r, const char *data)
{
    if (access(data, R_OK | X_OK) != 0) {
        mien_report_add(r, "paths.data", MIEN_WARN,
                        "set MIEN_DATA, or paths.data of the recipe, to the folder of the imported datasets",
                        "%s is not there", data);
        return;
    }
    mien_report_add(r, "paths.data", MIEN_OK, "", "%s%s, %.1f GiB free", data, file_system(data),
                    mien_gib(free_bytes(data)));
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

void mien_check_runs(mien_report *r, const char *runs)
{
    double seconds, room;
    char *dir = existing(runs);
    room = free_bytes(dir);
    if (time_sync(dir, &seconds) != MN_OK)
        mien_report_add(r, "paths.runs", MIEN_FAIL, "runs are written there: choose another with paths.runs", "%s",
                        mn_errmsg());
    else
        mien_report_add(r, "paths.runs", seconds > 2 || room < 2e9 ? MIEN_WARN : MIEN_OK,
                        room < 2e9 ? "less than 2 GB: checkpoints of larger networks will not fit"
                                   : "checkpoints are written in the background, but the last one is waited for",
                        "%s%s, %.1f GiB free, 16 MiB durable in %.3f s", runs, file_system(dir), mien_gib(room),
                        seconds);
    free(dir);
}
