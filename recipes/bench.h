// What the bench verb measures. Threading: one thread.
#ifndef RECIPES_BENCH_H
#define RECIPES_BENCH_H

#include "nn/base/err.h"

#include <stdint.h>

typedef struct mien_bench_cfg {
    const char *model;     // simmim, simmim_b, wav2vec2, cca
    int64_t batch, rounds; // batch 0: that of the model
    int device;            // as of mien_device_open
    int bf16, json, serve, profile, ops;
    int no_graph;  // a GPU gets every step call by call
    int recompute; // nn_graph_cfg
    double peak;   // 10^12 operations a second, to state the share of it; 0: not known
} mien_bench_cfg;

MN_MUST_CHECK mn_err mien_bench_step(const mien_bench_cfg *cfg); // ops: the time of each operator instead
// where: the folder that gets a folder of its own for the time of the measurement.
MN_MUST_CHECK mn_err mien_bench_checkpoint(const mien_bench_cfg *cfg, const char *where);

enum { MIEN_BENCH_OVERRIDES = 64 };
typedef struct mien_bench_loader_cfg {
    int64_t threads, side, size; // side of the stored pictures, of those in the batch
    int64_t batch, rounds;
    double seconds;       // of a round
    const char *pictures; // folder to write them to, or NULL
    const char *sheet;    // PNG of the first batch, or NULL
    const char *recipe;   // whose training data is read instead; NULL: generated pictures
    const char *overrides[MIEN_BENCH_OVERRIDES];
    int64_t n_overrides;
    int json, serve, strong, bf16;
} mien_bench_loader_cfg;

MN_MUST_CHECK mn_err mien_bench_loader(const mien_bench_loader_cfg *cfg);

typedef struct mien_bench_data_cfg {
    const char *dir; // dataset or feature folder
    int64_t batch;
    int json;
} mien_bench_data_cfg;

MN_MUST_CHECK mn_err mien_bench_data(const mien_bench_data_cfg *cfg);
MN_MUST_CHECK mn_err mien_bench_features(const mien_bench_data_cfg *cfg);

#endif
