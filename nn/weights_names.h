// How other projects name the tensors of our networks: one table per published form, read in both directions.
//
//     nn_rename_match m;
//     if (nn_rename_import(NN_WEIGHTS_HF_SWIN, "swin.encoder.layers.0.blocks.1.attention.self.key.weight", &m))
//         ... m.name "swin.layers.0.blocks.1.attn.qkv.weight", rows of part 1 of 3
//
// Threading: pure functions over constant tables.
#ifndef NN_WEIGHTS_NAMES_H
#define NN_WEIGHTS_NAMES_H

#include "nn/params.h"

typedef enum nn_weights_form {
    NN_WEIGHTS_AUTO,        // found out from the names
    NN_WEIGHTS_MIEN,        // our checkpoints: swin., wav2vec2., cca., head., decoder.
    NN_WEIGHTS_SIMMIM,      // microsoft/SimMIM pre-training: encoder., decoder.
    NN_WEIGHTS_SWIN,        // microsoft/Swin-Transformer, no prefix
    NN_WEIGHTS_TIMM_SWIN,   // timm: a merging belongs to the stage after it
    NN_WEIGHTS_HF_SWIN,     // huggingface SwinForMaskedImageModeling: query, key and value apart
    NN_WEIGHTS_HF_WAV2VEC2, // huggingface Wav2Vec2: query, key and value apart; both ways to store weight norm
    NN_WEIGHTS_ABAW2024,    // namho-96/ABAW2024: CCA-Transformer
    NN_WEIGHTS_FORMS
} nn_weights_form;

const char *nn_weights_form_name(nn_weights_form form); // "simmim", "timm", ...
// NN_WEIGHTS_FORMS when no form has that name.
nn_weights_form nn_weights_form_parse(const char *name);

typedef struct nn_rename_match {
    char name[sizeof((nn_param *)0)->name];
    int part, parts;  // rows part, part + 1 of `parts` equal shares of the other tensor's rows; 0 of 1: all
    const char *drop; // why the tensor has no place with us; NULL: it has
} nn_rename_match;

// Their name to ours. 0: the form does not know the name.
int nn_rename_import(nn_weights_form form, const char *theirs, nn_rename_match *m);
// Ours to theirs: the parts that a tensor of ours is split into (at most `capacity`). 0: the form has no place for it.
int nn_rename_export(nn_weights_form form, const char *ours, nn_rename_match *m, int capacity);
// The form that the names of a file show; NN_WEIGHTS_AUTO: none of those above.
nn_weights_form nn_weights_detect(const char *const *names, int n);

#endif
