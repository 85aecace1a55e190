// Every op is tested from its row: a builder, the inputs it takes, and the tolerances that were measured for it.
// tests/nn/ops_rows.c holds the rows, tests/nn/ops_test.c what is done with each.
//
//     static nn_tensor *gelu(nn_graph *g, nn_tensor **in) { return nn_gelu(g, in[0]); }
//     ...
//     {.name = "gelu", .build = gelu, .in = {{MN_SHAPE(3, 257), .lo = -4, .hi = 4, .grad = 1}}, .out = MN_SHAPE(3, 257)},
//
// A row that can be wrong in another way deserves another row (odd sizes, optional inputs).
#ifndef OPS_SUPPORT_H
#define OPS_SUPPORT_H

#include "nn/op.h"
#include "nn/ops.h"

enum { OPS_MAX_IN = 4 };

typedef enum ops_kind {
    OPS_ACTIVATION, // f32 or bf16, the compute type of the run; uniform in [lo, hi), [-1, 1) when both are 0
    OPS_F32,        // the same values, f32 in every run: targets
    OPS_ROW_WEIGHT, // f32, about a third zeros, the rest in [0.5, 1.5): rows without weight must not matter
    OPS_ZERO_ONE,   // f32, 0 or 1
    OPS_ONE_HOT,    // f32, one 1 in each last dimension
    OPS_MASK,       // u8, 0 or 1
} ops_kind;

typedef struct ops_in {
    mn_shape shape; // n = 0: no such input
    ops_kind kind;
    float lo, hi;
    int grad;      // its gradient is checked
    int by_weight; // slice r of it belongs to element r of the row's OPS_ROW_WEIGHT input
} ops_in;

typedef struct ops_row {
    const char *name; // "op" or "op, case"
    nn_tensor *(*build)(nn_graph *g, nn_tensor **in);
    ops_in in[OPS_MAX_IN];
    mn_shape out;        // of the tensor that build returns
    int scalar;          // out is a loss: f64 scalar
    int differs_in_eval; // another result without training: dropout, batch statistics
    int couples_rows;    // a row of the batch depends on the others: batch statistics
    // Relative L2 error of a gradient against finite differences in f32 (0: 5e-4), and of value and gradients in bf16
    // against f32 (0: 1e-2). Measured, with a margin of about 2, and the reason beside it where it is larger.
    double tol, tol_bf16;
    float step; // of the finite differences; 0: 1e-2
    int f32_only;
    int product;      // through a library's matrix product or convolution: sums in an order of its own
    int may_allocate; // with the reason beside it
} ops_row;

extern const ops_row ops_rows[];
extern const int n_ops_rows;

// A row made into a graph with loss = sum of r_i y_i over all elements in f64, r fixed pseudo-random in [-1, 1).
typedef struct ops_bench {
    const ops_row *row;
    nn_params *params;
    nn_graph *graph;
    nn_tensor *in[OPS_MAX_IN], *out[2], *loss;
    mn_dtype dtype;
    int64_t skip;
} ops_bench;

typedef struct ops_cfg {
    mn_dtype dtype;
    nn_mode mode;
    int twice;    // built twice over the same inputs and parameters: the second gradient is added to the first
    int poison;   // nn_graph_poison
    int rounded;  // values of inputs and parameters are representable in bf16
    int64_t skip; // leaves the first rows of the batch out; every input has the batch as its first dimension
    const struct nn_device *device; // NULL: the CPU
} ops_cfg;

// Builds, lays out, plans and fills; reports failures to Criterion.
void ops_open(ops_bench *b, const ops_row *row, const ops_cfg *cfg);
void ops_close(ops_bench *b);
double ops_run(ops_bench *b);          // the loss
int64_t ops_count(const ops_row *row); // inputs

// Value i of any f32, bf16, f64 or u8 memory.
double ops_value(const void *p, mn_dtype t, int64_t i);
// Uniform in [-1, 1), a pure function.
float ops_random(uint64_t seed, int64_t i);
// || a - b || / || b ||, over n values.
double ops_distance(const double *a, const double *b, int64_t n);
// Marks in seen (order of nn/ops.def) every op that t depends on.
void ops_mark(const nn_tensor *t, unsigned char *seen);

// Heap allocations of this thread between the two calls.
void ops_count_start(void);
int64_t ops_count_stop(void);

#endif
