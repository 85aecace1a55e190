// sampling.*: an epoch that draws its samples with replacement, so that the groups of sampling.by (expressions, videos,
// persons) are shown more equally than they are in the data.
//
//     MN_TRY(mien_sampling_open(job, set, &cfg));        // cfg.weights and cfg.epoch_samples; the caller frees cfg.weights
//
// A sample of a group of n is drawn with a probability in proportion to n^-power: 0 as often as it is there, 1 every
// group equally often, 0.5 in between. Over several datasets expressions are counted together, as often as the weights
// of data show them; those weights say besides how often the samples of a dataset come.
// The draw of a position is a pure function (data/order.h): the same on any number of ranks, and nothing to save.
// Threading: one thread.
#ifndef RECIPES_SAMPLING_H
#define RECIPES_SAMPLING_H

#include "recipes/recipe.h"

enum { MIEN_SAMPLING_NONE, MIEN_SAMPLING_EXPRESSION, MIEN_SAMPLING_VIDEO, MIEN_SAMPLING_IDENTITY };

// MN_ECONFIG: the task or a dataset has nothing to sample by.
MN_MUST_CHECK mn_err mien_sampling_open(mien_job *j, const data_set *set, dist_train_cfg *cfg);
// Columns (DATA_KEEP_*) that the training set needs for it.
int mien_sampling_columns(const mien_job *j);

#endif
