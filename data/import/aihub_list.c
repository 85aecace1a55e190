#include "data/import/aihub_list.h"

#include "data/import/text.h"
#include "nn/base/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT_MOST ((size_t)1 << 20)
#define COORDINATE_MOST 1e6
enum { AGE_MOST = 120 };

static const char *const emotion_word[DATA__AIHUB_EMOTIONS] = {"기쁨", "당황", "분노", "불안", "상처", "슬픔", "중립"};

// What has been read of the array: brackets are counted here, outside of strings, and what an element says is left to
// jansson. No byte of a character of CP949 or UTF-8 beyond ASCII is a bracket, a quote or a backslash.
struct data__aihub {
    data__korean *korean;
    const data__aihub_ops *ops;
    void *ctx;
    int cp949, depth; // 1: in the array, more: in an element
    int mark;         // bytes of the byte order mark seen
    int in_string, escaped, ended, broken;
    int64_t element;
    char *text; // of the element at hand
    size_t size, capacity;
};

data__aihub *data__aihub_open(data__korean *korean, int cp949, const data__aihub_ops *ops, void *ctx)
{
    data__aihub *a = mn_calloc(1, sizeof(*a));
    *a = (data__aihub){.korean = korean, .cp949 = cp949, .ops = ops, .ctx = ctx};
    return a;
}

void data__aihub_close(data__aihub *a)
{
    if (!a) return;
    free(a->text);
    free(a);
}

// One element

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

// An emotion by its name; -1: it is none.
static int emotion_of(const char *word)
{
    char *composed = mn_strdup(word ? word : "");
    int found = -1;
    data__hangul_compose(composed);
    data__text t = data__trim((data__text){composed, strlen(composed)});
    for (int i = 0; i < DATA__AIHUB_EMOTIONS; i++)
        if (data__text_is(t, emotion_word[i])) found = i;
    free(composed);
    return found;
}

// A number, or text that is one. 0: neither.
static int number_of(const json_t *v, double *value)
{
    const char *text = json_string_value(v);
    if (text) return data__number((data__text){text, strlen(text)}, value);
    if (!json_is_number(v)) return 0;
    *value = json_number_value(v);
    return isfinite(*value);
}

// "annot_A" in the files, "faceBB_A" in the manual; an object with the box, or a list of one.
static const json_t *annotation_of(const json_t *o, int annotator)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "annot_%c", 'A' + annotator);
    const json_t *v = json_object_get(o, name);
    if (v) return v;
    (void)snprintf(name, sizeof(name), "faceBB_%c", 'A' + annotator);
    return json_object_get(o, name);
}

static const json_t *boxes_of(const json_t *annotation)
{
    const json_t *v = json_object_get(annotation, "boxes");
    return json_is_array(v) ? json_array_get(v, 0) : v;
}

// The word is "faceExp" in the files, "boxes.label" in the manual.
static int emotion_seen(const json_t *annotation)
{
    const char *word = text_of(annotation, "faceExp");
    if (!word) word = text_of(boxes_of(annotation), "label");
    return emotion_of(word);
}

static int edges_seen(const json_t *annotation, double edge[4])
{
    static const char *const key[4] = {"minX", "minY", "maxX", "maxY"};
    const json_t *boxes = boxes_of(annotation);
    for (int i = 0; i < 4; i++)
        if (!number_of(json_object_get(boxes, key[i]), &edge[i]) || fabs(edge[i]) > COORDINATE_MOST) return 0;
    return edge[2] > edge[0] && edge[3] > edge[1];
}

static double median(double v[DATA__AIHUB_ANNOTATORS], int n)
{
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && v[k] < v[k - 1]; k--) {
            double swap = v[k];
            v[k] = v[k - 1];
            v[k - 1] = swap;
        }
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

static void take_box(const json_t *o, float box[4])
{
    double edge[4][DATA__AIHUB_ANNOTATORS], one[4], middle[4];
    int n = 0;
    for (int i = 0; i < DATA__AIHUB_ANNOTATORS; i++) {
        if (!edges_seen(annotation_of(o, i), one)) continue;
        for (int k = 0; k < 4; k++)
            edge[k][n] = one[k];
        n++;
    }
    for (int k = 0; k < 4; k++)
        middle[k] = n ? median(edge[k], n) : NAN;
    box[0] = (float)middle[0];
    box[1] = (float)middle[1];
    box[2] = (float)(middle[2] - middle[0]);
    box[3] = (float)(middle[3] - middle[1]);
}

static void take_emotion(const json_t *o, data__aihub_face *f)
{
    int votes[DATA__AIHUB_EMOTIONS] = {0};
    f->emotion = f->uploader = emotion_of(text_of(o, "faceExp_uploader"));
    for (int i = 0; i < DATA__AIHUB_ANNOTATORS; i++) {
        int e = emotion_seen(annotation_of(o, i));
        if (e >= 0 && ++votes[e] == 2) {
            f->emotion = e;
            f->agreed = 1;
        }
    }
}

