// The importer of Aff-Wild2, on corpora made by code: label files of every kind, folder names of every edition, suffixes,
// gaps, repeated and misnamed crops.
#include "data/image.h"
#include "data/verify.h"
#include "data/import.h"
#include "data/import/affwild2.h"
#include "data/shard.h"
#include "nn/base/file.h"
#include "nn/base/log.h"
#include "import_support.h"
#include "shard_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

// Label files

typedef struct complaints {
    int n;
    int64_t line[16];
    data__reason reason[16];
} complaints;

static void complain(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    complaints *c = ctx;
    (void)detail;
    cr_assert(c->n < 16);
    c->line[c->n] = line;
    c->reason[c->n++] = reason;
}

static data__aw_labels read_text(const char *text, int task, complaints *c)
{
    data__aw_labels l;
    memset(c, 0, sizeof(*c));
    data__aw_read(text, strlen(text), task, complain, c, &l);
    return l;
}

static int same(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

Test(labels, valence_and_arousal)
{
    complaints c;
    data__aw_labels l = read_text("\xef\xbb\xbfvalence,arousal\r\n0.602, 0.389\r\n-5,0.5\r\n-5,-5\r\n2.0,1\r\n\r\n"
                                  "nan,0.1\r\n1e-1\r\n-1,1\r\n\r\n\r\n",
                                  DATA_VA, &c);
    static const float want[][2] = {{0.602f, 0.389f}, {NAN, 0.5f}, {NAN, NAN}, {NAN, 1},
                                    {NAN, NAN},       {NAN, 0.1f}, {NAN, NAN}, {-1, 1}};
    cr_assert(l.n == 8 && l.invalid == 3); // blank lines at the end are no rows, the one in the middle is
    for (int i = 0; i < 8; i++)
        cr_assert(same(l.va[2 * i], want[i][0]) && same(l.va[2 * i + 1], want[i][1]), "row %d", i);
    cr_assert(c.n == 4 && c.line[0] == 5 && c.reason[0] == DATA__REJECT_RANGE && c.line[1] == 6 &&
              c.reason[1] == DATA__REJECT_COLUMNS && c.line[2] == 7 && c.reason[2] == DATA__REJECT_NUMBER &&
              c.line[3] == 8);
    data__aw_free(&l);
}

Test(labels, expressions)
{
    complaints c;
    data__aw_labels l = read_text(
        "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n7\n-1\n3.0\n8\n2.5\nx", DATA_EXPR, &c);
    static const int8_t want[] = {0, 7, -1, 3, -1, -1, -1};
    cr_assert(l.n == 7 && l.invalid == 1 && memcmp(l.expr, want, 7) == 0);
    cr_assert(c.n == 3 && c.line[0] == 6 && c.reason[1] == DATA__REJECT_RANGE && c.reason[2] == DATA__REJECT_NUMBER);
    data__aw_free(&l);
    l = read_text("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n6\n", DATA_EXPR, &c); // ABAW1, ABAW2
    cr_assert(l.n == 1 && l.expr[0] == 6 && c.n == 0);
    data__aw_free(&l);
    l = read_text("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n7\n", DATA_EXPR, &c); // they have no eighth
    cr_assert(l.n == 1 && l.expr[0] == -1 && c.n == 1 && c.reason[0] == DATA__REJECT_RANGE);
    data__aw_free(&l);
    l = read_text("Anger,Neutral,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n", DATA_EXPR, &c);
    cr_assert(l.n == 0 && c.n == 1 && c.reason[0] == DATA__REJECT_LIST); // another order is another meaning
    data__aw_free(&l);
}

Test(labels, action_units)
{
    complaints c;
    data__aw_labels l = read_text("AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n"
                                  "0,1,0,1,0,1,0,1,0,1,0,1\n1.0,-1, 0,0,0,0,0,0,0,0,0,2\n0,0\n",
                                  DATA_AU, &c);
    cr_assert(l.n == 3 && l.au[1] == 1 && l.au[11] == 1 && l.au[12] == 1 && l.au[13] == -1 && l.au[23] == -1 &&
              l.au[22] == 0 && l.au[24] == -1);
    cr_assert(c.n == 2 && c.line[0] == 3 && c.reason[0] == DATA__REJECT_RANGE && c.line[1] == 4);
    data__aw_free(&l);
    l = read_text("AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25\n1,0,0,0,1,0,1,1\n", DATA_AU, &c); // ABAW1: we have no AU20
    static const int8_t want[] = {1, 0, 0, 0, -1, -1, 1, 0, -1, -1, 1, -1};
    cr_assert(l.n == 1 && memcmp(l.au, want, 12) == 0);
    data__aw_free(&l);
}

Test(labels, frame_numbers)
{
    cr_assert(data__aw_frame("00001.jpg") == 1 && data__aw_frame("47435.JPG") == 47435 && data__aw_frame("7.png") == 7);
    cr_assert(data__aw_frame("00000.jpg") == 0 && data__aw_frame("a1.jpg") == 0 && data__aw_frame("1.txt") == 0);
    cr_assert(data__aw_frame("999999.jpg") == 999999 && data__aw_frame("20240101.jpg") == 0); // a date
    cr_assert(data__aw_frame("1a.jpg") == 0 && data__aw_frame("99999999999.jpg") == 0);
}

// A corpus

static void put_text(const char *dir, const char *name, const char *text)
{
    char path[900];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    must(mn_dir_make(path));
    *slash = '/';
    support_write(path, text, strlen(text));
}

static void put_crop(const char *dir, const char *name, int shade)
{
    uint8_t rgb[16 * 16 * 3];
    char path[900];
    const uint8_t *bytes;
    size_t size;
    data_coder *c;
    for (int i = 0; i < 768; i++)
        rgb[i] = (uint8_t)(shade + i % 7);
    must(data_coder_open(&c));
    must(data_jpeg_encode(c, rgb, 16, 16, 90, 0, &bytes, &size));
    put_text(dir, name, ""); // makes the folder
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    support_write(path, bytes, size);
    data_coder_close(c);
}

static const char expr_head[] = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n";

// edition 0: ABAW6 names; 1: ABAW3 names, unpacked one level deeper.
static void make_corpus(const char *src, int edition)
{
    char name[300], text[600];
    const char *top = edition ? "3rd ABAW Annotations/3rd ABAW Annotations" : "6th_ABAW_Annotations";
    const char *expr = edition ? "EXPR_Classification_Challenge" : "EXPR_Recognition_Challenge";
    const char *crops = edition ? "cropped_aligned/cropped_aligned" : "cropped_aligned";
    static const int frames[] = {2, 3, 5}; // first frame is not 1, 4 is a gap
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s/video2_left/%05d.jpg", crops, frames[i]);
        put_crop(src, name, 10 * i);
    }
    snprintf(name, sizeof(name), "%s/video2_left/.DS_Store", crops);
    put_text(src, name, "x");
    snprintf(name, sizeof(name), "%s/video2_left/thumb.jpg", crops);
    put_crop(src, name, 1);
    snprintf(name, sizeof(name), "%s/video2_left/5.jpeg", crops);
    put_crop(src, name, 2);
    snprintf(name, sizeof(name), "%s/video2/00001.jpg", crops); // an unsuffixed folder beside a suffixed one
    put_crop(src, name, 3);
    put_crop(src, "cropped_aligned_new_50_vids/t1/00002.jpg", 4);
    put_crop(src, "cropped/video2/00001.jpg", 5); // unaligned: there is a better one
    put_crop(src, "cropped/u_right/00001.jpg", 6);
    snprintf(name, sizeof(name), "%s/VA_Estimation_Challenge/Train_Set/video2_left.txt", top);
    put_text(src, name, "valence,arousal\n0.1,0.2\n-5,-5\n0.3,-0.4\n0.5,0.6\n0.7,0.8\n0.9,1\n");
    snprintf(name, sizeof(name), "%s/%s/Validation_Set/video2_left.txt", top, expr);
    snprintf(text, sizeof(text), "%s0\n1\n-1\n9\n4\n", expr_head);
    put_text(src, name, text);
    snprintf(name, sizeof(name), "%s/AU_Detection_Challenge/Train_Set/video2.txt", top);
    put_text(src, name, "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n1,0,0,0,0,0,0,0,0,0,0,-1\n");
    snprintf(name, sizeof(name), "%s/AU_Detection_Challenge/Train_Set/.DS_Store", top);
    put_text(src, name, "x");
    put_text(src,
             edition ? "testset/VA_test_set_release.txt"
                     : "names_of_videos_in_each_test_set/Valence_Arousal_Estimation_Challenge_test_set_release.txt",
             "t1\r\nnot_here\r\n");
}

