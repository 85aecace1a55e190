// The driver of every import: lock, plan, shards by rank, manifest.
#include "data/import/run.h"

#include "data/import/find.h"
#include "data/shard_manifest.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const data_kind data_import_kinds[] = {
#define X(id, name, help) {name, help},
#include "data/import.def"
#undef X
    {NULL, NULL},
};

static const data__importer *const importers[] = {
#define X(id, name, help) &data__import_##id,
#include "data/import.def"
#undef X
};

static int rank_of(const data__job *j)
{
    return j->im.cfg->ranks.rank;
}

static mn_err agree(const data__job *j, mn_err err)
{
    const data_ranks *r = &j->im.cfg->ranks;
    return r->agree ? r->agree(r->ctx, err) : err;
}

static mn_err sum(const data__job *j, int64_t *v, int64_t n)
{
    const data_ranks *r = &j->im.cfg->ranks;
    return r->sum ? r->sum(r->ctx, v, n) : MN_OK;
}

mn_err data__import_end_share(data__import *im, mn_err mine)
{
    const data_ranks *r = &im->cfg->ranks;
    if (r->end_share) return r->end_share(r->ctx, mine);
    return r->agree ? r->agree(r->ctx, mine) : mine;
}

// Planning

static mn_err find_importer(const char *kind, const data__importer **out)
{
    char list[512] = "";
    for (int i = 0; data_import_kinds[i].name; i++) {
        if (strcmp(data_import_kinds[i].name, kind) == 0) {
            *out = importers[i];
            return MN_OK;
        }
        size_t n = strlen(list);
        (void)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", data_import_kinds[i].name);
    }
    return mn_fail(MN_EUSAGE, "no importer for '%s': there are %s", kind, list);
}

void data__import_digest(data__import *im, const void *bytes, size_t n)
{
    (void)XXH3_128bits_update(im->source, bytes, n);
}

static void make_options(data__job *j)
{
    const data_import_cfg *c = j->im.cfg;
    int quality = c->quality ? c->quality : DATA_IMPORT_QUALITY, anew = c->size || c->crop;
    j->options =
        mn_sprintf("{\"kind\": \"%s\", \"size\": %d, \"jpeg_quality\": %d, \"filter\": \"%s\", \"limit\": %lld, "
                   "\"check\": \"%s\"}",
                   c->kind, c->size, anew ? quality : 0, anew ? data_kernel_name((data_kernel)c->filter) : "none",
                   (long long)c->limit, c->headers_only ? "header" : "whole");
    if (c->crop) {
        char *with = mn_sprintf("%.*s, \"crop_margin\": %.6g}", (int)strlen(j->options) - 1, j->options, c->margin);
        free(j->options);
        j->options = with;
    }
    data__import_digest(&j->im, j->options, strlen(j->options));
    data__import_digest(&j->im, MIEN_VERSION, sizeof(MIEN_VERSION));
}

static void name_shard(const data__job *j, const data__group *g, int k, char name[DATA__SHARD_NAME])
{
    data_writer_cfg c = {
        .dataset = j->im.cfg->kind, .split = g->split, .stream = g->stream, .index = k, .count = g->n_shards};
    data_writer_name(&c, name, DATA__SHARD_NAME);
}

// What is not there may still be packed.
static mn_err mention_archive(const data__import *im)
{
    char *why = mn_strdup(mn_errmsg()), *archive;
    mn_err err = data__find_archive(&archive, im->cfg->src);
    err = err == MN_OK && archive ? mn_fail(MN_ENOINPUT, "%s; unpack %s first", why, archive)
                                  : mn_fail(MN_ENOINPUT, "%s", why);
    free(archive);
    free(why);
    return err;
}

