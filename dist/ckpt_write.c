// Writing one checkpoint folder: temporary name, every file hashed while it is written, fsync, rename, fsync of the
// parent. A crash at any point leaves the old checkpoints and perhaps a temporary folder, which the next save removes.
#include "dist/ckpt_internal.h"

#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define TEMPORARY ".tmp-"

// A file that is hashed while it is written.
typedef struct sink {
    int fd;
    char *path;
    int64_t size;
    XXH3_state_t *hash;
} sink;

static mn_err sink_open(sink *s, const char *folder, const char *name)
{
    *s = (sink){.fd = -1, .path = mn_sprintf("%s/%s", folder, name), .hash = XXH3_createState()};
    mn_assert(s->hash && XXH3_128bits_reset(s->hash) == XXH_OK);
    if (mn_fault("ckpt.create")) return mn_fail(MN_EIO, "%s: injected fault", s->path);
    return mn_file_create(&s->fd, s->path);
}

static mn_err sink_write(sink *s, const void *data, size_t size)
{
    if (mn_fault("ckpt.write")) return mn_fail(MN_EIO, "%s: injected fault", s->path);
    XXH3_128bits_update(s->hash, data, size);
    s->size += (int64_t)size;
    return mn_file_write(s->fd, data, size, s->path);
}

// Durable and closed; the digest so far. Releases everything in any case.
static mn_err sink_close(sink *s, mn_err err, int64_t *size, char hex[MN_DIGEST_SIZE])
{
    XXH128_hash_t h = XXH3_128bits_digest(s->hash);
    snprintf(hex, MN_DIGEST_SIZE, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    *size = s->size;
    if (err == MN_OK && mn_fault("ckpt.fsync")) err = mn_fail(MN_EIO, "%s: injected fault", s->path);
    if (s->fd >= 0) {
        mn_err closed = mn_file_close(s->fd, err == MN_OK, s->path);
        if (err == MN_OK) err = closed;
    }
    XXH3_freeState(s->hash);
    free(s->path);
    return err;
}

// --- tensors ---

typedef struct tensors {
    nn_safetensor *entry;
    const float **data;
    int n;
} tensors;

static void add_tensor(tensors *t, const nn_param *p, const char *suffix, const float *data)
{
    nn_safetensor *e = &t->entry[t->n];
    int length = snprintf(e->name, sizeof e->name, "%s%s", p->name, suffix);
    mn_assert(length > 0 && (size_t)length < sizeof e->name);
    e->dtype = NN_SAFETENSORS_F32;
    e->shape = p->spec.shape;
    t->data[t->n++] = data;
}

static tensors model_tensors(const dist__snapshot *s)
{
    int n = nn_params_count(s->params);
    tensors t = {mn_calloc((size_t)n + 1, sizeof *t.entry), mn_calloc((size_t)n + 1, sizeof *t.data), 0};
    for (int i = 0; i < n; i++) {
        const nn_param *p = nn_params_at(s->params, i);
        add_tensor(&t, p, "", s->master + p->offset);
    }
    return t;
}

static tensors optimizer_tensors(const dist__snapshot *s)
{
    int n = nn_params_count(s->params);
    tensors t = {mn_calloc(2 * (size_t)n + 1, sizeof *t.entry), mn_calloc(2 * (size_t)n + 1, sizeof *t.data), 0};
    for (int i = 0; i < n; i++) {
        const nn_param *p = nn_params_at(s->params, i);
        if (p->frozen || p->spec.buffer) continue;
        add_tensor(&t, p, ".m", s->m + p->offset);
        add_tensor(&t, p, ".v", s->v + p->offset);
    }
    return t;
}

static mn_err write_tensors(const char *folder, int file, tensors *t, dist__manifest *m)
{
    sink s;
    char *header = NULL;
    size_t header_size = 0;
    mn_err err = sink_open(&s, folder, dist__ckpt_file[file]);
    if (err == MN_OK) err = nn_safetensors_header(t->entry, t->n, NULL, 0, &header, &header_size);
    if (err == MN_OK) err = sink_write(&s, header, header_size);
    for (int i = 0; i < t->n && err == MN_OK; i++)
        err = sink_write(&s, t->data[i], (size_t)mn_count(t->entry[i].shape) * sizeof(float));
    free(header);
    free(t->entry);
    free(t->data);
    return sink_close(&s, err, &m->size[file], m->digest[file]);
}

static mn_err write_text(const char *folder, const char *name, char *text, int64_t *size, char digest[MN_DIGEST_SIZE])
{
    sink s;
    mn_err err = sink_open(&s, folder, name);
    if (err == MN_OK) err = sink_write(&s, text, strlen(text));
    free(text);
    return sink_close(&s, err, size, digest);
}

// --- the folder ---

static mn_err fill(const dist_ckpt_cfg *cfg, const dist__snapshot *s, const char *folder)
{
    dist__manifest m = {.step = s->state.step, .attempt = cfg->attempt, .binary = cfg->binary};
    int64_t size;
    char digest[MN_DIGEST_SIZE];
    tensors model = model_tensors(s), moments = optimizer_tensors(s);
    mn_err err = write_tensors(folder, DIST_CKPT_MODEL, &model, &m);
    if (err == MN_OK) {
        err = write_tensors(folder, DIST_CKPT_OPTIMIZER, &moments, &m);
    } else {
        free(moments.entry);
        free(moments.data);
    }
    MN_TRY(err);
    MN_TRY(write_text(folder, dist__ckpt_file[DIST_CKPT_STATE], dist__state_text(s), &m.size[DIST_CKPT_STATE],
                      m.digest[DIST_CKPT_STATE]));
    MN_TRY(write_text(folder, "manifest.json", dist__manifest_text(&m), &size, digest));
    if (mn_fault("ckpt.dirsync")) return mn_fail(MN_EIO, "%s: injected fault", folder);
    return mn_dir_sync(folder);
}

// A requeued job can overlap the ranks of its former self: the older one must not write any more.
static mn_err still_ours(const dist_ckpt_cfg *cfg)
{
    int64_t highest;
    char *run = mn_sprintf("%s/..", cfg->dir);
    mn_err err = dist__attempt_highest(run, &highest);
    free(run);
    MN_TRY(err);
    if (highest > cfg->attempt)
        return mn_fail(MN_ECREATE,
                       "%s: attempt %lld of this run has started; this is attempt %lld, it stops without saving",
                       cfg->dir, (long long)highest, (long long)cfg->attempt);
    return MN_OK;
}

// Renamed before it is removed: a folder that is half gone never has a checkpoint's name, and a writer that still works
// in it, or publishes it at this moment, either keeps it whole or has lost it.
static mn_err discard(const dist_ckpt_cfg *cfg, const char *name)
{
    char *path = mn_sprintf("%s/%s", cfg->dir, name);
    char *trash = mn_sprintf("%s/" TEMPORARY "removed-%lld", cfg->dir, (long long)cfg->attempt);
    mn_err err = MN_OK;
    if (strcmp(path, trash) == 0 || rename(path, trash) == 0)
        err = mn_dir_remove(trash);
    else if (errno != ENOENT)
        err = mn_fail(MN_EIO, "%s: cannot rename it to %s: %s", path, trash, strerror(errno));
    free(path);
    free(trash);
    return err;
}

// The attempt that a temporary name ends with; -1: not a name of ours.
static int64_t attempt_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    if (strncmp(name, TEMPORARY, strlen(TEMPORARY)) != 0 || dash[1] < '0' || dash[1] > '9') return -1;
    char *end;
    int64_t attempt = strtoll(dash + 1, &end, 10);
    return *end ? -1 : attempt;
}

