// Writes a small corpus for the end-to-end tests, with the public writers:
//   make_fixture DIR
// DIR/faces             shards of pictures and of sound: 24 videos of 40 to 63 frames, sorted by expression, the first 18
//                       for training, the others for validation; every label has frames on which it is invalid
// DIR/features/image    one vector a frame                  DIR/features/audio    one vector each 40 ms
// Everything is a function of video and frame: two calls write the same bytes.
#include "data/features.h"
#include "data/image.h"
#include "data/shard.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    VIDEOS = 24,
    TRAINING = 18,
    MOST_FRAMES = 64,
    SIDE = 40,
    FRAME_US = 40000,
    SOUND_RATE = 16000,
    IMAGE_DIM = 24,
    AUDIO_DIM = 20
};

static const char dataset[] = "faces";

// --- what a frame shows ---

static int frames_of(int video)
{
    return 40 + video * 7 % 24;
}

static double valence(int video, int frame)
{
    return 0.9 * sin(0.13 * frame + video);
}

static double arousal(int video, int frame)
{
    return 0.9 * cos(0.09 * frame + 2.0 * video);
}

static int expression(int video)
{
    return video < TRAINING ? video * DATA_EXPRESSIONS / TRAINING : video % DATA_EXPRESSIONS;
}

static int inside(double x, double y, double radius)
{
    return x * x + y * y < radius * radius;
}

// A disc with eyes that open with arousal, a mouth that bends with valence, brows of the expression's colour.
static void draw(uint8_t *rgb, int video, int frame)
{
    static const uint8_t skin[3] = {190, 150, 120}, wall[3] = {50, 70, 60}, eye[3] = {20, 20, 30},
                         lips[3] = {180, 30, 40};
    uint64_t key = mn_rng_key(1, "face");
    mn_stream_rng r = mn_rng_open(key, (uint64_t)video, (uint64_t)frame);
    double cx = SIDE / 2.0 + mn_rng_range(&r, -2, 2), cy = SIDE / 2.0 + mn_rng_range(&r, -2, 2);
    double open = 1.5 + arousal(video, frame), bend = 4 * valence(video, frame);
    uint8_t brow[3] = {(uint8_t)(30 * expression(video)), (uint8_t)(240 - 30 * expression(video)), 90};
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            double u = x - cx, v = y - cy;
            const uint8_t *c = inside(u, v, 0.45 * SIDE) ? skin : wall;
            if (inside(fabs(u) - 6, v + 4, open)) c = eye;
            if (fabs(u) < 7 && fabs(v - 9 + bend * (u * u / 49 - 0.5)) < 1.2) c = lips;
            if (fabs(fabs(u) - 6) < 4 && fabs(v + 9) < 1.5) c = brow;
            for (int k = 0; k < 3; k++)
                *rgb++ = (uint8_t)(c[k] + mn_rng_below(&r, 12));
        }
}

static void label(data_record *r, int video, int frame)
{
    int known = frame % 11 != 0;
    r->expr = (int8_t)(frame % 13 ? expression(video) : -1);
    if (r->expr >= 0) r->mask |= DATA_HAS_EXPR;
    r->va[0] = known ? (float)valence(video, frame) : NAN;
    r->va[1] = known ? (float)arousal(video, frame) : NAN;
    if (known) r->mask |= DATA_HAS_VALENCE | DATA_HAS_AROUSAL;
    for (int k = 0; k < DATA_AUS; k++) {
        int valid = (frame + 8 * k) % 97 != 0;
        double x = k % 2 ? valence(video, frame) : arousal(video, frame);
        r->au[k] = (int8_t)(valid ? x > 0.05 * k - 0.2 : -1);
        if (valid) r->mask |= (uint32_t)DATA_HAS_AU0 << k;
    }
}

// --- shards ---

static data_video video_row(int video, char name[16])
{
    uint8_t split = video < TRAINING ? DATA_SPLIT_TRAIN : DATA_SPLIT_VALIDATION;
    snprintf(name, 16, "video%02d", video);
    return (data_video){.name = name,
                        .source = name,
                        .split = {split, split, split},
                        .has_audio = 1,
                        .fps_num = 1000000 / FRAME_US,
                        .fps_den = 1,
                        .decoded = frames_of(video),
                        .n_records = frames_of(video)};
}

static mn_err add_faces(data_writer *w, data_coder *coder, int video)
{
    char name[16], path[32];
    uint8_t rgb[SIDE * SIDE * 3];
    int32_t row;
    data_video v = video_row(video, name);
    MN_TRY(data_writer_video(w, &v, &row));
    for (int frame = 1; frame <= frames_of(video); frame++) {
        const uint8_t *bytes;
        size_t size;
        draw(rgb, video, frame);
        MN_TRY(data_jpeg_encode(coder, rgb, SIDE, SIDE, 90, 0, &bytes, &size));
        snprintf(path, sizeof path, "%s/%05d.jpg", name, frame);
        data_record r = {.payload = bytes,
                         .size = size,
                         .name = path,
                         .codec = DATA_CODEC_JPEG,
                         .channels = 3,
                         .orientation = 1,
                         .width = SIDE,
                         .height = SIDE,
                         .video = row,
                         .frame = frame,
                         .t_us = (int64_t)(frame - 1) * FRAME_US,
                         .source_row = (uint32_t)frame};
        label(&r, video, frame);
        MN_TRY(data_writer_add(w, &r));
    }
    return MN_OK;
}

