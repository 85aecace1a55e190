// The sound of a dataset: one track per media file, 16 kHz, found by the file's stem and read in pieces.
//
//     data_tracks *t; MN_TRY(data_tracks_open(&t, dir, NULL, DATA_TASKS));
//     int64_t k = data_tracks_find(t, "video59");                                   // -1: that video has no sound
//     MN_TRY(data_tracks_wave(t, k, first, n, pcm, wave));
//
// A track is checked against its CRC32C before its first piece is handed out; nothing of it stays in memory.
// Threading: any thread after open.
#ifndef DATA_TRACKS_H
#define DATA_TRACKS_H

#include "data/shard.h"

enum { DATA_SOUND_RATE = 16000 };

typedef struct data_tracks data_tracks;
// split and task as in data_folder_open. A dataset without sound has 0 tracks.
MN_MUST_CHECK mn_err data_tracks_open(data_tracks **out, const char *dir, const char *split, int task);
void data_tracks_close(data_tracks *t);
int64_t data_tracks_count(const data_tracks *t);
int64_t data_tracks_find(const data_tracks *t, const char *stem);
const char *data_tracks_name(const data_tracks *t, int64_t k); // stem of the media file; in manifest order
int64_t data_tracks_samples(const data_tracks *t, int64_t k);  // at 16 kHz, from the time of the first frame
int64_t data_tracks_record(const data_tracks *t, int64_t k);   // number in the folder
uint64_t data_tracks_digest(const data_tracks *t);

// Samples [first, first + n) of track k as float, normalised as wav2vec2's extractor does: (x - mean) / sqrt(variance +
// 1e-7) over those that exist; the others (first may be negative) are 0. pcm: memory for n samples.
MN_MUST_CHECK mn_err data_tracks_wave(data_tracks *t, int64_t k, int64_t first, int64_t n, int16_t *pcm, float *wave);
// Samples [first, first + n) of track k, all of which exist.
MN_MUST_CHECK mn_err data_tracks_pcm(data_tracks *t, int64_t k, int64_t first, int64_t n, int16_t *pcm);

#endif