// What killed saves have left, of this attempt and earlier ones. A later attempt's are its own.
static void remove_temporaries(const dist_ckpt_cfg *cfg)
{
    char **names;
    int64_t n;
    if (mn_dir_list(cfg->dir, &names, &n) != MN_OK) return;
    for (int64_t i = 0; i < n; i++) {
        int64_t attempt = attempt_of(names[i]);
        if (attempt < 0 || attempt > cfg->attempt) continue;
        if (discard(cfg, names[i]) != MN_OK) mn_warn("%s/%s stays: %s", cfg->dir, names[i], mn_errmsg());
    }
    mn_names_free(names, n);
}

// NFS and some other file systems know no rename with flags: then look first. Attempt numbers keep a second writer away.
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (access(to, F_OK) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

// Checkpoints after step `last` are not of the course that this writer is on: the run went on from an older one or from
// none, or they are damaged and were refused. They leave the way, so that neither the next start nor retention takes
// them for the newest; nothing of them is lost.
static mn_err set_aside(const dist_ckpt_cfg *cfg, int64_t last)
{
    int64_t *steps, n, moved = 0;
    MN_TRY(dist__ckpt_list(cfg->dir, &steps, &n));
    char *aside = mn_sprintf("%s/abandoned-%06lld", cfg->dir, (long long)cfg->attempt);
    mn_err err = n > 0 && steps[0] > last ? mn_dir_make(aside) : MN_OK;
    for (; moved < n && steps[moved] > last && err == MN_OK; moved++) {
        char *from = mn_sprintf("%s/step-%08lld", cfg->dir, (long long)steps[moved]);
        char *to = mn_sprintf("%s/step-%08lld", aside, (long long)steps[moved]);
        if (mn_fault("ckpt.aside") || rename_new(from, to) != 0)
            err = mn_fail(MN_EIO, "%s: cannot move it to %s: %s", from, aside, strerror(errno));
        free(from);
        free(to);
    }
    if (err == MN_OK && moved > 0) err = mn_dir_sync(aside);
    if (err == MN_OK && moved > 0)
        mn_info("%s: the run goes on from step %lld; its %lld later checkpoints are in %s now", cfg->dir,
                (long long)last, (long long)moved, aside);
    free(aside);
    free(steps);
    return err;
}

// What is there already is the same step, saved before it was scored. The two change places at once where the file system
// can do that, and the old one goes as the temporary that it then is; else it is set aside first.
static mn_err replace(const dist_ckpt_cfg *cfg, const char *temporary, const char *final, int64_t step)
{
    char *folder = mn_sprintf("%s/%s", cfg->dir, temporary);
    mn_err err = MN_OK;
    if (renameat2(AT_FDCWD, folder, AT_FDCWD, final, RENAME_EXCHANGE) == 0) {
        err = mn_dir_sync(cfg->dir);
        if (err == MN_OK && discard(cfg, temporary) != MN_OK) mn_warn("%s stays: %s", folder, mn_errmsg());
    } else {
        err = set_aside(cfg, step - 1);
        if (err == MN_OK && rename_new(folder, final) != 0)
            err = mn_fail(MN_EIO, "%s: cannot rename to it: %s", final, strerror(errno));
    }
    free(folder);
    return err;
}

static mn_err publish(const dist_ckpt_cfg *cfg, const char *temporary, const char *final, int64_t step)
{
    char *folder = mn_sprintf("%s/%s", cfg->dir, temporary);
    mn_err err = MN_OK;
    if (mn_fault("ckpt.rename"))
        err = mn_fail(MN_EIO, "%s: injected fault", final);
    else if (rename_new(folder, final) != 0)
        err = errno == EEXIST ? replace(cfg, temporary, final, step)
                              : mn_fail(MN_EIO, "%s: cannot rename to it: %s", final, strerror(errno));
    free(folder);
    return err;
}

static mn_err sync_parent(const char *dir)
{
    if (mn_fault("ckpt.parentsync")) return mn_fail(MN_EIO, "%s: injected fault", dir);
    return mn_dir_sync(dir);
}

static mn_err write_latest(const char *dir, const char *name)
{
    char *path = mn_sprintf("%s/LATEST", dir), *text = mn_sprintf("%s\n", name);
    mn_err err = mn_fault("ckpt.latest") ? mn_fail(MN_EIO, "%s: injected fault", path)
                                         : mn_file_replace(path, text, strlen(text));
    free(path);
    free(text);
    return err;
}

mn_err dist__ckpt_write(const dist_ckpt_cfg *cfg, const dist__snapshot *s, int64_t *last)
{
    mn_err err;
    char name[32];
    snprintf(name, sizeof name, "step-%08lld", (long long)s->state.step);
    char *temporary = mn_sprintf(TEMPORARY "%s-%lld", name, (long long)cfg->attempt);
    char *folder = mn_sprintf("%s/%s", cfg->dir, temporary), *final = mn_sprintf("%s/%s", cfg->dir, name);
    MN_TRY_OUT(err, still_ours(cfg));
    remove_temporaries(cfg);
    if (mn_fault("ckpt.mkdir") || mkdir(folder, 0777) != 0) {
        err = mn_fail(MN_EIO, "%s: cannot create the folder: %s", folder, strerror(errno));
        goto out;
    }
    MN_TRY_OUT(err, fill(cfg, s, folder));
    MN_TRY_OUT(err, still_ours(cfg));
    MN_TRY_OUT(err, set_aside(cfg, *last));
    MN_TRY_OUT(err, publish(cfg, temporary, final, s->state.step));
    *last = s->state.step;
    MN_TRY_OUT(err, sync_parent(cfg->dir));
    MN_TRY_OUT(err, write_latest(cfg->dir, name));
out:
    if (err != MN_OK) {
        // Keep the first message: cleaning up may fail on the same full disk.
        char *message = mn_strdup(mn_errmsg());
        if (discard(cfg, temporary) != MN_OK) mn_warn("%s stays: %s", folder, mn_errmsg());
        mn_fail(err, "%s", message);
        free(message);
    }
    free(temporary);
    free(folder);
    free(final);
    return err;
}

// A folder that cannot be removed is no reason to doubt the new one: the next save tries again.
mn_err dist__ckpt_prune(const dist_ckpt_cfg *cfg, int64_t newest, int64_t best_step)
{
    char name[32];
    int64_t *steps, n, kept = 0;
    mn_err err = MN_OK;
    char *path = mn_sprintf("%s/step-%08lld", cfg->dir, (long long)newest);
    // Nothing older goes before the new one has been read back.
    err = dist_ckpt_verify(path);
    free(path);
    MN_TRY(err);
    if (dist__ckpt_list(cfg->dir, &steps, &n) != MN_OK) {
        mn_warn("old checkpoints stay: %s", mn_errmsg());
        return MN_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        if (steps[i] > newest) continue; // of another writer: neither counted nor touched
        if (kept++ < cfg->keep || steps[i] == newest || steps[i] == best_step || mn_fault("ckpt.prune")) continue;
        snprintf(name, sizeof name, "step-%08lld", (long long)steps[i]);
        if (discard(cfg, name) != MN_OK) mn_warn("an old checkpoint could not be removed: %s", mn_errmsg());
    }
    free(steps);
    return MN_OK;
}
