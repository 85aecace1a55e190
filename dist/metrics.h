// The challenge's metrics as sums that merge exactly: any split of the frames over ranks gives the same bits.
//
//     dist_metrics *m = dist_metrics_new(DIST_METRIC_VA, videos);
//     dist_metrics_add(m, video, prediction, target, weight, 0);      // every frame
//     MN_TRY(dist_metrics_merge(m, comm));
//     dist_metrics_result r; dist_metrics_compute(m, DIST_ZERO_0, seed, &r);
//
// Definitions, those of the ABAW challenges: F1 from counts over all labelled frames of all videos together; CCC in its
// population form over all frames; AU threshold logit >= 0; the lowest class wins ties. Intervals: 1,000 resamples of
// the videos, percentiles 2.5 and 97.5, because the frames of a video are not independent.
// A prediction that is not finite makes the score 0 (and a warning by merge): it is neither right nor left out.
// Threading: one thread per object.
#ifndef DIST_METRICS_H
#define DIST_METRICS_H

#include "dist/comm.h"

typedef enum dist_metric { DIST_METRIC_EXPR, DIST_METRIC_AU, DIST_METRIC_VA } dist_metric;

// F1 of a class without true positives: with false positives or negatives it is 0, but SKLEARN13
// makes it 1 where there are both, as scikit-learn 1.3 did; absent from truth and predictions it is 0, 1, left out of
// the mean, or 1.
typedef enum dist_zero_division { DIST_ZERO_0, DIST_ZERO_1, DIST_ZERO_SKIP, DIST_ZERO_SKLEARN13 } dist_zero_division;

enum { DIST_METRIC_CLASSES = 12 };

typedef struct dist_metrics_result {
    int classes;                       // 8 expressions, 12 action units, 2 dimensions
    double value[DIST_METRIC_CLASSES]; // F1 or CCC of each
    double mean, low, high;            // macro F1 or mean CCC, and its interval
    int undefined;                     // classes that occur neither in truth nor in predictions
    int64_t frames;                    // that counted (AU: of the first unit)
    double chance;                     // EXPR: macro F1 of always saying the commonest class; AU: of saying all are
                                       // active; VA: 0
} dist_metrics_result;

typedef struct dist_metrics dist_metrics;
dist_metrics *dist_metrics_new(dist_metric kind, int64_t videos);
void dist_metrics_free(dist_metrics *m);
int dist_metrics_columns(dist_metric kind); // numbers of a prediction and a target: 8, 12, 2
// One frame. weight: one value, or one per column; 0: does not count.
void dist_metrics_add(dist_metrics *m, int64_t video, const float *prediction, const float *target, const float *weight,
                      int by_column);
// Adds the sums of all ranks; collective.
MN_MUST_CHECK mn_err dist_metrics_merge(dist_metrics *m, dist_comm *c);
void dist_metrics_compute(const dist_metrics *m, dist_zero_division zero, uint64_t seed, dist_metrics_result *out);
// Frames of class `truth` that were called `said` (EXPR).
int64_t dist_metrics_confusion(const dist_metrics *m, int truth, int said);

#endif
