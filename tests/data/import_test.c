// Importers of picture datasets, on small corpora made by code: every record and label, every planted irregularity.
#include "data/image.h"
#include "data/import.h"
#include "data/shard.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "import_support.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

// A corpus

static void put_text(const char *dir, const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    support_write(path, text, strlen(text));
}

static void make_dir(const char *dir, const char *name)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert(mkdir(path, 0777) == 0, "%s", path);
}

static size_t picture(data_coder *c, int width, int height, int shade, const uint8_t **bytes)
{
    static uint8_t rgb[96 * 96 * 3];
    size_t size;
    cr_assert(width * height <= 96 * 96);
    for (int i = 0; i < width * height * 3; i++)
        rgb[i] = (uint8_t)(shade + i % 5);
    must(data_jpeg_encode(c, rgb, width, height, 92, 0, bytes, &size));
    return size;
}

static void put_picture(const char *dir, const char *name, int width, int height, int shade)
{
    char path[700];
    data_coder *c;
    const uint8_t *bytes;
    must(data_coder_open(&c));
    size_t size = picture(c, width, height, shade, &bytes);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    support_write(path, bytes, size);
    data_coder_close(c);
}

// The beginning of a picture that is all of the file.
static void put_cut_picture(const char *dir, const char *name)
{
    char path[700];
    data_coder *c;
    const uint8_t *bytes;
    must(data_coder_open(&c));
    size_t size = picture(c, 64, 64, 9, &bytes);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    support_write(path, bytes, size - 12);
    data_coder_close(c);
}

// Results

static int64_t count(const data_import_report *r, const char *table, const char *key)
{
    return json_integer_value(json_object_get(table ? json_object_get(r->json, table) : r->json, key));
}

static void check_bytes(const char *src, const char *name, const data_shard *s, int64_t i)
{
    char path[700], have[65536];
    size_t n, size;
    snprintf(path, sizeof(path), "%s/%s", src, name);
    unsigned char *want = support_read(path, &size);
    must(data_shard_read(s, i, have, sizeof(have), &n));
    cr_assert(n == size && memcmp(have, want, n) == 0, "%s", name);
    free(want);
}

// Record of that name in the folder.
static const data_shard *record_of(const data_folder *f, const char *name, int64_t *record)
{
    for (int64_t i = 0; i < data_folder_count(f); i++) {
        const data_shard *s = data_folder_at(f, i, record);
        if (strcmp(data_shard_name(s, *record), name) == 0) return s;
    }
    cr_assert_fail("no record %s", name);
    return NULL;
}

static int has_line(const char *out, const char *part)
{
    char path[700];
    size_t size;
    snprintf(path, sizeof(path), "%s/rejects.csv", out);
    char *text = (char *)support_read(path, &size);
    text[size] = 0;
    int found = strstr(text, part) != NULL;
    free(text);
    return found;
}

typedef struct place { // of one test
    char *top, src[600], out[600];
} place;

static place make_place(void)
{
    place p = {.top = support_folder()};
    snprintf(p.src, sizeof(p.src), "%s/src", p.top);
    snprintf(p.out, sizeof(p.out), "%s/out/shards", p.top);
    make_dir(p.top, "src");
    mn_log_level(MN_WARN);
    return p;
}

static data_import_cfg config(const place *p, const char *kind)
{
    return (data_import_cfg){.kind = kind, .src = p->src, .out = p->out, .reject_most = 1};
}

