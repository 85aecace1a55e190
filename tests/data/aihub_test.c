// AI-Hub: Korean text, the lists as they may come, and a generated corpus: every record against the lists, read here by a
// reader of its own (the whole of a list at once, names by the time in them).
#include "data/image.h"
#include "data/import/aihub_list.h"
#include "data/import/words.h"
#include "corpus_support.h"
#include "shard_support.h"

#include <dirent.h>
#include <iconv.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Korean text

Test(korean, composes_and_decodes)
{
    static const struct {
        const char *bytes;
        int cp949;
        const char *text; // NULL: it is not in this encoding
    } row[] = {{"a b", 0, "a b"},
               {"a b", 1, "a b"},
               {"\xb1\xe2\xbb\xdd", 1, "기쁨"},
               {"\xb1\xe2\xbb\xdd", 0, NULL},
               {"기쁨", 0, "기쁨"},
               {"\xe1\x84\x80\xe1\x85\xb5\xe1\x84\x88\xe1\x85\xb3\xe1\x86\xb7", 0, "기쁨"}, // letters
               {"\xea\xb8\xb0\xe1\x86\xb7", 0, "김"},                                       // a syllable and a letter
               {"\xe1\x84\x80", 0, "\xe1\x84\x80"},                                         // a letter alone
               {"\xe1\x84\x80x\xe1\x85\xb5", 0, "\xe1\x84\x80x\xe1\x85\xb5"},
               {"\xb1", 1, NULL},
               {"\xff\xff", 1, NULL},
               {"\x8c\x63", 1, "똠"}, // beyond EUC-KR
               {"", 0, ""}};
    data__korean *k;
    must(data__korean_open(&k));
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char *text = data__korean_text(k, row[i].bytes, strlen(row[i].bytes), row[i].cp949);
        cr_assert(row[i].text ? text && strcmp(text, row[i].text) == 0 : !text, "row %zu: %s", i, text);
        free(text);
    }
    cr_assert_null(data__korean_text(k, "a\0b", 3, 0));
    data__korean_close(k);
}

Test(korean, knows_utf8)
{
    static const char *const good[] = {"", "a", "é", "한", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x80\x80",
                                      "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                      "\xc3",         "\xe3\x81"};
    int cut;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        cr_assert(data__utf8(good[i], strlen(good[i])), "%zu", i);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert(!data__utf8(bad[i], strlen(bad[i])), "%zu", i);
        cr_assert(data__utf8_prefix(bad[i], strlen(bad[i]), &cut) == 0 && cut == (i >= 8), "%zu", i);
    }
}

// A name comes back from what its file is called, and spoiled names of one form have one thing between their letters.
Test(korean, names_follow_from_their_files)
{
    static const struct {
        const char *name, *file, *between;
    } row[] = {{"a_1.jpg", "a_1.jpg", ""},
               {"ab_여_20_기쁨.jpg", "ab_여_20_기쁨.jpg", "___여____기쁨"},
               {"cd_여_31_기쁨.jpg", "cd_\xbf\xa9_31_\xb1\xe2\xbb\xdd.jpg", "___여____기쁨"},
               {"cd_여_31_기쁨.jpg", "cd__31_.jpg", "___여____기쁨"},
               {"여a", "a", "여"},
               {"a여",
                "\xb1\xe2"
                "a",
                "_여"},
               {"", "", ""},
               {"여", "", "여"},
               {"똠.jpg", "\x8c\x63.jpg", "/똠.jpg"}, // its second byte is a 'c'
               {"a여b", "a여", "/a여b"},
               {"a여", "a여b", "/a여"},
               {"ab", "ba", "/ab"}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char *between = data__ascii_between(row[i].name, row[i].file);
        char *name = data__ascii_fill(between, row[i].file);
        cr_assert_str_eq(between, row[i].between, "row %zu", i);
        cr_assert_str_eq(name, row[i].name, "row %zu", i);
        free(between);
        free(name);
    }
}

Test(words, are_kept_once)
{
    enum { N = 3000 };
    data__words w = {0};
    char text[16];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < N; i++) {
            int n = snprintf(text, sizeof(text), "%d", i);
            cr_assert_eq(data__words_add(&w, text, (size_t)n), i);
            cr_assert_str_eq(w.word[i], text);
        }
    cr_assert(data__words_add(&w, "12345", 4) == 1234 && w.n == N); // the text has no end of its own
    cr_assert(data__words_add(&w, "", 0) == N && data__words_add(&w, "", 0) == N && w.n == N + 1);
    data__words_free(&w);
}

