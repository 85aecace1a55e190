#include "recipes/sources.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 1 << 16 };

static mn_err compare(const char *path, const char *text, const char *have, const mien_job *j)
{
    json_error_t at;
    json_t *recorded = json_loads(text, JSON_REJECT_DUPLICATES, &at), *now = json_loads(have, 0, NULL);
    const char *name;
    json_t *value;
    mn_err err = MN_OK;
    if (!json_is_object(recorded)) err = mn_fail(MN_EDATA, "%s:%d: not a JSON object", path, at.line);
    json_object_foreach(now, name, value)
    {
        const char *old = json_string_value(json_object_get(recorded, name)), *new = json_string_value(value);
        if (err != MN_OK || !old || !*old || !*new || strcmp(old, new) == 0) continue;
        err = mn_fail(MN_ECONFIG,
                      "%s: features.%s was made by weights %.12s, but %s says training saw those of %.12s: extract "
                      "with those, or train on these under another run name",
                      j->path, name, new, path, old);
    }
    json_decref(recorded);
    json_decref(now);
    return err;
}

// Compares with the file, or writes it where there is none.
static mn_err settle(const mien_job *j, const data_set *set, const char *run, int record)
{
    if (!j->task->sources) return MN_OK;
    char *members = j->task->sources(j, set), *have = mn_sprintf("{%s}\n", members), *text = NULL;
    char *path = mn_sprintf("%s/features.json", run);
    size_t size;
    mn_err err = MN_OK;
    if (access(path, F_OK) == 0) {
        MN_TRY_OUT(err, mn_file_read(path, LARGEST, &text, &size));
        err = compare(path, text, have, j);
    } else if (record) {
        MN_TRY_OUT(err, mn_dir_make(run));
        err = mn_file_replace(path, have, strlen(have));
    }
out:
    free(members);
    free(have);
    free(text);
    free(path);
    return err;
}

mn_err mien_sources_record(const mien_job *j, const data_set *set, const char *run)
{
    return settle(j, set, run, 1);
}

mn_err mien_sources_check(const mien_job *j, const data_set *set, const char *weights)
{
    const char *end = strstr(weights, "/ckpt/step-");
    if (!end) return MN_OK;
    char *run = mn_sprintf("%.*s", (int)(end - weights), weights);
    mn_err err = settle(j, set, run, 0);
    free(run);
    return err;
}
