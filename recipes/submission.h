// Predictions of frames in the forms that people hand in: one table with everything, one text per video (ABAW 1 to 3),
// or one text for all (ABAW 4 to 6) in the order of the organisers' sample file.
//
//     mien_predictions p = {.task = DATA_VA, .clip = clips, .n_clips = n, .row = rows, .n_rows = m};
//     mien_predictions_sort(&p);
//     MN_TRY(mien_write_images(&p, "out/predictions.txt", "CVPR_6th_ABAW_VA_test_set_sample.txt"));
//
// Submissions have a row for every frame: one that the network has not seen (no face was found there) gets the
// prediction of the nearest frame of its video that it has, the earlier one of two; a video without any gets zeros.
// Values: EXPR the class with the largest logit, the lowest of equals; AU 1 where logit >= 0; VA clamped to [-1, 1].
// Threading: one thread.
#ifndef RECIPES_SUBMISSION_H
#define RECIPES_SUBMISSION_H

#include "data/target.h"

typedef struct mien_row {
    int32_t video, frame; // number of the clip; 1-based
    int64_t t_us;
    float prediction[DATA_MAX_TARGETS]; // logits, or valence and arousal
    float target[DATA_MAX_TARGETS];     // NaN: no label
} mien_row;

typedef struct mien_clip {
    const char *name;
    int64_t frames;       // in the video
    int64_t first, count; // its rows, set by sort
} mien_clip;

typedef struct mien_predictions {
    int task; // DATA_EXPR, DATA_AU, DATA_VA
    int n_clips;
    mien_clip *clip; // in byte order of the names
    int64_t n_rows;
    mien_row *row; // by clip and frame, after sort
} mien_predictions;

void mien_predictions_sort(mien_predictions *p);
int mien_clip_find(const mien_predictions *p, const char *name, size_t length); // -1: none of that name
// The row that stands for a frame of a clip, NULL when the clip has none.
const mien_row *mien_row_for(const mien_predictions *p, const mien_clip *c, int64_t frame);
// Clips of which no frame was predicted.
int mien_clips_empty(const mien_predictions *p);

// video,frame,t_us, the decision, probabilities, and the truth where there are labels (empty: none for this frame); one
// line for each frame that the network has seen.
MN_MUST_CHECK mn_err mien_write_csv(const mien_predictions *p, const char *path);
// DIR/<video>.txt: the header of the track's label files, and one line for each frame 1 .. frames.
MN_MUST_CHECK mn_err mien_write_videos(const mien_predictions *p, const char *dir);
// "image_location,..." and lines "<video>/<%05d>.jpg,...": those of the sample file in its order (NULL: all). A line of
// the sample that names no frame of these videos, or one twice, is MN_EDATA with file and line; the number of a frame
// may be one above the video's, for counts of players differ by that.
// mien_sample_check does so before there are rows, also for the text of a file that has been read (and a 0 behind it).
MN_MUST_CHECK mn_err mien_sample_check(const mien_predictions *p, const char *sample);
MN_MUST_CHECK mn_err mien_sample_check_text(const mien_predictions *p, const char *name, const char *text, size_t size);
MN_MUST_CHECK mn_err mien_write_images(const mien_predictions *p, const char *path, const char *sample);

#endif
