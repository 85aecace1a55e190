// Where gradients live and how they become sums over all ranks: in memory that the ranks of a host share (window.h,
// bucket.h) on CPUs, in the memory of the device on GPUs.
//
//     dist_gradients *r; MN_TRY(dist_gradients_new(&r, comm, device, MN_F32));
//     nn_layout_cfg layout = {.device = device}; dist_gradients_layout(r, &layout);
//     MN_TRY(nn_params_layout(params, graph, &layout)); MN_TRY(nn_graph_plan(graph, loss));
//     MN_TRY(dist_gradients_plan(r, graph, params));            // from now on each run of the graph reduces
//     ...
//     MN_TRY(dist_gradients_begin(r, &words));                  // before the run
//     MN_TRY(nn_graph_run(graph, &tick));                       // whose end hook calls dist_gradients_finish
//     MN_TRY(dist_gradients_post(r));
//     dist_control sum; MN_TRY(dist_gradients_take(r, &sum));   // of the oldest posted step; waits for it on a GPU
//
// The wire may be bf16: between GPUs, and between the hosts of CPU ranks (inside a host memory is shared: fp32). Each
// side's gradient is rounded once to 8 bits, which is off by at most 2^-8 of its size; sums over hosts are made in fp32
// and rounded once more. NCCL adds in fp32 (NVLink switches) or rounds at every hop of its ring or tree, so n GPUs stay
// within n 2^-8 of the sum of the sizes. Nothing is scaled: bf16 has the range of fp32, and gradients are those of a
// loss over the whole batch, whose sum is the gradient. All ranks get the same bits. What is not finite stays so, and
// the step is skipped as with fp32. Losses, their batch sums and the control words are never rounded.
//
// Threading: one thread, the one that runs the graph.
#ifndef DIST_GRADIENTS_H
#define DIST_GRADIENTS_H

#include "dist/bucket.h"
#include "dist/comm_nccl.h"
#include "nn/device.h"

typedef struct dist_gradients dist_gradients;
// wire: MN_F32 or MN_BF16. Borrows c and d.
MN_MUST_CHECK mn_err dist_gradients_new(dist_gradients **out, dist_comm *c, const nn_device *d, mn_dtype wire);
// Ends what the GPUs of the ranks do together, before anything of the run is freed; err: of the run. After an error sums
// that are on their way are aborted: what waits for the device would wait for them.
void dist_gradients_stop(dist_gradients *r, mn_err err);
void dist_gradients_free(dist_gradients *r);
void dist_gradients_layout(dist_gradients *r, nn_layout_cfg *cfg);
void dist_gradients_sums(dist_gradients *r, nn_graph *g); // the sums inside the graph are over all ranks
// Collective; MN_ECONFIG when ranks differ. Allocates what the sums need beside the gradients.
MN_MUST_CHECK mn_err dist_gradients_plan(dist_gradients *r, nn_graph *g, const nn_params *ps);
MN_MUST_CHECK mn_err dist_gradients_begin(dist_gradients *r, const dist_control *own);
MN_MUST_CHECK mn_err dist_gradients_finish(dist_gradients *r);
MN_MUST_CHECK mn_err dist_gradients_post(dist_gradients *r);
MN_MUST_CHECK mn_err dist_gradients_take(dist_gradients *r, dist_control *sum);
// Of the last step, where the host knows it: seconds spent reducing and waiting.
double dist_gradients_seconds(const dist_gradients *r);

#endif
