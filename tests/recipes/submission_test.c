// Submissions: which row stands for a frame, what is written for it, and which sample files are refused.
#include "recipes/submission.h"

#include "nn/base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/mien-submission-XXXXXX";

static void make_folder(void)
{
    cr_assert(mkdtemp(folder));
}

static void remove_folder(void)
{
    cr_assert_eq(mn_dir_remove(folder), MN_OK, "%s", mn_errmsg());
}

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void expect_text(const char *name, const char *want)
{
    char *text;
    size_t size;
    cr_assert_eq(mn_file_read(in_folder(name), 1 << 20, &text, &size), MN_OK, "%s", mn_errmsg());
    cr_expect_str_eq(text, want);
    free(text);
}

static mien_clip clips[] = {{.name = "a", .frames = 6}, {.name = "a_left", .frames = 2}, {.name = "b", .frames = 1}};

// Frames 2 and 5 of clip a, frame 1 of b, nothing of a_left; given out of order.
static mien_predictions three(int task, mien_row rows[3])
{
    static const int32_t at[3][2] = {{2, 1}, {0, 5}, {0, 2}};
    for (int i = 0; i < 3; i++) {
        rows[i] = (mien_row){.video = at[i][0], .frame = at[i][1], .t_us = 1000 * at[i][1]};
        for (int k = 0; k < DATA_MAX_TARGETS; k++)
            rows[i].target[k] = NAN;
    }
    mien_predictions p = {.task = task, .n_clips = 3, .clip = clips, .n_rows = 3, .row = rows};
    mien_predictions_sort(&p);
    return p;
}

TestSuite(submission, .init = make_folder, .fini = remove_folder);

Test(submission, nearest_frame)
{
    static const int32_t want[] = {2, 2, 2, 5, 5, 5, 5}; // of frames 1 to 7; 3 is as near to 2 as 4 to 5
    mien_row rows[3];
    mien_predictions p = three(DATA_VA, rows);
    for (int64_t f = 1; f <= 7; f++)
        cr_expect_eq(mien_row_for(&p, &p.clip[0], f)->frame, want[f - 1], "frame %d", (int)f);
    rows[1].frame = 4; // now frame 3 lies in the middle: the earlier one
    cr_expect_eq(mien_row_for(&p, &p.clip[0], 3)->frame, 2);
    cr_expect_null(mien_row_for(&p, &p.clip[1], 1));
    cr_expect_eq(mien_clips_empty(&p), 1);
    cr_expect_eq(mien_clip_find(&p, "a_left/00001", 6), 1);
    cr_expect_eq(mien_clip_find(&p, "a_left", 1), 0);
    cr_expect_eq(mien_clip_find(&p, "a_", 2), -1);
}

Test(submission, one_file_per_video)
{
    mien_row rows[3];
    mien_predictions p = three(DATA_VA, rows);
    rows[0].prediction[0] = 1.5F;
    rows[0].prediction[1] = -0.25F;
    rows[1].prediction[0] = -3;
    rows[2].prediction[1] = 1e-7F;
    cr_assert_eq(mien_write_videos(&p, folder), MN_OK, "%s", mn_errmsg());
    expect_text("a.txt", "valence,arousal\n1.000000,-0.250000\n1.000000,-0.250000\n1.000000,-0.250000\n"
                         "-1.000000,0.000000\n-1.000000,0.000000\n-1.000000,0.000000\n");
    expect_text("a_left.txt", "valence,arousal\n0.000000,0.000000\n0.000000,0.000000\n");
    expect_text("b.txt", "valence,arousal\n0.000000,0.000000\n");
}

