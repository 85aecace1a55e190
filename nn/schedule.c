#include "nn/schedule.h"

#include <math.h>

static double warmup(const nn_schedule *s, double t)
{
    return s->warmup_lr + t * (s->lr - s->warmup_lr) / (double)s->warmup_steps;
}

// Half a cosine from lr to min_lr while t goes from 0 to steps.
static double cosine(const nn_schedule *s, double t, double steps)
{
    if (steps <= 0 || t >= steps) return s->min_lr;
    return s->min_lr + 0.5 * (s->lr - s->min_lr) * (1 + cos(M_PI * t / steps));
}

static double multistep(const nn_schedule *s, int64_t t)
{
    double lr = s->lr;
    for (int i = 0; i < s->n_milestones; i++)
        if (t >= s->milestone[i]) lr *= s->gamma;
    return lr;
}

double nn_schedule_lr(const nn_schedule *s, int64_t update)
{
    int64_t t = update;

    if (s->per_epoch > 0) t -= t % s->per_epoch;
    // The scheduler is stepped with n after update n has been made, so update n + 1 sees the value for n.
    if (s->timm_quirks && t > 0) t--;
    if (t < s->warmup_steps) return warmup(s, (double)t);
    switch (s->kind) {
    case NN_SCHED_COSINE:
        // timm's warmup_prefix is off by default: the cosine counts from update 0.
        if (s->timm_quirks) return cosine(s, (double)t, (double)s->steps);
        return cosine(s, (double)(t - s->warmup_steps), (double)(s->steps - s->warmup_steps));
    case NN_SCHED_MULTISTEP:
        return multistep(s, t);
    case NN_SCHED_CONSTANT:
        break;
    }
    return s->lr;
}
