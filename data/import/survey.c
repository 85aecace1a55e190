// A dry run: every record goes the way it would go, into counts instead of shards. Lists are read in full and the header
// of every picture is; some pictures are looked at whole, which says how many more will be rejected and how long it takes.
#include "data/counts.h"
#include "data/import/run.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { WHOLE = 16384 };                 // pictures looked at whole: all of a small dataset
static const double WRITE_RATE = 200e6; // bytes a second that a disk is taken to write

int64_t data__survey_every(const data__job *j)
{
    int64_t records = 0;
    for (int i = 0; i < j->im.n_groups; i++)
        records += j->im.groups[i].records;
    return records > WHOLE ? (records + WHOLE - 1) / WHOLE : 1;
}

void data__sample_add(data__sample *to, const data__sample *more)
{
    int64_t *a = (int64_t *)to;
    const int64_t *b = (const int64_t *)more;
    for (size_t i = 0; i < sizeof(*to) / sizeof(int64_t); i++)
        a[i] += b[i];
}

// Bytes, where dir is or would be; -1: not known.
static int64_t space_free(const char *dir)
{
    struct statvfs v;
    char *path = mn_strdup(dir);
    int found;
    while ((found = statvfs(path, &v) == 0) == 0 && errno == ENOENT) { // the nearest folder that there is
        char *slash = strrchr(path, '/');
        if (slash && slash > path) {
            *slash = 0;
        } else {
            const char *top = slash == path ? "/" : ".";
            if (strcmp(path, top) == 0) break;
            free(path);
            path = mn_strdup(top);
        }
    }
    free(path);
    return found ? (int64_t)((double)v.f_bavail * (double)v.f_frsize) : -1;
}

// Bytes of the shards: what the records have, or would have encoded anew; columns and names; seal, alignment and the
// headers of HDF5; and the spools of shards that are made at the same time.
static int64_t bytes_needed(const data__job *j, const data__tally *t, const data__sample *s, int makers)
{
    enum { INDEX = 128, SHARD = 24 << 10 };
    double ratio = s->bytes > 0 ? (double)s->encoded_bytes / (double)s->bytes : 1, bytes = (double)t->bytes * ratio;
    double shard = j->n_shards ? bytes / j->n_shards : 0;
    return (int64_t)(bytes + (double)(t->records + t->sounds) * INDEX + (double)j->n_shards * SHARD +
                     shard * (makers < j->n_shards ? makers : j->n_shards));
}

static double seconds_needed(const data__tally *t, const data__sample *s, int makers)
{
    double pictures = (double)(s->pictures + s->headers), media = (double)(s->media + s->media_skipped);
    double work = s->pictures ? (double)s->ns / (double)s->pictures * pictures : 0;
    if (s->media) work += (double)s->media_ns / (double)s->media * media;
    return work / 1e9 / makers + (double)t->bytes / WRITE_RATE;
}

json_t *data__survey_json(const data__job *j, const data__tally *t, const data__sample *s, const data_counts *counts,
                          int makers)
{
    json_t *o = data__import_json(j, t);
    double expected = s->pictures ? (double)s->damaged / (double)s->pictures * (double)s->headers : 0;
    json_t *looked =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "pictures_whole", (json_int_t)s->pictures, "pictures_header",
                  (json_int_t)s->headers, "damaged", (json_int_t)s->damaged, "damaged_expected",
                  (json_int_t)(s->damaged + (int64_t)(expected + 0.5)), "media", (json_int_t)s->media, "media_skipped",
                  (json_int_t)s->media_skipped, "exact", s->headers == 0 && s->media_skipped == 0);
    json_t *disk = json_pack("{s:I, s:I}", "needed_bytes", (json_int_t)bytes_needed(j, t, s, makers), "free_bytes",
                             (json_int_t)space_free(j->im.cfg->out));
    mn_assert(looked && disk && json_object_set_new(o, "looked_at", looked) == 0 &&
              json_object_set_new(o, "disk", disk) == 0 &&
              json_object_set_new(o, "labels", data_counts_json(counts)) == 0 &&
              json_object_set_new(o, "seconds_expected", json_real(seconds_needed(t, s, makers))) == 0);
    return o;
}
