// Features that belong to weights: training writes RUN/features.json, what the features were made with that it saw
// (digests of the weights of the networks behind them); whatever uses the weights later compares.
//
//     train:          MN_TRY(mien_sources_record(job, set, "runs/cca-va"));
//     eval, predict:  MN_TRY(mien_sources_check(job, set, "runs/cca-va/ckpt/step-00000100/model.safetensors"));
//
// Threading: one thread; one process records.
#ifndef RECIPES_SOURCES_H
#define RECIPES_SOURCES_H

#include "recipes/recipe.h"

// MN_ECONFIG: the run was begun on other features.
MN_MUST_CHECK mn_err mien_sources_record(const mien_job *j, const data_set *set, const char *run);
// MN_ECONFIG: the features of the set are not those that the weights were trained on. Weights outside of a run, and
// features of unknown origin, are taken as they are.
MN_MUST_CHECK mn_err mien_sources_check(const mien_job *j, const data_set *set, const char *weights);

#endif
