// AdamW over the arenas in one pass: gradient norm, the decision, clip factor, update, and the cast to the compute dtype.
//
//     nn_optim *o; MN_TRY(nn_optim_new(&o, params, &cfg));
//     MN_TRY(nn_optim_begin(o, &(nn_optim_step_args){.lr = lr, .clip = 5}));  // numbers of this step
//     ... nn_graph_run; gradients reduced over ranks ...
//     MN_TRY(nn_optim_update(o, loss));         // loss: in the memory of the device; part of a recorded step
//     MN_TRY(nn_optim_post(o));
//     nn_optim_result r; MN_TRY(nn_optim_take(o, &r));   // of the oldest posted update: waits for it on a GPU
//
// A step whose loss or gradient norm is not finite changes nothing: that is decided where the numbers are, so a host
// that runs ahead of a GPU need not wait. The gradient is the same on every rank, and so is the decision.
// Threading: the thread that runs the graph; OpenMP inside, results do not depend on the number of threads.
#ifndef NN_OPTIM_H
#define NN_OPTIM_H

#include "nn/params.h"

typedef struct nn_optim_cfg {
    double beta1, beta2, eps, weight_decay;
    double layer_decay; // lr scale of a parameter = layer_decay^(layers - its layer); 0 or 1: off
    int layers;         // id of the last layer
    int decay_all;      // weight decay on norms and biases too (the CCA reference)
} nn_optim_cfg;

typedef struct nn_optim_step_args {
    double lr;
    double clip;       // of the global norm; 0: none
    double grad_scale; // gradients are multiplied by it first; 0: 1
} nn_optim_step_args;

typedef struct nn_optim_result {
    double loss;      // NaN when none was given
    double grad_norm; // L2, of all gradients, fp64, blocks of fixed size added in index order
    int64_t updates;  // done so far, this one included
    int64_t skipped;  // 1: not finite, nothing was updated
} nn_optim_result;

typedef struct nn_optim nn_optim;
MN_MUST_CHECK mn_err nn_optim_new(nn_optim **out, nn_params *ps, const nn_optim_cfg *cfg);
void nn_optim_free(nn_optim *o);
MN_MUST_CHECK mn_err nn_optim_begin(nn_optim *o, const nn_optim_step_args *args);
MN_MUST_CHECK mn_err nn_optim_update(nn_optim *o, const double *loss); // loss may be NULL
MN_MUST_CHECK mn_err nn_optim_post(nn_optim *o);
MN_MUST_CHECK mn_err nn_optim_take(nn_optim *o, nn_optim_result *r);

// State for checkpoints: first and second moments in arena layout, and the number of updates done. In host memory: on a
// GPU nn_optim_fetch makes a copy of the moments (and waits), for those who need one, and before it they are NULL;
// nn_optim_sync takes it there and frees it.
float *nn_optim_m(nn_optim *o, const nn_param *p);
float *nn_optim_v(nn_optim *o, const nn_param *p);
int64_t nn_optim_updates(const nn_optim *o);
void nn_optim_set_updates(nn_optim *o, int64_t n);
MN_MUST_CHECK mn_err nn_optim_fetch(nn_optim *o);
MN_MUST_CHECK mn_err nn_optim_sync(nn_optim *o);

#endif