// Lists

typedef struct seen {
    int faces, bads;
    char name[8][64];
    data__aihub_face face[8];
    data__reason reason[8];
    int64_t element[8];
} seen;

static void take_face(void *ctx, int64_t element, const data__aihub_face *f)
{
    seen *s = ctx;
    (void)element;
    cr_assert(s->faces < 8);
    snprintf(s->name[s->faces], sizeof(s->name[0]), "%s", f->name);
    s->face[s->faces++] = *f;
}

static void take_bad(void *ctx, int64_t element, data__reason reason, const char *detail)
{
    seen *s = ctx;
    (void)detail;
    cr_assert(s->bads < 8);
    s->element[s->bads] = element;
    s->reason[s->bads++] = reason;
}

// In pieces of every size up to 9: they must not matter.
static seen read_text(const char *text, int cp949)
{
    static const data__aihub_ops ops = {take_face, take_bad};
    data__korean *k;
    seen first = {0};
    must(data__korean_open(&k));
    for (size_t piece = 1; piece < 10; piece++) {
        seen s = {0};
        size_t n = strlen(text);
        data__aihub *a = data__aihub_open(k, cp949, &ops, &s);
        for (size_t at = 0; at < n; at += piece)
            data__aihub_feed(a, text + at, n - at < piece ? n - at : piece);
        data__aihub_feed(a, NULL, 0);
        data__aihub_close(a);
        if (piece == 1) first = s;
        cr_assert(s.faces == first.faces && s.bads == first.bads, "pieces of %zu", piece);
        cr_assert(memcmp(s.name, first.name, sizeof(s.name)) == 0);
    }
    data__korean_close(k);
    return first;
}

Test(aihub, annotators)
{
    seen s = read_text(
        "\xef\xbb\xbf [ {\"filename\":\"a{[\\\"\",\"faceExp_uploader\":\"분노\",\"annot_A\":{\"faceExp\":\"기쁨\","
        "\"boxes\":{\"minX\":1,\"minY\":\"2.5\",\"maxX\":11,\"maxY\":22}},\"annot_B\":{\"faceExp\":\" 슬픔 \","
        "\"boxes\":{\"minX\":3,\"minY\":4,\"maxX\":15,\"maxY\":20}},\"annot_C\":{\"faceExp\":\"슬픔\"},"
        "\"age\":\"30대\",\"gender\":\"여\"} ,\n"
        "{\"filename\":\"b\",\"faceExp_uploader\":\"분노\",\"annot_A\":{\"faceExp\":\"기쁨\",\"boxes\":{\"minX\":9,"
        "\"minY\":4,\"maxX\":9,\"maxY\":20}},\"annot_B\":5,\"age\":true},"
        "{\"filename\":\"c\",\"faceBB_A\":{\"boxes\":[{\"label\":\"중립\",\"minX\":0,\"minY\":0,\"maxX\":1,\"maxY\":2}]"
        "},"
        "\"faceBB_B\":{\"boxes\":{\"label\":\"중립\"}},\"gender\":\"남\",\"age\":300}]\r\n",
        0);
    cr_assert(s.faces == 3 && s.bads == 0);
    const data__aihub_face *f = s.face;
    cr_assert_str_eq(s.name[0], "a{[\"");
    cr_assert(f[0].emotion == DATA__AIHUB_SAD && f[0].agreed && f[0].uploader == DATA__AIHUB_ANGRY);
    cr_assert(f[0].box[0] == 2 && f[0].box[1] == 3.25f && f[0].box[2] == 11 && f[0].box[3] == 17.75f);
    cr_assert(f[0].age == 30 && f[0].gender == 0);
    cr_assert(f[1].emotion == DATA__AIHUB_ANGRY && !f[1].agreed && isnan(f[1].box[0]) && isnan(f[1].box[3]));
    cr_assert(isnan(f[1].age) && f[1].gender == -1);
    cr_assert(f[2].emotion == DATA__AIHUB_NEUTRAL && f[2].agreed && f[2].uploader == -1 && f[2].gender == 1);
    cr_assert(isnan(f[2].age) && f[2].box[2] == 1 && f[2].box[3] == 2);
}

