// A network as a static program. Straight-line C builds a graph once; nn_graph_plan turns it into one linear list of
// kernel calls with every address fixed (backward is the reversed list); nn_graph_run executes that list.
//
//     nn_graph *g = nn_graph_new(params, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_BF16, .seed = 1});
//     nn_tensor *x = nn_input(g, "image", MN_F32, MN_SHAPE(rows, 192, 192, 3));
//     nn_tensor *pred = nn_simmim_decoder(g, &cfg, nn_swin(g, &cfg, x, mask));
//     nn_tensor *loss = nn_l1_loss(g, pred, x, mask, weight, nn_swin_stride(&cfg), cfg.patch);
//     nn_output(g, "loss", loss);
//     MN_TRY(nn_graph_plan(g, loss));
//     ...
//     MN_TRY(nn_graph_feed(g, "image", pixels, bytes));
//     MN_TRY(nn_graph_run(g, &(nn_tick){.step = 7, .first_row = 16, .rows = 8}));
//
// Building never fails loudly: the first bad node is kept with its path and shapes, later builders return a harmless
// tensor, and nn_graph_plan reports it. No memory is allocated between feed and the end of run.
// Rows: the first dimension of inputs is the plan's number of rows; rows that do not exist on a rank carry weight 0.
// Threading: one thread builds, plans and runs a graph; kernels use OpenMP inside.
#ifndef NN_GRAPH_H
#define NN_GRAPH_H

#include "nn/base/err.h"
#include "nn/base/shape.h"

typedef struct nn_graph nn_graph;
typedef struct nn_params nn_params;
typedef struct nn_node nn_node;

// A value of the graph, owned by it. Contiguous and row-major, always.
typedef struct nn_tensor {
    mn_dtype dtype;
    mn_shape shape;
    nn_node *src;            // the node that makes it; NULL for an input or a parameter
    struct nn_param *param;  // the parameter it stands for, else NULL
    struct nn_tensor *alias; // reshape: the tensor whose memory this is
    int needs_grad;
    int id; // dense index inside the graph
} nn_tensor;

typedef enum nn_mode { NN_EVAL, NN_TRAIN } nn_mode; // EVAL: no dropout, running batch-norm statistics, no backward

typedef struct nn_graph_cfg {
    nn_mode mode;
    mn_dtype dtype;                 // compute type of activations: MN_F32 or MN_BF16
    uint64_t seed;                  // of dropout and drop path
    const struct nn_device *device; // where it runs; NULL: the CPU
    int recompute;                  // values inside segments are computed again for backward (nn_segment_begin)
} nn_graph_cfg;

// All that a random number may depend on besides the node's path and the element.
typedef struct nn_tick {
    uint64_t step;     // optimiser step (or position, in evaluation)
    int64_t first_row; // global position of local row 0
    int64_t rows;      // rows that exist on this rank
} nn_tick;

nn_graph *nn_graph_new(nn_params *params, const nn_graph_cfg *cfg); // borrows params
void nn_graph_free(nn_graph *g);                                    // every node, tensor and the arena

nn_mode nn_graph_mode(const nn_graph *g);
mn_dtype nn_graph_dtype(const nn_graph *g);
nn_params *nn_graph_params(const nn_graph *g); // the registry it borrows: builders of networks set layer ids in it

// Building. Names of inputs and outputs are unique in a graph.
nn_tensor *nn_input(nn_graph *g, const char *name, mn_dtype t, mn_shape s);
void nn_output(nn_graph *g, const char *name, nn_tensor *t); // kept alive to the end of run, readable
void nn_scope_push(nn_graph *g, const char *format, ...) MN_PRINTF(2, 3);
void nn_scope_pop(nn_graph *g);
nn_tensor *nn_reshape(nn_graph *g, nn_tensor *x, mn_shape s); // same memory, same count; one dimension may be -1
// What is built between the two is a segment, usually a block of a network; segments do not overlap. With recompute in
// its configuration, a plan keeps of a segment only what is read outside of it; before its backward calls the forward
// calls that made the rest are run again. The same bits in less memory, at the cost of up to one more forward pass.
void nn_segment_begin(nn_graph *g);
void nn_segment_end(nn_graph *g);
// Records the first error of building; returns a harmless tensor. For builders that check their arguments.
nn_tensor *nn_graph_bad(nn_graph *g, const char *format, ...) MN_PRINTF(2, 3);