static int64_t count(const data_import_report *r, const char *table, const char *key)
{
    return json_integer_value(json_object_get(table ? json_object_get(r->json, table) : r->json, key));
}

static const data_video *video_named(const data_index *x, const char *name)
{
    for (int i = 0; i < x->n_videos; i++)
        if (strcmp(x->videos[i].name, name) == 0) return &x->videos[i];
    cr_assert_fail("no video %s", name);
    return NULL;
}

static void check_left(const data_shard *s)
{
    const data_index *x = data_shard_index(s);
    const data_video *v = video_named(x, "video2_left");
    static const int size[] = {0, 1, 1, 0, 1, 0}, expr[] = {0, 1, -1, -1, 4, -1};
    static const float valence[] = {0.1f, NAN, 0.3f, 0.5f, 0.7f, 0.9f};
    cr_assert_str_eq(v->source, "video2");
    cr_assert(v->subject == 1 && v->n_records == 6 && v->frames == 6 && v->fps_num == 30 && v->fps_den == 1);
    cr_assert(v->split[DATA_VA] == DATA_SPLIT_TRAIN && v->split[DATA_EXPR] == DATA_SPLIT_VALIDATION);
    cr_assert(v->split[DATA_AU] == DATA_SPLIT_NONE && v->labels[DATA_VA] == 6 && v->labels[DATA_EXPR] == 5);
    for (int64_t k = 0; k < 6; k++) {
        int64_t i = v->first_record + k;
        char name[64];
        snprintf(name, sizeof(name), "video2_left/%05d.jpg", (int)k + 1);
        cr_assert_str_eq(data_shard_name(s, i), name);
        cr_assert((data_shard_size(s, i) > 0) == size[k] && x->frame[i] == k + 1 && x->t_us[i] == k * 1000000 / 30);
        cr_assert(x->expr[i] == expr[k] && same(x->va[2 * i], valence[k]) && x->au[12 * i] == -1);
        cr_assert(((x->mask[i] & DATA_HAS_VALENCE) != 0) == !isnan(valence[k]));
    }
}