Test(import, folders_of_people_anywhere)
{
    place p = make_place();
    make_dir(p.src, "downloads");
    make_dir(p.src, "downloads/web faces");
    make_dir(p.src, "downloads/web faces/0000045");
    make_dir(p.src, "downloads/web faces/0000099");
    put_text(p.src, "downloads/readme.txt", "x");
    put_picture(p.src, "downloads/web faces/0000045/001.jpg", 20, 20, 1);
    put_picture(p.src, "downloads/web faces/0000099/001.jpg", 20, 20, 2);
    data_import_cfg cfg = config(&p, "casia-webface");
    data_import_report r;
    data_folder *f;
    int64_t i;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 2 && count(&r, NULL, "rejected") == 0);
    must(data_folder_open(&f, p.out, NULL, 0, "image"));
    const data_shard *s = record_of(f, "0000099/001.jpg", &i);
    cr_assert_eq(data_shard_index(s)->identity[i], 1);
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, a_folder_with_labels)
{
    place p = make_place();
    make_dir(p.src, "anna");
    put_picture(p.src, "anna/1.jpg", 40, 30, 1);
    put_picture(p.src, "anna/2.jpg", 40, 30, 2);
    put_picture(p.src, "b.jpg", 40, 30, 3);
    put_picture(p.src, "c.jpg", 40, 30, 4);
    put_picture(p.src, "d.jpg", 40, 30, 5);
    put_picture(p.src, "e.jpg", 40, 30, 6);
    put_text(p.src, "labels.csv",
             "file,Split,expression,valence,AU12,arousal\n"
             "c.jpg,test,,,,-1\n"
             "anna/1.jpg,train,happiness,0.5,1,\n"
             "\"anna/2.jpg\",Val,7,,-1,0.25\n"
             "anna/2.jpg,,0,,,\n"
             "b.jpg,,8,,,\n"
             "b.jpg,,joy,,,\n"
             "b.jpg,,0,1.5,,\n"
             "b.jpg,dev,0,,,\n"
             "b.jpg,,0\n"
             "e.jpg,tset,2,,,\n"
             "e.jpg,test,2,,,\n"
             "away.jpg,,0,,,\n"
             "gone.jpg,,9,,,\n");
    data_import_cfg cfg = config(&p, "folder");
    data_import_report r;
    must(data_import(&cfg, &r));
    // b.jpg is left out: of no row of it is known what is meant. e.jpg has one that can be used.
    cr_assert(count(&r, NULL, "records") == 5 && count(&r, NULL, "rejected") == 9);
    cr_assert(count(&r, "rejects", "missing file") == 1 && count(&r, "rejects", "duplicate") == 1);
    cr_assert(count(&r, "rejects", "label out of range") == 5 && count(&r, "rejects", "not a number") == 1);
    cr_assert(has_line(p.out, "label out of range,labels.csv,8,"));
    data_import_report_free(&r);
    static const struct {
        const char *name, *split;
        int8_t expr, au12;
        float valence, arousal;
        uint32_t mask;
    } rows[] = {{"anna/1.jpg", "train", 4, 1, 0.5F, NAN, DATA_HAS_EXPR | DATA_HAS_VALENCE | DATA_HAS_AU0 << 6},
                {"anna/2.jpg", "validation", 7, -1, NAN, 0.25F, DATA_HAS_EXPR | DATA_HAS_AROUSAL},
                {"c.jpg", "test", -1, -1, NAN, -1, DATA_HAS_AROUSAL},
                {"d.jpg", "train", -1, -1, NAN, NAN, 0},
                {"e.jpg", "test", 2, -1, NAN, NAN, DATA_HAS_EXPR}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        data_folder *f;
        int64_t i;
        must(data_folder_open(&f, p.out, rows[k].split, 0, "image"));
        const data_shard *s = record_of(f, rows[k].name, &i);
        const data_index *c = data_shard_index(s);
        cr_expect(c->expr[i] == rows[k].expr && c->au[i * DATA_AUS + 6] == rows[k].au12 && c->mask[i] == rows[k].mask,
                  "%s", rows[k].name);
        for (int v = 0; v < 2; v++) {
            float want = v ? rows[k].arousal : rows[k].valence, have = c->va[i * 2 + v];
            cr_expect(have == want || (isnan(have) && isnan(want)), "%s: %g, not %g", rows[k].name, have, want);
        }
        data_folder_close(f);
    }
    put_text(p.src, "labels.csv", "file,emotion\n");
    cfg.out = p.top;
    cr_expect(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "labels.csv:1: there is no column 'emotion'"),
              "%s", mn_errmsg());
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, folder)
{
    place p = make_place();
    make_dir(p.src, "train");
    make_dir(p.src, "train/with space");
    make_dir(p.src, "val");
    put_picture(p.src, "train/a.JPG", 40, 30, 1);
    put_picture(p.src, "train/with space/b,\"1\".jpeg", 20, 20, 2);
    put_picture(p.src, "val/c.png", 16, 24, 3); // a JPEG by its bytes
    put_picture(p.src, "d.jpg", 96, 48, 4);
    put_text(p.src, "notes.jpg", "this is text");
    put_text(p.src, "empty.png", "");
    put_text(p.src, "train/Thumbs.db", "left by a system: neither taken nor counted");
    put_text(p.src, "val/desktop.ini", "");
    put_cut_picture(p.src, "train/cut.jpg");
    char fifo[700], link[700];
    snprintf(fifo, sizeof(fifo), "%s/pipe.jpg", p.src);
    snprintf(link, sizeof(link), "%s/away.jpg", p.src);
    cr_assert(mkfifo(fifo, 0666) == 0 && symlink("/etc/passwd", link) == 0);
    data_import_cfg cfg = config(&p, "folder");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 4 && count(&r, NULL, "rejected") == 5);
    cr_assert(count(&r, "rejects", "not a JPEG or PNG") == 1 && count(&r, "rejects", "empty file") == 1);
    cr_assert(count(&r, "rejects", "damaged or cut off") == 1 && count(&r, "rejects", "missing file") == 1);
    cr_assert(count(&r, "rejects", "name leads out of the folder") == 1);
    cr_assert(has_line(p.out, "damaged or cut off,train/cut.jpg,"));
    data_folder *f;
    int64_t i;
    must(data_folder_open(&f, p.out, "validation", 0, "image"));
    cr_assert(data_folder_count(f) == 1);
    data_folder_close(f);
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    cr_assert(data_folder_count(f) == 3);
    const data_shard *s = record_of(f, "train/with space/b,\"1\".jpeg", &i);
    check_bytes(p.src, "train/with space/b,\"1\".jpeg", s, i);
    cr_assert(data_shard_index(s)->width[i] == 20 && data_shard_index(s)->codec[i] == DATA_CODEC_JPEG);
    cr_assert(data_shard_index(s)->mask[i] == 0 && !data_shard_index(s)->expr);
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

static const char affectnet_head[] =
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\r\n";

// Byte order mark, CR LF, a repeated picture, boxes of NULL and of negative width, all kinds of labels, no last line end.
static void make_affectnet(const place *p)
{
    char text[4096];
    make_dir(p->src, "Manually_Annotated");
    make_dir(p->src, "Manually_Annotated/Manually_Annotated_Images");
    make_dir(p->src, "Manually_Annotated/Manually_Annotated_Images/7");
    make_dir(p->src, "Manually_Annotated/Manually_Annotated_file_lists");
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof(text), "Manually_Annotated/Manually_Annotated_Images/7/%c.jpg", 'a' + i);
        put_picture(p->src, text, 30 + i, 40, 20 * i);
    }
    snprintf(text, sizeof(text), "\xef\xbb\xbf%s%s", affectnet_head,
             "7/a.jpg,1,2.0,20,30,1;2;3,1,0.5,-0.25\r\n"
             "7/a.jpg,NULL,,20,30,1;2;3,7,-0.5,1\r\n"
             "7\\b.jpg,3,4,-5,30,1;2,10,-2,-2\r\n"
             "7/c.jpg,3,4,5,30,1;2,8,0.1,0\r\n"
             "7/missing.jpg,3,4,5,30,1;2,3,0.1,0\r\n"
             "7/d.jpg,3,4,5,30,1;2,11,0.1,0\r\n"
             "7/d.jpg,3,4,5,30,1;2,2,1.5,0\r\n"
             "7/d.jpg,3,4,5,30,1;2,two,0.5,0\r\n"
             "7/d.jpg,3,4,5,30,1;2,2,nan,0\r\n"
             "7/d.jpg,3,4\r\n"
             "../../../../x.jpg,3,4,5,30,1;2,6,0.1,0\r\n"
             "7/e.jpg,3,4,5,30,1;2,6,-1,-0.125");
    put_text(p->src, "Manually_Annotated/Manually_Annotated_file_lists/training.csv", text);
    snprintf(text, sizeof(text), "%s%s", affectnet_head, "7/f.jpg,3,4,5,30,1;2,4,0,0.5\r\n");
    put_text(p->src, "Manually_Annotated/Manually_Annotated_file_lists/validation.csv", text);
}

