// Builders of ops: the vocabulary of the models. Shapes as comments; B rows, T tokens or frames, C channels.
// Activations have the compute dtype of the graph unless said otherwise; statistics, losses and sums are fp32/fp64.
// Every builder returns its (first) output; errors are sticky in the graph (nn/graph.h). `name` is the leaf that
// parameters and random keys get inside the current scope.
// Threading: the thread that builds the graph.
#ifndef NN_OPS_H
#define NN_OPS_H

#include "nn/graph.h"
#include "nn/params.h"

// --- dense ---------------------------------------------------------------------------------------------------------
typedef enum nn_act { NN_ACT_NONE, NN_ACT_GELU } nn_act; // GELU: exact (erf)

typedef struct nn_linear_cfg {
    int64_t out;
    int no_bias;
    nn_act act;        // applied to the result; the pre-activation is kept for backward
    nn_init_kind init; // of the weight; biases are 0 except with NN_INIT_FAN_IN_UNIFORM (+-1/sqrt(fan_in))
    float init_scale;
    mn_shape weight_shape; // n = 0: (out, in); else how the checkpoint holds the same memory, e.g. (C, 3, 4, 4)
} nn_linear_cfg;
// y = act(x W^T + b): (..., in) -> (..., out). Parameters name.weight (out, in), name.bias (out).
nn_tensor *nn_linear(nn_graph *g, nn_tensor *x, const nn_linear_cfg *cfg, const char *name);

// --- normalisation and residuals -----------------------------------------------------------------------------------
// Over the last dimension; parameters name.weight, name.bias (C). eps as given (1e-5 in all our networks).
nn_tensor *nn_layernorm(nn_graph *g, nn_tensor *x, float eps, const char *name);
// x + s h, where s drops whole rows of the batch with probability `drop` (stochastic depth): s = 0 or 1 / (1 - drop),
// keyed by (path, row of the batch = first dimension).
nn_tensor *nn_residual(nn_graph *g, nn_tensor *x, nn_tensor *h, float drop, const char *name);
// The same, and the layer norm of the sum in one pass: returns the normalised value, *sum gets x + s h.
nn_tensor *nn_residual_layernorm(nn_graph *g, nn_tensor *x, nn_tensor *h, float drop, float eps, nn_tensor **sum,
                                 const char *name);
// a x + b y, same shapes.
nn_tensor *nn_add(nn_graph *g, nn_tensor *x, float a, nn_tensor *y, float b);

// --- elementwise ---------------------------------------------------------------------------------------------------
nn_tensor *nn_gelu(nn_graph *g, nn_tensor *x);
nn_tensor *nn_tanh(nn_graph *g, nn_tensor *x);
// Inverted dropout; identity in eval mode or for p = 0 (returns x). Keyed by (path, row of the batch = first dimension,
// element of that row): do not fold time into the first dimension before it.
nn_tensor *nn_dropout(nn_graph *g, nn_tensor *x, float p, const char *name);
nn_tensor *nn_cast(nn_graph *g, nn_tensor *x, mn_dtype t);     // returns x if it has that type
nn_tensor *nn_concat(nn_graph *g, nn_tensor *x, nn_tensor *y); // along the last dimension

// --- images and windows --------------------------------------------------------------------------------------------
// (B, H, W, c) -> (B, H/p * W/p, c p p): element (c, i, j) of a patch at c p p + i p + j, as a convolution kernel
// (out, c, p, p) wants it. Output in the compute dtype, input f32 or compute dtype.
nn_tensor *nn_patchify(nn_graph *g, nn_tensor *x, int64_t p);
// (B, H W, C) -> (B, H/2 W/2, 4C): sub-grids in the order (row, column) (0,0), (1,0), (0,1), (1,1).
nn_tensor *nn_patch_merge(nn_graph *g, nn_tensor *x, int64_t height, int64_t width);
// x (1 - m) + token m. x (B, T, C), mask u8 (B, T), token parameter `name` (1, 1, C), trunc-normal 0.02.
nn_tensor *nn_mask_blend(nn_graph *g, nn_tensor *x, nn_tensor *mask, const char *name);

typedef struct nn_window_cfg {
    int64_t height, width; // of the token grid
    int64_t heads, window, shift;
} nn_window_cfg;
// Swin attention in one op: roll by (-shift, -shift), windows, softmax(q k^T d^-1/2 + bias + mask) v, and back.
// qkv (B, H W, 3C) ordered [q|k|v], each head-major -> (B, H W, C). Parameter name ((2w-1)^2, heads), trunc-normal.
// Probabilities are not stored; backward recomputes them.
nn_tensor *nn_window_attention(nn_graph *g, nn_tensor *qkv, const nn_window_cfg *cfg, const char *name);

typedef struct nn_attention_cfg {
    int64_t heads;
    float drop; // on the probabilities
} nn_attention_cfg;
// softmax(q k^T d^-1/2) v. kv NULL: q is (B, T, 3C) ordered [q|k|v]; else q (B, Tq, C) and kv (B, Tk, 2C) [k|v].
// valid: NULL or f32 (B, Tk), 0 = that key is padding (additive -FLT_MAX). -> (B, Tq, C).
nn_tensor *nn_attention(nn_graph *g, nn_tensor *q, nn_tensor *kv, nn_tensor *valid, const nn_attention_cfg *cfg,
                        const char *name);
