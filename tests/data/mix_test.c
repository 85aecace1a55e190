#include "data/mix.h"

#include "loader_support.h"

#include <criterion/criterion.h>
#include <string.h>

Test(mix, sets_come_in_their_shares_and_keep_their_ids)
{
    counting_set a = counting_set_make(100), b = counting_set_make(40);
    data_set *s;
    cr_assert_eq(data_mix_open(&s, (data_set *[]){&a.base, &b.base}, (double[]){0.5, 2}, 2), MN_OK);
    cr_assert_eq(s->count, 140);
    data_loader_cfg cfg = {.set = s, .batch = 13, .world = 1, .threads = 3, .ahead = 2, .train = 1};
    data_loader *l;
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){3, 0, 0}), MN_OK);
    cr_assert_eq(data_loader_batches(l), 10); // 50 + 80 samples
    cr_assert_eq(data_set_epoch(s), 130);
    int seen[140] = {0};
    for (int k = 0; k < 20; k++) {
        const data_batch *batch;
        cr_assert_eq(data_loader_next(l, &batch), MN_OK);
        for (int64_t i = 0; i < batch->rows; i++) {
            int64_t index = batch->index[i], inside;
            int part = data_mix_part(s, index, &inside);
            seen[index]++;
            cr_assert(part == (index >= 100) && inside == index - part * 100);
            cr_assert_eq(s->ops->id(s, index), (uint64_t)part << 48 | (uint64_t)inside);
            data_draw draw = {3, k / 10, batch->at.position + i};
            cr_assert_eq(((float *)batch->field[0])[i * PIXELS + 5], counting_pixel(inside, draw, 5));
        }
        data_loader_release(l, batch);
    }
    for (int i = 0; i < 140; i++)
        cr_assert_eq(seen[i], i < 100 ? 1 : 4, "sample %d came %d times", i, seen[i]);
    data_loader_close(l);
    cr_assert_eq(a.scratches, 0);
    cr_assert_eq(b.scratches, 0);
    data_set_close(s);
}

Test(mix, evaluation_goes_through_each_set_once)
{
    counting_set a = counting_set_make(9), b = counting_set_make(4);
    data_set *s;
    const data_batch *batch;
    data_loader *l;
    cr_assert_eq(data_mix_open(&s, (data_set *[]){&a.base, &b.base}, (double[]){0.5, 2}, 2), MN_OK);
    data_loader_cfg cfg = {.set = s, .batch = 20, .world = 1, .threads = 1, .ahead = 1};
    cr_assert_eq(data_loader_open(&l, &cfg, (data_state){0}), MN_OK);
    cr_assert_eq(data_loader_next(l, &batch), MN_OK);
    cr_assert_eq(batch->rows, 13);
    for (int64_t i = 0; i < 13; i++)
        cr_assert_eq(batch->index[i], i);
    data_loader_close(l);
    data_set_close(s);
}

Test(mix, sets_that_do_not_fit_and_weights_without_meaning_are_refused)
{
    counting_set a = counting_set_make(9), b = counting_set_make(4);
    data_set *s;
    cr_assert_eq(data_mix_open(&s, (data_set *[]){&a.base, &b.base}, (double[]){1, 0}, 2), MN_ECONFIG);
    cr_assert_eq(data_mix_open(&s, (data_set *[]){&a.base, &b.base}, (double[]){1, -1}, 2), MN_ECONFIG);
    b.base.field[0].shape = MN_SHAPE(2, 4, 4);
    cr_assert_eq(data_mix_open(&s, (data_set *[]){&a.base, &b.base}, (double[]){1, 1}, 2), MN_ECONFIG);
    cr_assert(strstr(mn_errmsg(), "set 2") != NULL, "%s", mn_errmsg());
}
