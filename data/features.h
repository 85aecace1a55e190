// Feature folders: per-frame vectors of videos, one HDF5 part per rank and a manifest.json that names the run, step and
// weight digest they come from. A part has one group per video: x f32, f16 or bf16 [T, D] contiguous, t_us i64 [T],
// increasing.
//
//     data_features *f; MN_TRY(data_features_open(&f, "features/image"));
//     int64_t v = data_features_find(f, "video59_right");      // exact, else its stem without _left|_right; -1: none
//     data_track t; MN_TRY(data_features_track(f, v, &t));      // borrowed until close
//     data_track_rows(&t, first, n, x);                         // as floats, however they are stored
//
// The layout is documented with a Python reader and writer in data/README.md. A folder without a manifest (features made
// by other programs), or a single .h5 file, opens too: then x may also be f64, chunked or compressed, and is
// checked to be finite. With a manifest every byte is checked before HDF5 sees it.
// Threading: find and track may be called from any thread after open; everything is read into memory or mapped at open.
#ifndef DATA_FEATURES_H
#define DATA_FEATURES_H

#include "nn/base/err.h"

#include <stdint.h>

typedef enum data_store { DATA_FP32, DATA_FP16, DATA_BF16 } data_store;

typedef struct data_track {
    const char *video;
    int64_t frames, dim;
    const float *x;       // (frames, dim); NULL where they are stored in 16 bits
    const uint16_t *half; // (frames, dim) these, else NULL
    data_store store;     // what half is; DATA_FP32 with x
    const int64_t *t_us;  // (frames), increasing
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
const char *data_features_dtype(const data_features *f); // as stored: "f16", "bf16", "f32", "f64" or "mixed"
// Rows [first, first + n) of a track as floats (n, dim).
void data_track_rows(const data_track *t, int64_t first, int64_t n, float *x);
// Linear interpolation of track t at time t_us (clamped to its ends) into y (dim), with memory for another row beside.
void data_track_at(const data_track *t, int64_t t_us, float *y, float *scratch);

// Where features come from. weights_digest, model and store decide whether two extractions may share a folder.
typedef struct data_feature_source {
    const char *run, *weights_digest, *model;
    int64_t step;
    data_store store; // tracks of floats are rounded to it as they are added
} data_feature_source;

// Writing: each rank one part; finish is called by one process after all parts are closed. Restartable after a kill, on
// another number of ranks too: data_feature_writer_has tells which videos the folder held when the writer was opened,
// in any part. A folder with features of another source, or one that another process writes to, is MN_ECREATE.
typedef struct data_feature_writer data_feature_writer;
MN_MUST_CHECK mn_err data_feature_writer_open(data_feature_writer **out, const char *dir, int part,
                                              const data_feature_source *source);
int data_feature_writer_has(const data_feature_writer *w, const char *video);
// A track without frames, with values that are not finite (or not in the store's range) or times that do not increase is MN_EDATA.
MN_MUST_CHECK mn_err data_feature_writer_add(data_feature_writer *w, const data_track *t);
MN_MUST_CHECK mn_err
data_feature_writer_close(data_feature_writer *w); // the part is durable, or what was added is kept
MN_MUST_CHECK mn_err data_features_finish(const char *dir, const data_feature_source *source);

#endif
