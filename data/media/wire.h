// What mien-media and data/media.c say to each other over a pipe: chunks of a tag, a length and that many bytes, in the
// machine's own byte order (both ends are the same build on the same machine).
//
//     read:  TIMES and PCM chunks in any number, one INFO, then END; FAIL with a text ends it early
//     faces: FACES chunks of whole rows, a wire_face and its texts each, then END; FAIL with a text ends it early
//     make-faces: on the standard input, without chunks: the rows
//     make:  on the standard input, without chunks: the sound (samples x int16), then per frame an int64 time in
//            microseconds and width x height x 3 bytes of RGB
#ifndef DATA_MEDIA_WIRE_H
#define DATA_MEDIA_WIRE_H

#include <stdint.h>

#define WIRE_MAX_CHUNK (1u << 20) // bytes
#define WIRE_RATE 16000           // of the sound on the wire: mono, 16 bits

enum { WIRE_INFO = 'I', WIRE_TIMES = 'T', WIRE_PCM = 'P', WIRE_FACES = 'R', WIRE_END = 'E', WIRE_FAIL = 'F' };

typedef struct wire_head {
    uint32_t tag, bytes;
} wire_head;

typedef struct wire_info {
    int64_t audio_offset_us; // first sound - first frame, as the file has it
    int64_t damaged;         // packets that did not decode
    int32_t width, height, fps_num, fps_den;
    int32_t has_audio, audio_rate, audio_channels;
    int32_t rotation; // degrees clockwise that the file wants its pictures turned by; width and height are before that
    char video_codec[16], audio_codec[16];
} wire_info;

// A row of imdb.mat or wiki.mat, with the numbers as they are there, NaN where there is none. path_bytes of full_path
// (UTF-8, not 0-ended) follow, then name_bytes of the name (make-faces only), then zeros up to a multiple of 8.
typedef struct wire_face {
    double dob, photo_taken, gender, score, second_score, celeb_id, box[4]; // box: x1 y1 x2 y2, from 1
    uint32_t path_bytes, name_bytes;
} wire_face;
#define WIRE_TEXT_MOST 4096u // bytes of both texts

#endif