// "20", 20 or "20대" (twenties); "남" (man), "여" (woman).
static void take_person(const json_t *o, data__aihub_face *f)
{
    const json_t *age = json_object_get(o, "age");
    const char *text = json_string_value(age), *gender = text_of(o, "gender");
    double v;
    if (text) {
        size_t n = strspn(text, "0123456789");
        if (strcmp(text + n, "대") != 0) n = strlen(text);
        f->age = data__number((data__text){text, n}, &v) ? (float)v : NAN;
    } else {
        f->age = number_of(age, &v) ? (float)v : NAN;
    }
    if (!(f->age > 0 && f->age <= AGE_MOST)) f->age = NAN;
    char *composed = mn_strdup(gender ? gender : "");
    data__hangul_compose(composed);
    f->gender = (int8_t)(strcmp(composed, "남") == 0 ? 1 : strcmp(composed, "여") == 0 ? 0 : -1);
    free(composed);
}

static void bad(const data__aihub *a, data__reason reason, const char *what, const char *value)
{
    char detail[256];
    int cut, n = value ? (int)data__utf8_prefix(value, strnlen(value, 48), &cut) : 0;
    (void)snprintf(detail, sizeof(detail), "%s%s%.*s%s", what, value ? " '" : "", n, value ? value : "",
                   value ? "'" : "");
    a->ops->bad(a->ctx, a->element, reason, detail);
}

static void read_element(const data__aihub *a, const json_t *o)
{
    const char *filename = text_of(o, "filename"), *uploader = text_of(o, "faceExp_uploader");
    char *name = mn_strdup(filename ? filename : "");
    data__aihub_face f = {0};
    data__hangul_compose(name);
    f.name = name;
    take_emotion(o, &f);
    take_box(o, f.box);
    take_person(o, &f);
    if (!*name || strchr(name, '/'))
        bad(a, DATA__REJECT_COLUMNS, *name ? "filename" : "no filename", *name ? name : NULL);
    else if (f.emotion < 0)
        bad(a, DATA__REJECT_RANGE, "faceExp_uploader", uploader ? uploader : "");
    else
        a->ops->face(a->ctx, a->element, &f);
    free(name);
}

static void end_element(data__aihub *a)
{
    json_error_t e;
    json_t *o = NULL;
    char *text = NULL;
    if (a->size > ELEMENT_MOST) {
        bad(a, DATA__REJECT_LIST, "an element of more than 1 MiB", NULL);
    } else {
        text = data__korean_text(a->korean, a->text, a->size, a->cp949);
        o = text ? json_loads(text, 0, &e) : NULL;
        if (o)
            read_element(a, o);
        else
            bad(a, DATA__REJECT_LIST, text ? e.text : a->cp949 ? "not CP949" : "not UTF-8", NULL);
    }
    json_decref(o);
    free(text);
    a->size = 0;
}

// The array

static void break_off(data__aihub *a, const char *why)
{
    a->broken = 1;
    a->element = 0;
    bad(a, DATA__REJECT_LIST, why, NULL);
}

static void collect(data__aihub *a, char c)
{
    if (a->size > ELEMENT_MOST) return; // too long: only its end is of interest
    if (a->size == a->capacity) {
        a->capacity = a->capacity * 2 + 4096;
        a->text = mn_realloc(a->text, a->capacity, 1);
    }
    a->text[a->size++] = c;
}

static void inside(data__aihub *a, char c)
{
    collect(a, c);
    if (a->in_string) {
        if (a->escaped)
            a->escaped = 0;
        else if (c == '\\')
            a->escaped = 1;
        else
            a->in_string = c != '"';
        return;
    }
    a->in_string = c == '"';
    if (c == '{' || c == '[') a->depth++;
    if (c == '}' || c == ']') a->depth--;
    if (a->depth == 1) end_element(a);
}

static void between(data__aihub *a, char c)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (a->depth == 0 && !a->ended && a->mark < 3 && c == mark[a->mark]) {
        a->mark++;
        return;
    }
    if (strchr(" \t\r\n", c) && c) return;
    if (a->depth == 0 && c == '[' && !a->ended) {
        a->depth = 1;
    } else if (a->depth == 1 && c == ']') {
        a->depth = 0;
        a->ended = 1;
    } else if (a->depth == 1 && c == '{') {
        a->element++;
        a->depth = 2;
        collect(a, c);
    } else if (a->depth != 1 || c != ',') {
        break_off(a, a->depth || a->ended ? "no list of objects" : "no list");
    }
}

void data__aihub_feed(data__aihub *a, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n && !a->broken; i++) {
        if (a->depth > 1)
            inside(a, bytes[i]);
        else
            between(a, bytes[i]);
    }
    if (n == 0 && !a->broken && !a->ended) break_off(a, a->depth ? "the list is cut off" : "no list");
}