Test(import, affectnet)
{
    place p = make_place();
    make_affectnet(&p);
    data_import_cfg cfg = config(&p, "affectnet");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 6 && count(&r, NULL, "rows") == 13 && count(&r, NULL, "rejected") == 7);
    cr_assert(count(&r, "rejects", "label out of range") == 2 && count(&r, "rejects", "not a number") == 2);
    cr_assert(count(&r, "rejects", "wrong number of columns") == 1 && count(&r, "rejects", "missing file") == 1);
    cr_assert(count(&r, "rejects", "name leads out of the folder") == 1);
    cr_assert(count(&r, "notes", "rows without a usable face box") == 2);
    cr_assert(count(&r, "notes", "rows that repeat a picture") == 1);
    cr_assert(count(&r, "notes", "files beside the pictures that no list names") == 1); // d.jpg: all its rows are bad
    cr_assert(has_line(p.out, "label out of range,training.csv,7,expression '11'"));
    cr_assert(has_line(p.out, "wrong number of columns,training.csv,11,"));
    static const struct {
        const char *name;
        int line, expr;
        float valence, arousal, box_width;
    } want[] = {{"7/a.jpg", 2, 4, 0.5f, -0.25f, 20},
                {"7/a.jpg", 3, 7, -0.5f, 1, NAN},
                {"7/b.jpg", 4, -1, NAN, NAN, NAN},
                {"7/c.jpg", 5, -1, 0.1f, 0, 5},
                {"7/e.jpg", 13, 1, -1, -0.125f, 5}};
    data_folder *f;
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    cr_assert(data_folder_count(f) == 5);
    for (int64_t i = 0; i < 5; i++) {
        int64_t k;
        char name[128];
        const data_shard *s = data_folder_at(f, i, &k);
        const data_index *x = data_shard_index(s);
        cr_assert_str_eq(data_shard_name(s, k), want[i].name);
        cr_assert(x->source_row[k] == (uint32_t)want[i].line && x->expr[k] == want[i].expr);
        cr_assert(isnan(want[i].valence) ? isnan(x->va[2 * k]) && isnan(x->va[2 * k + 1])
                                         : x->va[2 * k] == want[i].valence && x->va[2 * k + 1] == want[i].arousal);
        cr_assert(isnan(want[i].box_width) ? isnan(x->box[4 * k]) : x->box[4 * k + 2] == want[i].box_width);
        cr_assert(((x->mask[k] & DATA_HAS_EXPR) != 0) == (want[i].expr >= 0));
        cr_assert(((x->mask[k] & DATA_HAS_VALENCE) != 0) == !isnan(want[i].valence));
        snprintf(name, sizeof(name), "Manually_Annotated/Manually_Annotated_Images/%s", want[i].name);
        check_bytes(p.src, name, s, k);
    }
    data_folder_close(f);
    must(data_folder_open(&f, p.out, "validation", 0, "image"));
    cr_assert(data_folder_count(f) == 1 && data_shard_index(data_folder_shard(f, 0))->expr[0] == 3);
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, affectnet_pictures_in_both_lists_are_counted)
{
    place p = make_place();
    char text[600];
    make_affectnet(&p);
    snprintf(text, sizeof(text), "%s%s", affectnet_head,
             "7/f.jpg,3,4,5,30,1;2,4,0,0.5\r\n7/a.jpg,3,4,5,30,1;2,4,0,0\r\n");
    put_text(p.src, "Manually_Annotated/Manually_Annotated_file_lists/validation.csv", text);
    data_import_cfg cfg = config(&p, "affectnet");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert_eq(count(&r, "notes", "rows of validation with a picture of training"), 1);
    data_import_report_free(&r);
    support_remove(p.top);
}

// An annotation of AffectNet 2021 as the text of one number.
static void put_annotation(const place *p, const char *name, const char *text)
{
    char path[900], file[200];
    int n = snprintf(file + 10, sizeof(file) - 10, "{'descr': '|S%zu', 'fortran_order': False, 'shape': (), }%s",
                     strlen(text), text);
    memcpy(file, "\x93NUMPY\1\0", 8);
    file[8] = (char)(n - (int)strlen(text));
    file[9] = 0;
    snprintf(path, sizeof(path), "%s/train_set/train_set/annotations/%s.npy", p->src, name);
    support_write(path, file, (size_t)n + 10);
}

// Unpacked twice. 1: complete; 2: no arousal; 3: expression 1.5; 4: valence out of range; 10: a second picture has its
// number; 11: cut off; 12: an annotation that is none.
static void make_affectnet8(const place *p)
{
    static const char *const pictures[] = {"1.jpg", "2.JPG", "3.jpg", "4.jpg", "10.jpg", "10.png", "12.jpg"};
    static const char *const text[][2] = {{"1_exp", "7"},    {"1_val", "-0.5"}, {"1_aro", "-2"}, {"2_exp", "3.0"},
                                          {"2_val", "0.25"}, {"3_exp", "1.5"},  {"4_exp", "0"},  {"4_val", "1.5"},
                                          {"10_exp", "6"},   {"11_exp", "2"},   {"12_exp", "x"}, {"12_note", "1"}};
    make_dir(p->src, "train_set");
    make_dir(p->src, "train_set/train_set");
    make_dir(p->src, "train_set/train_set/images");
    make_dir(p->src, "train_set/train_set/annotations");
    for (int i = 0; i < 7; i++) {
        char name[100];
        snprintf(name, sizeof(name), "train_set/train_set/images/%s", pictures[i]);
        put_picture(p->src, name, 40, 40, 20 * i);
    }
    put_cut_picture(p->src, "train_set/train_set/images/11.jpg");
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
        put_annotation(p, text[i][0], text[i][1]);
    put_text(p->src, "train_set/train_set/annotations/3_val.npy", "no array");
}