Test(affwild2, both_editions)
{
    mn_log_level(MN_WARN);
    for (int edition = 0; edition < 2; edition++) {
        char *top = support_folder(), src[600], out[600];
        snprintf(src, sizeof(src), "%s/src", top);
        snprintf(out, sizeof(out), "%s/out", top);
        make_corpus(src, edition);
        data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = out, .reject_most = 0.9};
        data_import_report r;
        must(data_import(&cfg, &r));
        cr_assert(count(&r, NULL, "records") == 6 + 1 + 2 + 1 && count(&r, NULL, "pictures") == 6);
        cr_assert(count(&r, NULL, "rows") == 6 + 5 + 1);
        cr_assert(count(&r, "rejects", "label out of range") == 1 && count(&r, "rejects", "duplicate") == 1);
        cr_assert(count(&r, "rejects", "name is no frame number") == 1);
        cr_assert(count(&r, "notes", "folders of crops of videos that have better ones") == 1);
        cr_assert(count(&r, "notes", "names in lists of which nothing is here") == 1);
        cr_assert(count(&r, "notes", "hidden files left out") == 2);
        data_folder *f;
        must(data_folder_open(&f, out, NULL, 0, "image"));
        const data_shard *s = data_folder_shard(f, 0);
        const data_index *x = data_shard_index(s);
        check_left(s);
        const data_video *v = video_named(x, "video2");
        cr_assert(v->subject == 0 && v->n_records == 1 && x->au[12 * v->first_record] == 1);
        cr_assert(x->mask[v->first_record] == (0x7ffu << 16));
        v = video_named(x, "t1");
        cr_assert(v->split[DATA_VA] == DATA_SPLIT_TEST && v->n_records == 2 &&
                  data_shard_size(s, v->first_record) == 0);
        cr_assert(video_named(x, "u_right")->subject == 2);
        data_folder_close(f);
        must(data_folder_open(&f, out, "test", DATA_VA, "image"));
        cr_assert(data_folder_count(f) == 2);
        data_folder_close(f);
        data_import_report_free(&r);
        support_remove(top);
    }
}

