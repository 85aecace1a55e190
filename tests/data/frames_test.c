#include "data/frames.h"

#include "data/image.h"
#include "data/loader.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "shard_support.h"
#include "videos_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

static const made_corpus corpus = {.shards = 3, .videos_each = 3, .frames = 40};

static char *corpus_folder(void)
{
    char *dir = support_folder();
    made_write(dir, &corpus);
    return dir;
}

static int video_number(const data_video *v)
{
    for (int i = 0; i < corpus.shards * corpus.videos_each; i++) {
        char name[32];
        made_name(i, name, sizeof name);
        if (strcmp(name, v->name) == 0) return i;
    }
    cr_assert_fail("unknown video %s", v->name);
    return -1;
}

static int valid_columns(int task, int v, int f)
{
    int n = 0;
    if (task == DATA_EXPR) return made_expr(v, f) >= 0;
    for (int c = 0; c < data_target_columns(task); c++)
        n += task == DATA_AU ? made_au(v, f, c) >= 0 : !isnan(made_va(v, f, c));
    return n;
}

static int expected_valid(int task, data_invalid invalid, int v, int f)
{
    int64_t n = valid_columns(task, v, f), all = task == DATA_EXPR ? 1 : data_target_columns(task);
    return invalid == DATA_INVALID_FRAME ? n == all : n > 0;
}

static void check_target(int task, data_invalid invalid, int v, int f, const float *target, const float *weight)
{
    int64_t weights = data_target_weights(task, invalid);
    for (int c = 0; c < data_target_columns(task); c++) {
        float want = task == DATA_EXPR ? (float)(made_expr(v, f) == c)
                     : task == DATA_AU ? (float)made_au(v, f, c)
                                       : made_va(v, f, c);
        int valid = task == DATA_EXPR || (task == DATA_AU ? made_au(v, f, c) >= 0 : !isnan(want));
        cr_assert_eq(target[c], valid ? want : 0, "task %d video %d frame %d column %d", task, v, f, c);
        if (weights > 1) cr_assert_eq(weight[c], (float)valid);
    }
    if (weights == 1) cr_assert_eq(weight[0], 1);
}

static void check_set(const char *dir, int task, data_invalid invalid)
{
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = task, .labelled = 1, .invalid = invalid},
                           .augment = {.size = 8}};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    const data_selection *sel = data_frames_selection(s);
    cr_assert_eq(s->n_fields, 3);
    cr_assert_str_eq(s->field[1].name, data_target_name(task));
    cr_assert_eq(s->weight_field, 2);
    int64_t used = 0, pictures = 0, records = 0, last = -1;
    for (int v = 0; v < corpus.shards * corpus.videos_each; v++)
        for (int f = 1; f <= made_frames(&corpus, v) && made_split(v, task) == DATA_SPLIT_TRAIN; f++) {
            records++;
            pictures += made_has_picture(f);
            used += made_has_picture(f) && expected_valid(task, invalid, v, f);
        }
    data_select_counts n = data_selection_counts(sel);
    cr_assert(n.records == records && n.used == used && s->count == used, "%s", data_selection_text(sel));
    cr_assert(n.no_picture == records - pictures && n.no_target == pictures - used);
    void *scratch;
    must(s->ops->scratch_open(s, &scratch));
    for (int64_t i = 0; i < s->count; i++) {
        float image[8 * 8 * 3], target[DATA_MAX_TARGETS] = {0}, weight[DATA_MAX_TARGETS] = {0};
        data_frame frame;
        must(s->ops->read(s, scratch, i, (data_draw){0}, (void *[]){image, target, weight}));
        data_selection_at(sel, i, &frame);
        int v = video_number(frame.video), f = frame.frame;
        cr_assert_eq(frame.t_us, (int64_t)(f - 1) * MADE_FRAME_US);
        cr_assert(made_has_picture(f) && expected_valid(task, invalid, v, f) &&
                  made_split(v, task) == DATA_SPLIT_TRAIN);
        cr_assert(v * 1000 + f > last, "frames are in order");
        last = v * 1000 + f;
        for (int p = 0; p < 8 * 8 * 3; p++)
            cr_assert(fabsf(image[p] * 255 - (float)made_grey(v, f)) < 2.5f);
        check_target(task, invalid, v, f, target, weight);
    }
    s->ops->scratch_close(s, scratch);
    data_set_close(s);
}

