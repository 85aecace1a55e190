// Networks that are trained for some steps with and without recomputation on a device: losses, gradients, weights and
// buffers must be the same bits, out of a smaller plan.
#ifndef RECOMPUTE_SUPPORT_H
#define RECOMPUTE_SUPPORT_H

#include "nn/device.h"

typedef struct recompute_net {
    const char *name;
    nn_tensor *(*build)(nn_graph *g); // the loss; makes inputs, which get values by their names
} recompute_net;

extern const recompute_net recompute_nets[];
extern const int n_recompute_nets;

// Reports failures to Criterion. d NULL: the CPU.
void recompute_compare(const recompute_net *net, mn_dtype t, const nn_device *d);

typedef struct recompute_plan { // of the network alone, in fp32 on the CPU
    int forward, backward;      // calls; forward: those that are run again too
    size_t bytes, other_bytes;  // nn_graph_bytes, nn_graph_bytes_recomputed
} recompute_plan;
recompute_plan recompute_plan_of(const recompute_net *net, int recompute);

#endif
