// One feature file (HDF5): groups of x and t_us, read into memory or mapped. Shared by data/features*.c.
#ifndef DATA_FEATURES_FILE_H
#define DATA_FEATURES_FILE_H

#include "data/features.h"
#include "data/shard_manifest.h"
#include "nn/base/map.h"

#define DATA__FEATURES_FORMAT "mien-features"

typedef struct data__feature_file {
    char *path;
    mn_map map;
    int64_t n; // tracks, by name
    data_track *tracks;
    char **owned;                  // (n): tracks whose x was read; NULL: it points into the map
    char weights[128], model[128]; // attributes of our own files, else ""
    const char *dtype;             // of x as it is stored: "f16", "bf16", "f32", "f64"; "mixed"; NULL: no track
} data__feature_file;

// own: 1 when the file's digest vouches for it; 0 checks every value to be finite.
MN_MUST_CHECK mn_err data__feature_file_open(data__feature_file *out, const char *path, int own);
void data__feature_file_close(data__feature_file *f);

extern const char *const data__store_names[]; // order of data_store
// 1 when the name may be the name of a group.
int data__feature_name_ok(const char *video);
// MN_EDATA unless the track has frames, finite values and increasing times.
MN_MUST_CHECK mn_err data__feature_track_check(const data_track *t, const char *path);
// XXH3-128 of name, extent, times and values, as floats: however they are stored.
MN_MUST_CHECK mn_err data__feature_track_digest(const data_track *t, char text[DATA__DIGEST_TEXT]);

#endif
