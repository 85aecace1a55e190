#include "recipes/submission.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const columns[DATA_TASKS] = {
    "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "valence,arousal",
};

// --- rows ---

static int by_frame(const void *a, const void *b)
{
    const mien_row *x = a, *y = b;
    if (x->video != y->video) return x->video < y->video ? -1 : 1;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

void mien_predictions_sort(mien_predictions *p)
{
    qsort(p->row, (size_t)p->n_rows, sizeof *p->row, by_frame);
    for (int i = 0; i < p->n_clips; i++)
        p->clip[i].first = p->clip[i].count = 0;
    for (int64_t i = 0; i < p->n_rows; i++) {
        mien_clip *c = &p->clip[p->row[i].video];
        if (c->count++ == 0) c->first = i;
    }
}

int mien_clip_find(const mien_predictions *p, const char *name, size_t length)
{
    int low = 0, high = p->n_clips;
    while (low < high) {
        int middle = (low + high) / 2;
        size_t n = strlen(p->clip[middle].name);
        int order = memcmp(p->clip[middle].name, name, n < length ? n : length);
        if (order == 0) order = (n > length) - (n < length);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

const mien_row *mien_row_for(const mien_predictions *p, const mien_clip *c, int64_t frame)
{
    const mien_row *row = p->row + c->first;
    int64_t low = 0, high = c->count; // first row at or after the frame
    if (c->count == 0) return NULL;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (row[middle].frame < frame)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == c->count) return &row[low - 1];
    if (low == 0) return &row[0];
    return frame - row[low - 1].frame <= row[low].frame - frame ? &row[low - 1] : &row[low];
}

int mien_clips_empty(const mien_predictions *p)
{
    int n = 0;
    for (int i = 0; i < p->n_clips; i++)
        n += p->clip[i].count == 0;
    return n;
}

// --- writing ---

typedef struct writer { // buffers lines; keeps the first error
    mn_output out;
    mn_err err;
    size_t used;
    char text[1 << 16];
} writer;

static mn_err open_writer(writer **out, const char *path)
{
    writer *w = mn_calloc(1, sizeof *w);
    mn_err err = mn_output_open(&w->out, path);
    if (err != MN_OK)
        free(w);
    else
        *out = w;
    return err;
}

static void flush(writer *w)
{
    if (w->err == MN_OK) w->err = mn_output_write(&w->out, w->text, w->used);
    w->used = 0;
}

enum { LONGEST = 1024 }; // of one put; names of videos are shorter than a file name

static MN_PRINTF(2, 3) void put(writer *w, const char *format, ...)
{
    va_list list;
    if (sizeof w->text - w->used < LONGEST) flush(w);
    va_start(list, format);
    int n = vsnprintf(w->text + w->used, LONGEST, format, list);
    va_end(list);
    mn_assert(n >= 0 && n < LONGEST);
    w->used += (size_t)n;
}

static mn_err close_writer(writer *w, mn_err err)
{
    flush(w);
    err = mn_output_close(&w->out, err != MN_OK ? err : w->err);
    free(w);
    return err;
}

static int class_of(const float *logit)
{
    int best = 0;
    for (int k = 1; k < DATA_EXPRESSIONS; k++)
        if (logit[k] > logit[best]) best = k;
    return best;
}

static double clamp(float v)
{
    return v < -1 ? -1 : v > 1 ? 1 : (double)v;
}

// The decision, as submissions want it.
static void put_decision(writer *w, int task, const mien_row *r)
{
    static const mien_row none;
    if (!r) r = &none;
    if (task == DATA_EXPR) {
        put(w, "%d", class_of(r->prediction));
    } else if (task == DATA_VA) {
        put(w, "%.6f,%.6f", clamp(r->prediction[0]), clamp(r->prediction[1]));
    } else {
        // A video that was not seen at all shows nothing: a logit of 0 would be an active unit.
        for (int k = 0; k < DATA_AUS; k++)
            put(w, k ? ",%d" : "%d", r != &none && r->prediction[k] >= 0);
    }
}

static void put_probabilities(writer *w, int task, const float *logit)
{
    double sum = 0, top = (double)logit[class_of(logit)];
    if (task == DATA_AU)
        for (int k = 0; k < DATA_AUS; k++)
            put(w, ",%.6f", 1 / (1 + exp(-(double)logit[k])));
    if (task != DATA_EXPR) return;
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        sum += exp((double)logit[k] - top);
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        put(w, ",%.6f", exp((double)logit[k] - top) / sum);
}

static void put_truth(writer *w, int task, const float *target)
{
    if (task == DATA_EXPR && isnan(target[0]))
        put(w, ",");
    else if (task == DATA_EXPR)
        put(w, ",%d", class_of(target));
    else
        for (int64_t k = 0; k < data_target_columns(task); k++)
            if (isnan(target[k]))
                put(w, ",");
            else
                put(w, task == DATA_AU ? ",%.0f" : ",%.6f", (double)target[k]);
}

static int is_labelled(const mien_predictions *p)
{
    for (int64_t i = 0; i < p->n_rows; i++)
        for (int64_t k = 0; k < data_target_columns(p->task); k++)
            if (!isnan(p->row[i].target[k])) return 1;
    return 0;
}

// ",p_AU1,p_AU2,..."
static void put_names(writer *w, const char *prefix, const char *names)
{
    for (const char *at = names; *at;) {
        size_t n = strcspn(at, ",");
        put(w, ",%s%.*s", prefix, (int)n, at);
        at += n + (at[n] == ',');
    }
}

mn_err mien_write_csv(const mien_predictions *p, const char *path)
{
    const char *names = columns[p->task];
    int labelled = is_labelled(p);
    writer *w;
    MN_TRY(open_writer(&w, path));
    put(w, "video,frame,t_us");
    put_names(w, "", p->task == DATA_EXPR ? "expression" : names);
    if (p->task != DATA_VA) put_names(w, "p_", names);
    if (labelled) put_names(w, "true_", p->task == DATA_EXPR ? "expression" : names);
    put(w, "\n");
    for (int64_t i = 0; i < p->n_rows; i++) {
        const mien_row *r = &p->row[i];
        put(w, "%s,%d,%lld,", p->clip[r->video].name, (int)r->frame, (long long)r->t_us);
        put_decision(w, p->task, r);
        put_probabilities(w, p->task, r->prediction);
        if (labelled) put_truth(w, p->task, r->target);
        put(w, "\n");
    }
    return close_writer(w, MN_OK);
}

mn_err mien_write_videos(const mien_predictions *p, const char *dir)
{
    for (int i = 0; i < p->n_clips; i++) {
        const mien_clip *c = &p->clip[i];
        writer *w;
        if (strchr(c->name, '/')) return mn_fail(MN_EDATA, "video name '%s' cannot be a file's", c->name);
        char *path = mn_sprintf("%s/%s.txt", dir, c->name);
        mn_err err = open_writer(&w, path);
        free(path);
        MN_TRY(err);
        put(w, "%s\n", columns[p->task]);
        for (int64_t f = 1; f <= c->frames; f++) {
            put_decision(w, p->task, mien_row_for(p, c, f));
            put(w, "\n");
        }
        MN_TRY(close_writer(w, MN_OK));
    }
    return MN_OK;
}

// --- one file for all videos ---

static void put_image(writer *w, const mien_predictions *p, const mien_clip *c, int64_t frame)
{
    put(w, "%s/%05lld.jpg,", c->name, (long long)frame);
    put_decision(w, p->task, mien_row_for(p, c, frame));
    put(w, "\n");
}

typedef struct sample { // being read
    const char *path;
    int64_t line;
    uint8_t **seen; // (clips): a bit a frame
} sample;

// "video/00012.jpg" of the first `length` characters of text.
static mn_err read_key(sample *s, const mien_predictions *p, const char *text, size_t length, int *clip, int64_t *frame)
{
    const char *slash = memrchr(text, '/', length);
    size_t digits = 0, tail = slash ? length - (size_t)(slash + 1 - text) : 0;
    *frame = 0;
    for (; digits < tail && slash[1 + digits] >= '0' && slash[1 + digits] <= '9' && digits < 9; digits++)
        *frame = *frame * 10 + (slash[1 + digits] - '0');
    if (digits == 0 || tail != digits + 4 || strncmp(slash + 1 + digits, ".jpg", 4) != 0)
        return mn_fail(MN_EDATA, "%s:%lld: '%.*s' is not a location VIDEO/00001.jpg", s->path, (long long)s->line,
                       (int)(length < 100 ? length : 100), text);
    *clip = mien_clip_find(p, text, (size_t)(slash - text));
    if (*clip < 0)
        return mn_fail(MN_EDATA, "%s:%lld: video '%.*s' is not in this split of the dataset", s->path,
                       (long long)s->line, (int)(slash - text), text);
    const mien_clip *c = &p->clip[*clip];
    if (*frame < 1 || *frame > c->frames + 1)
        return mn_fail(MN_EDATA, "%s:%lld: video '%s' has frames 1 to %lld, not %lld", s->path, (long long)s->line,
                       c->name, (long long)c->frames, (long long)*frame);
    if (!s->seen[*clip]) s->seen[*clip] = mn_calloc((size_t)c->frames / 8 + 1, 1);
    uint8_t *bits = &s->seen[*clip][(*frame - 1) / 8], bit = (uint8_t)(1 << ((*frame - 1) % 8));
    if (*bits & bit)
        return mn_fail(MN_EDATA, "%s:%lld: '%.*s' is listed a second time", s->path, (long long)s->line, (int)length,
                       text);
    *bits |= bit;
    return MN_OK;
}

// The first line names the task's columns, or none.
static mn_err check_header(const sample *s, int task, const char *text, size_t length)
{
    static const char key[] = "image_location";
    size_t n = sizeof key - 1;
    while (length > 0 && (text[length - 1] == ',' || text[length - 1] == ' '))
        length--;
    if (length < n || strncasecmp(text, key, n) != 0)
        return mn_fail(MN_EDATA, "%s:1: the header does not begin with image_location", s->path);
    if (length == n) return MN_OK;
    if (text[n] == ',' && length - n - 1 == strlen(columns[task]) &&
        strncasecmp(text + n + 1, columns[task], length - n - 1) == 0)
        return MN_OK;
    return mn_fail(MN_EDATA, "%s:1: a sample of another task: the header must be %s,%s", s->path, key, columns[task]);
}

static mn_err follow_sample(writer *w, const mien_predictions *p, sample *s, const char *text, const char *end)
{
    for (const char *at = text; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        const char *line = at;
        at += length + 1;
        if (length > 0 && line[length - 1] == '\r') length--;
        if (++s->line == 1) {
            MN_TRY(check_header(s, p->task, line, length));
            continue;
        }
        if (length == 0 && at >= end) break; // an empty last line
        const char *comma = memchr(line, ',', length);
        int clip = -1;
        int64_t frame = 0;
        MN_TRY(read_key(s, p, line, comma ? (size_t)(comma - line) : length, &clip, &frame));
        if (w) put_image(w, p, &p->clip[clip], frame);
    }
    return s->line > 1 ? MN_OK : mn_fail(MN_EDATA, "%s: lists no frame", s->path);
}

// The lines of a sample; w NULL: only checked.
static mn_err use_text(writer *w, const mien_predictions *p, const char *path, const char *text, size_t size)
{
    sample s = {.path = path, .seen = mn_calloc((size_t)p->n_clips + 1, sizeof *s.seen)};
    const char *start = size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? text + 3 : text; // byte order mark
    mn_err err = follow_sample(w, p, &s, start, text + size);
    for (int i = 0; i < p->n_clips; i++)
        free(s.seen[i]);
    free(s.seen);
    return err;
}

static mn_err use_sample(writer *w, const mien_predictions *p, const char *path)
{
    char *text;
    size_t size;
    MN_TRY(mn_file_read(path, (size_t)1 << 30, &text, &size));
    mn_err err = use_text(w, p, path, text, size);
    free(text);
    return err;
}

mn_err mien_sample_check(const mien_predictions *p, const char *path)
{
    return use_sample(NULL, p, path);
}

mn_err mien_sample_check_text(const mien_predictions *p, const char *name, const char *text, size_t size)
{
    return use_text(NULL, p, name, text, size);
}

mn_err mien_write_images(const mien_predictions *p, const char *path, const char *sample_path)
{
    writer *w;
    MN_TRY(open_writer(&w, path));
    put(w, "image_location,%s\n", columns[p->task]);
    if (sample_path) return close_writer(w, use_sample(w, p, sample_path));
    for (int i = 0; i < p->n_clips; i++)
        for (int64_t f = 1; f <= p->clip[i].frames; f++)
            put_image(w, p, &p->clip[i], f);
    return close_writer(w, MN_OK);
}