Test(frames, samples_are_the_labelled_frames_with_a_picture)
{
    char *dir = corpus_folder();
    for (int task = 0; task < DATA_TASKS; task++) {
        check_set(dir, task, DATA_INVALID_FRAME);
        check_set(dir, task, DATA_INVALID_COLUMN);
    }
    support_remove(dir);
}

Test(frames, pretraining_takes_every_picture_and_draws_a_mask)
{
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .task = DATA_TASKS},
                           .augment = data_augment_simmim(48, 1),
                           .mask_cells = 6,
                           .mask_tokens = 2,
                           .mask_ratio = 0.6};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    cr_assert(s->n_fields == 3 && s->weight_field == 2 && s->field[2].shape.n == 0);
    cr_assert_eq(data_set_field(s, "mask"), 1);
    cr_assert_eq(mn_count(s->field[1].shape), 144);
    int64_t pictures = 0;
    for (int v = 0; v < 9; v++)
        for (int f = 1; f <= made_frames(&corpus, v); f++)
            pictures += made_has_picture(f);
    cr_assert_eq(s->count, pictures);
    void *scratch;
    must(s->ops->scratch_open(s, &scratch));
    static float image[48 * 48 * 3];
    uint8_t mask[144], want[144];
    float weight = 0;
    must(s->ops->read(s, scratch, 11, (data_draw){3, 1, 77}, (void *[]){image, mask, &weight}));
    data_mask_draw(6, 2, 0.6, (data_draw){3, 1, 77}, want);
    cr_assert(memcmp(mask, want, sizeof mask) == 0 && weight == 1);
    s->ops->scratch_close(s, scratch);
    data_set_close(s);
    support_remove(dir);
}

Test(frames, stride_takes_every_kth_frame_of_each_video)
{
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .task = DATA_TASKS, .stride = 4}, .augment = {.size = 8}};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    int64_t want = 0;
    for (int v = 0; v < 9; v++)
        for (int f = 1; f <= made_frames(&corpus, v); f += 4)
            want += made_has_picture(f);
    cr_assert_eq(s->count, want);
    for (int64_t i = 0; i < s->count; i++) {
        data_frame f;
        data_selection_at(data_frames_selection(s), i, &f);
        cr_assert_eq(f.frame % 4, 1);
    }
    data_set_close(s);
    support_remove(dir);
}

static int keep_second_of_two(void *context, int64_t number, const data_video *video)
{
    ++*(int *)context;
    (void)video;
    return number % 2 == 1;
}

static int keep_none(void *context, int64_t number, const data_video *video)
{
    (void)context, (void)number, (void)video;
    return 0;
}

Test(frames, keep_chooses_whole_videos)
{
    char *dir = corpus_folder();
    int asked = 0;
    data_frames_cfg cfg = {.select = {.dir = dir, .task = DATA_TASKS, .keep = keep_second_of_two, .context = &asked},
                           .augment = {.size = 8}};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    cr_assert_eq(asked, 9, "asked %d times", asked);
    int64_t want = 0;
    for (int v = 1; v < 9; v += 2)
        for (int f = 1; f <= made_frames(&corpus, v); f++)
            want += made_has_picture(f);
    cr_assert_eq(s->count, want);
    data_set_close(s);
    cfg.select.keep = keep_none;
    must(data_frames_open(&s, &cfg));
    cr_assert_eq(s->count, 0, "a rank without a video is no error");
    data_loader *l;
    const data_batch *b;
    must(data_loader_open(&l, &(data_loader_cfg){.set = s, .batch = 4, .world = 1, .threads = 1}, (data_state){0}));
    must(data_loader_next(l, &b));
    cr_assert_null(b);
    data_loader_close(l);
    data_set_close(s);
    support_remove(dir);
}

