#include "videos_support.h"

#include "data/image.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

int made_frames(const made_corpus *c, int video)
{
    return c->frames + 3 * video;
}

// Validation differs between the tasks: a video may train one and validate another.
int made_split(int video, int task)
{
    return (video + task) % 3 == 2 ? DATA_SPLIT_VALIDATION : DATA_SPLIT_TRAIN;
}

int made_file(int video)
{
    return video % 3 == 2 ? video - 1 : video;
}

void made_name(int video, char *name, size_t size)
{
    static const char *const suffix[] = {"", "_left", "_right"};
    snprintf(name, size, "v%02d%s", made_file(video), suffix[video % 3]);
}

int made_has_record(const made_corpus *c, int video, int frame)
{
    return !c->gaps || (frame > 2 && frame < made_frames(c, video) && frame % 12 != 0 && frame % 12 != 11);
}

int made_has_picture(int frame)
{
    return frame % 6 != 0;
}

int made_has_sound(int video)
{
    return made_file(video) % 9 != 4;
}

int made_grey(int video, int frame)
{
    return 40 + (video * 31 + frame * 7) % 180;
}

int made_expr(int video, int frame)
{
    return (video + frame) % 9 - 1;
}

int made_au(int video, int frame, int unit)
{
    if (frame % 5 == 0 && unit == 2) return -1;
    return (video + frame + unit) % 3 == 0;
}

float made_va(int video, int frame, int column)
{
    if (frame % 7 == 0 && column == 0) return NAN;
    return sinf(0.1f * (float)frame + (float)(video + column));
}

int16_t made_sample(int file, int64_t i)
{
    return (int16_t)((i * 37 + file * 101) % 4001 - 2000);
}

// The longest of the videos in the file.
int64_t made_samples(const made_corpus *c, int file)
{
    int video = file % 3 == 1 && file + 1 < c->shards * c->videos_each ? file + 1 : file;
    return (int64_t)made_frames(c, video) * MADE_FRAME_US / 1000 * MADE_RATE / 1000;
}

static data_video video_row(const made_corpus *c, int v, char *name, char *file)
{
    made_name(v, name, 32);
    snprintf(file, 32, "v%02d", made_file(v));
    data_video row = {.name = name,
                      .source = file,
                      .subject = (uint8_t)(v % 3),
                      .has_audio = (uint8_t)made_has_sound(v),
                      .fps_num = 25,
                      .fps_den = 1,
                      .decoded = made_frames(c, v)};
    for (int t = 0; t < DATA_TASKS; t++)
        row.split[t] = (uint8_t)made_split(v, t);
    return row;
}

static data_record frame_record(int v, int f, int32_t row)
{
    data_record r = {.codec = made_has_picture(f) ? DATA_CODEC_JPEG : DATA_CODEC_NONE,
                     .channels = 3,
                     .orientation = 1,
                     .width = MADE_SIDE,
                     .height = MADE_SIDE,
                     .expr = (int8_t)made_expr(v, f),
                     .video = row,
                     .frame = f,
                     .t_us = (int64_t)(f - 1) * MADE_FRAME_US};
    if (r.expr >= 0) r.mask |= DATA_HAS_EXPR;
    for (int u = 0; u < DATA_AUS; u++) {
        r.au[u] = (int8_t)made_au(v, f, u);
        if (r.au[u] >= 0) r.mask |= (uint32_t)DATA_HAS_AU0 << u;
    }
    for (int k = 0; k < 2; k++) {
        r.va[k] = made_va(v, f, k);
        if (!isnan(r.va[k])) r.mask |= (uint32_t)DATA_HAS_VALENCE << k;
    }
    return r;
}

static void add_frames(data_writer *w, data_coder *coder, const made_corpus *c, int v, int32_t row)
{
    uint8_t rgb[MADE_SIDE * MADE_SIDE * 3];
    char name[64], video[32];
    made_name(v, video, sizeof video);
    for (int f = 1; f <= made_frames(c, v); f++) {
        const uint8_t *bytes = NULL;
        if (!made_has_record(c, v, f)) continue;
        data_record r = frame_record(v, f, row);
        memset(rgb, made_grey(v, f), sizeof rgb);
        must(data_jpeg_encode(coder, rgb, MADE_SIDE, MADE_SIDE, 95, 0, &bytes, &r.size));
        if (!made_has_picture(f)) r.size = 0;
        snprintf(name, sizeof name, "%s/%05d.jpg", video, f);
        r.payload = bytes;
        r.name = name;
        must(data_writer_add(w, &r));
    }
}

static data_writer_cfg writer_cfg(const char *dir, const char *stream, int index, int count)
{
    int image = strcmp(stream, "image") == 0;
    return (data_writer_cfg){.dir = dir,
                             .dataset = "made",
                             .split = "all",
                             .stream = stream,
                             .importer = "test",
                             .options_json = "{}",
                             .index = index,
                             .count = count,
                             .has_expr = image,
                             .has_au = image,
                             .has_va = image,
                             .has_video = 1};
}

static void write_images(const char *dir, const made_corpus *c, int shard, char *file, size_t size)
{
    data_writer *w;
    data_coder *coder;
    data_writer_cfg cfg = writer_cfg(dir, "image", shard, c->shards);
    must(data_coder_open(&coder));
    must(data_writer_open(&w, &cfg));
    for (int v = shard * c->videos_each; v < (shard + 1) * c->videos_each; v++) {
        char name[32], source[32];
        data_video row = video_row(c, v, name, source);
        int32_t number;
        must(data_writer_video(w, &row, &number));
        add_frames(w, coder, c, v, number);
    }
    data_writer_name(&cfg, file, size);
    must(data_writer_close(w));
    data_coder_close(coder);
}

static void write_sound(const char *dir, const made_corpus *c, char *file, size_t size)
{
    data_writer *w;
    data_writer_cfg cfg = writer_cfg(dir, "audio", 0, 1);
    must(data_writer_open(&w, &cfg));
    for (int v = 0; v < c->shards * c->videos_each; v++) {
        if (made_file(v) != v || !made_has_sound(v)) continue;
        char name[32], source[32];
        data_video row = video_row(c, v, name, source);
        row.name = source;
        int64_t n = made_samples(c, v);
        int16_t *pcm = mn_calloc((size_t)n, sizeof *pcm);
        for (int64_t i = 0; i < n; i++)
            pcm[i] = made_sample(v, i);
        data_record r = {
            .payload = pcm, .size = (size_t)n * 2, .name = source, .codec = DATA_CODEC_PCM16K, .expr = -1, .frame = 1};
        must(data_writer_video(w, &row, &r.video));
        must(data_writer_add(w, &r));
        free(pcm);
    }
    data_writer_name(&cfg, file, size);
    must(data_writer_close(w));
}

void made_write(const char *dir, const made_corpus *c)
{
    char file[17][64];
    const char *files[17];
    cr_assert(c->shards <= 16);
    for (int k = 0; k < c->shards; k++)
        write_images(dir, c, k, file[k], sizeof file[k]);
    write_sound(dir, c, file[c->shards], sizeof file[0]);
    for (int k = 0; k <= c->shards; k++)
        files[k] = file[k];
    data_manifest_cfg m = {.dir = dir,
                           .dataset = "made",
                           .importer = "test",
                           .options_json = "{}",
                           .files = files,
                           .n_files = c->shards + 1};
    must(data_folder_finish(&m));
}