static mn_err plan(data__job *j)
{
    data__import *im = &j->im;
    im->tally = &j->scan;
    make_options(j);
    mn_err err = im->importer->scan(im);
    if (err == MN_ENOINPUT) return mention_archive(im);
    MN_TRY(err);
    (void)malloc_trim(0); // what lists and sorting took would stay beside what writing needs
    j->scan_listing = im->listing;
    im->listing = NULL;
    im->listing_size = im->listing_capacity = 0;
    for (int i = 0; i < im->n_groups; i++) {
        data__group *g = &im->groups[i];
        int64_t *begin;
        g->n_shards = data__plan_cut(g, &begin);
        data__import_digest(im, g->split, strlen(g->split) + 1);
        data__import_digest(im, g->stream, strlen(g->stream) + 1);
        data__import_digest(im, begin, (size_t)(g->n_shards + 1) * sizeof(*begin));
        for (int64_t u = 0; u < g->n; u++)
            data__import_digest(im, &g->units[u], sizeof(g->units[u]));
        free(begin);
        j->n_shards += g->n_shards;
    }
    data__digest_text(XXH3_128bits_digest(im->source), j->source);
    j->files = mn_calloc((size_t)j->n_shards + 1, DATA__SHARD_NAME);
    for (int i = 0, at = 0; i < im->n_groups; i++)
        for (int k = 0; k < im->groups[i].n_shards; k++)
            name_shard(j, &im->groups[i], k, j->files[at++]);
    if (j->n_shards == 0)
        return mn_fail(MN_ENOINPUT, "%s: there is nothing of '%s' to import in it", im->cfg->src, im->cfg->kind);
    return MN_OK;
}

// Reports

static void put(json_t *o, const char *key, json_t *v)
{
    mn_assert(json_object_set_new(o, key, v) == 0);
}

static json_t *plan_json(const data__job *j)
{
    json_t *list = json_array();
    for (int i = 0; i < j->im.n_groups; i++) {
        const data__group *g = &j->im.groups[i];
        json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:i}", "split", g->split, "stream", g->stream, "records",
                              (json_int_t)g->records, "bytes", (json_int_t)g->bytes, "shards", g->n_shards);
        mn_assert(json_array_append_new(list, o) == 0);
    }
    return list;
}

// What the manifest counted.
static mn_err add_labels(const data__job *j, json_t *report)
{
    data__manifest m;
    MN_TRY(data__manifest_read(j->im.cfg->out, &m));
    put(report, "labels", json_deep_copy(json_object_get(m.root, "labels")));
    data__manifest_free(&m);
    return MN_OK;
}

// Counts of frames and pictures, and of sounds, where an import of before they were told apart is found.
static void tell_sounds(const data__manifest *m, json_t *report)
{
    int64_t n[2] = {0, 0};
    if (json_object_get(report, "sounds")) return;
    for (int64_t i = 0; i < m->n_shards; i++)
        n[strcmp(m->shards[i].stream, "audio") == 0] += m->shards[i].records;
    put(report, "records", json_integer(n[0]));
    put(report, "sounds", json_integer(n[1]));
}

static mn_err finished_report(const data__job *j, json_t **out)
{
    data__manifest m;
    MN_TRY(data__manifest_read(j->im.cfg->out, &m));
    *out = json_deep_copy(json_object_get(m.root, "import"));
    put(*out, "labels", json_deep_copy(json_object_get(m.root, "labels")));
    put(*out, "repeated", json_true());
    tell_sounds(&m, *out);
    data__manifest_free(&m);
    return MN_OK;
}

// Totals of all ranks.
static mn_err sum_tally(data__job *j, data__tally *total)
{
    *total = j->done;
    if (rank_of(j) == 0) data__tally_add(total, &j->scan); // every rank has read the same lists
    return sum(j, (int64_t *)total, sizeof(*total) / sizeof(int64_t));
}