Test(aihub, what_is_wrong_is_named_and_the_rest_is_read)
{
    static const struct {
        const char *text;
        int faces, bads;
        int64_t element;
        data__reason reason;
    } row[] = {
        {"[]", 0, 0, 0, 0},
        {"", 0, 1, 0, DATA__REJECT_LIST},
        {"{\"filename\":\"a\"}", 0, 1, 0, DATA__REJECT_LIST},
        {"[1]", 0, 1, 0, DATA__REJECT_LIST},
        {"[{\"filename\":\"a\",\"faceExp_uploader\":\"중립\"}", 1, 1, 0, DATA__REJECT_LIST},
        {"[{\"filename\":\"a\",\"faceExp_uploader\":\"중립\"}] x", 1, 1, 0, DATA__REJECT_LIST},
        {"[{\"filename\":\"a\",\"faceExp_upl", 0, 1, 0, DATA__REJECT_LIST},
        {"[{\"filename\" \"a\"},{\"filename\":\"a\",\"faceExp_uploader\":\"중립\"}]", 1, 1, 1, DATA__REJECT_LIST},
        {"[{\"filename\":\"a\",\"faceExp_uploader\":\"중립\"},{\"faceExp_uploader\":\"중립\"}]", 1, 1, 2,
         DATA__REJECT_COLUMNS},
        {"[{\"filename\":\"../a\",\"faceExp_uploader\":\"중립\"}]", 0, 1, 1, DATA__REJECT_COLUMNS},
        {"[{\"filename\":\"a\\u0000b\",\"faceExp_uploader\":\"중립\"}]", 0, 1, 1, DATA__REJECT_LIST},
        {"[{\"filename\":\"a\",\"faceExp_uploader\":\"모름\"}]", 0, 1, 1, DATA__REJECT_RANGE},
        {"[{\"filename\":\"a\xff\",\"faceExp_uploader\":\"중립\"}]", 0, 1, 1, DATA__REJECT_LIST}};
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        seen s = read_text(row[i].text, 0);
        cr_assert(s.faces == row[i].faces && s.bads == row[i].bads, "row %zu: %d %d", i, s.faces, s.bads);
        if (s.bads) cr_assert(s.element[0] == row[i].element && s.reason[0] == row[i].reason, "row %zu", i);
    }
    char *large = malloc(3 << 20);
    memset(large, ' ', 3 << 20);
    memcpy(large, "[{", 2);
    strcpy(large + (3 << 20) - 60, "},{\"filename\":\"a\",\"faceExp_uploader\":\"\xc1\xdf\xb8\xb3\"}]");
    seen s = read_text(large, 1);
    cr_assert(s.faces == 1 && s.bads == 1 && s.reason[0] == DATA__REJECT_LIST &&
              s.face[0].emotion == DATA__AIHUB_NEUTRAL);
    free(large);
}

// The generated corpus

static char *converted(const char *bytes, size_t size, const char *from)
{
    size_t left = 2 * size + 1, n = size;
    char *out = calloc(left + 1, 1), *to = out, *at = (char *)(uintptr_t)bytes;
    iconv_t c = iconv_open("UTF-8", from);
    if (iconv(c, &at, &n, &to, &left) == (size_t)-1) {
        free(out);
        out = NULL;
    }
    iconv_close(c);
    return out;
}

static json_t *whole_list(const char *path, int *cp949)
{
    size_t size;
    char *bytes = (char *)support_read(path, &size), *text = converted(bytes, size, "UTF-8");
    *cp949 = !text;
    if (!text) text = converted(bytes, size, "CP949");
    cr_assert_not_null(text);
    json_t *list = json_loads(text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0), 0, NULL);
    cr_assert(json_is_array(list), "%s", path);
    free(text);
    free(bytes);
    return list;
}

// The file with this end (day, time, person, picture) below folder, and with this many bytes that are no ASCII, which
// tells the one that is like it apart: its emotion is another word.
static int file_of(const char *folder, const char *end, const char *word, char *path, size_t size)
{
    DIR *d = opendir(folder);
    int found = 0;
    cr_assert_not_null(d, "%s", folder);
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name), k = strlen(end);
        if (n < k || strcmp(e->d_name + n - k, end) != 0) continue;
        char *cp949 = converted(e->d_name, n, "CP949");
        data__korean *korean;
        must(data__korean_open(&korean));
        char *text = data__korean_text(korean, e->d_name, n, !data__utf8(e->d_name, n));
        if (strstr(text, word) || (cp949 && strstr(cp949, word))) {
            found++;
            int length = snprintf(path, size, "%s/%s", folder, e->d_name);
            cr_assert(length > 0 && (size_t)length < size, "%s is too long", e->d_name);
        }
        free(text);
        free(cp949);
        data__korean_close(korean);
    }
    closedir(d);
    return found;
}

