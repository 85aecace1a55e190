// Parameters: get-or-create by dotted name, in a registry that outlives graphs; the name is the checkpoint key
// ("swin.stages.1.blocks.0.attn.qkv.weight"). They live in flat arenas in the order in which backward completes them,
// so that a bucket of gradients is a range and the optimiser is one pass.
//
//     nn_params *ps = nn_params_new(seed);
//     ... build graphs: builders call nn_param_get ...
//     MN_TRY(nn_params_layout(ps, train_graph, MN_BF16, &(nn_layout_cfg){...}));   // allocates and initialises
//     ... nn_graph_plan, weights import, training ...
//
// Threading: not thread safe; during a run kernels write disjoint gradients.
#ifndef NN_PARAMS_H
#define NN_PARAMS_H

#include "nn/graph.h"

typedef enum nn_init_kind {
    NN_INIT_ZERO,
    NN_INIT_ONE,
    NN_INIT_CONSTANT,        // scale
    NN_INIT_TRUNC_NORMAL,    // std = scale, cut at +-2 absolute
    NN_INIT_NORMAL,          // std = scale
    NN_INIT_FAN_IN_UNIFORM,  // +-scale/sqrt(fan_in); scale 1 is PyTorch's default for Linear and Conv
    NN_INIT_XAVIER_UNIFORM,  // +-scale*sqrt(6/(fan_in+fan_out))
    NN_INIT_KAIMING_UNIFORM, // +-scale*sqrt(6/fan_in)
} nn_init_kind;

typedef struct nn_param_spec {
    mn_shape shape; // (out, in, ...) for weights: fan_out = d[0], fan_in = count / d[0]
    nn_init_kind init;
    float init_scale; // 0: the kind's natural value (1, or 0.02 for the normals)
    int64_t fan_in;   // 0: from the shape; biases of default-initialised layers set it
    int no_decay;     // weight decay 0: norms, biases, tables
    int f32;          // kernels read the fp32 master (norms, biases, tables); else the compute dtype (GEMM weights)
    int buffer;       // saved, never trained (running statistics)
    int layer;        // for layer-wise lr decay: 0 nearest the input; set from nn_params_layer by nn_param_get
} nn_param_spec;

typedef struct nn_param {
    char name[160];
    nn_param_spec spec;
    int64_t offset, count; // in the arenas, in elements; offset is a multiple of 16
    int frozen;
    int loaded; // its value came from a file
} nn_param;

typedef struct nn_arenas { // in the memory of the device
    void *work;            // compute dtype; == master when that is fp32
    float *master;         // fp32
    float *grad;           // fp32, trained parameters first; from nn_layout_cfg.alloc when given
    int64_t count;         // elements incl. padding
    int64_t trained;       // the first `trained` elements have gradients; then frozen parameters and buffers
} nn_arenas;

nn_params *nn_params_new(uint64_t seed);
void nn_params_free(nn_params *ps);

// Name = scope of g + "." + leaf. Creates, or shares by name (the shapes must agree).
nn_tensor *nn_param_get(nn_graph *g, const char *leaf, const nn_param_spec *spec);
// Layer id given to parameters created from now on (layer-wise lr decay).
void nn_params_layer(nn_params *ps, int layer);

int nn_params_count(const nn_params *ps);                        // parameters, buffers included
nn_param *nn_params_at(const nn_params *ps, int i);              // arena order after layout, creation order before
nn_param *nn_params_find(const nn_params *ps, const char *name); // NULL if absent
int64_t nn_params_elements(const nn_params *ps); // trained and frozen, without buffers: "29.9 M parameters"
// Parameters whose name starts with the prefix are not trained; before layout.
void nn_params_freeze(nn_params *ps, const char *prefix);

typedef struct nn_layout_cfg {
    const struct nn_device *device; // NULL: the CPU
    mn_dtype dtype;                 // of the work arena
    int forward_only;               // no gradient arena
    size_t tail;                    // extra bytes at the end of the gradient arena for the caller (control word)
    // Where the gradient arena comes from (a shared window); NULL: plain memory. The owner frees it.
    mn_err (*alloc)(void *ctx, size_t bytes, void **out);
    void *ctx;
} nn_layout_cfg;
// Fixes order and offsets from the built graph g (order: nn_graph_param_order), allocates, initialises every value
// from (seed, name). Call once.
MN_MUST_CHECK mn_err nn_params_layout(nn_params *ps, const nn_graph *g, const nn_layout_cfg *cfg);
const nn_arenas *nn_params_arenas(const nn_params *ps);

const struct nn_device *nn_params_device(const nn_params *ps);

// The fp32 value in host memory, to be read and set by the program. On a GPU that is a copy: nn_params_sync takes it
// there, nn_params_fetch brings it here.
float *nn_param_master(const nn_params *ps, const nn_param *p);
float *nn_param_grad(const nn_params *ps, const nn_param *p); // of the device; NULL: frozen or buffer
// After masters were set: to the device, and to the work arena (the optimiser does it itself for what it updates).
MN_MUST_CHECK mn_err nn_params_sync(nn_params *ps);
MN_MUST_CHECK mn_err nn_params_fetch(nn_params *ps); // waits for the device

#endif
