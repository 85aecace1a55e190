// One attention head over one set of keys, in tiles: what window attention and attention share. Queries come in blocks;
// scores lie with the keys down and the queries across.
//     S = scale K Q^T + ...,  P = softmax(S) down the columns,  D = P or P * mask,  O = D^T V
//     dV = D dO,  dP = V dO^T (* mask),  dS = P (dP - sum P dP),  dQ = scale dS^T K,  dK = scale dS Q
// Threading: a head and its memory belong to one thread.
#ifndef NN_OPS_HEAD_H
#define NN_OPS_HEAD_H

#include "nn/ops/tile.h"

typedef struct nn__head_cfg {
    int64_t keys, queries, size; // queries: of the largest block; size: channels of the head
    mn_dtype type;               // of the activations
    int backward;
} nn__head_cfg;

typedef struct nn__head {
    nn__head_cfg cfg;
    int pairs;
    int64_t width;                                // size, to whole registers
    float *k, *v, *q, *d_out;                     // as they lie
    float *k_down, *v_down, *q_down, *d_out_down; // the same for products that sum over tokens
    float *across;                                // Q^T, then dO^T
    float *packed;                                // P or dS for such products
    // Results, f32: probabilities and gradient of scores (keys, pad16(rows)), output or dQ without the scale
    // (rows, width), gradients of keys without the scale and of values (keys, width).
    float *p, *d_s, *out, *d_k, *d_v;
} nn__head;

// Lays a head out in memory; returns the bytes it takes, a multiple of 64. memory NULL: only that.
size_t nn__head_place(nn__head *h, const nn__head_cfg *cfg, void *memory);

void nn__head_keys(nn__head *h, const nn__strip *k, const void *k_from, const nn__strip *v, const void *v_from);

// A block of queries. scores: keys and row are set here, scale, bias and masks are the caller's. drop: NULL or the
// dropout mask (keys, pad16(rows)), 0 or 1 / (1 - p).
typedef struct nn__head_block {
    int64_t rows;
    nn__strip q;
    const void *q_from;
    nn__scores scores;
    const float *drop;
} nn__head_block;
void nn__head_forward(nn__head *h, const nn__head_block *b);
// Adds to d_k and d_v unless it is the first block.
void nn__head_backward(nn__head *h, const nn__head_block *b, const nn__strip *d_out, const void *d_out_from, int first);

#endif
