#include "dist/run.h"

#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct dist_run {
    char *folder;
    int metrics;  // descriptor, -1 on ranks other than 0
    int torn;     // the file ends within a line
    int64_t lost; // lines since the disk is full
    int64_t attempt;
};

static mn_err make_folders(const dist_run *r)
{
    static const char *const parts[] = {"", "/ckpt", "/faults"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *path = mn_sprintf("%s%s", r->folder, parts[i]);
        mn_err e = mn_dir_make(path);
        free(path);
        MN_TRY(e);
    }
    return MN_OK;
}

// A program that was killed, or a machine that lost power, can have left half a line.
static mn_err open_metrics(dist_run *r, const char *path)
{
    struct stat info;
    char last = '\n';
    r->metrics = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (r->metrics < 0 || fstat(r->metrics, &info) != 0 ||
        (S_ISREG(info.st_mode) && info.st_size > 0 && pread(r->metrics, &last, 1, info.st_size - 1) != 1))
        return mn_fail(MN_ECREATE, "%s: %s", path, strerror(errno));
    r->torn = last != '\n';
    return MN_OK;
}

static mn_err open_files(dist_run *r)
{
    mn_err err = MN_OK;
    MN_TRY(make_folders(r));
    char *log = mn_sprintf("%s/log.txt", r->folder), *metrics = mn_sprintf("%s/metrics.jsonl", r->folder);
    MN_TRY_OUT(err, mn_log_open(log));
    MN_TRY_OUT(err, open_metrics(r, metrics));
out:
    free(log);
    free(metrics);
    return err;
}

mn_err dist_run_none(dist_run **out)
{
    *out = mn_calloc(1, sizeof **out);
    (*out)->metrics = -1;
    return MN_OK;
}

mn_err dist_run_open(dist_run **out, dist_comm *c, const char *runs, const char *name)
{
    dist_run *r = mn_calloc(1, sizeof *r);
    r->folder = mn_sprintf("%s/%s", runs, name);
    r->metrics = -1;
    mn_err err = dist_agree(c, dist_rank(c) == 0 ? open_files(r) : MN_OK);
    if (err == MN_OK && dist_rank(c) > 0) {
        char *log = mn_sprintf("%s/log.rank-%d.txt", r->folder, dist_rank(c));
        err = mn_log_open(log);
        free(log);
    }
    if (err != MN_OK) {
        dist_run_close(r);
        return err;
    }
    *out = r;
    return MN_OK;
}

void dist_run_close(dist_run *r)
{
    if (!r) return;
    if (r->lost > 0) mn_warn("%s/metrics.jsonl lacks the last %lld lines", r->folder, (long long)r->lost);
    if (r->metrics >= 0 && close(r->metrics) != 0) mn_warn("%s/metrics.jsonl: %s", r->folder, strerror(errno));
    free(r->folder);
    free(r);
}

const char *dist_run_folder(const dist_run *r)
{
    return r->folder;
}

void dist_run_attempt(dist_run *r, int64_t attempt)
{
    r->attempt = attempt;
}

static mn_err tell_lost(dist_run *r)
{
    int64_t lost = r->lost;
    r->lost = 0;
    mn_warn("%s/metrics.jsonl: there is room again; %lld lines were lost", r->folder, (long long)lost);
    mn_err err = dist_run_event(r, "fault", "\"kind\":\"lines_lost\",\"lines\":%lld", (long long)lost);
    if (r->lost > 0) r->lost = lost; // no room for this one: said once more after the next
    return err;
}

// What was written of the line is taken back: the file stays one of whole lines. A full disk does not end a run, for
// there may be room again before the next checkpoint.
static mn_err lose(dist_run *r, size_t written)
{
    int why = errno;
    off_t end = lseek(r->metrics, 0, SEEK_CUR);
    if (written > 0 && (end < 0 || ftruncate(r->metrics, end - (off_t)written) != 0)) r->torn = 1;
    if (why != ENOSPC && why != EDQUOT) return mn_fail(MN_EIO, "%s/metrics.jsonl: %s", r->folder, strerror(why));
    if (r->lost++ == 0)
        mn_warn("%s/metrics.jsonl: %s; its lines are lost until there is room, the run goes on", r->folder,
                strerror(why));
    return MN_OK;
}

// One write per line: a reader that follows the file never sees half a line of a local run.
static mn_err append(dist_run *r, const char *line, size_t size)
{
    size_t done = 0, room = mn_fault("run.append") ? size / 2 : size; // the fault: the disk gets full within the line
    while (done < size) {
        errno = ENOSPC;
        ssize_t n = done < room ? write(r->metrics, line + done, room - done) : -1;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lose(r, done);
        done += (size_t)n;
    }
    r->torn = 0;
    return r->lost > 0 ? tell_lost(r) : MN_OK;
}

mn_err dist_run_event(dist_run *r, const char *kind, const char *members, ...)
{
    char line[16384], time[40];
    if (r->metrics < 0) return MN_OK;
    int used = snprintf(line, sizeof line, "\n{\"event\":\"%s\"", kind); // the first byte ends a torn line
    if (*members) used += snprintf(line + used, sizeof line - (size_t)used, ",");
    va_list args;
    va_start(args, members);
    int more = vsnprintf(line + used, sizeof line - (size_t)used, members, args);
    va_end(args);
    if (more < 0 || (size_t)(used + more) + 100 > sizeof line)
        return mn_fail(MN_EINTERNAL, "a %s event of metrics.jsonl is longer than %zu bytes", kind, sizeof line);
    used += more;
    used += snprintf(line + used, sizeof line - (size_t)used, ",\"attempt\":%lld,\"time\":\"%s\"}\n",
                     (long long)r->attempt, mn_utc_text(time, sizeof time));
    return append(r, line + !r->torn, (size_t)(used - !r->torn));
}

mn_err dist_run_file(dist_run *r, const char *name, const char *text)
{
    if (r->metrics < 0) return MN_OK;
    mn_err err = MN_OK;
    char *path = mn_sprintf("%s/%s", r->folder, name);
    err = mn_file_replace(path, text, strlen(text));
    free(path);
    return err;
}

const char *dist_json(double v, char text[DIST_JSON_NUMBER])
{
    if (isfinite(v))
        snprintf(text, DIST_JSON_NUMBER, "%.9g", v);
    else
        snprintf(text, DIST_JSON_NUMBER, "null");
    return text;
}
