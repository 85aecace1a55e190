// The folder that an import writes to: its lock, what is there already, and its end.
#include "data/import/run.h"

#include "data/file.h"
#include "data/shard_manifest.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define REJECT_MOST 0.1

// The kernel lets the lock go when its holder dies, however it does; on NFS the server does (Linux takes flock to it as a
// lock of the whole file), so other nodes see it too.
static mn_err take_lock(data__job *j)
{
    char text[160], host[64] = "?", utc[32];
    j->lock_path = mn_sprintf("%s/.import.lock", j->im.cfg->out);
    for (;;) {
        struct stat held, there;
        j->lock = open(j->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (j->lock < 0) return mn_fail(MN_ECREATE, "%s: %s", j->lock_path, strerror(errno));
        if (flock(j->lock, LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) { // a file system without locks
                mn_warn("%s: cannot lock the folder (%s): do not start a second import into it", j->im.cfg->out,
                        strerror(errno));
                return MN_OK;
            }
            ssize_t n = pread(j->lock, text, sizeof(text) - 1, 0);
            text[n > 0 ? n : 0] = 0;
            (void)close(j->lock);
            j->lock = -1;
            return mn_fail(MN_ECREATE, "%s: another import is writing here (%s): wait for it, or choose another --out",
                           j->im.cfg->out, *text ? text : "it has only just begun");
        }
        // The holder before us may have removed the file that we have opened: then we hold a lock on nothing.
        if (fstat(j->lock, &held) == 0 && stat(j->lock_path, &there) == 0 && held.st_ino == there.st_ino) break;
        (void)close(j->lock);
    }
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(text, sizeof(text), "process %ld on %s since %s", (long)getpid(), host,
                   mn_utc_text(utc, sizeof(utc)));
    if (ftruncate(j->lock, 0) != 0) return mn_fail(MN_EIO, "%s: %s", j->lock_path, strerror(errno));
    return data_file_pwrite(j->lock, j->lock_path, text, strlen(text), 0);
}

void data__output_release(data__job *j)
{
    if (j->lock >= 0) {
        (void)unlink(j->lock_path); // while it is held
        (void)close(j->lock);
        j->lock = -1;
    }
    free(j->lock_path);
    j->lock_path = NULL;
}

// A finished import of the same source and options is left alone; one of another source is not overwritten.
static mn_err check_finished(data__job *j, int64_t *finished)
{
    char *path = mn_sprintf("%s/" DATA__MANIFEST, j->im.cfg->out);
    data__manifest m = {0};
    data_folder *f = NULL;
    mn_err err = MN_OK;
    *finished = 0;
    if (access(path, F_OK) != 0) goto out;
    MN_TRY_OUT(err, data__manifest_read(j->im.cfg->out, &m));
    const char *source = json_string_value(json_object_get(json_object_get(m.root, "import"), "source"));
    if (!source || strcmp(source, j->source) != 0) {
        char differ[DATA__DIFFER];
        data__options_differ(j, json_object_get(m.root, "options"), differ);
        err = mn_fail(MN_ECREATE,
                      "%s: holds a finished import, and this one differs (%s%s): remove the folder, or choose another "
                      "--out",
                      j->im.cfg->out, *differ ? differ : "other lists or names than there are now in ",
                      *differ ? "" : j->im.cfg->src);
        goto out;
    }
    MN_TRY_OUT(err, data_folder_open(&f, j->im.cfg->out, NULL, DATA_TASKS, "image"));
    *finished = 1;
out:
    data_folder_close(f);
    data__manifest_free(&m);
    free(path);
    return err;
}

// Bytes of the shards that are there already.
static mn_err bytes_there(const char *dir, int64_t *bytes)
{
    char **names;
    int64_t n;
    *bytes = 0;
    MN_TRY(data_dir_like(dir, "", ".h5", &names, &n));
    for (int64_t i = 0; i < n; i++) {
        char *path = mn_sprintf("%s/%s", dir, names[i]);
        struct stat st;
        if (stat(path, &st) == 0) *bytes += st.st_size;
        free(path);
    }
    mn_names_free(names, n);
    return MN_OK;
}

static mn_err check_space(const data__job *j)
{
    struct statvfs v;
    int64_t need, there;
    MN_TRY(bytes_there(j->im.cfg->out, &there));
    need = -there;
    if (statvfs(j->im.cfg->out, &v) != 0) return mn_fail(MN_EIO, "%s: %s", j->im.cfg->out, strerror(errno));
    for (int i = 0; i < j->im.n_groups; i++)
        need += j->im.groups[i].bytes + j->im.groups[i].bytes / j->im.groups[i].n_shards; // and a spool
    double have = (double)v.f_bavail * (double)v.f_frsize;
    if ((double)need <= have || mn_fault("import.space")) return MN_OK; // the fault: room that goes meanwhile
    return mn_fail(MN_ECREATE, "%s: about %.1f MiB are needed, %.1f MiB are free", j->im.cfg->out,
                   (double)need / 1048576, have / 1048576);
}

static int begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

// What a killed import left: temporary files, and shards that do not belong to this one.
static mn_err clean(const data__job *j)
{
    char **names, *path;
    int64_t n;
    mn_err err = MN_OK;
    MN_TRY(mn_dir_list(j->im.cfg->out, &names, &n));
    for (int64_t i = 0; i < n && err == MN_OK; i++) {
        size_t k = strlen(names[i]);
        int of_shard = names[i][0] == '.' &&
                       ((k > 4 && strcmp(names[i] + k - 4, ".tmp") == 0) || strncmp(names[i], ".spool-", 7) == 0);
        if (!of_shard && !begins(names[i], DATA__REJECTS ".tmp-") && !begins(names[i], DATA__MANIFEST ".tmp-"))
            continue;
        path = mn_sprintf("%s/%s", j->im.cfg->out, names[i]);
        if (unlink(path) != 0) err = mn_fail(MN_ECREATE, "%s: left by a killed import: %s", path, strerror(errno));
        free(path);
    }
    mn_names_free(names, n);
    return err;
}

mn_err data__output_open(data__job *j, int64_t *finished)
{
    MN_TRY(mn_dir_make(j->im.cfg->out));
    MN_TRY(take_lock(j));
    MN_TRY(check_finished(j, finished));
    if (!*finished) MN_TRY(data__plan_file_check(j));
    MN_TRY(clean(j));
    if (!*finished) MN_TRY(check_space(j));
    char *work = mn_sprintf("%s/" DATA__IMPORT_WORK, j->im.cfg->out);
    mn_err err = MN_OK;
    if (!*finished)
        err = mn_dir_make(work);
    else if (access(work, F_OK) == 0) // killed behind its last step but this one
        err = mn_dir_remove(work);
    free(work);
    return err == MN_OK && !*finished ? data__plan_file_write(j) : err;
}

// The end: one process

static mn_err write_rejects(const data__job *j, char digest[MN_DIGEST_SIZE])
{
    static const char head[] = "reason,file,row,detail\n";
    char *path = mn_sprintf("%s/" DATA__REJECTS, j->im.cfg->out);
    int64_t size;
    mn_output o;
    mn_err err = mn_output_open(&o, path);
    if (err == MN_OK) {
        err = mn_output_write(&o, head, sizeof(head) - 1);
        if (err == MN_OK && j->scan_listing) err = mn_output_write(&o, j->scan_listing, strlen(j->scan_listing));
        for (int k = 0; k < j->n_shards && err == MN_OK; k++) { // one at a time: there may be millions of lines
            data__tally tally;
            char *listing;
            int found;
            err = data__sidecar_read(j->im.cfg->out, j->files[k], j->source, &tally, &listing, &found);
            if (err == MN_OK && listing) err = mn_output_write(&o, listing, strlen(listing));
            free(listing);
        }
        if (err == MN_OK && mn_fault("import.rejects")) err = mn_fail(MN_EIO, "%s: injected failure", path);
        err = mn_output_close(&o, err);
    }
    if (err == MN_OK) err = mn_file_digest(path, digest, &size);
    free(path);
    return err;
}

json_t *data__import_json(const data__job *j, const data__tally *t)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:i}", "kind", j->im.cfg->kind, "source",
                     j->source, "records", (json_int_t)t->records, "pictures", (json_int_t)t->pictures, "sounds",
                     (json_int_t)t->sounds, "bytes", (json_int_t)t->bytes, "rows", (json_int_t)t->rows, "rejected",
                     (json_int_t)data__tally_rejected(t), "rejects", data__rejects_json(t), "notes",
                     data__notes_json(t), "shards", j->n_shards);
}

