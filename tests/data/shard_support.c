#include "shard_support.h"

#include "nn/base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *support_folder(void)
{
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof(path), "%s/mien-test-XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(path) != NULL);
    return strdup(path);
}

void support_remove(char *dir)
{
    (void)!mn_tree_remove(dir); // a test may have taken it away
    free(dir);
}

size_t support_bytes(int64_t i, unsigned char *bytes)
{
    size_t n = i % 5 == 4 ? 0 : (size_t)(100 + (i * 977) % 1900);
    for (size_t k = 0; k < n; k++)
        bytes[k] = (unsigned char)(k * 31 + (size_t)i * 17 + k / 7);
    return n;
}

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

void support_shard(const char *dir, int index, int count, int64_t records)
{
    data_writer *w;
    data_writer_cfg cfg = {.dir = dir,
                           .dataset = "made",
                           .split = "all",
                           .stream = "image",
                           .importer = "test",
                           .options_json = "{\"size\": 0}",
                           .index = index,
                           .count = count,
                           .has_expr = 1,
                           .has_au = 1,
                           .has_va = 1,
                           .has_identity = 1,
                           .has_attr = 1,
                           .has_video = 1};
    must(data_writer_open(&w, &cfg));
    int8_t attr[40] = {0};
    int32_t video = -1;
    for (int64_t i = 0; i < records; i++) {
        unsigned char bytes[4096];
        char name[64], stem[32];
        if (i % 7 == 0) {
            snprintf(stem, sizeof(stem), "video%d_%lld", index, (long long)(i / 7));
            snprintf(name, sizeof(name), "%s_left", stem);
            uint8_t split = (uint8_t)(1 + i / 7 % 3);
            data_video v = {.name = name,
                            .source = stem,
                            .split = {split, 1, 0},
                            .subject = 1,
                            .has_audio = 1,
                            .fps_num = 30000,
                            .fps_den = 1001,
                            .decoded = 7,
                            .labels = {7, 8, 0},
                            .audio_offset_us = -5};
            must(data_writer_video(w, &v, &video));
        }
        snprintf(name, sizeof(name), "video%d/%05lld.jpg", index, (long long)i);
        attr[i % 40] = (int8_t)(i % 2 ? 1 : -1);
        data_record r = {.payload = bytes,
                         .size = support_bytes(i + 1000 * index, bytes),
                         .name = name,
                         .codec = DATA_CODEC_JPEG,
                         .width = (uint16_t)(i + 1),
                         .height = 112,
                         .channels = 3,
                         .orientation = 1,
                         .expr = (int8_t)(i % 9 - 1),
                         .au = {(int8_t)(i % 2), (int8_t)(i % 3 - 1)},
                         .va = {i % 4 ? (float)(i % 21) / 10 - 1 : NAN, 0.5f},
                         .mask = DATA_HAS_EXPR | DATA_HAS_ATTR | DATA_HAS_IDENTITY,
                         .identity = (int32_t)(i / 7),
                         .attr = attr,
                         .video = video,
                         .frame = (int32_t)(i % 7 + 1),
                         .t_us = i * 33367,
                         .source_row = (uint32_t)(i + 2)};
        must(data_writer_add(w, &r));
    }
    must(data_writer_close(w));
}

void support_dataset(const char *dir, int shards, int64_t records_each)
{
    const char *files[16];
    char names[16][64];
    cr_assert(shards <= 16);
    for (int k = 0; k < shards; k++) {
        support_shard(dir, k, shards, records_each);
        snprintf(names[k], sizeof(names[k]), "made-all-%05d-of-%05d.h5", k, shards);
        files[k] = names[k];
    }
    data_manifest_cfg m = {.dir = dir,
                           .dataset = "made",
                           .importer = "test",
                           .options_json = "{}",
                           .rejects_json = "{\"empty file\": 3}",
                           .files = files,
                           .n_files = shards};
    must(data_folder_finish(&m));
}

unsigned char *support_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f != NULL, "%s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*size + 1);
    cr_assert(p && fread(p, 1, *size, f) == *size);
    fclose(f);
    return p;
}

void support_write(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    cr_assert(f != NULL && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "%s", path);
}
