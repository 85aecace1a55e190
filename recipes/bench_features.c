// mien bench data of a feature folder: how long opening takes, and how fast windows of rows come out of the mapped files
// as floats, beside memcpy of as many bytes.
#include "recipes/bench.h"

#include "data/features.h"
#include "nn/base/clock.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 100, PASSES = 5 }; // rows that are read together; the best of so many

typedef struct reading {
    data_features *features;
    data_track *track;
    int64_t *window, *first, n; // of all windows in order: their track, and its row they begin with
    int64_t *before;            // and the rows of all windows before
    int64_t rows, dim;
    float *out; // (WINDOW, dim)
} reading;

static mn_err list_windows(reading *r)
{
    int64_t tracks = data_features_count(r->features), most = 0;
    r->track = mn_calloc((size_t)tracks, sizeof *r->track);
    for (int64_t i = 0; i < tracks; i++) {
        MN_TRY(data_features_track(r->features, i, &r->track[i]));
        most += r->track[i].frames / WINDOW + 1;
        r->rows += r->track[i].frames;
    }
    r->window = mn_calloc((size_t)most, sizeof *r->window);
    r->first = mn_calloc((size_t)most, sizeof *r->first);
    r->before = mn_calloc((size_t)most, sizeof *r->before);
    int64_t rows = 0;
    for (int64_t i = 0; i < tracks; rows += r->track[i++].frames)
        for (int64_t at = 0; at < r->track[i].frames; at += WINDOW) {
            r->window[r->n] = i;
            r->before[r->n] = rows + at;
            r->first[r->n++] = at;
        }
    return MN_OK;
}

static int64_t rows_of(const reading *r, int64_t k)
{
    int64_t left = r->track[r->window[k]].frames - r->first[k];
    return left < WINDOW ? left : WINDOW;
}

// Seconds of a pass over all windows, in their order or shuffled. copy: memory of as many bytes as all rows are stored
// in, read in the same pieces, or NULL: the features.
static double best_pass(const reading *r, int shuffled, const char *copy, size_t row_bytes)
{
    double best = 0;
    for (int p = 0; p < PASSES; p++) {
        double began = mn_seconds();
        for (int64_t i = 0; i < r->n; i++) {
            int64_t k = shuffled ? mn_rng_permute(7, r->n, i) : i, n = rows_of(r, k);
            if (copy)
                memcpy(r->out, copy + (size_t)r->before[k] * row_bytes, (size_t)n * row_bytes);
            else
                data_track_rows(&r->track[r->window[k]], r->first[k], n, r->out);
        }
        double seconds = mn_seconds() - began;
        if (p == 0 || seconds < best) best = seconds;
    }
    return best;
}

mn_err mien_bench_features(const mien_bench_data_cfg *cfg)
{
    reading r = {0};
    char *copy = NULL;
    mn_err err = MN_OK;
    double began = mn_seconds();
    MN_TRY(data_features_open(&r.features, cfg->dir));
    double open_s = mn_seconds() - began;
    MN_TRY_OUT(err, list_windows(&r));
    r.dim = data_features_dim(r.features);
    const char *dtype = data_features_dtype(r.features);
    size_t row = (size_t)r.dim * (strstr(dtype, "16") ? 2 : 4);
    r.out = mn_calloc((size_t)(WINDOW * r.dim), sizeof *r.out);
    copy = malloc((size_t)r.rows * row);
    if (!copy) {
        err =
            mn_fail(MN_EMEM, "no memory for a copy of the %.0f MB to compare with", (double)r.rows * (double)row / 1e6);
        goto out;
    }
    memset(copy, 1, (size_t)r.rows * row);
    double bytes = (double)r.rows * (double)row;
    double order = best_pass(&r, 0, NULL, 0), random = best_pass(&r, 1, NULL, 0);
    double copy_order = best_pass(&r, 0, copy, row), copy_random = best_pass(&r, 1, copy, row);
    printf(cfg->json
               ? "{\"bench\": \"features\", \"rows\": %lld, \"dim\": %lld, \"dtype\": \"%s\", \"open_s\": %.3f, "
                 "\"in_order_gb_s\": %.2f, \"shuffled_gb_s\": %.2f, \"memcpy_in_order_gb_s\": %.2f, "
                 "\"memcpy_shuffled_gb_s\": %.2f, \"row_us\": %.3f}\n"
               : "features      %lld rows of %lld %s, opened in %.3f s\n"
                 "windows of 100 rows, GB/s of the file: in order %.2f, shuffled %.2f; memcpy %.2f and %.2f; a row "
                 "%.3f us\n",
           (long long)r.rows, (long long)r.dim, dtype, open_s, bytes / order / 1e9, bytes / random / 1e9,
           bytes / copy_order / 1e9, bytes / copy_random / 1e9, random / (double)r.rows * 1e6);
out:
    free(copy);
    free(r.out);
    free(r.before);
    free(r.first);
    free(r.window);
    free(r.track);
    data_features_close(r.features);
    return err;
}
