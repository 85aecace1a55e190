// Learning rate as a pure function of the update. Threading: pure functions.
#ifndef NN_SCHEDULE_H
#define NN_SCHEDULE_H

#include <stdint.h>

typedef enum nn_schedule_kind { NN_SCHED_CONSTANT, NN_SCHED_COSINE, NN_SCHED_MULTISTEP } nn_schedule_kind;

enum { NN_MILESTONES = 8 };

typedef struct nn_schedule {
    nn_schedule_kind kind;
    double lr, warmup_lr, min_lr;
    int64_t steps, warmup_steps;      // total and warm-up updates
    int64_t milestone[NN_MILESTONES]; // multistep: updates at which lr *= gamma
    int n_milestones;
    double gamma;
    // The reference implementations' quirks (timm, as microsoft/SimMIM uses it): the value for update n is set after update n - 1,
    // so the first two updates use the warm-up start, and the cosine does not subtract the warm-up.
    int timm_quirks;
    int64_t per_epoch; // > 0: the value changes once per this many updates (the CCA reference)
} nn_schedule;

double nn_schedule_lr(const nn_schedule *s, int64_t update);

#endif
