// The latent process behind a generated video: what the person feels, which labels follow from it, and what the face
// and the voice show of it. Everything is a pure function of (key, row, time): nothing is stored, any frame can be asked
// for first.
//
// Labels. A semi-Markov chain of expressions (a segment lasts 0.6 to 2.4 s, fading in and out), valence and arousal =
// centroid of the expression x its intensity + an own smooth process, action units = FACS-like table of the expression
// x intensity x style of the segment, or events of their own, whichever is stronger.
// Shown. Face and voice each see own valence and arousal plus independent smooth noise: the face reads valence well and
// arousal badly, the voice the other way round (DATA__FACE_NOISE_*, DATA__VOICE_NOISE_* below).
// Internal to data/synth. Threading: pure functions.
#ifndef DATA_SYNTH_AFFECT_H
#define DATA_SYNTH_AFFECT_H

#include "data/shard.h"

#include <stdint.h>

// Drives of the face: the 12 labelled action units in Aff-Wild2's order (1 2 4 6 7 10 12 15 23 24 25 26), then what
// expressions need beside them.
enum {
    DATA__AU1,  // inner brow raiser
    DATA__AU2,  // outer brow raiser
    DATA__AU4,  // brow lowerer
    DATA__AU6,  // cheek raiser
    DATA__AU7,  // lid tightener
    DATA__AU10, // upper lip raiser
    DATA__AU12, // lip corner puller
    DATA__AU15, // lip corner depressor
    DATA__AU23, // lip tightener
    DATA__AU24, // lip pressor
    DATA__AU25, // lips part
    DATA__AU26, // jaw drop
    DATA__AU5,  // upper lid raiser
    DATA__AU9,  // nose wrinkler
    DATA__AU17, // chin raiser
    DATA__AU20, // lip stretcher
    DATA__SKEW, // one-sided: brow and mouth corner of one side only
    DATA__DRIVES
};

// Standard deviations of the own valence and arousal processes and of the noise in what is shown of them.
#define DATA__OWN_VALENCE 0.30
#define DATA__OWN_AROUSAL 0.42
#define DATA__FACE_NOISE_VALENCE 0.15
#define DATA__FACE_NOISE_AROUSAL 0.90
#define DATA__VOICE_NOISE_VALENCE 0.90
#define DATA__VOICE_NOISE_AROUSAL 0.18
#define DATA__AU_THRESHOLD 0.5    // a unit at or above it is labelled active
#define DATA__EXPR_THRESHOLD 0.35 // an expression weaker than it is labelled Neutral

typedef struct data__affect {
    // labels
    int expr; // 0..7, Aff-Wild2's order
    double valence, arousal;
    float au[DATA_AUS]; // intensity; active at DATA__AU_THRESHOLD
    // shown
    int shown_expr;           // the expression the face shows, Neutral or not
    double intensity;         // and how strongly
    double seen;              // the same with the noise of what is shown
    float face[DATA__DRIVES]; // drives of the face, with noise
    double face_own[2];       // own valence, arousal as the face shows them
    double voice[2];          // valence, arousal as the voice shows them
    double centroid[2];       // the expression's part of valence, arousal
} data__affect;

// Smooth noise: N(0, 1) at every x, correlated over about 1.2 units of x, twice differentiable; channels and rows are
// independent.
double data__smooth(uint64_t key, uint64_t row, uint32_t channel, double x);

// The process `row` at `seconds`. Rows 8k .. 8k+7 share out the eight expressions evenly at every moment.
void data__affect_at(uint64_t key, uint64_t row, double seconds, data__affect *out);
// A picture on its own: expression `expr` near its peak.
void data__affect_still(uint64_t key, uint64_t row, int expr, data__affect *out);

// What an ideal observer would say who reads off exactly what is shown, knows the model, and sees no other moment: the
// expectation of (valence, arousal), linear in what is shown. use: bit 0 the face, bit 1 the voice; 0: the mean.
void data__affect_best(const data__affect *a, unsigned use, double va[2]);

#endif
