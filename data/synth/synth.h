// Generated corpora in the on-disk layouts of the real ones, for the demo and the tests: faces whose geometry follows
// action units, expression, valence and arousal, and voices that follow arousal, of people who differ from each other.
//
//     data_synth_cfg cfg = {.out = "corpora", .kinds = "affwild2,celeba", .seed = 7, .videos = 40, .size = 64};
//     MN_TRY(data_synth(&cfg, NULL));        // corpora/affwild2/..., corpora/celeba/...
//
// Everything is a pure function of the configuration: the same bytes for every number of threads. (Between processors
// of different makes the last bit of a library function may differ, and with it a pixel.) Nothing about a label is in
// a name, an order, a size or a count; people of train, validation and test are different ones.
//
// What could be reached. data_synth_truth gives the labels, also of the test set, and the best guesses of an ideal
// observer who reads off exactly what face and voice show at that moment (data/synth/affect.h has the noise levels):
// mean squared error is least; CCC over many frames is about .94 valence / .39 arousal from the face, .29 / .92 from
// the voice, .94 / .92 from both. Expressions and action units are visible up to a small noise of their intensity:
// an ideal observer of the face errs only near the thresholds; the voice shows them only as far as they go with
// arousal and valence.
// Threading: data_synth starts threads of its own and is called from one thread.
#ifndef DATA_SYNTH_H
#define DATA_SYNTH_H

#include "data/kind.h"
#include "data/shard.h"
#include "nn/base/err.h"

#include <stdint.h>

typedef struct data_synth_cfg {
    const char *out;
    const char *kinds; // "affectnet,celeba": names of data_synth_kinds; NULL: all
    uint64_t seed;
    int64_t videos; // of affwild2, at least 3; 0: 20
    int64_t frames; // mean length of a video, at least 16; 0: 200
    int64_t images; // of each picture corpus, at least 8; 0: 600
    int size;       // pixels a side of an aligned face, 32..512; 0: 112
    int threads;    // 0: as many as there are processors
} data_synth_cfg;

typedef struct data_synth_report {
    int64_t pictures, videos, bytes; // bytes: of the pictures
    double seconds;
    int skipped;  // kinds that were already there, made with the same configuration
    int affwild2; // it is there: made or kept
} data_synth_report;

// Writes OUT/KIND for each kind: into a temporary folder that is renamed when it is complete, so OUT/KIND is whole or
// absent. A folder that was made with the same configuration is kept, with another one refused (MN_ECREATE);
// OUT/.KIND.synth remembers the configuration. report may be NULL. MN_EUSAGE: unknown kind or a number out of range.
MN_MUST_CHECK mn_err data_synth(const data_synth_cfg *cfg, data_synth_report *report);

typedef struct data_synth_truth {
    int split; // DATA_SPLIT_*
    int person;
    int expr; // 0..7
    double valence, arousal;
    uint8_t au[DATA_AUS];
    // Ideal observers of the face, the voice and both: valence, arousal; of the face: expression and action units.
    double face[2], voice[2], both[2];
    int face_expr;
    uint8_t face_au[DATA_AUS];
} data_synth_truth;

// The videos of affwild2 for a configuration, without making them.
typedef struct data_synth_videos data_synth_videos;
MN_MUST_CHECK mn_err data_synth_videos_open(data_synth_videos **out, const data_synth_cfg *cfg);
void data_synth_videos_close(data_synth_videos *v);
// name: of a crop folder or label file, "video59_right". frame: from 1. MN_ENOINPUT: no such video or frame.
MN_MUST_CHECK mn_err data_synth_truth_at(const data_synth_videos *v, const char *name, int64_t frame,
                                         data_synth_truth *out);

// Calls visit for each frame of a split that has a picture. subject: running number of its crop folder; invalid: for
// each task the columns that are not labelled, a bit each. Returns the number of subjects; visit may be NULL.
typedef void data_synth_visit(void *ctx, int64_t subject, const unsigned invalid[DATA_TASKS],
                              const data_synth_truth *t);
int64_t data_synth_truth_each(const data_synth_videos *v, int split, data_synth_visit *visit, void *ctx);

#endif
