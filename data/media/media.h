// Inside of mien-media, the only program that links FFmpeg: it runs as a child, with limits, for one file, because
// demuxers and decoders meet files that were passed hand to hand. Threading: one thread.
#ifndef DATA_MEDIA_MEDIA_H
#define DATA_MEDIA_MEDIA_H

#include "data/media/wire.h"
#include "nn/base/err.h"

// Where the findings about one file go. NULL functions: not wanted, and then not decoded.
typedef struct media_sink {
    void *ctx;
    mn_err (*info)(void *ctx, const wire_info *info);
    mn_err (*times)(void *ctx, const int64_t *t_us, int64_t n); // from the first frame on, which is at 0
    mn_err (*pcm)(void *ctx, const int16_t *pcm, int64_t n);    // from the time of the first frame on
} media_sink;

// Decodes the open file `fd` (seekable). name: for messages.
MN_MUST_CHECK mn_err media_read(int fd, const char *name, const media_sink *sink);

typedef struct media_make_cfg {
    const char *path;                         // .mp4 or .avi
    const char *video, *audio;                // encoders: mpeg4 or h264; aac, mp3 or pcm
    int width, height, fps_num, fps_den, vfr; // vfr: frame times as given, in steps of 100 us; else on the grid of fps
    int64_t frames, samples;                  // samples 0: a file without sound
    int rate, channels;                       // of the sound in the file
    int drift_ppm;                            // the sound's times run so much slower than its samples
    int leap_us;                              // and leap by so much in the middle of the sound
    int rotation;                             // 0, 90, 180, 270: as in the header
    int64_t audio_start_us;                   // the sound begins so much after (or, below 0, before) the first frame
} media_make_cfg;

// Encodes what comes on fd `in` (wire.h) into cfg->path.
MN_MUST_CHECK mn_err media_make(const media_make_cfg *cfg, int in);

// Text of an FFmpeg error, in a buffer of the thread.
const char *media_error(int code);

#endif
