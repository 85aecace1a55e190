// Video files: times of the frames and the sound, read and written by a child process. FFmpeg is only in that child
// (the program mien-media beside mien, data/media/), which works on one file, under limits of memory and time, and may
// die of a hostile one without harm.
//
//     data_media m; MN_TRY(data_media_read("batch1/7.mp4", DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m));
//     ... m.t_us[i] is the time of frame i + 1, m.pcm[k] the sound at k / 16000 s ...; data_media_free(&m);
//
// Time begins with the first frame: t_us[0] is 0, and the sound is cut or padded to begin there; gaps in it are silence,
// so that sample k is heard at k / 16000 s throughout; where the
// clock of the sound drifts against that of the frames it is stretched. Frames are counted by decoding them, never taken from a header.
// A file without a sound stream is no error: has_audio is 0. Read are mp4/mov, avi and wav with h264, mpeg4, aac, mp3
// and pcm. Errors: MN_ENOINPUT the file or mien-media is missing, MN_EDATA with file and reason, MN_ERETRY a limit of
// time passed. Threading: any thread; each call has its own child.
#ifndef DATA_MEDIA_H
#define DATA_MEDIA_H

#include "nn/base/err.h"

#include <stdint.h>

#define DATA_MEDIA_RATE 16000

enum { DATA_MEDIA_FRAMES = 1, DATA_MEDIA_SOUND = 2 };

typedef struct data_media_limits { // 0: the default
    double seconds;                // of waiting for the child, 3600
    int64_t memory_mib;            // of its address space, 2048
    int64_t frames, samples;       // most that are taken: 10 million, 12 hours
} data_media_limits;

typedef struct data_media {
    int width, height, fps_num, fps_den; // as it is shown; fps as the container says, 0/1: it does not
    int rotation;                        // 0, 90, 180 or 270 degrees clockwise from what is stored to what is shown
    int has_audio, audio_rate, audio_channels;
    char video_codec[16], audio_codec[16]; // "": no such stream
    int64_t audio_offset_us;               // first sound - first frame in the file; pcm is already moved by it
    int64_t damaged;                       // packets that did not decode
    int64_t frames, *t_us;                 // (frames), increasing from 0
    int64_t samples;
    int16_t *pcm; // (samples), 16 kHz mono
} data_media;

// want: DATA_MEDIA_FRAMES and/or DATA_MEDIA_SOUND. limits may be NULL.
MN_MUST_CHECK mn_err data_media_read(const char *path, unsigned want, const data_media_limits *limits, data_media *out);
void data_media_free(data_media *m);

// Writing, for the generated corpora.
typedef struct data_media_spec {
    const char *path;          // .mp4 or .avi
    const char *video, *audio; // NULL: mpeg4, aac; else h264; mp3, pcm
    int width, height;         // even
    int fps_num, fps_den, vfr; // vfr: the times of the frames are kept, to 100 us; else put on the grid of fps
    int64_t frames;
    const int16_t *pcm; // (samples) 16 kHz mono; borrowed during create only
    int64_t samples;    // 0: a file without sound
    int rate, channels; // of the sound in the file; 0: 16000, 1
    int64_t audio_start_us;
    int drift_ppm; // the clock of the sound is so much too fast: sample i is heard at i (1 + ppm / 10^6) / rate
    int leap_us;   // from its middle on the sound is heard so much later (a lost packet) or earlier
    int rotation;  // written to the header; width and height are before it
} data_media_spec;
typedef struct data_media_writer data_media_writer;
MN_MUST_CHECK mn_err data_media_create(data_media_writer **out, const data_media_spec *spec);
MN_MUST_CHECK mn_err data_media_frame(data_media_writer *w, int64_t t_us, const uint8_t *rgb); // (height, width, 3)
// Waits for the child; the file is complete, or gone. Frees w in any case.
MN_MUST_CHECK mn_err data_media_finish(data_media_writer *w);
void data_media_abort(data_media_writer *w); // ends the child and removes the file

// Where mien-media is: $MIEN_MEDIA, else beside the running program or in the folder above it. Into path; MN_ENOINPUT.
MN_MUST_CHECK mn_err data_media_program(char *path, size_t size);

#endif