static int class_of(const char *word)
{
    static const char *const words[] = {"기쁨", "당황", "분노", "불안", "상처", "슬픔", "중립"};
    static const int ours[] = {4, 6, 1, 3, 7, 5, 0};
    for (int k = 0; k < 7; k++)
        if (word && strcmp(word, words[k]) == 0) return ours[k];
    return -1;
}

static const json_t *annotation(const json_t *row, int k)
{
    static const char *const key[2][3] = {{"annot_A", "annot_B", "annot_C"}, {"faceBB_A", "faceBB_B", "faceBB_C"}};
    const json_t *o = json_object_get(row, key[0][k]);
    return o ? o : json_object_get(row, key[1][k]);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(const json_t *row, const char *key)
{
    double v[3];
    int n = 0;
    for (int k = 0; k < 3; k++) {
        const json_t *o = json_object_get(json_object_get(annotation(row, k), "boxes"), key);
        if (o) v[n++] = json_number_value(o);
    }
    if (n == 0) return NAN;
    qsort(v, (size_t)n, sizeof(v[0]), by_value);
    return n == 2 ? (v[0] + v[1]) / 2 : v[n / 2];
}

typedef struct tally {
    int64_t rows, records, missing, twice, range, outside, turned, over, no_box, divided, cp949;
} tally;

// The label of a row; -1: none.
static int label_of(const json_t *row, tally *t)
{
    int v[3], uploader = class_of(json_string_value(json_object_get(row, "faceExp_uploader")));
    for (int k = 0; k < 3; k++) {
        const json_t *a = annotation(row, k), *word = json_object_get(a, "faceExp");
        if (!word) word = json_object_get(json_object_get(a, "boxes"), "label");
        v[k] = class_of(json_string_value(word));
    }
    if (v[0] >= 0 && (v[0] == v[1] || v[0] == v[2])) return v[0];
    if (v[1] >= 0 && v[1] == v[2]) return v[1];
    if (uploader >= 0) t->divided++;
    return uploader;
}

static int near(float a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) < 1e-3;
}

// Upright: what a JPEG with an orientation decodes to is as large as the record says.
static void check_upright(const char *path, const data_index *x, int64_t i)
{
    data_coder *c;
    data_image im = {0};
    size_t size;
    unsigned char *bytes = support_read(path, &size);
    must(data_coder_open(&c));
    must(data_image_decode(c, bytes, size, 0, &im));
    cr_assert(im.width == x->width[i] && im.height == x->height[i]);
    data_image_release(&im);
    data_coder_close(c);
    free(bytes);
}

static void check_row(const data_folder *f, const char *folder, const char *word, const json_t *row, tally *t)
{
    const char *name = json_string_value(json_object_get(row, "filename")), *end = strrchr(name, '_');
    char path[1200], composed[400];
    const data_shard *s;
    snprintf(composed, sizeof(composed), "%s", name);
    data__hangul_compose(composed);
    int label = label_of(row, t), files = file_of(folder, end, word, path, sizeof(path));
    int64_t i = corpus_record(f, composed, &s);
    cr_assert(files <= 1, "%s", path);
    double box[4] = {middle(row, "minX"), middle(row, "minY"), middle(row, "maxX"), middle(row, "maxY")};
    t->rows++;
    if (label < 0 || files == 0) {
        cr_assert(i < 0, "%s", name);
        t->range += label < 0;
        t->missing += label >= 0;
        return;
    }
    t->no_box += isnan(box[0]);
    if (i < 0) { // the box must be why
        cr_assert(box[0] > 60, "%s", name);
        t->outside++;
        return;
    }
    const data_index *x = data_shard_index(s);
    corpus_check_bytes(path, s, i);
    if (x->source_row[i] != t->rows) { // an earlier row has the picture
        t->twice++;
        return;
    }
    t->records++;
    t->turned += x->orientation[i] > 1;
    if (x->orientation[i] > 1) check_upright(path, x, i);
    t->over += box[0] < 0 || box[1] < 0 || box[2] > x->width[i] || box[3] > x->height[i];
    cr_assert(x->expr[i] == label && x->mask[i] == (DATA_HAS_EXPR | DATA_HAS_IDENTITY), "%s", name);
    cr_assert(near(x->box[4 * i], box[0]) && near(x->box[4 * i + 1], box[1]) &&
              near(x->box[4 * i + 2], box[2] - box[0]) && near(x->box[4 * i + 3], box[3] - box[1]));
    const json_t *age = json_object_get(row, "age");
    const char *gender = json_string_value(json_object_get(row, "gender"));
    cr_assert(x->age[i] ==
              (json_is_string(age) ? (float)atoi(json_string_value(age)) : (float)json_integer_value(age)));
    cr_assert_eq(x->gender[i], strcmp(gender, "남") == 0 ? 1 : strcmp(gender, "여") == 0 ? 0 : -1);
}

