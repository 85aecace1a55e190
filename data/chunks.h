// Whole tracks in pieces that overlap, for audio features: every 20 ms of a track gets one vector, from the piece in
// whose inner part it lies.
//
//     data_set *s; MN_TRY(data_chunks_open(&s, &(data_chunks_cfg){.dir = dir}));
//     for each sample of a batch (evaluation, in order):
//         data_chunk c; data_chunks_at(s, b->index[i], &c);
//         append rows [c.from, c.from + c.tokens) of the network's output; they are tokens c.first ... of track c.name
//         if (c.last) the track has all its c.track_tokens vectors, at data_chunks_us(s, token)
//
// Fields: wave f32 (samples of a chunk), normalised by itself, 0 behind the end of the track; valid f32 (tokens of a
// chunk): 1 where the token hears the track; weight f32: 1.
// A token is one output of the network: `field` samples wide, one every `hop`; token k of a track is at
// (k hop + field / 2) / 16000 s. Threading: as any data_set.
#ifndef DATA_CHUNKS_H
#define DATA_CHUNKS_H

#include "data/set.h"
#include "data/tracks.h"

typedef struct data_chunks_cfg {
    const char *dir;
    const char *split; // NULL: all
    int task;
    double seconds, overlap; // of a chunk, with the next one; 0: 20 and 1
    int64_t hop, field;      // 0: 320 and 400, wav2vec2's
    // Not NULL: only the tracks it returns 1 for, numbered from 0 in manifest order.
    int (*keep)(void *context, int64_t number, const char *name);
    void *context;
} data_chunks_cfg;

typedef struct data_chunk {
    const char *name; // of the media file, without its ending
    int64_t track;
    int64_t first;        // token of the track that row `from` is
    int64_t from, tokens; // rows of the output that count
    int64_t track_tokens;
    int last;
} data_chunk;

// MN_ECONFIG when a chunk is not longer than its overlap and one token. Tracks shorter than one token have no chunk.
MN_MUST_CHECK mn_err data_chunks_open(data_set **out, const data_chunks_cfg *cfg);
void data_chunks_at(const data_set *s, int64_t sample, data_chunk *out);
int64_t data_chunks_us(const data_set *s, int64_t token);
int64_t data_chunks_tokens(const data_set *s); // of a chunk

#endif
