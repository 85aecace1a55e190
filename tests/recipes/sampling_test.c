// sampling.*: who is drawn how often.
#include "recipes/sampling.h"

#include "data/frames.h"
#include "data/mix.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

// Two datasets of one shard: videos of these lengths, all frames of a video have this expression (-1: no label).
enum { VIDEOS = 3 };
static const int frames[2][VIDEOS] = {{60, 30, 10}, {50, 25, 25}}, expression[2][VIDEOS] = {{0, 0, 1}, {1, 1, -1}};
static char folder[2][64];

static void write_set(int k)
{
    char name[64], file[128];
    data_writer_cfg cfg = {.dir = folder[k],
                           .dataset = "made",
                           .split = "train",
                           .stream = "image",
                           .importer = "test",
                           .options_json = "{}",
                           .count = 1,
                           .has_expr = 1,
                           .has_video = 1};
    data_writer *w;
    must(data_writer_open(&w, &cfg));
    for (int v = 0; v < VIDEOS; v++) {
        int32_t row;
        snprintf(name, sizeof name, "video%d", v);
        must(data_writer_video(w, &(data_video){.name = name, .source = name}, &row));
        for (int i = 0; i < frames[k][v]; i++) {
            int e = expression[k][v];
            must(data_writer_add(w, &(data_record){.payload = "x",
                                                   .size = 1,
                                                   .name = name,
                                                   .expr = (int8_t)e,
                                                   .video = row,
                                                   .mask = e < 0 ? 0 : DATA_HAS_EXPR,
                                                   .frame = i + 1}));
        }
    }
    data_writer_name(&cfg, file, sizeof file);
    must(data_writer_close(w));
    const char *files[] = {file};
    must(data_folder_finish(&(data_manifest_cfg){
        .dir = folder[k], .dataset = "made", .importer = "test", .options_json = "{}", .files = files, .n_files = 1}));
}

static data_set *open_set(int k, int columns)
{
    data_set *s;
    data_frames_cfg cfg = {.select = {.dir = folder[k], .split = "train", .task = DATA_TASKS, .columns = columns},
                           .augment = {.size = 8}};
    must(data_frames_open(&s, &cfg));
    return s;
}

static const data_selection *selection(const mien_job *j, const data_set *set)
{
    (void)j;
    return data_frames_selection(set);
}

// Shares of the videos of both datasets among the draws.
static void shares(int by, double power, double share[2][VIDEOS])
{
    static const mien_task task = {.name = "made", .selection = selection};
    static const mien_part data[] = {{"a", "train", 1}, {"b", "train", 3}};
    mien_job j = {.task = &task,
                  .common = {.data = {2, data}, .sampling_by = by, .sampling_power = power, .sampling_samples = 77}};
    dist_train_cfg cfg = {0};
    data_set *mix, *sets[2];
    for (int k = 0; k < 2; k++) {
        snprintf(folder[k], sizeof folder[k], "/tmp/sampling-test-%d-%d", (int)getpid(), k);
        must(mn_dir_make(folder[k]));
        write_set(k);
        sets[k] = open_set(k, mien_sampling_columns(&j));
    }
    must(data_mix_open(&mix, sets, (double[]){1, 3}, 2));
    must(mien_sampling_open(&j, mix, &cfg));
    cr_assert_eq(cfg.epoch_samples, 77);
    double total = 0;
    const double *w = cfg.weights;
    for (int k = 0; k < 2; k++)
        for (int v = 0; v < VIDEOS; v++) {
            share[k][v] = 0;
            for (int i = 0; i < frames[k][v]; i++)
                share[k][v] += *w++;
            total += share[k][v];
        }
    for (int k = 0; k < 2; k++)
        for (int v = 0; v < VIDEOS; v++)
            share[k][v] /= total;
    free((void *)(uintptr_t)cfg.weights);
    data_set_close(mix);
    for (int k = 0; k < 2; k++)
        must(mn_dir_remove(folder[k]));
}

Test(sampling, expressions_are_balanced_over_all_datasets_together)
{
    double s[2][VIDEOS];
    shares(MIEN_SAMPLING_EXPRESSION, 1, s);
    cr_assert_float_eq(s[0][0] + s[0][1], 1.0 / 3, 1e-9);
    cr_assert_float_eq(s[0][2] + s[1][0] + s[1][1], 1.0 / 3, 1e-9);
    cr_assert_float_eq(s[1][2], 1.0 / 3, 1e-9);           // those without a label are a group
    cr_assert_float_eq(s[1][0] / s[0][2], 3 * 5.0, 1e-9); // inside of one as the weights of data say
    shares(MIEN_SAMPLING_EXPRESSION, 0, s);
    cr_assert_float_eq(s[0][0] / s[1][0], 60 / (3 * 50.0), 1e-9);
}

Test(sampling, videos_are_shown_equally_or_half_so)
{
    double s[2][VIDEOS];
    shares(MIEN_SAMPLING_VIDEO, 1, s);
    for (int v = 0; v < VIDEOS; v++) {
        cr_assert_float_eq(s[0][v], 1.0 / 12, 1e-9);
        cr_assert_float_eq(s[1][v], 3.0 / 12, 1e-9);
    }
    shares(MIEN_SAMPLING_VIDEO, 0.5, s);
    cr_assert_float_eq(s[0][0] / s[0][2], sqrt(6), 1e-9);
}