Test(import, affectnet8)
{
    place p = make_place();
    make_affectnet8(&p);
    data_import_cfg cfg = config(&p, "affectnet8");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 3 && count(&r, NULL, "rejected") == 5);
    cr_assert(count(&r, "rejects", "label out of range") == 2 && count(&r, "rejects", "duplicate") == 1);
    cr_assert(count(&r, "rejects", "not a number") == 1 && count(&r, "rejects", "damaged or cut off") == 1);
    cr_assert(count(&r, "notes", "pictures without a file of valence or arousal") == 5); // 2: one; 10, 11: two each
    cr_assert(count(&r, "notes", "label values marked invalid by the annotators") == 1);
    cr_assert(count(&r, "notes", "files beside the pictures that no list names") == 1);
    cr_assert(has_line(p.out, "label out of range,train_set/images/3.jpg,,expression 1.5"));
    cr_assert(has_line(p.out, "label out of range,train_set/images/4.jpg,,valence 1.5"));
    cr_assert(has_line(p.out, "duplicate,train_set/images/10.png,"));
    cr_assert(has_line(p.out, "not a number,train_set/annotations/12_exp.npy,"));
    static const struct {
        const char *name, *file;
        int expr;
        uint32_t mask;
        float va[2];
    } want[] = {
        {"train_set/images/1.jpg", "1.jpg", 7, DATA_HAS_EXPR | DATA_HAS_VALENCE, {-0.5f, NAN}},
        {"train_set/images/10.jpg", "10.jpg", 1, DATA_HAS_EXPR, {NAN, NAN}},
        {"train_set/images/2.JPG", "2.JPG", 6, DATA_HAS_EXPR | DATA_HAS_VALENCE, {0.25f, NAN}},
    };
    data_folder *f;
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    for (int64_t i = 0; i < 3; i++) {
        int64_t k;
        char file[100];
        const data_shard *s = data_folder_at(f, i, &k);
        const data_index *x = data_shard_index(s);
        cr_assert_str_eq(data_shard_name(s, k), want[i].name);
        cr_assert(x->expr[k] == want[i].expr && x->mask[k] == want[i].mask);
        for (int c = 0; c < 2; c++)
            cr_assert(isnan(want[i].va[c]) ? isnan(x->va[2 * k + c]) : x->va[2 * k + c] == want[i].va[c]);
        snprintf(file, sizeof(file), "train_set/train_set/images/%s", want[i].file);
        check_bytes(p.src, file, s, k);
    }
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

// Attributes of face i, as the text of one list row.
static int attribute(int i, int a)
{
    return (i * 7 + a * 3) % 4 < 2;
}

static const char celeba_names[] =
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry "
    "Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young";

static void make_celeba(const place *p, int csv)
{
    char attr[8192] = "", part[1024] = "", identity[1024] = "", *end;
    char *names = attr;
    make_dir(p->src, "img_align_celeba");
    if (csv) make_dir(p->src, "img_align_celeba/img_align_celeba");
    if (!csv) names += sprintf(names, "6\n");
    if (csv) names += sprintf(names, "image_id,");
    end = names + sprintf(names, "%s\n", celeba_names);
    for (char *c = names; csv && c < end; c++)
        if (*c == ' ') *c = ',';
    if (csv) sprintf(part, "image_id,partition\n");
    for (int i = 0; i < 6; i++) {
        char name[128];
        snprintf(name, sizeof(name), "img_align_celeba/%s%06d.jpg", csv ? "img_align_celeba/" : "", i + 1);
        if (i != 2) put_picture(p->src, name, 44, 54, 30 * i);
        end += sprintf(end, "%06d.jpg", i + 1);
        for (int a = 0; a < 40; a++)
            end += sprintf(end, csv ? ",%d" : "%3d", attribute(i, a) ? 1 : csv ? 0 : -1);
        end += sprintf(end, "\r\n");
        sprintf(part + strlen(part), csv ? "%06d.jpg,%d\n" : "%06d.jpg %d\n", i + 1, i < 3 ? 0 : i < 5 ? 1 : 2);
        sprintf(identity + strlen(identity), "%06d.jpg %d\n", i + 1, 100 + i / 2);
    }
    put_text(p->src, csv ? "list_attr_celeba.csv" : "list_attr_celeba.txt", attr);
    put_text(p->src, csv ? "list_eval_partition.csv" : "list_eval_partition.txt", part);
    if (!csv) put_text(p->src, "identity_CelebA.txt", identity);
}

Test(import, celeba_in_both_forms)
{
    for (int csv = 0; csv < 2; csv++) {
        place p = make_place();
        make_celeba(&p, csv);
        data_import_cfg cfg = config(&p, "celeba");
        data_import_report r;
        must(data_import(&cfg, &r));
        cr_assert(count(&r, NULL, "records") == 5 && count(&r, "rejects", "missing file") == 1);
        static const char *const split[] = {"train", "validation", "test"};
        static const int first[] = {0, 3, 5};
        for (int k = 0; k < 3; k++) {
            data_folder *f;
            must(data_folder_open(&f, p.out, split[k], 0, "image"));
            cr_assert(data_folder_count(f) == 2 - (k == 2));
            const data_index *x = data_shard_index(data_folder_shard(f, 0));
            for (int a = 0; a < 40; a++)
                cr_assert(x->attr[a] == (attribute(first[k], a) ? 1 : -1));
            cr_assert(x->identity[0] == (csv ? -1 : 100 + first[k] / 2));
            cr_assert(x->mask[0] == (DATA_HAS_ATTR | (csv ? 0u : DATA_HAS_IDENTITY)));
            data_folder_close(f);
        }
        data_import_report_free(&r);
        support_remove(p.top);
    }
}

