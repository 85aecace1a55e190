// A small corpus like Aff-Wild2 in shards, every label, pixel and audio sample of which is a closed form of (video,
// frame), with all that goes wrong in real ones: frames without a picture, invalid labels, two people in one file.
#ifndef TESTS_DATA_VIDEOS_SUPPORT_H
#define TESTS_DATA_VIDEOS_SUPPORT_H

#include "data/shard.h"

#include <stdint.h>

enum { MADE_SIDE = 16, MADE_FRAME_US = 40000, MADE_RATE = 16000 };

typedef struct made_corpus {
    int shards, videos_each; // videos 0..shards videos_each - 1
    int frames;              // of video 0; video v has 3 v more
    int gaps;                // 1: some frames have no record: the first two, the last one, every eleventh and twelfth
} made_corpus;

// Writes image and audio shards and the manifest into dir; dies on an error.
void made_write(const char *dir, const made_corpus *c);

int made_frames(const made_corpus *c, int video);
int made_split(int video, int task);                // DATA_SPLIT_TRAIN or _VALIDATION
void made_name(int video, char *name, size_t size); // "v00", "v01_left", "v01_right" (of file "v01"), "v03", ...
int made_file(int video);                           // number of its media file
int made_has_record(const made_corpus *c, int video, int frame);
int made_has_picture(int frame); // frame 1-based
int made_has_sound(int video);
int made_grey(int video, int frame);             // of the whole picture
int made_expr(int video, int frame);             // -1: invalid
int made_au(int video, int frame, int unit);     // -1: invalid
float made_va(int video, int frame, int column); // NaN: invalid
int16_t made_sample(int file, int64_t i);        // of the audio track
int64_t made_samples(const made_corpus *c, int file);

#endif