Test(frames, groups_are_those_of_the_labels)
{
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR, .labelled = 1},
                           .augment = {.size = 8}};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    int32_t *group = mn_calloc((size_t)s->count, sizeof *group);
    int64_t count[DATA_EXPRESSIONS], seen[DATA_EXPRESSIONS] = {0}, n;
    data_selection_classes(data_frames_selection(s), count);
    must(data_selection_groups(data_frames_selection(s), DATA_BY_EXPRESSION, group, &n));
    cr_assert_geq(n, DATA_EXPRESSIONS);
    for (int64_t i = 0; i < s->count; i++) {
        data_frame f;
        data_selection_at(data_frames_selection(s), i, &f);
        cr_assert_eq(group[i], made_expr(video_number(f.video), f.frame));
        seen[group[i]]++;
    }
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        cr_assert_eq(count[k], seen[k]);
    must(data_selection_groups(data_frames_selection(s), DATA_BY_VIDEO, group, &n));
    for (int64_t i = 1; i < s->count; i++) {
        data_frame a, b;
        data_selection_at(data_frames_selection(s), i - 1, &a);
        data_selection_at(data_frames_selection(s), i, &b);
        cr_assert(group[i] < n && group[i] - group[i - 1] == (a.video != b.video));
    }
    cr_assert_eq(data_selection_groups(data_frames_selection(s), DATA_BY_IDENTITY, group, &n), MN_ECONFIG);
    free(group);
    data_set_close(s);
    support_remove(dir);
}

// Rows of `batches` batches as one rank after the other sees them, and the ids.
static uint64_t *run(data_set *s, int world, int threads, int64_t batches, float *image)
{
    uint64_t *ids = mn_calloc((size_t)batches, sizeof *ids);
    size_t row = 24 * 24 * 3;
    for (int rank = 0; rank < world; rank++) {
        data_loader_cfg cfg = {.set = s,
                               .batch = 10,
                               .rank = rank,
                               .world = world,
                               .threads = threads,
                               .ahead = 2,
                               .train = 1,
                               .pairs = 1,
                               .mixup = {.alpha = 0.8},
                               .mixup_fields = 1};
        data_loader *l;
        must(data_loader_open(&l, &cfg, (data_state){4, 1, 0}));
        for (int64_t k = 0; k < batches; k++) {
            const data_batch *b;
            must(data_loader_next(l, &b));
            ids[k] = b->ids;
            memcpy(image + (size_t)(k * 10 + b->first_row) * row, b->field[0], (size_t)b->rows * row * sizeof(float));
            data_loader_release(l, b);
        }
        data_loader_close(l);
    }
    return ids;
}

Test(frames, augmented_batches_do_not_depend_on_ranks_and_threads)
{
    enum { BATCHES = 6, VALUES = BATCHES * 10 * 24 * 24 * 3 };
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR, .labelled = 1},
                           .augment = data_augment_simmim(24, 1)};
    cfg.augment.brightness = cfg.augment.contrast = cfg.augment.saturation = 0.4;
    data_set *s;
    must(data_frames_open(&s, &cfg));
    float *base = mn_calloc(VALUES, sizeof *base), *image = mn_calloc(VALUES, sizeof *image);
    uint64_t *ids = run(s, 1, 1, BATCHES, base);
    for (int world = 1; world <= 4; world++)
        for (int threads = 1; threads <= 4; threads *= 2) {
            memset(image, 0, VALUES * sizeof *image);
            uint64_t *other = run(s, world, threads, BATCHES, image);
            cr_assert_eq(memcmp(ids, other, BATCHES * sizeof *ids), 0);
            cr_assert_eq(memcmp(base, image, VALUES * sizeof *base), 0, "%d ranks, %d threads", world, threads);
            free(other);
        }
    free(ids);
    free(base);
    free(image);
    data_set_close(s);
    support_remove(dir);
}

// One flipped bit in a picture: the loader's consumer learns file and record.
Test(frames, a_damaged_record_ends_the_batch_with_its_name)
{
    char *dir = corpus_folder(), *path = mn_sprintf("%s/made-all-00001-of-00003.h5", dir);
    data_frames_cfg cfg = {.select = {.dir = dir, .task = DATA_TASKS}, .augment = {.size = 8}};
    data_set *s;
    must(data_frames_open(&s, &cfg));
    size_t size, jpeg = 0;
    unsigned char *bytes = support_read(path, &size);
    while (memcmp(bytes + jpeg, "\xff\xd8\xff", 3) != 0)
        jpeg++;
    bytes[jpeg + 200] ^= 4;
    support_write(path, bytes, size);
    free(bytes);
    data_loader *l;
    const data_batch *b = NULL;
    data_loader_cfg loader = {.set = s, .batch = 16, .world = 1, .threads = 3, .ahead = 2};
    must(data_loader_open(&l, &loader, (data_state){0}));
    mn_err err;
    while ((err = data_loader_next(l, &b)) == MN_OK && b)
        data_loader_release(l, b);
    cr_assert_eq(err, MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "made-all-00001-of-00003.h5") != NULL, "%s", mn_errmsg());
    data_loader_close(l);
    data_set_close(s);
    free(path);
    support_remove(dir);
}

