// What an op is: one record. The planner, the executor and the tests know ops only through it.
//
// To add one: nn/ops/foo.c with the record, the CPU kernels and the builder; a line in nn/ops.def; a prototype in
// nn/ops.h; a row in tests/nn/ops_rows.c. The CUDA kernels go to nn/ops/foo.cu (table of the module: from ops.def).
// Threading: kernels are called by the graph's thread and use OpenMP with static schedules; partial sums are added in
// index order; no atomics.
#ifndef NN_OP_H
#define NN_OP_H

#include "nn/graph.h"
#include "nn/params.h"

#define NN_MAX_IN 8
#define NN_MAX_OUT 3

// Everything a kernel may touch; resolved by the planner, addresses fixed for the life of the plan.
typedef struct nn_call {
    const void *in[NN_MAX_IN];
    void *out[NN_MAX_OUT];
    const void *dout[NN_MAX_OUT]; // backward only; NULL: that output has no gradient (treat as 0)
    void *din[NN_MAX_IN];         // backward only; NULL: not wanted. Parameters: fp32, in the gradient arena
    unsigned acc;                 // bit i: add into din[i], else overwrite every element of it
    void *work;                   // node->work_bytes, 64-byte aligned, contents undefined at entry
    const nn_node *node;
    const nn_tick *tick; // in the memory of the device
    void *stream;        // of a GPU (cudaStream_t): kernels are put there, in order; CPU: NULL
    uint64_t seed;       // of the graph
} nn_call;

typedef mn_err nn_kernel(const nn_call *c);

// One device's side of an op.
typedef struct nn_kernels {
    nn_kernel *fwd, *bwd;
    // Once, at plan time: library descriptors and packed constants into n->state, workspace size into n->work_bytes.
    // NULL: nothing to do. release undoes it.
    mn_err (*prepare)(nn_node *n);
    void (*release)(nn_node *n);
} nn_kernels;

enum {
    NN_OP_COLLECTIVE = 1 << 0, // the executor adds the ranks through nn_graph_set_sum; the kernels are for one rank
    NN_OP_STATE = 1 << 1,      // forward updates a buffer parameter (running statistics) in train mode
};

typedef struct nn_op {
    const char *name;
    size_t attr_bytes;      // size of the attribute struct that the builder hands to nn_emit; hashed: no pointers,
                            // no padding left unset
    unsigned bwd_reads_in;  // bit i: backward reads in[i]; the planner frees what nobody reads
    unsigned bwd_reads_out; // bit i: backward reads out[i]
    unsigned no_grad_in;    // bit i: no gradient to in[i] (targets, weights, global sums)
    unsigned flags;
    mn_err (*shape)(nn_node *n); // checks inputs, sets n->n_out and n->out_dtype/out_shape
    nn_kernels cpu;
} nn_op;

struct nn_node {
    const nn_op *op;
    nn_tensor *in[NN_MAX_IN]; // an optional input may be NULL
    nn_tensor *out[NN_MAX_OUT];
    int n_in, n_out;
    mn_dtype out_dtype[NN_MAX_OUT];
    mn_shape out_shape[NN_MAX_OUT];
    size_t work_bytes;
    nn_mode mode;
    const char *path; // scope of the node, and its own name: "swin.stages.0.blocks.1.attn.drop"
    uint64_t key;     // mn_rng_key(seed of the graph, path): for kernels that draw random numbers
    void *attr;       // copy of the builder's attributes
    void *state;      // of prepare
    unsigned grad_in; // bit i, set at plan time before prepare: din[i] will be wanted
    unsigned acc_in;  // and: backward will add into din[i] (nn_call.acc)
    int segment;      // that it is in (nn_segment_begin); 0: none
};

// Adds a node named `name` in the current scope (made unique inside it by the builder). Returns its first output; the
// others are n->out[i] of ret->src. attr may be NULL when the op has none.
nn_tensor *nn_emit(nn_graph *g, const nn_op *op, const char *name, int n_in, nn_tensor *const *in, const void *attr);

// Helpers for shape functions.
MN_MUST_CHECK mn_err nn_bad_shape(const nn_node *n, const char *format, ...) MN_PRINTF(2, 3); // path, op, shapes, text
void nn_set_out(nn_node *n, int i, mn_dtype t, mn_shape s);

// The list of all ops, for tests and the table of the CUDA module.
#define NN_OP(name) extern const nn_op nn_op_##name;
#include "nn/ops.def"
#undef NN_OP

#endif