// A video whose crops were unpacked in two places, which share a frame; unaligned ones of it do not fill what is missing.
Test(affwild2, crops_of_a_video_in_two_roots)
{
    mn_log_level(MN_WARN);
    char *top = support_folder(), src[600], out[600], name[700];
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(out, sizeof(out), "%s/out", top);
    static const char *const root[] = {"batch1/cropped_aligned", "batch2/cropped_aligned/cropped_aligned"};
    for (int k = 0; k < 2; k++)
        for (int frame = 1 + 2 * k; frame <= 3 + 2 * k; frame++) {
            snprintf(name, sizeof(name), "%s/v/%05d.jpg", root[k], frame);
            put_crop(src, name, 100 * k + frame);
        }
    put_crop(src, "batch1/cropped/v/00007.jpg", 9);
    put_crop(src, "batch2/cropped_aligned/cropped_aligned/w/00001.jpg", 50);
    data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = out};
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 6 && count(&r, NULL, "pictures") == 6 && count(&r, NULL, "rejected") == 0);
    cr_assert_eq(count(&r, "notes", "pictures that another folder of crops has too: the first is taken"), 1);
    cr_assert_eq(count(&r, "notes", "folders of crops of videos that have better ones"), 1);
    data_folder *f;
    must(data_folder_open(&f, out, NULL, 0, "image"));
    const data_shard *s = data_folder_shard(f, 0);
    const data_video *v = video_named(data_shard_index(s), "v");
    for (int frame = 1; frame <= 5; frame++) {
        int64_t i = v->first_record + frame - 1;
        size_t size;
        snprintf(name, sizeof(name), "%s/%s/v/%05d.jpg", src, root[frame > 3], frame);
        void *file = support_read(name, &size), *stored = malloc(size);
        cr_assert_eq(data_shard_size(s, i), size, "frame %d", frame);
        must(data_shard_read(s, i, stored, size, &size));
        cr_assert_arr_eq(stored, file, size, "frame %d", frame);
        free(stored);
        free(file);
    }
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(top);
}

static uint64_t digest_of(const char *out)
{
    data_folder *f;
    must(data_folder_open(&f, out, NULL, 0, "image"));
    uint64_t d = data_folder_digest(f);
    data_folder_close(f);
    return d;
}

Test(affwild2, ranks_make_the_same_dataset)
{
    mn_log_level(MN_ERROR);
    char *top = support_folder(), src[600], one[600], several[600];
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(one, sizeof(one), "%s/one", top);
    snprintf(several, sizeof(several), "%s/several", top);
    make_corpus(src, 0);
    data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = one, .reject_most = 0.9};
    data_import_report r;
    must(data_import(&cfg, &r));
    int64_t records = count(&r, NULL, "records");
    data_import_report_free(&r);
    cfg.out = several;
    support_import_ranks(&cfg, 4, records); // more ranks than shards
    cr_assert(digest_of(one) == digest_of(several));
    support_remove(top);
}