static mn_err survey(data__job *j, json_t **report)
{
    data__tally total;
    int64_t n, makers = data__job_threads(j, j->n_shards), *counts;
    j->every = data__survey_every(j);
    j->counts = data_counts_new();
    MN_TRY(data__import_end_share(&j->im, data__shards_make(j)));
    MN_TRY(sum_tally(j, &total));
    MN_TRY(sum(j, (int64_t *)&j->sample, sizeof(j->sample) / sizeof(int64_t)));
    counts = data_counts_values(j->counts, &n);
    MN_TRY(sum(j, counts, n));
    MN_TRY(sum(j, &makers, 1));
    *report = data__survey_json(j, &total, &j->sample, j->counts, (int)makers);
    put(*report, "makers", json_integer(makers));
    json_t *examples = json_string(j->examples ? j->examples : ""); // NULL: a name that is not UTF-8
    if (examples) put(*report, "first_rejects", examples);
    return MN_OK;
}

static mn_err work(data__job *j, json_t **report)
{
    int64_t finished = 0;
    mn_err err = rank_of(j) == 0 ? data__output_open(j, &finished) : MN_OK;
    MN_TRY(agree(j, err));
    MN_TRY(sum(j, &finished, 1));
    if (finished) {
        MN_TRY(agree(j, finished_report(j, report)));
        return MN_OK;
    }
    MN_TRY(data__import_end_share(&j->im, data__shards_make(j)));
    data__tally total;
    int64_t mine[2] = {j->reused, j->n_mine};
    MN_TRY(sum_tally(j, &total));
    MN_TRY(sum(j, mine, 2));
    *report = data__import_json(j, &total);
    put(*report, "shards_kept", json_integer(mine[0]));
    put(*report, "seconds", json_real(mn_seconds() - j->began));
    MN_TRY(agree(j, rank_of(j) == 0 ? data__output_finish(j, &total) : MN_OK));
    return rank_of(j) == 0 ? add_labels(j, *report) : MN_OK;
}

static mn_err start(data__job *j, const data_import_cfg *cfg)
{
    j->lock = -1;
    j->began = mn_seconds();
    j->im.cfg = cfg;
    j->im.tally = &j->scan;
    j->im.source = XXH3_createState();
    struct stat source, shards;
    if (stat(cfg->src, &source) == 0 && stat(cfg->out, &shards) == 0 && source.st_ino == shards.st_ino &&
        source.st_dev == shards.st_dev)
        return mn_fail(MN_EUSAGE,
                       "--out is the same folder as --src (%s): give the shards one of their own, as %s/shards",
                       cfg->src, cfg->src);
    if (!j->im.source || XXH3_128bits_reset(j->im.source) != XXH_OK) return mn_fail(MN_EMEM, "no memory for a digest");
    MN_TRY(find_importer(cfg->kind, &j->im.importer));
    if (cfg->crop && !j->im.importer->columns.has_box)
        return mn_fail(MN_EUSAGE, "--crop: %s has no face boxes: its pictures are faces already", cfg->kind);
    return data_coder_open(&j->im.coder);
}

static void end(data__job *j)
{
    data__import *im = &j->im;
    if (im->state) im->importer->close(im->state);
    data__output_release(j);
    for (int i = 0; i < im->n_groups; i++)
        free(im->groups[i].units);
    if (im->source) (void)XXH3_freeState(im->source);
    data_coder_close(im->coder);
    data_image_release(&im->image);
    data_image_release(&im->resized);
    free(im->file);
    free(im->scratch);
    free(im->listing);
    free(j->scan_listing);
    free(j->options);
    free(j->examples);
    data_counts_free(j->counts);
    free(j->files);
}

mn_err data_import(const data_import_cfg *cfg, data_import_report *report)
{
    data__job j = {.im.cfg = cfg};
    json_t *o = NULL;
    mn_err err = agree(&j, start(&j, cfg)); // scanning has collectives: all ranks come to it, or none
    if (err == MN_OK) err = plan(&j);
    err = agree(&j, err);
    if (err == MN_OK && cfg->dry_run)
        err = survey(&j, &o);
    else if (err == MN_OK)
        err = work(&j, &o);
    if (o) {
        put(o, "dry_run", json_boolean(cfg->dry_run));
        put(o, "plan", plan_json(&j));
    }
    report->json = o;
    end(&j);
    return err;
}

void data_import_report_free(data_import_report *report)
{
    json_decref(report->json);
    report->json = NULL;
}
