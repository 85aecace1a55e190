// What the losses share. A loss is two nodes with a sum over ranks between them: `*_sums` makes the local sums in f64,
// `*_loss` the value and, in backward, the closed-form gradient to its first input; so the loss itself needs no
// collective in backward. Inputs of both: [x, target, weight or mask ...], and of the second the sums over all ranks
// as its last. Elements of weight 0 are not read, so they may hold anything.
#ifndef NN_OPS_LOSS_H
#define NN_OPS_LOSS_H

#include "nn/ops/rows.h"

// Rows are those of input 0 here. The local sums of rows [first, end) are added to sums; tmp holds at least one row.
typedef void nn__sum_rows(const nn_call *c, int64_t first, int64_t end, double *sums, float *tmp);
// Forward of `*_sums`: runs it over fixed blocks of rows and adds the blocks in order into out[0].
MN_MUST_CHECK mn_err nn__loss_sums(const nn_call *c, nn__sum_rows *leaf);
// The gradient of one row, times scale, is written to dx.
typedef void nn__grad_row(const nn_call *c, int64_t row, double scale, const float *x, float *dx);
// Backward of `*_loss`: din[0] (+)= the gradient of every row, with scale = dout[0].
MN_MUST_CHECK mn_err nn__loss_grad(const nn_call *c, nn__grad_row *leaf);
// Prepares both: workspace.
MN_MUST_CHECK mn_err nn__loss_prepare(nn_node *n);

// Weight of element (row, k) when the weights are given per row, per element, or not at all (1).
float nn__loss_weight(const nn_call *c, int64_t row, int64_t k);
// Checks weights of that kind at input i against input 0.
MN_MUST_CHECK mn_err nn__want_weights(const nn_node *n, int i);

// Emits the pair and the sum between them: in[0..n_in) are the inputs, in[n_in] is room for the sums.
nn_tensor *nn__loss(nn_graph *g, const nn_op *sums, const nn_op *loss, int n_in, nn_tensor **in, const void *attr);

#endif