Test(affwild2, limit_counts_frames)
{
    mn_log_level(MN_WARN);
    char *top = support_folder(), src[600], out[600];
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(out, sizeof(out), "%s/out", top);
    make_corpus(src, 0);
    data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = out, .reject_most = 0.9, .limit = 4};
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, NULL, "records") == 4);
    data_import_report_free(&r);
    support_remove(top);
}

// The frame of a rejected crop keeps its labels and is stored without a picture: verify finds nothing.
Test(affwild2, damaged_crops_are_not_stored)
{
    mn_log_level(MN_WARN);
    char *top = support_folder(), src[600], out[600], whole[900];
    char *bytes;
    size_t size;
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(out, sizeof(out), "%s/out", top);
    make_corpus(src, 0);
    snprintf(whole, sizeof(whole), "%s/cropped_aligned/video2_left/00003.jpg", src);
    must(mn_file_read(whole, 1 << 20, &bytes, &size));
    support_write(whole, bytes, size - 8); // cut off in the picture
    free(bytes);
    put_text(src, "cropped_aligned/video2_left/00005.jpg", "no picture");
    data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = out, .reject_most = 0.9};
    data_import_report r;
    must(data_import(&cfg, &r));
    cr_assert(count(&r, "rejects", "damaged or cut off") == 1 && count(&r, "rejects", "not a JPEG or PNG") == 1);
    data_import_report_free(&r);
    data_folder *f;
    must(data_folder_open(&f, out, NULL, 0, "image"));
    const data_shard *s = data_folder_shard(f, 0);
    const data_index *x = data_shard_index(s);
    const data_video *v = video_named(x, "video2_left");
    for (int64_t k = 0; k < 6; k++) {
        int64_t i = v->first_record + k;
        cr_assert((data_shard_size(s, i) > 0) == (k == 1), "frame %d", (int)k + 1);
        if (k != 1) cr_assert(x->codec[i] == DATA_CODEC_NONE && x->width[i] == 0 && x->channels[i] == 0);
    }
    cr_assert(same(x->va[2 * (v->first_record + 2)], 0.3f));
    data_folder_close(f);
    support_remove(top);
}

// Media files

enum { W = 32, H = 32 };

static void put_media(const char *src, const char *name, int64_t frames, const int64_t *t_us, int64_t samples, int fps)
{
    static int16_t pcm[40000];
    static uint8_t rgb[W * H * 3];
    char path[900];
    data_media_writer *w;
    put_text(src, name, "");
    snprintf(path, sizeof(path), "%s/%s", src, name);
    for (int64_t i = 0; i < samples; i++)
        pcm[i] = (int16_t)(8000 * sin(0.2 * (double)i));
    must(data_media_create(&w, &(data_media_spec){.path = path,
                                                  .width = W,
                                                  .height = H,
                                                  .fps_num = fps,
                                                  .fps_den = 1,
                                                  .vfr = t_us != NULL,
                                                  .frames = frames,
                                                  .pcm = pcm,
                                                  .samples = samples}));
    for (int64_t i = 0; i < frames; i++) {
        memset(rgb, (int)(i * 20), sizeof(rgb));
        must(data_media_frame(w, t_us ? t_us[i] : i * 1000000 / fps, rgb));
    }
    must(data_media_finish(w));
}

static const data_shard *open_stream(data_folder **f, const char *out, const char *stream)
{
    must(data_folder_open(f, out, NULL, 0, stream));
    cr_assert(data_folder_shards(*f) == 1);
    return data_folder_shard(*f, 0);
}

// Frames and sounds are counted apart, and alike: by the import, by verify and by the dataset itself.
static void check_counts(const char *out, const json_t *report)
{
    data_folder *frames, *sounds;
    json_t *checked;
    must(data_folder_open(&frames, out, NULL, 0, "image"));
    must(data_folder_open(&sounds, out, NULL, 0, "audio"));
    must(data_verify(&(data_verify_cfg){.path = out}, &checked));
    cr_assert(data_folder_count(frames) > 0 && data_folder_count(sounds) == 2);
    const json_t *both[] = {report, checked};
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(json_integer_value(json_object_get(both[k], "records")), data_folder_count(frames), "%d", k);
        cr_assert_eq(json_integer_value(json_object_get(both[k], "sounds")), data_folder_count(sounds), "%d", k);
    }
    json_decref(checked);
    data_folder_close(frames);
    data_folder_close(sounds);
}