// Columns in another order, one of them before the names, all of them quoted: the head line says what they are.
Test(import, celeba_attributes_are_known_by_their_names)
{
    place p = make_place();
    data_import_cfg cfg = config(&p, "celeba");
    data_import_report r;
    data_folder *f;
    make_celeba(&p, 1);
    char attr[8192], *end = attr, name[24];
    for (int i = -1; i < 6; i++) {
        for (int c = 0, at; c < 41; c++) { // the name is column 3, attribute a is (39 - a) of the others
            int a = c == 3 ? -1 : 39 - (c - (c > 3));
            const char *word = celeba_names;
            for (int k = 0; k < a; k++)
                word = strchr(word, ' ') + 1;
            cr_assert_eq(sscanf(word, "%23s%n", name, &at), 1);
            if (i >= 0) snprintf(name, sizeof(name), "%d", attribute(i, a) ? 1 : -1);
            if (a < 0) snprintf(name, sizeof(name), "%s", i < 0 ? "image_id" : "");
            if (a < 0 && i >= 0) snprintf(name, sizeof(name), "%06d.jpg", i + 1);
            end += sprintf(end, "%s\"%s\"", c ? "," : "", name);
        }
        end += sprintf(end, "\n");
    }
    put_text(p.src, "list_attr_celeba.csv", attr);
    put_text(p.src, "list_eval_partition.csv",
             "partition,image_id\n0,\"000001.jpg\"\n0,000002.jpg\n0,000003.jpg\n1,000004.jpg\n1,000005.jpg\n"
             "2,000006.jpg\n");
    must(data_import(&cfg, &r));
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    cr_assert_eq(data_folder_count(f), 2);
    for (int i = 0; i < 2; i++)
        for (int a = 0; a < 40; a++)
            cr_assert_eq(data_shard_index(data_folder_shard(f, 0))->attr[40 * i + a], attribute(i, a) ? 1 : -1);
    data_folder_close(f);
    data_import_report_free(&r);
    char *young = strstr(attr, "Young");
    memcpy(young, "Yuong", 5);
    put_text(p.src, "list_attr_celeba.csv", attr);
    cr_assert(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "lacks 'Young' and has 'Yuong'"));
    memcpy(young, "Bald\"", 5);
    memmove(young + 5, young + 6, strlen(young + 6) + 1);
    put_text(p.src, "list_attr_celeba.csv", attr);
    cr_assert(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "list_attr_celeba.csv:1") &&
              strstr(mn_errmsg(), "lacks 'Young' and has 'Bald'"));
    support_remove(p.top);
}

Test(import, celeba_lists_that_were_mixed_are_refused)
{
    place p = make_place();
    make_celeba(&p, 1);
    char path[700];
    size_t size;
    snprintf(path, sizeof(path), "%s/list_attr_celeba.csv", p.src);
    char *text = (char *)support_read(path, &size);
    text[size] = 0;
    char *zero = strstr(text, ",0"), *mixed = malloc(size + 2);
    cr_assert(zero && mixed);
    snprintf(mixed, size + 2, "%.*s,-1%s", (int)(zero - text), text, zero + 2);
    support_write(path, mixed, size + 1);
    free(mixed);
    free(text);
    data_import_cfg cfg = config(&p, "celeba");
    data_import_report r;
    cr_assert(data_import(&cfg, &r) == MN_EDATA);
    support_remove(p.top);
}

// Byte order mark, CR LF, an empty line, a name with a blank, several faces of a picture, and each way to be wrong.
static void make_expw(const place *p)
{
    make_dir(p->src, "image");
    make_dir(p->src, "image/origin");
    make_dir(p->src, "label");
    put_picture(p->src, "image/origin/a.jpg", 40, 50, 1);
    put_picture(p->src, "image/origin/b c.JPG", 30, 30, 60);
    put_picture(p->src, "image/origin/d.jpg", 50, 40, 120);
    put_picture(p->src, "image/origin/unlisted.jpg", 20, 20, 9);
    put_text(p->src, "image/origin/empty.jpg", "");
    put_cut_picture(p->src, "image/origin/cut.jpg");
    put_text(p->src, "label/label.lst",
             "\xef\xbb\xbf"
             "a.jpg 0 10 5 35 40 99.5 3\r\n"
             "a.jpg 1 -4 20 60 30 50 6\r\n"
             "b c.JPG 0 0 0 20 20 30 0\r\n"
             "missing.jpg 0 0 0 20 20 30 1\r\n"
             "a.jpg 1 1 1 9 9 50 5\r\n"
             "d.jpg 0 60 0 20 80 30 2\r\n"
             "d.jpg 1 10 20 20 30 30 2\r\n"
             "d.jpg 2 10 10 20 30 30 7\r\n"
             "d.jpg 3 10 x 20 30 30 2\r\n"
             "d.jpg 4 10 10 20 30 2\r\n"
             "\r\n"
             "d.jpg -1 10 10 20 30 30 2\r\n"
             "../label/label.lst/../../../x.jpg 0 1 1 2 2 3 4\r\n"
             "d.jpg 5 1e9 10 20 30 30 2\r\n"
             "empty.jpg 0 1 1 2 2 3 4\r\n"
             "cut.jpg 0 1 1 2 2 3 4\r\n"
             "d.jpg 6 10 11 21 30.5 30 1");
}

