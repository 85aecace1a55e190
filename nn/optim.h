// AdamW over the arenas in one pass: clip factor, update, and the cast to the compute dtype together.
//
//     nn_optim *o; MN_TRY(nn_optim_new(&o, params, &cfg));
//     ... gradients reduced over ranks ...
//     double norm = nn_optim_grad_norm(o);                       // fp64, the same on every rank
//     nn_optim_step(o, lr, clip_factor);
//
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

typedef struct nn_optim nn_optim;
MN_MUST_CHECK mn_err nn_optim_new(nn_optim **out, nn_params *ps, const nn_optim_cfg *cfg);
void nn_optim_free(nn_optim *o);
// L2 norm of all gradients, fp64, blocks of fixed size added in index order.
double nn_optim_grad_norm(const nn_optim *o);
// One update with gradients scaled by grad_scale (clipping). Updates masters and the work arena.
void nn_optim_step(nn_optim *o, double lr, double grad_scale);
// State for checkpoints: first and second moments in arena layout, and the number of updates done.
float *nn_optim_m(nn_optim *o, const nn_param *p);
float *nn_optim_v(nn_optim *o, const nn_param *p);
int64_t nn_optim_updates(const nn_optim *o);
void nn_optim_set_updates(nn_optim *o, int64_t n);

#endif