Test(frames, a_selection_of_nothing_is_refused)
{
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "test", .task = DATA_AU, .labelled = 1},
                           .augment = {.size = 8}};
    data_set *s;
    cr_assert_eq(data_frames_open(&s, &cfg), MN_ENOINPUT);
    cr_assert(strstr(mn_errmsg(), "split 'test' for au") != NULL, "%s", mn_errmsg());
    support_remove(dir);
}

Test(frames, the_digest_tells_selections_apart)
{
    char *dir = corpus_folder();
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR, .labelled = 1},
                           .augment = {.size = 8}};
    uint64_t digest[4];
    for (int k = 0; k < 4; k++) {
        data_set *s;
        data_frames_cfg other = cfg;
        if (k == 1) other.select.stride = 2;
        if (k == 2) other.augment.flip = 0.5;
        must(data_frames_open(&s, &other));
        digest[k] = s->digest;
        data_set_close(s);
    }
    cr_assert(digest[0] == digest[3] && digest[0] != digest[1] && digest[0] != digest[2]);
    support_remove(dir);
}

Test(frames, a_video_of_50000_frames_opens_at_once)
{
    enum { FRAMES = 50000 };
    char *dir = support_folder(), file[64];
    data_coder *coder;
    const uint8_t *jpeg;
    size_t size;
    uint8_t rgb[8 * 8 * 3] = {90};
    must(data_coder_open(&coder));
    must(data_jpeg_encode(coder, rgb, 8, 8, 50, 0, &jpeg, &size));
    data_writer_cfg w = {.dir = dir,
                         .dataset = "long",
                         .split = "all",
                         .stream = "image",
                         .importer = "test",
                         .options_json = "{}",
                         .count = 1,
                         .has_va = 1,
                         .has_video = 1};
    data_writer *writer;
    data_video video = {
        .name = "long", .source = "long", .split = {1, 1, 1}, .fps_num = 30, .fps_den = 1, .decoded = FRAMES};
    must(data_writer_open(&writer, &w));
    data_record r = {.payload = jpeg,
                     .size = size,
                     .name = "long/x.jpg",
                     .codec = DATA_CODEC_JPEG,
                     .width = 8,
                     .height = 8,
                     .expr = -1,
                     .mask = DATA_HAS_VALENCE | DATA_HAS_AROUSAL};
    must(data_writer_video(writer, &video, &r.video));
    for (r.frame = 1; r.frame <= FRAMES; r.frame++) {
        r.t_us = (int64_t)(r.frame - 1) * 33333;
        must(data_writer_add(writer, &r));
    }
    must(data_writer_close(writer));
    data_writer_name(&w, file, sizeof file);
    must(data_folder_finish(&(data_manifest_cfg){.dir = dir,
                                                 .dataset = "long",
                                                 .importer = "test",
                                                 .options_json = "{}",
                                                 .files = (const char *[]){file},
                                                 .n_files = 1}));
    data_coder_close(coder);
    double began = mn_seconds();
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_VA, .labelled = 1},
                           .augment = {.size = 8}};
    data_set *s;
    data_loader *l;
    const data_batch *b;
    must(data_frames_open(&s, &cfg));
    cr_assert_eq(s->count, FRAMES);
    data_loader_cfg loader = {.set = s, .batch = 64, .world = 1, .threads = 2, .ahead = 2, .train = 1};
    must(data_loader_open(&l, &loader, (data_state){1, 0, 49000}));
    must(data_loader_next(l, &b));
    double seconds = mn_seconds() - began;
    cr_assert_lt(seconds, 1.0, "%.3f s to the first batch", seconds);
    data_loader_close(l);
    data_set_close(s);
    support_remove(dir);
}
