// The networks: one C function each, no classes. Parameters get the names of the public reference implementations
// under the model's prefix, so checkpoints read like theirs.
// Threading: the thread that builds the graph.
#ifndef NN_MODELS_H
#define NN_MODELS_H

#include "nn/ops.h"

// --- Swin Transformer (microsoft/Swin-Transformer) ------------------------------------------------------------------
typedef struct nn_swin_cfg {
    int64_t image, patch, window, embed; // 192, 4, 6, 96
    int64_t depths[4], heads[4];
    int stages;
    float drop_path; // of the last block; rises linearly from 0
    float mlp_ratio; // 4
} nn_swin_cfg;
// image f32 or compute dtype (B, H, W, 3), normalised. mask u8 (B, tokens) or NULL: blends in the mask token.
// -> final norm, (B, cells, C of the last stage). Names: swin.patch_embed.proj.weight, swin.layers.0.blocks.0.attn.qkv
// ... as in the reference. Layer ids for layer-wise decay are set (nn_swin_layers gives the id of the head).
nn_tensor *nn_swin(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *image, nn_tensor *mask);
int nn_swin_layers(const nn_swin_cfg *cfg);
// MN_ECONFIG when the sizes do not fit together; the message names the recipe keys to change, and an image that fits.
// nn_swin checks the same and spoils the graph.
MN_MUST_CHECK mn_err nn_swin_check(const nn_swin_cfg *cfg);
int64_t nn_swin_stride(const nn_swin_cfg *cfg); // pixels per cell of the last stage: the encoder stride
// Decoder of SimMIM on nn_swin's result: 1x1 convolution to 3 stride^2 (name decoder.0), -> (B, cells, 3 stride^2).
nn_tensor *nn_simmim_decoder(nn_graph *g, const nn_swin_cfg *cfg, nn_tensor *features);

// --- wav2vec2 (huggingface/transformers) -----------------------------------------------------------------------------
typedef struct nn_wav2vec2_cfg {
    int64_t width, layers, heads, ffn;
    int64_t conv_channels, conv_layers;
    int64_t conv_kernel[8], conv_stride[8];
    int64_t pos_kernel, pos_groups; // 128, 16
    int stable;                     // large form: pre-LN, LayerNorm after every convolution, convolution biases
    float drop; // while training: on attention probabilities, inside the feed-forward and on hidden states
} nn_wav2vec2_cfg;
void nn_wav2vec2_base(nn_wav2vec2_cfg *cfg);
void nn_wav2vec2_xlsr(nn_wav2vec2_cfg *cfg);
// wave f32 (B, samples), normalised per utterance. valid: NULL or f32 (B, n): which output frames are not padding.
// -> last hidden states (B, n, width), n = nn_wav2vec2_frames(cfg, samples). Names wav2vec2.* as in transformers,
// except attention.qkv (rows of q, k, v concatenated); layer ids for layer-wise decay are set.
nn_tensor *nn_wav2vec2(nn_graph *g, const nn_wav2vec2_cfg *cfg, nn_tensor *wave, nn_tensor *valid);
// Frames of a wave, 0 if it is shorter than one frame (400 samples at the published sizes).
int64_t nn_wav2vec2_frames(const nn_wav2vec2_cfg *cfg, int64_t samples);
int nn_wav2vec2_layers(const nn_wav2vec2_cfg *cfg);                 // layer id of what follows the encoder
MN_MUST_CHECK mn_err nn_wav2vec2_check(const nn_wav2vec2_cfg *cfg); // as nn_swin_check

// --- heads ----------------------------------------------------------------------------------------------------------
// Linear (..., C) -> (..., out) named head.<name>, f32 output.
nn_tensor *nn_head(nn_graph *g, nn_tensor *x, int64_t out, const char *name);

// --- CCA-Transformer (namho-96/ABAW2024 dma3.py) --------------------------------------------------------------------
typedef enum nn_cca_form { NN_CCA_PAPER, NN_CCA_RELEASED } nn_cca_form;
typedef enum nn_cca_task { NN_CCA_VA, NN_CCA_EXPR, NN_CCA_AU } nn_cca_task;
typedef struct nn_cca_cfg {
    int64_t width, heads;                  // 768, 8
    int64_t head_hidden[3];                // of the VA head: 256, 128, 64
    float mlp_ratio, drop, drop_path, mix; // 4, .3, .4, .7
    nn_cca_form form;
    nn_cca_task task;
    int position; // sinusoidal positions added to both streams
    int bn_local;
} nn_cca_cfg;
// image, audio (B, T, width) in the compute dtype; weight f32 (B, T): 0 = padding (batch norm of the VA head).
// -> logits f32: VA (B, T, 2) after tanh, EXPR (B, T, 8), AU (B, T, 12) before the sigmoid. Names cca.* as in the
// public code: cca.layers.0 .. 7.
nn_tensor *nn_cca(nn_graph *g, const nn_cca_cfg *cfg, nn_tensor *image, nn_tensor *audio, nn_tensor *weight);
MN_MUST_CHECK mn_err nn_cca_check(const nn_cca_cfg *cfg); // as nn_swin_check

#endif
