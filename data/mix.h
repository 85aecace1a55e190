// Several sets as one, mixed by weight.
//
//     data_set *s; MN_TRY(data_mix_open(&s, (data_set *[]){a, b}, (double[]){1, 0.5}, 2));
//
// The weight of a set says how often an epoch shows each of its samples: 1 once, 3 three times, 0.5 every other one, the
// rest in the next epoch. All weights 1: the sets put together. Every part of an epoch has the sets in their shares, and
// each is shuffled as it would be alone. In order (evaluation) every sample comes once, set by set.
// The part of a sample id is the number of its set. Threading: as any data_set.
#ifndef DATA_MIX_H
#define DATA_MIX_H

#include "data/set.h"

// Takes the sets, and closes them when it fails. MN_ECONFIG when their fields differ or a weight is not positive.
MN_MUST_CHECK mn_err data_mix_open(data_set **out, data_set *const *sets, const double *weights, int n);
// Which set sample i of the mixture is of, and its number there.
int data_mix_part(const data_set *s, int64_t i, int64_t *index);
// Set k of the mixture, borrowed.
const data_set *data_mix_set(const data_set *s, int k);

#endif
