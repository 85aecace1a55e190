// Picture sets of a recipe: its data: entries, opened for training, scoring or extraction, mixed when there are several.
// Threading: one thread.
#ifndef RECIPES_PICTURES_H
#define RECIPES_PICTURES_H

#include "data/frames.h"
#include "data/mix.h"
#include "recipes/options.h"
#include "recipes/recipe.h"

data_augment mien_augment_config(const mien_augment *o, int64_t size, int train);
// cfg: everything but the folder, split and what follows from the use. split NULL: that of each entry.
MN_MUST_CHECK mn_err mien_open_pictures(mien_job *j, mien_use use, const char *split, const data_frames_cfg *cfg,
                                        data_set **out);

// Whether this rank takes video or track `number` of a set: whole ones are shared over ranks, without those to skip.
int mien_is_mine(const mien_job *j, int64_t number, const char *name);
// "all" is NULL, as the sets want it.
const char *mien_split(const char *name);

// Numbers the videos of a selection: (count) numbers from 0, caller frees; *videos gets how many.
int32_t *mien_number_videos(const data_selection *s, int64_t *videos);

#endif
