// A voice-like sound at 16 kHz: a glottal pulse train through three formants, in syllables. Pitch, loudness, spectral
// tilt, tempo and roughness follow the arousal that the voice shows; formants (a smile shortens the mouth) and the
// melody of a syllable follow the valence it shows. Base pitch, tract length, microphone and room differ from person to
// person and video to video, so none of them tells anything by its absolute value.
// Internal to data/synth. Threading: a pure function.
#ifndef DATA_SYNTH_VOICE_H
#define DATA_SYNTH_VOICE_H

#include "data/synth/face.h"

#include <stdint.h>

#define DATA__VOICE_RATE 16000
#define DATA__VOICE_STEPS 100 // per second, of what drives it

// shown: (steps, 2) valence, arousal, DATA__VOICE_STEPS a second; pcm gets `samples` samples. row: of the video.
void data__voice_make(uint64_t key, uint64_t row, const data__person *p, const float *shown, int64_t steps,
                      int16_t *pcm, int64_t samples);

#endif
