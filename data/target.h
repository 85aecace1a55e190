// Labels of records as training targets: what is valid, and as which numbers the losses want them.
//
//     expr  f32 (8)   one-hot, Aff-Wild2's order        au  f32 (12)  0 or 1        va  f32 (2)  valence, arousal
//
// A column counts when the record's mask has its bit and its value is in range; what does not count is 0 with weight 0.
// Threading: pure functions.
#ifndef DATA_TARGET_H
#define DATA_TARGET_H

#include "data/shard.h"

// data.invalid: a record with any invalid column of its task is left out, or only these columns are.
typedef enum data_invalid { DATA_INVALID_FRAME, DATA_INVALID_COLUMN } data_invalid;

enum { DATA_MAX_TARGETS = 12 };

const char *data_target_name(int task); // "expr", "au", "va"
int64_t data_target_columns(int task);  // 8, 12, 2: numbers of a target
// Numbers that weigh a target: 1, or one a column with DATA_INVALID_COLUMN. An expression is always one label.
int64_t data_target_weights(int task, data_invalid invalid);

// Whether the record has a target of the task under this rule.
int data_target_valid(const data_index *x, int64_t record, int task, data_invalid invalid);
// target (columns), weight (weights). Without a valid target both are all 0.
void data_target_read(const data_index *x, int64_t record, int task, data_invalid invalid, float *target,
                      float *weight);

#endif