Test(import, expw)
{
    place p = make_place();
    make_expw(&p);
    data_import_cfg cfg = config(&p, "expw");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 4 && count(&r, NULL, "rows") == 16 && count(&r, NULL, "rejected") == 12);
    cr_assert(count(&r, "rejects", "missing file") == 1 && count(&r, "rejects", "duplicate") == 1);
    cr_assert(count(&r, "rejects", "face box outside of the picture") == 2);
    cr_assert(count(&r, "rejects", "label out of range") == 3 && count(&r, "rejects", "not a number") == 1);
    cr_assert(count(&r, "rejects", "wrong number of columns") == 1 && count(&r, "rejects", "empty file") == 1);
    cr_assert(count(&r, "rejects", "name leads out of the folder") == 1);
    cr_assert(count(&r, "rejects", "damaged or cut off") == 1);
    cr_assert(count(&r, "notes", "face boxes that reach over the edge of the picture") == 1);
    cr_assert(count(&r, "notes", "rows that repeat a picture") == 3); // a second face of a, two more of d
    cr_assert(count(&r, "notes", "files beside the pictures that no list names") == 1);
    cr_assert(has_line(p.out, "label out of range,label.lst,8,label '7'"));
    cr_assert(has_line(p.out, "duplicate,a.jpg,5,"));
    cr_assert(has_line(p.out, "outside of the picture,d.jpg,7,left 20 top 10 right 20 bottom 30 in 50 x 40 pixels"));
    static const struct {
        const char *name, *file;
        int line, expr;
        float box[4];
    } want[] = {{"a.jpg#0", "a.jpg", 1, 4, {5, 10, 30, 30}},
                {"a.jpg#1", "a.jpg", 2, 0, {20, -4, 40, 34}},
                {"b c.JPG#0", "b c.JPG", 3, 1, {0, 0, 20, 20}},
                {"d.jpg#6", "d.jpg", 17, 2, {11, 10, 10, 20.5f}}};
    data_folder *f;
    must(data_folder_open(&f, p.out, "train", 0, "image"));
    cr_assert(data_folder_count(f) == 4);
    for (int64_t i = 0; i < 4; i++) {
        int64_t k;
        char name[128];
        const data_shard *s = data_folder_at(f, i, &k);
        const data_index *x = data_shard_index(s);
        cr_assert_str_eq(data_shard_name(s, k), want[i].name);
        cr_assert(x->source_row[k] == (uint32_t)want[i].line && x->expr[k] == want[i].expr);
        cr_assert(x->mask[k] == DATA_HAS_EXPR && memcmp(x->box + 4 * k, want[i].box, sizeof(want[i].box)) == 0);
        snprintf(name, sizeof(name), "image/origin/%s", want[i].file);
        check_bytes(p.src, name, s, k);
    }
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

enum { FER_ROWS = 12, FER_PIXELS = 48 * 48 };

// fer2013.csv, with `skip` left out (-1: none): row 8 has a pixel too few, row 9 one that is none, row 11 is quoted and
// has no line end.
static void make_fer2013(const place *p, int skip)
{
    static char text[FER_ROWS * FER_PIXELS * 5];
    static const char *const usage[FER_ROWS] = {[2] = "PublicTest", [3] = "PrivateTest", [6] = "Nowhere"};
    char *end = text + sprintf(text, "emotion,pixels,Usage\r\n");
    for (int i = 0; i < FER_ROWS; i++) {
        if (i == skip) continue;
        end += sprintf(end, i == 11 ? "6,\"" : "6,");
        for (int k = i == 8; k < FER_PIXELS; k++)
            end += sprintf(end, "%s%d", k > (i == 8) ? " " : "", i == 9 && k == 4 ? 256 : (i * 31 + k) % 256);
        end += sprintf(end, "%s,%s%s", i == 11 ? "\"" : "", usage[i] ? usage[i] : "Training", i == 11 ? "" : "\r\n");
    }
    put_text(p->src, "fer2013.csv", text);
}

// Nine votes, a face that is none, a tie, contempt, and each way to be wrong.
static void make_ferplus(const place *p)
{
    make_fer2013(p, -1);
    put_text(
        p->src, "fer2013new.csv",
        "\xef\xbb\xbfUsage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\r\n"
        "Training,fer0000000.png,5,4,0,0,0,0,0,0,0,0\r\n"
        "Training,,0,0,0,0,0,0,0,0,0,10\r\n"
        "PublicTest,fer0000002.png,0,0,0,0,0,5,0,0,5,0\r\n"
        "PrivateTest,fer0000003.png,0,1,0,0,0,0,0,6,3,0\r\n"
        "Training,fer0000004.png,11,0,0,0,0,0,0,0,0,0\r\n"
        "Training,fer0000005.png,0,0,0\r\n"
        "Nowhere,fer0000006.png,10,0,0,0,0,0,0,0,0,0\r\n"
        "Training,fer0000000.png,0,0,0,10,0,0,0,0,0,0\r\n"
        "Training,fer0000008.png,0,0,0,10,0,0,0,0,0,0\r\n"
        "Training,fer0000009.png,0,0,0,10,0,0,0,0,0,0\r\n"
        "Training,fer0000010.png,x,0,0,10,0,0,0,0,0,0\r\n"
        "Training,fer0000011.png,2,1,0,0,6,1,0,0,0,0");
}

static void check_grey(const data_shard *s, int64_t i, int row)
{
    char bytes[65536];
    size_t n;
    data_coder *c;
    data_image image = {0};
    must(data_coder_open(&c));
    must(data_shard_read(s, i, bytes, sizeof(bytes), &n));
    must(data_image_decode(c, bytes, n, 0, &image));
    cr_assert(image.width == 48 && image.height == 48 && data_shard_index(s)->channels[i] == 1);
    for (int k = 0; k < FER_PIXELS * 3; k++)
        cr_assert(image.rgb[k] == (row * 31 + k / 3) % 256);
    data_image_release(&image);
    data_coder_close(c);
}

