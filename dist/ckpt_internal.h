// What the writer (ckpt.c, ckpt_write.c), the reader (ckpt_read.c) and the manifest (ckpt_manifest.c) share.
#ifndef DIST_CKPT_INTERNAL_H
#define DIST_CKPT_INTERNAL_H

#include "dist/ckpt.h"

#include "nn/base/file.h"

#define DIST_CKPT_VERSION 1

enum { DIST_CKPT_MODEL, DIST_CKPT_OPTIMIZER, DIST_CKPT_STATE, DIST_CKPT_FILES };

typedef struct dist__manifest {
    int64_t size[DIST_CKPT_FILES];
    char digest[DIST_CKPT_FILES][MN_DIGEST_SIZE];
    int64_t step, attempt;
    uint64_t binary;
} dist__manifest;

extern const char *const dist__ckpt_file[DIST_CKPT_FILES];

// A copy of everything a checkpoint holds, in one block of memory.
typedef struct dist__snapshot {
    nn_params *params;     // names, shapes and offsets only
    float *master, *m, *v; // (count), (trained), (trained)
    size_t bytes;
    dist_state state;
    int64_t updates;
} dist__snapshot;

char *dist__state_text(const dist__snapshot *s); // caller frees
MN_MUST_CHECK mn_err dist__state_parse(const char *text, size_t size, const char *path, dist_state *s,
                                       int64_t *updates);
char *dist__manifest_text(const dist__manifest *m); // caller frees
MN_MUST_CHECK mn_err dist__manifest_parse(const char *text, size_t size, const char *path, dist__manifest *m);

// Writes the folder dir/step-%08d from the snapshot; nothing is visible under that name before it is complete.
// *last: step of the newest checkpoint of this run's course; those after it are set aside. Becomes the new one's.
MN_MUST_CHECK mn_err dist__ckpt_write(const dist_ckpt_cfg *cfg, const dist__snapshot *s, int64_t *last);
// Reads the newest back, then keeps `keep` of those up to it and the best; MN_EDATA, and nothing removed, when it does not verify.
// One that cannot be removed is a warning.
MN_MUST_CHECK mn_err dist__ckpt_prune(const dist_ckpt_cfg *cfg, int64_t newest, int64_t best_step);
// Highest attempt number claimed in the run folder above `ckpt_dir`.
MN_MUST_CHECK mn_err dist__attempt_highest(const char *run_folder, int64_t *highest);
// Steps of the checkpoint folders of dir, newest first; *n = 0 when there are none. Free with free().
MN_MUST_CHECK mn_err dist__ckpt_list(const char *dir, int64_t **steps, int64_t *n);

#endif