Test(submission, decisions)
{
    mien_row rows[3];
    mien_predictions p = three(DATA_EXPR, rows);
    rows[0].prediction[3] = rows[0].prediction[6] = 2; // the lowest of equals
    rows[1].prediction[7] = 0.5F;
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        rows[2].prediction[k] = -4;
    cr_assert_eq(mien_write_images(&p, in_folder("expr.txt"), NULL), MN_OK, "%s", mn_errmsg());
    expect_text("expr.txt", "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"
                            "a/00001.jpg,3\na/00002.jpg,3\na/00003.jpg,3\na/00004.jpg,7\na/00005.jpg,7\na/00006.jpg,7\n"
                            "a_left/00001.jpg,0\na_left/00002.jpg,0\nb/00001.jpg,0\n");
    p = three(DATA_AU, rows);
    rows[2].prediction[1] = -1e-6F; // 0 is active, less is not
    cr_assert_eq(mien_write_videos(&p, folder), MN_OK, "%s", mn_errmsg());
    expect_text("b.txt", "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n1,0,1,1,1,1,1,1,1,1,1,1\n");
    expect_text("a_left.txt", "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n0,0,0,0,0,0,0,0,0,0,0,0\n"
                              "0,0,0,0,0,0,0,0,0,0,0,0\n");
}

Test(submission, table_with_truth)
{
    mien_row rows[3];
    mien_predictions p = three(DATA_VA, rows);
    rows[1].target[1] = 0.5F;
    cr_assert_eq(mien_write_csv(&p, in_folder("t.csv")), MN_OK, "%s", mn_errmsg());
    expect_text("t.csv", "video,frame,t_us,valence,arousal,true_valence,true_arousal\na,2,2000,0.000000,0.000000,,\n"
                         "a,5,5000,0.000000,0.000000,,0.500000\nb,1,1000,0.000000,0.000000,,\n");
}

static mn_err with_sample(const mien_predictions *p, const char *text)
{
    char sample[256];
    snprintf(sample, sizeof sample, "%s/sample.txt", folder);
    cr_assert_eq(mn_file_replace(sample, text, strlen(text)), MN_OK);
    return mien_write_images(p, in_folder("out.txt"), sample);
}

Test(submission, sample_order)
{
    static const char want[] = "image_location,valence,arousal\nb/00001.jpg,0.000000,0.000000\n"
                               "a/00007.jpg,0.500000,0.000000\na/00001.jpg,0.000000,0.000000\n";
    static const char *const samples[] = {
        "image_location,valence,arousal\nb/00001.jpg,\na/00007.jpg,\na/00001.jpg,\n",
        "image_location,\r\nb/00001.jpg,0,0\r\na/00007.jpg,0,0\r\na/00001.jpg,0,0",
        "\xEF\xBB\xBFimage_location,Valence,Arousal,\nb/00001.jpg\na/00007.jpg\na/00001.jpg\n",
    };
    mien_row rows[3];
    mien_predictions p = three(DATA_VA, rows);
    rows[1].prediction[0] = 0.5F;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        cr_assert_eq(with_sample(&p, samples[i]), MN_OK, "%s", mn_errmsg());
        expect_text("out.txt", want);
    }
}

Test(submission, sample_refused)
{
#define HEADER "image_location,valence,arousal\n"
    static const struct {
        const char *text, *says;
    } rows_of[] = {
        {HEADER "a/00001.jpg,\nc/00001.jpg,\n", "sample.txt:3: video 'c' is not in"},
        {HEADER "a/00008.jpg,\n", "sample.txt:2: video 'a' has frames 1 to 6, not 8"},
        {HEADER "a/00000.jpg,\n", "not 0"},
        {HEADER "a/00001.jpg,\na/00002.jpg,\na/00001.jpg,\n", "sample.txt:4: 'a/00001.jpg' is listed a second time"},
        {HEADER "a/00001.png,\n", "sample.txt:2: 'a/00001.png' is not a location"},
        {HEADER "a00001.jpg,\n", "is not a location"},
        {HEADER "a/.jpg,\n", "is not a location"},
        {HEADER "\na/00001.jpg,\n", "sample.txt:2: '' is not a location"},
        {HEADER, "lists no frame"},
        {"", "lists no frame"},
        {"a/00001.jpg,\n", "the header does not begin with image_location"},
        {"image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\na/00001.jpg,\n", "another task"},
    };
    mien_row rows[3];
    mien_predictions p = three(DATA_VA, rows);
    cr_assert_eq(mn_file_replace(in_folder("out.txt"), "before", 6), MN_OK);
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++) {
        cr_expect_eq(with_sample(&p, rows_of[i].text), MN_EDATA, "row %zu", i);
        cr_expect(strstr(mn_errmsg(), rows_of[i].says), "row %zu says: %s", i, mn_errmsg());
        expect_text("out.txt", "before");
    }
}
