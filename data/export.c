#include "data/export.h"

#include "data/label.h"
#include "data/shard.h"
#include "data/verify_parts.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ATTRS = 40, EXAMPLES = 3 };

// The records that can be asked for: those of a folder, or of one shard.
typedef struct source {
    data_folder *folder;
    data_shard *shard;
    int64_t n;
} source;

static const data_shard *at(const source *s, int64_t i, int64_t *record)
{
    if (s->folder) return data_folder_at(s->folder, i, record);
    *record = i;
    return s->shard;
}

static mn_err open_source(source *s, const data_export_cfg *cfg)
{
    struct stat st;
    if (stat(cfg->path, &st) != 0) return mn_fail(MN_ENOINPUT, "%s: %s", cfg->path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        MN_TRY(data_folder_open(&s->folder, cfg->path, NULL, DATA_TASKS, cfg->stream));
        s->n = data_folder_count(s->folder);
    } else {
        MN_TRY(data_shard_open(&s->shard, cfg->path));
        s->n = data_shard_about(s->shard)->records;
    }
    return MN_OK;
}

// Which record

// How well a name fits: 3 it is the wanted one, 2 its end after a '/' is, 1 a part of it is, 0 not at all.
static int fit(const char *name, const char *wanted)
{
    size_t n = strlen(name), w = strlen(wanted);
    if (strcmp(name, wanted) == 0) return 3;
    if (n > w && name[n - w - 1] == '/' && strcmp(name + n - w, wanted) == 0) return 2;
    return strstr(name, wanted) != NULL;
}

static mn_err find_name(const source *s, const char *path, const char *wanted, int64_t *found)
{
    int64_t example[EXAMPLES] = {0}, n = 0, record;
    int best = 1;
    for (int64_t i = 0; i < s->n; i++) {
        const data_shard *shard = at(s, i, &record);
        int f = fit(data_shard_name(shard, record), wanted);
        if (f < best) continue;
        if (f > best) n = 0;
        best = f;
        if (n++ < EXAMPLES) example[n - 1] = i;
    }
    *found = example[0];
    if (n == 1) return MN_OK;
    if (n == 0)
        return mn_fail(MN_ENOINPUT, "%s: no record has '%s' in its name; the first of %lld is '%s'", path, wanted,
                       (long long)s->n, s->n ? data_shard_name(at(s, 0, &record), record) : "");
    char text[600];
    size_t used = 0;
    for (int k = 0; k < EXAMPLES && k < n && used < sizeof(text); k++) {
        const data_shard *shard = at(s, example[k], &record);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s (%lld)", k ? ", " : "",
                                 data_shard_name(shard, record), (long long)example[k]);
    }
    return mn_fail(MN_EDATA, "%s: '%s' is of %lld records: %s%s: give the number of one", path, wanted, (long long)n,
                   text, n > EXAMPLES ? ", ..." : "");
}

static int is_number(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == 0 && errno == 0;
}

static mn_err find_record(const source *s, const data_export_cfg *cfg, int64_t *i)
{
    if (!is_number(cfg->record, i)) return find_name(s, cfg->path, cfg->record, i);
    if (*i < s->n) return MN_OK;
    if (s->n == 0) return mn_fail(MN_ENOINPUT, "%s: has no %s records", cfg->path, cfg->stream);
    return mn_fail(MN_ENOINPUT, "%s: there is no record %s: they are 0 to %lld", cfg->path, cfg->record,
                   (long long)s->n - 1);
}

// What is known of it

static void put(json_t *o, const char *key, json_t *v)
{
    mn_assert(v && json_object_set_new(o, key, v) == 0);
}

// As short as the list had it: a float is not exact beyond 7 digits.
static json_t *number_or_null(float v)
{
    char text[32];
    if (!isfinite(v)) return json_null();
    (void)snprintf(text, sizeof(text), "%.7g", (double)v);
    return json_real(strtod(text, NULL));
}

static json_t *labels_of(const data_index *x, int64_t i)
{
    json_t *o = json_object(), *a;
    if (x->expr) {
        int e = x->expr[i];
        put(o, "expression", e >= 0 && e < DATA_EXPRESSIONS ? json_string(data_expression[e]) : json_null());
    }
    if (x->va) {
        put(o, "valence", number_or_null(x->va[2 * i]));
        put(o, "arousal", number_or_null(x->va[2 * i + 1]));
    }
    if (x->au) {
        put(o, "action_units", a = json_object());
        for (int k = 0; k < DATA_AUS; k++)
            put(a, data_au[k], x->au[i * DATA_AUS + k] >= 0 ? json_integer(x->au[i * DATA_AUS + k]) : json_null());
    }
    if (x->identity) put(o, "identity", x->mask[i] & DATA_HAS_IDENTITY ? json_integer(x->identity[i]) : json_null());
    if (x->age) put(o, "age", number_or_null(x->age[i]));
    if (x->gender) put(o, "gender", x->gender[i] < 0 ? json_null() : json_string(x->gender[i] ? "male" : "female"));
    if (x->attr) {
        put(o, "attributes", a = json_array());
        for (int k = 0; k < ATTRS; k++)
            mn_assert(json_array_append_new(a, json_integer(x->attr[i * ATTRS + k])) == 0);
    }
    if (x->votes) {
        put(o, "votes", a = json_array());
        for (int k = 0; k < DATA_VOTES; k++)
            mn_assert(json_array_append_new(a, json_integer(x->votes[i * DATA_VOTES + k])) == 0);
    }
    if (x->box) {
        put(o, "box", a = json_array());
        for (int k = 0; k < 4; k++)
            mn_assert(json_array_append_new(a, number_or_null(x->box[4 * i + k])) == 0);
    }
    put(o, "mask", json_integer(x->mask[i]));
    return o;
}

