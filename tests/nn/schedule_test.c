// Learning rates against values worked out from the reference implementations' definitions (shapes of the curves in
// nn/schedule.h).
#include "nn/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

static void expect_lr(const nn_schedule *s, int64_t update, double want)
{
    double have = nn_schedule_lr(s, update);
    cr_expect(fabs(have - want) <= 1e-12 + 1e-9 * fabs(want), "update %lld: %.12g, want %.12g", (long long)update, have,
              want);
}

// SimMIM's 100-epoch recipe at 10 updates per epoch, as timm's scheduler gives it.
static const nn_schedule simmim = {.kind = NN_SCHED_COSINE,
                                   .lr = 2e-4,
                                   .warmup_lr = 1e-6,
                                   .min_lr = 1e-5,
                                   .steps = 1000,
                                   .warmup_steps = 100,
                                   .timm_quirks = 1};

Test(schedule, timm_cosine)
{
    expect_lr(&simmim, 0, 1e-6);
    expect_lr(&simmim, 1, 1e-6); // the first two updates use the start of the warm-up
    expect_lr(&simmim, 2, 1e-6 + 1.99e-6);
    expect_lr(&simmim, 100, 1e-6 + 99 * 1.99e-6);
    // The cosine counts from update 0: at the end of the warm-up it is already down.
    expect_lr(&simmim, 101, 1e-5 + 0.5 * 1.9e-4 * (1 + cos(M_PI * 0.1)));
    cr_expect_float_eq((nn_schedule_lr(&simmim, 101) - 1e-5) / 1.9e-4, 0.976, 5e-4);
    expect_lr(&simmim, 501, 1e-5 + 0.95e-4);
    expect_lr(&simmim, 1000, 1e-5 + 0.5 * 1.9e-4 * (1 + cos(M_PI * 0.999)));
    expect_lr(&simmim, 1001, 1e-5);
    expect_lr(&simmim, 5000, 1e-5);
}

Test(schedule, plain_cosine_is_continuous)
{
    nn_schedule s = simmim;
    s.timm_quirks = 0;
    expect_lr(&s, 0, 1e-6);
    expect_lr(&s, 1, 1e-6 + 1.99e-6);
    expect_lr(&s, 100, 2e-4);
    expect_lr(&s, 550, 1e-5 + 0.95e-4);
    expect_lr(&s, 1000, 1e-5);
}

// SimMIM's 800-epoch recipe: a tenth after epoch 700, no cosine.
Test(schedule, multistep)
{
    nn_schedule s = {.kind = NN_SCHED_MULTISTEP,
                     .lr = 1e-4,
                     .warmup_lr = 5e-7,
                     .warmup_steps = 10,
                     .steps = 800,
                     .milestone = {700, 750},
                     .n_milestones = 2,
                     .gamma = 0.1};
    expect_lr(&s, 9, 5e-7 + 9 * (1e-4 - 5e-7) / 10);
    expect_lr(&s, 10, 1e-4);
    expect_lr(&s, 699, 1e-4);
    expect_lr(&s, 700, 1e-5);
    expect_lr(&s, 750, 1e-6);
    s.timm_quirks = 1;
    expect_lr(&s, 700, 1e-4);
    expect_lr(&s, 701, 1e-5);
}

// The CCA reference: epochs 0, .0002, .0004, .0006, .0008, .001, .000996, ..., 4e-6 (7 updates each).
Test(schedule, changes_once_per_epoch)
{
    nn_schedule s = {.kind = NN_SCHED_COSINE, .lr = 1e-3, .steps = 30 * 7, .warmup_steps = 5 * 7, .per_epoch = 7};
    static const double first[] = {0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3};
    for (int epoch = 0; epoch < 6; epoch++)
        for (int k = 0; k < 7; k++)
            expect_lr(&s, epoch * 7 + k, first[epoch]);
    cr_expect_float_eq(nn_schedule_lr(&s, 6 * 7 + 3), 0.000996, 5e-7);
    cr_expect_float_eq(nn_schedule_lr(&s, 30 * 7 - 1), 4e-6, 1e-7);
}

Test(schedule, constant_and_degenerate)
{
    nn_schedule s = {.kind = NN_SCHED_CONSTANT, .lr = 0.5};
    expect_lr(&s, 0, 0.5);
    expect_lr(&s, 1000000, 0.5);
    s = (nn_schedule){.kind = NN_SCHED_COSINE, .lr = 1, .min_lr = 0.25, .steps = 4, .warmup_steps = 4};
    expect_lr(&s, 3, 0.75);
    expect_lr(&s, 4, 0.25); // nothing is left for the cosine
    s.steps = 0;
    s.warmup_steps = 0;
    expect_lr(&s, 0, 0.25);
}
