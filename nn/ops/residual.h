// Stochastic depth (Huang et al. 2016), shared by the residual ops.
#ifndef NN_OPS_RESIDUAL_H
#define NN_OPS_RESIDUAL_H

#include "nn/op.h"

// Scale of the branch for local row b of the batch: 0 with probability drop, else 1 / (1 - drop); 1 in eval mode.
float nn__drop_path(const nn_call *c, float drop, int64_t b);

#endif
