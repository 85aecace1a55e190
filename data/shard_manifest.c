#include "data/shard_manifest.h"

#include "data/counts.h"
#include "data/shard.h"
#include "nn/base/clock.h"
#include "nn/base/fault.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define FIRST "{\"manifest_xxh3\": \""
#define FIRST_END "\",\n"
enum { FIRST_BYTES = sizeof(FIRST) - 1 + 32 + sizeof(FIRST_END) - 1, SHARDS_MOST = 100000 };

char *data__signed_json(const json_t *body, size_t *size)
{
    char *text = json_dumps(body, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    mn_assert(text && text[0] == '{');
    char digest[DATA__DIGEST_TEXT];
    char *rest = mn_sprintf("%s\n", text + 1); // the opening brace is in the first line
    free(text);
    data__digest_text(XXH3_128bits(rest, strlen(rest)), digest);
    char *all = mn_sprintf(FIRST "%s" FIRST_END "%s", digest, rest);
    free(rest);
    *size = strlen(all);
    return all;
}

mn_err data__signed_json_parse(const char *text, size_t size, const char *path, json_t **root)
{
    char digest[DATA__DIGEST_TEXT];
    json_error_t e;
    if (size < FIRST_BYTES || memcmp(text, FIRST, sizeof(FIRST) - 1) != 0 ||
        memcmp(text + FIRST_BYTES - (sizeof(FIRST_END) - 1), FIRST_END, sizeof(FIRST_END) - 1) != 0)
        return mn_fail(MN_EDATA, "%s: its first line is not the digest that mien writes there", path);
    data__digest_text(XXH3_128bits(text + FIRST_BYTES, size - FIRST_BYTES), digest);
    if (memcmp(digest, text + sizeof(FIRST) - 1, 32) != 0)
        return mn_fail(MN_EDATA, "%s: damaged or edited: its bytes have digest %s, its first line says %.32s", path,
                       digest, text + sizeof(FIRST) - 1);
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
    if (!*root) return mn_fail(MN_EDATA, "%s:%d:%d: %s", path, e.line, e.column, e.text);
    return MN_OK;
}

// Fields

static const char *get_text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static int get_short(const json_t *object, const char *key, char *text, size_t size)
{
    const char *s = get_text(object, key);
    size_t n = strlen(s);
    if (n == 0 || n >= size) return 0;
    memcpy(text, s, n + 1);
    return 1;
}

static int get_count(const json_t *object, const char *key, int64_t *value)
{
    const json_t *v = json_object_get(object, key);
    *value = json_integer_value(v);
    return json_is_integer(v) && *value >= 0;
}

// A name that stays in the folder and names nothing hidden.
static int plain_name(const char *s)
{
    return s[0] != 0 && s[0] != '.' && strlen(s) < 256 && !strchr(s, '/');
}

static int parse_shard(const json_t *o, data__manifest_shard *s)
{
    s->file = get_text(o, "file");
    return plain_name(s->file) && get_short(o, "split", s->split, sizeof(s->split)) &&
           get_short(o, "stream", s->stream, sizeof(s->stream)) && get_count(o, "records", &s->records) &&
           get_count(o, "videos", &s->videos) && get_count(o, "file_bytes", &s->file_bytes) &&
           get_count(o, "payload_bytes", &s->payload_bytes) &&
           get_short(o, "payload_xxh3", s->payload, sizeof(s->payload)) && data__is_digest(s->payload) &&
           get_short(o, "index_xxh3", s->index, sizeof(s->index)) && data__is_digest(s->index);
}

static int by_name(const void *a, const void *b)
{
    const data__manifest_shard *const *x = a, *const *y = b;
    return strcmp((*x)->file, (*y)->file);
}

static mn_err refuse_duplicates(const data__manifest *m, const char *path)
{
    const data__manifest_shard **sorted = mn_calloc((size_t)m->n_shards + 1, sizeof(*sorted));
    mn_err err = MN_OK;
    for (int i = 0; i < m->n_shards; i++)
        sorted[i] = &m->shards[i];
    qsort(sorted, (size_t)m->n_shards, sizeof(*sorted), by_name);
    for (int i = 1; i < m->n_shards && err == MN_OK; i++)
        if (strcmp(sorted[i - 1]->file, sorted[i]->file) == 0)
            err = mn_fail(MN_EDATA, "%s: names shard %s twice", path, sorted[i]->file);
    free(sorted);
    return err;
}

mn_err data__manifest_parse(const char *text, size_t size, const char *path, data__manifest *out)
{
    data__manifest m = {0};
    mn_err err = MN_OK;
    int64_t version;
    MN_TRY_OUT(err, data__signed_json_parse(text, size, path, &m.root));
    m.dataset = get_text(m.root, "dataset");
    m.importer = get_text(m.root, "importer");
    if (strcmp(get_text(m.root, "format"), "mien-dataset") != 0 || !get_count(m.root, "format_version", &version) ||
        version != 1) {
        err = mn_fail(MN_EDATA, "%s: not a mien dataset of format version 1: import again", path);
        goto out;
    }
    const json_t *shards = json_object_get(m.root, "shards");
    size_t n = json_array_size(shards);
    if (!json_is_array(shards) || n > SHARDS_MOST) {
        err = mn_fail(MN_EDATA, "%s: has no list of shards, or an impossible one", path);
        goto out;
    }
    m.n_shards = (int)n;
    m.shards = mn_calloc(n + 1, sizeof(*m.shards));
    for (size_t i = 0; i < n; i++)
        if (!parse_shard(json_array_get(shards, i), &m.shards[i])) {
            err = mn_fail(MN_EDATA, "%s: entry %zu of its shards lacks a field or has an impossible one", path, i);
            goto out;
        }
    MN_TRY_OUT(err, refuse_duplicates(&m, path));
    *out = m;
    return MN_OK;
out:
    data__manifest_free(&m);
    return err;
}

mn_err data__manifest_read(const char *dir, data__manifest *out)
{
    char *path = mn_sprintf("%s/" DATA__MANIFEST, dir), *text = NULL;
    size_t size;
    mn_err err = MN_EIO;
    for (int attempt = 0; attempt < 3 && err == MN_EIO; attempt++) // network file systems fail now and then
        err = mn_file_read(path, DATA__MANIFEST_MOST, &text, &size);
    if (err == MN_ENOINPUT)
        err = mn_fail(MN_ENOINPUT,
                      "%s: not there: %s is no dataset folder, or its import has not finished (run 'mien data import')",
                      path, dir);
    if (err == MN_OK) err = data__manifest_parse(text, size, path, out);
    free(text);
    free(path);
    return err;
}

void data__manifest_free(data__manifest *m)
{
    json_decref(m->root);
    free(m->shards);
    memset(m, 0, sizeof(*m));
}

// Writing

static mn_err add_shard(json_t *list, data_counts *counts, const char *dir, const char *file)
{
    char *path = mn_sprintf("%s/%s", dir, file);
    data_shard *s = NULL;
    mn_err err = MN_OK;
    MN_TRY_OUT(err, data_shard_open(&s, path));
    const data_shard_info *i = data_shard_about(s);
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s}", "file", file, "split", i->split, "stream",
                          i->stream, "records", (json_int_t)i->records, "videos", (json_int_t)i->videos, "file_bytes",
                          (json_int_t)i->file_bytes, "payload_bytes", (json_int_t)i->payload_bytes, "payload_xxh3",
                          i->payload, "index_xxh3", i->index);
    if (!o || json_array_append_new(list, o) != 0) {
        err = mn_fail(MN_EDATA, "%s: its name is not UTF-8 text", path);
        goto out;
    }
    data_counts_add(counts, s);
