// What was not imported: counts by reason, and one line each for rejects.csv.
#include "data/import/run.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const reason_text[] = {
#define REASON_TEXT(name, text, of) text,
    DATA__REASONS(REASON_TEXT)
#undef REASON_TEXT
};
static const char *const note_text[] = {
#define NOTE_TEXT(name, text) text,
    DATA__NOTES(NOTE_TEXT)
#undef NOTE_TEXT
};

// What each counts against.
enum { PICTURE, ROW, NEITHER };
static const char reason_of[] = {
#define REASON_OF(name, text, of) of,
    DATA__REASONS(REASON_OF)
#undef REASON_OF
};

static void append(data__import *im, const char *text, size_t n)
{
    if (im->listing_size + n + 1 > im->listing_capacity) {
        im->listing_capacity = (im->listing_size + n + 1) * 2;
        im->listing = mn_realloc(im->listing, im->listing_capacity, 1);
    }
    memcpy(im->listing + im->listing_size, text, n);
    im->listing_size += n;
    im->listing[im->listing_size] = 0;
}

// One CSV field: quoted where it must be (RFC 4180), so that any file name survives.
static void append_field(data__import *im, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        append(im, text, strlen(text));
        return;
    }
    append(im, "\"", 1);
    for (const char *p = text; *p; p++) {
        if (*p == '"') append(im, "\"", 1);
        append(im, p, 1);
    }
    append(im, "\"", 1);
}

void data__import_reject(data__import *im, data__reason reason, const char *file, int64_t row, const char *detail)
{
    char number[24] = "";
    if (row > 0) (void)snprintf(number, sizeof(number), "%lld", (long long)row);
    im->tally->rejects[reason]++;
    append_field(im, reason_text[reason]);
    append(im, ",", 1);
    append_field(im, file);
    append(im, ",", 1);
    append(im, number, strlen(number));
    append(im, ",", 1);
    append_field(im, detail ? detail : "");
    append(im, "\n", 1);
}

void data__import_note(data__import *im, data__note note, int64_t n)
{
    im->tally->notes[note] += n;
}

mn_err data__import_add(data__import *im, data_writer *w, const data_record *r)
{
    MN_TRY(data_writer_add(w, r));
    im->tally->records += !im->of_sounds;
    im->tally->sounds += im->of_sounds;
    im->tally->pictures += !im->of_sounds && r->size > 0;
    im->tally->bytes += (int64_t)r->size;
    return data__import_proceed(im);
}

void data__import_compare(const data__import *im, const char *what, int64_t have, int64_t published)
{
    if (im->cfg->ranks.rank != 0) return;
    if (have == published)
        mn_info("import: %lld %s, as published", (long long)have, what);
    else
        mn_info("import: %lld %s (the published dataset has %lld)", (long long)have, what, (long long)published);
}

void data__tally_add(data__tally *to, const data__tally *more)
{
    int64_t *a = (int64_t *)to;
    const int64_t *b = (const int64_t *)more;
    for (size_t i = 0; i < sizeof(*to) / sizeof(int64_t); i++)
        a[i] += b[i];
}

int64_t data__tally_rejected(const data__tally *t)
{
    int64_t n = 0;
    for (int i = 0; i < DATA__REASON_COUNT; i++)
        n += t->rejects[i];
    return n;
}

double data__tally_share(const data__tally *t)
{
    int64_t rejected[NEITHER + 1] = {0};
    for (int i = 0; i < DATA__REASON_COUNT; i++)
        rejected[(int)reason_of[i]] += t->rejects[i];
    double pictures = (double)(t->pictures + rejected[PICTURE]), rows = (double)t->rows;
    double a = pictures > 0 ? (double)rejected[PICTURE] / pictures : 0;
    double b = rows > 0 ? (double)rejected[ROW] / rows : rejected[ROW] > 0;
    return a > b ? a : b;
}

static json_t *counts_json(const int64_t *v, const char *const *text, int n)
{
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        if (v[i]) mn_assert(json_object_set_new(o, text[i], json_integer(v[i])) == 0);
    return o;
}

json_t *data__rejects_json(const data__tally *t)
{
    return counts_json(t->rejects, reason_text, DATA__REASON_COUNT);
}

json_t *data__notes_json(const data__tally *t)
{
    return counts_json(t->notes, note_text, DATA__NOTE_COUNT);
}

// Sidecars

typedef struct sidecar_head {
    char magic[16], source[40];
    int64_t tally_bytes; // of another version of this program: not read
    data__tally tally;
} sidecar_head;
static const char magic[16] = "mien import s01";

static char *sidecar_path(const char *dir, const char *shard)
{
    return mn_sprintf("%s/" DATA__IMPORT_WORK "/%s.part", dir, shard);
}

mn_err data__sidecar_write(const char *dir, const char *shard, const char *source, const data__tally *tally,
                           const char *listing)
{
    sidecar_head h = {.tally = *tally, .tally_bytes = sizeof(*tally)};
    size_t n = strlen(listing);
    char *path = sidecar_path(dir, shard), *bytes = mn_calloc(1, sizeof(h) + n + 1);
    memcpy(h.magic, magic, sizeof(magic));
    (void)snprintf(h.source, sizeof(h.source), "%s", source);
    memcpy(bytes, &h, sizeof(h));
    memcpy(bytes + sizeof(h), listing, n);
    mn_err err = mn_file_replace(path, bytes, sizeof(h) + n);
    free(bytes);
    free(path);
    return err;
}

mn_err data__sidecar_read(const char *dir, const char *shard, const char *source, data__tally *tally, char **listing,
                          int *found)
{
    char *path = sidecar_path(dir, shard), *bytes = NULL;
    size_t size = 0;
    sidecar_head h;
    *found = 0;
    *listing = NULL;
    mn_err err = access(path, F_OK) == 0 ? mn_file_read(path, (size_t)1 << 32, &bytes, &size) : MN_OK;
    if (err == MN_OK && size >= sizeof(h)) {
        memcpy(&h, bytes, sizeof(h));
        if (memcmp(h.magic, magic, sizeof(magic)) == 0 && h.tally_bytes == sizeof(h.tally) &&
            strncmp(h.source, source, sizeof(h.source)) == 0) {
            *tally = h.tally;
            *listing = mn_strdup(bytes + sizeof(h));
            *found = 1;
        }
    }
    free(bytes);
    free(path);
    return err;
}
