// Names of labels and splits, in the order of their numbers.
// Threading: constants and pure functions.
#ifndef DATA_LABEL_H
#define DATA_LABEL_H

#include "data/shard.h"

extern const char *const data_expression[DATA_EXPRESSIONS]; // Aff-Wild2's order
extern const char *const data_au[DATA_AUS];                 // "AU1", ...
extern const char *const data_attribute[DATA_ATTRIBUTES];   // CelebA's, in the order of its columns
const char *data_split_name(int split);                     // DATA_SPLIT_*: "none", "train", "validation", "test"
int data_split_number(const char *name);                    // -1: no such split

#endif
