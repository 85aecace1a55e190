// The loader under many threads, with shutdowns at any moment: a plain program, because ThreadSanitizer cannot run
// Criterion. Ends with 0 when every row handed out was right.
#include "loader_support.h"

#include "data/bench.h"
#include "nn/base/rng.h"

#include <stdio.h>

static int check_batch(const data_batch *b)
{
    for (int64_t i = 0; i < b->rows; i++) {
        data_draw draw = {b->at.seed, b->at.epoch, b->at.position + b->first_row + i};
        const float *image = (const float *)b->field[0] + i * PIXELS;
        for (int p = 0; p < PIXELS; p++)
            if (image[p] != counting_pixel(b->index[i], draw, p)) return 0;
        if (((const float *)b->field[2])[i] != 1) return 0;
    }
    return 1;
}

// One loader, closed after `batches` batches, the last of which may still be held.
static mn_err run(counting_set *set, mn_stream_rng *r, int *wrong)
{
    data_loader_cfg cfg = {.set = &set->base,
                           .batch = 1 + mn_rng_below(r, 40),
                           .world = 1 + (int)mn_rng_below(r, 4),
                           .threads = 1 + (int)mn_rng_below(r, 8),
                           .ahead = 1 + (int)mn_rng_below(r, 5),
                           .train = (int)mn_rng_below(r, 2),
                           .pairs = (int)mn_rng_below(r, 2)};
    cfg.rank = (int)mn_rng_below(r, cfg.world);
    int64_t batches = mn_rng_below(r, 30), watched = 0;
    data_loader *l;
    MN_TRY(data_loader_open(&l, &cfg, (data_state){mn_rng_u32(r), 0, 0}));
    for (int64_t k = 0; k < batches; k++) {
        const data_batch *b;
        int ready;
        mn_err err = data_loader_next(l, &b);
        watched = data_loader_progress(l, &ready);
        if (err != MN_OK || !b) break;
        if (!check_batch(b)) ++*wrong;
        if (k + 1 < batches || mn_rng_below(r, 2)) data_loader_release(l, b);
    }
    data_loader_close(l);
    return watched < 0 ? MN_EINTERNAL : MN_OK;
}

// Threads that decode share nothing: the pixels of one thread and of four are the same.
static mn_err decode_together(int *wrong)
{
    enum { SIZE = 24, ROWS = 8, VALUES = ROWS * SIZE * SIZE * 3 };
    data_bench_cfg cfg = {.pictures = 16, .side = 60, .quality = 90, .augment = data_augment_simmim(SIZE, 1)};
    cfg.augment.brightness = cfg.augment.hue = 0.1;
    static float alone[2][VALUES];
    data_set *s;
    MN_TRY(data_bench_pictures_open(&s, &cfg));
    mn_err err = MN_OK;
    for (int threads = 1; threads <= 4 && err == MN_OK; threads += 3) {
        data_loader_cfg loader = {.set = s, .batch = ROWS, .world = 1, .threads = threads, .ahead = 3, .train = 1};
        data_loader *l;
        err = data_loader_open(&l, &loader, (data_state){.seed = 1});
        if (err != MN_OK) break;
        for (int k = 0; k < 2 && err == MN_OK; k++) {
            const data_batch *b;
            err = data_loader_next(l, &b);
            if (err != MN_OK) break;
            for (int i = 0; i < VALUES; i++) {
                float v = ((const float *)b->field[0])[i];
                if (threads == 1)
                    alone[k][i] = v;
                else if (alone[k][i] != v)
                    ++*wrong;
            }
            data_loader_release(l, b);
        }
        data_loader_close(l);
    }
    data_set_close(s);
    return err;
}

int main(void)
{
    int wrong = 0;
    if (decode_together(&wrong) != MN_OK) {
        fprintf(stderr, "%s\n", mn_errmsg());
        return 1;
    }
    mn_stream_rng r = mn_rng_open(mn_rng_key(1, "stress"), 0, 0);
    for (int i = 0; i < 150; i++) {
        counting_set set = counting_set_make(40 + mn_rng_below(&r, 500));
        if (i % 5 == 0) set.bad = mn_rng_below(&r, set.base.count);
        mn_err err = run(&set, &r, &wrong);
        if (err != MN_OK || set.scratches != 0) {
            fprintf(stderr, "round %d: %s\n", i, mn_errmsg());
            return 1;
        }
    }
    if (wrong) fprintf(stderr, "%d values or batches with wrong content\n", wrong);
    return wrong != 0;
}
