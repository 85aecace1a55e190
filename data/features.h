// Feature folders: per-frame vectors of videos, one HDF5 part per rank and a manifest.json that names the run, step and
// weight digest they come from. A part has one group per video: x f32 [T, D] contiguous, t_us i64 [T].
//
//     data_features *f; MN_TRY(data_features_open(&f, "features/image"));
//     int64_t v = data_features_find(f, "video59_right");      // exact, else its stem without _left|_right; -1: none
//     data_track t; MN_TRY(data_features_track(f, v, &t));      // borrowed until close
//
// The layout is documented with a Python reader and writer in data/README.md. Threading: find and track may be called
// from any thread after open; everything is read into memory or mapped at open.
#ifndef DATA_FEATURES_H
#define DATA_FEATURES_H

#include "nn/base/err.h"

#include <stdint.h>

typedef struct data_track {
    const char *video;
    int64_t frames, dim;
    const float *x;      // (frames, dim)
    const int64_t *t_us; // (frames), increasing
} data_track;

typedef struct data_features data_features;
MN_MUST_CHECK mn_err data_features_open(data_features **out, const char *dir);
void data_features_close(data_features *f);
int64_t data_features_count(const data_features *f);
int64_t data_features_dim(const data_features *f);
int64_t data_features_find(const data_features *f, const char *video);
MN_MUST_CHECK mn_err data_features_track(const data_features *f, int64_t i, data_track *out);
const char *data_features_weights(const data_features *f); // digest of the weights that made them, "" if unknown
uint64_t data_features_digest(const data_features *f);
// Linear interpolation of track t at time t_us (clamped to its ends) into y (dim).
void data_track_at(const data_track *t, int64_t t_us, float *y);

// Writing: each rank one part; finish is called by one process after all parts are closed. Restartable: a video that a
// part already holds is reported by data_features_has.
typedef struct data_feature_writer data_feature_writer;
MN_MUST_CHECK mn_err data_feature_writer_open(data_feature_writer **out, const char *dir, int part);
int data_feature_writer_has(const data_feature_writer *w, const char *video);
MN_MUST_CHECK mn_err data_feature_writer_add(data_feature_writer *w, const data_track *t);
MN_MUST_CHECK mn_err data_feature_writer_close(data_feature_writer *w);
typedef struct data_feature_source {
    const char *run, *weights_digest, *model;
    int64_t step;
} data_feature_source;
MN_MUST_CHECK mn_err data_features_finish(const char *dir, int parts, const data_feature_source *source);

#endif
