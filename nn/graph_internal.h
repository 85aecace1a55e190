// What graph.c (building), plan.c (the list), arena.c (memory) and exec.c (running) share.
#ifndef NN_GRAPH_INTERNAL_H
#define NN_GRAPH_INTERNAL_H

#include "nn/device.h"
#include "nn/op.h"

#define NN_PATH_MAX 256

typedef struct nn__named {
    char name[64];
    nn_tensor *tensor;
} nn__named;

// One kernel call of the program.
typedef struct nn__step {
    nn_node *node;
    int backward;
    int again; // a forward call of a segment, for its backward
    nn_call call;
    double seconds; // accumulated while timing is on
    int64_t runs;
} nn__step;

// What the plan knows of a tensor that owns memory (a root: neither an alias nor a parameter).
typedef struct nn__place {
    size_t offset;
    int used;
    int first, last; // steps, inclusive, in which the bytes must survive
} nn__place;

typedef struct nn__away nn__away;

struct nn_graph {
    nn_params *params;
    nn_graph_cfg cfg;
    const nn_device *device;

    nn_node **node;
    nn_tensor **tensor;
    int n_nodes, n_tensors;
    int64_t node_capacity, tensor_capacity;
    nn__named *input, *output;
    int n_inputs, n_outputs;
    unsigned char *wanted; // by tensor id: nn_want_grad

    char scope[NN_PATH_MAX];
    size_t scope_end[32]; // length of scope before each push
    int scope_depth;
    int segment, n_segments; // the one that is being built, 0: none

    mn_err err; // the first failure of building
    char *err_text;
    nn_tensor *bad; // what builders return after it

    nn_tensor *loss;
    nn__step *step;
    int n_steps, n_forward;
    nn__place *value, *grad; // by tensor id, and three parts of one array
    nn__place *again;        // of values computed again: theirs from its first step on
    void *arena, *work;
    size_t arena_bytes, work_bytes, input_bytes; // inputs lie at the start of the arena
    int *ready;                                  // by index of the parameter in the registry

    nn_sum_fn *sum;
    void *sum_ctx;
    nn_step_hook *hook;
    void *hook_ctx;
    nn_end_hook *end_hook;
    void *end_ctx;
    nn_tick tick;
    int poison, timing;
    nn__away *away; // of a device that is not the host
};

// Inputs and outputs of a graph whose device is not the host (away.c).
MN_MUST_CHECK mn_err nn__away_new(nn_graph *g); // after the arena has its addresses, before steps are baked
void nn__away_free(nn_graph *g);
const nn_tick *nn__away_tick(const nn_graph *g); // in the memory of the device
void *nn__away_input(nn_graph *g, const nn_tensor *t);
mn_err nn__away_feed(nn_graph *g, const nn_tensor *t, const void *host, size_t bytes);
mn_err nn__away_run(nn_graph *g, mn_err (*body)(nn_graph *g)); // sends inputs and tick, records or replays
void *nn__away_buffer(const nn_graph *g, const nn_tensor *t);
const double *nn__away_one(const nn_graph *g); // the number 1, in host memory that stays

// The tensor that owns the memory of t.
nn_tensor *nn__root(nn_tensor *t);
size_t nn__bytes(const nn_tensor *t);
void *nn__value_at(const nn_graph *g, nn_tensor *t);
void *nn__grad_at(const nn_graph *g, nn_tensor *t); // NULL: it has none
// "scope.leaf" into text.
mn_err nn__scoped(const nn_graph *g, const char *leaf, char *text, size_t size);
nn_tensor *nn__new_tensor(nn_graph *g, mn_dtype t, mn_shape s);
// Inserts the forward calls that are run again into the list; its backward calls are complete.
void nn__recompute(nn_graph *g);
// Places every used value and gradient: sets offsets and the size of the arena.
void nn__place_all(nn_graph *g);

#endif
