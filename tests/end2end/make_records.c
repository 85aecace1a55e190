// Writes a large set of small records, fast, with the public writers:
//   make_records DIR RECORDS SHARDS [BYTES]
// Videos of 500 frames with the labels of Aff-Wild2, the first three quarters of them for training. BYTES 0 (default): every
// record is the same JPEG of 16 pixels; else a record has so many bytes that are no picture. The labels are a function of
// the number of the record: two calls write the same bytes.
#include "data/image.h"
#include "data/shard.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 500, SIDE = 16 };

typedef struct corpus {
    const char *dir;
    int64_t records;
    int shards;
    size_t size;
    uint8_t *payload;
} corpus;

static data_record record_of(const corpus *c, int64_t i, int32_t video, const char *name)
{
    data_record r = {.payload = c->payload,
                     .size = c->size,
                     .name = name,
                     .codec = DATA_CODEC_JPEG,
                     .channels = 3,
                     .width = SIDE,
                     .height = SIDE,
                     .expr = (int8_t)(mn_rng_block(1, (uint64_t)(i / FRAMES), 0, 0).v[0] % DATA_EXPRESSIONS),
                     .va = {(float)(i % 201) / 100 - 1, (float)(i % 101) / 50 - 1},
                     .mask = DATA_HAS_EXPR | DATA_HAS_VALENCE | DATA_HAS_AROUSAL | (uint32_t)0xfff * DATA_HAS_AU0,
                     .video = video,
                     .frame = (int32_t)(i % FRAMES + 1),
                     .t_us = i % FRAMES * 33333,
                     .source_row = (uint32_t)i};
    for (int k = 0; k < DATA_AUS; k++)
        r.au[k] = (int8_t)(i >> k & 1);
    return r;
}

static mn_err add_records(data_writer *w, const corpus *c, int64_t from, int64_t to)
{
    int32_t row = -1;
    for (int64_t i = from; i < to; i++) {
        int64_t video = i / FRAMES;
        char name[64];
        if (i == from || i % FRAMES == 0) {
            int split = video % 4 < 3 ? DATA_SPLIT_TRAIN : DATA_SPLIT_VALIDATION;
            snprintf(name, sizeof name, "video%06lld", (long long)video);
            data_video v = {.name = name, .source = name, .fps_num = 30, .fps_den = 1, .decoded = FRAMES};
            for (int t = 0; t < DATA_TASKS; t++) {
                v.split[t] = (uint8_t)split;
                v.labels[t] = FRAMES;
            }
            MN_TRY(data_writer_video(w, &v, &row));
        }
        snprintf(name, sizeof name, "video%06lld/%05lld.jpg", (long long)video, (long long)(i % FRAMES + 1));
        data_record r = record_of(c, i, row, name);
        MN_TRY(data_writer_add(w, &r));
    }
    return MN_OK;
}

static int64_t border(const corpus *c, int shard)
{
    int64_t videos = (c->records + FRAMES - 1) / FRAMES, at = videos * shard / c->shards * FRAMES;
    return at < c->records ? at : c->records;
}

static mn_err write_shards(const corpus *c)
{
    mn_err err = MN_OK;
    char **names = mn_calloc((size_t)c->shards, sizeof *names);
    for (int k = 0; k < c->shards; k++) {
        data_writer_cfg cfg = {.dir = c->dir,
                               .dataset = "records",
                               .split = "all",
                               .stream = "image",
                               .importer = "make_records",
                               .options_json = "{}",
                               .index = k,
                               .count = c->shards,
                               .has_expr = 1,
                               .has_au = 1,
                               .has_va = 1,
                               .has_video = 1};
        data_writer *w;
        char name[128];
        MN_TRY_OUT(err, data_writer_open(&w, &cfg));
        data_writer_name(&cfg, name, sizeof name);
        names[k] = mn_strdup(name);
        err = add_records(w, c, border(c, k), border(c, k + 1));
        if (err != MN_OK) {
            data_writer_abort(w);
            goto out;
        }
        MN_TRY_OUT(err, data_writer_close(w));
    }
    data_manifest_cfg manifest = {.dir = c->dir,
                                  .dataset = "records",
                                  .importer = "make_records",
                                  .options_json = "{}",
                                  .files = (const char *const *)names,
                                  .n_files = c->shards};
    MN_TRY_OUT(err, data_folder_finish(&manifest));
out:
    mn_names_free(names, c->shards);
    return err;
}

static mn_err make_payload(corpus *c)
{
    uint8_t rgb[SIDE * SIDE * 3];
    const uint8_t *bytes;
    size_t size;
    data_coder *coder;
    if (c->size > 0) {
        c->payload = mn_calloc(1, c->size);
        return MN_OK;
    }
    for (int i = 0; i < (int)sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 5);
    MN_TRY(data_coder_open(&coder));
    mn_err err = data_jpeg_encode(coder, rgb, SIDE, SIDE, 50, 1, &bytes, &size);
    if (err == MN_OK) {
        c->size = size;
        c->payload = mn_calloc(1, size);
        memcpy(c->payload, bytes, size);
    }
    data_coder_close(coder);
    return err;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("usage: make_records DIR RECORDS SHARDS [BYTES]\n", stderr);
        return 64;
    }
    corpus c = {.dir = argv[1], .records = strtoll(argv[2], NULL, 10), .shards = (int)strtol(argv[3], NULL, 10)};
    if (argc > 4) c.size = (size_t)strtoll(argv[4], NULL, 10);
    mn_err err = c.records >= 1 && c.shards >= 1 ? make_payload(&c) : mn_fail(MN_EUSAGE, "nothing to write");
    if (err == MN_OK) err = mn_dir_make(c.dir);
    if (err == MN_OK) err = write_shards(&c);
    free(c.payload);
    if (err == MN_OK) return 0;
    fprintf(stderr, "make_records: %s\n", mn_errmsg());
    return mn_exit_code(err);
}