mn_err data__output_finish(const data__job *j, const data__tally *t)
{
    double most = j->im.cfg->reject_most > 0 ? j->im.cfg->reject_most : REJECT_MOST, share = data__tally_share(t);
    const char **files = mn_calloc((size_t)j->n_shards + 1, sizeof(*files));
    char *import = NULL, *rejects = NULL, *work = mn_sprintf("%s/" DATA__IMPORT_WORK, j->im.cfg->out);
    char digest[MN_DIGEST_SIZE];
    json_t *o = data__import_json(j, t);
    mn_err err = MN_OK;
    MN_TRY_OUT(err, write_rejects(j, digest));
    mn_assert(json_object_set_new(o, "rejects_xxh3", json_string(digest)) == 0);
    if (share > most) {
        err = mn_fail(MN_EDATA,
                      "%s: %.1f %% was rejected, more than %.1f %%: see %s/" DATA__REJECTS
                      "; with a larger --max-rejects the shards made so far are kept",
                      j->im.cfg->src, 100 * share, 100 * most, j->im.cfg->out);
        goto out;
    }
    for (int k = 0; k < j->n_shards; k++)
        files[k] = j->files[k];
    import = json_dumps(o, JSON_ENSURE_ASCII);
    rejects = json_dumps(json_object_get(o, "rejects"), JSON_ENSURE_ASCII);
    MN_TRY_OUT(err, data_folder_finish(&(data_manifest_cfg){.dir = j->im.cfg->out,
                                                            .dataset = j->im.cfg->kind,
                                                            .importer = j->im.cfg->kind,
                                                            .options_json = j->options,
                                                            .rejects_json = rejects,
                                                            .import_json = import,
                                                            .files = files,
                                                            .n_files = j->n_shards}));
    if (mn_fault("import.finish")) err = mn_fail(MN_EIO, "%s: injected failure", work);
    if (err == MN_OK) err = mn_dir_remove(work);
out:
    free(import);
    free(rejects);
    free(files);
    free(work);
    json_decref(o);
    return err;
}
