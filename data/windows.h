// Sequences for fusion: windows of neighbouring labelled frames of a video with their image and audio features.
//
//     data_windows_cfg cfg = {.shards = "mien-data/affwild2", .split = "train", .task = DATA_VA, .image = "features/image",
//                             .audio = "features/audio", .length = 100, .width = 768};
//     data_set *s; MN_TRY(data_windows_open(&s, &cfg));
//
// Fields: image and audio (T, D) f32, target (T, K) f32 (EXPR one-hot of 8, AU 12, VA 2), weight (T) f32, or (T, K) when
// labels are dropped by column. As the released CCA code does it (namho-96/ABAW2024): frames without a valid label are left
// out, the others are cut into windows of T that do not overlap, and the last window repeats its last frame. Those
// repeats have weight 0 unless `pad_counts`.
// Each vector is standardised by itself, (v - mean) / (deviation + 1e-6), and stretched to D channels by linear
// interpolation where it has another width. Streams are joined by video name (exact, else without _left or _right) and
// time: sound is interpolated at the frame's time; a frame without a face keeps the features of the nearest frame.
// Threading: as any data_set.
#ifndef DATA_WINDOWS_H
#define DATA_WINDOWS_H

#include "data/set.h"

enum { DATA_BOTH_STREAMS, DATA_IMAGE_ONLY, DATA_AUDIO_ONLY }; // "only": that stream at both inputs

typedef struct data_windows_cfg {
    const char *shards, *split; // dataset folder with the labels
    int task;                   // DATA_EXPR, DATA_AU, DATA_VA
    const char *image, *audio;  // feature folders
    int only;                   // DATA_BOTH_STREAMS...
    int64_t length, width;      // T, D
    int by_column;              // an invalid label drops its column, not the frame
    int all_frames;  // prediction: every frame 1 .. frames of the video, also those without a label, face or record
    int pad_counts;  // repeats at the end of a video have the weight of what they repeat
    int part, parts; // parts > 1: only the videos whose number modulo parts is part
} data_windows_cfg;

// MN_ENOINPUT when features of a video are missing; MN_ECONFIG when no window is left.
MN_MUST_CHECK mn_err data_windows_open(data_set **out, const data_windows_cfg *cfg);
// Which video a sample is of: its number in the set, and its name.
int data_windows_video(const data_set *s, int64_t sample, const char **name);
int data_windows_videos(const data_set *s);
const char *data_windows_video_name(const data_set *s, int video);
// Frame number (1-based) at position t of a sample; 0 for a repeat.
int32_t data_windows_frame(const data_set *s, int64_t sample, int64_t t);
int64_t data_windows_us(const data_set *s, int64_t sample, int64_t t); // its time; of a repeat that of the last frame
int64_t data_windows_dropped(const data_set *s);                       // frames without a valid label
// Digests of the weights behind what the image and audio inputs are fed with, "" unknown: predictions are refused when
// they are not what training saw.
const char *data_windows_image_weights(const data_set *s);
const char *data_windows_audio_weights(const data_set *s);

#endif