Test(import, ferplus)
{
    place p = make_place();
    make_ferplus(&p);
    data_import_cfg cfg = config(&p, "ferplus");
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 4 && count(&r, NULL, "rows") == 12 && count(&r, NULL, "rejected") == 8);
    cr_assert(count(&r, "rejects", "no face") == 1 && count(&r, "rejects", "label out of range") == 1);
    cr_assert(count(&r, "rejects", "wrong number of columns") == 2 && count(&r, "rejects", "not a number") == 2);
    cr_assert(count(&r, "rejects", "in no partition") == 1 && count(&r, "rejects", "duplicate") == 1);
    cr_assert(count(&r, "notes", "faces without an expression that most voters gave") == 1);
    cr_assert(has_line(p.out, "not a number,fer0000009.png,11,pixel 5: '256'"));
    cr_assert(has_line(p.out, "wrong number of columns,fer0000008.png,10,\"2303 pixels, not 2304\""));
    cr_assert(has_line(p.out, "no face,fer2013new.csv,3,"));
    static const struct {
        const char *name, *split;
        int row, expr;
        uint8_t votes[DATA_VOTES];
    } want[] = {{"fer0000000.png", "train", 0, 0, {5, 4}},
                {"fer0000011.png", "train", 11, 1, {2, 1, 0, 0, 6, 1}},
                {"fer0000002.png", "validation", 2, -1, {[5] = 5, [8] = 5}},
                {"fer0000003.png", "test", 3, 7, {[1] = 1, [7] = 6, [8] = 3}}};
    for (int k = 0; k < 4; k++) {
        data_folder *f;
        int64_t i;
        must(data_folder_open(&f, p.out, want[k].split, 0, "image"));
        const data_shard *s = record_of(f, want[k].name, &i);
        const data_index *x = data_shard_index(s);
        cr_assert(x->expr[i] == want[k].expr && x->source_row[i] == (uint32_t)want[k].row + 2);
        cr_assert(x->mask[i] == (want[k].expr < 0 ? 0u : DATA_HAS_EXPR));
        cr_assert(memcmp(x->votes + DATA_VOTES * i, want[k].votes, DATA_VOTES) == 0, "%s", want[k].name);
        check_grey(s, i, want[k].row);
        data_folder_close(f);
    }
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, ferplus_lists_that_do_not_belong_together_are_refused)
{
    place p = make_place();
    data_import_report r;
    data_import_cfg cfg = config(&p, "ferplus");
    make_fer2013(&p, -1);
    cr_assert(data_import(&cfg, &r) == MN_ENOINPUT && strstr(mn_errmsg(), "fer2013new.csv"));
    make_ferplus(&p);
    make_fer2013(&p, 4);
    cr_assert(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "has 11 rows and fer2013new.csv has 12"));
    char path[700];
    size_t size;
    snprintf(path, sizeof(path), "%s/fer2013.csv", p.src);
    make_fer2013(&p, -1);
    char *text = (char *)support_read(path, &size), *first;
    text[size] = 0;
    cr_assert((first = strstr(text, "Training")));
    cr_assert((first = strstr(first + 1, "Training")) && (first = strstr(first, "PublicTest")));
    memcpy(first, "Training", 8);
    memmove(first + 8, first + 10, size - (size_t)(first + 10 - text));
    support_write(path, text, size - 2);
    free(text);
    cr_assert(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "not in the same order"), "%s", mn_errmsg());
    support_remove(p.top);
}

Test(import, pictures_are_reduced_only_where_they_are_larger)
{
    place p = make_place();
    put_picture(p.src, "large.jpg", 96, 48, 1);
    put_picture(p.src, "small.jpg", 24, 16, 2);
    data_import_cfg cfg = config(&p, "folder");
    data_import_report r;
    cfg.size = 32;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, "notes", "pictures encoded anew") == 1);
    data_folder *f;
    must(data_folder_open(&f, p.out, NULL, 0, "image"));
    const data_shard *s = data_folder_shard(f, 0);
    const data_index *x = data_shard_index(s);
    cr_assert(x->width[0] == 32 && x->height[0] == 16 && x->width[1] == 24 && x->height[1] == 16 && x->original);
    check_bytes(p.src, "small.jpg", s, 1);
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(p.top);
}

static int64_t imported(const char *out)
{
    data_folder *f;
    if (data_folder_open(&f, out, NULL, 0, "image") != MN_OK) return -1;
    int64_t n = data_folder_count(f);
    data_folder_close(f);
    return n;
}

Test(import, limit_dry_run_and_repetition)
{
    place p = make_place();
    make_celeba(&p, 0);
    data_import_cfg cfg = config(&p, "celeba");
    data_import_report r;
    cfg.dry_run = 1;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "shards") == 3 && access(p.out, F_OK) != 0); // nothing was written
    data_import_report_free(&r);
    cfg.dry_run = 0;
    must(data_import(&cfg, &r));
    data_import_report_free(&r);
    must(data_import(&cfg, &r)); // again: it is all there
    cr_assert(json_is_true(json_object_get(r.json, "repeated")) && count(&r, NULL, "records") == 5);
    data_import_report_free(&r);
    cfg.size = 16; // another import must not overwrite it
    cr_assert(data_import(&cfg, &r) == MN_ECREATE);
    cr_assert(imported(p.out) == 5);
    snprintf(p.out, sizeof(p.out), "%s/less", p.top);
    cfg.size = 0;
    cfg.limit = 3;
    must(data_import(&cfg, &r));
    cr_assert(imported(p.out) == 3);
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, shards_inside_of_the_source_are_no_source)
{
    place p = make_place();
    put_picture(p.src, "a.jpg", 20, 20, 1);
    snprintf(p.out, sizeof(p.out), "%s/src/shards", p.top);
    data_import_cfg cfg = config(&p, "folder");
    data_import_report r;
    for (int k = 0; k < 2; k++) {
        must(data_import(&cfg, &r));
        cr_assert(count(&r, NULL, "rejected") == 0 && json_is_true(json_object_get(r.json, "repeated")) == (k == 1));
        data_import_report_free(&r);
    }
    support_remove(p.top);
}

