// Gradients summed over all ranks while backward still runs. A bucket is a range of the gradient arena; the hook marks
// it ready when backward has completed it, and reduces this rank's share of any bucket that is ready on all ranks.
//
//     dist_buckets *b; MN_TRY(dist_buckets_new(&b, comm, window, graph, params, 0, MN_F32));
//     nn_graph_on_step(graph, dist_buckets_on_step, b);
//     ...
//     dist_buckets_control(b)->stop = dist_signal_pending();      // before the run: rides with the last bucket
//     MN_TRY(nn_graph_run(graph, &tick));
//     dist_control sum;
//     MN_TRY(dist_buckets_wait(b, &sum)); // gradients are now the sums; the same bits everywhere
//
// How: inside a group (window.h) rank r sums slice r of a bucket in place, in rank order, for everybody. Between groups
// their leaders exchange the group sums, slice by slice, and add them in group order. So the result does not depend on
// timing, and is bit-equal between runs with the same ranks on the same hosts; other placements agree within rounding.
// With a bf16 wire what leaders exchange is rounded to bf16, the groups' sums and then their sum; see gradients.h.
// Threading: one thread, the one that runs the graph (the hook runs on it). OpenMP inside.
#ifndef DIST_BUCKET_H
#define DIST_BUCKET_H

#include "dist/window.h"
#include "nn/graph.h"
#include "nn/params.h"

// Words behind the gradients in the arena (nn_layout_cfg.tail), summed with the last bucket: agreeing costs nothing.
// Small whole numbers, so the sum is exact; they stay fp32 on every wire. Set to zero again by dist_buckets_wait.
typedef struct dist_control {
    float stop;    // ranks that were asked to stop
    float no_time; // ranks that were asked to stop and have no time to save
    float bad;     // ranks whose loss or batch is not to be trusted: skip the step
    float waited;  // seconds that ranks have waited for data, all together
    float user[12];
} dist_control;

typedef struct dist_range {
    int64_t offset, count; // elements of the arena
    int ready_step;        // step of the graph after which it is final
    mn_dtype wire;         // between hosts and GPUs: MN_F32 or MN_BF16
} dist_range;

typedef struct dist_buckets dist_buckets;

enum { DIST_BUCKET_BYTES = 4 << 20 };
// bucket_bytes: how large a bucket should be, 0: DIST_BUCKET_BYTES. wire: of the gradients between hosts. Collective;
// MN_ECONFIG when ranks differ. Borrows all, needs the planned graph. One communicator has one buckets object at a time.
MN_MUST_CHECK mn_err dist_buckets_new(dist_buckets **out, dist_comm *c, dist_window *w, const nn_graph *g,
                                      const nn_params *ps, size_t bucket_bytes, mn_dtype wire);
// The same for given ranges, in the order of their readiness; the last one must reach the control words. count counts
// elements without them.
MN_MUST_CHECK mn_err dist_buckets_of_ranges(dist_buckets **out, dist_comm *c, dist_window *w, const dist_range *ranges,
                                            int n, int64_t count);
// The ranges of a planned graph: of bucket_bytes (0: DIST_BUCKET_BYTES) or less, in the order of readiness; the last one
// reaches over the control words, and with a bf16 wire is nothing but them, as fp32. *out is to be freed.
int dist_ranges(const nn_graph *g, const nn_params *ps, size_t bucket_bytes, mn_dtype wire, dist_range **out);
// Collective; MN_ECONFIG when the ranks' ranges differ.
MN_MUST_CHECK mn_err dist_ranges_compare(dist_comm *c, const dist_range *ranges, int n);
void dist_buckets_free(dist_buckets *b);
int dist_buckets_count(const dist_buckets *b);

dist_control *dist_buckets_control(dist_buckets *b);  // this rank's words
mn_err dist_buckets_on_step(void *buckets, int step); // nn_step_hook
// Marks what is left, finishes every bucket, hands out the summed control words (sum may be NULL).
MN_MUST_CHECK mn_err dist_buckets_wait(dist_buckets *b, dist_control *sum);
// Of the last step: seconds spent reducing and waiting, and the part of it that was waiting for other ranks.
double dist_buckets_seconds(const dist_buckets *b, double *waiting);

#endif
