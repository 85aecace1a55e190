// Pictures of shards as samples, for pre-training, fine-tuning, evaluation and feature extraction.
//
//     data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_AU, .labelled = 1},
//                            .augment = data_augment_simmim(224, 1)};
//     data_set *s; MN_TRY(data_frames_open(&s, &cfg));
//     mn_info("%s", data_selection_text(data_frames_selection(s)));      // what was used, what was left out and why
//
// Fields, in this order:
//   image   f32 (S, S, 3), or bf16 with augment.dtype
//   mask    u8 ((cells tokens)^2)        with mask_cells: SimMIM's, 1 is masked
//   expr    f32 (8) | au f32 (12) | va f32 (2)   with select.labelled
//   weight  f32: 1; with DATA_INVALID_COLUMN f32 (12) or (2)
// Faces are expected cropped. Records without a picture are never samples. Samples are in manifest order: the frames of
// a video follow each other. Memory: 8 bytes a sample. Threading: as any data_set.
#ifndef DATA_FRAMES_H
#define DATA_FRAMES_H

#include "data/augment.h"
#include "data/select.h"

typedef struct data_frames_cfg {
    data_select_cfg select;      // pictures is set by open
    data_augment augment;        // size, and what training draws
    int mask_cells, mask_tokens; // cells on a side, tokens on a side of a cell; 0: no mask
    double mask_ratio;
} data_frames_cfg;

MN_MUST_CHECK mn_err data_frames_open(data_set **out, const data_frames_cfg *cfg);
// Sample i of the set is sample i of the selection: its video, frame, time and labels.
const data_selection *data_frames_selection(const data_set *s);

// Bytes of the largest record of its shards.
size_t data_frames_largest(const data_set *s);

#endif