// Shards of one import beside the pictures of the next: the kinds that take every folder for a person, every JSON for a list.
Test(import, shards_of_another_import_are_no_source)
{
    place p = make_place();
    char first[700];
    data_import_report r;
    make_dir(p.src, "anna");
    make_dir(p.src, "zoe");
    put_picture(p.src, "anna/1.jpg", 20, 20, 1);
    put_picture(p.src, "zoe/1.jpg", 20, 20, 2);
    snprintf(first, sizeof(first), "%s/src/my shards", p.top); // among the people, and before one of them
    make_dir(p.src, "my shards");
    for (int k = 0; k < 2; k++) {
        data_import_cfg cfg = config(&p, "casia-webface");
        if (k == 0) cfg.out = first;
        must(data_import(&cfg, &r));
        cr_assert(count(&r, NULL, "records") == 2 && count(&r, NULL, "rejected") == 0 && !count(&r, "notes", "hidden"));
        data_import_report_free(&r);
        data_folder *f;
        must(data_folder_open(&f, cfg.out, NULL, 0, "image"));
        cr_assert_eq(data_shard_index(data_folder_shard(f, 0))->identity[1], 1); // zoe
        data_folder_close(f);
    }
    data_import_cfg cfg = config(&p, "folder");
    snprintf(p.out, sizeof(p.out), "%s/all", p.top);
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 2 && count(&r, NULL, "rejected") == 0);
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, the_source_is_no_place_for_shards)
{
    place p = make_place();
    char again[700];
    data_import_report r;
    put_picture(p.src, "a.jpg", 20, 20, 1);
    snprintf(again, sizeof(again), "%s/../src/", p.src);
    data_import_cfg cfg = config(&p, "folder");
    cfg.out = again;
    for (cfg.dry_run = 0; cfg.dry_run < 2; cfg.dry_run++) {
        cr_assert(data_import(&cfg, &r) == MN_EUSAGE && strstr(mn_errmsg(), "--out is the same folder as --src"));
        data_import_report_free(&r);
    }
    support_remove(p.top);
}

Test(import, too_many_rejects_fail_and_a_larger_limit_goes_on)
{
    place p = make_place();
    put_picture(p.src, "a.jpg", 20, 20, 1);
    put_text(p.src, "b.jpg", "text");
    data_import_cfg cfg = config(&p, "folder");
    data_import_report r;
    cfg.reject_most = 0;
    cr_assert(data_import(&cfg, &r) == MN_EDATA && strstr(mn_errmsg(), "50.0 %"));
    cr_assert(imported(p.out) == -1 && has_line(p.out, "not a JPEG or PNG,b.jpg"));
    data_import_report_free(&r);
    cfg.reject_most = 0.5;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "shards_kept") == 1 && imported(p.out) == 1);
    data_import_report_free(&r);
    support_remove(p.top);
}

Test(import, missing_parts_are_named)
{
    place p = make_place();
    data_import_report r;
    for (const data_kind *k = data_import_kinds; k->name; k++) {
        data_import_cfg cfg = config(&p, k->name);
        cr_assert(data_import(&cfg, &r) == MN_ENOINPUT, "%s", k->name);
        cr_assert(access(p.out, F_OK) != 0);
    }
    put_text(p.src, "img.zip", "PK"); // it is there, but packed
    data_import_cfg packed = config(&p, "celeba");
    cr_assert(data_import(&packed, &r) == MN_ENOINPUT &&
              strstr(mn_errmsg(), "img_align_celeba (of pictures) in it; unpack "));
    cr_assert(strstr(mn_errmsg(), "/img.zip first"));
    data_import_cfg cfg = config(&p, "celebb");
    cr_assert(data_import(&cfg, &r) == MN_EUSAGE && strstr(mn_errmsg(), "celeba"));
    support_remove(p.top);
}

Test(import, a_killed_import_goes_on_and_two_at_once_do_not)
{
    place p = make_place();
    make_celeba(&p, 0);
    data_import_cfg cfg = config(&p, "celeba");
    data_import_report r;
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) { // the second of three shards never gets its name
        setenv("MIEN_FAULT", "shard.rename:2=kill", 1);
        mn_fault_init(0);
        _exit(data_import(&cfg, &r) == MN_OK);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    cr_assert(imported(p.out) == -1);
    child = fork();
    cr_assert(child >= 0);
    if (child == 0) { // holds the folder, for ever
        setenv("MIEN_FAULT", "import.shard:1=stall", 1);
        mn_fault_init(0);
        _exit(data_import(&cfg, &r) == MN_OK);
    }
    char lock[700];
    snprintf(lock, sizeof(lock), "%s/.import.lock", p.out);
    for (char text[64] = ""; !strstr(text, "process");) { // until it holds it
        int fd = open(lock, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = 0;
        char want[64];
        snprintf(want, sizeof(want), "process %ld ", (long)child);
        if (!strstr(text, want)) text[0] = 0;
        if (fd >= 0) close(fd);
        sched_yield();
    }
    cr_assert(data_import(&cfg, &r) == MN_ECREATE && strstr(mn_errmsg(), "another import"));
    kill(child, SIGKILL);
    cr_assert(waitpid(child, &status, 0) == child);
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "shards_kept") == 1 && imported(p.out) == 5);
    data_import_report_free(&r);
    support_remove(p.top);
}

static uint64_t digest_of(const char *out)
{
    data_folder *f;
    must(data_folder_open(&f, out, NULL, 0, "image"));
    uint64_t d = data_folder_digest(f);
    data_folder_close(f);
    return d;
}

Test(import, ranks_make_the_same_dataset)
{
    place p = make_place();
    make_celeba(&p, 0);
    data_import_cfg cfg = config(&p, "celeba");
    data_import_report r;
    must(data_import(&cfg, &r));
    uint64_t alone = digest_of(p.out);
    data_import_report_free(&r);
    snprintf(p.out, sizeof(p.out), "%s/ranks", p.top);
    cfg.out = p.out;
    support_import_ranks(&cfg, 3, 5);
    cr_assert(digest_of(p.out) == alone && has_line(p.out, "missing file,000003.jpg,3,"));
    support_remove(p.top);
}
