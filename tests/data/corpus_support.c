#include "corpus_support.h"

#include "data/verify.h"
#include "nn/base/log.h"
#include "shard_support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

corpus corpus_new(const char *kind)
{
    corpus p = {.top = support_folder()};
    snprintf(p.corpora, sizeof(p.corpora), "%s/corpora", p.top);
    snprintf(p.src, sizeof(p.src), "%s/corpora/%s", p.top, kind);
    snprintf(p.out, sizeof(p.out), "%s/shards/%s", p.top, kind);
    mn_log_level(MN_WARN);
    return p;
}

data_synth_cfg corpus_config(const corpus *p, const char *kind)
{
    return (data_synth_cfg){
        .out = p->corpora, .kinds = kind, .seed = 11, .videos = 8, .frames = 40, .images = 60, .size = 48};
}

// A dry run counts what the import then counts, and makes nothing.
static void same_counts(const char *out, const json_t *dry, const json_t *real)
{
    static const char *const key[] = {"records", "pictures", "bytes", "rows", "rejected", "rejects", "notes", "labels"};
    cr_assert(json_is_true(json_object_get(json_object_get(dry, "looked_at"), "exact")));
    for (size_t i = 0; i < sizeof(key) / sizeof(key[0]); i++)
        cr_assert(json_equal(json_object_get(dry, key[i]), json_object_get(real, key[i])), "%s: %s differs", out,
                  key[i]);
}

corpus corpus_import(const char *kind, json_t **report)
{
    corpus p = corpus_new(kind);
    data_synth_cfg synth = corpus_config(&p, kind);
    must(data_synth(&synth, NULL));
    data_import_cfg cfg = {.kind = kind, .src = p.src, .out = p.out};
    data_import_report r, dry;
    cfg.dry_run = 1;
    must(data_import(&cfg, &dry));
    cr_assert(access(p.out, F_OK) != 0);
    cfg.dry_run = 0;
    must(data_import(&cfg, &r));
    same_counts(p.out, dry.json, r.json);
    data_import_report_free(&dry);
    *report = r.json;
    json_t *verified;
    must(data_verify(&(data_verify_cfg){.path = p.out, .jobs = 1, .decode = 1}, &verified));
    cr_assert(json_is_true(json_object_get(verified, "ok")));
    json_decref(verified);
    return p;
}

int64_t corpus_number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

int64_t corpus_record(const data_folder *f, const char *name, const data_shard **shard)
{
    for (int64_t i = 0; i < data_folder_count(f); i++) {
        int64_t r;
        *shard = data_folder_at(f, i, &r);
        if (strcmp(data_shard_name(*shard, r), name) == 0) return r;
    }
    return -1;
}

void corpus_check_bytes(const char *path, const data_shard *s, int64_t i)
{
    static char have[1 << 20];
    size_t n, size;
    unsigned char *want = support_read(path, &size);
    must(data_shard_read(s, i, have, sizeof(have), &n));
    cr_assert(n == size && memcmp(have, want, n) == 0, "%s", path);
    free(want);
}

int corpus_has(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

int corpus_line(FILE *f, char *line, int size)
{
    if (!fgets(line, size, f)) return 0;
    line[strcspn(line, "\r\n")] = 0;
    return 1;
}