static mn_err add_sound(data_writer *w, int video)
{
    static int16_t pcm[MOST_FRAMES * (SOUND_RATE / (1000000 / FRAME_US))];
    char name[16];
    data_video v = video_row(video, name);
    int64_t n = (int64_t)frames_of(video) * SOUND_RATE * FRAME_US / 1000000;
    v.n_records = 1;
    for (int64_t i = 0; i < n; i++) {
        double t = (double)i / SOUND_RATE, frame = 1e6 * t / FRAME_US;
        double loud = 0.5 + 0.4 * arousal(video, (int)frame);
        pcm[i] = (int16_t)(8000 * loud * sin(2 * M_PI * (200 + 20 * video) * t) + 2000 * sin(2 * M_PI * 1330 * t));
    }
    data_record r = {.payload = pcm,
                     .size = (size_t)n * sizeof *pcm,
                     .name = name,
                     .codec = DATA_CODEC_PCM16K,
                     .channels = 1,
                     .expr = -1,
                     .frame = 1};
    MN_TRY(data_writer_video(w, &v, &r.video));
    return data_writer_add(w, &r);
}

static mn_err write_stream(const char *dir, const char *stream, data_coder *coder, char *file, size_t size)
{
    data_writer_cfg cfg = {.dir = dir,
                           .dataset = dataset,
                           .split = "all",
                           .stream = stream,
                           .importer = "make_fixture",
                           .options_json = "{}",
                           .count = 1,
                           .has_expr = 1,
                           .has_au = 1,
                           .has_va = 1,
                           .has_video = 1};
    data_writer *w;
    MN_TRY(data_writer_open(&w, &cfg));
    data_writer_name(&cfg, file, size);
    for (int video = 0; video < VIDEOS; video++) {
        mn_err err = coder ? add_faces(w, coder, video) : add_sound(w, video);
        if (err == MN_OK) continue;
        data_writer_abort(w);
        return err;
    }
    return data_writer_close(w);
}

static mn_err write_shards(const char *dir)
{
    char faces[96], sound[96];
    const char *files[] = {faces, sound};
    data_coder *coder;
    data_manifest_cfg manifest = {
        .dir = dir, .dataset = dataset, .importer = "make_fixture", .options_json = "{}", .files = files, .n_files = 2};
    mn_err err;
    MN_TRY(mn_dir_make(dir));
    MN_TRY(data_coder_open(&coder));
    MN_TRY_OUT(err, write_stream(dir, "image", coder, faces, sizeof faces));
    MN_TRY_OUT(err, write_stream(dir, "audio", NULL, sound, sizeof sound));
    MN_TRY_OUT(err, data_folder_finish(&manifest));
out:
    data_coder_close(coder);
    return err;
}

// --- features ---

static mn_err add_features(data_feature_writer *w, int video, int dim, const char *purpose)
{
    static float x[MOST_FRAMES * IMAGE_DIM];
    int64_t t_us[MOST_FRAMES];
    char name[16];
    data_video row = video_row(video, name);
    data_track t = {.video = row.name, .frames = row.decoded, .dim = dim, .x = x, .t_us = t_us};
    for (int frame = 1; frame <= (int)row.decoded; frame++) {
        mn_stream_rng r = mn_rng_open(mn_rng_key(2, purpose), (uint64_t)video, (uint64_t)frame);
        t_us[frame - 1] = (int64_t)(frame - 1) * FRAME_US;
        for (int d = 0; d < dim; d++)
            x[(frame - 1) * dim + d] = (float)(valence(video, frame) * cos(d) + arousal(video, frame) * sin(2.0 * d) +
                                               0.3 * (d % DATA_EXPRESSIONS == expression(video))) +
                                       0.3f * mn_rng_normal(&r);
    }
    return data_feature_writer_add(w, &t);
}

static mn_err write_features(const char *dir, int dim, const char *purpose)
{
    data_feature_source source = {.run = "fixture", .weights_digest = purpose, .model = purpose, .step = 1};
    data_feature_writer *w;
    mn_err err = MN_OK;
    MN_TRY(mn_dir_make(dir));
    MN_TRY(data_feature_writer_open(&w, dir, 0, &source));
    for (int video = 0; video < VIDEOS && err == MN_OK; video++)
        err = add_features(w, video, dim, purpose);
    mn_err closed = data_feature_writer_close(w);
    MN_TRY(err != MN_OK ? err : closed);
    return data_features_finish(dir, &source);
}

static mn_err write_all(const char *dir)
{
    char *faces = mn_sprintf("%s/%s", dir, dataset), *features = mn_sprintf("%s/features", dir);
    char *image = mn_sprintf("%s/image", features), *audio = mn_sprintf("%s/audio", features);
    mn_err err;
    MN_TRY_OUT(err, mn_dir_make(dir));
    MN_TRY_OUT(err, write_shards(faces));
    MN_TRY_OUT(err, mn_dir_make(features));
    MN_TRY_OUT(err, write_features(image, IMAGE_DIM, "image"));
    MN_TRY_OUT(err, write_features(audio, AUDIO_DIM, "audio"));
out:
    free(faces);
    free(features);
    free(image);
    free(audio);
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 64;
    }
    mn_err err = write_all(argv[1]);
    if (err != MN_OK) fprintf(stderr, "make_fixture: %s\n", mn_errmsg());
    return mn_exit_code(err);
}