// Mean over T: (B, T, C) -> (B, C). weight: NULL or f32 (B, T), weighted mean (0 if all weights are 0).
nn_tensor *nn_token_mean(nn_graph *g, nn_tensor *x, nn_tensor *weight);
// x + sinusoidal table, x (B, T, C): pe[t, 2i] = sin(t 10000^(-2i/C)), pe[t, 2i+1] = cos(same).
nn_tensor *nn_position(nn_graph *g, nn_tensor *x);

// --- sequences (channels last) -------------------------------------------------------------------------------------
typedef struct nn_conv1d_cfg {
    int64_t out, kernel, stride, pad; // pad on both sides
    int64_t groups;                   // 0 means 1
    int64_t drop_last;                // outputs cut from the end (wav2vec2's positional convolution: 1)
    int no_bias;
    nn_init_kind init;
    float init_scale;
    nn_tensor *weight; // NULL: parameter name.weight (out, in/groups, kernel); else use this value (f32
                       // or compute dtype, same shape; e.g. from nn_weight_norm)
} nn_conv1d_cfg;
// (B, T, in) -> (B, n, out), n = (T + 2 pad - kernel) / stride + 1 - drop_last.
nn_tensor *nn_conv1d(nn_graph *g, nn_tensor *x, const nn_conv1d_cfg *cfg, const char *name);
// Each channel of each row normalised over time, then scaled: GroupNorm with one channel per group.
// (B, T, C), parameters name.weight, name.bias (C).
nn_tensor *nn_channel_norm(nn_graph *g, nn_tensor *x, float eps, const char *name);
// w = g v / ||v||, norm over dimensions 0 and 1 for each tap: v (out, in/groups, kernel), g (1, 1, kernel).
// Parameters name.weight_v, name.weight_g. Output f32 or compute dtype: that of the graph.
nn_tensor *nn_weight_norm(nn_graph *g, mn_shape v, const char *name);
// x * s, x (B, T, ...), s f32 (B, T): zeroes padded positions, whatever they hold.
nn_tensor *nn_row_scale(nn_graph *g, nn_tensor *x, nn_tensor *s);

// --- collectives and batch statistics ------------------------------------------------------------------------------
// Sum over ranks of an f64 tensor; backward sums the gradient over ranks.
nn_tensor *nn_all_sum(nn_graph *g, nn_tensor *x);
typedef struct nn_batch_norm_cfg {
    float eps, momentum; // 1e-5, 0.1: running = (1 - momentum) running + momentum new, unbiased variance
    int local;           // statistics of this rank only
} nn_batch_norm_cfg;
// x (..., C) over all rows, weighted: weight NULL or f32 (rows). Train mode: batch statistics over all ranks (one
// collective each way); eval: running ones. Parameters name.weight, .bias, buffers .running_mean, .running_var (C).
// In train mode rows of weight 0 are not read, come out as 0 and get no gradient.
nn_tensor *nn_batch_norm(nn_graph *g, nn_tensor *x, nn_tensor *weight, const nn_batch_norm_cfg *cfg, const char *name);

// --- losses: exact over the global batch -------------------------------------------------------------------------
// Each is a function of a few batch sums: local sums in fp64, nn_all_sum, then the value with a closed-form local
// gradient. All return a scalar f64, the same on every rank; parameter gradients are then added over ranks.
// weight may be NULL (all 1). What has weight 0 is not read: it may hold NaN. With nothing valid the value is finite and
// the gradient 0.

// SimMIM: sum |x - x_hat| M / (sum M + 1e-5) / 3. pred (B, cells, 3 P P), cell-major, channel c, row i, column j at
// c P P + i P + j; image f32 (B, H, W, 3); mask u8 (B, T) over patches of p pixels; weight f32 (B).
nn_tensor *nn_l1_loss(nn_graph *g, nn_tensor *pred, nn_tensor *image, nn_tensor *mask, nn_tensor *weight, int64_t cell,
                      int64_t patch);
typedef struct nn_ce_cfg {
    float smoothing;        // standard label smoothing
    float class_weight[64]; // all 0: no weights. Divides by the sum of the weights used
} nn_ce_cfg;
// logits (..., K); target f32 (..., K), soft or one-hot; weight f32 (...): 0 = ignore.
nn_tensor *nn_ce_loss(nn_graph *g, nn_tensor *logits, nn_tensor *target, nn_tensor *weight, const nn_ce_cfg *cfg);
// Mean over valid elements of max(z,0) - z y + log(1 + exp(-|z|)). z, target, weight (..., K) or weight (...).
nn_tensor *nn_bce_loss(nn_graph *g, nn_tensor *z, nn_tensor *target, nn_tensor *weight);
// Sum over the D columns of 1 - ccc. x, target (..., D); weight f32 (..., D) or (...). D < 1e-12: ccc = 0, no gradient.
nn_tensor *nn_ccc_loss(nn_graph *g, nn_tensor *x, nn_tensor *target, nn_tensor *weight);
// The same with sample (N - 1) variances and covariance, as namho-96/ABAW2024 utils/loss.py has it (CCA, released form).
nn_tensor *nn_ccc_sample_loss(nn_graph *g, nn_tensor *x, nn_tensor *target, nn_tensor *weight);

#endif
