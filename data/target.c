#include "data/target.h"

#include <string.h>

int64_t data_target_count(int task)
{
    static const int64_t counts[DATA_TASKS] = {[DATA_EXPR] = DATA_EXPRESSIONS, [DATA_AU] = DATA_AUS, [DATA_VA] = 2};
    return counts[task];
}

static void expression(const data_index *x, int64_t r, float *target, float *weight)
{
    int e = x->expr ? x->expr[r] : -1, valid = e >= 0 && e < DATA_EXPRESSIONS && x->mask[r] & DATA_HAS_EXPR;
    if (valid) target[e] = 1;
    for (int k = 0; k < DATA_EXPRESSIONS; k++)
        weight[k] = (float)valid;
}

static void action_units(const data_index *x, int64_t r, float *target, float *weight)
{
    for (int k = 0; k < DATA_AUS; k++) {
        int valid = x->au && x->mask[r] & (uint32_t)DATA_HAS_AU0 << k;
        weight[k] = (float)valid;
        if (valid) target[k] = x->au[r * DATA_AUS + k] > 0 ? 1.0f : 0.0f;
    }
}

static void valence_arousal(const data_index *x, int64_t r, float *target, float *weight)
{
    static const uint32_t bit[2] = {DATA_HAS_VALENCE, DATA_HAS_AROUSAL};
    for (int k = 0; k < 2; k++) {
        int valid = x->va && x->mask[r] & bit[k];
        weight[k] = (float)valid;
        if (valid) target[k] = x->va[r * 2 + k];
    }
}

int data_target(const data_index *x, int64_t record, int task, int by_column, float *target, float *weight)
{
    int64_t n = data_target_count(task), valid = 0;
    memset(target, 0, (size_t)n * sizeof *target);
    if (task == DATA_EXPR)
        expression(x, record, target, weight);
    else if (task == DATA_AU)
        action_units(x, record, target, weight);
    else
        valence_arousal(x, record, target, weight);
    for (int64_t k = 0; k < n; k++)
        valid += weight[k] > 0;
    if (by_column || valid == n) return valid > 0;
    memset(target, 0, (size_t)n * sizeof *target);
    memset(weight, 0, (size_t)n * sizeof *weight);
    return 0;
}
