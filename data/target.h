// What a network learns of a record for a task of Aff-Wild2, and which of it is valid. One rule for pictures, sound and
// sequences. Threading: pure functions.
#ifndef DATA_TARGET_H
#define DATA_TARGET_H

#include "data/shard.h"

enum { DATA_MAX_TARGETS = 12 };

int64_t data_target_count(int task); // EXPR 8 (one-hot), AU 12, VA 2
// target (K) and weight (K) of a record, 1 or 0. by_column 0: any invalid value drops the whole record, so the weights
// are all 1 or all 0. Invalid targets are 0. Returns whether anything is valid.
int data_target(const data_index *x, int64_t record, int task, int by_column, float *target, float *weight);

#endif
