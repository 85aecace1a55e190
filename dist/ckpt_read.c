// Reading checkpoints: only folders whose every digest matches are trusted; each refusal is explained.
#include "dist/ckpt_internal.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/safetensors.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL_FILE = 1 << 20 };

static int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

// Step of a folder named step-%08d; -1 for any other name.
static int64_t step_of(const char *name)
{
    if (strncmp(name, "step-", 5) != 0) return -1;
    for (const char *c = name + 5; *c; c++)
        if (!isdigit((unsigned char)*c)) return -1;
    return strlen(name) >= 13 && strlen(name) <= 22 ? strtoll(name + 5, NULL, 10) : -1;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

mn_err dist__ckpt_list(const char *dir, int64_t **steps, int64_t *n)
{
    char **names;
    int64_t count;
    *steps = NULL;
    *n = 0;
    if (!exists(dir)) return MN_OK;
    MN_TRY(mn_dir_list(dir, &names, &count));
    *steps = mn_calloc((size_t)count + 1, sizeof **steps);
    for (int64_t i = 0; i < count; i++) {
        int64_t step = step_of(names[i]);
        if (step >= 0) (*steps)[(*n)++] = step;
    }
    mn_names_free(names, count);
    qsort(*steps, (size_t)*n, sizeof **steps, newest_first);
    return MN_OK;
}

static mn_err read_manifest(const char *folder, dist__manifest *m)
{
    char *path = mn_sprintf("%s/manifest.json", folder), *text = NULL;
    size_t size;
    mn_err err = mn_file_read(path, SMALL_FILE, &text, &size);
    if (err == MN_OK) err = dist__manifest_parse(text, size, path, m);
    free(text);
    free(path);
    return err;
}

static mn_err verify_file(const char *folder, const dist__manifest *m, int i)
{
    char digest[MN_DIGEST_SIZE], *path = mn_sprintf("%s/%s", folder, dist__ckpt_file[i]);
    int64_t size;
    mn_err err = mn_file_digest(path, digest, &size);
    if (err == MN_OK && size != m->size[i])
        err = mn_fail(MN_EDATA, "%s: %lld bytes, the manifest says %lld", path, (long long)size, (long long)m->size[i]);
    if (err == MN_OK && strcmp(digest, m->digest[i]) != 0)
        err = mn_fail(MN_EDATA, "%s: damaged: its XXH3-128 is %s, the manifest says %s", path, digest, m->digest[i]);
    free(path);
    return err;
}

mn_err dist_ckpt_verify(const char *path)
{
    dist__manifest m;
    MN_TRY(read_manifest(path, &m));
    for (int i = 0; i < DIST_CKPT_FILES; i++)
        MN_TRY(verify_file(path, &m, i));
    return MN_OK;
}

mn_err dist_ckpt_latest(const char *dir, char *path, size_t size)
{
    int64_t *steps, n;
    mn_err err = MN_OK;
    *path = '\0';
    MN_TRY(dist__ckpt_list(dir, &steps, &n));
    for (int64_t i = 0; i < n; i++) {
        snprintf(path, size, "%s/step-%08lld", dir, (long long)steps[i]);
        err = dist_ckpt_verify(path);
        if (err == MN_OK || err == MN_ECONFIG) break; // good, or of a newer program: not ours to step over
        mn_warn("checkpoint refused: %s", mn_errmsg());
        *path = '\0';
    }
    free(steps);
    if (err == MN_ECONFIG) return err;
    if (n > 0 && !*path)
        return mn_fail(MN_EIO,
                       "%s: none of its %lld checkpoints verifies (reasons above); restore one, or start afresh "
                       "with --resume never",
                       dir, (long long)n);
    return MN_OK;
}

static mn_err read_state(const char *path, dist_state *state, int64_t *updates)
{
    char *file = mn_sprintf("%s/%s", path, dist__ckpt_file[DIST_CKPT_STATE]), *text = NULL;
    size_t size;
    mn_err err = mn_file_read(file, SMALL_FILE, &text, &size);
    if (err == MN_OK) err = dist__state_parse(text, size, file, state, updates);
    free(text);
    free(file);
    return err;
}

mn_err dist_ckpt_state(const char *path, dist_state *state)
{
    int64_t updates;
    return read_state(path, state, &updates);
}

// --- tensors into arenas ---

static mn_err copy_tensor(const nn_safetensors *file, const char *name, const nn_param *p, float *to, const char *path)
{
    char have[96], want[96];
    const nn_safetensor *t = nn_safetensors_find(file, name);
    if (!t) return mn_fail(MN_ECONFIG, "%s has no tensor '%s': it is a checkpoint of another network", path, name);
    if (!mn_shape_equal(t->shape, p->spec.shape))
        return mn_fail(MN_ECONFIG, "%s: tensor '%s' is %s, this recipe makes it %s", path, name,
                       mn_shape_text(t->shape, have, sizeof have), mn_shape_text(p->spec.shape, want, sizeof want));
    return nn_safetensors_read_f32(file, t, to);
}

static mn_err load_model(const nn_safetensors *file, nn_params *ps, const char *path)
{
    for (int i = 0; i < nn_params_count(ps); i++) {
        nn_param *p = nn_params_at(ps, i);
        MN_TRY(copy_tensor(file, p->name, p, nn_param_master(ps, p), path));
        p->loaded = 1;
    }
    for (int i = 0; i < nn_safetensors_count(file); i++) {
        const nn_safetensor *t = nn_safetensors_at(file, i);
        if (!nn_params_find(ps, t->name))
            return mn_fail(MN_ECONFIG, "%s: this recipe's network has no parameter '%s'", path, t->name);
    }
    return nn_params_sync(ps);
}

static mn_err load_moments(const nn_safetensors *file, nn_params *ps, nn_optim *o, const char *path)
{
    for (int i = 0; i < nn_params_count(ps); i++) {
        const nn_param *p = nn_params_at(ps, i);
        char name[256];
        if (p->frozen || p->spec.buffer) continue;
        snprintf(name, sizeof name, "%s.m", p->name);
        MN_TRY(copy_tensor(file, name, p, nn_optim_m(o, p), path));
        snprintf(name, sizeof name, "%s.v", p->name);
        MN_TRY(copy_tensor(file, name, p, nn_optim_v(o, p), path));
    }
    return MN_OK;
}

static mn_err with_file(const char *folder, int which, nn_params *ps, nn_optim *o)
{
    nn_safetensors *file = NULL;
    char *path = mn_sprintf("%s/%s", folder, dist__ckpt_file[which]);
    mn_err err = nn_safetensors_open(&file, path);
    if (err == MN_OK) err = which == DIST_CKPT_MODEL ? load_model(file, ps, path) : load_moments(file, ps, o, path);
    nn_safetensors_close(file);
    free(path);
    return err;
}

mn_err dist_ckpt_load(const char *path, nn_params *params, nn_optim *optim, dist_state *state)
{
    int64_t updates;
    MN_TRY(read_state(path, state, &updates));
    MN_TRY(with_file(path, DIST_CKPT_MODEL, params, NULL));
    if (!optim) return MN_OK;
    MN_TRY(nn_optim_fetch(optim)); // makes room for what is read
    MN_TRY(with_file(path, DIST_CKPT_OPTIMIZER, params, optim));
    nn_optim_set_updates(optim, updates);
    return nn_optim_sync(optim);
}

// --- finding a model by what the user calls it ---

static mn_err model_of(const char *folder, char *path, size_t size)
{
    MN_TRY(dist_ckpt_verify(folder));
    snprintf(path, size, "%s/%s", folder, dist__ckpt_file[DIST_CKPT_MODEL]);
    return MN_OK;
}

static mn_err model_of_run(const char *run, int best, char *path, size_t size)
{
    char folder[DIST_CKPT_PATH];
    dist_state state;
    char *dir = mn_sprintf("%s/ckpt", run);
    mn_err err = dist_ckpt_latest(dir, folder, sizeof folder);
    if (err == MN_OK && !*folder) err = mn_fail(MN_ENOINPUT, "%s: the run has no checkpoint yet", run);
    if (err == MN_OK && best) {
        err = dist_ckpt_state(folder, &state);
        if (err == MN_OK && state.best_step > 0)
            snprintf(folder, sizeof folder, "%s/step-%08lld", dir, (long long)state.best_step);
    }
    free(dir);
    MN_TRY(err);
    return model_of(folder, path, size);
}

static int has(const char *folder, const char *name)
{
    char *path = mn_sprintf("%s/%s", folder, name);
    int yes = exists(path);
    free(path);
    return yes;
}

// One file of a checkpoint named by itself, perhaps through a link: the manifest beside it must agree. A file with
// another name, or with no manifest beside it, is nobody's checkpoint.
static mn_err verify_single(const char *file)
{
    dist__manifest m;
    char *real = realpath(file, NULL);
    if (!real) return mn_fail(MN_ENOINPUT, "%s: %s", file, strerror(errno));
    mn_err err = MN_OK;
    char *slash = strrchr(real, '/');
    *slash = '\0';
    for (int i = 0; i < DIST_CKPT_FILES && err == MN_OK; i++) {
        if (strcmp(slash + 1, dist__ckpt_file[i]) != 0 || !has(real, "manifest.json")) continue;
        err = read_manifest(real, &m);
        if (err == MN_OK) err = verify_file(real, &m, i);
    }
    free(real);
    return err;
}

// *found is 0 when `place` is nothing of the kind.
static mn_err model_at(const char *place, int best, int *found, char *path, size_t size)
{
    struct stat st;
    *found = 1;
    if (stat(place, &st) == 0) {
        if (S_ISREG(st.st_mode)) {
            snprintf(path, size, "%s", place);
            return verify_single(place);
        }
        if (has(place, "manifest.json")) return model_of(place, path, size);
        if (has(place, "ckpt")) return model_of_run(place, best, path, size);
    }
    *found = 0;
    return MN_OK;
}

mn_err dist_ckpt_find_model(const char *from, const char *runs, int best, char *path, size_t size)
{
    int found;
    MN_TRY(model_at(from, best, &found, path, size));
    if (found) return MN_OK;
    char *under = mn_sprintf("%s/%s", runs, from);
    mn_err err = model_at(under, best, &found, path, size);
    free(under);
    if (err != MN_OK || found) return err;
    return mn_fail(MN_ENOINPUT,
                   "%s: no such weights: neither a .safetensors file, nor a checkpoint folder, nor a run under %s",
                   from, runs);
}