// Sum over ranks, in place, of n doubles; handed down by the layer above (NULL: one rank). Called by the executor in
// plan order, the same on every rank.
typedef mn_err nn_sum_fn(void *ctx, double *v, int64_t n);
void nn_graph_set_sum(nn_graph *g, nn_sum_fn *sum, void *ctx);

// Planning. loss NULL: forward only. Calls every op's prepare; the parameters must have been laid out before
// (nn_params_layout), so build, then lay out, then plan.
MN_MUST_CHECK mn_err nn_graph_plan(nn_graph *g, nn_tensor *loss);
// Arena, workspace and, on a GPU, the next batch; also when nn_graph_plan could not have them (MN_EMEM).
size_t nn_graph_bytes(const nn_graph *g);
size_t nn_graph_bytes_recomputed(const nn_graph *g); // the same, had it been planned with recompute
uint64_t nn_graph_hash(const nn_graph *g);           // of ops, shapes, paths, attributes and the order of collectives
int nn_graph_steps(const nn_graph *g);               // length of the list
// Step after which the gradient of a parameter is final; -1: it has none.
int nn_graph_ready_step(const nn_graph *g, const struct nn_param *p);
// Parameters in the order in which backward completes them (of the built, not necessarily planned, graph: the order
// of last use in reverse). Frozen parameters and buffers come last. Returns how many were written.
int nn_graph_param_order(const nn_graph *g, struct nn_param **out, int capacity);

// Running. On a GPU nothing here waits for it but nn_graph_buffer; `host` must stay as it is until the batch has been
// taken (nn_graph_fed).
MN_MUST_CHECK mn_err nn_graph_feed(nn_graph *g, const char *input, const void *host, size_t bytes);
MN_MUST_CHECK mn_err nn_graph_fed(nn_graph *g); // waits until the memory of all feeds so far may be used again
int nn_graph_has_input(const nn_graph *g, const char *input);
void *nn_graph_input(nn_graph *g, const char *input, size_t *bytes); // to fill in place instead of feeding
MN_MUST_CHECK mn_err nn_graph_run(nn_graph *g, const nn_tick *tick);
// Called after each backward step, with its index: for reductions during backward; and once behind the last step: for
// the update. On a GPU the whole run with what the hooks put on the device is recorded at the second run and replayed
// after that, so a hook is called twice at most, and may not look at values.
typedef mn_err nn_step_hook(void *ctx, int step);
void nn_graph_on_step(nn_graph *g, nn_step_hook *hook, void *ctx);
typedef mn_err nn_end_hook(void *ctx);
void nn_graph_on_end(nn_graph *g, nn_end_hook *hook, void *ctx);
void nn_graph_forget(nn_graph *g);         // the recorded run, if any; the next run records again
void nn_graph_record(nn_graph *g, int on); // off: every run is put on the device call by call
// Memory of an output (after run), an input, NULL if there is none of that name. On a GPU: a copy that stays as it is
// until the next run, and this waits for it; an error is kept for nn_graph_status.
void *nn_graph_buffer(const nn_graph *g, const char *name, mn_shape *shape, mn_dtype *t);
MN_MUST_CHECK mn_err nn_graph_status(const nn_graph *g);
void *nn_graph_device_buffer(const nn_graph *g, const char *name); // the same in the memory of the device
// Gradient of an input or output with respect to the loss after run; NULL if it was not computed. For tests.
// Request it before planning with nn_want_grad. In the memory of the device.
void nn_want_grad(nn_graph *g, nn_tensor *t);
void *nn_graph_grad(const nn_graph *g, const nn_tensor *t);

// For tests: fill the arena and workspace with NaN before each run.
void nn_graph_poison(nn_graph *g, int on);
// Prints program, memory map and, after a run with timing on, the time of each step by node path.
void nn_graph_dump(const nn_graph *g, void (*line)(void *ctx, const char *text), void *ctx);
void nn_graph_timing(nn_graph *g, int on);
// The same times for programs: each step of the program in its order, its mean time in one run.
typedef struct nn_step_time {
    const char *op;
    int backward; // 0: forward, also one that is run again
    double seconds;
} nn_step_time;
void nn_graph_times(const nn_graph *g, void (*each)(void *ctx, const nn_step_time *t), void *ctx);

#endif
