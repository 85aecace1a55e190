// What an unfinished import was making, kept in its folder: so that a later start goes on with the same and refuses to
// mix in anything else.
#include "data/file.h"
#include "data/import/run.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLAN_MOST ((size_t)1 << 20)

static char *plan_path(const data__job *j)
{
    return mn_sprintf("%s/" DATA__IMPORT_WORK "/plan.json", j->im.cfg->out);
}

// "size was 224, is 0; ...": options of the two that differ, "" when none does.
static void compare_options(const json_t *before, const json_t *now, char text[DATA__DIFFER])
{
    const char *key;
    json_t *v;
    text[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)now, key, v)
    {
        json_t *old = json_object_get(before, key);
        size_t n = strlen(text);
        if (old && json_equal(old, v)) continue;
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY) : NULL, *b = json_dumps(v, JSON_ENCODE_ANY);
        (void)snprintf(text + n, DATA__DIFFER - n, "%s%s was %s, is %s", n ? "; " : "", key, a ? a : "not known",
                       b ? b : "?");
        free(a);
        free(b);
    }
}

void data__options_differ(const data__job *j, const json_t *before, char text[DATA__DIFFER])
{
    json_t *now = json_loads(j->options, 0, NULL);
    compare_options(before, now, text);
    json_decref(now);
}

static mn_err refuse(const data__job *j, const json_t *before)
{
    const char *version = json_string_value(json_object_get(before, "version"));
    char text[DATA__DIFFER];
    data__options_differ(j, json_object_get(before, "options"), text);
    if (!before)
        (void)snprintf(text, sizeof(text), "what it was made from is not recorded");
    else if (!text[0] && version && strcmp(version, MIEN_VERSION) != 0)
        (void)snprintf(text, sizeof(text), "it was begun by mien %s, this is %s", version, MIEN_VERSION);
    else if (!text[0])
        (void)snprintf(text, sizeof(text), "the lists or names in %s have changed since", j->im.cfg->src);
    return mn_fail(MN_ECREATE,
                   "%s: holds finished shards of an import that did not end, and this one differs (%s): go on with the "
                   "same, or remove the folder, or choose another --out",
                   j->im.cfg->out, text);
}

mn_err data__plan_file_check(const data__job *j)
{
    char *path = plan_path(j), *text = NULL, **shards = NULL;
    size_t size = 0;
    int64_t n = 0;
    json_t *before = NULL;
    mn_err err = data_dir_like(j->im.cfg->out, "", ".h5", &shards, &n);
    if (err == MN_OK && n > 0) {
        if (access(path, F_OK) == 0) err = mn_file_read(path, PLAN_MOST, &text, &size);
        if (text) before = json_loadb(text, size, 0, NULL);
        const char *source = json_string_value(json_object_get(before, "source"));
        if (err == MN_OK && (!source || strcmp(source, j->source) != 0)) err = refuse(j, before);
    }
    if (shards) mn_names_free(shards, n);
    json_decref(before);
    free(text);
    free(path);
    return err;
}

mn_err data__plan_file_write(const data__job *j)
{
    json_t *o = json_pack("{s:s, s:s, s:o, s:i}", "source", j->source, "version", MIEN_VERSION, "options",
                          json_loads(j->options, 0, NULL), "shards", j->n_shards);
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL, *path = plan_path(j);
    mn_err err = mn_fault("import.plan") ? mn_fail(MN_EIO, "%s: injected failure", path)
                 : text                  ? mn_file_replace(path, text, strlen(text))
                                         : mn_fail(MN_EINTERNAL, "%s: the options are no JSON text", path);
    json_decref(o);
    free(text);
    free(path);
    return err;
}