Test(affwild2, times_and_sound_come_from_the_media_files)
{
    mn_log_level(MN_WARN);
    char *top = support_folder(), src[600], out[600];
    static const int64_t uneven[] = {0, 40000, 60000, 150000, 200000};
    snprintf(src, sizeof(src), "%s/src", top);
    snprintf(out, sizeof(out), "%s/out", top);
    make_corpus(src, 0);
    put_media(src, "batch1/video2.mp4", 5, uneven, 16000, 25); // both people of video2
    put_media(src, "batch2/t1.avi", 10, NULL, 0, 10);          // no sound; longer than its crops
    put_text(src, "batch2/u.mp4", "not a video");
    put_text(src, "batch2/of_nobody.mp4", "");
    data_import_cfg cfg = {.kind = "affwild2", .src = src, .out = out, .reject_most = 0.9};
    data_import_report r;
    must(data_import(&cfg, &r));
    check_counts(out, r.json);
    data_import_report again;
    must(data_import(&cfg, &again)); // from the manifest
    check_counts(out, again.json);
    data_import_report_free(&again);
    cr_assert(count(&r, "rejects", "unusable media file") == 1); // of its pictures and its sound once
    cr_assert(count(&r, "notes", "media files without crops or labels: left out") == 1);
    cr_assert(count(&r, "notes", "label files with one row more or less than their video has frames") == 1); // of VA
    cr_assert(count(&r, "notes", "media files without sound: silence stored") == 1);
    data_folder *f;
    const data_shard *s = open_stream(&f, out, "image");
    const data_index *x = data_shard_index(s);
    const data_video *v = video_named(x, "video2_left");
    cr_assert(v->has_audio && v->decoded == 5 && v->frames == 6 && v->n_records == 6);
    for (int k = 0; k < 5; k++) // the container keeps 100 us
        cr_assert(llabs(x->t_us[v->first_record + k] - uneven[k]) <= 100, "frame %d: %lld", k + 1,
                  (long long)x->t_us[v->first_record + k]);
    int64_t behind = x->t_us[v->first_record + 5] - x->t_us[v->first_record + 4];
    cr_assert(behind > 0); // a label row behind the last picture
    v = video_named(x, "t1");
    cr_assert(v->n_records == 10 && !v->has_audio && x->t_us[v->first_record + 9] == 900000);
    v = video_named(x, "u_right");
    cr_assert(v->n_records == 1 && v->decoded == 0 && v->fps_num == 30);
    data_folder_close(f);
    s = open_stream(&f, out, "audio");
    x = data_shard_index(s);
    cr_assert(x->n == 2 && x->n_videos == 2 && !x->expr);
    v = video_named(x, "video2");
    cr_assert(v->split[DATA_EXPR] == DATA_SPLIT_VALIDATION && v->split[DATA_VA] == DATA_SPLIT_TRAIN);
    cr_assert(x->codec[v->first_record] == DATA_CODEC_PCM16K);
    size_t n = data_shard_size(s, v->first_record) / 2;
    cr_assert(n >= 16000 && n < 16000 + 4096, "%zu samples", n);
    int16_t *pcm = malloc(n * 2);
    int loud = 0;
    must(data_shard_read(s, v->first_record, pcm, n * 2, &n));
    for (size_t i = 0; i < n / 2; i++)
        loud |= pcm[i] > 4000;
    cr_assert(loud);
    free(pcm);
    v = video_named(x, "t1");
    cr_assert(!v->has_audio && data_shard_size(s, v->first_record) == 16000 * 2); // 10 frames at 10 fps of silence
    data_folder_close(f);
    data_import_report_free(&r);
    support_remove(top);
}