out:
    data_shard_close(s);
    free(path);
    return err;
}

static json_t *json_or_empty(const char *text)
{
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    return o ? o : json_object();
}

mn_err data_folder_finish(const data_manifest_cfg *cfg)
{
    char *path = mn_sprintf("%s/" DATA__MANIFEST, cfg->dir), *text = NULL, utc[32];
    json_t *list = json_array(), *root = NULL;
    data_counts *counts = data_counts_new();
    mn_err err = MN_OK;
    for (int i = 0; i < cfg->n_files; i++)
        MN_TRY_OUT(err, add_shard(list, counts, cfg->dir, cfg->files[i]));
    root = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "format", "mien-dataset",
                     "format_version", 1, "dataset", cfg->dataset, "importer", cfg->importer, "importer_version",
                     MIEN_VERSION, "created_utc", mn_utc_text(utc, sizeof(utc)), "options",
                     json_or_empty(cfg->options_json), "shards", list, "labels", data_counts_json(counts), "rejects",
                     json_or_empty(cfg->rejects_json), "import", json_or_empty(cfg->import_json));
    list = NULL; // json_pack took it, whether it succeeded or not
    if (!root) {
        err = mn_fail(MN_EINTERNAL, "%s: its texts are not UTF-8", path);
        goto out;
    }
    size_t size;
    text = data__signed_json(root, &size);
    if (mn_fault("manifest.write")) {
        err = mn_fail(MN_EIO, "%s: injected failure of a write", path);
        goto out;
    }
    MN_TRY_OUT(err, mn_file_replace(path, text, size));
out:
    free(text);
    json_decref(root);
    json_decref(list);
    data_counts_free(counts);
    free(path);
    return err;
}
