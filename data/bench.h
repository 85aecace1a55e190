// What `mien bench loader` measures: the loader on generated pictures of the size of face crops, kept in memory as JPEG
// bytes, so that reading the disk is not part of the figure.
//
//     data_set *s; MN_TRY(data_bench_pictures_open(&s, &(data_bench_cfg){.pictures = 64, .side = 250, .quality = 92,
//                                                                        .augment = data_augment_simmim(192, 1)}));
//     data_bench_result r; MN_TRY(data_bench_loader(&cfg, 5.0, &r));   // cfg.set = s
//     data_set_close(s);
//
// Threading: one thread.
#ifndef DATA_BENCH_H
#define DATA_BENCH_H

#include "data/augment.h"
#include "data/loader.h"

typedef struct data_bench_cfg {
    int pictures, side, quality; // JPEG, 4:2:0
    data_augment augment;
} data_bench_cfg;
// Fields: image (S, S, 3) of the type that augment has, weight f32. An epoch is `pictures` samples.
MN_MUST_CHECK mn_err data_bench_pictures_open(data_set **out, const data_bench_cfg *cfg);
double data_bench_pictures_bytes(const data_set *s); // mean size of the stored pictures
// Writes them as DIR/00000.jpg ..., for programs to compare with. The folder must exist.
MN_MUST_CHECK mn_err data_bench_pictures_write(const data_set *s, const char *dir);

typedef struct data_bench_result {
    int64_t rows;
    double seconds, rows_per_s;
    double cpu_s;              // of the loader's threads and the consumer
    double stage[DATA_STAGES]; // seconds that the loader's threads spent, and all that they had; first batches and the
    double threads_s;          // batches ahead included
} data_bench_result;
// Takes batches for about `seconds` after the first ones, which warm up.
MN_MUST_CHECK mn_err data_bench_loader(const data_loader_cfg *cfg, double seconds, data_bench_result *out);

// What the libraries' part costs alone: whole pictures decoded one after the other by libjpeg-turbo. Pictures a second.
MN_MUST_CHECK mn_err data_bench_decode(const data_set *pictures, double seconds, double *per_s);

#endif
