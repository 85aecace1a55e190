// Scores of per-frame outputs for the three tasks of Aff-Wild2, shared by fine-tuning and fusion: local rows are added
// batch by batch, merged exactly over ranks, and written as the members of an eval event.
//
//     .score_begin = mien_score_begin, .score_end = mien_score_finish   in the task's record, and in its score_add:
//     mien_score_add(job->score, video, prediction, target, weight, by_column);        // one frame
//
// Threading: one thread.
#ifndef RECIPES_SCORE_H
#define RECIPES_SCORE_H

#include "recipes/recipe.h"

typedef struct mien_score mien_score;
// Of a dist_task: a new score for job->score_set, and its merged result.
MN_MUST_CHECK mn_err mien_score_begin(void *job);
MN_MUST_CHECK mn_err mien_score_finish(void *job, dist_comm *c, dist_score *out);
// One frame: prediction (K) logits or valence/arousal, target (K), weight (1) or (K).
void mien_score_add(mien_score *s, int64_t video, const float *prediction, const float *target, const float *weight,
                    int by_column);
// Adds the graph's output "loss", the mean over the global batch, if it has one.
void mien_score_loss(mien_score *s, const nn_graph *g, const data_batch *b);
void mien_score_close(mien_score *s);

#endif
