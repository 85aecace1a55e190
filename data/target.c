#include "data/target.h"

#include <math.h>
#include <string.h>

const char *data_target_name(int task)
{
    static const char *const names[DATA_TASKS] = {"expr", "au", "va"};
    mn_assert(task >= 0 && task < DATA_TASKS);
    return names[task];
}

int64_t data_target_columns(int task)
{
    static const int64_t columns[DATA_TASKS] = {DATA_EXPRESSIONS, DATA_AUS, 2};
    mn_assert(task >= 0 && task < DATA_TASKS);
    return columns[task];
}

int64_t data_target_weights(int task, data_invalid invalid)
{
    return invalid == DATA_INVALID_FRAME || task == DATA_EXPR ? 1 : data_target_columns(task);
}

// Which columns count, a bit each; an expression is one column here.
static unsigned valid_columns(const data_index *x, int64_t record, int task, int64_t *columns)
{
    uint32_t mask = x->mask ? x->mask[record] : ~(uint32_t)0;
    unsigned valid = 0;
    *columns = task == DATA_EXPR ? 1 : data_target_columns(task);
    if (task == DATA_EXPR)
        return x->expr && (mask & DATA_HAS_EXPR) && x->expr[record] >= 0 && x->expr[record] < DATA_EXPRESSIONS;
    for (int64_t c = 0; c < *columns; c++) {
        int counts;
        if (task == DATA_AU)
            counts = x->au && (mask & (uint32_t)DATA_HAS_AU0 << c) && (x->au[record * DATA_AUS + c] & ~1) == 0;
        else
            counts = x->va && (mask & (uint32_t)DATA_HAS_VALENCE << c) && fabsf(x->va[record * 2 + c]) <= 1;
        valid |= (unsigned)counts << c;
    }
    return valid;
}

int data_target_valid(const data_index *x, int64_t record, int task, data_invalid invalid)
{
    int64_t columns;
    unsigned valid = valid_columns(x, record, task, &columns);
    return invalid == DATA_INVALID_COLUMN ? valid != 0 : valid == (1u << columns) - 1;
}

void data_target_read(const data_index *x, int64_t record, int task, data_invalid invalid, float *target, float *weight)
{
    int64_t columns, weights = data_target_weights(task, invalid);
    unsigned valid = valid_columns(x, record, task, &columns);
    memset(target, 0, (size_t)data_target_columns(task) * sizeof *target);
    memset(weight, 0, (size_t)weights * sizeof *weight);
    if (!data_target_valid(x, record, task, invalid)) return;
    for (int64_t w = 0; w < weights; w++)
        weight[w] = (float)(weights == 1 ? 1 : valid >> w & 1);
    if (task == DATA_EXPR) {
        target[x->expr[record]] = 1;
        return;
    }
    for (int64_t c = 0; c < columns; c++)
        if (valid >> c & 1) target[c] = task == DATA_AU ? (float)x->au[record * DATA_AUS + c] : x->va[record * 2 + c];
}
