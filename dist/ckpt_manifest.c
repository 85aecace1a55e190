// The two small JSON files of a checkpoint. Both are written by us and read strictly; numbers are exact.
#include "dist/ckpt_internal.h"

#include "nn/base/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const dist__ckpt_file[DIST_CKPT_FILES] = {"model.safetensors", "optimizer.safetensors", "state.json"};

// The text ends in SELF_HEAD digest SELF_TAIL; the digest is of every byte before itself.
#define SELF_HEAD ",\n \"self\": \""
#define SELF_TAIL "\"}\n"

char *dist__state_text(const dist__snapshot *s)
{
    const dist_state *t = &s->state;
    return mn_sprintf(
        "{\"step\": %" PRId64 ",\n \"updates\": %" PRId64 ",\n \"seed\": \"%" PRIu64 "\",\n \"epoch\": %" PRId64
        ",\n \"position\": %" PRId64 ",\n \"best\": \"%a\",\n \"best_step\": %" PRId64 ",\n \"recipe\": \"%016" PRIx64
        "\",\n \"trained\": \"%016" PRIx64 "\",\n \"unscored\": %d,\n \"world\": %d,\n \"machine\": \"%s\"}\n",
        t->step, s->updates, t->data.seed, t->data.epoch, t->data.position, t->best, t->best_step, t->recipe,
        t->trained, t->unscored, t->world, t->machine);
}

static mn_err unpack(const char *text, size_t size, const char *path, json_t **root)
{
    json_error_t error;
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!*root) return mn_fail(MN_EDATA, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    return MN_OK;
}

mn_err dist__state_parse(const char *text, size_t size, const char *path, dist_state *s, int64_t *updates)
{
    json_t *root;
    json_int_t step, done, epoch, position, best_step;
    const char *seed, *best, *recipe, *machine, *trained = "";
    int world, unscored = 0;
    memset(s, 0, sizeof *s);
    MN_TRY(unpack(text, size, path, &root));
    int bad = json_unpack(root, "{s:I, s:I, s:s, s:I, s:I, s:s, s:I, s:s, s:i, s:s, s?s, s?i}", "step", &step,
                          "updates", &done, "seed", &seed, "epoch", &epoch, "position", &position, "best", &best,
                          "best_step", &best_step, "recipe", &recipe, "world", &world, "machine", &machine, "trained",
                          &trained, "unscored", &unscored);
    if (bad == 0) {
        s->step = step;
        *updates = done;
        s->data = (data_state){strtoull(seed, NULL, 10), epoch, position};
        s->best = strtod(best, NULL);
        s->best_step = best_step;
        s->recipe = strtoull(recipe, NULL, 16);
        s->trained = strtoull(trained, NULL, 16);
        s->unscored = unscored;
        s->world = world;
        snprintf(s->machine, sizeof s->machine, "%s", machine);
    }
    json_decref(root);
    return bad ? mn_fail(MN_EDATA, "%s: a member is missing or has the wrong type", path) : MN_OK;
}

char *dist__manifest_text(const dist__manifest *m)
{
    char digest[MN_DIGEST_SIZE];
    char *body =
        mn_sprintf("{\"format\": \"mien-checkpoint\",\n \"version\": %d,\n \"step\": %" PRId64
                   ",\n \"attempt\": %" PRId64 ",\n \"binary\": \"%016" PRIx64 "\",\n \"files\": {\n  \"%s\": [%" PRId64
                   ", \"%s\"],\n  \"%s\": [%" PRId64 ", \"%s\"],\n  \"%s\": [%" PRId64 ", \"%s\"]}" SELF_HEAD,
                   DIST_CKPT_VERSION, m->step, m->attempt, m->binary, dist__ckpt_file[0], m->size[0], m->digest[0],
                   dist__ckpt_file[1], m->size[1], m->digest[1], dist__ckpt_file[2], m->size[2], m->digest[2]);
    mn_digest(body, strlen(body), digest);
    char *text = mn_sprintf("%s%s" SELF_TAIL, body, digest);
    free(body);
    return text;
}

static mn_err check_self(const char *text, size_t size, const char *path)
{
    size_t hex = MN_DIGEST_SIZE - 1, tail = strlen(SELF_TAIL), head = strlen(SELF_HEAD);
    char digest[MN_DIGEST_SIZE];
    if (size < head + hex + tail) return mn_fail(MN_EDATA, "%s: cut off at %zu bytes", path, size);
    size_t body = size - hex - tail;
    mn_digest(text, body, digest);
    if (memcmp(text + body - head, SELF_HEAD, head) != 0 || memcmp(text + body, digest, hex) != 0 ||
        memcmp(text + body + hex, SELF_TAIL, tail) != 0)
        return mn_fail(MN_EDATA, "%s: its digest does not match its text", path);
    return MN_OK;
}

static int parse_file(json_t *files, int i, dist__manifest *m)
{
    json_int_t size;
    const char *digest;
    json_t *entry = json_object_get(files, dist__ckpt_file[i]);
    if (!entry || json_unpack(entry, "[I, s]", &size, &digest) != 0 || strlen(digest) != MN_DIGEST_SIZE - 1) return 0;
    m->size[i] = size;
    memcpy(m->digest[i], digest, MN_DIGEST_SIZE);
    return 1;
}

mn_err dist__manifest_parse(const char *text, size_t size, const char *path, dist__manifest *m)
{
    json_t *root, *files = NULL;
    const char *format = "", *binary = "";
    int version = 0, ok;
    json_int_t step = 0, attempt = 0;
    MN_TRY(check_self(text, size, path));
    MN_TRY(unpack(text, size, path, &root));
    ok = json_unpack(root, "{s:s, s:i, s:I, s:I, s:s, s:o}", "format", &format, "version", &version, "step", &step,
                     "attempt", &attempt, "binary", &binary, "files", &files) == 0 &&
         strcmp(format, "mien-checkpoint") == 0;
    m->step = step;
    m->attempt = attempt;
    m->binary = strtoull(binary, NULL, 16);
    for (int i = 0; i < DIST_CKPT_FILES && ok; i++)
        ok = parse_file(files, i, m);
    json_decref(root);
    if (ok && version != DIST_CKPT_VERSION)
        return mn_fail(MN_ECONFIG, "%s: format version %d; this program reads version %d", path, version,
                       DIST_CKPT_VERSION);
    return ok ? MN_OK : mn_fail(MN_EDATA, "%s: not the manifest of a checkpoint", path);
}