// The same person has the same number, others another: names begin with 64 digits.
static void check_people(data_folder *const f[2])
{
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; i < data_folder_count(f[k / 2]); i++)
            for (int64_t j = 0; j < data_folder_count(f[k % 2]); j++) {
                int64_t a, b;
                const data_shard *s = data_folder_at(f[k / 2], i, &a), *t = data_folder_at(f[k % 2], j, &b);
                int same = strncmp(data_shard_name(s, a), data_shard_name(t, b), 64) == 0;
                cr_assert_eq(same, data_shard_index(s)->identity[a] == data_shard_index(t)->identity[b]);
                cr_assert(!same || k / 2 == k % 2, "a person in two splits");
            }
}

Test(aihub, generated)
{
    static const char *const splits[2][3] = {{"Training", "TRAIN", "training"}, {"Validation", "VALID", "validation"}};
    static const char *const words[] = {"기쁨", "당황", "분노", "불안", "상처", "슬픔", "중립"};
    json_t *report;
    corpus p = corpus_import("aihub", &report);
    data_folder *f[2];
    tally all = {0};
    for (int k = 0; k < 14; k++) {
        const char *const *split = splits[k / 7], *word = words[k % 7];
        char folder[1000], path[1200];
        int cp949;
        if (k % 7 == 0) must(data_folder_open(&f[k / 7], p.out, k ? "validation" : "train", 0, "image"));
        snprintf(path, sizeof(path), "%s/%s/EMOIMG_%s_%s/img_emotion_%s_data(%s).json", p.src, split[0], word, split[1],
                 split[2], word);
        snprintf(folder, sizeof(folder), "%s/%s/EMOIMG_%s_%s_01", p.src, split[0], word, split[1]);
        json_t *list = whole_list(path, &cp949), *row;
        size_t i;
        tally t = {0};
        json_array_foreach(list, i, row) check_row(f[k / 7], folder, word, row, &t);
        json_decref(list);
        int64_t *sum = (int64_t *)&all, *one = (int64_t *)&t;
        for (size_t m = 0; m < sizeof(t) / sizeof(int64_t); m++)
            sum[m] += one[m];
        all.cp949 += cp949;
    }
    check_people(f);
    const json_t *rejects = json_object_get(report, "rejects"), *notes = json_object_get(report, "notes");
    cr_assert(all.rows == 60 + all.twice && all.rows == corpus_number(report, "rows") && all.cp949 == 6);
    cr_assert(all.records == corpus_number(report, "records"));
    cr_assert(all.missing > 0 && corpus_number(rejects, "missing file") == all.missing);
    cr_assert(all.twice > 0 && corpus_number(rejects, "duplicate") == all.twice);
    cr_assert(all.range > 0 && corpus_number(rejects, "label out of range") == all.range);
    cr_assert(all.outside > 0 && corpus_number(rejects, "face box outside of the picture") == all.outside);
    cr_assert_eq(corpus_number(report, "rejected"), all.missing + all.twice + all.range + all.outside);
    cr_assert(all.turned > 0 && corpus_number(notes, "pictures with an EXIF orientation") == all.turned);
    cr_assert(all.over > 0 && corpus_number(notes, "face boxes that reach over the edge of the picture") == all.over);
    cr_assert(all.no_box > 0 && corpus_number(notes, "rows without a usable face box") == all.no_box);
    cr_assert(all.divided > 0 &&
              corpus_number(notes, "faces without an expression that most voters gave") == all.divided);
    cr_assert(corpus_number(notes, "files beside the pictures that no list names") >=
              3); // one each for those like others
    for (int k = 0; k < 2; k++)
        data_folder_close(f[k]);
    json_decref(report);
    support_remove(p.top);
}