static void put_video(json_t *o, const data_index *x, int64_t i)
{
    static const char *const task[DATA_TASKS] = {"expr", "au", "va"};
    if (!x->video || x->video[i] < 0) return;
    const data_video *v = &x->videos[x->video[i]];
    json_t *video = json_object(), *split = json_object();
    put(video, "name", data__json_text(v->name));
    put(video, "source", data__json_text(v->source));
    for (int t = 0; t < DATA_TASKS; t++)
        put(split, task[t], json_string(data_split_name(v->split[t])));
    put(video, "split", split);
    put(video, "frame", json_integer(x->frame[i]));
    put(video, "t_us", json_integer(x->t_us[i]));
    put(o, "video", video);
}

static json_t *report_of(const data_shard *s, int64_t i, int64_t number)
{
    static const char *const codec[] = {"none", "jpeg", "png", "pcm_s16le_16k"};
    const data_index *x = data_shard_index(s);
    const data_shard_info *about = data_shard_about(s);
    const char *slash = strrchr(about->path, '/');
    char crc[16];
    json_t *o = json_object();
    (void)snprintf(crc, sizeof(crc), "%08x", x->crc[i]);
    put(o, "dataset", data__json_text(about->dataset));
    put(o, "split", data__json_text(about->split));
    put(o, "file", data__json_text(slash ? slash + 1 : about->path));
    put(o, "record", json_integer(i));
    put(o, "number", json_integer(number));
    put(o, "name", data__json_text(data_shard_name(s, i)));
    put(o, "byte", json_integer((json_int_t)data_shard_byte(s, i)));
    put(o, "bytes", json_integer((json_int_t)data_shard_size(s, i)));
    put(o, "crc32c", json_string(crc));
    put(o, "codec", json_string(x->codec[i] <= DATA_CODEC_PCM16K ? codec[x->codec[i]] : "unknown"));
    put(o, "width", json_integer(x->width[i]));
    put(o, "height", json_integer(x->height[i]));
    put(o, "channels", json_integer(x->channels[i]));
    put(o, "orientation", json_integer(x->orientation[i]));
    put(o, "source_row", json_integer(x->source_row[i]));
    if (x->original) {
        char text[24];
        (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)x->original[i]);
        put(o, "original_xxh3", json_string(text));
    }
    put_video(o, x, i);
    put(o, "labels", labels_of(x, i));
    return o;
}

// Files

// A name of its own folder: the last part of the record's, with what a file system or a shell would mind replaced.
static char *default_name(const data_shard *s, int64_t i)
{
    const char *name = data_shard_name(s, i), *slash = strrchr(name, '/');
    char *out = mn_strdup(slash && slash[1] ? slash + 1 : name);
    for (char *p = out; *p; p++)
        if (iscntrl((unsigned char)*p) || *p == '/' || (p == out && (*p == '.' || *p == '-'))) *p = '_';
    if (*out) return out;
    free(out);
    return mn_sprintf("record-%lld", (long long)i);
}

// A new file: never one that is there, not even through a link.
static mn_err write_new(const char *path, const void *bytes, size_t size)
{
    int fd;
    MN_TRY(mn_file_create(&fd, path));
    mn_err err = mn_file_write(fd, bytes, size, path);
    mn_err closed = mn_file_close(fd, 1, path);
    if (err == MN_OK) err = closed;
    if (err != MN_OK) (void)unlink(path); // the half of a file is of no use
    return err;
}

static mn_err refuse_existing(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0) return MN_OK;
    return mn_fail(MN_ECREATE, "%s: is there already: name another file with --out, or remove it", path);
}

static mn_err write_files(const char *out, const data_shard *s, int64_t i, const json_t *report, int *written)
{
    size_t size = data_shard_size(s, i);
    char *labels = mn_sprintf("%s.json", out), *text = NULL, *json = json_dumps(report, JSON_INDENT(1));
    void *bytes = malloc(size + 1);
    mn_err err = MN_OK;
    if (!bytes || !json) {
        err = mn_fail(MN_EMEM, "no memory for a record of %zu bytes", size);
        goto out;
    }
    text = mn_sprintf("%s\n", json);
    MN_TRY_OUT(err, data_shard_read(s, i, bytes, size, &size));
    if (size > 0) MN_TRY_OUT(err, refuse_existing(out));
    MN_TRY_OUT(err, refuse_existing(labels));
    if (size > 0) MN_TRY_OUT(err, write_new(out, bytes, size));
    *written = size > 0;
    err = write_new(labels, text, strlen(text));
    if (err != MN_OK && *written) (void)unlink(out); // both or none
out:
    free(bytes);
    free(text);
    free(json);
    free(labels);
    return err;
}

mn_err data_export(const data_export_cfg *cfg, json_t **report, char **out)
{
    source s = {0};
    int64_t number, record;
    int written = 0;
    json_t *o = NULL;
    char *path = NULL;
    mn_err err = MN_OK;
    MN_TRY_OUT(err, open_source(&s, cfg));
    MN_TRY_OUT(err, find_record(&s, cfg, &number));
    const data_shard *shard = at(&s, number, &record);
    o = report_of(shard, record, number);
    path = cfg->out ? mn_strdup(cfg->out) : default_name(shard, record);
    if (cfg->write)
        err = write_files(path, shard, record, o, &written);
    else
        err = data_shard_check(shard, record);
out:
    if (err == MN_OK) {
        *report = o;
        *out = written ? path : NULL;
    } else {
        json_decref(o);
    }
    if (err != MN_OK || !written) free(path);
    data_folder_close(s.folder);
    data_shard_close(s.shard);
    return err;
}
